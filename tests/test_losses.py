"""Losses are deviances, are scikit-learn's metrics, and know their derivatives."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from parts import NUMERIC_LOSSES
from sklearn import metrics
from sklearn.datasets import load_digits

from skae import MLP, AutoencoderTransformer

LINKED = ["log_loss", "brier", "poisson"]


def pairs(name, requires_grad=False):
    """Return outputs and targets inside the loss's domain, away from its kinks."""
    generator = torch.Generator().manual_seed(0)
    like = {"generator": generator, "dtype": torch.float64}
    output, target = torch.randn(6, 4, **like), torch.rand(6, 4, **like)
    if name == "huber":
        target = target * 4
    return output.requires_grad_(requires_grad), target


def reconstruction(name, output):
    return NUMERIC_LOSSES[name].reconstruction(output, 0.0, 1.0)


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_loss_of_a_perfect_reconstruction_is_zero(name):
    _, target = pairs(name)
    loss = NUMERIC_LOSSES[name]
    output = target
    if name in LINKED:
        output = torch.from_numpy(loss.link.forward(target.numpy()))
    assert_allclose(loss.elementwise(output, target), 0, atol=1e-14)
    worse = loss.elementwise(output + 0.5, target)
    assert (worse > 0).all()


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("squared_error", metrics.mean_squared_error),
        ("absolute_error", metrics.mean_absolute_error),
        ("brier", metrics.mean_squared_error),
        ("poisson", lambda y, p: metrics.mean_poisson_deviance(y, p) / 2),
    ],
)
def test_losses_equal_metrics(name, metric):
    output, target = pairs(name)
    data = reconstruction(name, output)
    loss = NUMERIC_LOSSES[name].elementwise(output, target).mean()
    assert_allclose(loss, metric(target.numpy().ravel(), data.ravel()))


@pytest.mark.parametrize(
    ("name", "metric"),
    [("log_loss", metrics.log_loss), ("brier", metrics.brier_score_loss)],
)
def test_losses_of_binary_targets_equal_metrics(name, metric):
    output, target = pairs(name)
    target = target.round()
    probability = reconstruction(name, output).ravel()
    loss = NUMERIC_LOSSES[name].elementwise(output, target).mean()
    assert_allclose(loss, metric(target.numpy().ravel(), probability))


