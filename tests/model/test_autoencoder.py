"""The model is a network beside a linear skip connection, and starts as the latter."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from runs import curve, data_of, start
from sklearn.decomposition import PCA

from skae import MLP, Ordered
from skae.model._autoencoder import MAX_INPUT, LinearSkip

X = curve(100)


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
