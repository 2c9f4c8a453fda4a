"""Batches cover every row once, from memory or from where the rows lie."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skae import AutoencoderTransformer
from skae.data._rows import StandardizedRows
from skae.training import _batches
from skae.training._batches import Batches

X = np.random.default_rng(0).random((53, 4))


def batches_of(X, weight=None, index=None):
    rows = StandardizedRows(X, np.zeros(X.shape[1]), 1.0, weight, index)
    return Batches(rows, torch.float64, "cpu")


@pytest.mark.parametrize("n_batches", [1, 2, 7, 53])
@pytest.mark.parametrize("resident_bytes", [0, 2**30], ids=["streamed", "resident"])
def test_batches_cover_all_rows_once_in_even_sizes(
    n_batches, resident_bytes, monkeypatch
):
    monkeypatch.setattr(_batches, "RESIDENT_BYTES", resident_bytes)
    weight = np.arange(1.0, 54.0)
    batches = batches_of(X, weight)
    assert (batches.resident is None) == (resident_bytes == 0)
    pairs = list(batches.shuffled(n_batches, torch.Generator().manual_seed(0)))
    sizes = [len(rows) for rows, _ in pairs]
    assert len(sizes) == n_batches
    assert max(sizes) - min(sizes) <= 1
    rows = torch.cat([rows for rows, _ in pairs]).numpy()
    weights = torch.cat([weights for _, weights in pairs]).numpy()
    order = np.argsort(weights)
    assert_array_equal(weights[order], weight)
    assert_array_equal(rows[order], X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_streamed_rows_equal_resident_rows(monkeypatch):
    model = AutoencoderTransformer(2, max_iter=3, random_state=0, batch_size=16)
    codes = model.fit_transform(X)
    monkeypatch.setattr(_batches, "RESIDENT_BYTES", 0)
    assert_array_equal(model.fit_transform(X), codes)


def test_one_batch_keeps_the_order_of_the_rows():
    ((rows, weights),) = batches_of(X).shuffled(1, torch.Generator())
    assert_array_equal(rows.numpy(), X)
    assert weights is None


def test_blocks_are_the_rows_in_order_with_their_weights():
    index, weight = np.array([7, 3, 9]), np.array([1.0, 2.0, 3.0])
    ((rows, weights),) = batches_of(X, weight, index).blocks()
    assert_array_equal(rows.numpy(), X[index])
    assert_array_equal(weights.numpy(), weight)


@pytest.mark.parametrize(("n_rows", "step"), [(100, 1), (53, 1), (27, 2), (10, 6)])
def test_a_sample_is_evenly_spaced(n_rows, step):
    ((rows, _),) = batches_of(X).sample(n_rows).blocks()
    assert_array_equal(rows.numpy(), X[::step])
