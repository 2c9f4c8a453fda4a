"""Nothing global is changed: random states, settings, files, output, imports."""

import copy
import logging
import os
import pickle
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from variants import VARIANTS, digest, quick, run_script

from skae import AutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = load_digits().data[:120] / 16
X.flags.writeable = False


@cache
def fitted(name="default"):
    return quick(**VARIANTS[name]).fit(X)


def global_random_states():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (
        random.getstate(),
        (kind, keys.tobytes(), *rest),
        torch.get_rng_state().numpy().tobytes(),
    )


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


USES = {
    "construct": lambda model: quick(),
    "fit": lambda model: clone(model).fit(X),
    "partial_fit": lambda model: clone(model).partial_fit(X).partial_fit(X),
    "transform": lambda model: model.transform(X),
    "inverse_transform": lambda model: model.inverse_transform(model.transform(X)),
    "score": lambda model: model.score(X),
    "sample": lambda model: model.sample(5),
    "interpolate": lambda model: model.interpolate(X[0], X[1]),
    "reconstruction_error": lambda model: model.reconstruction_error(X),
    "compress": lambda model: model.decompress(model.compress(X[:9])),
    "clone": clone,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "repr": lambda model: (repr(model), model._repr_html_()),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", VARIANTS)
def test_global_random_states_are_neither_used_nor_changed(name, use):
    model = fitted(name)
    before = global_random_states()
    USES[use](model)
    assert global_random_states() == before


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize(
    "use", [u for u in USES if u not in ("construct", "clone", "repr", "interpolate")]
)
def test_autocast_does_not_change_results(use, name):
    def digest_of(result):
        if isinstance(result, AutoencoderTransformer):
            return digest(result)
        return np.asarray(result).tobytes()

    seeded = {"sample": lambda model: model.sample(5, random_state=0)}
    use = (USES | seeded)[use]
    expected = digest_of(use(fitted(name)))
    with autocast():
        assert digest_of(use(fitted(name))) == expected


@pytest.mark.parametrize("use", USES)
def test_settings_are_not_changed(use):
    model = fitted()
    before = settings()
    USES[use](model)
    assert settings() == before


@pytest.mark.parametrize(
    "name", ["default", "Variational()", "Recurrent(hidden_size=4)"]
)
def test_threads_share_a_fitted_model_in_every_method(name):
    model = fitted(name)
    uses = {
        "transform": lambda: model.transform(X),
        "inverse_transform": lambda: model.inverse_transform(model.transform(X)),
        "score": lambda: model.score(X),
        "reconstruction_error": lambda: model.reconstruction_error(X),
        "sample": lambda: model.sample(5, random_state=0),
        "interpolate": lambda: model.interpolate(X[0], X[1]),
        "compress": lambda: model.decompress(model.compress(X[:9])),
        "pickle": lambda: pickle.loads(pickle.dumps(model)).transform(X),
        "copy": lambda: copy.deepcopy(model).partial_fit(X).transform(X),
    }
    expected, attributes = {use: uses[use]() for use in uses}, dict(vars(model))

    def is_same(use):
        torch.set_num_threads(1)  # a setting of each thread
        return np.array_equal(uses[use](), expected[use])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_same, list(uses) * 3))
    assert vars(model) == attributes


@contextmanager
def default_dtype_float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


@contextmanager
def deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "setting",
    [
        torch.no_grad,
        torch.inference_mode,
        autocast,
        default_dtype_float64,
        deterministic_algorithms,
    ],
)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_callers_settings_do_not_change_the_model(name, setting):
    with setting():
        model = quick(**VARIANTS[name]).fit(X)
        loaded = pickle.loads(pickle.dumps(model))
        codes = loaded.transform(X)
    assert digest(model) == digest(fitted(name)) == digest(loaded)
    assert np.array_equal(codes, fitted(name).transform(X))


def test_nothing_is_printed(capfd):
    model = quick(early_stopping=True).fit(X)
    model.inverse_transform(model.transform(X))
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_a_line_for_every_epoch_and_one_for_the_outcome(capfd):
    model = quick(verbose=1, early_stopping=True).fit(X)
    out, err = capfd.readouterr()
    *epochs, outcome = out.splitlines()
    assert len(epochs) == model.n_iter_
    n_epochs = len(model.loss_curve_)
    assert [line.split()[0] for line in epochs] == ["Epoch"] * n_epochs + [
        "Refit"
    ] * len(model.refit_loss_curve_)
    assert f"after {n_epochs} epochs (max_iter)" in outcome
    assert f"validation score {model.best_validation_score_:.4g}" in outcome
    assert f"PCA {model.pca_validation_score_:.4g}" in outcome
    assert not err


# Other libraries are imported first, since their imports have side effects.
FITS = """
    import os, pickle, random, sys, warnings
    import numpy as np, pandas, scipy.linalg, scipy.sparse.linalg, scipy.special, torch
    import sklearn.base, sklearn.callback, sklearn.datasets, sklearn.mixture
    import joblib, sklearn.utils.estimator_checks
    joblib.cpu_count(only_physical_cores=True)  # scikit-learn runs a command for it
    events = []
    forbidden = ("os.mkdir", "os.putenv", "subprocess", "os.system", "socket",
                 "tempfile", "os.rename", "os.remove")
    def hook(event, args):
        writes = event == "open" and isinstance(args[1], str) and (
            set(args[1]) & set("wax+"))
        if writes or event.startswith(forbidden):
            events.append((event, str(args)[:200]))
    def state():
        kind, keys, *rest = np.random.get_state()
        return dict(
            environment=dict(os.environ), filters=list(warnings.filters),
            events=list(events), dtype=torch.get_default_dtype(),
            threads=torch.get_num_threads(), gradients=torch.is_grad_enabled(),
            python=random.getstate(), numpy=(kind, keys.tolist(), *rest),
            torch=torch.get_rng_state().tolist(),
            compiler="torch._dynamo" in sys.modules)
    before = state()
    sys.addaudithook(hook)
    import skae
    sys.path.insert(0, {tests!r})
    from configurations import CONFIGURATIONS, fitted
    # The defaults take long, and a callable solver is one of torch.optim.
    left_out = [n for n in CONFIGURATIONS if n.startswith("default")]
    for name in sorted(CONFIGURATIONS.keys() - {{*left_out, "callable solver"}}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, X = fitted(name)
            model.partial_fit(X)
        model.inverse_transform(model.transform(X))
        model.score(X)
        model.sample(3)
        if not model._config.layout.n_lengths:
            model.decompress(model.compress(X[:20]))
        pickle.loads(pickle.dumps(model))
        changed = {{k: v for k, v in state().items() if v != before[k]}}
        assert not changed, (name, changed)
"""


def test_no_option_changes_the_process_writes_a_file_or_opens_a_connection():
    tests = os.path.dirname(__file__)
    run_script(FITS.format(tests=tests), PYTHONDONTWRITEBYTECODE="1")
