"""Columns of data frames: the only module with the types of pandas and polars.

`read_columns` returns the columns of a frame as NumPy arrays of four kinds, and
`build_frame` returns a frame of the same types. A type is described by a tuple of plain
values, so that it can be stored in a saved model.
"""

import datetime
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd
from scipy import sparse

from skae._sklearn import is_pandas_df, is_polars_df

DAY = 86_400_000_000_000  # nanoseconds
MAX_SHOWN = 50  # characters of a value in an error
PARAMETRIZED = ("timestamp", "duration", "decimal128")  # types of pyarrow
TEXTS = (str, np.str_)
BOOLEANS = (bool, np.bool_)
NARROW_FLOATS = {  # by their names in NumPy, pandas and polars, and in pyarrow
    "float16": "float16", "float32": "float32",
    "halffloat": "float16", "float": "float32",
}  # fmt: skip
DECIMALS = ("decimal128", "Decimal")
DATE_TYPES = ("date32[day]", "date64[ms]", "Date")
FIRST_DAY, LAST_DAY = np.datetime64("0001-01-01"), np.datetime64("9999-12-31")
DATES = (datetime.date, np.datetime64)  # datetime.datetime and Timestamp are dates
DURATIONS = (datetime.timedelta, np.timedelta64)


@dataclass(frozen=True)
class RawColumn:
    """The values of one column.

    Attributes
    ----------
    name : str or int
        Name of the column, or its position in an array.

    kind : {"number", "boolean", "category", "time", "empty"}
        What the values are. "empty" stands for a column of objects without any value.

    dtype : tuple
        Description of the type in the frame.

    values : ndarray of shape (n_rows,)
        Floats for numbers and booleans; the positions in `levels` for categories;
        datetime64 or timedelta64 for times. Missing values are NaN, -1 and NaT.

    levels : ndarray of object of shape (n_levels,), default=()
        The values of a category, in order.

    integer : str, default=""
        Name of NumPy's integer type if the numbers are integers.

    is_text : bool, default=False
        Whether the values are strings that have not been declared as categories.

    times : {"", "time", "zoned time", "duration", "time of day"}, default=""
        What the values are if they are times.
    """

    name: str | int
    kind: str
    dtype: tuple
    values: np.ndarray
    levels: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=object))
    integer: str = ""
    is_text: bool = False
    times: str = ""

    @property
    def missing(self) -> np.ndarray:
        """Whether each value is missing, shape (n_rows,)."""
        if self.kind == "category":
            return self.values < 0
        return pd.isna(self.values)

    def select(self, rows) -> "RawColumn":
        """Return some rows of the column, given by a slice or a mask."""
        return replace(self, values=self.values[rows])

    def as_category(self) -> "RawColumn":
        """Return the column with its distinct values as levels."""
        if self.kind in ("category", "empty"):
            return self
        codes, levels = pd.factorize(self.values, sort=True)
        restore = _RESTORE_LEVELS["integer" if self.integer else self.kind]
        levels = _objects(restore(levels))
        return RawColumn(self.name, "category", self.dtype, codes, levels)


# What the levels of numbers and booleans were before they became floats.
_RESTORE_LEVELS = {
    "integer": lambda levels: levels.astype(np.int64).tolist(),
    "boolean": lambda levels: levels.astype(bool).tolist(),
    "number": lambda levels: levels.tolist(),
    "time": list,
}


def is_frame(X) -> bool:
    """Return whether X is a data frame of pandas or polars."""
    return is_pandas_df(X) or is_polars_df(X)


