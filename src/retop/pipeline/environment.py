"""Where and with what a run is made."""

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from retop.records import Environment
from retop.training import Runtime
from retop.version import __version__

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "scipy", "lightning-fabric")


def describe_environment(runtime: Runtime, command: str) -> Environment:
    """The machine and the libraries, for the record."""
    return Environment(
        command=command,
        started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        retop=__version__,
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
        platform=platform.platform(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_bytes=memory_limit_bytes(),
        device=runtime.device.type,
        accelerator=torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None,
    )


def memory_limit_bytes() -> int:
    """Memory of the machine, or of the control group this process runs in."""
    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(path).read_text())
        except (OSError, ValueError):
            continue
        return min(total, limit)
    return total


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
