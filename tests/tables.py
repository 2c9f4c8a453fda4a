"""Tables of mixed columns for tests."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

N = 60
LATENT = np.random.default_rng(0).standard_normal(N)
COLORS = np.array(["blue", "green", "red"])
TIMES = pd.date_range("2021-03-01 07:00", periods=N, freq="25h")


def noise(seed):
    """Return numbers that do not depend on what was drawn before."""
    return np.random.default_rng(seed).standard_normal(N)


def categories(levels=COLORS, seed=1):
    """Return values that depend on the latent variable."""
    noisy = LATENT + 0.3 * noise(seed)
    return np.asarray(levels)[np.digitize(noisy, [-0.5, 0.5])]


def mixed(n=N):
    """Return a frame of pandas with a column of each kind."""
    return pd.DataFrame(
        {
            "size": LATENT + 0.1 * noise(3),
            "count": np.rint(10 + 3 * LATENT).astype(np.int64),
            "color": pd.Categorical(categories()),
            "text": categories(["low", "medium", "high"], seed=2),
            "flag": LATENT > 0.2,
            "date": TIMES[np.argsort(np.argsort(LATENT))],
        }
    )[:n]


def with_missing(frame, fraction=0.2, seed=0):
    """Return a frame in which values are missing, but not all of a row."""
    missing = np.random.default_rng(seed).random(frame.shape) < fraction
    missing[missing.all(axis=1), 0] = False
    flags = {name: "boolean" for name in frame if frame[name].dtype == bool}
    return frame.astype(flags).mask(missing)


def arrow(name, *args):
    return pd.ArrowDtype(getattr(pa, name)(*args))


DAYS = pd.Series(pd.date_range("2024-02-27", periods=N))
NUMBERS = pd.Series(np.arange(N) % 23 * 3)
TEXTS = pd.Series(categories())
FLAGS = pd.Series(np.arange(N) % 3 == 0)
# A column of every type of pandas.
PANDAS = {
    "float64": NUMBERS / 7,
    "float32": (NUMBERS / 7).astype("float32"),
    "float16": (NUMBERS / 7).astype("float16"),
    "Float64": (NUMBERS / 7).astype("Float64"),
    "double[pyarrow]": (NUMBERS / 7).astype(arrow("float64")),
    "decimal[pyarrow]": pd.Series(list(map(Decimal, NUMBERS.tolist()))).astype(
        arrow("decimal128", 7, 2)
    ),
    **{
        name: NUMBERS.astype(name)
        for name in ("int8", "uint8", "int16", "int64", "uint64", "Int32", "UInt8")
    },
    "large int64": NUMBERS.astype("int64") * 10**13 + 10**15,
    "int64[pyarrow]": NUMBERS.astype(arrow("int64")),
    "Sparse": NUMBERS.astype("Sparse[int64, 0]"),
    "objects of integers": NUMBERS.astype(object),
    "bool": FLAGS,
    "boolean": FLAGS.astype("boolean"),
    "bool[pyarrow]": FLAGS.astype(arrow("bool_")),
    "objects of booleans": FLAGS.astype(object),
    "str": TEXTS.astype("str"),
    "string": TEXTS.astype("string"),
    "string[python]": TEXTS.astype(pd.StringDtype("python")),
    "string[pyarrow]": TEXTS.astype(arrow("string")),
    "large_string[pyarrow]": TEXTS.astype(arrow("large_string")),
    "objects of strings": TEXTS.astype(object),
    "category": TEXTS.astype("category"),
    "ordered": pd.Series(pd.Categorical(TEXTS, ["red", "green", "blue"], ordered=True)),
    "unused category": pd.Series(pd.Categorical(TEXTS, [*COLORS, "white"])),
    "category of integers": NUMBERS.astype("category"),
    "category of booleans": FLAGS.astype("category"),
    "category of dates": DAYS.dt.floor("30D").astype("category"),
    "category of intervals": pd.cut(NUMBERS, 4),
    "dictionary[pyarrow]": TEXTS.astype(
        pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    ),
    **{f"datetime64[{u}]": DAYS.dt.as_unit(u) for u in ("s", "ms", "us", "ns")},
    "zoned": (DAYS + pd.Timedelta("7h")).dt.tz_localize("Europe/Berlin"),
    "date32[pyarrow]": DAYS.astype(arrow("date32")),
    "timestamp[pyarrow]": DAYS.astype(arrow("timestamp", "us")),
    "zoned timestamp[pyarrow]": DAYS.dt.tz_localize("UTC").astype(
        arrow("timestamp", "ms", "Asia/Tokyo")
    ),
    "timedelta64": DAYS - DAYS[0],
    "duration[pyarrow]": (DAYS - DAYS[0]).astype(arrow("duration", "s")),
    "far dates": pd.Series(np.datetime64("2900-01-01", "s") + np.arange(N) * 10**6),
}
DATES = [datetime.date(2024, 2, 27) + datetime.timedelta(days=i) for i in range(N)]
MOMENTS = [datetime.datetime(2024, 2, 27, 7) + datetime.timedelta(i) for i in range(N)]
# A column of every type of polars.
POLARS = {
    **{
        str(dtype): pl.Series(NUMBERS.tolist()).cast(dtype)
        for dtype in (
            pl.Int8, pl.UInt8, pl.Int16, pl.Int64, pl.UInt64, pl.Float32, pl.Float64,
            pl.Decimal(12, 2),
        )
    },
    "Boolean": pl.Series(FLAGS.tolist()),
    "String": pl.Series(TEXTS.tolist()),
    "Categorical": pl.Series(TEXTS.tolist(), dtype=pl.Categorical),
    "Enum": pl.Series(TEXTS.tolist(), dtype=pl.Enum(["red", "green", "blue", "white"])),
    "Date": pl.Series(DATES),
    "Datetime ms": pl.Series(MOMENTS).cast(pl.Datetime("ms")),
    "Datetime zoned": pl.Series(MOMENTS).dt.replace_time_zone("Europe/Berlin"),
    "Duration": pl.Series(MOMENTS) - MOMENTS[0],
    "Time": pl.Series([datetime.time(i % 24, 30) for i in range(N)]),
}  # fmt: skip