def check_container(X) -> None:
    """Raise TypeError or ValueError for tables that cannot be read.

    They are those of other libraries, lazy frames, and frames without columns.
    """
    if is_frame(X):
        if X.shape[1] == 0:
            raise ValueError(
                f"Found a data frame with 0 feature(s) (shape={X.shape}) while a "
                "minimum of 1 is required."
            )
        return
    is_table = len(getattr(X, "shape", ())) == 2 and hasattr(X, "to_pandas")
    # A lazy frame has no shape.
    is_lazy = hasattr(X, "collect") and hasattr(X, "collect_schema")
    if is_table or is_lazy:
        method = "to_pandas" if is_table else "collect"
        raise TypeError(
            f"Got X of type {type(X).__name__}, but expected an array or a data frame "
            f"of pandas or polars. Pass X.{method}()."
        )


def container_of(X) -> str:
    """Return the name of the library of a data frame, or "default"."""
    if is_pandas_df(X):
        return "pandas"
    return "polars" if is_polars_df(X) else "default"


def read_columns(X, names=None) -> list[RawColumn]:
    """Return the columns of a data frame, or of an array of two dimensions.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_rows, n_columns)
        The table.

    names : sequence or None, default=None
        Names for the columns of an array, by default their positions.
    """
    if is_pandas_df(X):
        columns = (X.iloc[:, i] for i in range(X.shape[1]))
        pairs = zip(X.columns, columns, strict=True)
        return [_read_pandas(name, series) for name, series in pairs]
    if is_polars_df(X):
        return [_read_polars(series) for series in X.get_columns()]
    X = np.asarray(X)
    names = range(X.shape[1]) if names is None else names
    return [_read_array(name, X[:, i]) for i, name in enumerate(names)]


def has_only_numbers(X) -> bool:
    """Return whether all columns of a frame are numbers by their type or values.

    Columns of objects are converted as in scikit-learn, including strings of digits.
    """
    if is_polars_df(X):
        return all(dtype.is_numeric() for dtype in X.dtypes)
    return all(_holds_numbers(X.iloc[:, i]) for i in range(X.shape[1]))


def index_of(X):
    """Return the index of a frame of pandas, or None."""
    return X.index if is_pandas_df(X) else None


def columns_label(X):
    """Return the name of the columns' axis of a frame of pandas, or None."""
    return X.columns.name if is_pandas_df(X) else None


def build_frame(container: str, names, decoded, dtypes, missing, index=None):
    """Return a frame, or an array if `container` is "default".

    Parameters
    ----------
    container : {"pandas", "polars", "default"}
        The library of the frame.

    names : sequence
        Names of the columns.

    decoded : list of ndarray of shape (n_rows,)
        Floats, integers, booleans, objects (levels), datetime64 or timedelta64.

    dtypes : list of tuple
        Descriptions of the types.

    missing : ndarray of bool of shape (n_rows, n_columns)
        The values that are missing.

    index : Index or None, default=None
        The index of a frame of pandas.
    """
    decoded = [_clip(*pair) for pair in zip(decoded, dtypes, strict=True)]
    parts = list(zip(decoded, dtypes, missing.T, strict=True))
    if container == "polars":
        columns = [_polars_series(*part) for part in parts]
        return _polars_frame(names, columns)
    if container == "pandas":
        columns = [_pandas_series(*part, index) for part in parts]
        frame = pd.concat(columns, axis=1)
        frame.columns = pd.Index(names)
        return frame
    dtype = np.result_type(*(dtype[1] for dtype in dtypes))
    return np.where(missing, np.nan, np.column_stack(decoded)).astype(dtype)


def _clip(values: np.ndarray, dtype: tuple) -> np.ndarray:
    """Return decoded numbers and dates, clipped to the range of a type."""
    if values.dtype.kind == "f":
        limit = _largest_number(dtype)
        return values.clip(-limit, limit)
    limits = _day_limits(dtype) if values.dtype.kind == "M" else None
    # Times in nanoseconds are from 1677 to 2262.
    if limits is None or np.datetime_data(values.dtype)[0] == "ns":
        return values
    return values.clip(*limits).astype(values.dtype)


