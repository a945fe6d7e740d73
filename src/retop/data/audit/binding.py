"""Rows that pairs connect, directly or through others, without a list of the pairs."""

# N rows, M pictures, C cells, P pairs

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def groups_of(values: Rows) -> list[Rows]:
    """Rows of each value that several rows have; -1 is none."""
    order = np.argsort(values, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(values[order])) + 1)
    return [part for part in parts if len(part) > 1 and values[part[0]] >= 0]


class Binding:
    """Rows bound together by pairs; takes the memory of the rows, however many pairs there are.

    Args:
        count: N.
    """

    def __init__(self, count: int) -> None:
        self.least_n = np.arange(count)
        """[N] the least row of those that each row is bound to."""

    def bind(self, first_p: Rows, second_p: Rows) -> None:
        """Bind the rows of each pair, and so all that either is bound to."""
        least = self.least_n
        while True:
            first_p, second_p = least[first_p], least[second_p]
            apart = first_p != second_p
            first_p, second_p = first_p[apart], second_p[apart]
            if not len(first_p):
                return
            np.minimum.at(least, np.maximum(first_p, second_p), np.minimum(first_p, second_p))
            # Chains become one step, so that equal means bound.
            while not np.array_equal(shorter := least[least], least):
                least[:] = shorter


class AlikeAcross:
    """Images that look like one of another kind: of another class, or of another side of the split.

    All copies of a picture that are of one kind are one cell: what one of them is like, all of them are like. So
    however many copies two pictures have, no pair of copies is ever written down.

    Args:
        picture_n: [N] number of the picture that each image shows; -1 for an image that is not compared.
        kind_n: [N] number of its kind; -1 for none.
    """

    def __init__(self, picture_n: Rows, kind_n: Rows) -> None:
        self._rows = np.flatnonzero((picture_n >= 0) & (kind_n >= 0))
        pictures, kinds = picture_n[self._rows], kind_n[self._rows]
        num_kinds = int(kinds.max(initial=0)) + 1
        cells, self._cell_of_row = np.unique(pictures * num_kinds + kinds, return_inverse=True)
        self._picture_c, self._kind_c = cells // num_kinds, cells % num_kinds
        self._count_m = np.bincount(self._picture_c, minlength=int(picture_n.max(initial=-1)) + 1)
        self._start_m = np.cumsum(self._count_m) - self._count_m
        self._cells = Binding(len(cells))
        self._kind_ends = self._ends(self._kind_c)
        self._bound_ends = self._ends(self._cells.least_n)

    def lacks(self, first_p: Rows, second_p: Rows) -> NDArray[np.bool_]:
        """Which pairs of pictures would bind something, if they were alike: false only where they would not."""
        told = (self._count_m[first_p] > 0) & (self._count_m[second_p] > 0)
        for lowest, highest in (self._kind_ends, self._bound_ends):
            low, high = lowest[first_p], highest[first_p]
            told &= (low != high) | (low != lowest[second_p]) | (high != highest[second_p])
        return told

    def bind(self, first_p: Rows, second_p: Rows) -> None:
        """Take pairs of pictures as alike."""
        some = (self._count_m[first_p] > 0) & (self._count_m[second_p] > 0)
        first_p, second_p = first_p[some], second_p[some]
        # Two cells of a picture with all of the other's, and the other way round, connect what all with all would:
        # every cell differs in kind from one of two at least.
        for one, other in ((first_p, second_p), (second_p, first_p)):
            place = 0
            while len(one):
                for near in (0, 1):
                    there = self._count_m[one] > near
                    cells = self._start_m[one[there]] + near, self._start_m[other[there]] + place
                    differ = self._kind_c[cells[0]] != self._kind_c[cells[1]]
                    self._cells.bind(cells[0][differ], cells[1][differ])
                place += 1
                more = self._count_m[other] > place
                one, other = one[more], other[more]
        self._bound_ends = self._ends(self._cells.least_n)

    def groups(self) -> list[Rows]:
        """The images of each group, by the first of them."""
        least_c = self._cells.least_n
        several = np.bincount(least_c, minlength=len(least_c))[least_c] > 1
        of_row = np.where(several, least_c, -1)[self._cell_of_row]
        return sorted((self._rows[group] for group in groups_of(of_row)), key=lambda group: int(group[0]))

    def _ends(self, values_c: Rows) -> tuple[Rows, Rows]:
        """[M] the lowest and the highest value of each picture's cells; without cells, they are both 0."""
        some = self._count_m > 0
        ends = np.zeros(len(some), np.int64), np.zeros(len(some), np.int64)
        if some.any():
            for end, reduce in zip(ends, (np.minimum, np.maximum), strict=True):
                end[some] = reduce.reduceat(values_c, self._start_m[some])
        return ends
