"""The rows of several processes, for which threads stand here, are one matrix."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skae.data._pca import fit_pca
from skae.data._rows import StandardizedRows, extremes
from skae.data._shared_rows import SharedRows

N_RANKS = 3


class ThreadGroup:
    """A process group of threads."""

    def __init__(self, rank, values, barrier):
        self.rank, self.values, self.barrier = rank, values, barrier
        self.size, self.n_exchanges = N_RANKS, 0

    def gather_objects(self, value):
        self.n_exchanges += 1
        self.values[self.rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found

    def gather_rows(self, own, counts):
        parts = self.gather_objects(own)
        assert [len(part) for part in parts] == list(counts)
        return parts

    def sum(self, part):
        return sum(self.gather_objects(part))


def on_all_ranks(X, ends, function):
    """Return what a function of shared rows returns on each rank."""
    values, barrier = [None] * N_RANKS, Barrier(N_RANKS, timeout=20)
    parts = np.split(X, ends)

    def run(rank):
        group = ThreadGroup(rank, values, barrier)
        return function(SharedRows(parts[rank], (X.shape[1],), X.dtype, X, group))

    with ThreadPoolExecutor(N_RANKS) as pool:
        return list(pool.map(run, range(N_RANKS)))


def rows(dtype=np.float64):
    return (np.random.default_rng(0).standard_normal((40, 4)) * 10).astype(dtype)


SHARDS = {"equal": (13, 26), "one row": (39, 40), "none": (0, 40), "last": (0, 0)}
INDICES = {
    "slice": slice(5, 35, 3),
    "all": slice(None),
    "unsorted": np.array([39, 0, 17, 17, 3]),
    "mask": np.arange(40) % 7 == 2,
    "none": np.array([], dtype=int),
    "one": [12],
}


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint16, np.bool_])
@pytest.mark.parametrize("shards", SHARDS)
def test_all_ranks_select_the_rows_of_the_whole_matrix(shards, dtype):
    X = rows(dtype)

    def select(shared):
        assert shared.shape == X.shape
        return [shared[index] for index in INDICES.values()]

    for found in on_all_ranks(X, SHARDS[shards], select):
        for selected, index in zip(found, INDICES.values(), strict=True):
            assert selected.dtype == X.dtype
            assert_array_equal(selected, X[index])


@pytest.mark.parametrize("shards", SHARDS)
def test_extremes_and_nan_are_those_of_all_rows(shards):
    X = rows()
    assert on_all_ranks(X, SHARDS[shards], extremes) == [extremes(X)] * N_RANKS
    assert not any(on_all_ranks(X, SHARDS[shards], lambda shared: shared.has_nan))
    X[20, 1] = np.nan
    assert all(on_all_ranks(X, SHARDS[shards], lambda shared: shared.has_nan))


@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_pca_is_that_of_all_rows(shards, weighted):
    X, weight = rows(), np.ones(40)
    X[:, 3] = 0.1  # a constant column has no variance
    if weighted:
        weight = np.random.default_rng(1).integers(0, 3, 40).astype(float)
    expected = fit_pca(X, weight, 3)
    for pca in on_all_ranks(X, SHARDS[shards], lambda s: fit_pca(s, weight, 3)):
        assert pca.mean[3] == 0.1
        assert_allclose(pca.mean, expected.mean, atol=1e-14)
        assert_allclose(pca.scale, expected.scale)
        assert_allclose(pca.axes, expected.axes, atol=1e-12)
        assert_allclose(pca.deviations, expected.deviations)


def test_samples_are_exchanged_once():
    def read_twice(shared):
        standardized = StandardizedRows(shared, np.zeros(4), 1.0)
        first = standardized.subset(np.arange(0, 40, 5))[:]
        n_exchanges = shared.group.n_exchanges
        again = standardized.subset(np.arange(0, 40, 5))[:]
        assert shared.group.n_exchanges == n_exchanges
        return np.array_equal(first, again)

    assert all(on_all_ranks(rows(), (13, 26), read_twice))


def test_no_rows_on_any_rank_raise():
    with pytest.raises(ValueError, match="0 sample"):
        on_all_ranks(np.empty((0, 4)), (0, 0), len)
