"""How much more memory this process may take, and who says so: the machine, or a control group.

RLIMIT_AS (``ulimit -v``) is neither: it counts addresses, and libraries, stacks and a mapped store take many of those
without memory. Nothing is predicted from it; where it strikes, some libraries do not say that memory was the reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/")
# What a control group of version 1 says when it has no limit; version 2 says "max".
UNLIMITED = 2**62


@dataclass(frozen=True)
class MemoryRoom:
    """What is left of a limit.

    Attributes:
        left_bytes: that this process may still take.
        limit_bytes: of which they are left.
        source: whose limit it is, in words.
    """

    left_bytes: int
    limit_bytes: int
    source: str

    def __str__(self) -> str:
        return f"{self.left_bytes / 2**20:,.0f} MiB are left of {self.limit_bytes / 2**20:,.0f} MiB ({self.source})"


def memory_room(system: Path = SYSTEM) -> MemoryRoom:
    """The tightest of all limits.

    Args:
        system: root of the system's own files.
    """
    return min(_rooms(system), key=lambda room: room.left_bytes)


def _rooms(system: Path) -> Iterator[MemoryRoom]:
    import psutil

    memory = psutil.virtual_memory()
    yield MemoryRoom(int(memory.available), int(memory.total), "the memory of this machine")
    for folder, usage, limits, cached in _groups(system):
        used = _number(folder / usage)
        for name in limits:
            limit = _number(folder / name)
            if limit is not None and used is not None and limit < UNLIMITED:
                left = limit - used + _statistic(folder / "memory.stat", cached)
                yield MemoryRoom(max(0, left), limit, f"the control group of this process, {folder / name}")


def _groups(system: Path) -> Iterator[tuple[Path, str, tuple[str, ...], tuple[str, ...]]]:
    """Folders of the control groups that this process is in, with the names of their files, innermost first.

    Source: cgroups(7); the kernel's cgroup-v1/memory.rst and cgroup-v2.rst. File pages that a group holds are dropped
    when others are needed.
    """
    version_1 = "memory.usage_in_bytes", ("memory.limit_in_bytes",), ("total_active_file", "total_inactive_file")
    version_2 = "memory.current", ("memory.max", "memory.high"), ("active_file", "inactive_file")
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        mounts = ("memory", controllers) if controllers else ("", "unified")
        for mount in dict.fromkeys(mounts):
            root = system / "sys/fs/cgroup" / mount
            inside = root / path.strip("/")
            # In a container the path may be that of the host, while the container's own group is mounted as the root.
            for folder in dict.fromkeys((inside, *inside.parents, root)):
                if folder == root or root in folder.parents:
                    yield (folder, *(version_1 if controllers else version_2))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _statistic(path: Path, names: tuple[str, ...]) -> int:
    try:
        pairs = (line.split() for line in path.read_text().splitlines())
        return sum(int(pair[1]) for pair in pairs if pair and pair[0] in names)
    except (OSError, ValueError, IndexError):
        return 0
