"""Validation of the input of public methods, which returns flat rows.

Nothing below the public methods validates its input again.
"""

import copy
import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

from skae._sklearn import (
    check_sample_weight,
    is_pandas_df,
    is_pandas_df_or_series,
    is_polars_df,
)
from skae.data._columns import encode_columns, fit_columns
from skae.data._frames import (
    check_container,
    container_of,
    has_only_numbers,
    is_frame,
    is_missing,
    read_columns,
)
from skae.data._layout import ColumnsLayout, Layout, contains_nan, infer_layout
from skae.data._namespaces import to_numpy
from skae.data._rows import (
    HELD_DTYPES,
    ROW_DTYPES,
    check_magnitude,
    extremes,
    float_dtype,
)
from skae.data._sources import MAX_HELD_ENTRIES, Source, blocks_of, is_source

# NaN may be padding, which the layout of the rows decides.
MATRIX_CHECKS = {
    "accept_sparse": "csr",
    "dtype": HELD_DTYPES,
    "ensure_all_finite": "allow-nan",
}
MAX_BATCH_PARTS = 3  # of a data loader; a longer list is one of rows
NUMBER_KINDS, TEXT_KINDS = "biuf", "OSUT"
TIMES = {"M": ("dates", "(dates - dates.min())"), "m": ("time differences", "values")}
DOMAIN_TOLERANCE = 1e-6  # for the rounding of a scaler; losses clip to the domain


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

    X_clean : ndarray or CSR matrix of shape (n_samples, n_features) or None, \
            default=None
        Clean versions of the rows, which are reconstructed in their place.
    """

    X: Any
    layout: Layout
    sample_weight: np.ndarray | None = None
    X_val: Any = None
    X_clean: Any = None

    @property
    def reconstructed(self):
        """The rows that are reconstructed: the clean versions, or X itself."""
        return self.X if self.X_clean is None else self.X_clean


def validate_training_data(
    estimator, X, sample_weight, loss, X_val=None, X_clean=None, *, reset
):
    """Validate the input of `fit` or `partial_fit`.

    Parameters
    ----------
    estimator : estimator
        Its `n_features_in_` and `feature_names_in_` are set if `reset` is True, also if
        an error is raised later. Callers have to restore them.

    X, sample_weight : array-like
        Input of `fit`.

    loss : loss
        Its attributes `vocabulary` and `domain` determine which rows are valid.

    X_val, X_clean : array-like or None, default=None
        Input of `fit`.

    reset : bool
        Whether a new model is fitted, else X must match the fitted one.

    Returns
    -------
    data : TrainingData
        The validated input.

    metadata : dict
        Container and dtype of X, and the kinds of its columns: attributes of the fitted
        estimator.
    """
    # Validation returns an array or a CSR matrix, whatever the container.
    container = container_of(X.first if isinstance(X, Source) else X)
    layout: Any = None
    if not reset:
        X, layout = validate_rows(estimator, X), estimator._config.layout
        check_known(X, layout, "X")
    elif is_table(X, estimator.categorical_features):
        X = validate_first_table(estimator, X)
    else:
        X, shape = validate_first_rows(estimator, X)
    n_samples, weight, kept = X.shape[0], None, slice(None)
    if sample_weight is not None:
        weight, kept = positive_weights(X, sample_weight)
    # Rows of weight zero are left out, as if they had not been given.
    with named("X"):
        if reset and is_table(X, estimator.categorical_features):
            X, layout = fit_table(X, weight, kept, estimator.categorical_features)
        else:
            X = select(X, kept)
        check_magnitude(X)
        if layout is None:
            layout = infer_layout(X, shape, loss.vocabulary)
        layout.check_columns(X, feature_names(estimator))
        check_loss(layout, loss)
        check_domain(X, loss)
    metadata = {
        "_container": container,
        "_dtype": float_dtype(X).name,
        "column_kinds_": layout.column_kinds,
    }
    if X_val is not None:
        with named("X_val"):
            X_val = matching_rows(estimator, X_val, layout, loss)
            check_known(X_val, layout, "X_val")
            check_magnitude(X_val)
    if X_clean is not None:
        X_clean = validate_clean_rows(estimator, X_clean, X_val, layout, loss)
        if X_clean.shape[0] != n_samples:
            raise ValueError(
                f"X_clean has {X_clean.shape[0]} rows, but expected {n_samples}, one "
                "for each row of X."
            )
        X_clean = select(X_clean, kept)
    return TrainingData(X, layout, weight, X_val, X_clean), metadata


def select(X, kept):
    """Return the rows of a slice or a mask."""
    if not isinstance(X, Source):
        return X[kept]
    if not isinstance(kept, slice):
        raise ValueError(
            "Some weights are zero, but rows that are read in blocks cannot be left "
            "out. Remove these rows, or give them a small weight."
        )
    return X


def check_known(X, layout: Layout, name: str) -> None:
    """Raise ValueError if training rows have no value that is known, and no loss."""
    if not layout.is_table:
        return
    is_unknown = np.isnan(X).all(axis=1)
    if is_unknown.any():
        raise ValueError(
            f"Row {int(is_unknown.argmax())} of {name} has no values other than "
            "categories that do not occur in the rows seen in `fit`. Remove such rows, "
            "or fit a new model."
        )


def validate_clean_rows(estimator, X_clean, X_val, layout, loss):
    """Return the flat clean versions of rows."""
    if X_val is not None:
        raise ValueError(
            "Got X_clean and X_val, but expected at most one of them: X_val has no "
            "clean versions. Leave out X_val; validation rows are a part of X."
        )
    with named("X_clean"):
        X_clean = matching_rows(estimator, X_clean, layout, loss)
        check_known(X_clean, layout, "X_clean")
        check_magnitude(X_clean)
    return X_clean


def validate_first_rows(estimator, X):
    """Return the flat rows of a new fit, and the shape of one row."""
    with named("X"):
        X, shape = flatten(X)
        X = validate_matrix(estimator, X, reset=True)
    return X, shape or X.shape[1:]


def is_table(X, categorical_features) -> bool:
    """Return whether X is a table of mixed columns, and not a matrix of numbers.

    Parameters
    ----------
    X : array-like, sparse matrix or DataFrame
        The rows.

    categorical_features : "from_dtype", array-like or None
        The parameter of the estimator.
    """
    if categorical_features is None:
        return False
    if not isinstance(categorical_features, str) and declares_any(categorical_features):
        return True
    return is_frame(X) and not has_only_numbers(X)


def declares_any(categorical_features) -> bool:
    """Return whether a mask has a True, or a list any element."""
    given = np.asarray(categorical_features)
    return bool(given.any() if given.dtype.kind == "b" else given.size)


def validate_first_table(estimator, X):
    """Return a table of a new fit as a frame, or as an array of two dimensions."""
    with named("X"):
        check_in_memory(X)
        X = as_table(X)
        validate_data(estimator, X, skip_check_array=True)
        check_not_empty(X)
    return X


def as_table(X):
    """Return X as a frame, or as an array of objects if it is not numeric."""
    if sparse.issparse(X):
        raise TypeError(
            "Got a sparse matrix, but categorical_features needs a data frame or an "
            "array. Set categorical_features=None."
        )
    if isinstance(X, list | tuple):
        X = np.asarray(X, dtype=object)
    X = as_array(X)
    if len(X.shape) != 2:
        raise ValueError(
            f"Expected 2D array or a data frame, got {len(X.shape)}D array instead."
        )
    return X


def check_not_empty(X) -> None:
    """Raise ValueError for a table without rows or columns."""
    for size, name in zip(X.shape, ("sample", "feature"), strict=True):
        if size == 0:
            raise ValueError(
                f"Found array with 0 {name}(s) (shape={X.shape}) while a minimum of 1 "
                "is required."
            )


def fit_table(X, weight, kept, categorical_features) -> tuple[np.ndarray, Layout]:
    """Return a table as a matrix of floats, and the layout that encodes it.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        The table.

    weight : ndarray of shape (n_kept,) or None
        Weights of the rows that are kept.

    kept : slice or ndarray of bool
        The rows that are kept.

    categorical_features : "from_dtype" or array-like
        The columns that are categories, whatever their type.
    """
    raws = [raw.select(kept) for raw in read_columns(X)]
    weight = np.ones(len(raws[0].values)) if weight is None else weight
    names = [raw.name for raw in raws]
    columns = fit_columns(raws, weight, declared(categorical_features, names))
    matrix = encode_columns(columns, raws)
    layout = ColumnsLayout(
        shape=matrix.shape[1:],
        columns=columns,
        container=container_of(X),
        has_missing=contains_nan(matrix),
    )
    layout.check(matrix)
    return matrix, layout


def declared(categorical_features, names: list) -> np.ndarray:
    """Return which columns `categorical_features` names, shape (n_columns,).

    It is a mask, or the positions or names of some columns.
    """
    mask = np.zeros(len(names), dtype=bool)
    if isinstance(categorical_features, str):  # from_dtype
        return mask
    given = np.asarray(categorical_features)
    if given.dtype.kind == "b":
        if given.shape != mask.shape:
            raise ValueError(
                f"Got categorical_features of shape {given.shape}, but expected a mask "
                f"of shape {mask.shape}, with an entry for each column."
            )
        return given
    known = range(len(names)) if given.dtype.kind in "iu" else names
    unknown = [column for column in given.tolist() if column not in known]
    if unknown or given.ndim != 1:
        raise ValueError(
            f"Got categorical_features={categorical_features!r}, but expected names or "
            f"positions of columns. The columns are {names}."
        )
    mask[[list(known).index(column) for column in given.tolist()]] = True
    return mask


def feature_names(estimator):
    """Return the names of the features, or their positions if they have none."""
    return getattr(estimator, "feature_names_in_", range(estimator.n_features_in_))


def check_loss(layout: Layout, loss) -> None:
    """Raise ValueError if a loss is not defined for a layout."""
    if not layout.has_missing_values:
        return
    name = getattr(loss.elementwise, "__name__", type(loss).__name__)
    if layout.is_table and loss.elementwise is None:  # the loss of a fitted model
        return
    if layout.is_table and (name != "squared_error" or loss.power != 2):
        raise ValueError(
            f"Got loss={name!r}, but a table of mixed columns has the squared error of "
            "numbers and the cross-entropy of categories. Set loss='squared_error', or "
            "encode the columns as numbers before."
        )
    if loss.transform is not None:
        raise ValueError(
            f"Got loss={name!r}, but X has missing values. Use another loss, such as "
            "'squared_error', or impute the missing values before."
        )


def validate_rows(estimator, X):
    """Return the flat rows of X, validated against a fitted estimator.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.

    X : array-like, sparse matrix or DataFrame
        Rows, flat or in the shape seen in `fit`.

    Returns
    -------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Float rows.
    """
    with named("X"):
        loss = estimator.module_.loss
        return matching_rows(estimator, X, estimator._config.layout, loss)


def validate_rows_to_store(estimator, X, max_error: float | None):
    """Return the flat rows of X, and their entries as they are stored exactly.

    Raises ValueError if `max_error` is given and the table that is restored from the
    latter differs from X.
    """
    rows, layout = validate_rows(estimator, X), estimator._config.layout
    if not layout.is_table:
        return rows, rows
    with named("X"):
        table = as_table(X)
        stored = layout.to_stored(table, rows)
        if max_error is not None:
            layout.check_stored(table, stored, max_error)
    return rows, stored


def validate_codes(X, n_components: int) -> np.ndarray:
    """Return codes as floats, of shape (n_samples, n_components)."""
    with named("X"):
        check_in_memory(X)
        # Codes have no feature names to compare, so not by `validate_data`.
        codes = as_array(X)
        check_numbers(codes)
        if needs_conversion(codes, ROW_DTYPES):
            codes = check_array(codes, dtype=ROW_DTYPES)
        else:
            assert_all_finite(codes)
        if codes.shape[1] != n_components:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but expected codes with "
                f"n_components_={n_components} columns, as `transform` returns."
            )
    return codes


def matching_rows(estimator, X, layout, loss):
    """Return flat rows, validated against a layout and the domain of a loss."""
    if layout.is_table:
        return matching_table(estimator, X, layout)
    X, shape = flatten(X)
    layout.check_shape(shape or ())
    X = validate_matrix(estimator, X, reset=False)
    layout.check(X)
    check_domain(X, loss)
    return X


def matching_table(estimator, X, layout: ColumnsLayout) -> np.ndarray:
    """Return a table as a matrix, encoded as in `fit`."""
    X = as_table(X)
    validate_data(estimator, X, reset=False, skip_check_array=True)
    check_not_empty(X)
    # Rows without any value raise. Those of unknown categories alone are given values.
    layout.check(np.where(is_missing(X), np.nan, 0.0))
    return layout.encode(X)


@contextmanager
def named(name: str):
    """Add the name of an argument to errors about it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if re.search(rf"\b{name}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        # Without the first error, whose message is repeated.
        raise kind(f"Invalid {name}: {error}") from None


def validate_matrix(estimator, X, *, reset: bool):
    """Return flat rows, and set or check the number and names of the features."""
    if not isinstance(X, Source):
        if needs_conversion(X, HELD_DTYPES):
            return validate_data(estimator, X, reset=reset, **MATRIX_CHECKS)
        assert_all_finite(X, allow_nan=True, input_name="X")
        return validate_data(estimator, X, reset=reset, skip_check_array=True)
    # The blocks have been validated. Of flat ones, the first has the names.
    first = unpacked(X.first)
    first = first if is_frame(first) else np.empty((1, X.shape[1]))
    validate_data(estimator, first, reset=reset, skip_check_array=True)
    return X if np.prod(X.shape) > MAX_HELD_ENTRIES else X[:]


def needs_conversion(X, dtypes) -> bool:
    """Return whether scikit-learn's `check_array` would not return X itself.

    For other arrays it only tests whether the entries are finite. `assert_all_finite`
    does the same in a fourth of the time, which matters for a single row.
    """
    return (
        type(X) is not np.ndarray or X.ndim != 2 or X.size == 0 or X.dtype not in dtypes
    )


def unpacked(block):
    """Return an array or data frame for a table of pyarrow, or from a tuple."""
    # The batch of a data loader: rows, and possibly targets and indices.
    is_batch = isinstance(block, list | tuple) and 0 < len(block) <= MAX_BATCH_PARTS
    if is_batch and len(getattr(block[0], "shape", ())) > 1:
        block = block[0]
    is_arrow = hasattr(block, "to_pandas") and not is_frame(block)
    return block.to_pandas() if is_arrow else block


def read_block(block) -> tuple[np.ndarray, tuple[int, ...], list | None]:
    """Return the flat rows of a block, the shape of a row, and names of columns.

    Blocks are arrays, data frames, tables of pyarrow, or tuples whose first element is
    one of these, such as the batches of a data loader.
    """
    block = unpacked(block)
    if is_frame(block) and not has_only_numbers(block):
        raise ValueError(
            "Got blocks of a table with columns other than numbers. Encode them as "
            "numbers, or pass the table as one data frame."
        )
    rows, shape = flatten(block)
    checks = MATRIX_CHECKS | {"accept_sparse": False, "ensure_min_samples": 0}
    rows = check_array(rows, **checks)
    names = list(block.columns) if is_frame(block) else None
    return rows, shape or rows.shape[1:], names


def flatten(X):
    """Return X with flat rows, and the shape of a row, or None for a matrix."""
    if isinstance(X, Source):
        return X, X.row_shape if len(X.row_shape) > 1 else None
    if is_source(X):
        source = Source(blocks_of(X), read_block)
        shape = source.row_shape
        return source, shape if len(shape) > 1 else None
    X = as_array(X)
    check_numbers(X)
    if len(X.shape) < 3:
        return X, None
    # validate_data rejects more than two axes, and here the shape is needed as well.
    X = check_array(X, allow_nd=True, dtype=HELD_DTYPES, ensure_all_finite="allow-nan")
    return X.reshape(len(X), -1), X.shape[1:]


def as_array(X):
    """Return lists, tensors and others as arrays, and X unchanged if it is a matrix."""
    if hasattr(X, "__array_namespace__") or hasattr(X, "detach"):
        return to_numpy(X)
    check_container(X)
    # np.asarray would copy DataFrames.
    if hasattr(X, "shape"):
        return X
    try:
        return np.asarray(X)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Cannot be converted to an array ({error}). Pad sequences of different "
            "lengths with NaN to an array of shape (n_samples, n_steps, n_features)."
        ) from error


