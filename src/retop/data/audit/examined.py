"""The columns of an index as the rules read them."""

# N readable images

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SHOWN_GROUPS = 1_000
"""Groups of files that a finding lists; its numbers count all of them."""

_SIDES = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True, eq=False)
class Examined:
    """The readable images of a survey, with the split that they are in."""

    table: pa.Table
    """[N] rows: the columns of listing and index, sorted by path."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def texts(self, column: str) -> list[str | None]:
        """A column of text as a list."""
        return self.table[column].to_pylist()  # type: ignore[no-any-return]

    def paths_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Paths of some rows."""
        return self.table["path"].take(pa.array(rows)).to_pylist()  # type: ignore[no-any-return]

    def numbers(self, column: str) -> NDArray[np.int64]:
        """A number for each different value of a column; -1 for null."""
        encoded = pc.dictionary_encode(self.table[column].combine_chunks())
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        return pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]

    def sides(self) -> NDArray[np.int64]:
        """0 train, 1 validation, 2 test, -1 none."""
        return np.array([_SIDES.get(split or "", -1) for split in self.texts("split")], dtype=np.int64)

    def parts(self) -> NDArray[np.int64]:
        """What may share no image: the sides, or the folds where there are folds; -1 none."""
        if "fold" in self.table.column_names and self.table["fold"].null_count < len(self):
            folds = pc.fill_null(self.table["fold"], -1)
            return folds.to_numpy().astype(np.int64)  # type: ignore[no-any-return]
        return self.sides()
