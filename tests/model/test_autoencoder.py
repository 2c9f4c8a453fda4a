"""The model is a network beside a linear skip connection, and starts as the latter."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from parts import REGULARIZERS
from runs import curve, data_of, start
from sklearn.decomposition import PCA

from skae import MLP, Ordered
from skae.model._autoencoder import MAX_INPUT, LinearSkip
from skae.training._optimizers import FlatParameters

X = 0.5 + curve(100) / 20  # valid for every loss


def model_of(**params):
    params = {"precision": "float64", "early_stopping": False, "max_iter": 0} | params
    return start(data_of(X), **params).model.eval()


@torch.no_grad()
def test_a_skip_connection_starts_as_the_linear_map():
    network, _ = MLP((8,))(5, 3, n_samples=10)
    axes = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(LinearSkip(network, axes)(x), x @ axes.T)


@torch.no_grad()
def test_the_model_starts_as_pca():
    pca, model = PCA(2).fit(X), model_of()
    scale = np.sqrt(X.var(axis=0).mean())
    codes = model.encode(torch.from_numpy((X - X.mean(axis=0)) / scale))
    scores = pca.transform(X)
    assert_allclose(codes.numpy(), scores / scores[:, 0].std())
    reconstruction = model.decode(codes).numpy() * scale + X.mean(axis=0)
    assert_allclose(reconstruction, pca.inverse_transform(scores))


@torch.no_grad()
def test_dropped_components_decode_as_zero():
    model = model_of(n_components=4, regularizer=Ordered())
    x = torch.from_numpy(X)
    codes = model.encode(x)
    model.n_dropped = 2
    assert model.encode(x).shape == (100, 2)
    torch.testing.assert_close(model.encode(x), codes[:, :2])
    codes[:, 2:] = 0
    torch.testing.assert_close(model.decode(codes[:, :2]), model.decode(codes))
    torch.testing.assert_close(model.pad(codes[:, :2]), codes)


@pytest.mark.parametrize("value", [1e300, -1e300, np.inf])
def test_inputs_are_clipped_to_finite_squares(value):
    tensor = model_of(precision="float32").as_input(np.array([[value]]))
    assert tensor.abs().item() == pytest.approx(MAX_INPUT)
    assert torch.isfinite(tensor.square()).all()


@torch.no_grad()
@pytest.mark.parametrize("init", ["pca", "random"])
def test_decoders_that_return_zero_give_the_mean(init):
    model = model_of(init=init, loss="brier")
    for parameter in model.decoder.parameters():
        parameter.zero_()
    output = model.decode(torch.zeros(1, 2, dtype=torch.float64))
    mean = torch.from_numpy(X.mean(axis=0))
    assert_allclose(model.loss.reconstruction(output, mean, 1.0)[0], mean)


@torch.no_grad()
@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_codes_are_those_of_the_regularizer(regularizer):
    model = model_of(n_components=3, regularizer=regularizer)
    x = torch.from_numpy(X)
    expected = model.regularizer.code(model.encoder(x))
    torch.testing.assert_close(model.encode(x), expected)
    decoded = model.decoder(model.regularizer.decoder_input(expected))
    torch.testing.assert_close(model.decode(expected), decoded + model.offset)


def test_only_matrices_of_the_networks_decay():
    model = model_of()
    decayed = FlatParameters(model).decayed.numel()
    networks = model.encoder.network, model.decoder.network
    matrices = [p for network in networks for p in network.parameters() if p.ndim > 1]
    assert decayed == sum(p.numel() for p in matrices)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_arrays_have_the_models_type_as_input(precision):
    array = np.ones((2, 5))
    tensor = model_of(precision=precision).as_input(array)
    assert tensor.dtype == getattr(torch, precision)
    assert_allclose(tensor, array)
