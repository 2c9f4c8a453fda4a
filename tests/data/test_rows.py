"""Rows are standardized when they are read, in blocks, with the digits of float64."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skae import MLP, AutoencoderTransformer, MaskingNoise
from skae.data._rows import (
    BLOCK_ENTRIES,
    MIN_BLOCK_ROWS,
    StandardizedRows,
    cast_rows,
    check_magnitude,
    extremes,
    row_blocks,
)
from skae.data._validation import validate_training_data
from skae.losses import as_loss

X = np.random.default_rng(0).standard_normal((40, 5))
X.flags.writeable = False


def quick(n_components=2, **params):
    options = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
    return AutoencoderTransformer(n_components, **(options | params))


def round_trip(model, rows):
    return model.inverse_transform(model.transform(rows))


def counts(n_texts, n_words, n_topics=4, length=30):
    """Return word counts of texts that mix a few topics, as CSR."""
    random = np.random.default_rng(0)
    topics = random.dirichlet(np.full(n_words, 0.05), n_topics)
    shares = random.dirichlet(np.full(n_topics, 0.2), n_texts)
    return sparse.csr_array(random.poisson(length * shares @ topics).astype(float))


COUNTS = counts(120, 300)
BINARY = (COUNTS > 0).astype(float)
TFIDF = sparse.csr_array(TfidfTransformer(sublinear_tf=True).fit_transform(COUNTS))


# Functions of rows.


@pytest.mark.parametrize("n_columns", [1, 1000, BLOCK_ENTRIES, 5 * BLOCK_ENTRIES])
def test_blocks_cover_the_rows_in_order(n_columns):
    n_rows = 2 * BLOCK_ENTRIES + 3 if n_columns == 1 else 2 * MIN_BLOCK_ROWS + 7
    slices = list(row_blocks(n_rows, n_columns))
    assert slices[0].start == 0
    assert slices[-1].stop == n_rows
    assert all(a.stop == b.start for a, b in pairwise(slices))


@pytest.mark.parametrize("n_columns", [1, 1000, BLOCK_ENTRIES, 5 * BLOCK_ENTRIES])
def test_blocks_have_bounded_memory(n_columns):
    sizes = [s.stop - s.start for s in row_blocks(10_000, n_columns)]
    assert max(sizes) * n_columns <= max(BLOCK_ENTRIES, MIN_BLOCK_ROWS * n_columns)


def test_casts_clip_to_the_range_of_the_dtype():
    limit = np.finfo(np.float16).max
    narrow = cast_rows(np.array([1e300, -1e300, 0.5]), np.float16)
    assert_array_equal(narrow, np.array([limit, -limit, 0.5], np.float16))


def test_casts_to_the_same_dtype_do_not_copy():
    assert cast_rows(X, np.float64) is X


def test_extremes_ignore_nan():
    assert extremes(np.array([[np.nan, 3.0], [-1.0, np.nan]])) == (-1, 3)


def test_extremes_of_sparse_rows_include_zero():
    assert extremes(sparse.csr_array([[0.0, 2.0], [3.0, 0.0]])) == (0, 3)


@pytest.mark.parametrize("factor", [1e-160, 1e160])
def test_magnitudes_without_finite_squares_raise(factor):
    with pytest.raises(ValueError, match="Rescale X"):
        check_magnitude(X * factor)


@pytest.mark.parametrize("factor", [0, 1e-140, 1e140])
def test_other_magnitudes_are_valid(factor):
    check_magnitude(X * factor)


# StandardizedRows.


def test_rows_are_standardized_when_read():
    mean = X.mean(axis=0)
    rows = StandardizedRows(X, mean, 2.0)
    assert len(rows) == 40
    assert_array_equal(rows[3:8], (X[3:8] - mean) / 2)


def test_index_selects_rows():
    rows = StandardizedRows(X, np.zeros(5), 1.0, index=np.array([5, 3, 8]))
    assert len(rows) == 3
    assert_array_equal(rows[1:], X[[3, 8]])


@pytest.mark.parametrize("index", [None, np.arange(39, -1, -2)])
def test_subset_selects_rows_and_weights(index):
    n = 40 if index is None else len(index)
    rows = StandardizedRows(X, X.mean(axis=0), 2.0, np.arange(n), index)
    positions = np.array([4, 0, 7])
    subset = rows.subset(positions)
    assert_array_equal(subset[:], rows[positions])
    assert_array_equal(subset.weight, positions)
    assert len(rows) == n


def test_subset_of_rows_without_weights_has_none():
    rows = StandardizedRows(X, np.zeros(5), 1.0).subset(np.arange(3))
    assert rows.weight is None


def test_width_bounds_the_blocks():
    rows = StandardizedRows(np.zeros((1000, 2)), np.zeros(2), 1.0, width=BLOCK_ENTRIES)
    assert next(rows.blocks()) == slice(0, MIN_BLOCK_ROWS)


# Sparse rows.


@pytest.mark.parametrize(
    ("rows", "loss"),
    [
        *((TFIDF, loss) for loss in NUMERIC_LOSSES),
        (COUNTS, "poisson"),
        (BINARY, "log_loss"),
        (BINARY, "brier"),
    ],
)
def test_sparse_equals_dense(rows, loss):
    model = quick(3, loss=loss).fit(rows)
    expected = quick(3, loss=loss).fit(rows.toarray())
    close = {"rtol": 1e-5, "atol": 1e-5}
    assert_allclose(round_trip(model, rows), round_trip(expected, rows), **close)
    assert_allclose(model.transform(rows), expected.transform(rows.toarray()), **close)
    assert model.score(rows) == pytest.approx(expected.score(rows.toarray()), abs=1e-5)


SCRIPT = """
import resource, sys, warnings
import numpy as np
from scipy import sparse
from skae import MLP, AutoencoderTransformer

