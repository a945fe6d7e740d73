"""How this process gets, keeps and gives back the memory of large tensors.

A network's layers ask for tens of megabytes and give them back at once. By default the C library returns such blocks to
the system, which then fills every page with zeros again at the next layer: on a CPU with fast bfloat16 that took as
long as half of a layer's arithmetic (docs/log.md).
"""

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache

# Parameters of mallopt in malloc.h of the GNU C library, and the largest threshold it takes on 64 bits.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_NEVER = 2**31 - 1


@cache
def keep_memory() -> None:
    """Let this process keep freed memory for its next tensors, and take large ones in pages of 2 MiB.

    Call it before torch is loaded, which reads its setting of large pages (``THP_MEM_ALLOC_ENABLE``; one that is set
    already stays) once. Without effect on other systems than Linux with the GNU C library. No result depends on it.

    Source: PyTorch's performance tuning guide for CPUs; mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Other C libraries have no such function.
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)


def give_back() -> None:
    """Give freed memory back to the system after all: before asking how much there is, once in a run."""
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
