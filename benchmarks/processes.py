"""Measurements as processes: one at a time, each with its own environment, a time limit, and an end."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hardware import busy_seconds, ended_children_seconds
from spec import Spec, write_json

HERE = Path(__file__).resolve().parent
KERAS_ENVIRONMENT = HERE / ".env-keras"
KERAS_REQUIREMENTS = HERE / "requirements-keras.txt"
LOG_LINES = 15


@dataclass(frozen=True)
class Outcome:
    """What became of a measurement.

    Attributes:
        status: ``measured``, ``failed`` or ``out of time``.
        result: what the module returned; None unless measured.
        error: the end of its output; empty where it was measured.
        process_seconds: from start to end of the process, imports included.
        other_cores: how many cores other processes kept busy meanwhile, on average; None where it cannot be told.
    """

    status: str
    result: dict[str, Any] | None
    error: str
    process_seconds: float
    other_cores: float | None = None


def measure(module: str, spec: Spec, limit_seconds: float) -> Outcome:
    """Run one module's `run` in a process.

    Args:
        module: ``ours``, ``plain_torch``, ``keras_tf`` or ``prefix``.
        spec: what to do; its scratch folder is replaced by a fresh one, which is removed afterwards.
        limit_seconds: after which the process is ended.

    Returns:
        The outcome; a failure is one, not an exception.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="retop-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_json(folder / "spec.json", replace(spec, scratch=str(folder)))
        try:
            python = keras_python() if module == "keras_tf" else Path(sys.executable)
        except subprocess.CalledProcessError as error:
            return Outcome("failed", None, f"its environment cannot be made: {error}", time.perf_counter() - started)
        started, busy, own = time.perf_counter(), busy_seconds(), ended_children_seconds()
        code = _run_worker(python, module, folder, limit_seconds)
        seconds = time.perf_counter() - started
        used = ended_children_seconds()
        other = None if own is None or used is None else (busy_seconds() - busy - (used - own)) / seconds
        result = folder / "result.json"
        if code == 0 and result.is_file():
            return Outcome("measured", json.loads(result.read_text(encoding="utf-8")), "", seconds, other)
        log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        status = "out of time" if code is None else "failed"
        return Outcome(status, None, "\n".join(log[-LOG_LINES:]), seconds, other)


def keras_python() -> Path:
    """The interpreter of the Keras environment, which is made or renewed where need be.

    Raises:
        subprocess.CalledProcessError: its packages cannot be installed.
    """
    python = KERAS_ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = hashlib.sha256(KERAS_REQUIREMENTS.read_bytes()).hexdigest()
    stamp = KERAS_ENVIRONMENT / "requirements.sha256"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"making the Keras environment in {KERAS_ENVIRONMENT} (about 1 GB, once)", flush=True)
        venv.create(KERAS_ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", KERAS_REQUIREMENTS], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _run_worker(python: Path, module: str, folder: Path, limit_seconds: float) -> int | None:
    """Its exit code; None where the limit ended it."""
    command = [python, HERE / "worker.py", module, folder / "spec.json", folder / "result.json"]
    environment = {**os.environ, "RETOP_CACHE": str(folder / "cache"), "PYTHONPATH": str(HERE)}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
        )
        try:
            return process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
