"""Codes that follow N(0, I): the kernels of MMD, and the adversarial game."""

import math

import numpy as np
import pytest
import torch
from parts import (
    NO_REGULARIZERS,
    PRIORS,
    REGULARIZERS,
    built,
    codes_of,
    generator,
    quick,
    rows,
)
from sklearn.decomposition import PCA
from torch.nn import functional as F

from skae import MLP, MMD, Adversarial, Regularizer, Variational
from skae.regularizers._base import as_regularizer
from skae.regularizers._prior import MAX_COMPARED_ROWS, mmd, mmd_from_normal
from skae.regularizers._variational import posterior_shares

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_mmd_of_a_set_from_itself_is_zero():
    z = codes_of(30)
    assert mmd(z, z).item() == pytest.approx(0, abs=1e-15)
    assert mmd(z, z + 1).item() > 0.01


def test_mmd_from_the_normal_is_that_from_many_draws():
    codes = codes_of(40) * 2 + 0.5
    draws = torch.randn(2000, 3, generator=generator(3), dtype=torch.float64)
    exact = mmd_from_normal(codes, None).mean().item()
    assert exact == pytest.approx(mmd(codes, draws).item(), rel=0.05)


def test_mmd_counts_a_row_of_weight_two_as_two_rows():
    codes, weights = codes_of(10), torch.ones(10).double()
    weights[:4] = 2
    twice = torch.cat([codes, codes[:4]])
    weighted = (mmd_from_normal(codes, weights) * weights).sum() / 14
    torch.testing.assert_close(weighted, mmd_from_normal(twice, None).mean())


def test_mmd_compares_a_bounded_number_of_rows():
    codes = codes_of(MAX_COMPARED_ROWS + 5)
    parts = mmd_from_normal(codes, None)[:MAX_COMPARED_ROWS]
    expected = mmd_from_normal(codes[:MAX_COMPARED_ROWS], None)
    torch.testing.assert_close(parts, expected)


@pytest.fixture
def game():
    """A discriminator, codes, its loss on them, and the gradients of its penalty."""
    discriminator, codes = built(Adversarial(0.5)), codes_of().requires_grad_()
    draws = torch.randn(12, 3, generator=generator(), dtype=torch.float32).double()
    penalty = discriminator.batch_penalty(codes, None, None, generator())
    penalty.mean().backward()
    network = discriminator.network
    losses = F.softplus(-network(draws)) + F.softplus(network(codes))
    return discriminator, codes, losses.squeeze(1), penalty


def test_adversarial_penalty_is_the_distance_of_the_loss_from_a_guess(game):
    _, _, losses, penalty = game
    torch.testing.assert_close(penalty, 0.5 * (math.log(4) - losses))


def test_the_discriminator_descends_on_its_loss(game):
    discriminator, _, losses, _ = game
    parameters = list(discriminator.parameters())
    expected = torch.autograd.grad(losses.mean(), parameters)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_codes_ascend_on_the_discriminators_loss(game):
    _, codes, losses, _ = game
    (gradient,) = torch.autograd.grad(losses.mean(), codes)
    torch.testing.assert_close(codes.grad, -0.5 * gradient)


def test_validation_of_adversarial_codes_does_not_depend_on_the_discriminator():
    codes, losses = codes_of(), torch.ones(12).double()
    discriminator = built(Adversarial(0.5))
    found = discriminator.validation_loss(codes, losses, None, None)
    torch.testing.assert_close(found, 1 + 0.5 * mmd_from_normal(codes, None))


@pytest.mark.parametrize("regularizer", PRIORS, ids=repr)
def test_a_prior_draws_standard_normal_codes(regularizer):
    codes = regularizer.prior(5000, 3, generator())
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes.mean(dim=0), torch.zeros(3), rtol=0, atol=0.06)
    torch.testing.assert_close(codes.std(dim=0), torch.ones(3), rtol=0, atol=0.06)


@pytest.mark.parametrize("regularizer", PRIORS, ids=repr)
def test_a_prior_draws_from_its_generator_alone(regularizer):
    before = torch.get_rng_state()
    fitted = quick(regularizer=regularizer).fit(rows()).module_.regularizer
    draws = [part.prior(9, 3, generator()) for part in (regularizer, fitted)]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("regularizer", PRIORS, ids=repr)
def test_a_component_with_a_prior_is_active_above_a_variance_of_one_percent(
    regularizer,
):
    active = built(regularizer).active_components(np.array([1.0, 0.011, 0.009]))
    assert active.tolist() == [True, True, False]


def test_other_regularizers_have_no_prior():
    others = [part for part in REGULARIZERS if type(part) not in map(type, PRIORS)]
    for part in [*others, *map(as_regularizer, NO_REGULARIZERS), Regularizer()]:
        assert part.prior(5, 3, generator()) is None


@pytest.mark.parametrize("regularizer", PRIORS, ids=repr)
def test_codes_start_with_the_variance_of_the_prior(regularizer):
    X = rows()
    codes = quick(regularizer=regularizer, max_iter=0).fit_transform(X)
    shares = 0.0
    if type(regularizer) is Variational:
        unit = np.sqrt(60 * X.var(axis=0).mean())
        shares = posterior_shares(PCA(3).fit(X).singular_values_ / unit, 5)
    np.testing.assert_allclose(codes.var(axis=0) + shares, 1, atol=1e-6)


def clusters(n=300):
    """Return rows in two clusters, whose principal scores are far from normal."""
    rng = np.random.default_rng(0)
    ends = 4 * rng.integers(0, 2, (n, 1)) - 2
    return ends * np.array([1, 0.5, 0, 0]) + 0.5 * rng.standard_normal((n, 4))


def distance(model, X):
    codes = torch.from_numpy(model.transform(X)).double()
    return mmd_from_normal(codes, None).mean().item()


@quiet
@pytest.mark.parametrize("regularizer", [MMD(), Adversarial()], ids=repr)
def test_training_brings_codes_closer_to_the_prior(regularizer):
    options = {"regularizer": regularizer, "network": MLP((32,)), "batch_size": 64}
    start = quick(2, **options, max_iter=0).fit(clusters())
    model = quick(2, **options, max_iter=100, early_stopping=False).fit(clusters())
    assert distance(model, clusters()) < 0.8 * distance(start, clusters())


@quiet
def test_a_model_with_a_prior_is_kept_though_pca_reconstructs_better():
    options = {"regularizer": MMD(1000), "network": MLP((32,)), "batch_size": 64}
    start = quick(2, **options, max_iter=0).fit(clusters())
    model = quick(2, **options, early_stopping=True, max_iter=30).fit(clusters())
    assert model.best_iter_ > 0
    assert model.score(clusters()) <= start.score(clusters())
    assert distance(model, clusters()) < distance(start, clusters())
