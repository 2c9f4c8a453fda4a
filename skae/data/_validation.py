"""Validation of the input of public methods, which returns flat rows.

Nothing below the public methods validates its input again.
"""

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
from skae.data._layout import Layout, infer_layout
from skae.data._rows import ROW_DTYPES, check_magnitude, extremes

MATRIX_CHECKS = {"accept_sparse": "csr", "dtype": ROW_DTYPES}


@dataclass(frozen=True)
class TrainingData:
    """Validated input of `fit`.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The training rows, without those of weight zero.

    layout : Layout
        What a row stands for.

    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Positive weights with mean 1. None if all weights are equal.

    X_val : ndarray or CSR matrix of shape (n_val, n_features) or None, default=None
        Validation rows given by the user.
    """

    X: Any
    layout: Layout
    sample_weight: np.ndarray | None = None
    X_val: Any = None


def validate_training_data(estimator, X, sample_weight, X_val, loss, *, reset):
    """Validate the input of `fit` or `partial_fit`.

    Parameters
    ----------
    estimator : estimator
        Its `n_features_in_` and `feature_names_in_` are set if `reset` is True, also if
        an error is raised later. Callers have to restore them.

    X, sample_weight, X_val : array-like
        Input of `fit`.

    loss : loss
        Its attributes `vocabulary` and `domain` determine which rows are valid.

    reset : bool
        Whether a new model is fitted, else X must match the fitted one.

    Returns
    -------
    data : TrainingData
        The validated input.

    metadata : dict
        Container and dtype of X, private attributes of the fitted estimator.
    """
    # Validation returns an array or a CSR matrix, whatever the container.
    container = "pandas" if is_pandas_df(X) else "default"
    container = "polars" if is_polars_df(X) else container
    if reset:
        X, shape = flatten(X)
        # NaN in rows of several axes may be padding, which `infer_layout` decides.
        ensure_all_finite = True if shape is None else "allow-nan"
        X = validate_data(
            estimator, X, ensure_all_finite=ensure_all_finite, **MATRIX_CHECKS
        )
    else:
        X = validate_rows(estimator, X)
    check_magnitude(X)
    metadata = {"_container": container, "_dtype": X.dtype.name}
    weight = None
    if sample_weight is not None:
        X, weight = positive_weights(X, sample_weight)
    # After rows of weight zero are left out, as if they had not been given.
    if reset:
        layout = infer_layout(X, shape or X.shape[1:], loss.vocabulary)
    else:
        layout = estimator._config.layout
    if X_val is not None:
        X_val = validate_rows(estimator, X_val, layout)
        check_magnitude(X_val)
    if loss.domain != (-np.inf, np.inf):
        check_domain(X, loss)
        if X_val is not None:
            check_domain(X_val, loss)
    return TrainingData(X, layout, weight, X_val), metadata


def validate_rows(estimator, X, layout=None):
    """Return the flat rows of X, validated against the layout.

    Parameters
    ----------
    estimator : estimator
        The estimator, of which `n_features_in_` is set.

    X : array-like, sparse matrix or DataFrame
        Rows, flat or in the shape seen in `fit`.

    layout : Layout or None, default=None
        The layout of rows. With None, that of the fitted estimator.

    Returns
    -------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Float rows.
    """
    layout = layout or estimator._config.layout
    X, shape = flatten(X)
    layout.check_shape(shape or ())
    finite = layout.ensure_all_finite
    X = validate_data(
        estimator, X, reset=False, ensure_all_finite=finite, **MATRIX_CHECKS
    )
    layout.check(X)
    return X


def flatten(X):
    """Return X with flat rows, and the shape of a row, or None for a matrix."""
    # np.asarray would copy DataFrames, and fails for tensors on other devices.
    n_dims = len(X.shape) if hasattr(X, "shape") else array_ndim(X)
    if n_dims < 3:
        return X, None
    # validate_data rejects more than two axes, and here the shape is needed as well.
    X = check_array(X, allow_nd=True, dtype=ROW_DTYPES, ensure_all_finite="allow-nan")
    return X.reshape(len(X), -1), X.shape[1:]


def array_ndim(X) -> int:
    """Return the number of dimensions of an array-like, such as a nested list."""
    try:
        return np.asarray(X).ndim
    except ValueError as error:
        raise ValueError(
            f"X cannot be converted to an array: {error}. Pad sequences of different "
            "lengths with NaN to an array of shape (n_samples, n_steps, n_features)."
        ) from error


def one_row(estimator, row, name):
    """Return a single row, with or without the axis of samples, as a matrix.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator.

    row : array-like, Series or DataFrame
        The row, of shape (n_features,), (1, n_features) or the shape seen in `fit`.

    name : str
        Name of the argument, for error messages.

    Returns
    -------
    X : ndarray or CSR matrix of shape (1, n_features)
        The validated row.
    """
    shape = estimator._config.layout.shape
    if is_pandas_df_or_series(row) and row.ndim == 1:
        row = row.to_frame().T
    elif np.ndim(row) == 1 or np.shape(row) == shape:
        # A row taken from a matrix has no feature names, which is no reason to warn.
        estimator = copy.copy(estimator)
        vars(estimator).pop("feature_names_in_", None)
        row = np.reshape(row, (1, *np.shape(row)))
    X = validate_rows(estimator, row)
    if X.shape[0] != 1:
        raise ValueError(
            f"{name} has {X.shape[0]} rows, but expected one row, of shape "
            f"{shape} or {(1, *shape)}."
        )
    return X


def positive_weights(X, sample_weight):
    """Return the rows of positive weight, and their weights scaled to mean 1.

    Weights are None if all of them are equal.
    """
    weight = check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    # Equal weights give the same bits as none.
    if (weight == weight[0]).all():
        return X, None
    kept = weight > 0
    X = X if kept.all() else X[kept]
    return X, weight[kept] / weight[kept].mean()


def check_domain(X, loss) -> None:
    """Raise ValueError if X has values for which the loss is not defined."""
    (low, high), (lowest, highest) = extremes(X), loss.domain
    if low < lowest or high > highest:
        raise ValueError(
            f"loss={loss.elementwise.__name__!r} needs data in "
            f"[{lowest:g}, {highest:g}], but X has values in [{low:.6g}, {high:.6g}]. "
            "Rescale X (MinMaxScaler), or use another loss, such as 'squared_error'."
        )
