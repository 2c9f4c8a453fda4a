"""Batches contain every row once, from memory or from where it lies."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import generator, quick
from scipy import sparse

from skae.data._rows import BLOCK_ENTRIES, StandardizedRows
from skae.training import _batches
from skae.training._batches import Batches

X = np.random.default_rng(0).random((53, 4))
WEIGHT = np.arange(1.0, 54.0)


@pytest.fixture(params=[0, 2**30], ids=["streamed", "resident"])
def storage(request, monkeypatch):
    """Bytes up to which rows are kept on the device."""
    monkeypatch.setattr(_batches, "RESIDENT_BYTES", request.param)
    return request.param


def batches_of(X=X, weight=None, index=None, dtype=torch.float64):
    rows = StandardizedRows(X, np.zeros(X.shape[1]), 1.0, weight, index)
    return Batches(rows, dtype, "cpu")


@pytest.mark.parametrize("n_batches", [1, 2, 7, 53])
def test_batches_contain_all_rows_once_in_even_sizes(n_batches, storage):
    pairs = list(batches_of(weight=WEIGHT).shuffled(n_batches, generator()))
    sizes = [len(rows) for rows, _ in pairs]
    assert len(sizes) == n_batches
    assert max(sizes) - min(sizes) <= 1
    rows, weights = (torch.cat(tensors).numpy() for tensors in zip(*pairs, strict=True))
    order = np.argsort(weights)
    assert_array_equal(weights[order], WEIGHT)
    assert_array_equal(rows[order], X)


@pytest.mark.parametrize("n_gathered", [1, 100, 2**20])
def test_batches_do_not_depend_on_how_many_are_gathered_at_once(
    n_gathered, monkeypatch
):
    expected = [rows for rows, _ in batches_of().shuffled(7, generator())]
    monkeypatch.setattr(_batches, "GATHERED_ENTRIES", n_gathered)
    found = [rows for rows, _ in batches_of().shuffled(7, generator())]
    assert all(map(torch.equal, found, expected))


def test_batches_follow_the_generator():
    first, again, other = (
        next(batches_of().shuffled(7, generator(seed)))[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_single_batch_keeps_the_order_and_draws_nothing(storage):
    ((rows, weights),) = batches_of(weight=WEIGHT).shuffled(1, None)
    assert_array_equal(rows, X)
    assert_array_equal(weights, WEIGHT)


@pytest.mark.parametrize("n_batches", [1, 7])
def test_equal_weights_are_none_in_training_and_one_in_blocks(n_batches):
    pairs = list(batches_of().shuffled(n_batches, generator()))
    assert all(weights is None for _, weights in pairs)
    ((_, weights),) = batches_of().blocks()
    assert_array_equal(weights, np.ones(53))


def test_blocks_have_the_order_of_the_rows(storage, monkeypatch):
    monkeypatch.setattr("skae.data._rows.MAX_BLOCK_ROWS", 10)
    pairs = list(batches_of(weight=WEIGHT).blocks())
    assert len(pairs) == 6
    assert_array_equal(torch.cat([rows for rows, _ in pairs]), X)
    assert_array_equal(torch.cat([weights for _, weights in pairs]), WEIGHT)


def test_an_index_selects_rows(storage):
    batches = batches_of(weight=WEIGHT[::3], index=np.arange(0, 53, 3))
    assert_array_equal(batches.read(slice(None)), X[::3])
    assert_array_equal(batches.read(torch.tensor([2, 0])), X[[6, 0]])
    assert_array_equal(batches.weight, WEIGHT[::3])


@pytest.mark.parametrize(
    ("n_rows", "step"), [(100, 1), (53, 1), (52, 2), (10, 6), (1, 53)]
)
def test_samples_are_evenly_spaced_rows(n_rows, step, storage):
    some = batches_of(weight=WEIGHT).sample(n_rows)
    assert_array_equal(some.read(slice(None)), X[::step])
    assert_array_equal(some.weight, WEIGHT[::step])


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_dense_and_of_the_models_type(convert, dtype, storage):
    rows = batches_of(convert(X), dtype=dtype).read(torch.tensor([5, 3]))
    assert rows.dtype == dtype
    assert_allclose(rows, X[[5, 3]], rtol=1e-6)


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        *product([np.asarray, sparse.csr_array], ["uint8", "int64", "bool", "float32"]),
        (np.asarray, "float16"),  # which scipy does not have
    ],
)
def test_rows_of_any_type_are_those_of_float64(convert, dtype, storage):
    rows = (100 * X).astype(dtype)
    mean = rows.mean(axis=0, dtype=np.float64)
    given = Batches(StandardizedRows(convert(rows), mean, 3.0), torch.float32, "cpu")
    rows = StandardizedRows(rows.astype(np.float64), mean, 3.0)
    expected = Batches(rows, torch.float32, "cpu")
    assert given.rows.X.dtype == dtype
    for index in (slice(None), slice(5, 30), torch.tensor([7, 2, 50])):
        assert torch.equal(given.read(index), expected.read(index))


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_batches_of_wide_rows_are_in_float64_in_blocks_only(convert, monkeypatch):
    monkeypatch.setattr(_batches, "RESIDENT_BYTES", 0)
    X = np.zeros((1000, 5000), dtype=np.uint8)
    X[:, 0] = 1
    batches = batches_of(convert(X), dtype=torch.float32)
    tracemalloc.start()
    batches.read(slice(None))
    # A block is read, and standardized. Tensors are not counted.
    assert tracemalloc.get_traced_memory()[1] < 2.5 * 8 * BLOCK_ENTRIES
    tracemalloc.stop()


@pytest.mark.parametrize(("device", "n_bytes"), [("cpu", 2**28), ("meta", 2**30)])
def test_the_size_of_resident_rows_is_bounded(device, n_bytes, monkeypatch):
    monkeypatch.setattr(Batches, "_read_blocks", lambda batches, index: "resident")
    for n_rows, is_resident in [(1024, True), (1025, False)]:
        # Zeros without memory, in float32 of n_bytes for 1024 rows.
        zeros = np.broadcast_to(np.zeros(1), (n_rows, n_bytes // 4096))
        batches = Batches(StandardizedRows(zeros, zeros[0], 1.0), torch.float32, device)
        assert (batches.resident is not None) == is_resident


def test_small_dense_rows_alone_are_resident(monkeypatch):
    assert batches_of(sparse.csr_array(X)).resident is None
    for n_bytes, is_resident in [(X.nbytes, True), (X.nbytes - 1, False)]:
        monkeypatch.setattr(_batches, "RESIDENT_BYTES", n_bytes)
        assert (batches_of().resident is not None) == is_resident


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_codes_do_not_depend_on_where_rows_lie(monkeypatch):
    model = quick(2, max_iter=3, batch_size=16)
    codes = model.fit_transform(X)
    monkeypatch.setattr(_batches, "RESIDENT_BYTES", 0)
    assert_array_equal(model.fit_transform(X), codes)
