"""The doors: what comes in is validated here, once, and becomes flat rows."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skae._sklearn import (
    check_sample_weight,
    is_pandas_df,
    is_pandas_df_or_series,
    is_polars_df,
)
from skae.data._layout import NumericLayout
from skae.data._rows import DTYPES, check_magnitude


@dataclass(frozen=True)
class TrainingData:
    """What `fit` was given, validated.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The rows to learn from.

    layout : NumericLayout
        What a row stands for.

    weight : ndarray of shape (n_samples,) or None
        Their positive weights, of mean 1.

    X_val : ndarray or CSR matrix of shape (n_val, n_features) or None
        The rows to judge by.
    """

    X: Any
    layout: NumericLayout
    weight: np.ndarray | None = None
    X_val: Any = None


def validate_training_data(estimator, X, sample_weight, X_val, loss, *, reset):
    """Return the validated table, and what `fit` is to remember of how it came.

    The estimator is not touched: a `fit` that fails leaves the earlier model as it was.
    """
    door, container = copy.copy(estimator), container_of(X)
    X, shape = _first_rows(door, X) if reset else (validate_rows(door, X), None)
    check_magnitude(X)
    names = ("n_features_in_", "feature_names_in_")
    seen = {name: vars(door)[name] for name in names if name in vars(door)}
    seen |= {"_container": container, "_dtype": X.dtype.name}
    X, weight = weighted_rows(X, sample_weight)
    layout = loss.layout(X, shape) if reset else estimator._blueprint.layout
    X_val = None if X_val is None else validate_rows(door, X_val, layout)
    return TrainingData(X, layout, weight, X_val), seen


def _first_rows(door, X):
    """Return the rows of a new model, and the shape of one."""
    X, shape = flat(X)
    X = _matrix(door, X, finite=True if shape is None else "allow-nan", reset=True)
    return X, shape or X.shape[1:]


def validate_rows(estimator, X, layout=None):
    """Return X as a float matrix (dense or CSR) of the layout seen in `fit`."""
    layout = layout or estimator._blueprint.layout
    X, shape = flat(X)
    layout.check_shape(shape or ())
    X = _matrix(estimator, X, finite=layout.finite, reset=False)
    layout.check(X)
    return X


def _matrix(estimator, X, finite, reset):
    return validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr",
        dtype=DTYPES,
        ensure_all_finite=finite,
    )


def flat(X):
    """Return X with flat rows, and the shape that rows had, or None for a matrix."""
    if n_dims(X) < 3:
        return X, None
    X = check_array(X, allow_nd=True, dtype=DTYPES, ensure_all_finite="allow-nan")
    return X.reshape(len(X), -1), X.shape[1:]


def n_dims(X) -> int:
    """Return the number of dimensions of what may be a list of lists."""
    if hasattr(X, "shape"):
        return len(X.shape)
    try:
        return np.asarray(X).ndim
    except ValueError as error:
        raise ValueError(
            f"X is not an array: {error}. Pad sequences of different lengths with NaN, "
            "to an array of shape (n_samples, length, n_features)."
        ) from error


def container_of(X):
    """Return "pandas" or "polars" for their data frames, else "default"."""
    if is_pandas_df(X):
        return "pandas"
    return "polars" if is_polars_df(X) else "default"


def one_row(estimator, row, name):
    """Return a row, in whatever shape it comes, as `validate_rows` returns a table."""
    door, shape = copy.copy(estimator), estimator._blueprint.layout.shape
    if is_pandas_df_or_series(row) and row.ndim == 1:
        row = row.to_frame().T
    elif np.ndim(row) == 1 or np.shape(row) == shape:
        vars(door).pop("feature_names_in_", None)  # bare numbers have no names
        row = np.reshape(row, (1, *np.shape(row)))
    X = validate_rows(door, row)
    if X.shape[0] != 1:
        raise ValueError(
            f"{name} has {X.shape[0]} rows, but expected one row, of shape "
            f"{shape} or {(1, *shape)}."
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
