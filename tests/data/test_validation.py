"""Any input gives a finite model and finite output, or an error with its cause."""

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

from skae import MLP, AutoencoderTransformer
from skae.data._layout import NumericLayout, PaddedLayout
from skae.data._validation import (
    check_domain,
    flatten,
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
    "NaN": (np.where(X > 2, np.nan, X), "contains NaN"),
    "infinity": (np.where(X > 2, np.inf, X), "contains infinity"),
    "masked by NaN": (pd.DataFrame(X).astype("Float64").mask(X > 2), "NaN"),
    "strings": ([["a", "b"]] * 40, "could not convert string to float"),
    "complex": (X * 1j, "Complex data not supported"),
    "one dimension": (X[0], "Expected 2D array, got 1D array"),
    "infinity in three dimensions": (np.full((40, 5, 2), np.inf), "infinity"),
    "strings in three dimensions": (np.full((40, 5, 2), "a"), "could not convert"),
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "a number": (3.0, "Expected 2D array, got scalar array"),
    "None": (None, "Expected 2D array|NoneType"),
    "ragged": ([[1.0, 2.0], [3.0]] * 20, "inhomogeneous|setting an array element"),
    "objects": ([[object(), object()]] * 40, "float\\(\\) argument must be"),
}


def quick(n_components=2, **params):
    return AutoencoderTransformer(n_components, **(QUICK | params))


def validate(rows, sample_weight=None, X_val=None, loss="squared_error"):
    """Return the data and metadata of a first fit."""
    estimator, loss = AutoencoderTransformer(), as_loss(loss)
    return validate_training_data(
        estimator, rows, sample_weight, X_val, loss, reset=True
    )


def assert_finite(model, rows):
    codes = model.transform(rows)
    outputs = [codes, model.inverse_transform(codes), model.score(rows)]
    outputs += [model.reconstruction_error(rows), model.mean_, model.scale_]
    outputs += [model.loss_curve_, model.explained_variance_ratio_]
    assert all(np.isfinite(output).all() for output in outputs)
    assert all(p.isfinite().all() for p in model.module_.parameters())


# Containers, dtypes and values.


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", VALID)
def test_valid_input_gives_finite_output(name):
    assert_finite(quick(1).fit(VALID[name]), VALID[name])


@pytest.mark.parametrize("name", INVALID)
def test_invalid_input_raises_with_its_cause(name):
    rows, cause = INVALID[name]
    model = quick(1)
    with pytest.raises((ValueError, TypeError), match=cause):
        model.fit(rows)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize("method", ["transform", "score", "reconstruction_error"])
@pytest.mark.parametrize(
    ("rows", "cause"),
    [(X * np.nan, "NaN"), (np.where(X > 2, np.inf, X), "inf"), (X[:, 1:], "features")],
    ids=["NaN", "infinity", "features"],
)
def test_fitted_models_raise_for_invalid_rows(method, rows, cause):
    model = quick(1).fit(X)
    with pytest.raises(ValueError, match=cause):
        getattr(model, method)(rows)


def test_codes_of_another_width_raise():
    with pytest.raises(ValueError, match="n_components_=2"):
        quick(2).fit(X).inverse_transform(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_rows", range(1, 71))
def test_any_number_of_rows_can_be_fitted(n_rows):
    rows = np.random.default_rng(n_rows).standard_normal((n_rows, 4))
    model = quick(batch_size=32).fit(rows)
    assert model.n_iter_ > 0
    assert_finite(model, rows)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
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


def test_an_outlier_in_transform_gives_finite_codes():
    model = quick().fit(X)
    codes = model.transform(np.full((1, 5), 1e300))
    assert np.isfinite(codes).all()
    assert np.isfinite(model.inverse_transform(codes)).all()


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
def test_any_finite_array_gives_finite_output_or_a_cause(rows, k):
    model = quick(k)
    with np.errstate(all="ignore"):
        try:
            model.fit(rows)
        except ValueError as error:
            assert "Rescale X" in str(error)  # noqa: PT017
            return
        assert_finite(model, rows)


# Shapes.


def test_arrays_of_several_axes_are_flattened():
    rows, shape = flatten(X.reshape(20, 5, 2))
    assert shape == (5, 2)
    assert_array_equal(rows, X.reshape(20, 10))


def test_matrices_are_returned_unchanged():
    rows, shape = flatten(X)
    assert rows is X
    assert shape is None


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
def test_metadata_are_container_and_dtype(convert, container):
    _, metadata = validate(convert(X))
    assert metadata == {"_container": container, "_dtype": "float64"}


def test_features_are_set_on_the_estimator():
    estimator, rows = AutoencoderTransformer(), pd.DataFrame(X, columns=list("abcde"))
    loss = as_loss("squared_error")
    validate_training_data(estimator, rows, None, None, loss, reset=True)
    assert estimator.n_features_in_ == 5
    assert_array_equal(estimator.feature_names_in_, list("abcde"))


def test_a_failing_refit_restores_the_features():
    model = quick().fit(pd.DataFrame(X, columns=list("abcde")))
    with pytest.raises(ValueError, match="needs data in"):
        model.set_params(loss="poisson").fit(-np.abs(X[:, :3]))
    assert model.n_features_in_ == 5
    assert_array_equal(model.feature_names_in_, list("abcde"))


def test_weights_have_mean_one_without_rows_of_weight_zero():
    rows, weight = positive_weights(X[:4], [0, 1, 3, 2])
    assert_array_equal(rows, X[1:4])
    assert_allclose(weight, [0.5, 1.5, 1])


def test_equal_weights_are_none():
    rows, weight = positive_weights(X, np.full(40, 2.0))
    assert rows is X
    assert weight is None


def test_weights_that_are_all_zero_raise():
    with pytest.raises(ValueError, match="at least one non-zero"):
        positive_weights(X, np.zeros(40))


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


def test_validation_rows_outside_the_domain_of_the_loss_raise():
    with pytest.raises(ValueError, match=r"needs data in \[0, 1\]"):
        validate(X > 0, X_val=X, loss="brier")


@pytest.mark.parametrize("loss", ["log_loss", "brier", "poisson", "squared_error"])
def test_the_ends_of_the_domain_are_valid(loss):
    check_domain((X > 0).astype(float), as_loss(loss))