def test_huber_bends_at_one():
    loss = NUMERIC_LOSSES["huber"].elementwise(
        torch.tensor([0.5, 1.0, 3.0]), torch.zeros(3)
    )
    assert_allclose(loss, [0.125, 0.5, 2.5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_derivative_equals_that_of_autograd(name, dtype):
    output, target = (t.detach().to(dtype) for t in pairs(name))
    output.requires_grad_()
    (wanted,) = torch.autograd.grad(
        NUMERIC_LOSSES[name].elementwise(output, target).sum(), output
    )
    out = torch.empty_like(target)
    NUMERIC_LOSSES[name].derivative(output.detach(), target, out)
    assert wanted.abs().max() > 0
    torch.testing.assert_close(out, wanted)


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_autograd_equals_finite_differences(name):
    output, target = pairs(name, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda o: NUMERIC_LOSSES[name].elementwise(o, target), (output,)
    )


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("extreme", [-60.0, 60.0])
def test_extreme_outputs_keep_loss_and_gradient_finite(name, extreme):
    output = torch.full((3,), extreme, requires_grad=True)
    loss = NUMERIC_LOSSES[name].elementwise(output, torch.tensor([0.0, 0.5, 1.0]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize("name", LINKED)
def test_link_reconstructs_the_mean_and_has_the_tangent_as_slope(name):
    link, mean = NUMERIC_LOSSES[name].link, np.array([0.2, 0.5, 0.9])
    assert_allclose(link.inverse(torch.from_numpy(link.offset(mean))), mean)
    step = 1e-6
    difference = (link.forward(mean + step) - link.forward(mean - step)) / (2 * step)
    assert_allclose(link.tangent(mean), difference, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("log_loss", 0, 1.1), ("log_loss", -0.1, 1), ("brier", 0, 2), ("poisson", -1, 3)],
)
def test_data_outside_the_domain_is_refused_with_advice(name, low, high):
    X = np.random.default_rng(0).uniform(low, high, (30, 3))
    X[0, 0], X[1, 1] = low, high
    model = AutoencoderTransformer(1, loss=name, max_iter=0)
    with pytest.raises(ValueError, match=rf"'{name}' needs data in .* Rescale X"):
        model.fit(X)


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_borders_of_the_domain_are_accepted(name):
    X = np.random.default_rng(0).integers(0, 2, (30, 3)).astype(float)
    score = AutoencoderTransformer(1, loss=name, max_iter=0).fit(X).score(X)
    assert np.isfinite(score)


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "huber"])
def test_score_is_one_for_a_perfect_reconstruction(name):
    X = np.random.default_rng(0).random((30, 3))
    model = AutoencoderTransformer(3, loss=name, max_iter=0).fit(X)
    assert model.score(X) == pytest.approx(1, abs=1e-12)
    assert_allclose(model.reconstruction_error(X), 0, atol=1e-12)


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_score_is_zero_for_the_mean(name):
    X = np.random.default_rng(0).random((30, 3))
    X[:, 1] = 0.5  # constant, so the axes of the others cannot see it
    model = AutoencoderTransformer(1, loss=name, max_iter=0).fit(X)
    with torch.no_grad():
        model.module_.decoder.axes.zero_()
    assert model.score(X) == pytest.approx(0, abs=1e-12)
    assert_allclose(model.inverse_transform([[5.0]])[0], X.mean(axis=0))


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_score_is_one_less_the_ratio_of_errors(name):
    X = np.random.default_rng(0).random((40, 4))
    weight = np.random.default_rng(1).random(40)
    model = AutoencoderTransformer(2, loss=name, max_iter=0).fit(X)
    error = weight @ model.reconstruction_error(X)
    with torch.no_grad():
        model.module_.decoder.axes.zero_()
    ratio = error / (weight @ model.reconstruction_error(X))
    model = AutoencoderTransformer(2, loss=name, max_iter=0).fit(X)
    assert 0 < ratio < 1
    assert model.score(X, sample_weight=weight) == pytest.approx(1 - ratio)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("squared_error", metrics.mean_squared_error),
        ("absolute_error", metrics.mean_absolute_error),
        ("brier", metrics.mean_squared_error),
        ("poisson", lambda y, p: metrics.mean_poisson_deviance(y, p) / 2),
    ],
)
def test_reconstruction_error_is_in_the_unit_of_the_data(name, metric):
    X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 4))
    if name not in LINKED:
        X = 100 * X
    model = AutoencoderTransformer(2, loss=name, max_iter=0).fit(X)
    back = model.inverse_transform(model.transform(X))
    entries = model.reconstruction_error(X, per_feature=True)
    assert entries.shape == X.shape
    assert entries.mean() == pytest.approx(metric(X.ravel(), back.ravel()))
    assert_allclose(model.reconstruction_error(X), entries.mean(axis=1))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_callable_loss_is_trained_and_scored_by():
    def quartic(output, target):
        return (output - target) ** 4

    X = np.random.default_rng(0).standard_normal((60, 4))
    options = {"max_iter": 30, "early_stopping": False, "random_state": 0}
    model = AutoencoderTransformer(2, loss=quartic, **options).fit(X)
    start = AutoencoderTransformer(2, loss=quartic, max_iter=0).fit(X)
    assert model.score(X) > start.score(X)
    back = start.inverse_transform(start.transform(X))
    wanted = ((X - back) / start.scale_) ** 4
    assert_allclose(start.reconstruction_error(X, per_feature=True), wanted)


@pytest.mark.parametrize("loss", ["log_loss", "brier", "poisson"])
def test_zeros_that_rounding_makes_negative_are_learned_from(loss):
    digits = load_digits().data[:100] / 16
    model = AutoencoderTransformer(4, network=MLP((16,)), loss=loss, max_iter=20)
    model.set_params(random_state=0).fit(digits)
    assert np.isfinite(model.loss_curve_).all()
    assert 0.1 < model.score(digits) < 1
    assert np.isfinite(model.reconstruction_error(digits)).all()
