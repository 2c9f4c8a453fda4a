"""The variational code: its divergence, its bound and its start at PCA."""

import numpy as np
import pytest
import torch
from parts import built, codes_of, generator, quick
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from torch.distributions import Normal, kl_divergence

from skae import MLP, AutoencoderTransformer, Variational
from skae.regularizers._variational import normal_kl, posterior_shares
from skae.training._objective import Objective


def test_divergence_from_the_prior_is_that_of_torch():
    mean, log_var = codes_of(), codes_of() - 1
    posterior = Normal(mean, (log_var / 2).exp())
    expected = kl_divergence(posterior, Normal(torch.zeros(3).double(), 1.0))
    torch.testing.assert_close(normal_kl(mean, log_var), expected.sum(dim=1))


def test_divergence_of_the_prior_is_zero():
    assert normal_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]


def test_draws_have_the_posteriors_mean_and_variance():
    posterior, codes = built(Variational(n_samples=20_000)), codes_of(4)
    draws = posterior.training_codes(codes, generator()).unflatten(0, (20_000, 4))
    variance = posterior.log_var(codes).exp()
    torch.testing.assert_close(draws.mean(dim=0), codes, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.var(dim=0), variance, rtol=0.05, atol=0)


def test_validation_has_the_same_pairs_of_opposite_draws_at_each_call():
    posterior, codes = built(Variational()), codes_of()
    first, again = (posterior.validation_codes(codes) for _ in range(2))
    assert all(map(torch.equal, first, again))
    torch.testing.assert_close(first[0] + first[1], 2 * codes)
    torch.testing.assert_close(first[2] + first[3], 2 * codes)
    assert not torch.equal(first[0], first[2])


def test_codes_are_in_the_unit_of_the_prior_and_decoded_in_that_of_the_networks():
    posterior, outputs = built(Variational()), codes_of()
    codes = posterior.code(outputs)
    assert not torch.allclose(codes, outputs)
    torch.testing.assert_close(posterior.decoder_input(codes), outputs)


D, BETA = 5, 2  # features, weight of the divergence


def bound(posterior, codes, losses):
    """Return the bound of a Gaussian decoder with the best noise variance."""
    kl = normal_kl(codes, posterior.log_var(codes)).mean()
    return D / 2 * losses.mean().log() + BETA * kl


def losses_of(codes):
    decoder = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    return codes.detach().square().mean(dim=1) + (codes @ decoder).square()


def test_gradient_is_that_of_the_evidence_lower_bound():
    posterior, codes = built(Variational(beta=BETA), D), codes_of().requires_grad_()
    losses = losses_of(codes)
    penalty = posterior.batch_penalty(codes, losses.detach(), None, None)
    in_units_of_loss = 2 * losses.mean().detach() / D
    objectives = (losses + penalty).mean(), bound(posterior, codes, losses)
    inputs = [codes, posterior.log_var_offset]
    found, expected = (
        torch.autograd.grad(objective, inputs, retain_graph=True)
        for objective in objectives
    )
    for gradient, of_bound in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, in_units_of_loss * of_bound)


def test_validation_loss_is_the_bound_in_units_of_the_loss():
    posterior, codes = built(Variational(beta=BETA), D), codes_of()
    losses = losses_of(codes)
    found = posterior.validation_loss(codes, losses, None, None).mean()
    expected = (2 / D * bound(posterior, codes, losses)).exp()
    torch.testing.assert_close(found, expected)


def test_parts_of_the_bound_are_what_it_changes_by_without_a_row():
    posterior, codes = built(Variational()), codes_of(200)
    losses = codes.square().mean(dim=1)
    parts = posterior.validation_loss(codes, losses, None, None)
    without = posterior.validation_loss(codes[1:], losses[1:], None, None).mean()
    assert parts[1:].mean().item() == pytest.approx(without.item(), rel=1e-3)


def test_bound_of_a_huge_divergence_is_finite():
    posterior = built(Variational(beta=1e6))
    parts = posterior.validation_loss(codes_of(), torch.ones(12).double(), None, None)
    assert parts.isfinite().all()


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 1.0])
def test_beta_warms_up_with_the_planned_epochs(progress):
    posterior = built(Variational(warm_up=0.5))
    args = codes_of(), torch.ones(12).double(), None, None
    full = posterior.batch_penalty(*args)
    posterior.set_progress(progress)
    expected = min(1.0, progress / 0.5) * full
    torch.testing.assert_close(posterior.batch_penalty(*args), expected)


