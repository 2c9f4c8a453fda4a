"""The rows of a table as a float matrix, read a block at a time and never changed."""

import numpy as np
from scipy import sparse

DTYPES = (np.float64, np.float32, np.float16)

# Numbers of which squares or reciprocals leave the range of float64.
LARGEST, SMALLEST = 1e150, 1e-150

BLOCK_ENTRIES = 2**20  # 8 MB of float64: small beside any data, large beside a call
BLOCK_ROWS = 2**12  # hidden layers may be wider than the rows
LEAST_ROWS = 64  # fewer wait for the weights of wide models, and are no faster


def extremes(X):
    """Return the least and the largest number in X, of those that are not NaN."""
    if sparse.issparse(X):
        return X.min(), X.max()
    return np.fmin.reduce(X, axis=None), np.fmax.reduce(X, axis=None)


def check_magnitude(X):
    """Refuse entries whose squares would overflow or vanish in float64."""
    if X.dtype != np.float64:
        return
    low, high = extremes(X)
    largest = max(-low, high)
    if largest > LARGEST or 0 < largest < SMALLEST:
        raise ValueError(
            f"The largest magnitude in X is {largest:.3g}, but expected between "
            f"{SMALLEST:g} and {LARGEST:g}, so that squares stay finite. Rescale X."
        )


def blocks(n_rows, n_columns):
    """Yield slices that cover the rows, each of at most 8 MB of float64 or 64 rows."""
    size = min(BLOCK_ROWS, max(LEAST_ROWS, BLOCK_ENTRIES // max(1, n_columns)))
    return (slice(i, min(i + size, n_rows)) for i in range(0, n_rows, size))


def dense(rows):
    """Return a few rows as a dense float64 array."""
    rows = rows.toarray() if sparse.issparse(rows) else rows
    return np.asarray(rows, dtype=np.float64)


def as_dtype(X, dtype):
    """Return X in a float type, cut off at the largest number that the type holds."""
    if np.can_cast(X.dtype, dtype):
        return X.astype(dtype, copy=False)
    limit = np.finfo(dtype)
    return np.clip(X, limit.min, limit.max).astype(dtype)


class StandardizedRows:
    """Rows of a matrix, centred and divided by one number when they are read.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The matrix; it may lie on disk.

    mean : ndarray of shape (n_features,)
        What is subtracted from every row.

    scale : float
        What every entry is divided by.

    weight : ndarray of shape (n_rows,) or None
        Weights with mean 1; None weighs all rows the same.

    index : ndarray of int or None, default=None
        Which rows of X are meant; None means all.

    width : int, default=0
        How many numbers a model has for a row, where those are more than features.
    """

    def __init__(self, X, mean, scale, weight=None, index=None, width=0):
        self.X = X
        self.mean = mean
        self.scale = scale
        self.weight = weight
        self.index = index
        self.width = max(width, X.shape[1])

    def __len__(self):
        return self.X.shape[0] if self.index is None else len(self.index)

    def __getitem__(self, rows):
        """Return the standardised rows as float64, of shape (n, n_features)."""
        rows = rows if self.index is None else self.index[rows]
        standardised = dense(self.X[rows]) - self.mean
        standardised /= self.scale
        return standardised

    def blocks(self):
        """Yield slices that cover the rows."""
        return blocks(len(self), self.width)
