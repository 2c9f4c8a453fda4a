"""A configuration builds the model of a fit, and refuses what does not fit it."""

import numpy as np
import pytest
import torch
from parts import NETWORKS, REGULARIZERS
from runs import curve, data_of, params_of, start

from skae import MLP
from skae.model._config import ModelConfig, check_arrays, to_arrays

DATA = data_of(curve(60))


def config_of(**params):
    return params_of(DATA, **params).config


def built(seed=0, **params):
    config = config_of(**params)
    return config.build(seed, config.layout.fit_pca(DATA.X, np.ones(60), 2))


@pytest.mark.parametrize(
    "params",
    [
        *({"network": network} for network in NETWORKS),
        *({"regularizer": regularizer} for regularizer in REGULARIZERS),
        {"init": "random"},
        {"loss": "huber"},
    ],
    ids=str,
)
def test_a_configuration_and_arrays_give_the_model_back(params):
    model = start(DATA, early_stopping=False, **params).model.eval()
    config = config_of(**params)
    config = ModelConfig.from_state(config.to_state())
    loaded = config.load(to_arrays(model))
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(model.offset)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(x), model.encode(x), rtol=0, atol=0)


def test_the_seed_determines_the_weights():
    first, again, other = (to_arrays(built(seed)) for seed in (0, 0, 1))
    name = "encoder.network.hidden.0.weight"
    np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first[name], other[name])


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    config = config_of()
    config.load(to_arrays(built()))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_of_the_wrong_shape_raises_before_training():
    def swapped(n_features, n_components, n_samples):
        return MLP(())(n_components, n_features, n_samples)

    with pytest.raises(ValueError, match="encoder got an input of shape"):
        built(network=swapped)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4)), "of shape"),
        (np.zeros((2, 3), np.float32), "float64"),
        ([[0.0] * 3] * 2, "float64"),
        (np.full((2, 3), np.nan), "not finite"),
    ],
)
def test_arrays_of_another_shape_type_or_kind_are_refused(array, message):
    expected = {"weight": np.empty((2, 3))}
    with pytest.raises(ValueError, match=message):
        check_arrays({"weight": array}, expected)


@pytest.mark.parametrize("arrays", [{}, {"weight": 0, "other": 0}, None, [1]])
def test_arrays_of_other_names_are_refused(arrays):
    with pytest.raises(ValueError, match="do not belong to this network"):
        check_arrays(arrays, {"weight": np.empty(3)})


@pytest.mark.parametrize(
    "change",
    [{"loss": "cross_entropy"}, {"n_dropped": 2}, {"n_components": 0}, {"dtype": "f8"}],
    ids=str,
)
def test_a_state_that_contradicts_itself_is_refused(change):
    with pytest.raises(ValueError):  # noqa: PT011
        ModelConfig.from_state(config_of().to_state() | change)
