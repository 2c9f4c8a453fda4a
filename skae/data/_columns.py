"""Columns of a table: how a row of mixed columns becomes numbers, and back.

A table is encoded once, in the public methods, as a matrix of floats, and everything
below them works on this matrix. Each column is a group of neighboring entries:

======== ============================================= ============================
column   entries                                       output of the model
======== ============================================= ============================
number   z-score                                       z-score
boolean  0 or 1, over the root of p (1 - p)            logit
category indicator of each level, over the root of     logit of each level
         its share p
time     z-score; sine and cosine of the time of the   z-scores
         year, week and day, if the column varies
         within them
======== ============================================= ============================

Centered, these entries are those of factor analysis of mixed data (FAMD, Pagès 2004),
which is their PCA. The units (deviations and shares) are those of all training rows, as
if a scaler had been fitted before; means, axes and weights are those of the rows that
are trained on. Entries of missing values are NaN, in all entries of the column.

The loss of a row is the mean over its columns of loss / null loss: the squared error
over the variance, or the cross-entropy over the entropy, so that every column counts
the same, and the score is the share of deviance that is explained.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.special import xlogy

from skae.data._frames import RawColumn, places_of, shown_value

MAX_LEVELS = 100  # of a category
FEW_LEVELS = 20  # strings of so few levels are never taken for identifiers
NANOSECONDS = {
    "D": 86_400_000_000_000, "h": 3_600_000_000_000, "m": 60_000_000_000,
    "s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1,
}  # fmt: skip
# Periods of a time, in days.
PERIODS = {"year": 365.2425, "week": 7.0, "day": 1.0}
MAX_TIME = 2**63 - 2**48  # a day in nanoseconds below the largest integer
MIN_CYCLES = 2  # of a period, within the range of the column
MIN_CYCLIC_VARIANCE = 1e-6  # below, all times have the same phase
# Their types in NumPy. Zoned times are those in UTC.
TYPES_OF_TIMES = {
    "time": "M8",
    "zoned time": "M8",
    "duration": "m8",
    "time of day": "m8",
}
MAX_INTEGER = 2**53  # from here on, not all integers are floats
TYPE_SHARE = 0.01  # of the largest error, that a type may add
KINDS_AS_NUMBERS = ("number", "boolean")


@dataclass(frozen=True)
class Column(ABC):
    """Base class of columns.

    Attributes
    ----------
    name : hashable
        Name of the column.

    dtype : tuple
        Description of its type in the frame; see `skae.data._frames`.

    kind : str
        Name of the class in a saved model.

    link : {"identity", "logit", "softmax"}
        The inverse of what maps the outputs to the column.
    """

    name: Hashable
    dtype: tuple
    kind: ClassVar[str]
    link: ClassVar[str] = "identity"

    @classmethod
    @abstractmethod
    def fit(cls, raw: RawColumn, weight) -> "Column":
        """Return the column for values with weights, none of which is missing."""

    @property
    def n_entries(self) -> int:
        """Number of entries of the column in an encoded row."""
        return 1

    @property
    def units(self) -> np.ndarray:
        """What indicators are divided by, shape (n_entries,); 1 for numbers."""
        return np.ones(self.n_entries)

    @property
    def spacing(self) -> np.ndarray:
        """Distance of neighboring decoded values, shape (n_entries,), 0 if continuous.

        It is infinite for entries that are not decoded.
        """
        return 1 / self.units

    @property
    @abstractmethod
    def null_loss(self) -> float:
        """Loss of the constant model, 0 if the column is constant."""

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded column are invalid."""
        if not (isinstance(self.name, Hashable) and isinstance(self.dtype, tuple)):
            raise ValueError(f"Got a saved column {self.name!r} that is not valid.")

    @abstractmethod
    def encode(self, raw: RawColumn) -> np.ndarray:
        """Return the entries of values, shape (n_rows, n_entries)."""

    @abstractmethod
    def decode(self, entries: np.ndarray) -> np.ndarray:
        """Return the values of entries, shape (n_rows,)."""

    def to_stored(self, raw: RawColumn, entries: np.ndarray) -> np.ndarray:
        """Return entries as they are stored exactly, shape (n_rows, n_entries)."""
        return entries

    def decode_stored(self, entries: np.ndarray, is_stored) -> np.ndarray:
        """Return the values of entries, of which some are those of `to_stored`.

        Both arrays have the shape (n_rows, n_entries).
        """
        return self.decode(entries)

    def differences(self, raw: RawColumn, restored: RawColumn) -> np.ndarray:
        """Return differences in standard deviations, shape (n_rows,)."""
        # Categories have none: those that are not known are missing, with a warning.
        return np.zeros(len(raw.values))

    def check_restored(self, raw: RawColumn, restored: RawColumn, max_error) -> None:
        """Raise ValueError if restored values differ by more than types may add."""
        differences = self.differences(raw, restored)
        # A comparison with NaN, of missing values, is false.
        is_large = differences > TYPE_SHARE * max_error
        if not is_large.any():
            return
        i = int(is_large.argmax())
        raise ValueError(
            f"Column {self.name!r} of X contains {raw.values[i]}, which would be "
            f"restored as {restored.values[i]} in the type of the column in `fit`, but "
            f"max_error={max_error}. Fit the model on values of this type, or set "
            "max_error=None."
        )

    def check_kind(self, raw: RawColumn, kinds: tuple) -> None:
        """Raise ValueError if values are of another kind than in `fit`."""
        if raw.kind in (*kinds, "empty"):
            return
        self.raise_kind(raw, self.kind)

    def raise_kind(self, raw: RawColumn, kind: str) -> None:
        """Raise ValueError for values of another kind than `kind`, that in `fit`."""
        raise ValueError(
            f"Column {self.name!r} of X contains {_plural(raw.times or raw.kind)}, "
            f"such as {example(raw)}, but was treated as a {kind} in `fit`. Convert it "
            "to the type that it had in `fit`."
        )


