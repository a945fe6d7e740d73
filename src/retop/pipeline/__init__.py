"""One run from data to model folder."""

from retop.pipeline.request import RunFolder, RunRequest, Setting, probe_request, scratch_request
from retop.pipeline.run import run_backbone
from retop.records.lock import is_held, only_process_in

__all__ = [
    "RunFolder",
    "RunRequest",
    "Setting",
    "is_held",
    "only_process_in",
    "probe_request",
    "run_backbone",
    "scratch_request",
]
