"""Columns of tables: entries, units and cycles, and their saved state."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from tables import N, mixed

from skae.data._columns import (
    COLUMNS,
    column_from_state,
    column_to_state,
    decode_columns,
    encode_columns,
    fit_columns,
    mean_and_deviation,
)
from skae.data._frames import build_frame, read_columns

FRAME = mixed()


def columns_of(frame, weight=None, is_category=False):
    """Return the columns of a frame, and their encoded rows."""
    raws = read_columns(frame)
    weight = np.ones(len(frame)) if weight is None else weight
    columns = fit_columns(raws, weight, np.full(len(raws), is_category))
    return columns, encode_columns(columns, raws)


def round_trip(frame, container):
    columns, matrix = columns_of(frame)
    dtypes = [column.dtype for column in columns]
    missing = np.zeros((len(frame), len(columns)), dtype=bool)
    names = [column.name for column in columns]
    decoded = decode_columns(columns, matrix)
    return build_frame(container, names, decoded, dtypes, missing)


# Entries


def test_every_kind_of_column_is_in_the_frame():
    columns, _ = columns_of(FRAME)
    assert {column.kind for column in columns} == set(COLUMNS)


def test_numbers_have_mean_0_and_variance_1():
    _, z = columns_of(FRAME[["size", "count"]])
    assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    assert_allclose(z.var(axis=0), 1)


def test_the_variance_of_indicators_is_one_minus_their_share():
    _, entries = columns_of(FRAME[["color"]])
    shares = FRAME.color.value_counts(normalize=True).sort_index()
    assert_allclose(entries.var(axis=0), 1 - shares)


def test_the_variance_of_a_boolean_is_1():
    _, entries = columns_of(FRAME[["flag"]])
    assert_allclose(entries.var(), 1)


@pytest.mark.parametrize("name", FRAME)
def test_the_null_loss_is_that_of_the_mean(name):
    (column,), entries = columns_of(FRAME[[name]])
    if column.link == "identity":
        expected = entries.var(axis=0).mean()
    else:
        shares = FRAME[name].value_counts(normalize=True)
        expected = -(shares * np.log(shares)).sum()
    assert_allclose(column.null_loss, expected)


@pytest.mark.parametrize("name", FRAME)
def test_integer_weights_equal_repeated_values(name):
    weight = np.arange(N) % 3 + 1
    (column,), _ = columns_of(FRAME[[name]], weight.astype(float))
    repeated = FRAME[[name]].loc[FRAME.index.repeat(weight)]
    (other,), _ = columns_of(repeated)
    assert_allclose(column.units, other.units)
    assert_allclose(column.null_loss, other.null_loss)


PERIODS = {
    "a day": (pd.date_range("2020-01-01", periods=50, freq="7h"), ("week", "day")),
    "days": (pd.date_range("2020-01-01", periods=50, freq="D"), ("week",)),
    "weeks": (pd.date_range("2020-01-01", periods=200, freq="7D"), ("year",)),
    "years": (pd.date_range("2000-01-01", periods=20, freq="YS"), ("week",)),
    "a few hours": (pd.date_range("2020-01-01", periods=9, freq="h"), ()),
    "durations": (pd.to_timedelta(np.arange(50) * 7, "h"), ()),
}


@pytest.mark.parametrize("name", PERIODS)
def test_cycles_are_encoded_if_times_vary_within_them(name):
    times, periods = PERIODS[name]
    (column,), entries = columns_of(pd.DataFrame({"t": times}))
    assert set(periods) <= set(column.periods)
    assert entries.shape == (len(times), 1 + 2 * len(column.periods))
    assert ("day" in column.periods) == ("day" in periods)


def test_decoded_times_are_multiples_of_a_day_if_all_times_are():
    days = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=40)})
    (column,), entries = columns_of(days)
    noisy = entries + 0.01
    decoded = pd.Series(column.decode(noisy))
    assert (decoded == decoded.dt.normalize()).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_decoded_integers_stay_within_their_type(dtype):
    limits = np.iinfo(dtype)
    (column,), _ = columns_of(pd.DataFrame({"a": np.array([0, 9], dtype)}))
    low, high = column.decode(np.array([[-1e30], [1e30]]))
    assert low == limits.min
    assert 0.99 * limits.max < high <= limits.max


def test_decoded_times_stay_within_their_type():
    (column,), _ = columns_of(pd.DataFrame({"t": FRAME.date.dt.as_unit("ns")}))
    entries = np.zeros((2, column.n_entries))
    entries[:, 0] = -1e30, 1e30
    low, high = column.decode(entries)
    assert low < np.datetime64("1750") < np.datetime64("2250") < high


# Round trips


def frames(make):
    """Return a strategy of frames of one column, from values of one kind."""
    values = {
        "int": st.integers(-(2**53), 2**53),
        "float": st.floats(-1e100, 1e100, allow_subnormal=False),
        "bool": st.booleans(),
        "text": st.sampled_from(["a", "b", "", "ä", "0", "nan"]),
        "date": st.datetimes(
            datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)
        ),
    }
    lists = st.one_of([st.lists(v, min_size=1, max_size=20) for v in values.values()])
    return lists.map(lambda column: make({"c": column}))


def assert_close(decoded, column, is_float):
    if is_float:
        size = max(abs(value) for value in column)
        assert_allclose(decoded, column, atol=1e-13 * size)
    elif isinstance(column[0], datetime.datetime):
        # float64 resolves a range of centuries to about a microsecond.
        off = max(abs(a - b) for a, b in zip(decoded, column, strict=True))
        assert off <= datetime.timedelta(microseconds=2)
    else:
        assert decoded == column


@given(frame=frames(pd.DataFrame))
def test_frames_of_pandas_are_decoded_without_error(frame):
    decoded = round_trip(frame, "pandas")
    assert decoded.dtypes.equals(frame.dtypes)
    is_float = frame.c.dtype.kind in "iuf"
    assert_close(decoded.c.tolist(), frame.c.tolist(), is_float)


@given(frame=frames(pl.DataFrame))
def test_frames_of_polars_are_decoded_without_error(frame):
    decoded = round_trip(frame, "polars")
    assert decoded.schema == frame.schema
    is_float = frame["c"].dtype.is_numeric()
    assert_close(decoded["c"].to_list(), frame["c"].to_list(), is_float)


def test_moments_of_huge_numbers_are_finite():
    mean, deviation = mean_and_deviation(np.array([1e300, -1e300, 1e300]), np.ones(3))
    assert_allclose([mean, deviation], [1e300 / 3, 1e300 * np.sqrt(8) / 3])


def test_values_declared_as_categories_keep_their_types():
    frame = pd.DataFrame({"i": [1, 2, 1], "b": [True, False, True], "f": [0.5, 1, 0.5]})
    columns, _ = columns_of(frame, is_category=True)
    assert [column.levels for column in columns] == [(1, 2), (False, True), (0.5, 1.0)]


def test_missing_values_are_missing_in_all_entries_of_a_column():
    frame = FRAME.astype({"text": object}).copy()
    frame.loc[3, "text"] = None
    columns, matrix = columns_of(frame)
    sizes = [column.n_entries for column in columns]
    expected = np.repeat(np.array(frame.columns) == "text", sizes)
    assert_array_equal(np.isnan(matrix[3]), expected)


# Saved states


@pytest.mark.parametrize("name", FRAME)
def test_a_column_equals_the_one_of_its_state(name):
    (column,), _ = columns_of(FRAME[[name]])
    assert column_from_state(column_to_state(column)) == column


CHANGES = {
    "size": {"center": ["0", np.nan], "unit": [0.0, -1.0, np.inf], "integer": ["str"]},
    "flag": {"share": [2.0, -0.1, None]},
    "color": {"shares": [(), (0.5, 0.5), (2.0, 0.0, 0.0), 3], "levels": [("a",), None]},
    "date": {"times": ["O"], "resolution": ["x"], "step": [0, 0.5],
             "periods": [("eon",), 3], "variance": [-1.0, None]},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_invalid_states_of_columns_raise(name):
    (column,), _ = columns_of(FRAME[[name]])
    state = column_to_state(column)
    changes = {"kind": ["other", None, []], "dtype": [3], "name": [[]]}
    for key, values in (changes | CHANGES[name]).items():
        for value in values:
            with pytest.raises(ValueError, match="saved"):
                column_from_state(state | {key: value})
    with pytest.raises(ValueError, match="does not describe a column"):
        column_from_state(None)


def test_types_of_a_saved_state_are_no_functions():
    with pytest.raises(ValueError, match="polars does not have"):
        build_frame(
            "polars", ["c"], [np.zeros(2)], [("polars", "read_csv", "x")],
            np.zeros((2, 1), dtype=bool),
        )  # fmt: skip