@dataclass(frozen=True)
class NumberColumn(Column):
    """A column of numbers: the z-score.

    Attributes
    ----------
    center, unit : float
        Mean and standard deviation.

    is_constant : bool
        Whether all numbers are equal.

    integer : str
        Name of the integer type; empty for floats.
    """

    center: float
    unit: float
    is_constant: bool
    integer: str
    kind: ClassVar[str] = "number"

    @classmethod
    def fit(cls, raw: RawColumn, weight) -> "NumberColumn":
        """Return the column for values with weights."""
        _check_finite(raw)
        center, deviation = mean_and_deviation(raw.values, weight)
        unit = deviation or abs(center) or 1.0
        return cls(raw.name, raw.dtype, center, unit, deviation == 0, raw.integer)

    @property
    def spacing(self) -> np.ndarray:
        """That of integers or decimals."""
        places = 0 if self.integer else places_of(self.dtype)
        return np.array([0.0 if places is None else 10.0**-places / self.unit])

    @property
    def null_loss(self) -> float:
        """The variance of z-scores."""
        return float(not self.is_constant)

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded column are invalid."""
        super().check_state()
        _check_unit(self)
        is_flag = isinstance(self.is_constant, bool)
        if not is_flag or self.integer not in ("", *INTEGER_TYPES):
            raise ValueError(f"Got a saved column {self.name!r} of unknown type.")

    def encode(self, raw: RawColumn) -> np.ndarray:
        """Return z-scores, shape (n_rows, 1)."""
        self.check_kind(raw, KINDS_AS_NUMBERS)
        _check_finite(raw)
        return ((raw.values - self.center) / self.unit)[:, np.newaxis]

    def decode(self, entries: np.ndarray) -> np.ndarray:
        """Return numbers; integers are rounded."""
        return self.rounded(entries[:, 0] * self.unit + self.center)

    def to_stored(self, raw: RawColumn, entries: np.ndarray) -> np.ndarray:
        """Return the numbers, shape (n_rows, 1)."""
        return raw.values[:, np.newaxis]

    def decode_stored(self, entries: np.ndarray, is_stored) -> np.ndarray:
        """Return numbers, of which some are given instead of their scores."""
        scores = np.where(is_stored, 0.0, entries)
        return np.where(
            is_stored[:, 0], self.rounded(entries[:, 0]), self.decode(scores)
        )

    def differences(self, raw: RawColumn, restored: RawColumn) -> np.ndarray:
        """Return differences in standard deviations, shape (n_rows,)."""
        return np.abs(raw.values - restored.values) / self.unit

    def check_restored(self, raw: RawColumn, restored: RawColumn, max_error) -> None:
        """Raise ValueError if restored values differ by more than types may add."""
        largest = np.nan_to_num(np.abs(raw.values)).max()
        rounding = np.spacing(largest) / self.unit
        if raw.integer and largest >= MAX_INTEGER and rounding > TYPE_SHARE * max_error:
            raise ValueError(
                f"Column {self.name!r} of X contains integers of at least 2**53, which "
                f"are rounded as floats, but max_error={max_error}. Remove the column, "
                "or set max_error=None."
            )
        super().check_restored(raw, restored, max_error)

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Return numbers of shape (n_rows,) in the type of integers, if it is one."""
        if not self.integer:
            return values
        limits = np.iinfo(self.integer)
        # The largest integers of 64 bits are not floats.
        is_exact = float(limits.max) == limits.max
        high = limits.max if is_exact else np.nextafter(float(limits.max), 0)
        return np.rint(values).clip(limits.min, high).astype(self.integer)


