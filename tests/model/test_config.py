"""A configuration builds the model of a fit, and raises for weights of others."""

import numpy as np
import pytest
import torch
from parts import NETWORKS, NUMERIC_LOSSES, REGULARIZERS
from runs import curve, data_of, params_of, start

from skae import MLP
from skae.data._counts import fit_input_pca
from skae.losses import as_loss
from skae.model._config import ModelConfig, check_arrays, linear_maps, to_arrays

DATA = data_of(0.5 + curve(60) / 20)  # valid for every loss


def config_of(**params):
    return params_of(DATA, **params).config


def built(seed=0, **params):
    config = config_of(**params)
    return config.build(seed, solution(config))


def solution(config):
    """Return PCA's solution for a configuration."""
    transform = as_loss(config.loss).transform
    return fit_input_pca(config.layout, DATA.X, np.ones(60), 2, transform)


@pytest.mark.parametrize(
    "params",
    [
        *({"network": network} for network in NETWORKS),
        *({"regularizer": regularizer} for regularizer in REGULARIZERS),
        *({"loss": loss} for loss in NUMERIC_LOSSES),
        {"init": "random"},
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


@torch.no_grad()
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_the_model_is_built_as_pca_along_the_tangent_of_the_link(loss):
    model = built(loss=loss, precision="float64")
    model.adapter.write = torch.nn.Identity()  # without the bound of counts
    pca = solution(config_of(loss=loss))
    x = (DATA.X - pca.mean) / pca.scale
    inputs = x
    if loss == "poisson":
        inputs = np.log1p(DATA.X)
        inputs = (inputs - inputs.mean(axis=0)) / pca.input_scale
    offset, slope = model.loss.linearize(pca.mean, pca.input_scale)
    expected = offset + slope * (inputs @ pca.axes.T @ pca.axes)
    torch.testing.assert_close(
        model.decode(model.encode(torch.from_numpy(x))), torch.from_numpy(expected)
    )


def test_the_decoders_linear_map_is_proportional_to_the_shrinkage():
    model = built(loss="poisson", precision="float64")
    pca = solution(config_of(loss="poisson"))
    encoder, decoder = linear_maps(model, pca)
    shrunk = linear_maps(model, pca, 0.25)
    torch.testing.assert_close(shrunk, (encoder, 0.25 * decoder))
    torch.testing.assert_close(model.decoder.axes.detach(), decoder)


def test_a_model_is_built_for_training_and_loaded_for_evaluation():
    model = built()
    assert model.training
    assert not config_of().load(to_arrays(model)).training


def test_a_loaded_model_shares_no_memory_with_the_arrays():
    arrays = to_arrays(built())
    loaded = config_of().load(arrays)
    before = {name: array.copy() for name, array in arrays.items()}
    for p in loaded.parameters():
        p.data.fill_(3)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_layer_that_is_used_twice_is_loaded_as_one():
    def network(n_features, n_components, n_samples):
        encoder, decoder = MLP((4, 4))(n_features, n_components, n_samples)
        decoder.hidden[1] = encoder.hidden[1]
        return encoder, decoder

    loaded = config_of(network=network).load(to_arrays(built(network=network)))
    layers = (part.network.hidden[1] for part in (loaded.encoder, loaded.decoder))
    assert len(set(layers)) == 1


def test_weights_of_another_network_raise_without_memory_for_its_own():
    arrays = to_arrays(built())
    with pytest.raises(ValueError, match=r"expected float64 of shape \(1000000, 5\)"):
        config_of(network=MLP((10**6,))).load(arrays)
    with pytest.raises(ValueError, match="do not belong to this network"):
        config_of(network=MLP((10**6, 10**7))).load(arrays)


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
def test_arrays_of_another_shape_type_or_kind_raise(array, message):
    expected = {"weight": np.empty((2, 3))}
    with pytest.raises(ValueError, match=message):
        check_arrays({"weight": array}, expected)


@pytest.mark.parametrize("arrays", [{}, {"weight": 0, "other": 0}, None, [1]])
def test_arrays_of_other_names_raise(arrays):
    with pytest.raises(ValueError, match="do not belong to this network"):
        check_arrays(arrays, {"weight": np.empty(3)})


@pytest.mark.parametrize(
    "change",
    [{"loss": "cross_entropy"}, {"n_dropped": 2}, {"n_components": 0}, {"dtype": "f8"}],
    ids=str,
)
def test_a_state_that_contradicts_itself_raises(change):
    with pytest.raises(ValueError):  # noqa: PT011
        ModelConfig.from_state(config_of().to_state() | change)