def _largest_number(dtype: tuple) -> float:
    """Return the largest number that a type can hold, as a float."""
    _, name, *args = dtype
    if name in DECIMALS:
        precision, places = args
        # If the first is rounded up as a float, the second is less.
        power = 10.0 ** (precision - places)
        return min((10**precision - 1) / 10**places, np.nextafter(power, 0))
    return float(np.finfo(NARROW_FLOATS.get(str(name).lower(), "float64")).max)


def places_of(dtype: tuple) -> int | None:
    """Return the number of places of a type of decimals, or None for other types."""
    return dtype[3] if dtype[1] in DECIMALS else None


def _day_limits(dtype: tuple):
    """Return the first and the last day of a type of dates with or without a zone.

    None stands for a type without these limits, which are those of Python.
    """
    kind, name, *args = dtype
    if name in DATE_TYPES:
        return FIRST_DAY, LAST_DAY
    has_zone = kind == "zone" or (len(args) == 2 and args[1] is not None)
    # In some zones a time is on the day before or after.
    return (FIRST_DAY + 1, LAST_DAY - 1) if has_zone else None


def is_missing(X) -> np.ndarray:
    """Return which values of a frame or an array are missing, (n_rows, n_columns)."""
    if is_polars_df(X):
        columns = [_is_missing_polars(series).to_numpy() for series in X.get_columns()]
        return np.column_stack(columns)
    return np.asarray(pd.isna(X))


def _is_missing_polars(series):
    missing = series.is_null()
    if series.dtype.is_float():
        missing |= series.is_nan().fill_null(value=True)
    return missing


def text_as_categories(X):
    """Return a frame whose columns of strings are declared as categories."""
    if not is_frame(X):
        return X
    is_text = [raw.is_text for raw in read_columns(X)]
    if is_polars_df(X):
        import polars as pl

        names = [name for name, text in zip(X.columns, is_text, strict=True) if text]
        return X.with_columns(pl.col(name).cast(pl.Categorical) for name in names)
    X = X.copy()
    for i in np.flatnonzero(is_text):
        X.isetitem(i, X.iloc[:, i].astype("category"))
    return X


def hide_one_value(X):
    """Return a copy of a frame without missing values, in which one is missing.

    The value occurs in several rows, and the types are those of X. Without a column
    that can hold missing values, X itself is returned.
    """
    for i, raw in enumerate(read_columns(X)):
        repeated = np.flatnonzero(pd.Series(raw.values).duplicated())
        if not len(repeated):
            continue
        kept = np.arange(len(raw.values)) != repeated[0]
        if is_polars_df(X):
            column = X.to_series(i)
            nothing = column.clear(len(column))
            return X.with_columns(column.zip_with(type(column)(kept), nothing))
        column = X.iloc[:, i].where(kept)
        if column.dtype == X.dtypes.iloc[i]:
            hidden = X.copy()
            hidden.isetitem(i, column)
            return hidden
    return X


def fill_missing(X, decoded):
    """Return a copy of X with decoded values in place of the missing ones.

    Parameters
    ----------
    X : DataFrame, ndarray or sparse matrix of shape (n_rows, n_columns)
        Rows with missing values: NaN, None, NA or NaT.

    decoded : DataFrame or ndarray of shape (n_rows, n_columns)
        Values for all entries.

    Returns
    -------
    X : DataFrame, ndarray or sparse matrix of shape (n_rows, n_columns)
        Of the types of X.
    """
    if is_polars_df(X):
        return _fill_polars(X, decoded)
    if is_pandas_df(X):
        return _fill_pandas(X, decoded)
    if sparse.issparse(X):
        filled = X.tocoo(copy=True)
        values, missing = filled.data, np.isnan(filled.data)
        values[missing] = decoded[filled.row[missing], filled.col[missing]]
        return filled.asformat(X.format)
    missing = pd.isna(X)
    return np.where(missing, np.asarray(decoded), X).astype(X.dtype, copy=False)