n, d, length = 16_000, 5_000, 20
words = np.random.default_rng(0).integers(0, d, n * length)
ends = np.arange(0, n * length + 1, length)
X = sparse.csr_array((np.ones(n * length), words, ends), shape=(n, d))
model = AutoencoderTransformer(2, network=MLP((8,)), max_iter=1, random_state=0)
warnings.simplefilter("ignore")
model.fit(X[:300, :50])  # so that modules loaded at first use are not counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.fit(X)
model.transform(X), model.score(X), model.reconstruction_error(X)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 / (8 * n * d))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems count in other units"
)
def test_sparse_rows_take_a_third_of_the_memory_of_the_dense_matrix():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True
    )
    assert float(done.stdout) < 0.35, done.stderr


def test_sparse_rows_may_have_20_000_columns():
    rows = counts(60, 20_000)
    model = quick(loss="poisson").fit(rows)
    assert model.transform(rows).shape == (60, 2)
    assert np.isfinite(model.score(rows))


def test_codes_of_texts_are_features_of_a_classifier():
    texts = ["the cat sat", "a cat purred", "the dog barked", "a dog growled"] * 20
    labels = [0, 0, 1, 1] * 20
    autoencoder = quick(network=MLP((16,)), max_iter=3, noise=MaskingNoise(0.2))
    pipeline = make_pipeline(TfidfVectorizer(), autoencoder, LogisticRegression())
    assert pipeline.fit(texts, labels).score(texts, labels) > 0.9


# Precision.


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("exponent", [-100, -60, -10, 10, 60, 100])
def test_codes_do_not_depend_on_the_unit(exponent):
    assert_array_equal(
        quick().fit_transform(X * 2.0**exponent), quick().fit_transform(X)
    )


def test_a_large_mean_costs_no_precision():
    near = np.round(1000 * X)
    far = near + 1e9  # exact, since both are integers
    model, expected = quick().fit(far), quick().fit(near)
    assert_allclose(model.transform(far), expected.transform(near), atol=1e-6)
    assert model.score(far) == pytest.approx(expected.score(near), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e8])
def test_constant_columns_are_reconstructed(value):
    rows = np.c_[X, np.full(40, value)]
    back = round_trip(quick().fit(rows), rows)
    assert_allclose(back[:, -1], value, rtol=1e-12, atol=1e-12)


def test_constant_rows_are_reconstructed_with_score_one():
    rows = np.full((40, 5), 0.1)
    model = quick().fit(rows)
    assert_allclose(round_trip(model, rows), rows, rtol=1e-12)
    assert model.score(rows) == 1


def test_small_changes_of_a_constant_column_change_the_score_little():
    rows, shifted = np.c_[X, np.ones(40)], np.c_[X, np.full(40, 1.001)]
    model = quick().fit(rows)
    assert model.score(shifted) == pytest.approx(model.score(rows), abs=0.01)


def test_rows_of_weight_zero_do_not_change_the_model():
    weight = np.repeat([0.0, 1.0], 20)
    model = quick().fit(X, sample_weight=weight)
    assert_array_equal(model.transform(X), quick().fit(X[20:]).transform(X))


# Integers are held as they are.


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, pd.DataFrame])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.bool_])
def test_a_fit_on_small_integers_equals_one_on_their_floats(dtype, container):
    X = np.random.default_rng(0).integers(0, 2, (120, 6)).astype(dtype)
    floats = container(X.astype(float))
    # A frame of booleans would be a table of mixed columns.
    exact = quick(categorical_features=None).fit(floats)
    model = quick(categorical_features=None).fit(container(X))
    codes = model.transform(container(X))
    assert codes.dtype == np.float64
    assert_array_equal(codes, exact.transform(floats))
    assert model.score(container(X)) == exact.score(floats)
    data = model.compress(container(X), max_error=0.4)
    assert_array_equal(np.rint(model.decompress(data)), X)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_integers_are_not_copied_as_floats(shape):
    X = np.zeros((40, *shape, 6), dtype=np.uint8)
    data, _ = validate_training_data(
        quick(), X, None, as_loss("squared_error"), reset=True
    )
    assert data.X.dtype == np.uint8
    assert np.shares_memory(data.X, X)
