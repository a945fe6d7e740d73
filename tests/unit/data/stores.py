"""Object stores of this machine: real servers that speak S3 and Google's protocol, and a small hub of datasets."""

import functools
import hashlib
import http.server
import json
import logging
import os
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import fsspec
import pytest

from .places import Images

ANYBODY = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "anything", "AWS_DEFAULT_REGION": "us-east-1"}


@functools.cache
def s3_server() -> str:
    """The address of an S3 server that lives as long as this process."""
    pytest.importorskip("s3fs", reason="data at s3:// needs s3fs")
    moto = pytest.importorskip("moto.server", reason="a local S3 server needs moto[s3], flask and flask-cors")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    return "http://{}:{}".format(*server.get_host_and_port())


@functools.cache
def gs_server() -> str:
    """The address of a server that speaks Google's protocol and lives as long as this process."""
    pytest.importorskip("gcsfs", reason="data at gs:// needs gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="a local server needs gcp-storage-emulator")
    # Its log at the level of warnings names every file that is not there.
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)
    server._api.daemon = True
    server.start()
    return "http://{}:{}".format(*server._api._httpd.server_address)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def store(protocol: str, stack: ExitStack) -> tuple[fsspec.AbstractFileSystem, str]:
    """A file system of an object store, and the name of an empty bucket there."""
    if protocol == "s3":
        stack.enter_context(environment(AWS_ENDPOINT_URL=s3_server(), **ANYBODY))
    else:
        stack.enter_context(environment(STORAGE_EMULATOR_HOST=gs_server()))
        logging.getLogger("gcsfs").addHandler(logging.NullHandler())
    files = fsspec.filesystem(protocol)
    bucket = f"bucket-{uuid.uuid4().hex}"
    files.mkdir(bucket)
    return files, bucket


def write_store(protocol: str, images: Images, stack: ExitStack) -> str:
    """Images as class folders in a bucket; their address."""
    files, bucket = store(protocol, stack)
    for name, (_, content) in images.items():
        files.pipe_file(f"{bucket}/photos/{name}", content)
    return f"{protocol}://{bucket}/photos"


@contextmanager
def hub(images: Images) -> Iterator[str]:
    """A hub that has the one dataset ``user/photos``; its address, for HF_ENDPOINT."""
    contents = {name: content for name, (_, content) in images.items()}
    tree = [
        {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": name}
        for name, content in contents.items()
    ]
    documents: dict[str, Callable[[], bytes]] = {
        "/api/datasets/user/photos": lambda: json.dumps({"id": "user/photos", "sha": 40 * "a"}).encode(),
        "/api/datasets/user/photos/tree/main": lambda: json.dumps(tree).encode(),
    }
    for name in contents:
        documents[f"/datasets/user/photos/resolve/main/{name}"] = functools.partial(contents.__getitem__, name)

    class Hub(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            document = documents.get(urllib.parse.unquote(self.path.partition("?")[0]))
            body = b"" if document is None else document()
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json" if "/api/" in self.path else "application/octet-stream")
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def without_accounts(**values: str) -> dict[str, str]:
    """The environment of somebody who is logged in nowhere."""
    names = ("AWS_", "GOOGLE_", "GCE_", "HF_", "FSSPEC_", "STORAGE_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true", **values}
