"""Real control groups of the kernel, where this process may make them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def own_memory_group() -> Path | None:
    """The folder of this process's own control group that limits memory; None where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup") / ("memory" if controllers == "memory" else "")
        if controllers in ("memory", "") and (root / path.strip("/") / "cgroup.procs").is_file():
            return root / path.strip("/")
    return None


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path | None]:
    """A group below our own with a limit of its own; None where the system does not let us make one.

    Args:
        limit_bytes: of all processes that are put into it.
    """
    parent = own_memory_group()
    made = None if parent is None else parent / f"retop-test-{os.getpid()}"
    try:
        if made is not None:
            made.mkdir()
            version_1 = (made / "memory.limit_in_bytes").exists()
            (made / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit_bytes))
    except OSError:
        if made is not None:
            with suppress(OSError):
                made.rmdir()
        made = None
    try:
        yield made
    finally:
        if made is not None:
            made.rmdir()


def enter(group: Path) -> None:
    """Move this process into a group."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
