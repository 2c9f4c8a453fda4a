"""The same seed gives the same bits, in every process and on every thread."""

import copy
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits
from variants import VARIANTS, digest, quick, run_script

from skae import MLP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X(digits):
    return digits / 16


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seed_gives_the_same_bits(name, X, global_random_seed):
    params = {**VARIANTS[name], "random_state": global_random_seed}
    assert digest(quick(**params).fit(X)) == digest(quick(**params).fit(X))


def test_another_seed_gives_another_model(X):
    digests = {digest(quick(random_state=seed).fit(X)) for seed in range(5)}
    assert len(digests) == 5


def test_without_a_seed_every_fit_gives_another_model(X):
    model = quick(random_state=None)
    assert digest(model.fit(X)) != digest(model.fit(X))


def test_a_fit_draws_one_number_from_a_random_state(X):
    state, reference = np.random.RandomState(0), np.random.RandomState(0)
    model = quick(random_state=state)
    first = digest(model.fit(X))
    reference.randint(2**31 - 1)
    assert state.randint(1000) == reference.randint(1000)
    assert digest(model.fit(X)) != first
    assert digest(model.set_params(random_state=0).fit(X)) == digest(quick().fit(X))


SCRIPT = """
    import hashlib, numpy as np, torch
    from skae import MLP, AutoencoderTransformer, Ordered
    torch.set_num_threads(1)
    X = np.random.default_rng(0).standard_normal((90, 7))
    model = AutoencoderTransformer(
        3, network=MLP((8,), dropout=0.1), regularizer=Ordered(), max_iter=3,
        random_state=0, batch_size=32,
    )
    codes = model.fit_transform(X)
    print(hashlib.sha256(codes.tobytes()).hexdigest())
"""


def test_a_new_interpreter_gives_the_same_bits():
    hashes = [run_script(SCRIPT, PYTHONHASHSEED=seed) for seed in ("0", "1")]
    assert hashes[0] == hashes[1]


def test_fits_in_threads_give_the_same_bits_as_in_a_loop(X):
    models = [quick(**params) for params in VARIANTS.values()]
    in_loop = [digest(clone(model).fit(X)) for model in models]

    def fit(model):
        torch.set_num_threads(1)  # a setting of each thread
        return digest(clone(model).fit(X))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fit, models)) == in_loop


def search_scores(X, n_jobs=None):
    grid = {"n_components": [1, 2], "network__activation": ["silu", "tanh"]}
    search = GridSearchCV(quick(), grid, cv=2, n_jobs=n_jobs, error_score="raise")
    return search.fit(X).cv_results_["mean_test_score"]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_parallel_search_gives_the_same_bits(backend, X):
    expected = search_scores(X)
    with joblib.parallel_config(backend=backend, n_jobs=2, inner_max_num_threads=None):
        np.testing.assert_array_equal(search_scores(X, n_jobs=2), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
def test_a_search_in_forked_workers_gives_the_same_bits():
    # In a new interpreter: threads of other libraries do not survive a fork.
    printed = run_script(
        """
        import joblib, numpy as np, torch
        from sklearn.model_selection import GridSearchCV
        from skae import MLP, AutoencoderTransformer
        torch.set_num_threads(1)
        X = np.random.default_rng(0).standard_normal((40, 5))
        model = AutoencoderTransformer(network=MLP((8,)), max_iter=1, random_state=0)
        search = GridSearchCV(model, {"n_components": [1, 2]}, cv=2)
        expected = search.fit(X).cv_results_["mean_test_score"]
        with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
            forked = search.set_params(n_jobs=2).fit(X).cv_results_["mean_test_score"]
        print(np.array_equal(expected, forked))
        """
    )
    assert printed == "True"


@pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux only")
def test_a_forked_process_fits_after_a_fit_on_two_threads():
    printed = run_script(
        """
        import multiprocessing, numpy as np, torch
        from skae import MLP, AutoencoderTransformer
        torch.set_num_threads(2)
        X = np.random.default_rng(0).standard_normal((2000, 50))
        model = AutoencoderTransformer(max_iter=1, random_state=0).fit(X)
        torch.mm(torch.ones(500, 500), torch.ones(500, 500))
        def work(i):
            other = AutoencoderTransformer(max_iter=1, random_state=0).fit(X)
            return np.array_equal(other.transform(X), model.transform(X))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(len(pool.map_async(work, range(2)).get(timeout=500)))
        """
    )
    assert printed == "2"


# After a fork of a process with threads, only "spawn" and "forkserver" are safe.
@pytest.mark.parametrize(
    "method", sorted(set(multiprocessing.get_all_start_methods()) - {"fork"})
)
def test_other_processes_use_a_fitted_model(method, X):
    model = quick().fit(X)
    codes = model.transform(X)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert np.allclose(pool.apply(model.transform, (X,)), codes, rtol=1e-12)


def test_threads_share_a_fitted_model(X):
    model = quick().fit(X)
    codes, attributes = model.transform(X), copy.copy(vars(model))

    def is_same(_):
        torch.set_num_threads(1)
        return all(np.array_equal(model.transform(X), codes) for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_same, range(8)))
    assert vars(model).keys() == attributes.keys()
    assert all(vars(model)[name] is value for name, value in attributes.items())


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)]
)
def test_the_number_of_threads_changes_only_rounding(precision, tolerance, X):
    def loss_curve(n_threads):
        torch.set_num_threads(n_threads)
        model = quick(max_iter=5, precision=precision, network=MLP((64,)))
        with threadpool_limits(n_threads, user_api="blas"):
            return model.fit(X).loss_curve_

    np.testing.assert_allclose(loss_curve(2), loss_curve(1), rtol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)]
)
def test_rows_are_encoded_independently_of_each_other(dtype, tolerance, X):
    model = quick(precision=dtype).fit(X)
    codes = model.transform(X)
    one_by_one = np.vstack([model.transform(X[[i]]) for i in range(len(X))])
    halves = np.vstack([model.transform(X[:60]), model.transform(X[60:])])
    scale = np.abs(codes).max()
    np.testing.assert_allclose(one_by_one, codes, atol=tolerance * scale)
    np.testing.assert_allclose(halves, codes, atol=tolerance * scale)
