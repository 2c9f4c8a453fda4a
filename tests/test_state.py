"""A fitted model's saved state: it is small, of arrays, and validated when loaded."""

import copy
import pickle
import pickletools
import tracemalloc

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from torch import nn
from variants import PUBLIC_VARIANTS, quick

from skae import (
    MLP,
    SKOPS_TRUSTED,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    CrossEntropy,
    Modules,
    __version__,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Shifted(nn.Module):
    """Adds a buffer that is not part of the module's state."""

    def __init__(self, n_features):
        super().__init__()
        self.register_buffer("shift", torch.ones(n_features), persistent=False)

    def forward(self, x):
        return x + self.shift


def with_batch_norm(n_features, n_components, n_samples):
    shift, norm = Shifted(n_features), nn.BatchNorm1d(8)
    encoder = nn.Sequential(shift, nn.Linear(n_features, 8), norm, nn.Tanh())
    encoder.append(nn.Linear(8, n_components))
    return encoder, nn.Linear(n_components, n_features)


OWN = {"callable": with_batch_norm, "modules": Modules(*with_batch_norm(24, 3, 60))}


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_skops(model):
    return skops.io.loads(skops.io.dumps(model), trusted=list(SKOPS_TRUSTED))


@pytest.fixture(scope="module")
def X(digits):
    return digits[:60, :24] / 16


def fitted(X, **options):
    return quick(**{"n_components": 3, **options}).fit(X)


@pytest.fixture(scope="module")
def model(X):
    return fitted(X)


def weights(model):
    return {name: value.numpy() for name, value in model.module_.state_dict().items()}


def assert_same_model(model, other, X):
    codes = model.transform(X)
    assert np.array_equal(codes, other.transform(X))
    assert np.array_equal(
        model.inverse_transform(codes), other.inverse_transform(codes)
    )
    assert model.score(X) == other.score(X)
    assert model.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("roundtrip", [by_pickle, by_skops, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("name", PUBLIC_VARIANTS)
def test_a_loaded_model_returns_the_same_bits(name, roundtrip, X):
    model = fitted(X, **PUBLIC_VARIANTS[name])
    assert_same_model(model, roundtrip(model), X)


@pytest.mark.parametrize("roundtrip", [by_pickle, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("name", OWN)
def test_a_loaded_network_with_buffers_returns_the_same_bits(name, init, roundtrip, X):
    model = fitted(X, network=OWN[name], init=init)
    loaded = roundtrip(model)
    assert_same_model(model, loaded, X)
    assert_same_model(model.partial_fit(X), loaded.partial_fit(X), X)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_joblib_loads_a_model_that_returns_the_same_bits(mmap_mode, X, tmp_path):
    model = fitted(X)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
    assert_same_model(model, loaded, X)
    loaded.partial_fit(X)
    assert not np.array_equal(loaded.transform(X), model.transform(X))


@pytest.mark.parametrize("roundtrip", [by_pickle, by_skops, copy.deepcopy, clone])
def test_an_unfitted_estimator_is_saved(roundtrip, X):
    loaded = roundtrip(quick(n_components=3))
    with pytest.raises(NotFittedError):
        loaded.transform(X)
    assert np.array_equal(loaded.fit_transform(X), fitted(X).transform(X))


def test_skops_trusted_lists_exactly_the_types_in_files(X):
    models = [fitted(X, **options) for options in PUBLIC_VARIANTS.values()]
    models += [AutoencoderTransformer(loss=CrossEntropy())]
    models += [AutoencoderImputer(), AutoencoderOutlierDetector()]
    found = set()
    for model in models:
        found.update(skops.io.get_untrusted_types(data=skops.io.dumps(model)))
    assert found == set(SKOPS_TRUSTED)


def test_set_params_after_fit_does_not_change_a_saved_model(X):
    model = fitted(X)
    other = by_pickle(model).set_params(
        network=MLP((5,)), loss="poisson", n_components=7, init="random"
    )
    assert_same_model(model, by_pickle(other), X)
    nested = by_pickle(model).set_params(network__hidden_layer_sizes=(3, 3))
    assert_same_model(model, by_pickle(nested), X)


@pytest.mark.parametrize("roundtrip", [by_pickle, by_skops, copy.deepcopy])
def test_training_of_a_loaded_model_continues_from_its_weights(roundtrip, X):
    model = fitted(X)
    loaded = roundtrip(model).set_params(learning_rate=1e-12).partial_fit(X)
    assert loaded.n_iter_ == model.n_iter_ + 1
    np.testing.assert_allclose(loaded.transform(X), model.transform(X), atol=1e-8)


def test_a_deep_copy_shares_no_memory(X):
    model = fitted(X)
    before = model.transform(X)
    copy.deepcopy(model).partial_fit(X)
    assert np.array_equal(model.transform(X), before)


def test_a_pickle_contains_the_weights_and_little_else(X):
    model = fitted(X, network=MLP((256, 256)))
    n_bytes = sum(value.nbytes for value in weights(model).values())
    assert len(pickle.dumps(model)) <= 1.1 * n_bytes + 10_000


def globals_of(data):
    """Return the modules and names that a pickle imports."""
    strings, found = [], set()
    for opcode, argument, _ in pickletools.genops(data):
        if "UNICODE" in opcode.name:
            strings.append(argument)
        elif opcode.name == "STACK_GLOBAL":
            found.add(tuple(strings[-2:]))
        elif opcode.name == "GLOBAL":
            found.add(tuple(argument.split(" ")))
    return found


@pytest.mark.parametrize("name", PUBLIC_VARIANTS)
def test_a_pickle_imports_only_numpy_and_public_types(name, X):
    found = globals_of(pickle.dumps(fitted(X, **PUBLIC_VARIANTS[name]), protocol=2))
    assert ("skae", "AutoencoderTransformer") in found
    # Protocol 2 uses these for arrays, empty arrays and objects.
    others = {"_codecs.encode", "__builtin__.bytes"}
    others |= {"copy_reg._reconstructor", "__builtin__.object"}
    names = {f"{module}.{attribute}" for module, attribute in found}
    rest = {name for name in names if not name.startswith("numpy")}
    assert rest <= {*SKOPS_TRUSTED, *others}


def missing_weight(state):
    del state["module_"]["offset"]


def extra_weight(state):
    state["module_"]["extra"] = np.zeros(3)


def wrong_shape(state):
    state["module_"]["offset"] = np.zeros(5)


def wrong_dtype(state):
    state["module_"]["offset"] = state["module_"]["offset"].astype(np.int64)


def fractional_count(state):
    model = fitted(np.eye(24), network=with_batch_norm, init="random")
    state.update(model.__getstate__())
    name = "encoder.2.num_batches_tracked"
    state["module_"][name] = state["module_"][name] + 0.5


def wrong_type(state):
    state["module_"]["offset"] = state["module_"]["offset"].tolist()


def not_finite(state):
    state["module_"]["offset"] = state["module_"]["offset"] * np.nan


def no_weights(state):
    state["module_"] = None


def a_billion_units(state):
    state["_config"]["network"] = MLP((10**9,))


def negative_units(state):
    state["_config"]["network"] = MLP((-1,))


def unknown_activation(state):
    state["_config"]["network"] = MLP((8,), activation="system")


def unknown_init(state):
    state["_config"]["init"] = "system"


def unknown_loss(state):
    state["_config"]["loss"] = "system"


def unknown_dtype(state):
    state["_config"]["dtype"] = "load"


def extra_in_config(state):
    state["_config"]["extra"] = 1


def missing_from_config(state):
    del state["_config"]["loss"]


# Invalid entries of the configuration, and invalid attributes.
CONFIG = {
    "layout": [
        None,
        {},
        {"kind": "os.system", "shape": (24,)},
        {"kind": "numbers", "shape": (24,), "extra": 1},
        {"kind": "numbers", "shape": 24},
        {"kind": "numbers", "shape": (23,)},
        {"kind": "numbers", "shape": (-4, -6)},
        {"kind": "numbers", "shape": (2**40, 2**40)},
        {"kind": "padded", "shape": (8, 3), "axis": 0, "length": None},
        {"kind": "padded", "shape": (8, 3), "axis": 2, "length": 5},
        {"kind": "padded", "shape": (8, 3), "axis": "0", "length": 5},
        {"kind": "padded", "shape": (8, 3), "axis": 0, "length": 9},
        *(
            {"kind": "tokens", "shape": (24,), "n_tokens": n, "channels_first": first}
            for n, first in [(4, False), (4, [0]), (0, False), (9**9, False)]
        ),
    ],
    "n_components": [1, -1, 10**9, "3"],
    "n_samples": [0, "many"],
    "n_dropped": [-1, 3, 99],
    "network": [3, None, "os.system"],
    "regularizer": [3, "os.system"],
    "noise": [3, "os.system"],
    "loss": [3, None, ["squared_error"]],
    "init": [3, None, ["pca"]],
    "dtype": [3, None, ["float64"]],
}
ATTRIBUTES = {
    "_config": [None, [1], {}],
    "module_": [{}, [1], "weights"],
    "mean_": [None, "0", [0.0], np.zeros(3), np.full(24, np.nan)],
    "scale_": [None, "1", 0.0, -1.0, float("nan"), float("inf"), np.ones(2)],
    "n_components_": [None, 7, "3"],
    "_lengths": [None, np.zeros((3, 1)), np.zeros((0, 0))],
    "n_features_in_": [None, 23, "24"],
    "_codes": [None, "0", [[0.0] * 3], np.zeros((9, 2)), np.full((9, 3), np.nan)],
    "_container": [None, "numpy", 3],
    "_dtype": [None, "int64", "object", np.float64],
    "column_kinds_": [3, {"x": "number"}],
    "_seed": [None, -1, 0.5, "0"],
}


def replaced(name, value, config=False):
    def change(state):
        (state["_config"] if config else state)[name] = value

    change.__name__ = f"{name}={value!r}"
    return change


INVALID = [
    missing_weight,
    extra_weight,
    wrong_shape,
    wrong_dtype,
    fractional_count,
    wrong_type,
    not_finite,
    no_weights,
    a_billion_units,
    negative_units,
    unknown_activation,
    unknown_init,
    unknown_loss,
    unknown_dtype,
    extra_in_config,
    missing_from_config,
    *(replaced(n, v, config=True) for n, vs in CONFIG.items() for v in vs),
    *(replaced(name, value) for name, vs in ATTRIBUTES.items() for value in vs),
]


@pytest.mark.parametrize("change", INVALID, ids=lambda change: change.__name__)
def test_an_invalid_state_raises(change, model):
    state = copy.deepcopy(model.__getstate__())
    change(state)
    empty = AutoencoderTransformer.__new__(AutoencoderTransformer)
    with pytest.raises(ValueError, match=r"saved|expected|must be"):
        empty.__setstate__(state)
    assert not vars(empty)


DELETED = object()
REPLACEMENTS = [DELETED, None, "x", -1, 10**12, [], (10**9, 10**9), np.full(3, np.nan)]
FUZZED = {
    "default": {},
    "random, without regularizer": {"init": "random", "early_stopping": False},
    "Variational": PUBLIC_VARIANTS["Variational()"],
    "Recurrent": PUBLIC_VARIANTS["Recurrent(hidden_size=4)"],
    "Conv of tokens": {
        "loss": "cross_entropy",
        **PUBLIC_VARIANTS["Conv(channels=(4,), hidden_layer_sizes=(8,))"],
    },
}


def paths(state, start=()):
    """Yield the path of every value of a state: keys, and parameters of parts."""
    for name, value in state.items():
        yield (*start, name)
        if isinstance(value, BaseEstimator):
            value = vars(value)
        if isinstance(value, dict):
            yield from paths(value, (*start, name))


def replace_at(state, path, value):
    for name in path[:-1]:
        state = state[name] if isinstance(state, dict) else vars(state)[name]
    state = state if isinstance(state, dict) else vars(state)
    if value is DELETED:
        del state[path[-1]]
    else:
        state[path[-1]] = value


def load(state):
    """Return the loaded model, or None if the state is invalid."""
    model = AutoencoderTransformer.__new__(AutoencoderTransformer)
    try:
        model.__setstate__(state)
    except ValueError:
        assert not vars(model)
        return None
    return model


@pytest.mark.filterwarnings("ignore:The model was saved by skae")
@pytest.mark.parametrize("name", FUZZED)
def test_a_state_that_is_changed_anywhere_raises_or_is_valid(name, X):
    X = np.rint(4 * X) if name == "Conv of tokens" else pd.DataFrame(X).add_prefix("x")
    model = quick(n_components=3, **FUZZED[name]).fit(X)
    state, rows = model.__getstate__(), np.asarray(X)
    codes = model._codec.encode(rows)
    params = model.get_params(deep=False)
    for path in paths(state):
        # Parameters of the estimator must exist, but are validated when it is fitted.
        values = REPLACEMENTS if path[0] not in params else [DELETED][: 2 - len(path)]
        for value in values:
            changed = copy.deepcopy(state)
            replace_at(changed, path, value)
            tracemalloc.start()
            loaded = load(changed)
            assert tracemalloc.get_traced_memory()[1] < 2**26
            tracemalloc.stop()
            if loaded is None:
                continue
            assert value is not DELETED or path == ("feature_names_in_",), path
            assert np.array_equal(loaded._codec.encode(rows), codes), path
            loaded.sample(2)
            pickle.dumps(loaded)


def test_a_model_of_another_version_warns_with_both_versions(model, X):
    state = model.__getstate__() | {"_skae_version": "0.0.1"}
    with pytest.warns(UserWarning, match=rf"skae 0\.0\.1, .* skae {__version__}"):
        assert_same_model(model, load(state), X)


def test_an_invalid_state_of_another_version_names_both_versions(model):
    state = model.__getstate__() | {"_skae_version": "0.0.1"}
    del state["loss_curve_"]
    empty = AutoencoderTransformer.__new__(AutoencoderTransformer)
    message = rf"has no loss_curve_. .* skae 0\.0\.1, .* skae {__version__}"
    with pytest.raises(ValueError, match=message):
        empty.__setstate__(state)


def test_a_state_without_a_parameter_raises(X):
    for model in (quick(), fitted(X)):
        state = model.__getstate__()
        del state["alpha"]
        with pytest.raises(ValueError, match="has no alpha"):
            AutoencoderTransformer.__new__(AutoencoderTransformer).__setstate__(state)


def test_a_network_that_cannot_be_built_raises_with_its_error(model):
    state = copy.deepcopy(model.__getstate__())
    state["_config"]["network"] = lambda *sizes: 1 / 0
    with pytest.raises(ValueError, match=r"cannot be built .* division by zero"):
        AutoencoderTransformer.__new__(AutoencoderTransformer).__setstate__(state)


@pytest.mark.parametrize("roundtrip", [by_pickle, by_skops])
def test_stored_codes_can_be_removed(roundtrip, X):
    model = fitted(X)
    model._codes = model._codes[:0]
    loaded = roundtrip(model)
    assert_same_model(model, loaded, X)
    with pytest.raises(ValueError, match="codes of training rows were removed"):
        loaded.sample()


@pytest.mark.parametrize("change", [wrong_shape, unknown_init, not_finite])
def test_an_invalid_skops_file_raises(change, X, monkeypatch):
    model = fitted(X)
    state = copy.deepcopy(model.__getstate__())
    change(state)
    monkeypatch.setattr(AutoencoderTransformer, "__getstate__", lambda self: state)
    with pytest.raises(ValueError, match=r"saved|expected|must be"):
        by_skops(model)


def test_loading_does_not_use_the_global_random_state(X):
    dumped = pickle.dumps(fitted(X))
    before = torch.get_rng_state()
    pickle.loads(dumped)
    assert torch.equal(torch.get_rng_state(), before)
