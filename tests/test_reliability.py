"""Promises: the same bits, nothing touched, a whole model after every interruption."""

import _thread
import copy
import gc
import hashlib
import logging
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from parts import NOISES, REGULARIZERS
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skae import MLP, AutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def double(batch):
    return batch * 2


def noisy(batch):
    return batch + 0.1 * torch.randn_like(batch)


def no_network(*sizes):
    return None


def small_codes(codes):
    return codes.square().sum(dim=1)


VARIANTS = {
    "plain": {},
    "float32": {"precision": "float32"},
    "float64": {"precision": "float64"},
    "linear": {"network": MLP(())},
    "dropout": {"network": MLP((8,), dropout=0.2)},
    "random": {"init": "random"},
    "huber": {"loss": "huber"},
    "log_loss": {"loss": "log_loss"},
    "noise": {"noise": double},
    "noise that draws": {"noise": noisy},
    "penalty": {"regularizer": small_codes},
    **{repr(part): {"noise": part} for part in NOISES},
    **{repr(part): {"regularizer": part} for part in REGULARIZERS},
    "share": {"n_components": 0.8},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "early_stopping": {"early_stopping": True},
    "warm": {"warm_start": True},
}
QUICK = {"network": MLP((8,)), "max_iter": 2, "batch_size": 32, "random_state": 0}


def quick(**params):
    return AutoencoderTransformer(**QUICK | params)


def digest(model):
    """Return a fingerprint of everything that was learned."""
    state = model.module_.state_dict()
    arrays = [value.numpy() for value in state.values()]
    curves = [model.loss_curve_, model.validation_loss_curve_, model.mean_]
    parts = (np.ascontiguousarray(part).tobytes() for part in arrays + curves)
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture(scope="module")
def X(digits):
    return digits / 16