def choose_rows(X, other, is_other: np.ndarray):
    """Return the rows of one frame, or of another of the same types.

    Parameters
    ----------
    X, other : DataFrame of shape (n_rows, n_columns)
        The frames.

    is_other : ndarray of bool, shape (n_rows,)
        The rows of `other`.

    Returns
    -------
    chosen : DataFrame of shape (n_rows, n_columns)
        The rows, with the index of `other`.
    """
    positions = np.arange(len(X)) + len(X) * is_other
    if is_polars_df(X):
        import polars as pl

        return pl.concat([X, other])[positions]
    return pd.concat([X, other]).iloc[positions].set_axis(other.index)


def _fill_pandas(X, decoded):
    filled = X.copy()
    for i in range(X.shape[1]):
        column = X.iloc[:, i]
        missing = column.isna().to_numpy()
        if missing.all() and is_pandas_df(decoded):
            # Its type may be that of missing values alone.
            filled.isetitem(i, decoded.iloc[:, i].set_axis(X.index))
        elif missing.any():
            values = _column_of(decoded, i)[missing].tolist()
            if column.dtype.kind in "iu":
                values = _as_integers(values, _numpy_name(column.dtype))
            if column.dtype == object:
                values = _as_objects(values, column[~missing].tolist())
            filled.isetitem(i, _replace(column, missing, values))
    return filled


def _as_integers(values: list, name: str) -> list:
    """Return numbers rounded and clipped to the limits of an integer type."""
    limits = np.iinfo(name)
    return [min(max(round(value), limits.min), limits.max) for value in values]


def _as_objects(values: list, present: list) -> list:
    """Return decoded values as objects of the type of those that are present."""
    kind = type(present[0]) if present else None
    if kind is Decimal:
        places = max(0, *(-value.as_tuple().exponent for value in present))
        return [Decimal(f"{value:.{places}f}") for value in values]
    convert = _CONVERSIONS.get(kind)
    return values if convert is None else [convert(value) for value in values]


# Times are decoded as those of pandas.
_CONVERSIONS = {
    datetime.date: lambda value: pd.Timestamp(value).date(),
    datetime.datetime: lambda value: pd.Timestamp(value).to_pydatetime(),
    datetime.timedelta: lambda value: pd.Timedelta(value).to_pytimedelta(),
}


def _replace(column, missing, values: list):
    """Return a series with other values at some positions."""
    if isinstance(column.dtype, pd.SparseDtype):  # which cannot be changed in place
        return _replace(column.sparse.to_dense(), missing, values).astype(column.dtype)
    column = column.copy()
    column[missing] = pd.array(values, dtype=column.dtype)
    return column


def _column_of(decoded, i: int) -> np.ndarray:
    """Return the values of a column of a frame or an array."""
    if is_frame(decoded):
        column = decoded.iloc[:, i] if is_pandas_df(decoded) else decoded.to_series(i)
        return np.array(list(column), dtype=object)
    return decoded[:, i]


def _fill_polars(X, decoded):
    import polars as pl

    columns = []
    for i, series in enumerate(X.get_columns()):
        missing, dtype = _is_missing_polars(series), series.dtype
        if missing.all() and is_polars_df(decoded):
            # Its type may be that of missing values alone.
            columns.append(decoded.to_series(i))
            continue
        values = _column_of(decoded, i).tolist()
        if dtype.is_integer():
            values = _as_integers(values, str(dtype).lower())
        columns.append(series.zip_with(~missing, pl.Series(values).cast(dtype)))
    return pl.DataFrame(dict(zip(X.columns, columns, strict=True)))


# Reading


