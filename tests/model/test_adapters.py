"""Padding is left out of the loss, and tokens are embedded."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES

from skae import MLP, AutoencoderTransformer
from skae.data._layout import TokenLayout
from skae.losses import cross_entropy
from skae.model._adapters import TokenAdapter, masked_losses

TARGET = torch.tensor([[0.5, torch.nan, torch.nan], [0.5, 0.2, torch.nan]]).double()


@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_losses_are_nan_where_the_target_is(loss):
    output = torch.rand(2, 3, dtype=torch.float64)
    losses = masked_losses(NUMERIC_LOSSES[loss].elementwise, output, TARGET)
    assert_array_equal(losses.isnan(), TARGET.isnan())


@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_the_gradient_of_padding_is_zero(loss):
    output = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    losses = masked_losses(NUMERIC_LOSSES[loss].elementwise, output, TARGET)
    losses.nanmean(dim=1).sum().backward()
    assert_array_equal(output.grad.numpy() == 0, TARGET.isnan().numpy())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_callable_losses_get_no_nan():
    def capped(output, target):
        square = (output - target).square()
        return torch.where(square < 4, square, torch.full_like(square, 4.0))

    X = np.random.default_rng(0).standard_normal((90, 7, 2)).cumsum(axis=1)
    X[:40, 5:] = np.nan
    options = {"network": MLP((8,)), "max_iter": 3, "random_state": 0}
    model = AutoencoderTransformer(4, loss=capped, **options).fit(X)
    entries = model.reconstruction_error(X, per_feature=True)
    assert_array_equal(np.isnan(entries), np.isnan(X.reshape(90, -1)))
    assert_allclose(model.reconstruction_error(X), np.nanmean(entries, axis=1))


@pytest.mark.parametrize("channels_first", [False, True])
def test_adapters_of_tokens_equal_the_rows_of_pca(channels_first):
    tokens = np.random.default_rng(0).integers(0, 40, (20, 6)).astype(float)
    layout, weight = TokenLayout((6,), 40, channels_first), np.ones(20)
    embedding = layout.fit_pca(tokens, weight, 2).embedding
    adapter = TokenAdapter(layout, cross_entropy)
    adapter.initialize(embedding)
    embedded = np.asarray(layout.embed(tokens, embedding.table)) - embedding.mean
    with torch.no_grad():
        assert_allclose(adapter.read(torch.from_numpy(tokens)), embedded, atol=1e-5)
