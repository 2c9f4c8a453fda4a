"""Shared fixtures: seeds, one torch thread, data that nobody can change."""

import os

# Array API support of SciPy, which is read when it is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

SEEDS = "SKAE_TESTS_GLOBAL_RANDOM_SEED"


def seeds():
    """Return the seeds named by the environment: "all" (0-99), a range or one."""
    wanted = os.environ.get(SEEDS, "0")
    first, _, last = ("0-99" if wanted == "all" else wanted).partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.fixture(params=seeds(), scope="session")
def global_random_seed(request):
    """Seed of every test that draws random numbers."""
    return request.param


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread():
    """Compute matrix decompositions on one thread.

    On so small matrices more threads are slower, a hundred times on a busy machine.
    """
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Compute on one thread: their number changes the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    """A frozen matrix of shape (120, 64), integers from 0 to 16 as float64."""
    X = np.ascontiguousarray(load_digits().data[:120])
    X.flags.writeable = False
    return X


@pytest.fixture
def bfloat16(monkeypatch):
    """Let processors that only emulate bfloat16 compute in it."""
    monkeypatch.setattr("skae.training._auto.has_bfloat16", lambda device: True)