def _read_pandas(name, series) -> RawColumn:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        levels = _objects(dtype.categories)
        codes = series.cat.codes.to_numpy().astype(np.int64)
        return RawColumn(name, "category", _describe_pandas(dtype), codes, levels)
    kind = "O" if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype) else dtype.kind
    if kind in "biuf" or pd.api.types.is_numeric_dtype(dtype):
        _check_real(name, dtype)
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        description = _describe_pandas(dtype)
        if kind == "b":
            return RawColumn(name, "boolean", description, values)
        integer = np.dtype(_numpy_name(dtype)).name if kind in "iu" else ""
        return RawColumn(name, "number", description, values, integer=integer)
    if kind in "mM":
        return _pandas_times(name, series, _describe_pandas(dtype))
    return _read_objects(
        name, series.astype(object).to_numpy(), _describe_pandas(dtype)
    )


def _pandas_times(name, series, description: tuple) -> RawColumn:
    """Return datetime64 in UTC, or timedelta64, in the unit of the column."""
    if isinstance(series.dtype, pd.ArrowDtype):
        series = series.astype(_arrow_twin(series.dtype))
    times = "time" if series.dtype.kind == "M" else "duration"
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        times = "zoned time"
    return RawColumn(name, "time", description, series.to_numpy(), times=times)


def _arrow_twin(dtype):
    """Return the type of pandas for dates, times and durations of pyarrow."""
    tz = getattr(dtype.pyarrow_dtype, "tz", None)
    if tz is not None:
        return pd.DatetimeTZDtype(dtype.pyarrow_dtype.unit, tz)
    return dtype.numpy_dtype


def _read_polars(series) -> RawColumn:
    import polars as pl

    name, dtype = series.name, series.dtype
    description = _describe_polars(dtype)
    if dtype.is_numeric():
        values = series.cast(pl.Float64).to_numpy()
        integer = str(dtype).lower() if dtype.is_integer() else ""
        if integer and integer not in np.sctypeDict:
            raise TypeError(
                f"Column {name!r} of X has type {dtype}, which NumPy does not have. "
                "Cast it to Int64 or Float64."
            )
        return RawColumn(name, "number", description, values, integer=integer)
    if dtype == pl.Boolean:
        values = series.cast(pl.Float64).to_numpy()
        return RawColumn(name, "boolean", description, values)
    if dtype == pl.Time:
        nanoseconds = series.to_physical().cast(pl.Duration("ns"))
        values = nanoseconds.to_numpy()
        return RawColumn(name, "time", description, values, times="time of day")
    if dtype.is_temporal():
        is_zoned = getattr(dtype, "time_zone", None) is not None
        times = "zoned time" if is_zoned else "time"
        times = "duration" if dtype == pl.Duration else times
        return RawColumn(name, "time", description, series.to_numpy(), times=times)
    if dtype == pl.Enum:
        levels = dtype.categories.to_list()
        codes = pd.Index(levels, dtype=object).get_indexer(series.to_list())
        return RawColumn(name, "category", description, codes, _objects(levels))
    values = _objects(series.to_list())
    read = _read_objects(name, values, description)
    if dtype == pl.Categorical:
        return RawColumn(name, read.kind, description, read.values, read.levels)
    return read


def _read_array(name, values: np.ndarray) -> RawColumn:
    if values.dtype.kind in "biuf":
        integer = values.dtype.name if values.dtype.kind in "iu" else ""
        kind = "boolean" if values.dtype.kind == "b" else "number"
        dtype = "array", values.dtype.name
        return RawColumn(name, kind, dtype, values.astype(np.float64), integer=integer)
    return _read_objects(name, values.astype(object), ("array", "object"))