def run(script, **environment):
    """Return what a script prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The same bits


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seed_gives_the_same_bits(name, X, global_random_seed):
    params = {**VARIANTS[name], "random_state": global_random_seed}
    digests = {digest(quick(**params).fit(X)) for _ in range(3)}
    assert len(digests) == 1


GOLDEN = [0.45011677611820133, 0.4495811278126838, 0.4489090490711709]


def test_a_seed_gives_the_losses_that_it_gave_when_this_was_written(digits):
    params = {"n_components": 4, "max_iter": 6, "early_stopping": True}
    model = quick(**params, precision="float64").fit(digits)
    np.testing.assert_allclose(model.loss_curve_[:3], GOLDEN, rtol=1e-6)


def test_another_seed_gives_another_model(X):
    digests = {digest(quick(random_state=seed).fit(X)) for seed in range(5)}
    assert len(digests) == 5


def test_no_seed_gives_another_model_at_every_fit(X):
    model = quick(random_state=None)
    assert digest(model.fit(X)) != digest(model.fit(X))


def test_a_random_state_is_drawn_from_once_per_fit(X):
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


def test_a_fresh_interpreter_gives_the_same_bits():
    assert len({run(SCRIPT, PYTHONHASHSEED=seed) for seed in ("0", "1", "random")}) == 1


def test_threads_give_the_same_bits_as_a_loop(X):
    models = [quick(**params) for params in VARIANTS.values()]
    alone = [digest(clone(model).fit(X)) for model in models]

    def fit(model):
        torch.set_num_threads(1)  # a setting of each thread
        return digest(clone(model).fit(X))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fit, models)) == alone


def search(X, n_jobs=None):
    grid = {"n_components": [1, 2], "network__activation": ["silu", "tanh"]}
    found = GridSearchCV(quick(), grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X)
    return found.cv_results_["mean_test_score"]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_search_gives_the_same_bits_in_parallel(backend, X):
    alone = search(X)
    with joblib.parallel_config(backend=backend, n_jobs=2, inner_max_num_threads=None):
        np.testing.assert_array_equal(search(X, n_jobs=2), alone)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)]
)
def test_the_number_of_threads_changes_no_more_than_rounding(precision, tolerance, X):
    def loss_curve(n_threads):
        torch.set_num_threads(n_threads)
        network = MLP((64,))
        return (
            quick(max_iter=5, precision=precision, network=network).fit(X).loss_curve_
        )

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


# Nothing touched


def global_random_states():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (
        random.getstate(),
        (kind, keys.tobytes(), *rest),
        torch.get_rng_state().numpy().tobytes(),
    )


USES = {
    "construct": lambda model, X: quick(),
    "fit": lambda model, X: clone(model).fit(X),
    "partial_fit": lambda model, X: clone(model).partial_fit(X).partial_fit(X),
    "transform": lambda model, X: model.transform(X),
    "inverse_transform": lambda m, X: m.inverse_transform(m.transform(X)),
    "score": lambda model, X: model.score(X),
    "sample": lambda model, X: model.sample(5),
    "interpolate": lambda model, X: model.interpolate(X[0], X[1]),
    "reconstruction_error": lambda model, X: model.reconstruction_error(X),
    "clone": lambda model, X: clone(model),
    "deepcopy": lambda model, X: copy.deepcopy(model),
    "pickle": lambda model, X: pickle.loads(pickle.dumps(model)),
    "repr": lambda model, X: (repr(model), model._repr_html_()),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", VARIANTS)
def test_no_global_random_state_is_read_or_changed(name, use, X):
    if "fitted" not in _FITTED.setdefault(name, {}):
        _FITTED[name]["fitted"] = quick(**VARIANTS[name]).fit(X)
    before = global_random_states()
    USES[use](_FITTED[name]["fitted"], X)
    assert global_random_states() == before


_FITTED = {}


def settings():
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "numpy errors": np.geterr(),
        "log handlers": list(logging.getLogger().handlers),
        "directory": os.getcwd(),
    }


@pytest.mark.parametrize("use", USES)
def test_no_setting_is_changed(use, X):
    model = quick().fit(X)
    before = settings()
    USES[use](model, X)
    assert settings() == before


@pytest.fixture
def restored():
    yield
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


def default_float64():
    torch.set_default_dtype(torch.float64)
    return warnings.catch_warnings()


def deterministic():
    torch.use_deterministic_algorithms(True)
    return warnings.catch_warnings()


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "setting", [torch.no_grad, torch.inference_mode, default_float64, deterministic]
)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_callers_settings_change_nothing(name, setting, X):
    plain = digest(quick(**VARIANTS[name]).fit(X))
    with setting():
        model = quick(**VARIANTS[name]).fit(X)
        carried = pickle.loads(pickle.dumps(model))
        assert digest(model) == plain == digest(carried)
        assert np.array_equal(carried.transform(X), model.transform(X))


def test_nothing_is_printed(X, capfd):
    model = quick(early_stopping=True).fit(X)
    model.inverse_transform(model.transform(X))
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_a_line_for_every_epoch(X, capfd):
    model = quick(verbose=1).fit(X)
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == model.n_iter_
    assert not err


def test_nothing_is_written_imported_late_or_sent():
    run(
        """
        import pickle, sys
        import numpy as np, sklearn.base, sklearn.callback, scipy.linalg, torch
        import scipy.sparse.linalg, sklearn.utils.estimator_checks
        import pandas
        events = []
        forbidden = ("os.mkdir", "os.putenv", "subprocess", "os.system", "socket",
                     "tempfile", "os.rename", "os.remove")
        def hook(event, args):
            writes = event == "open" and isinstance(args[1], str) and (
                set(args[1]) & set("wax+"))
            if writes or event.startswith(forbidden):
                events.append((event, str(args)[:200]))
        sys.addaudithook(hook)
        from skae import AutoencoderTransformer
        n_before = len(sys.modules)
        X = np.random.default_rng(0).standard_normal((90, 7))
        model = AutoencoderTransformer(random_state=0, max_iter=3).fit(X)
        model.inverse_transform(model.transform(X))
        model.score(X)
        pickle.loads(pickle.dumps(model))
        assert not events, events
        assert "torch._dynamo" not in sys.modules
        """,
        PYTHONDONTWRITEBYTECODE="1",
    )


# Interruption


class InterruptAt:
    """A callback that presses Ctrl-C after so many epochs."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.n_epochs -= 1
            if self.n_epochs == 0:
                raise KeyboardInterrupt


