"""How tensors lie in a part's file."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from retop.activations.key import EntryKey
from retop.schema import to_plain


@dataclass(frozen=True)
class ArrayLayout:
    """One crossing's rows.

    Attributes:
        shape: of one row, as the network sees it.
        dtype: torch's name of the number format.
        channels_last: whether a row [C, H, W] lies on disk as [H, W, C].
    """

    shape: tuple[int, ...]
    dtype: str
    channels_last: bool

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        """The layout that keeps a batch as it lies in memory."""
        last = (
            tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
        )
        return cls(tuple(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch."), last)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number format."""
        return getattr(torch, self.dtype)  # type: ignore[no-any-return]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.torch_dtype.itemsize

    def to_bytes(self, tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
        """A batch [N, ...] as [N, row_bytes]."""
        tensor = tensor.permute(0, 2, 3, 1) if self.channels_last else tensor
        return tensor.contiguous().reshape(len(tensor), -1).view(torch.uint8).numpy()

    def to_tensor(self, rows: npt.NDArray[np.uint8]) -> torch.Tensor:
        """[N, row_bytes] as a batch [N, ...]; shares memory with `rows`."""
        flat = torch.from_numpy(rows).view(self.torch_dtype)
        if not self.channels_last:
            return flat.reshape(len(rows), *self.shape)
        channels, height, width = self.shape
        return flat.reshape(len(rows), height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class PartRecord:
    """One file of an entry.

    Attributes:
        file: its name.
        rows: how many rows it holds.
        num_bytes: its size.
        sha256: checksum of its content.
    """

    file: str
    rows: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class EntryRecord:
    """entry.json.

    Attributes:
        about: what it is, in a few words.
        key: what determines its content.
        num_rows: rows when complete.
        layout: one per crossing.
        parts: what has been written, in order.
        seal: checksum of all of the above; see `sealed`.
    """

    about: str
    key: EntryKey
    num_rows: int
    layout: tuple[ArrayLayout, ...]
    parts: tuple[PartRecord, ...]
    seal: str = ""

    def sealed(self) -> Self:
        """The same record with its checksum, which tells a damaged entry.json from a sound one."""
        return replace(self, seal=self._checksum())

    @property
    def intact(self) -> bool:
        """Whether the record is as it was sealed."""
        return self.seal == self._checksum()

    def _checksum(self) -> str:
        plain = to_plain(replace(self, seal=""))
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def rows_done(self) -> int:
        """Rows that are written."""
        return sum(part.rows for part in self.parts)

    @property
    def complete(self) -> bool:
        """Whether all rows are written."""
        return self.rows_done == self.num_rows

    @property
    def num_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.num_bytes for part in self.parts)
