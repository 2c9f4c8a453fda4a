"""The input of a distributed fit: validated on each rank, compared, and shared."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from skae._version import __version__
from skae.data._frames import container_of
from skae.data._shared_rows import SharedRows
from skae.data._sources import Source, blocks_of, is_source
from skae.data._validation import (
    as_array,
    is_table,
    raw_weights,
    validate_first_rows,
)
from skae.training._processes import ProcessGroup

# Parameters that may differ: the seed is that of rank 0.
OWN_PARAMS = ("random_state", "verbose", "device")


@dataclass(frozen=True)
class OwnRows:
    """The validated input of one rank.

    Attributes
    ----------
    rows : ndarray or Source of shape (n_own, n_features)
        The rows without those of weight zero.

    row_shape : tuple of int
        The shape of a row before it was flattened.

    weight : ndarray of shape (n_own,) or None
        The weights of the rows.
    """

    rows: Any
    row_shape: tuple[int, ...]
    weight: np.ndarray | None


def share_rows(
    estimator, X, sample_weight, X_val, X_clean, group: ProcessGroup
) -> tuple[SharedRows, np.ndarray | None]:
    """Return the rows and weights of all ranks, after their input was compared.

    An error on one rank, and a difference between two, is raised on all of them.

    Parameters
    ----------
    estimator : AutoencoderTransformer
        Its `n_features_in_` and `feature_names_in_` are set.

    X, sample_weight, X_val, X_clean : array-like
        The input of `fit` on this rank.

    group : ProcessGroup
        The processes.

    Returns
    -------
    X : SharedRows of shape (n_samples, n_features)
        The rows.

    sample_weight : ndarray of shape (n_samples,) or None
        The weights.
    """

    def validate() -> OwnRows:
        check_supported(estimator, X, X_val, X_clean)
        return validate_own_rows(estimator, X, sample_weight)

    own = group.attempt(validate)
    described = group.gather_objects(describe(estimator, X, own))
    check_equal(described)
    dtypes = [facts["dtype"] for facts in described]
    dtype = next(filter(None, dtypes), own.rows.dtype)
    first = blocks_of(X)[0] if is_source(X) else X
    shared = SharedRows(own.rows, own.row_shape, dtype, first, group)
    if sample_weight is None:
        return shared, None
    return shared, np.concatenate(group.gather_objects(own.weight))


def check_supported(estimator, X, X_val, X_clean) -> None:
    """Raise ValueError for input that a distributed fit does not support."""
    refused = {
        "warm_start=True": estimator.warm_start,
        "X_val": X_val is not None,
        "X_clean": X_clean is not None,
        "a sparse matrix": sparse.issparse(X),
        "a table of mixed columns": is_table(X, estimator.categorical_features),
    }
    found = [name for name, is_given in refused.items() if is_given]
    if found:
        raise ValueError(
            f"Got {found[0]} and distributed=True, which are not supported together. "
            f"Fit in one process with distributed=False, or without {found[0]}."
        )


def validate_own_rows(estimator, X, sample_weight) -> OwnRows:
    """Return the validated rows of this rank, which may be none."""
    X = as_array(X) if isinstance(X, list | tuple) else X
    if len(getattr(X, "shape", ())) > 1 and X.shape[0] == 0:
        rows, shape = validate_no_rows(estimator, X)
        return OwnRows(rows, shape, None if sample_weight is None else np.empty(0))
    rows, shape = validate_first_rows(estimator, X)
    if sample_weight is None:
        return OwnRows(rows, shape, None)
    weight = raw_weights(rows, sample_weight)
    if isinstance(rows, Source):
        return OwnRows(rows, shape, weight)
    # Rows of weight zero are left out.
    return OwnRows(rows[weight > 0], shape, weight[weight > 0])


def validate_no_rows(estimator, X) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return an array of no rows, and the shape of a row."""
    shape = tuple(int(size) for size in X.shape[1:])
    rows = np.empty((0, int(np.prod(shape))))
    named = X if len(shape) == 1 else rows
    validate_data(estimator, named, reset=True, skip_check_array=True)
    return rows, shape


def describe(estimator, X, own: OwnRows) -> dict[str, Any]:
    """Return what must be equal on all ranks, by its name."""
    names = getattr(estimator, "feature_names_in_", None)
    params = estimator.get_params(deep=True)
    return {
        "version of skae": __version__,
        "row shape": own.row_shape,
        "feature names": None if names is None else names.tolist(),
        "container": container_of(X),
        # A rank without rows has no type.
        "dtype": own.rows.dtype.name if own.rows.shape[0] else None,
        "sample_weight": "None" if own.weight is None else "given",
        # The repr of objects without their address in memory.
        **{
            name: re.sub(r" at 0x[0-9a-f]+", "", repr(value))
            for name, value in params.items()
            if name not in OWN_PARAMS
        },
    }


def check_equal(described: list[dict[str, Any]]) -> None:
    """Raise ValueError if two ranks differ."""
    for name in dict.fromkeys(name for facts in described for name in facts):
        values = [facts.get(name) for facts in described]
        known = [i for i, v in enumerate(values) if v is not None or name != "dtype"]
        other = [i for i in known if values[i] != values[known[0]]]
        if other:
            raise ValueError(
                f"Rank {known[0]} has the {name} {values[known[0]]}, but rank "
                f"{other[0]} has {values[other[0]]}. With distributed=True, the "
                "columns and types of X and the parameters must be the same on all "
                "ranks; only the rows differ."
            )
