"""The same labelled images in every kind of place that retop reads."""

import csv
import functools
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from .pictures import encoded, picture

Images = dict[str, tuple[str, bytes]]
"""Label and content by the name that they have in a folder."""


def some_images(per_class: int = 4, first_seed: int = 0) -> Images:
    kinds = ("PNG", "JPEG", "WEBP")
    names = ("cat", "dog", "birds/owl")
    images: Images = {}
    for k, label in enumerate(names):
        for n in range(per_class):
            kind = kinds[n % 3]
            seed = first_seed + 100 * k + n
            images[f"{label}/{n:03d}.{kind.lower()}"] = (label, encoded(picture(seed), kind))
    return images


def write_folder(place: Path, images: Images) -> Path:
    for name, (_, content) in images.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def write_table(place: Path, images: Images, suffix: str = ".csv") -> Path:
    write_folder(place, images)
    file = place / f"table{suffix}"
    rows = [{"path": name, "label": label} for name, (label, _) in images.items()]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
        return file
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, ["path", "label"], delimiter="\t" if suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return file


def write_embedded(file: Path, images: Images, names: bool = True, rows_per_group: int = 5) -> Path:
    """As Hugging Face datasets writes it: bytes and path, and labels that its metadata name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    labels = sorted({label for label, _ in images.values()})
    table = pa.table(
        {
            "image": [{"bytes": content, "path": name} for name, (_, content) in images.items()],
            "label": [labels.index(label) if names else label for label, _ in images.values()],
        }
    )
    said = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": labels, "_type": "ClassLabel"}}}}
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, file, row_group_size=rows_per_group)
    return file


def write_zip(file: Path, images: Images, around: str = "") -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (_, content) in images.items():
            archive.writestr(around + name, content)
    return file


def write_tar(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def write_shards(folder: Path, images: Images, as_json: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, bytes]] = [{}, {}]
    for n, (name, (label, content)) in enumerate(images.items()):
        shard = parts[n % 2]
        shard[f"{n:05d}{Path(name).suffix}"] = content
        said = json.dumps({"label": label}).encode() if as_json else label.encode()
        shard[f"{n:05d}{'.json' if as_json else '.cls'}"] = said
    for n, members in enumerate(parts):
        write_tar(folder / f"shard-{n:06d}.tar", members)
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """A plain web server of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_memory(images: Images) -> str:
    files = fsspec.filesystem("memory")
    files.store.clear()
    for name, (_, content) in images.items():
        files.pipe_file(f"/bucket/photos/{name}", content)
    return "memory://bucket/photos"


def _http(folder: Path, images: Images, stack: ExitStack) -> str:
    write_folder(folder / "photos", images)
    return stack.enter_context(served(folder)) + "/photos"


def _http_zip(folder: Path, images: Images, stack: ExitStack) -> str:
    write_zip(folder / "photos.zip", images)
    return stack.enter_context(served(folder)) + "/photos.zip"


Maker = Callable[[Path, Images, ExitStack], str | Path]

PLACES: dict[str, Maker] = {
    "folder": lambda folder, images, _: write_folder(folder / "photos", images),
    "csv": lambda folder, images, _: write_table(folder, images, ".csv"),
    "tsv": lambda folder, images, _: write_table(folder, images, ".tsv"),
    "parquet of paths": lambda folder, images, _: write_table(folder, images, ".parquet"),
    "parquet of images": lambda folder, images, _: write_embedded(folder / "photos.parquet", images),
    "parquet folder": lambda folder, images, _: write_embedded(folder / "data/part-0.parquet", images).parents[1],
    "zip": lambda folder, images, _: write_zip(folder / "photos.zip", images),
    "zip with a folder around": lambda folder, images, _: write_zip(folder / "photos.zip", images, "photos/"),
    "tar of class folders": lambda folder, images, _: write_tar(
        folder / "photos.tar", {name: content for name, (_, content) in images.items()}
    ),
    "shards with .cls": lambda folder, images, _: write_shards(folder / "shards", images),
    "shards with .json": lambda folder, images, _: write_shards(folder / "shards", images, as_json=True),
    "memory": lambda folder, images, _: write_memory(images),
    "http": _http,
    "zip over http": _http_zip,
}
"""Every kind of place, and how to make one."""
