"""Any input gives a finite model and finite output, or an error with its cause."""

import copy
import re

import hypothesis
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils import validation as sklearn_validation

from skae import MLP, AutoencoderTransformer
from skae.data import _validation
from skae.data._layout import NumericLayout, PaddedLayout
from skae.data._rows import HELD_DTYPES, ROW_DTYPES
from skae.data._validation import (
    MATRIX_CHECKS,
    check_domain,
    flatten,
    needs_conversion,
    one_row,
    positive_weights,
    validate_training_data,
)
from skae.losses import as_loss

QUICK = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
X = np.random.default_rng(0).standard_normal((40, 5))
INTEGERS = np.arange(200).reshape(40, 5)


def one_large_column(factor):
    large = X.copy()
    large[:, 2] *= factor
    return large


def frozen():
    rows = X.copy()
    rows.flags.writeable = False
    return rows


MIXED = pd.DataFrame({"a": X[:, 0] > 0, "b": pd.Categorical(INTEGERS[:, 0] % 3)})
MIXED["c"] = X[:, 1]


def frame_with(column):
    """Return a frame of numbers in which column "c" has other values."""
    return pd.DataFrame(X, columns=list("abcde")).assign(c=column)


DAYS = pd.date_range("2026-01-01", periods=40)
COLORS = ["red", "blue"] * 20


VALID = {
    "float64": X,
    "float32": X.astype(np.float32),
    "float16": X.astype(np.float16),
    "longdouble": X.astype(np.longdouble),
    "int8": INTEGERS.astype(np.int8),
    "uint8": INTEGERS.astype(np.uint8),
    "int64": INTEGERS,
    "bool": X > 0,
    "object of floats": X.astype(object),
    "list of lists": X.tolist(),
    "csr": sparse.csr_matrix(X * (X > 0)),
    "csc": sparse.csc_matrix(X * (X > 0)),
    "coo array": sparse.coo_array(X * (X > 0)),
    "empty csr": sparse.csr_matrix((40, 5)),
    "big-endian": X.astype(">f8"),
    "Fortran order": np.asfortranarray(X),
    "negative strides": X[::-1, ::-1],
    "every other row": np.repeat(X, 2, axis=0)[::2],
    "read-only": frozen(),
    "tensor": torch.from_numpy(X),
    "a tensor with gradients": torch.from_numpy(X).requires_grad_(),
    "a tensor of bfloat16": torch.from_numpy(X).bfloat16(),
    "strings of numbers": X.astype(str),
    "pandas booleans and categories": MIXED,
    "pandas": pd.DataFrame(X, columns=list("abcde")),
    "pandas Float64": pd.DataFrame(X).astype("Float64"),
    "pandas Int64": pd.DataFrame(INTEGERS).astype("Int64"),
    "pandas with numbers as names": pd.DataFrame(X),
    "polars": pl.DataFrame(X, schema=list("abcde")),
    "scale 1e-30": X * 1e-30,
    "scale 1e30": X * 1e30,
    "scale 1e-100": X * 1e-100,
    "scale 1e100": X * 1e100,
    "float32 scale 1e-30": (X * 1e-30).astype(np.float32),
    "float32 scale 1e30": (X * 1e30).astype(np.float32),
    "float32 largest": np.where(X > 0, np.finfo(np.float32).max, np.float32(0)),
    "float16 largest": np.where(X > 0, np.finfo(np.float16).max, np.float16(0)),
    "mean a million times the spread": X + 1e6,
    "mean 1e12 times the spread": X + 1e12,
    "one column a trillion times larger": one_large_column(1e12),
    "one column a trillion times smaller": one_large_column(1e-12),
    "all zero": np.zeros((40, 5)),
    "repeated rows": np.repeat(X[:2], 20, axis=0),
    "one row": X[:1],
    "two rows": X[:2],
    "one column": X[:, :1],
    "three dimensions": X.reshape(40, 5, 1),
    "float32 in four dimensions": X.astype(np.float32).reshape(20, 5, 2, 1),
    "a nested list": X.reshape(20, 5, 2).tolist(),
    "a tensor in three dimensions": torch.from_numpy(X).reshape(20, 5, 2),
    "more columns than rows": X.T,
}

