"""How many connections there are open files for."""

from pathlib import Path

from retop.errors import ServingError
from retop.serving.connections import ACCEPTED_AT_ONCE
from retop.serving.limits import Limits
from retop.serving.lingering import LINGERING_AT_ONCE

SPARE_DESCRIPTORS = 8 * ACCEPTED_AT_ONCE + LINGERING_AT_ONCE
USED_DESCRIPTORS = 64
"""Files that are open at the start, where the system does not tell; rather too many than too few."""

LEAST_CONNECTIONS = 8


def most_connections(limits: Limits) -> int:
    """How many connections may be open: those of a full queue and idle ones, as far as there are descriptors for them.

    The soft limit of open files is raised to what they need, as far as the hard one allows.

    Raises:
        ServingError: there are too few.
    """
    wanted = limits.waiting_images + limits.idle_connections
    try:
        import resource
    except ImportError:
        return wanted
    # A decoder has two pipes, and while one replaces another four.
    others = open_files() + 4 * limits.decoders + SPARE_DESCRIPTORS
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return wanted
    raised = wanted + others if most == resource.RLIM_INFINITY else min(wanted + others, most)
    if raised > allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, most))
        allowed = raised
    left = allowed - others
    if left < LEAST_CONNECTIONS:
        raise ServingError(
            f"this process may open {allowed} files, which leaves {left} for connections; at least "
            f"{LEAST_CONNECTIONS} are needed: ulimit -n 1024"
        )
    return min(wanted, left)


def open_files(listed: Path = Path("/dev/fd")) -> int:
    """How many files this process has open, or may have where the system does not list them."""
    try:
        return len(list(listed.iterdir()))
    except OSError:
        return USED_DESCRIPTORS
