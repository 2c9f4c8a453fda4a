"""Adapters leave padding out of the loss, embed tokens and write their logits."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES, generator

from skae import MLP, AutoencoderTransformer, CrossEntropy
from skae.data._counts import fit_input_pca
from skae.data._layout import LAYOUTS, NumericLayout, PaddedLayout, TokenLayout
from skae.losses import as_loss
from skae.model._adapters import (
    ADAPTERS,
    InputAdapter,
    PaddedAdapter,
    TokenAdapter,
    masked_losses,
)
from skae.training._optimizers import FlatParameters

SQUARED_ERROR = as_loss("squared_error")
TARGET = torch.tensor([[0.5, torch.nan, torch.nan], [0.5, 0.2, torch.nan]]).double()


def test_every_layout_has_an_adapter():
    assert set(ADAPTERS) == set(LAYOUTS.values())


# Numbers and padded sequences.


def test_numbers_are_read_and_written_as_they_are():
    adapter, x = InputAdapter(NumericLayout((3,)), SQUARED_ERROR), torch.rand(4, 3)
    assert adapter.read(x) is adapter.write(x) is x
    torch.testing.assert_close(adapter.losses(x + 2, x), torch.full((4, 3), 4.0))
    torch.testing.assert_close(adapter.sample_loss(x + 2, x), torch.full((4,), 4.0))


def test_padding_is_read_as_the_mean():
    adapter = PaddedAdapter(PaddedLayout((3, 1), 0), SQUARED_ERROR)
    assert_allclose(adapter.read(TARGET), [[0.5, 0, 0], [0.5, 0.2, 0]])


def test_the_loss_of_a_sequence_is_the_mean_over_its_steps():
    adapter = PaddedAdapter(PaddedLayout((3, 1), 0), SQUARED_ERROR)
    output = TARGET.nan_to_num(9) + torch.tensor([[1.0, 5, 5], [1, 2, 5]])
    assert_allclose(adapter.sample_loss(output, TARGET), [1, (1 + 4) / 2])


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


# Tokens.


TOKENS = np.random.default_rng(0).integers(0, 40, (20, 6)).astype(float)


def token_adapter(channels_first=False):
    """Return an adapter at the start of training, and its arrays."""
    layout = TokenLayout((6,), 40, channels_first)
    embedding = layout.fit_pca(TOKENS, np.ones(20), 2).embedding
    adapter = TokenAdapter(layout, CrossEntropy())
    adapter.initialize(embedding)
    return adapter, embedding


@pytest.mark.parametrize("channels_first", [False, True])
@torch.no_grad()
def test_tokens_are_read_as_the_embedding_of_which_pca_is_computed(channels_first):
    adapter, embedding = token_adapter(channels_first)
    layout = TokenLayout((6,), 40, channels_first)
    embedded = np.asarray(layout.embed(TOKENS, embedding.table)) - embedding.mean
    assert_allclose(adapter.read(torch.from_numpy(TOKENS)), embedded, atol=1e-5)


@pytest.mark.parametrize("channels_first", [False, True])
@torch.no_grad()
def test_the_logits_of_a_step_are_linear_in_its_embedding(channels_first):
    adapter, embedding = token_adapter(channels_first)
    steps = torch.rand(20, 6, 32, generator=generator())
    adapter.write.bias.copy_(torch.arange(40.0))
    flat = (steps.transpose(1, 2) if channels_first else steps).flatten(1)
    logits = adapter.write(flat).unflatten(1, (6, 40))
    expected = steps.numpy() @ embedding.logits.T + np.arange(40)
    assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_loss_of_a_sequence_of_tokens_is_the_mean_over_its_steps():
    adapter, _ = token_adapter()
    logits, tokens = (
        torch.randn(20, 6 * 40, generator=generator()),
        torch.from_numpy(TOKENS),
    )
    losses = adapter.losses(logits, tokens)
    assert losses.shape == (20, 6)
    torch.testing.assert_close(adapter.sample_loss(logits, tokens), losses.mean(dim=1))


def test_embeddings_are_parameters_that_do_not_decay():
    adapter, _ = token_adapter()
    assert not FlatParameters(adapter).decayed.numel()


# Counts.


def count_adapter(X, adapter=InputAdapter, layout=None):
    """Return the adapter of the Poisson loss for rows, and its embedding."""
    layout = layout or NumericLayout(X.shape[1:])
    loss = as_loss("poisson")
    embedding = fit_input_pca(layout, X, np.ones(len(X)), 1, loss.transform).embedding
    adapter = adapter(layout, loss).double()
    adapter.initialize(embedding)
    return adapter, embedding


COUNTS = np.random.default_rng(0).poisson([[1.0, 20.0, 0.0]], (50, 3)).astype(float)


def test_counts_are_read_as_standardized_logarithms():
    adapter, embedding = count_adapter(COUNTS)
    standardized = (COUNTS - embedding.mean) / embedding.scale
    inputs = adapter.read(torch.from_numpy(standardized)).numpy()
    logs = np.log1p(COUNTS)
    centered = logs - logs.mean(axis=0)
    assert_allclose(inputs, centered / np.sqrt(centered.var(axis=0).mean()), atol=1e-12)


def test_padded_counts_are_read_as_the_mean():
    padded = COUNTS.copy()
    padded[:25, 2] = np.nan
    layout = PaddedLayout((3, 1), 0)
    adapter, _ = count_adapter(padded, PaddedAdapter, layout)
    inputs = adapter.read(torch.from_numpy(padded)).numpy()
    assert (inputs[:25, 2] == 0).all()
    assert np.isfinite(inputs).all()


def test_outputs_are_bounded_by_a_multiple_of_the_largest_count():
    adapter, embedding = count_adapter(COUNTS)
    link = as_loss("poisson").link
    offset = torch.from_numpy(link.offset(embedding.mean))
    output = torch.full((1, 3), 50.0, dtype=torch.float64, requires_grad=True)
    rates = link.inverse(adapter.write(output) + offset)
    # A column of zeros may have counts later: the mean of all columns is its maximum.
    highest = np.maximum(COUNTS.max(axis=0), COUNTS.mean())
    assert_allclose(rates.detach()[0], 100 * highest)
    rates.sum().backward()
    assert (output.grad > 0).all()
    below = torch.full((1, 3), -1.0, dtype=torch.float64)
    assert torch.equal(adapter.write(below), below)