INVALID = {
    "scale 1e-200": (X * 1e-200, "Rescale X"),
    "scale 1e200": (X * 1e200, "Rescale X"),
    "infinity": (np.where(X > 2, np.inf, X), "X contains infinity"),
    "a masked array": (np.ma.masked_array(X, X > 2), "X has masked entries"),
    "strings": ([["a", "b"]] * 40, "could not convert string to float: 'a'.*Encode"),
    "bytes": (np.full((40, 2), b"a"), "could not convert string to float: b'a'"),
    "an array of dates": (DAYS.to_numpy().reshape(20, 2), "X contains dates"),
    "dates in three dimensions": (DAYS.to_numpy().reshape(20, 2, 1), "contains dates"),
    "periods": (frame_with(DAYS.to_period()), "Column 'c' of X .* type Period"),
    "an array of differences": (np.ones((40, 2), "m8[D]"), "X contains time diff"),
    "complex": (X * 1j, "Complex data not supported: X"),
    "complex in pandas": (frame_with(X[:, 0] * 1j), "Complex .*: Column 'c' of X"),
    "complex in a CSR matrix": (sparse.csr_matrix(X * 1j), "Complex data not"),
    "a complex tensor": (torch.from_numpy(X * 1j), "Complex data not"),
    "a tensor without data": (torch.empty(40, 5, device="meta"), "X: The tensor"),
    "one dimension": (X[0], "X: Expected 2D array, got 1D array"),
    "infinity in three dimensions": (np.full((40, 5, 2), np.inf), "X: .* infinity"),
    "strings in three dimensions": (np.full((40, 5, 2), "a"), "could not convert"),
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "a number": (3.0, "X: Expected 2D array, got scalar array"),
    "a string": ("abc", "could not convert string to float: 'abc'"),
    "None": (None, "X: Expected 2D array"),
    "ragged": ([[1.0, 2.0], [3.0]] * 20, "X: .* inhomogeneous"),
    "objects": ([[object(), object()]] * 40, "X .* float\\(\\) argument must be"),
    "a dictionary": ({"a": 1}, "X .* float\\(\\) argument must be"),
    "a structured array": (np.zeros(40, [("a", float)]), "X: Cannot cast|X: Expected"),
}  # fmt: skip
# Valid in `fit`, but not for a model of complete numbers.
NOT_NUMBERS = {
    "NaN": (np.where(X > 2, np.nan, X), "X contains NaN. Impute .* SimpleImputer"),
    "NaN in a CSR matrix": (sparse.csr_matrix(np.where(X > 2, np.nan, X)), "SimpleImp"),
    "masked by NaN": (pd.DataFrame(X).astype("Float64").mask(X > 2), "NaN"),
    "strings in pandas": (frame_with(COLORS), "Column 'c' of X .*'red'.*OneHotEncoder"),
    "categories in pandas": (
        frame_with(pd.Categorical(COLORS)), "Column 'c' of X .*'red'.*OrdinalEncoder",
    ),
    "strings in polars": (
        pl.from_pandas(frame_with(COLORS)), "Column 'c' of X .*'red'.*ColumnTransf",
    ),
    "dates in pandas": (frame_with(DAYS), r"Column 'c' of X contains dates.*days"),
    "dates with a time zone": (frame_with(DAYS.tz_localize("UTC")), "Column 'c' of X"),
    "dates in polars": (pl.from_pandas(frame_with(DAYS)), "Column 'c' of X .* dates"),
    "only dates": (pd.DataFrame({"c": DAYS}), "Column 'c' of X contains dates"),
    "a missing date": (frame_with(DAYS.where(DAYS.day > 3)), "contains dates"),
    "dates as objects": (frame_with(DAYS.to_pydatetime()), "Column 'c' of X"),
    "differences in pandas": (frame_with(DAYS - DAYS[0]), "Column 'c'.* differences"),
}  # fmt: skip