def _read_objects(name, values: np.ndarray, dtype: tuple) -> RawColumn:
    """Return a column of objects, whose kind is that of all values."""
    missing = pd.isna(values) if values.ndim == 1 else np.zeros(len(values), bool)
    present = values[~missing]
    if not len(present):
        return RawColumn(name, "empty", dtype, np.full(len(values), np.nan))
    if all(isinstance(value, TEXTS) for value in present):
        levels = _objects(sorted(set(present)))
        codes = pd.Index(levels, dtype=object).get_indexer(values)
        return RawColumn(name, "category", dtype, codes, levels, is_text=True)
    if all(isinstance(value, BOOLEANS) for value in present):
        floats = np.where(missing, np.nan, values).astype(np.float64)
        return RawColumn(name, "boolean", dtype, floats)
    if all(_is_real(value) for value in present):
        floats = np.where(missing, np.nan, values).astype(np.float64)
        are_integers = all(isinstance(v, int | np.integer) for v in present)
        integer = "int64" if are_integers else ""
        return RawColumn(name, "number", dtype, floats, integer=integer)
    for types in (DATES, DURATIONS):
        if all(isinstance(value, types) for value in present):
            convert = pd.to_datetime if types is DATES else pd.to_timedelta
            return _pandas_times(name, convert(pd.Series(values)), dtype)
    raise TypeError(_mixed_message(name, present))


def _is_real(value) -> bool:
    return isinstance(value, Real | Decimal) and not isinstance(value, BOOLEANS)


def _mixed_message(name, present) -> str:
    """Return an error about values that are no numbers, strings, booleans or times."""
    types = sorted({type(value).__name__ for value in present})
    shown = [shown_value(value) for value in _one_of_each_type(present)]
    if len(types) == 1:
        return (
            f"Column {name!r} of X contains values of type {types[0]}, such as "
            f"{shown[0]}, but expected numbers, booleans, strings, categories or "
            "dates. Convert the column, or remove it."
        )
    return (
        f"Column {name!r} of X contains values of several types: {', '.join(types)}, "
        f"such as {' and '.join(shown[:2])}. Convert them to one type, for example "
        f"with X[{name!r}].astype(str)."
    )


def _one_of_each_type(values):
    return list({type(value): value for value in values[::-1]}.values())[::-1]


def shown_value(value) -> str:
    """Return a short representation of a value for an error."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _check_real(name, dtype) -> None:
    if dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: Column {name!r} of X has dtype {dtype}. Pass "
            "real and imaginary parts as separate columns."
        )


def _holds_numbers(series) -> bool:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype) or dtype.kind in "bmM":
        return False
    if pd.api.types.is_numeric_dtype(dtype):
        return True
    return dtype.kind == "O" and _is_convertible(series)


def _is_convertible(series) -> bool:
    """Return whether objects are numbers, or none of them has a value."""
    present = series.dropna()
    return all(_is_real(value) for value in present)


def _objects(values) -> np.ndarray:
    """Return a vector of objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = list(values)
    return array


# Types as plain values, and back


def _numpy_name(dtype) -> str:
    """Return the name of NumPy's type of numbers of pandas."""
    dtype = getattr(dtype, "numpy_dtype", dtype)
    return str(getattr(dtype, "subtype", dtype))


def _describe_pandas(dtype) -> tuple:
    if isinstance(dtype, pd.CategoricalDtype):
        categories = dtype.categories
        return (
            "category",
            tuple(categories.tolist()),
            _describe_pandas(categories.dtype),
            bool(dtype.ordered),
        )
    if isinstance(dtype, pd.StringDtype):
        return "string", dtype.storage, dtype.na_value is pd.NA
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "zone", dtype.unit, str(dtype.tz)
    if isinstance(dtype, pd.ArrowDtype):
        return "arrow", *_describe_arrow(dtype.pyarrow_dtype)
    if isinstance(dtype, pd.SparseDtype):
        return "sparse", str(dtype.subtype), np.asarray(dtype.fill_value).item()
    return "dtype", str(dtype)


def _describe_arrow(dtype) -> tuple:
    name, unit = str(dtype), getattr(dtype, "unit", None)
    if name.startswith("timestamp"):
        return ("timestamp", unit, *([] if dtype.tz is None else [dtype.tz]))
    if name.startswith("duration"):
        return "duration", unit
    if name.startswith("decimal128"):
        return "decimal128", dtype.precision, dtype.scale
    if name.startswith("dictionary"):
        return "dictionary", str(dtype.index_type), str(dtype.value_type)
    return (name,)


