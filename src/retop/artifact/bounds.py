"""What a file of a model folder may make this process do: open, read and build no more than it holds."""

import json
import math
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules import module as registration

from retop.errors import ModelFolderError
from retop.room import memory_room

LARGEST_HEADER = 4 * 2**20
# beit_large_patch16_512 has 192 MiB of them, by far the most of timm's networks without arguments.
LARGEST_TABLES = 2**28
# The file, its tensors and the network are in memory together, each as large as the file.
MEMORY_FRACTION = 0.3
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class TensorHeader:
    """A tensor as the head of a safetensors file announces it.

    Attributes:
        dtype: in the file's own abbreviation, e.g. ``"F32"``.
        shape: its sizes.
    """

    dtype: str
    shape: tuple[int, ...]


def read_bounded(path: Path, largest: int) -> bytes:
    """Read a regular file that lies in its folder itself.

    Args:
        path: the file.
        largest: bytes that it may have.

    Returns:
        All of it.

    Raises:
        ModelFolderError: it is missing, a link, a pipe or a device, or larger than allowed.
    """
    # A pipe would be waited for, a link could lead anywhere.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if path.is_symlink():
            raise ModelFolderError(f"{path} is a link; a model folder holds its files itself. Copy them (cp -L)")
        with os.fdopen(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ModelFolderError(f"{path} cannot be read: it is not a regular file")
            if found.st_size > largest:
                raise ModelFolderError(f"{path} has {found.st_size} bytes; at most {largest} are read")
            # Python reserves what it is asked for before it reads.
            return file.read(found.st_size)
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def largest_weights() -> int:
    """Bytes of a weights file that fits into the memory that is left, beside the network."""
    return int(MEMORY_FRACTION * memory_room().left_bytes)


def read_header(content: bytes, path: Path) -> dict[str, TensorHeader]:
    """The head of a safetensors file, checked before any tensor is made.

    Args:
        content: the whole file.
        path: for messages.

    Returns:
        What it announces, by name.

    Raises:
        ModelFolderError: it is no such file, or its sizes contradict each other.

    Source:
        https://huggingface.co/docs/safetensors/index#format
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(LARGEST_HEADER, len(content) - 8):
        raise ModelFolderError(f"{path} is not a safetensors file: its head would have {length} bytes")
    announced = parse_json(content[8 : 8 + length], path)
    announced.pop("__metadata__", None)
    found = {name: _tensor(name, item, path) for name, item in announced.items()}
    total = sum(BYTES[item.dtype] * math.prod(item.shape) for item in found.values())
    if total != len(content) - 8 - length:
        raise ModelFolderError(
            f"{path} is not a safetensors file: its head announces {total} bytes, it holds {len(content) - 8 - length}"
        )
    return found


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """A JSON object without keys that stand twice and without numbers that are not finite.

    Args:
        content: UTF-8.
        path: for messages.

    Raises:
        ModelFolderError: it is not.
    """
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path} should hold a mapping, received {type(value).__name__}")
    return value


@contextmanager
def building_at_most(num_tensors: int, path: Path) -> Iterator[None]:
    """Stop the building of a network that has far more parts than a file has tensors.

    Args:
        num_tensors: in the weights file.
        path: for messages.

    Raises:
        ModelFolderError: the network became larger.
    """
    left = 40 * num_tensors + 2000
    builder = threading.get_ident()

    def count(module: nn.Module, name: str, part: Any) -> None:
        nonlocal left
        # The hooks belong to the process; other threads may build networks of their own.
        if threading.get_ident() == builder:
            left -= 1
            if left < 0:
                raise ModelFolderError(f"{path} names a network that is larger than its {num_tensors} stored tensors")

    with ExitStack() as hooks:
        for register in (
            registration.register_module_parameter_registration_hook,
            registration.register_module_module_registration_hook,
            registration.register_module_buffer_registration_hook,
        ):
            hooks.callback(register(count).remove)
        yield


def check_tables(network: nn.Module, path: Path) -> None:
    """Refuse a network with large tables that no file holds, e.g. of the distances between all pairs of patches.

    Args:
        network: without content.
        path: for messages.

    Raises:
        ModelFolderError: they are larger than any that a network of timm's has by itself.
    """
    stored = network.state_dict()
    num_bytes = sum(table.nbytes for name, table in network.named_buffers() if name not in stored)
    if num_bytes > LARGEST_TABLES:
        raise ModelFolderError(
            f"{path} names a network that would compute tables of {num_bytes} bytes; at most {LARGEST_TABLES} are "
            f"made. Take it with smaller images or larger patches"
        )


def _tensor(name: str, item: Any, path: Path) -> TensorHeader:
    shape = item.get("shape") if isinstance(item, dict) else None
    sizes = shape if isinstance(shape, list) else [-1]
    plain = len(sizes) <= 8 and all(type(size) is int and 0 <= size < 2**40 for size in sizes)
    dtype = item.get("dtype") if isinstance(item, dict) else None
    if not plain or not isinstance(dtype, str) or dtype not in BYTES:
        raise ModelFolderError(f"{path} is not a safetensors file: {name[:60]!r} is announced as {str(item)[:60]}")
    return TensorHeader(dtype, tuple(sizes))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key stands in it twice")
    return dict(pairs)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:60]} is not a finite number")
    return number