@dataclass(frozen=True)
class BooleanColumn(Column):
    """A column of booleans: 0 or 1 over the root of p (1 - p), which is p's deviation.

    Attributes
    ----------
    share : float
        Share of True, p.
    """

    share: float
    kind: ClassVar[str] = "boolean"
    link: ClassVar[str] = "logit"

    @classmethod
    def fit(cls, raw: RawColumn, weight) -> "BooleanColumn":
        """Return the column for values with weights."""
        return cls(raw.name, raw.dtype, float(np.average(raw.values, weights=weight)))

    @property
    def units(self) -> np.ndarray:
        """The standard deviation, or 1 if all values are equal."""
        return np.array([np.sqrt(self.share * (1 - self.share)) or 1.0])

    @property
    def null_loss(self) -> float:
        """The entropy."""
        return entropy([self.share, 1 - self.share])

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded column are invalid."""
        super().check_state()
        _check_shares(self.name, (self.share,))

    def encode(self, raw: RawColumn) -> np.ndarray:
        """Return scaled indicators of True, shape (n_rows, 1)."""
        self.check_kind(raw, KINDS_AS_NUMBERS)
        other = ~np.isin(raw.values, [0, 1]) & ~np.isnan(raw.values)
        if other.any():
            raise ValueError(
                f"Column {self.name!r} of X contains {raw.values[other][0]}, but was "
                "treated as a boolean in `fit`."
            )
        return raw.values[:, np.newaxis] / self.units

    def decode(self, entries: np.ndarray) -> np.ndarray:
        """Return booleans."""
        return entries[:, 0] * self.units[0] > 0.5


@dataclass(frozen=True)
class CategoryColumn(Column):
    """A column of categories: indicators of the levels over the root of their shares.

    Attributes
    ----------
    levels : tuple
        The values seen in `fit`.

    shares : tuple of float
        The share of each level.
    """

    levels: tuple
    shares: tuple
    kind: ClassVar[str] = "category"
    link: ClassVar[str] = "softmax"

    @classmethod
    def fit(cls, raw: RawColumn, weight) -> "CategoryColumn":
        """Return the column for values with weights."""
        sums = np.bincount(raw.values, weight, len(raw.levels))
        # Declared levels that do not occur cannot be learned.
        occurs = sums > 0
        _check_cardinality(raw, int(occurs.sum()))
        shares = sums[occurs] / sums.sum()
        levels = raw.levels[occurs].tolist()
        return cls(raw.name, raw.dtype, tuple(levels), tuple(shares.tolist()))

    @property
    def n_entries(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def units(self) -> np.ndarray:
        """The roots of the shares."""
        return np.sqrt(self.shares)

    @property
    def null_loss(self) -> float:
        """The entropy."""
        return entropy(self.shares)

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded column are invalid."""
        super().check_state()
        _check_shares(self.name, self.shares)
        if not isinstance(self.levels, tuple) or len(self.levels) != len(self.shares):
            raise ValueError(f"Got a saved column {self.name!r} without its levels.")

    def encode(self, raw: RawColumn) -> np.ndarray:
        """Return scaled indicators, shape (n_rows, n_levels); NaN if unknown."""
        self.check_kind(raw, ("category", *KINDS_AS_NUMBERS))
        raw = raw.as_category()
        entries = np.full((len(raw.values), self.n_entries), np.nan)
        if raw.kind == "empty":
            return entries
        positions = pd.Index(self.levels, dtype=object, tupleize_cols=False)
        # One look-up for each level, and -1 for those that are not known.
        known = np.append(positions.get_indexer(raw.levels), -1)
        codes = known[raw.values]
        unknown = (codes < 0) & ~raw.missing
        if unknown.any():
            self._warn_of(raw.levels[raw.values[unknown][0]])
        rows = np.flatnonzero(codes >= 0)
        entries[rows] = 0.0
        entries[rows, codes[rows]] = 1.0
        return entries / self.units

    def _warn_of(self, level) -> None:
        warnings.warn(
            f"Column {self.name!r} of X contains the category {shown_value(level)}, "
            "which does not occur in the rows seen in `fit`. It is treated as a "
            "missing value.",
            UserWarning,
            stacklevel=2,
        )

    def decode(self, entries: np.ndarray) -> np.ndarray:
        """Return the level whose indicator is the largest."""
        levels = np.empty(self.n_entries, dtype=object)
        levels[:] = list(self.levels)
        return levels[(entries * self.units).argmax(axis=1)]