def test_posterior_starts_with_the_variances_of_probabilistic_pca():
    shares = posterior_shares(np.array([2.0, 1.0, 0.5, 0.0]), n_features=9)
    noise = (9 - 5.25) / 5
    # At most 1/2, but 1 for a component without variance
    np.testing.assert_allclose(shares, [noise / 4, 0.5, 0.5, 1.0])


def test_posterior_starts_with_a_variance_where_pca_leaves_none_out():
    np.testing.assert_allclose(posterior_shares(np.ones(4), 4), 1e-4)


@pytest.fixture(scope="module")
def at_start(digits):
    """A model before training, PCA, and its shares of noise in the components."""
    model = AutoencoderTransformer(
        5, regularizer=Variational(), max_iter=0, precision="float64"
    ).fit(digits)
    pca = PCA(5, svd_solver="full").fit(digits)
    variances = pca.explained_variance_ * 119 / 120
    noise = (digits.var(axis=0).sum() - variances.sum()) / (64 - 5)
    return model, pca, noise / variances


def test_training_starts_at_the_posterior_mean_of_probabilistic_pca(at_start, digits):
    model, pca, shares = at_start
    deviations = np.sqrt(pca.explained_variance_ * 119 / 120)
    expected = pca.transform(digits) * np.sqrt(1 - shares) / deviations
    np.testing.assert_allclose(model.transform(digits), expected, atol=1e-6)


def test_training_starts_at_the_posterior_variance_of_probabilistic_pca(
    at_start, digits
):
    model, _, shares = at_start
    codes = model.transform(digits)
    log_var = model.module_.regularizer.log_var(torch.from_numpy(codes))
    variances = log_var.detach().exp().numpy()
    np.testing.assert_allclose(variances, np.tile(shares, (120, 1)), rtol=1e-6)
    moments = np.square(codes).mean(axis=0) + variances[0]
    np.testing.assert_allclose(moments, 1, rtol=1e-6)  # as those of the prior


def test_training_starts_at_the_reconstruction_of_probabilistic_pca(at_start, digits):
    model, pca, shares = at_start
    found = model.inverse_transform(model.transform(digits))
    expected = pca.inverse_transform(pca.transform(digits) * (1 - shares))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_linear_model_has_no_gradient_at_probabilistic_pca(digits):
    """The optimum of the bound for linear maps (Lucas et al. 2019)."""
    model = AutoencoderTransformer(
        3, regularizer=Variational(n_samples=1000), network=MLP(()), max_iter=0,
        precision="float64",
    ).fit(digits)  # fmt: skip
    module = model.module_.requires_grad_(True)
    x = torch.from_numpy((digits - model.mean_) / model.scale_)
    objective = Objective(module, model.mean_, model.scale_, 0, torch.float64)
    objective.loss(x, None).backward()
    loss = objective.loss(x, None).item()
    offset = module.regularizer.log_var_offset
    for parameter in (module.encoder.axes, module.decoder.axes, offset):
        relative = parameter.grad.abs().max() * parameter.abs().max() / loss
        assert relative < 0.02


@pytest.mark.slow
def test_variational_codes_stay_active_and_reconstruct(global_random_seed):
    seed = global_random_seed
    X_train, X_test = train_test_split(load_digits().data, random_state=seed)
    models = [
        AutoencoderTransformer(8, regularizer=part, random_state=seed).fit(X_train)
        for part in (None, Variational())
    ]
    plain, variational = (model.score(X_test) for model in models)
    assert models[1].n_active_components_ == 8
    assert variational > plain - 0.05
    codes = models[1].transform(X_test)
    assert 0.7 < codes.std(axis=0).min() < codes.std(axis=0).max() < 1.3


def test_a_collapsed_code_warns_with_what_to_change(digits):
    model = quick(4, regularizer=Variational(beta=1e4), max_iter=150, batch_size=16)
    with pytest.warns(ConvergenceWarning, match="Lower the regularizer's beta"):
        model.set_params(learning_rate=0.03, early_stopping=False).fit(digits)
    assert model.n_active_components_ == 0


def test_constant_rows_do_not_warn_of_a_collapsed_code():
    model = quick(2, regularizer=Variational()).fit(np.ones((30, 4)))
    assert model.n_active_components_ == 0
