"""Shared rows: the rows of several processes as one matrix."""

from typing import Any

import numpy as np

from skae.data._sources import BLOCK_ENTRIES, Source, as_positions


class SharedRows(Source):
    """The rows of all processes, concatenated in the order of their ranks.

    All processes must select the same rows at the same time. Each of them sends its own
    ones, and all of them return all.

    Parameters
    ----------
    own : ndarray or Source of shape (n_own, n_features)
        The rows of this process.

    row_shape : tuple of int
        The shape of a row before it was flattened.

    dtype : dtype
        The type of the rows of all processes.

    first : object
        Rows that have the names of the features.

    group : object
        The process group.

    Attributes
    ----------
    ends : ndarray of int of shape (n_processes,)
        The number of rows up to the end of those of each process.

    position : slice
        Where the rows of this process are.

    kept : dict
        Rows that are used several times, by the bytes of their positions.
    """

    own: Any = None
    is_sequential = False

    def __init__(self, own, row_shape: tuple[int, ...], dtype, first, group: Any):
        self.own, self.row_shape, self.first, self.group = own, row_shape, first, group
        self.dtype = np.dtype(dtype)
        low, high, has_nan = summary(own)
        is_source = isinstance(own, Source)
        starts = own.starts if is_source else np.array([0, len(own)])
        is_sequential = is_source and own.is_sequential
        found = group.gather_objects(
            (low, high, has_nan, starts, is_source, is_sequential)
        )
        # One entry for each rank.
        lows, highs, nans, all_starts, from_blocks, in_order = zip(*found, strict=True)
        self.extremes = np.fmin.reduce(lows), np.fmax.reduce(highs)
        self.has_nan = any(nans)
        self.ends = np.cumsum([starts[-1] for starts in all_starts])
        if not self.ends[-1]:
            raise ValueError(
                "Found array with 0 sample(s) on every rank, while a minimum of 1 is "
                "required on one of them."
            )
        self.position = slice(self.ends[group.rank] - len(own), self.ends[group.rank])
        self.starts = np.cumsum([0, *np.concatenate([np.diff(s) for s in all_starts])])
        self.is_read_in_blocks, self.is_sequential = any(from_blocks), any(in_order)
        self.shape = int(self.ends[-1]), int(np.prod(row_shape))
        self.kept: dict[bytes, np.ndarray] = {}

    def __getitem__(self, index) -> np.ndarray:
        """Return rows, selected by a slice, integers or a mask."""
        index = as_positions(index, self.shape[0])
        rows = np.empty((len(index), self.shape[1]), self.dtype)
        size = max(1, BLOCK_ENTRIES // self.shape[1])
        for start in range(0, len(index), size):
            block = slice(start, start + size)
            self._read(index[block], rows[block])
        return rows

    def _read(self, index: np.ndarray, rows: np.ndarray) -> None:
        """Write rows at integer positions, a block of them."""
        ranks = np.searchsorted(self.ends, index, side="right")
        own = self.own[index[ranks == self.group.rank] - self.position.start]
        counts = np.bincount(ranks, minlength=self.group.size)
        parts = self.group.gather_rows(own.astype(self.dtype, copy=False), counts)
        for rank in np.flatnonzero(counts):
            rows[ranks == rank] = parts[rank]

    def keep(self, index: np.ndarray) -> np.ndarray:
        """Return rows, which are exchanged only in the first call for them."""
        key = index.tobytes()
        if key not in self.kept:
            self.kept[key] = self[index]
        return self.kept[key]

    def gather(self, part) -> list:
        """Return the parts of a result that all processes have computed."""
        return self.group.gather_objects(part)

    def sum(self, part) -> np.ndarray:
        """Return the sum of the parts of a result that all processes have computed."""
        return self.group.sum(part)


def summary(own) -> tuple[float, float, bool]:
    """Return the smallest and the largest value, and whether there are NaN."""
    if isinstance(own, Source):
        return *own.extremes, own.has_nan
    if not len(own):
        return np.nan, np.nan, False
    low, high = (float(f.reduce(own, axis=None)) for f in (np.fmin, np.fmax))
    return low, high, bool(np.isnan(own.min()))
