"""A real server in a process of its own, on this machine only."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 240


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    address: str
    log: Path
    """What it writes to standard error."""

    def stop(self) -> int:
        """Ask it to stop and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def post(self, path: str, **request: Any) -> httpx.Response:
        """Ask by a connection of its own; without certificates, which take longer to load than most answers."""
        return httpx.post(f"{self.address}{path}", timeout=120, verify=False, **request)

    def metric(self, name: str) -> float:
        """A number of /metrics, 0 where nothing was counted yet."""
        text = httpx.get(f"{self.address}/metrics").text
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def decoders(self) -> list[int]:
        """The numbers of its decoder processes."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if "retop.serving.decoder" in line]

    @contextmanager
    def decoders_held(self) -> Iterator[None]:
        """Nothing is decoded meanwhile: images wait, for as long as one may take."""
        held = self.decoders()
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)

    def wait_until_waiting(self, num_images: int) -> None:
        """Wait until so many images of all requests are in progress."""
        wait_until(lambda: self.metric("retop_waiting_images") == num_images)


@contextmanager
def running_server(
    *arguments: object, wait_ready: bool = True, open_files: int | None = None, **limits: float
) -> Iterator[Server]:
    """`retop serve` with these arguments, on a free port; with limits that have no option, `retop.serve`."""
    command = [str(Path(sys.executable).with_name("retop")), "serve", *map(str, arguments), "--port", "0"]
    if limits:
        code = f"import retop; retop.serve({[str(one) for one in arguments]}, port=0, limits={limits})"
        command = [sys.executable, "-c", code]
    if open_files is not None:
        command = ["bash", "-c", f'ulimit -n {open_files}; exec "$@"', "bash", *command]
    # A file, because nobody reads a pipe while the test runs.
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(command, stderr=log, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            server = Server(process, _address(process, Path(log.name)), Path(log.name))
            if wait_ready:
                wait_until(lambda: httpx.get(f"{server.address}/ready").status_code == 200)
            yield server
        finally:
            process.kill()
            process.wait()


def wait_until(holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Look again and again until something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.05)
    raise TimeoutError(f"it does not come to hold within {seconds:g} s")


def _address(process: subprocess.Popen[str], log: Path) -> str:
    found: list[str] = []

    def listens() -> bool:
        found[:] = [line for line in log.read_text().splitlines() if '"listening"' in line]
        return bool(found) or process.poll() is not None

    wait_until(listens)
    if not found:
        raise RuntimeError(f"the server ended with code {process.poll()}: {log.read_text()}")
    return str(json.loads(found[0])["address"])
