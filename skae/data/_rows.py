"""Rows of a matrix: standardized when they are read, in blocks of bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from skae.data._shared_rows import SharedRows
from skae.data._sources import Source

ROW_DTYPES = (np.float64, np.float32, np.float16)
# Held as they are, and converted to float64 block by block.
HELD_DTYPES = (*ROW_DTYPES, np.uint8, np.int8, np.uint16, np.int16, np.bool_)

# Beyond these magnitudes squares or reciprocals leave the range of float64.
MIN_MAGNITUDE, MAX_MAGNITUDE = 1e-150, 1e150

BLOCK_ENTRIES = 2**20  # 8 MB of float64, which amortizes the overhead of a call
MAX_BLOCK_ROWS = 2**12  # hidden layers can be wider than the rows
MIN_BLOCK_ROWS = 64  # smaller blocks are memory-bound on the weights of wide models


def extremes(X):
    """Return the minimum and maximum of X, ignoring NaN."""
    if isinstance(X, Source):
        return X.extremes
    if sparse.issparse(X):
        return X.min(), X.max()
    # np.nanmin would warn if all entries were NaN.
    return np.fmin.reduce(X, axis=None), np.fmax.reduce(X, axis=None)


def check_magnitude(X):
    """Raise ValueError if squares of the entries would overflow or underflow."""
    # Narrower floats are computed in float64, which holds the squares of all of them.
    if X.dtype != np.float64:
        return
    low, high = extremes(X)
    largest = max(-low, high)
    if largest > MAX_MAGNITUDE or 0 < largest < MIN_MAGNITUDE:
        raise ValueError(
            f"The largest magnitude in X is {largest:.3g}, but expected a value "
            f"between {MIN_MAGNITUDE:g} and {MAX_MAGNITUDE:g}, so that squares neither "
            "overflow nor underflow. Rescale X."
        )


def row_blocks(n_rows, n_columns):
    """Yield slices that cover the rows in order.

    A block has at most 8 MB in float64, unless 64 rows take more. This function is
    similar to :func:`sklearn.utils.gen_batches`, with a size chosen for memory.
    """
    size = BLOCK_ENTRIES // max(1, n_columns)
    size = min(MAX_BLOCK_ROWS, max(MIN_BLOCK_ROWS, size))
    return (slice(i, min(i + size, n_rows)) for i in range(0, n_rows, size))


def dense(rows):
    """Return a block of rows as a dense float64 array."""
    rows = rows.toarray() if sparse.issparse(rows) else rows
    return np.asarray(rows, dtype=np.float64)


def float_dtype(X):
    """Return the float type in which results for X are returned."""
    return X.dtype if X.dtype in ROW_DTYPES else np.dtype(np.float64)


def cast_rows(X, dtype):
    """Return X in a float dtype, clipped to the range of the dtype."""
    if np.can_cast(X.dtype, dtype):
        return X.astype(dtype, copy=False)
    limit = np.finfo(dtype)
    # A plain cast would turn large values into infinity.
    return np.clip(X, limit.min, limit.max).astype(dtype)


class LazyRows:
    """The rows of a matrix, transformed by a function when they are read.

    A transformed copy could exceed the memory: embedded tokens are up to 32 times
    larger than tokens.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The matrix.

    function : callable
        Function of dense rows, which returns an array of shape (n, width).

    width : int
        Number of columns of the transformed rows.
    """

    def __init__(self, X, function: Callable, width: int):
        self.X = X
        self.function = function
        self.shape = X.shape[0], width

    def __getitem__(self, rows) -> np.ndarray:
        return self.function(dense(self.X[rows]))

    # Functions that need the whole matrix call `np.asarray`.
    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:]


@dataclass
class StandardizedRows:
    """Rows of a matrix, centered and divided by one number when they are read.

    X itself is never changed or copied as a whole, so that memory maps and sparse
    matrices of any size can be used.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The matrix of floats, integers or booleans, possibly memory-mapped.

    mean : ndarray of shape (n_features,)
        Subtracted from every row.

    scale : float
        Divisor of every entry.

    weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the selected rows. With None all rows have the same weight.

    index : ndarray of int of shape (n_samples,) or None, default=None
        Indices of the selected rows of X. With None all rows are selected.

    width : int, default=0
        Number of outputs of a model per row. It determines the size of the blocks if it
        is larger than n_features.

    clean : ndarray or CSR matrix of shape (n_rows, n_features) or None, default=None
        Clean versions of the rows, which follow them in the columns.
    """

    X: Any
    mean: np.ndarray
    scale: float
    weight: np.ndarray | None = None
    index: np.ndarray | None = None
    width: int = 0
    clean: Any = None

    def __len__(self):
        return self.X.shape[0] if self.index is None else len(self.index)

    @property
    def n_columns(self):
        """Number of columns: n_features, or twice as many with clean versions."""
        return self.X.shape[1] * (1 if self.clean is None else 2)

    @property
    def is_expanded(self):
        """Whether rows take more memory once they are read."""
        return sparse.issparse(self.X)

    @property
    def is_read_in_blocks(self):
        """Whether rows are shuffled by blocks, since single rows are slow to read."""
        return isinstance(self.X, Source) and self.X.is_read_in_blocks

    @property
    def block_starts(self) -> np.ndarray:
        """The first of the selected rows of each block of a source, and their number.

        Only for an index in increasing order.
        """
        starts = self.X.starts
        return starts if self.index is None else np.searchsorted(self.index, starts)

    def __getitem__(self, positions):
        """Return standardized rows in float64, of shape (n_positions, n_columns)."""
        index = positions if self.index is None else self.index[positions]
        rows = self._standardized(self.X[index])
        if self.clean is None:
            return rows
        return np.hstack([rows, self._standardized(self.clean[index])])

    def _standardized(self, rows):
        rows = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
        # Infinite results of huge values are clipped by the model.
        with np.errstate(over="ignore"):
            # The mean is in float64, and so is the difference for every type of X.
            standardized = rows - self.mean
            # In place, which saves a copy of the block.
            standardized /= self.scale
        return standardized

    def blocks(self):
        """Yield slices that cover the rows in order."""
        return row_blocks(len(self), max(self.width, self.n_columns))

    def subset(self, positions):
        """Return the rows at integer positions, with their weights."""
        X, index = self.X, positions if self.index is None else self.index[positions]
        if isinstance(X, SharedRows):
            # Callbacks of a single process may read samples again.
            X, index = X.keep(index), np.arange(len(index))
        weight = None if self.weight is None else self.weight[positions]
        return replace(self, X=X, index=index, weight=weight)


@dataclass
class ScoreRows(StandardizedRows):
    """Rows that are reduced to principal scores when they are read.

    A last column follows the scores: the mean square of what they leave out. Sparse
    rows are not made dense.

    Parameters
    ----------
    to_scores : ndarray of shape (n_features, n_scores)
        Linear map from standardized rows to scores, with orthogonal columns.
    """

    to_scores: Any = None
    # A block of scores takes no more memory than the block of rows.
    is_expanded = False

    @property
    def n_columns(self):
        """Number of columns: n_scores + 1, or twice as many with clean versions."""
        return (self.to_scores.shape[1] + 1) * (1 if self.clean is None else 2)

    def _standardized(self, rows):
        """Return scores and what they leave out, shape (n_rows, n_scores + 1)."""
        # (n_rows, n_scores) and (n_rows,)
        if sparse.issparse(rows):
            scores, squares = self._sparse_scores(rows.astype(np.float64, copy=False))
        else:
            standardized = super()._standardized(rows)
            scores = standardized @ self.to_scores
            squares = np.square(standardized).sum(axis=1)
        lengths = np.square(self.to_scores).sum(axis=0)
        # Axes beyond the rank are zero.
        explained = np.square(scores) @ (1 / np.where(lengths > 0, lengths, 1.0))
        left_out = (squares - explained).clip(min=0) / len(self.to_scores)
        return np.column_stack([scores, left_out])

    def _sparse_scores(self, rows):
        """Return scores and squared lengths of standardized rows, centered last."""
        scores = (rows @ self.to_scores - self.mean @ self.to_scores) / self.scale
        squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
        squares = squares - 2 * (rows @ self.mean) + self.mean @ self.mean
        return scores, squares / self.scale**2