def check_in_memory(X) -> None:
    """Raise TypeError for rows that are read in blocks."""
    if is_source(X):
        what = (
            f"an array of type {type(X).__name__}"
            if hasattr(X, "shape")
            else ("a function or an iterable of blocks")
        )
        raise TypeError(
            f"Got {what}, but expected rows in memory. Pass an array, or one block of "
            "rows at a time."
        )


def check_numbers(X, name: str = "X") -> None:
    """Raise TypeError or ValueError unless all entries are real numbers.

    Strings of digits are converted, as in scikit-learn.
    """
    if np.ma.is_masked(X):
        raise ValueError(
            f"{name} has masked entries. Impute missing values before, for example by "
            f"SimpleImputer().fit_transform({name}.filled(np.nan))."
        )
    for label, column in other_columns(X):
        check_column(name if label is None else f"Column {label!r} of {name}", column)


def other_columns(X):
    """Yield labels and values of the columns whose type is not that of numbers.

    The label is None for an array, which is not divided into columns.
    """
    if is_pandas_df(X) or is_polars_df(X):
        for i, dtype in enumerate(X.dtypes):
            if not is_number_type(dtype):
                column = X.iloc[:, i] if is_pandas_df(X) else X.to_series(i)
                yield X.columns[i], np.asarray(column)
    elif not is_number_type(getattr(X, "dtype", None)):
        yield None, X


