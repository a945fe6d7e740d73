"""Where a figure was measured."""

import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class Hardware:
    """A machine.

    Attributes:
        processor: name of the CPU.
        cores: cores that a process may use.
        memory_bytes: of the machine.
        platform: operating system.
        python: version.
        features: instruction sets of `CPU_FEATURES` that the CPU has; empty where the system does not tell.
        torch_capability: the instruction set that torch's own kernels use.
        native_bfloat16: whether the CPU multiplies bfloat16 matrices natively.
        accelerator: name of the GPU.
    """

    processor: str
    cores: int
    memory_bytes: int
    platform: str
    python: str
    features: list[str]
    torch_capability: str
    native_bfloat16: bool
    accelerator: str | None

    @property
    def slug(self) -> str:
        """For file names."""
        name = self.accelerator or f"{self.processor} {self.cores} cores"
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def describe_hardware() -> Hardware:
    flags = _cpuinfo("flags").split()
    return Hardware(
        processor=_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        platform=platform.platform(),
        python=platform.python_version(),
        features=[feature for feature in CPU_FEATURES if feature in flags],
        torch_capability=torch.backends.cpu.get_cpu_capability(),
        native_bfloat16=bool(torch.cpu._is_avx512_bf16_supported()),
        accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def busy_seconds() -> float:
    """Seconds that all cores together have worked since the machine started, for whomever."""
    times = psutil.cpu_times()._asdict()
    # On Linux "guest" is contained in "user", and "steal" is what other machines took of this one's cores.
    counted = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
    return sum(times.get(kind, 0.0) for kind in counted)


def ended_children_seconds() -> float | None:
    """Seconds of work of this process's ended child processes; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpuinfo(key: str) -> str:
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return ""
    found = re.search(rf"^{re.escape(key)}\s*:\s*(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].strip() if found else ""