def quick(n_components=2, **params):
    return AutoencoderTransformer(n_components, **(QUICK | params))


FITTED = quick().fit(X)


def validate(rows, sample_weight=None, X_val=None, loss="squared_error"):
    """Return the data and metadata of a first fit."""
    estimator, loss = AutoencoderTransformer(), as_loss(loss)
    return validate_training_data(
        estimator, rows, sample_weight, loss, X_val, reset=True
    )


def assert_finite(model, rows):
    codes = model.transform(rows)
    reconstruction = np.asarray(model.inverse_transform(codes), dtype=np.float64)
    outputs = [codes, reconstruction, model.score(rows)]
    outputs += [model.reconstruction_error(rows), model.mean_, model.scale_]
    outputs += [model.loss_curve_, model.explained_variance_ratio_]
    assert all(np.isfinite(output).all() for output in outputs)
    assert all(p.isfinite().all() for p in model.module_.parameters())


# Containers, dtypes and values.


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X has one row")
@pytest.mark.parametrize("name", VALID)
def test_valid_input_gives_finite_output(name):
    assert_finite(quick(1).fit(VALID[name]), VALID[name])


@pytest.mark.parametrize("name", INVALID)
def test_invalid_input_raises_with_its_cause(name):
    rows, cause = INVALID[name]
    model = quick(1)
    with pytest.raises((ValueError, TypeError), match=cause) as error:
        model.fit(rows)
    assert "X" in str(error.value)
    assert not hasattr(model, "module_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_mixed_columns_and_missing_values_are_valid_in_fit(name):
    rows, cause = NOT_NUMBERS[name]
    model = quick(1).fit(rows)
    assert np.isfinite(model.transform(rows)).all()
    if isinstance(rows, pd.DataFrame | pl.DataFrame) and "NaN" not in name:
        with pytest.raises((ValueError, TypeError), match=cause):
            quick(1, categorical_features=None).fit(rows)


USES = {
    "partial_fit": lambda model, rows: model.partial_fit(rows),
    "transform": lambda model, rows: model.transform(rows),
    "score": lambda model, rows: model.score(rows),
    "reconstruction_error": lambda model, rows: model.reconstruction_error(rows),
    "compress": lambda model, rows: model.compress(rows),
    "X_val": lambda model, rows: model.fit(X, X_val=rows),
    "start": lambda model, rows: model.interpolate(rows, X[0]),
    "end": lambda model, rows: model.interpolate(X[0], rows),
    "inverse_transform": lambda model, rows: model.inverse_transform(rows),
}
# X_val=None means that there are no validation rows, one-dimensional rows are valid in
# `interpolate`, and huge values are clipped by fitted models.
EXCEPTIONS = {
    ("X_val", "None"), ("start", "one dimension"), ("end", "one dimension"),
    *((use, f"scale 1e{e}") for use in USES for e in (-200, 200)),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_fitted_models_raise_for_invalid_input_with_the_name_of_the_argument(use):
    argument = use if use in ("X_val", "start", "end") else "X"
    invalid = INVALID | NOT_NUMBERS
    for name in [name for name in invalid if (use, name) not in EXCEPTIONS]:
        with pytest.raises((ValueError, TypeError)) as error:
            USES[use](copy.copy(FITTED), invalid[name][0])
        assert re.search(rf"\b{argument}\b", str(error.value)), name


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize(
    "rows",
    [
        torch.from_numpy(X).requires_grad_(),
        torch.from_numpy(X).requires_grad_()[:, :, None],
        torch.from_numpy(X),
        X[:, :, None].tolist(),
    ],
    ids=["gradients", "gradients in three dimensions", "tensor", "list"],
)
def test_tensors_and_lists_give_the_codes_of_the_array(rows):
    model, expected = quick().fit(rows, X_val=rows), quick().fit(X, X_val=X)
    assert_array_equal(model.transform(rows), expected.transform(X))
    codes = torch.from_numpy(expected.transform(X)).requires_grad_()
    back = expected.inverse_transform(codes)
    assert_array_equal(model.inverse_transform(codes).reshape(back.shape), back)


def test_bfloat16_is_converted_to_float32():
    rows = torch.from_numpy(X).bfloat16()
    assert_array_equal(quick().fit_transform(rows), quick().fit_transform(rows.float()))


@pytest.mark.parametrize("method", ["transform", "score", "reconstruction_error"])
def test_another_number_of_features_raises(method):
    with pytest.raises(ValueError, match="X has 4 features"):
        getattr(FITTED, method)(X[:, 1:])


CODES = {
    "NaN": (np.full((3, 2), np.nan), "X: Input contains NaN"),
    "infinity": (np.full((3, 2), np.inf), "X: Input contains infinity"),
    "strings": ([["a", "b"]], "X .* could not convert string to float: 'a'"),
    "dates": (np.zeros((3, 2), "M8[D]"), "X contains dates"),
    "one dimension": (np.zeros(2), "X: Expected 2D array"),
    "three dimensions": (np.zeros((3, 2, 1)), "X: Found array with dim 3"),
    "a CSR matrix": (sparse.csr_matrix((3, 2)), "X: Sparse data was passed"),
    "no rows": (np.zeros((0, 2)), "X: Found array with 0 sample"),
}


@pytest.mark.parametrize(("codes", "cause"), CODES.values(), ids=CODES)
def test_invalid_codes_raise(codes, cause):
    with pytest.raises((ValueError, TypeError), match=cause):
        FITTED.inverse_transform(codes)


def test_codes_of_another_width_raise():
    with pytest.raises(ValueError, match="n_components_=2"):
        quick(2).fit(X).inverse_transform(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X has one row")
@pytest.mark.parametrize("n_rows", range(1, 71))
def test_any_number_of_rows_can_be_fitted(n_rows):
    rows = np.random.default_rng(n_rows).standard_normal((n_rows, 4))
    model = quick(batch_size=32).fit(rows)
    assert model.n_iter_ > 0
    assert_finite(model, rows)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:n_components=7 is larger than the 3 features")
@pytest.mark.parametrize(("n_features", "n_components"), [(1, 1), (4, 1), (3, 7)])
def test_any_number_of_features_and_components_can_be_fitted(n_features, n_components):
    rows = X[:, :n_features]
    model = quick(n_components).fit(rows)
    assert model.transform(rows).shape == (40, n_components)
    assert_finite(model, rows)


def test_memory_maps_equal_arrays(tmp_path):
    np.save(tmp_path / "X.npy", X)
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(quick().fit_transform(rows), quick().fit_transform(X))


@pytest.mark.parametrize("convert", [pd.DataFrame, pl.DataFrame, sparse.csr_matrix])
def test_containers_give_the_same_codes(convert):
    rows = np.where(X > 0, X, 0.0)
    codes = quick().fit(convert(rows)).transform(convert(rows))
    assert_allclose(codes, quick().fit_transform(rows), rtol=1e-9)


@pytest.mark.parametrize(
    "convert",
    [sparse.csr_matrix, sparse.csc_matrix, sparse.csc_array, sparse.coo_array],
)
def test_sparse_containers_give_the_same_codes(convert):
    rows = sparse.csr_array(X * (X > 0))
    codes = quick().fit_transform(convert(rows))
    assert_array_equal(codes, quick().fit_transform(rows))


def test_fit_and_transform_do_not_change_their_input():
    rows, weight = X.copy(), np.arange(40.0)
    quick().fit(rows, sample_weight=weight).transform(rows)
    assert_array_equal(rows, X)
    assert_array_equal(weight, np.arange(40.0))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_outlier_in_fit_gives_a_finite_model():
    rows = X.copy()
    rows[3, 1] = 1e15
    assert_finite(quick().fit(rows), rows)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
@pytest.mark.parametrize("scale", [1, 1e149, 1e-149])
@pytest.mark.parametrize("outlier", [1e200, 1.7e308, -1e300, 1e-300])
def test_outliers_of_any_magnitude_give_finite_output(outlier, scale, loss):
    model, rows = quick(loss=loss).fit(X * scale), X * scale
    rows[3] = outlier
    codes = model.transform(rows)
    reconstruction = np.asarray(model.inverse_transform(codes), dtype=np.float64)
    outputs = [codes, reconstruction, model.score(rows)]
    outputs += [model.reconstruction_error(rows)]
    outputs += [model.reconstruction_error(rows, per_feature=True)]
    outputs += [model.decompress(model.compress(rows))]
    outputs += [model.interpolate(rows[3], rows[0])]
    assert all(np.isfinite(output).all() for output in outputs)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_huge_and_tiny_values_together_raise_or_are_trained_on(method):
    mixed = np.where(X > 1, 1e200, X * 1e-200)
    with pytest.raises(ValueError, match="largest magnitude in X is 1e"):
        getattr(quick(), method)(mixed)
    with pytest.raises(ValueError, match="largest magnitude in X is 1e"):
        getattr(quick().partial_fit(X), method)(mixed)
    rows = np.where(X > 1, 1e140, X * 1e-140)
    assert_finite(getattr(quick(), method)(rows), rows)


ENTRIES = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 6))


@pytest.mark.slow
@hypothesis.settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    rows=arrays(np.float64, SHAPES, elements=ENTRIES), k=st.integers(1, 8)
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X has one row")
@pytest.mark.filterwarnings("ignore:n_components=. is larger than")
def test_any_finite_array_gives_finite_output_or_a_cause(rows, k):
    model = quick(k)
    with np.errstate(all="ignore"):
        try:
            model.fit(rows)
        except ValueError as error:
            assert "Rescale X" in str(error)  # noqa: PT017
            return
        assert_finite(model, rows)


@pytest.mark.parametrize("dtypes", [HELD_DTYPES, ROW_DTYPES])
def test_arrays_without_need_of_conversion_are_those_that_check_array_returns(dtypes):
    invalid = [rows for rows, _ in [*INVALID.values(), *NOT_NUMBERS.values()]]
    others = [X.astype(dtype) for dtype in (*HELD_DTYPES, ">f4", "i8", "O", "U5")]
    others += [X.view(np.matrix), np.ma.masked_array(X), X.ravel()]
    returned = 0
    for rows in (*VALID.values(), *invalid, *others):
        if not needs_conversion(rows, dtypes) and np.isfinite(rows).all():
            assert check_array(rows, **MATRIX_CHECKS | {"dtype": dtypes}) is rows
            returned += 1
    assert returned > 20


@pytest.mark.parametrize(("dtype", "n_calls"), [("float64", 0), ("longdouble", 1)])
def test_check_array_is_called_only_for_conversion(dtype, n_calls, monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        return check_array(*args, **kwargs)

    monkeypatch.setattr(sklearn_validation, "check_array", counted)
    monkeypatch.setattr(_validation, "check_array", counted)
    codes = FITTED.transform(X[:1].astype(dtype))
    assert len(calls) == n_calls
    FITTED.inverse_transform(codes.astype(dtype))
    assert len(calls) == 2 * n_calls


# Shapes.


def test_arrays_of_several_axes_are_flattened():
    rows, shape = flatten(X.reshape(20, 5, 2))
    assert shape == (5, 2)
    assert_array_equal(rows, X.reshape(20, 10))


def test_matrices_are_returned_unchanged():
    rows, shape = flatten(X)
    assert rows is X
    assert shape is None


@pytest.mark.parametrize("value", ["yes", None, 2])
def test_per_feature_is_a_bool(value):
    with pytest.raises(ValueError, match="'per_feature' parameter"):
        FITTED.reconstruction_error(X, per_feature=value)


def test_lists_of_different_lengths_raise_with_a_hint_to_pad():
    with pytest.raises(ValueError, match="Pad sequences"):
        flatten([[[1.0], [2.0]], [[1.0]]])


@pytest.mark.parametrize(
    "row",
    [X[3], X[3:4], X[3].tolist(), pd.Series(X[3]), pd.DataFrame(X[3:4])],
    ids=["array", "matrix", "list", "Series", "DataFrame"],
)
def test_one_row_has_shape_one_by_n_features(row):
    assert_array_equal(one_row(quick().fit(X), row, "start"), X[3:4])


def test_one_row_without_feature_names_does_not_warn():
    model = quick().fit(pd.DataFrame(X, columns=list("abcde")))
    assert_array_equal(one_row(model, X[3], "start"), X[3:4])
    assert_array_equal(model.feature_names_in_, list("abcde"))


def test_several_rows_raise_where_one_is_expected():
    with pytest.raises(ValueError, match="start has 2 rows, but expected one row"):
        one_row(quick().fit(X), X[:2], "start")


# Training data.


@pytest.mark.parametrize(
    ("convert", "container"),
    [(np.asarray, "default"), (pd.DataFrame, "pandas"), (pl.DataFrame, "polars")],
)
def test_metadata_are_container_dtype_and_kinds_of_columns(convert, container):
    _, metadata = validate(convert(X))
    attributes = {"_container": container, "_dtype": "float64", "column_kinds_": None}
    assert metadata == attributes


def test_features_are_set_on_the_estimator():
    estimator, rows = AutoencoderTransformer(), pd.DataFrame(X, columns=list("abcde"))
    loss = as_loss("squared_error")
    validate_training_data(estimator, rows, None, loss, reset=True)
    assert estimator.n_features_in_ == 5
    assert_array_equal(estimator.feature_names_in_, list("abcde"))


def test_a_failing_refit_restores_the_features():
    model = quick().fit(pd.DataFrame(X, columns=list("abcde")))
    with pytest.raises(ValueError, match="needs data in"):
        model.set_params(loss="poisson").fit(-np.abs(X[:, :3]))
    assert model.n_features_in_ == 5
    assert_array_equal(model.feature_names_in_, list("abcde"))


def test_weights_have_mean_one_without_rows_of_weight_zero():
    weight, kept = positive_weights(X[:4], [0, 1, 3, 2])
    rows = X[:4][kept]
    assert_array_equal(rows, X[1:4])
    assert_allclose(weight, [0.5, 1.5, 1])


def test_equal_weights_are_none():
    weight, kept = positive_weights(X, np.full(40, 2.0))
    assert kept == slice(None)
    assert weight is None


WEIGHTS = {
    "NaN": (np.nan, "finite"),
    "infinity": (np.inf, "finite"),
    "an array with NaN": (np.r_[np.nan, np.ones(39)], "NaN"),
    "negative": (np.r_[-1, np.ones(39)], "Negative"),
    "a negative number": (-1.0, "Negative"),
    "zero": (np.zeros(40), "at least one non-zero"),
    "the number zero": (0, "at least one non-zero"),
    "another length": ([1, 2], "expected"),
    "two dimensions": (np.ones((40, 2)), "1D array"),
    "strings": (["a"] * 40, "could not convert string to float: 'a'"),
    "a string": ("a", "could not convert string to float: 'a'"),
    "complex": (np.full(40, 1j), "Complex data not supported"),
    "dates": (DAYS.to_numpy(), "contains dates"),
    "ragged": ([[1], [1, 2]] * 20, "converted to an array"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit", "score"])
@pytest.mark.parametrize(("weight", "cause"), WEIGHTS.values(), ids=WEIGHTS)
def test_invalid_weights_raise(weight, cause, method):
    with pytest.raises((ValueError, TypeError), match=cause) as error:
        getattr(copy.copy(FITTED), method)(X, sample_weight=weight)
    assert "sample_weight" in str(error.value)


@pytest.mark.parametrize("factor", [1e308, 1e300, 1e-300, 2.0**1000, 2.0**-1000])
def test_weights_of_any_magnitude_give_the_same_model_and_score(factor):
    weight = np.random.default_rng(0).random(40)
    model, expected = (
        quick().fit(X, sample_weight=w) for w in (weight * factor, weight)
    )
    assert_allclose(model.transform(X), expected.transform(X), rtol=1e-9)
    score = model.score(X, sample_weight=weight * factor)
    assert score == pytest.approx(expected.score(X, sample_weight=weight), rel=1e-9)


@pytest.mark.filterwarnings("ignore:The code has collapsed")
def test_weights_of_different_magnitudes_give_a_finite_model():
    weight = np.r_[1e300, 1e-300, np.ones(38)]
    model = quick().fit(X, sample_weight=weight)
    assert_finite(model, X)
    assert np.isfinite(model.score(X, sample_weight=weight))


def test_weights_may_be_a_tensor_with_gradients():
    weight = np.random.default_rng(0).random(40)
    tensor = torch.from_numpy(weight).requires_grad_()
    model = quick().fit(X, sample_weight=tensor)
    codes = quick().fit(X, sample_weight=weight).transform(X)
    assert_array_equal(model.transform(X), codes)
    assert model.score(X, sample_weight=tensor) == model.score(X, sample_weight=weight)


def test_rows_of_weight_zero_do_not_affect_the_layout():
    rows, weight = X.reshape(20, 5, 2).copy(), np.ones(20)
    rows[0, 3:] = np.nan
    assert validate(rows)[0].layout == PaddedLayout((5, 2), 0)
    weight[0] = 0
    assert validate(rows, weight)[0].layout == NumericLayout((5, 2))


def test_rows_of_weight_zero_do_not_affect_the_vocabulary():
    tokens, weight = INTEGERS % 7, np.ones(40)
    tokens[0], weight[0] = 40, 0
    data, _ = validate(tokens, weight, loss="cross_entropy")
    assert data.layout.n_tokens == 7


def test_validation_rows_have_the_layout_of_the_training_rows():
    rows = X.reshape(20, 5, 2)
    data, _ = validate(rows, X_val=rows[:3])
    assert_array_equal(data.X_val, data.X[:3])
    with pytest.raises(ValueError, match="but expected"):
        validate(rows, X_val=rows.swapaxes(1, 2))


@pytest.mark.parametrize(
    ("loss", "low", "high"),
    [("log_loss", 0, 1.1), ("log_loss", -0.1, 1), ("brier", 0, 2), ("poisson", -1, 3)],
)
def test_data_outside_the_domain_of_the_loss_raise(loss, low, high):
    rows = np.linspace(low, high, 40).reshape(10, 4)
    with pytest.raises(ValueError, match=rf"'{loss}' needs data in .* Rescale X"):
        validate(rows, loss=loss)


@pytest.mark.parametrize(
    "use", ["partial_fit", "transform", "score", "reconstruction_error", "compress"]
)
@pytest.mark.parametrize("loss", ["log_loss", "brier", "poisson"])
def test_fitted_models_raise_for_rows_outside_the_domain(loss, use):
    model = quick(loss=loss).fit(X > 0)
    with pytest.raises(ValueError, match=rf"'{loss}' needs data in .* X has values"):
        USES[use](model, X - 5)
    with pytest.raises(ValueError, match=rf"end row: loss='{loss}' needs data in"):
        model.interpolate(X[0] > 0, X[0] - 5)


@pytest.mark.parametrize("loss", ["log_loss", "brier"])
def test_rounding_errors_of_a_scaler_are_inside_the_domain(loss):
    rows = np.where(X > 0, 1 + 4e-16, -4e-16)
    model = quick(loss=loss, precision="float64").fit(rows)
    assert_finite(model, rows)


def test_validation_rows_outside_the_domain_of_the_loss_raise():
    with pytest.raises(ValueError, match=r"needs data in \[0, 1\]"):
        validate(X > 0, X_val=X, loss="brier")


@pytest.mark.parametrize("loss", ["log_loss", "brier", "poisson", "squared_error"])
def test_the_ends_of_the_domain_are_valid(loss):
    check_domain((X > 0).astype(float), as_loss(loss))


def test_codes_and_rows_to_impute_must_be_in_memory(digits):
    model = AutoencoderTransformer(max_iter=0).fit(digits)
    for method in (model.inverse_transform, model.impute):
        with pytest.raises(TypeError, match="a function or an iterable of blocks"):
            method(lambda: [digits])