def is_number_type(dtype) -> bool:
    """Return whether a type of numpy, pandas or polars is that of real numbers."""
    if hasattr(dtype, "is_numeric"):  # polars
        return dtype.is_numeric()
    return getattr(dtype, "kind", None) in NUMBER_KINDS


def check_column(name: str, values) -> None:
    """Raise TypeError or ValueError if values are dates, complex or not numbers."""
    kind = getattr(values.dtype, "kind", None)
    if kind in TIMES:
        what, days = TIMES[kind]
        raise TypeError(
            f"{name} contains {what}. Convert them to numbers before, such as days: "
            f"{days} / np.timedelta64(1, 'D')."
        )
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {values.dtype}. Pass real "
            "and imaginary parts as separate columns: np.hstack([X.real, X.imag])."
        )
    if kind in TEXT_KINDS:
        check_text(name, values)


def check_text(name: str, values: np.ndarray) -> None:
    """Raise TypeError or ValueError unless objects or strings are numbers."""
    try:
        np.asarray(values, dtype=object).astype(np.float64)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{name} contains values that are not numbers: {error}. Pass categories in "
            "a data frame with categorical_features='from_dtype', or encode them "
            "before, with OneHotEncoder or OrdinalEncoder in a ColumnTransformer."
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
    layout = estimator._config.layout
    shape = (layout.n_columns,) if layout.is_table else layout.shape
    # "end" alone is a word of other errors.
    with named(f"{name} row"):
        if layout.is_table and isinstance(row, list | tuple):
            row = np.asarray(row, dtype=object)
        row = as_array(row)
        if is_pandas_df_or_series(row) and row.ndim == 1:
            row = row_of_series(row, layout)
        elif len(row.shape) == 1 or row.shape == shape:
            # A row taken from a matrix has no feature names: no reason to warn.
            estimator = copy.copy(estimator)
            vars(estimator).pop("feature_names_in_", None)
            row = np.reshape(row, (1, *row.shape))
        loss = estimator.module_.loss
        X = matching_rows(estimator, row, layout, loss)
    if X.shape[0] != 1:
        raise ValueError(
            f"{name} has {X.shape[0]} rows, but expected one row, of shape "
            f"{shape} or {(1, *shape)}."
        )
    return X


