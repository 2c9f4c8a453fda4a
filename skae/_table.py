"""The rows of a table as a float matrix, read a block at a time and never changed."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from skae._sklearn import (
    check_sample_weight,
    is_pandas_df,
    is_pandas_df_or_series,
    is_polars_df,
)

DTYPES = (np.float64, np.float32, np.float16)

# Numbers of which squares or reciprocals leave the range of float64.
LARGEST, SMALLEST = 1e150, 1e-150

BLOCK_ENTRIES = 2**20  # 8 MB of float64: small beside any data, large beside a call
BLOCK_ROWS = 2**12  # hidden layers may be wider than the rows
LEAST_ROWS = 64  # fewer wait for the weights of wide models, and are no faster


@dataclass(frozen=True)
class Table:
    """What `fit` was given, validated.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The rows to learn from.

    weight : ndarray of shape (n_samples,) or None
        Their positive weights, of mean 1.

    X_val : ndarray or CSR matrix of shape (n_val, n_features) or None
        The rows to judge by.
    """

    X: Any
    weight: np.ndarray | None = None
    X_val: Any = None


def open_table(estimator, X, sample_weight, X_val, *, reset):
    """Return the validated table, and what `fit` is to remember of how it came.

    The estimator is not touched: a `fit` that fails leaves the earlier model as it was.
    """
    door, container = copy.copy(estimator), container_of(X)
    X = validate_data(door, X, reset=reset, accept_sparse="csr", dtype=DTYPES)
    check_magnitude(X)
    names = ("n_features_in_", "feature_names_in_")
    seen = {name: vars(door)[name] for name in names if name in vars(door)}
    seen |= {"_container": container, "_dtype": X.dtype.name}
    X, weight = weighted_rows(X, sample_weight)
    return Table(X, weight, None if X_val is None else validate_rows(door, X_val)), seen


def container_of(X):
    """Return "pandas" or "polars" for their data frames, else "default"."""
    if is_pandas_df(X):
        return "pandas"
    return "polars" if is_polars_df(X) else "default"


def validate_rows(estimator, X):
    """Return X as a finite float matrix (dense or CSR) of the width seen in `fit`."""
    return validate_data(estimator, X, reset=False, accept_sparse="csr", dtype=DTYPES)


def one_row(estimator, row, name):
    """Return a row, in whatever shape it comes, as `validate_rows` returns a table."""
    door = copy.copy(estimator)
    if is_pandas_df_or_series(row) and row.ndim == 1:
        row = row.to_frame().T
    elif np.ndim(row) == 1:
        vars(door).pop("feature_names_in_", None)  # bare numbers have no names
        row = np.reshape(row, (1, -1))
    X = validate_rows(door, row)
    if X.shape[0] != 1:
        raise ValueError(
            f"{name} has {X.shape[0]} rows, but expected one row, of shape "
            f"({X.shape[1]},) or (1, {X.shape[1]})."
        )
    return X


def weighted_rows(X, sample_weight):
    """Return the rows of positive weight, and their weights with mean 1 or None."""
    if sample_weight is None:
        return X, None
    weight = check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    if not weight.any():
        raise ValueError("sample_weight is zero for every row; expected some above 0.")
    if (weight == weight[0]).all():
        return X, None
    kept = weight > 0
    X = X if kept.all() else X[kept]
    return X, weight[kept] / weight[kept].mean()


def check_magnitude(X):
    """Refuse entries whose squares would overflow or vanish in float64."""
    if X.dtype != np.float64:
        return
    stored = X.data if sparse.issparse(X) else X
    largest = max(-stored.min(initial=0.0), stored.max(initial=0.0))
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


class Rows:
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
    """

    def __init__(self, X, mean, scale, weight=None, index=None):
        self.X = X
        self.mean = mean
        self.scale = scale
        self.weight = weight
        self.index = index

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
        return blocks(len(self), self.X.shape[1])