def assert_whole(model, X):
    """Assert that a model is as consistent as one whose fit came to its end."""
    assert not model.module_.training
    assert len(model.loss_curve_) == model.n_iter_
    assert 0 <= model.best_iter_ <= model.n_iter_
    codes = model.transform(X)
    assert np.isfinite(codes).all()
    assert np.array_equal(model.transform(X), codes)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(X), codes)
    assert np.isfinite(model.score(X))
    assert model.partial_fit(X).n_iter_ == len(model.loss_curve_)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", ["plain", "dropout", "Ordered()", "share", "lbfgs"])
@pytest.mark.parametrize("n_epochs", [1, 3, 7])
def test_ctrl_c_leaves_the_best_model_so_far(name, early_stopping, n_epochs, X):
    params = {**VARIANTS[name], "max_iter": 6, "early_stopping": early_stopping}
    model = quick(**params).set_callbacks(InterruptAt(n_epochs))
    try:
        model.fit(X)
    except KeyboardInterrupt:
        assert model.n_iter_ == n_epochs
    else:  # it came to its end before
        assert model.n_iter_ < n_epochs
    model.set_callbacks()
    assert_whole(model, X)


@pytest.fixture
def keyboard():
    """Let Ctrl-C interrupt, also where a shell has started the tests to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_at_any_moment_ends_the_fit_and_leaves_a_whole_model(X, keyboard):
    rng = np.random.default_rng(0)
    n_threads = torch.get_num_threads()
    for _ in range(20):
        endless = 10**7  # a key may have to be pressed twice, seconds apart
        model = quick(max_iter=endless, n_iter_no_change=endless)
        delay, ended = float(rng.uniform(0.05, 0.25)), threading.Event()
        timer = threading.Timer(delay, press_until, [ended])
        # The first epochs are over before the key is pressed.
        model.set_callbacks(Started(timer))
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
        ended.set()
        timer.join()
        assert torch.get_num_threads() == n_threads
        model.set_callbacks()
        assert_whole(model, X)


def press_until(ended):
    """Press Ctrl-C, and again if Python was in a destructor, which swallows it."""
    _thread.interrupt_main()
    while not ended.wait(5):
        _thread.interrupt_main()


class Started(InterruptAt):
    """A callback that starts a timer when training starts."""

    def __init__(self, timer):
        self.timer = timer

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epochs":
            self.timer.start()

    def on_fit_task_end(self, estimator, context):
        pass


def test_one_ctrl_c_ends_a_search(X):
    model = quick(max_iter=6).set_callbacks(InterruptAt(9))
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(model, {"n_components": [1, 2, 3]}, cv=2).fit(X)


@pytest.mark.parametrize(
    "bad",
    [
        {"X": [[np.nan] * 64] * 9},
        {"X": [["a"] * 64] * 9},
        {"X": np.ones((9, 64)), "sample_weight": [1.0]},
        {"X": np.ones((9, 64)), "sample_weight": [-1.0] * 9},
        {"X": np.ones((9, 64)), "X_val": np.ones((3, 5))},
        {"X": np.full((9, 64), 1e200)},
    ],
    ids=str,
)
def test_a_refit_that_fails_on_its_input_leaves_the_earlier_model(bad, X):
    model = quick().fit(X)
    before, attributes = model.transform(X), set(vars(model))
    with pytest.raises(ValueError):  # noqa: PT011
        model.fit(**bad)
    assert np.array_equal(model.transform(X), before)
    assert set(vars(model)) == attributes


@pytest.mark.parametrize(
    "bad",
    [
        {"n_components": -1},
        {"loss": "poison"},
        {"network": MLP((0,))},
        {"network": no_network},
        {"loss": "log_loss"},
        {"device": "abacus"},
    ],
    ids=str,
)
def test_a_refit_that_fails_on_its_parameters_leaves_the_earlier_model(bad, X):
    model = quick().fit(X)
    before = model.transform(X)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        model.set_params(**bad).fit(X - 1)
    assert np.array_equal(model.transform(X), before)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(X), before)


# Company


def test_threads_share_a_fitted_model(X):
    model = quick().fit(X)
    codes, attributes = model.transform(X), {k: id(v) for k, v in vars(model).items()}

    def transform(_):
        torch.set_num_threads(1)
        return all(np.array_equal(model.transform(X), codes) for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(transform, range(8)))
    assert {k: id(v) for k, v in vars(model).items()} == attributes


def test_a_forked_process_fits_after_a_fit_on_two_threads():
    printed = run(
        """
        import multiprocessing, numpy as np, torch
        from skae import MLP, AutoencoderTransformer
        torch.set_num_threads(2)
        X = np.random.default_rng(0).standard_normal((2000, 50))
        model = AutoencoderTransformer(max_iter=1, random_state=0).fit(X)
        torch.mm(torch.ones(500, 500), torch.ones(500, 500))
        def work(i):
            own = AutoencoderTransformer(max_iter=1, random_state=0).fit(X)
            return np.array_equal(own.transform(X), model.transform(X))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(len(pool.map_async(work, range(2)).get(timeout=60)))
        """
    )
    assert printed == "2"


def test_a_search_in_forked_workers_gives_the_same_bits():
    # In an interpreter of its own: threads of other libraries do not survive a fork.
    printed = run(
        """
        import joblib, numpy as np, torch
        from sklearn.model_selection import GridSearchCV
        from skae import MLP, AutoencoderTransformer
        torch.set_num_threads(1)
        X = np.random.default_rng(0).standard_normal((40, 5))
        model = AutoencoderTransformer(network=MLP((8,)), max_iter=1, random_state=0)
        search = GridSearchCV(model, {"n_components": [1, 2]}, cv=2)
        alone = search.fit(X).cv_results_["mean_test_score"]
        with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
            forked = search.set_params(n_jobs=2).fit(X).cv_results_["mean_test_score"]
        print(np.array_equal(alone, forked))
        """
    )
    assert printed == "True"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes_use_a_fitted_model(method, X):
    model = quick().fit(X)
    codes = model.transform(X)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert np.allclose(pool.apply(model.transform, (X,)), codes, rtol=1e-12)


# Resources


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cycles_of_fit_and_transform_keep_no_memory(X):
    def memory():
        with open("/proc/self/status") as status:
            (line,) = (line for line in status if line.startswith("RssAnon"))
        return int(line.split()[1]) / 1024

    def n_tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    model = quick(max_iter=1)
    for _ in range(20):
        model.fit(X).transform(X)
    before, tensors = memory(), n_tensors()
    for _ in range(200):
        model.fit(X).transform(X)
    assert memory() - before < 20
    assert n_tensors() == tensors


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_map_is_encoded_a_block_at_a_time(tmp_path):
    path = tmp_path / "rows"
    with open(path, "wb") as file:
        file.truncate(2**28)  # 256 MB of zeros that take no space
    printed = run(
        f"""
        import numpy as np, resource
        from skae import MLP, AutoencoderTransformer
        X = np.memmap({str(path)!r}, dtype=np.float64, mode="r", shape=(2**19, 64))
        rows = np.random.default_rng(0).standard_normal((100, 64))
        model = AutoencoderTransformer(network=MLP((8,)), max_iter=1).fit(rows)
        model.transform(X[:9]); model.score(X[:9]); model.reconstruction_error(X[:9])
        def anonymous():
            lines = open("/proc/self/status").readlines()
            return next(int(l.split()[1]) for l in lines if l.startswith("VmData"))
        before = anonymous()
        limit = before * 1024 + 2**27  # 128 MB, half of the rows
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(model.transform(X).shape)
        model.score(X), model.reconstruction_error(X)
        """
    )
    assert printed == "(524288, 2)"
