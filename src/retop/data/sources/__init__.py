"""Where images come from: class folders, tables, Parquet, ZIP and tar files, remote places."""

from retop.data.sources.folders import find_image_files, read_regular_file
from retop.data.sources.opening import SUPPORTED, open_source
from retop.data.sources.source import ImageSource, Leftovers, Listing

__all__ = [
    "SUPPORTED",
    "ImageSource",
    "Leftovers",
    "Listing",
    "find_image_files",
    "open_source",
    "read_regular_file",
]
