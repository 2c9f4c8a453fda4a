"""Losses are deviances and equal scikit-learn's metrics."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES
from scipy import sparse
from sklearn import metrics
from sklearn.datasets import load_digits

from skae import MLP, AutoencoderTransformer, CrossEntropy
from skae.losses import LOG1P, LOSSES, StandardizedLoss, as_loss, cross_entropy

LINKED = [name for name in NUMERIC_LOSSES if hasattr(LOSSES[name], "link")]
STANDARDIZED = [name for name in NUMERIC_LOSSES if name not in LINKED]
METRICS = [
    ("squared_error", metrics.mean_squared_error),
    ("absolute_error", metrics.mean_absolute_error),
    ("brier", metrics.mean_squared_error),
    ("poisson", lambda y, p: metrics.mean_poisson_deviance(y, p) / 2),
]
UNIFORM = np.random.default_rng(0).random((40, 4))
UNIFORM.flags.writeable = False


def quartic(output, target):
    return (output - target) ** 4


def pairs(name, requires_grad=False):
    """Return outputs and targets in the domain of the loss, away from its kinks."""
    generator = torch.Generator().manual_seed(0)
    like = {"generator": generator, "dtype": torch.float64}
    output, target = torch.randn(6, 4, **like), torch.rand(6, 4, **like)
    if name == "huber":
        target = target * 4
    return output.requires_grad_(requires_grad), target


def reconstruction(name, output):
    return NUMERIC_LOSSES[name].reconstruction(output, torch.zeros(1), 1.0)


def untrained(n_components, **params):
    return AutoencoderTransformer(n_components, max_iter=0, **params)


def round_trip(model, X):
    return model.inverse_transform(model.transform(X))


# Elementwise functions.


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_loss_is_zero_for_a_perfect_reconstruction_alone(name):
    (_, target), loss = pairs(name), NUMERIC_LOSSES[name]
    output = target
    if name in LINKED:
        output = torch.from_numpy(loss.link.forward(target.numpy()))
    assert_allclose(loss.elementwise(output, target), 0, atol=1e-14)
    assert (loss.elementwise(output + 0.5, target) > 0).all()


@pytest.mark.parametrize(("name", "metric"), METRICS)
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


def test_huber_is_linear_from_one():
    residuals = torch.tensor([0.5, 1.0, 3.0])
    loss = NUMERIC_LOSSES["huber"].elementwise(residuals, torch.zeros(3))
    assert_allclose(loss, [0.125, 0.5, 2.5])


def test_cross_entropy_equals_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4 * 3, generator=generator)
    target = torch.randint(3, (5, 4), generator=generator)
    expected = torch.distributions.Categorical(logits=logits.view(5, 4, 3))
    loss = cross_entropy(logits, target.float())
    torch.testing.assert_close(loss, -expected.log_prob(target))


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_autograd_equals_finite_differences(name):
    output, target = pairs(name, requires_grad=True)
    loss = NUMERIC_LOSSES[name].elementwise
    assert torch.autograd.gradcheck(lambda o: loss(o, target), (output,))


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("extreme", [-60.0, 60.0])
def test_extreme_outputs_have_finite_loss_and_gradient(name, extreme):
    output = torch.full((3,), extreme, requires_grad=True)
    loss = NUMERIC_LOSSES[name].elementwise(output, torch.tensor([0.0, 0.5, 1.0]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(output.grad).all()


# Links.


@pytest.mark.parametrize("name", LINKED)
def test_the_inverse_link_of_the_offset_is_the_mean(name):
    link, mean = NUMERIC_LOSSES[name].link, np.array([0.2, 0.5, 0.9])
    assert_allclose(link.inverse(torch.from_numpy(link.offset(mean))), mean)


@pytest.mark.parametrize("name", LINKED)
def test_the_tangent_equals_finite_differences(name):
    link, mean, step = NUMERIC_LOSSES[name].link, np.array([0.2, 0.5, 0.9]), 1e-6
    difference = (link.forward(mean + step) - link.forward(mean - step)) / (2 * step)
    assert_allclose(link.tangent(mean), difference, rtol=1e-6)


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_linearized_outputs_reconstruct_rows_close_to_the_mean(name):
    loss, mean, scale = NUMERIC_LOSSES[name], np.array([0.2, 0.5, 0.9]), 0.3
    offset, slope = loss.linearize(mean, scale)
    inputs = np.array([[1e-4, -1e-4, 1e-4]])  # standardized
    output = torch.from_numpy(offset + slope * inputs)
    data = loss.reconstruction(output, torch.from_numpy(mean), scale).numpy()
    if loss.transform is not None:
        data, mean = loss.transform.array(data), loss.transform.array(mean)
    assert_allclose((data - mean) / scale, inputs, rtol=1e-3)


def test_the_slope_of_a_transform_is_its_derivative():
    x, step = np.array([0.0, 0.5, 20.0]), 1e-6
    difference = (LOG1P.array(x + step) - LOG1P.array(x - step)) / (2 * step)
    assert_allclose(LOG1P.slope(x), difference, rtol=1e-6)
    assert_allclose(LOG1P.tensor(torch.from_numpy(x)), LOG1P.array(x))
    assert LOG1P.array(np.zeros(1)) == 0


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_linearization_is_finite_at_the_ends_of_the_domain(name, mean):
    offset, slope = NUMERIC_LOSSES[name].linearize(np.array([mean]), 1.0)
    assert np.isfinite(offset).all()
    assert 0 < slope < 1100


@pytest.mark.parametrize("name", LINKED)
def test_targets_are_clipped_to_the_domain(name):
    loss = NUMERIC_LOSSES[name]
    target = loss.target(torch.tensor([[-1e-9]]), 0.0, 1.0)
    assert_array_equal(target, [[0.0]])


# Objects.


def test_cross_entropy_alone_has_a_vocabulary():
    assert {name for name, loss in LOSSES.items() if loss.vocabulary is not None} == {
        "cross_entropy"
    }
    assert CrossEntropy(n_tokens=7).vocabulary == 7


def test_callables_are_losses_of_standardized_data():
    assert as_loss(quartic) == StandardizedLoss(quartic)


def test_invalid_parameters_raise():
    with pytest.raises(ValueError, match="'n_tokens' parameter of CrossEntropy"):
        as_loss(CrossEntropy(n_tokens=0))


# Scores of estimators.


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_data_at_the_ends_of_the_domain_have_a_finite_score(name):
    X = np.random.default_rng(0).integers(0, 2, (30, 3)).astype(float)
    assert np.isfinite(untrained(1, loss=name).fit(X).score(X))


@pytest.mark.parametrize("name", STANDARDIZED)
def test_score_is_one_for_a_perfect_reconstruction(name):
    model = untrained(4, loss=name).fit(UNIFORM)
    assert model.score(UNIFORM) == pytest.approx(1, abs=1e-12)
    assert_allclose(model.reconstruction_error(UNIFORM), 0, atol=1e-12)


def without_components(model):
    """Return the model with the mean as reconstruction of all rows."""
    with torch.no_grad():
        model.module_.decoder.axes.zero_()
    return model


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_score_is_zero_for_the_mean(name):
    X = UNIFORM.copy()
    X[:, 1] = 0.5  # no axis contains a constant column
    model = without_components(untrained(1, loss=name).fit(X))
    assert model.score(X) == pytest.approx(0, abs=1e-12)
    assert_allclose(model.inverse_transform([[5.0]])[0], X.mean(axis=0))


@pytest.mark.parametrize("name", NUMERIC_LOSSES)
def test_score_is_one_minus_the_ratio_of_errors(name):
    weight = np.random.default_rng(1).random(40)
    model = untrained(2, loss=name).fit(UNIFORM)
    score = model.score(UNIFORM, sample_weight=weight)
    error = weight @ model.reconstruction_error(UNIFORM)
    null = weight @ without_components(model).reconstruction_error(UNIFORM)
    assert 0 < error < null
    assert score == pytest.approx(1 - error / null)


@pytest.mark.parametrize(("name", "metric"), METRICS)
def test_reconstruction_error_is_in_the_unit_of_the_data(name, metric):
    X = UNIFORM if name in LINKED else 100 * UNIFORM
    model = untrained(2, loss=name).fit(X)
    entries = model.reconstruction_error(X, per_feature=True)
    expected = metric(X.ravel(), round_trip(model, X).ravel())
    assert entries.mean() == pytest.approx(expected)
    assert_allclose(model.reconstruction_error(X), entries.mean(axis=1))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_improves_a_callable_loss():
    X = np.random.default_rng(0).standard_normal((60, 4))
    options = {"early_stopping": False, "random_state": 0, "loss": quartic}
    model = AutoencoderTransformer(2, max_iter=30, **options).fit(X)
    assert model.score(X) > untrained(2, loss=quartic).fit(X).score(X)


def test_error_of_a_callable_loss_is_in_standardized_units():
    model = untrained(2, loss=quartic).fit(UNIFORM)
    expected = quartic(round_trip(model, UNIFORM), UNIFORM) / model.scale_**4
    entries = model.reconstruction_error(UNIFORM, per_feature=True)
    assert_allclose(entries, expected)


@pytest.mark.parametrize("loss", LINKED)
def test_training_handles_zeros_that_rounding_makes_negative(loss):
    digits = load_digits().data[:100] / 16
    model = AutoencoderTransformer(4, network=MLP((16,)), loss=loss, max_iter=20)
    model.set_params(random_state=0).fit(digits)
    assert np.isfinite(model.loss_curve_).all()
    assert 0.1 < model.score(digits) < 1
    assert np.isfinite(model.reconstruction_error(digits)).all()


@pytest.mark.parametrize(("loss", "binary"), [("poisson", False), ("log_loss", True)])
def test_training_on_sparse_counts_beats_the_start_on_unseen_rows(loss, binary):
    random = np.random.default_rng(0)
    topics = random.dirichlet(np.full(300, 0.05), 4)
    shares = random.dirichlet(np.full(4, 0.2), 700)
    X = random.poisson(30 * shares @ topics).astype(float)
    X = sparse.csr_array((X > 0).astype(float) if binary else X)
    model = AutoencoderTransformer(3, loss=loss, random_state=0).fit(X[:500])
    start = untrained(3, loss=loss).fit(X[:500])
    assert model.score(X[500:]) > max(0.05, start.score(X[500:]) + 0.02)