def row_of_series(series, layout):
    """Return a series as a frame of one row."""
    row = series.to_frame().T
    # Objects such as intervals are levels only in a column of categories.
    kinds = layout.column_kinds or {}
    categories = [name for name in row if kinds.get(name) == "category"]
    return row.astype(dict.fromkeys(categories, "category"))


def positive_weights(X, sample_weight):
    """Return positive weights scaled to mean 1, and an index of their rows.

    Weights are None if all of them are equal.
    """
    weight = validate_weights(X, sample_weight)
    # Equal weights give the same bits as none.
    if (weight == weight[0]).all():
        return None, slice(None)
    kept = weight > 0
    # A slice copies no rows.
    index = slice(None) if kept.all() else kept
    return weight[kept] / weight[kept].mean(), index


def validate_weights(X, sample_weight) -> np.ndarray:
    """Return non-negative float64 weights, of which the largest is from 0.5 to 1."""
    weight = raw_weights(X, sample_weight)
    # Divided by a power of two, which is exact, so that sums of weights are finite.
    return np.ldexp(weight, -np.frexp(weight.max())[1])


def raw_weights(X, sample_weight) -> np.ndarray:
    """Return non-negative, finite float64 weights."""
    with named("sample_weight"):
        if not isinstance(sample_weight, Number | None):
            sample_weight = as_array(sample_weight)
            check_numbers(sample_weight, "sample_weight")
        weight = check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if not np.isfinite(weight).all():  # a single number
            raise ValueError(f"Got {sample_weight}, but expected finite weights.")
    return weight


def check_domain(X, loss) -> None:
    """Raise ValueError if X has values for which the loss is not defined."""
    lowest, highest = loss.domain
    if math.isinf(lowest) and math.isinf(highest):
        return
    low, high = extremes(X)
    if low < lowest - DOMAIN_TOLERANCE or high > highest + DOMAIN_TOLERANCE:
        raise ValueError(
            f"loss={loss.elementwise.__name__!r} needs data in "
            f"[{lowest:g}, {highest:g}], but X has values in [{low:.6g}, {high:.6g}]. "
            "Rescale X, for example with MinMaxScaler(clip=True), or use another loss, "
            "such as 'squared_error'."
        )
