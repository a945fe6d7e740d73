"""Limits of memory are found wherever they are set."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from control_groups import enter, memory_group
from retop.room import memory_room

MIB = 2**20
SAY_ROOM = "from retop.room import memory_room; r = memory_room(); print(r.left_bytes, r.limit_bytes, r.source)"


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content}\n")
    return folder


def test_without_a_limit_there_is_what_the_machine_has(tmp_path: Path) -> None:
    room = memory_room(tmp_path)
    assert room.limit_bytes == psutil.virtual_memory().total
    assert 0 < room.left_bytes <= room.limit_bytes
    assert "machine" in str(room)


VERSION_1 = {
    "proc/self/cgroup": "7:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/a",
    "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": 100 * MIB,
    "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes": 60 * MIB,
    "sys/fs/cgroup/memory/a/b/memory.stat": f"total_active_file {5 * MIB}\ntotal_inactive_file {15 * MIB}",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
    "sys/fs/cgroup/memory/memory.usage_in_bytes": 999 * MIB,
}
VERSION_2 = {
    "proc/self/cgroup": "0::/pod/box",
    "sys/fs/cgroup/pod/box/memory.max": "max",
    "sys/fs/cgroup/pod/box/memory.current": 60 * MIB,
    "sys/fs/cgroup/pod/memory.max": 100 * MIB,
    "sys/fs/cgroup/pod/memory.current": 60 * MIB,
    "sys/fs/cgroup/pod/memory.stat": f"anon 7\nactive_file {5 * MIB}\ninactive_file {15 * MIB}",
}
IN_A_CONTAINER = {
    "proc/self/cgroup": "4:memory:/docker/0123\n0::/",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": 100 * MIB,
    "sys/fs/cgroup/memory/memory.usage_in_bytes": 40 * MIB,
}
THROTTLED = {
    "proc/self/cgroup": "0::/",
    "sys/fs/cgroup/memory.max": 200 * MIB,
    "sys/fs/cgroup/memory.high": 100 * MIB,
    "sys/fs/cgroup/memory.current": 40 * MIB,
}


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2, IN_A_CONTAINER, THROTTLED])
def test_a_control_group_limits_and_its_file_pages_are_free(tmp_path: Path, files: dict[str, object]) -> None:
    room = memory_room(write(tmp_path, files))
    assert (room.left_bytes, room.limit_bytes) == (60 * MIB, 100 * MIB)
    assert "60 MiB are left of 100 MiB (the control group of this process" in str(room)


def test_a_group_that_is_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    files = VERSION_1 | {"sys/fs/cgroup/memory/a/b/memory.usage_in_bytes": 130 * MIB}
    assert memory_room(write(tmp_path, files)).left_bytes == 0


def test_a_real_control_group_is_found() -> None:
    with memory_group(600 * MIB) as group:
        if group is None:
            pytest.skip("this process may not make a control group with a limit of memory")
        done = subprocess.run(
            [sys.executable, "-c", SAY_ROOM], capture_output=True, text=True, check=True,
            preexec_fn=lambda: enter(group),
        )  # fmt: skip
    left, total, source = done.stdout.split(maxsplit=2)
    assert 300 * MIB < int(left) < int(total) == 600 * MIB
    assert group.name in source
