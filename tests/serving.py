"""A real server in a process of its own, on this machine only."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 240


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    address: str

    def stop(self) -> int:
        """Ask it to stop and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def running_server(*arguments: object, wait_ready: bool = True) -> Iterator[Server]:
    """`retop serve` with these arguments, on a free port."""
    command = [str(Path(sys.executable).with_name("retop")), "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        server = Server(process, _address(process))
        if wait_ready:
            wait_until_ready(server.address)
        yield server
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def wait_until_ready(address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if httpx.get(f"{address}/ready").status_code == 200:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{address} does not become ready")


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if select.select([process.stderr], [], [], 1)[0]:
            line = process.stderr.readline()
            if '"listening"' in line:
                return str(json.loads(line)["address"])
            if not line:
                break
    raise RuntimeError(f"the server ended with code {process.poll()}")