@dataclass(frozen=True)
class TimeColumn(Column):
    """A column of dates, times or durations: a z-score, and where in a cycle it is.

    Attributes
    ----------
    center : int
        Mean, in units of `resolution` since 1970.

    unit : float
        Standard deviation, in the same units.

    variance : float
        Mean variance of the entries, 0 if all times are equal.

    times : {"time", "zoned time", "duration", "time of day"}
        What the values are.

    resolution : str
        The unit of NumPy's type, such as "ns" or "D".

    step : int
        Decoded times are multiples of it: of a day, hour, minute or second if all times
        are.

    periods : tuple of str
        The cycles of which sine and cosine are encoded: "year", "week" and "day".
    """

    center: int
    unit: float
    variance: float
    times: str
    resolution: str
    step: int
    periods: tuple
    kind: ClassVar[str] = "time"

    @classmethod
    def fit(cls, raw: RawColumn, weight) -> "TimeColumn":
        """Return the column for values with weights."""
        resolution = np.datetime_data(raw.values.dtype)[0]
        times = raw.values.astype(np.int64)
        origin = int(times[0])
        # Relative to one of them, times of nanoseconds are exact as floats.
        center, deviation = mean_and_deviation((times - origin).astype(float), weight)
        has_cycles = raw.values.dtype.kind == "M"
        column = cls(
            name=raw.name,
            dtype=raw.dtype,
            center=origin + round(center),
            unit=deviation or 1.0,
            variance=0.0,
            times=raw.times,
            resolution=resolution,
            step=_common_step(times, resolution),
            periods=_periods_of(times, resolution) if has_cycles else (),
        )
        if not deviation:
            return column
        deviations = [mean_and_deviation(e, weight)[1] for e in column.encode(raw).T]
        return replace(column, variance=float(np.square(deviations).mean()))

    @property
    def numpy_dtype(self) -> str:
        """NumPy's type of the times."""
        return f"{TYPES_OF_TIMES[self.times]}[{self.resolution}]"

    @property
    def n_entries(self) -> int:
        """The z-score, and two for each period."""
        return 1 + 2 * len(self.periods)

    @property
    def spacing(self) -> np.ndarray:
        """That of the step; sines and cosines are not decoded."""
        return np.array([self.step / self.unit] + [np.inf] * (self.n_entries - 1))

    @property
    def null_loss(self) -> float:
        """The mean variance of the entries."""
        return self.variance

    def check_state(self) -> None:
        """Raise ValueError if the attributes of a loaded column are invalid."""
        super().check_state()
        _check_unit(self)
        is_valid = (
            isinstance(self.variance, Real)
            and 0 <= self.variance < np.inf
            and self.times in TYPES_OF_TIMES
            and self.resolution in NANOSECONDS
            and isinstance(self.step, Integral)
            and self.step > 0
            and isinstance(self.periods, tuple)
            and set(self.periods) <= set(PERIODS)
        )
        if not is_valid:
            raise ValueError(f"Got a saved column {self.name!r} of invalid times.")

    def encode(self, raw: RawColumn) -> np.ndarray:
        """Return z-scores, sines and cosines, shape (n_rows, n_entries)."""
        self.check_kind(raw, ("time",))
        if raw.times not in (self.times, ""):
            self.raise_kind(raw, self.times)
        entries = np.full((len(raw.values), self.n_entries), np.nan)
        if raw.kind == "empty":
            return entries
        present = ~raw.missing
        times = raw.values[present].astype(self.numpy_dtype).astype(np.int64)
        entries[present, 0] = (times - self.center) / self.unit
        for i, period in enumerate(self.periods):
            angle = _angles(times, self.resolution, period)
            # Of variance 1 if the phases are evenly distributed.
            entries[present, 1 + 2 * i] = np.sqrt(2) * np.sin(angle)
            entries[present, 2 + 2 * i] = np.sqrt(2) * np.cos(angle)
        return entries

    def decode(self, entries: np.ndarray) -> np.ndarray:
        """Return times, rounded to a multiple of the step."""
        low, high = -MAX_TIME - self.center, MAX_TIME - self.center
        offset = np.rint(entries[:, 0] * self.unit)
        offset = offset.clip(max(low, -MAX_TIME), min(high, MAX_TIME))
        times = self.center + offset.astype(np.int64)
        times = (times + self.step // 2) // self.step * self.step
        return times.astype(self.numpy_dtype)

    def differences(self, raw: RawColumn, restored: RawColumn) -> np.ndarray:
        """Return differences in standard deviations, shape (n_rows,)."""
        if "empty" in (raw.kind, restored.kind):
            return np.zeros(len(raw.values))
        unit = np.ones((), f"m8[{self.resolution}]")
        return np.abs(raw.values - restored.values) / unit / self.unit


COLUMNS: dict[str, type[Column]] = {
    cls.kind: cls for cls in (NumberColumn, BooleanColumn, CategoryColumn, TimeColumn)
}
INTEGER_TYPES = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


def fit_columns(raws: list[RawColumn], weight, is_category) -> tuple[Column, ...]:
    """Return the columns of a table.

    Parameters
    ----------
    raws : list of RawColumn
        The values.

    weight : ndarray of shape (n_rows,)
        Positive weights.

    is_category : ndarray of bool, shape (n_columns,)
        The columns that are categories, whatever their type.
    """
    columns = []
    for raw, declared in zip(raws, is_category, strict=True):
        if declared and raw.kind == "time":
            raise ValueError(
                f"Column {raw.name!r} of X contains {_plural(raw.times)}, such as "
                f"{example(raw)}, but categorical_features names it. Convert it to the "
                "type category of pandas, or to strings."
            )
        raw = raw.as_category() if declared else raw
        present = ~raw.missing
        if not present.any():
            raise ValueError(
                f"Column {raw.name!r} of X has no values: all of them are missing. "
                f"Remove it, for example with X.drop(columns=[{raw.name!r}])."
            )
        columns.append(COLUMNS[raw.kind].fit(raw.select(present), weight[present]))
    return tuple(columns)


def encode_columns(columns: tuple[Column, ...], raws: list[RawColumn]) -> np.ndarray:
    """Return a table as a matrix of floats, shape (n_rows, n_entries)."""
    groups = entries_of_columns(columns)
    # Filled column by column, since `hstack` would need the memory of two matrices.
    matrix = np.empty((len(raws[0].values), groups[-1].stop))
    for column, raw, group in zip(columns, raws, groups, strict=True):
        matrix[:, group] = column.encode(raw)
    return matrix


def decode_columns(
    columns: tuple[Column, ...], matrix: np.ndarray, is_stored=None
) -> list:
    """Return the values of each column, a list of arrays of shape (n_rows,).

    NaN are decoded as 0. The entries that the mask `is_stored` selects are those of
    `stored_columns`.
    """
    decoded = []
    for column, group in zip(columns, entries_of_columns(columns), strict=True):
        entries = np.nan_to_num(matrix[:, group], nan=0.0)
        if is_stored is None:
            decoded.append(column.decode(entries))
        else:
            decoded.append(column.decode_stored(entries, is_stored[:, group]))
    return decoded


def stored_columns(columns, raws: list[RawColumn], matrix: np.ndarray) -> np.ndarray:
    """Return an encoded table as its entries are stored exactly."""
    stored = matrix.copy()
    for column, raw, group in zip(
        columns, raws, entries_of_columns(columns), strict=True
    ):
        stored[:, group] = column.to_stored(raw, matrix[:, group])
    return stored


def check_restored(columns, raws, restored, max_error: float) -> None:
    """Raise ValueError if a restored table differs from the table by too much."""
    for column, raw, other in zip(columns, raws, restored, strict=True):
        column.check_restored(raw, other, max_error)


def largest_errors(spacing: np.ndarray, max_error: float) -> np.ndarray:
    """Return how large errors of entries may be before values are rounded."""
    limit = (1 - TYPE_SHARE) * max_error
    # Values that are half a step from their neighbors are rounded to either of them.
    is_rounded = spacing > 0
    steps = np.floor(limit / np.where(is_rounded, spacing, 1.0)) + 0.5
    return np.where(is_rounded, steps * spacing, limit)


def entries_of_columns(columns: tuple[Column, ...]) -> list[slice]:
    """Return the entries of each column in an encoded row."""
    ends = np.cumsum([column.n_entries for column in columns]).tolist()
    return [slice(*ends) for ends in zip([0, *ends[:-1]], ends, strict=True)]


def column_to_state(column: Column) -> dict:
    """Return a column as a dictionary of plain values."""
    return {"kind": column.kind, **asdict(column)}


def column_from_state(state) -> Column:
    """Return the column of a saved state; raise ValueError if it is invalid."""
    kind = state.get("kind") if isinstance(state, dict) else None
    cls = COLUMNS.get(kind) if isinstance(kind, str) else None
    if cls is None or set(state) != {"kind", *(f.name for f in fields(cls))}:
        raise ValueError(
            "The saved state does not describe a column. Expected a dictionary with a "
            f"kind of {list(COLUMNS)} and the attributes of that column."
        )
    column = cls(**{name: value for name, value in state.items() if name != "kind"})
    column.check_state()
    return column


def mean_and_deviation(values: np.ndarray, weight) -> tuple[float, float]:
    """Return the weighted mean and standard deviation of finite numbers."""
    if (values == values[0]).all():
        return float(values[0]), 0.0
    # Of numbers below 1, whose squares are finite.
    size = np.abs(values).max()
    scaled = values / size
    mean = np.average(scaled, weights=weight)
    mean += np.average(scaled - mean, weights=weight)
    variance = np.average(np.square(scaled - mean), weights=weight)
    return float(mean * size), float(np.sqrt(variance) * size)


def entropy(shares) -> float:
    """Return the entropy of a distribution, in nats."""
    return float(-xlogy(shares, shares).sum())


def example(raw: RawColumn) -> str:
    """Return a value of a column that is not missing, for an error."""
    first = int(np.argmin(raw.missing))
    value = raw.values[first]
    if raw.kind == "category":
        return shown_value(raw.levels[value])
    return str(value)


def _plural(kind: str) -> str:
    plurals = {"category": "categories", "time of day": "times of day"}
    return plurals.get(kind, f"{kind}s")


def _check_finite(raw: RawColumn) -> None:
    if np.isinf(raw.values).any():
        raise ValueError(
            f"Column {raw.name!r} of X contains infinity, but expected finite numbers "
            "or NaN."
        )


def _check_cardinality(raw: RawColumn, n_levels: int) -> None:
    """Raise ValueError if there are too many levels to learn one by one."""
    are_identifiers = raw.is_text and n_levels > max(FEW_LEVELS, len(raw.values) / 2)
    if n_levels <= MAX_LEVELS and not are_identifiers:
        return
    raise ValueError(
        f"Column {raw.name!r} of X has {n_levels} categories in {len(raw.values)} "
        f"rows, such as {example(raw)}, but at most {MAX_LEVELS} are supported, and "
        "strings that are almost all different are not categories. Remove the column, "
        "replace rare categories with a single one, or encode it as numbers before, "
        "for example with skrub's StringEncoder or GapEncoder."
    )


def _check_unit(column) -> None:
    is_valid = (
        isinstance(column.center, Real)
        and isinstance(column.unit, Real)
        and 0 < column.unit < np.inf
        and abs(column.center) < np.inf
    )
    if not is_valid:
        raise ValueError(f"Got a saved column {column.name!r} of invalid units.")


def _check_shares(name, shares) -> None:
    are_numbers = isinstance(shares, tuple) and all(isinstance(p, Real) for p in shares)
    if not (are_numbers and shares and all(0 <= p <= 1 for p in shares)):
        raise ValueError(f"Got a saved column {name!r} of invalid shares.")


def _per_day(resolution: str) -> float:
    """Return the number of units of a resolution in a day."""
    return NANOSECONDS["D"] / NANOSECONDS[resolution]


def _angles(times: np.ndarray, resolution: str, period: str) -> np.ndarray:
    """Return the phase of times in a period, in radians."""
    length = PERIODS[period] * _per_day(resolution)
    return 2 * np.pi * (times % length) / length


def _periods_of(times: np.ndarray, resolution: str) -> tuple[str, ...]:
    """Return the periods within which times vary, and of which they span several."""
    span = (float(times.max()) - float(times.min())) / _per_day(resolution)
    return tuple(
        period
        for period, days in PERIODS.items()
        if span >= MIN_CYCLES * days and _varies(_angles(times, resolution, period))
    )


def _varies(angles: np.ndarray) -> bool:
    resultant = np.hypot(np.sin(angles).mean(), np.cos(angles).mean())
    return bool(1 - resultant > MIN_CYCLIC_VARIANCE)


def _common_step(times: np.ndarray, resolution: str) -> int:
    """Return the largest of a day, hour, minute, ... that divides all times."""
    for length in NANOSECONDS.values():
        step = length // NANOSECONDS[resolution]
        if step > 1 and not (times % step).any():
            return step
    return 1