def _pandas_dtype(description: tuple):
    kind, *args = description
    if kind == "category":
        categories, dtype, ordered = args
        dtype = None if dtype[1].startswith("interval") else _pandas_dtype(dtype)
        index = pd.Index(list(categories), dtype=dtype)
        return pd.CategoricalDtype(index, ordered=ordered)
    if kind == "string":
        return pd.StringDtype(args[0], pd.NA if args[1] else np.nan)
    if kind == "sparse":
        return pd.SparseDtype(*args)
    if kind == "zone":
        return pd.DatetimeTZDtype(*args)
    if kind == "arrow":
        return pd.ArrowDtype(_arrow_dtype(*args))
    return pd.api.types.pandas_dtype(args[0])


def _arrow_dtype(name: str, *args):
    import pyarrow as pa

    if name == "dictionary":
        return pa.dictionary(*(pa.type_for_alias(alias) for alias in args))
    if name in PARAMETRIZED:
        return getattr(pa, name)(*args)
    # The names of some types differ from their aliases.
    return pa.type_for_alias(name.split("[")[0])


def _describe_polars(dtype) -> tuple:
    import polars as pl

    name = type(dtype).__name__
    if dtype == pl.Enum:
        return "polars", name, tuple(dtype.categories.to_list())
    parameters = ("time_unit", "time_zone", "precision", "scale")
    values = [getattr(dtype, p) for p in parameters if hasattr(dtype, p)]
    return "polars", name, *values


def _pandas_series(values, dtype: tuple, missing, index):
    series = _cast_pandas(pd.Series(values, index=index), dtype)
    # Types that cannot hold missing values are widened, but only where it is needed.
    return series.mask(missing) if missing.any() else series


def _cast_pandas(series, dtype: tuple):
    """Return a series in the type of a description."""
    if dtype == ("dtype", "object"):
        return series.astype(object)
    target = _pandas_dtype(dtype)
    if dtype[:2] == ("arrow", "decimal128"):
        # Rounded to the places of the type, which a cast of floats refuses.
        texts = [Decimal(f"{value:.{dtype[3]}f}") for value in series]
        return pd.Series(texts, index=series.index, dtype=target)
    zone = getattr(getattr(target, "pyarrow_dtype", target), "tz", None)
    if zone is not None:
        series = series.dt.tz_localize("UTC").dt.tz_convert(zone)
    return series.astype(target)


def _polars_frame(names, columns):
    import polars as pl

    return pl.DataFrame(dict(zip(names, columns, strict=True)))


def _polars_series(values, dtype: tuple, missing):
    import polars as pl

    if values.dtype == object:
        series = pl.Series(values.tolist())
    else:
        series = pl.Series(np.ascontiguousarray(values))
    series = _cast_polars(series, dtype)
    nothing = pl.Series([None] * len(series), dtype=series.dtype)
    return series.zip_with(pl.Series(~missing), nothing)


def _cast_polars(series, dtype: tuple):
    """Return a series in the type of a description."""
    import polars as pl

    _, name, *args = dtype
    if name == "Enum":
        return series.cast(pl.Enum(list(args[0])))
    if name == "Datetime" and args[1] is not None:
        zoned = series.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone(args[1]).cast(pl.Datetime(*args))
    if name == "Time":
        nanoseconds = series.cast(pl.Duration("ns")).to_physical()
        return nanoseconds.clip(0, DAY - 1).cast(pl.Time)
    target = getattr(pl, name, None)
    # Saved states are not trusted: the name could be that of a function.
    if not (isinstance(target, type) and issubclass(target, pl.DataType)):
        raise ValueError(f"Got a saved type {name!r}, which polars does not have.")
    return series.cast(target(*args))
