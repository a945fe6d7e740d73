"""While a model folder is loaded: nothing may run, nothing outside it may be opened, time and memory are bounded."""

import builtins
import importlib
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import retop

SECONDS = 20
MORE_MEMORY = 2 * 2**30
# What the package, Python and its packages read of themselves, and where the system says how much memory is left.
READABLE = tuple(
    str(Path(path).resolve())
    for path in (
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(Path(retop.__file__).parent, "/proc/meminfo", "/proc/self/cgroup", "/proc/self/mountinfo", "/sys/fs/cgroup"),
    )
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What audit events begin with that change files, or leave this process.
FORBIDDEN = (
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"),
    *("os.utime", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "os.putenv"),
    *("shutil.", "subprocess.", "socket.", "ssl.", "urllib.", "http.", "ftplib.", "pickle.", "marshal.load", "pty."),
)


class Harmed(BaseException):
    """Something was about to be run, opened, or done without bound; no handler of errors may swallow this."""


class _Watch:
    """The audit hook of this process; it can never be taken off, so it is told which folder is being loaded."""

    folder: str | None = None
    installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event == "open":
            self._opened(*arguments)
        elif event.startswith(FORBIDDEN):
            raise Harmed(f"{event} {arguments}"[:200])

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        # A number is a file that is open already.
        if isinstance(path, int):
            return
        asked = Path(os.fsdecode(path))
        # Whoever does not follow links opens what lies there itself.
        found = str(asked.parent.resolve() / asked.name if flags & os.O_NOFOLLOW else asked.resolve())
        known = any(found == root or found.startswith(root + os.sep) for root in (self.folder, *READABLE))
        if not known or flags & WRITING or set(mode or "r") & set("wax+"):
            raise Harmed(f"open {asked} {mode} {flags}")


_WATCH = _Watch()


@contextmanager
def nothing_may_run(folder: Path) -> Iterator[None]:
    """Make everything raise that could run what a folder says, or look elsewhere.

    Args:
        folder: that is loaded; files are opened there, and those of the packages, to be read alone.
    """
    importing = builtins.__import__

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise Harmed(str(arguments)[:200])

    def only_loaded(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] not in sys.modules:
            raise Harmed(f"import {name}")
        return importing(name, *arguments)

    forbidden: list[tuple[Any, str, Any]] = [
        *((pickle, name, refuse) for name in ("load", "loads", "Unpickler")),
        *((builtins, name, refuse) for name in ("eval", "exec", "compile")),
        *((os, name, refuse) for name in ("system", "popen", "execv", "execve", "fork", "posix_spawn")),
        (subprocess, "Popen", refuse),
        (socket, "create_connection", refuse),
        (socket, "socket", refuse),
        (importlib, "import_module", refuse),
        (builtins, "__import__", only_loaded),
        (sys, "dont_write_bytecode", True),
    ]
    if not _WATCH.installed:
        sys.addaudithook(_WATCH)
        _WATCH.installed = True
    before = [(where, name, getattr(where, name)) for where, name, _ in forbidden]
    for where, name, instead in forbidden:
        setattr(where, name, instead)
    _WATCH.folder = str(folder.resolve())
    try:
        yield
    finally:
        _WATCH.folder = None
        for where, name, function in before:
            setattr(where, name, function)


@contextmanager
def bounded_time(seconds: float = SECONDS) -> Iterator[None]:
    """Raise after so much processor time.

    Args:
        seconds: of this process.
    """

    def too_long(number: int, frame: Any) -> None:
        raise Harmed(f"still at work after {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def bounded_memory(more: int = MORE_MEMORY) -> Iterator[None]:
    """Let this process take so many more bytes of addresses.

    Args:
        more: than it has.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
