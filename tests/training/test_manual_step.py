"""The manual step equals autograd's, and fits without it are the same."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from parts import NOISES, NUMERIC_LOSSES, REGULARIZERS, generator, quick
from runs import data_of, start
from torch import nn

from skae import MLP, Contractive, Modules, Regularizer
from skae.networks._layers import ACTIVATIONS
from skae.training import _manual_step
from skae.training._manual_step import DERIVATIVES, ManualGradient, loss_and_grad
from skae.training._optimizers import SOLVERS

RNG = np.random.default_rng(0)
X = RNG.random((23, 7))
WEIGHT = RNG.uniform(0.5, 1.5, 23)
WEIGHT /= WEIGHT.mean()
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
MANUAL_LOSSES = [
    name for name, loss in NUMERIC_LOSSES.items() if loss.elementwise in DERIVATIVES
]
MANUAL_ACTIVATIONS = [
    name for name, kind in ACTIVATIONS.items() if kind in _manual_step.ACTIVATIONS
]

each_init = pytest.mark.parametrize("init", ["pca", "random"])
each_loss = pytest.mark.parametrize("loss", MANUAL_LOSSES)
each_activation = pytest.mark.parametrize("activation", MANUAL_ACTIVATIONS)
each_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["none", "some"])


def trainer_of(weight=None, **params):
    """Return the trainer of a small model, moved away from its start."""
    params = {"network": MLP((5,)), "n_components": 3} | params
    trainer = start(data_of(X, weight), early_stopping=False, **params).trainer
    values = trainer.flat.values
    values.add_(torch.randn(values.shape, generator=generator()), alpha=0.1)
    trainer.objective.model.train()
    return trainer


def manual_and_autograd(trainer, batch=None):
    """Return loss and gradient of a batch, by the manual step and by autograd."""
    assert isinstance(trainer.gradient, ManualGradient)
    batch = batch or next(trainer.batches.shuffled(1, None))
    results = []
    for gradient in (trainer.gradient, trainer.autograd):
        trainer.flat.gradient.fill_(np.nan)  # which shows what is not written
        trainer.objective.generator.manual_seed(0)
        results.append((gradient(*batch).item(), trainer.flat.gradient.clone()))
    return results


def assert_equal(trainer, tolerance=1e-8, batch=None):
    (loss, gradient), (expected_loss, expected) = manual_and_autograd(trainer, batch)
    assert expected.abs().max() > 0
    assert loss == pytest.approx(expected_loss, rel=tolerance)
    assert (gradient - expected).abs().max() <= tolerance * expected.abs().max()


# Loss and gradient of a batch.


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives_of_losses_equal_autograds(loss, dtype):
    output = torch.randn(6, 4, generator=generator()).to(dtype).requires_grad_()
    target = 4 * torch.rand(6, 4, generator=generator(1)).to(dtype)
    elementwise = NUMERIC_LOSSES[loss].elementwise
    (expected,) = torch.autograd.grad(elementwise(output, target).sum(), output)
    out = torch.full_like(target, torch.nan)
    DERIVATIVES[elementwise](output.detach(), target, out)
    torch.testing.assert_close(out, expected)


@each_loss
@each_weight
def test_gradient_of_the_mean_loss_equals_autograds(loss, weight):
    output = torch.randn(23, 4, generator=generator()).double().requires_grad_()
    target = torch.rand(23, 4, generator=generator(1)).double()
    weights = None if weight is None else torch.from_numpy(weight)
    elementwise, grad = NUMERIC_LOSSES[loss].elementwise, torch.empty_like(target)
    found = loss_and_grad(elementwise, output.detach(), target, weights, grad)
    losses = elementwise(output, target).mean(dim=1)
    expected = (losses if weight is None else weights * losses).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(grad, *torch.autograd.grad(expected, output))


@pytest.mark.parametrize("precision", TOLERANCE)
@each_activation
@each_loss
def test_gradient_equals_autograds_for_every_activation(activation, loss, precision):
    network = MLP((6, 4), activation=activation)
    trainer = trainer_of(network=network, loss=loss, precision=precision)
    assert_equal(trainer, TOLERANCE[precision])


@each_weight
@each_init
@each_loss
@pytest.mark.parametrize("sizes", [(), (5,), (6, 5, 4)], ids=str)
def test_gradient_equals_autograds_for_every_size(sizes, loss, init, weight):
    assert_equal(trainer_of(weight, network=MLP(sizes), init=init, loss=loss))


def test_weights_change_the_gradient():
    (_, plain), _ = manual_and_autograd(trainer_of())
    (_, weighted), _ = manual_and_autograd(trainer_of(WEIGHT))
    assert (plain - weighted).abs().max() > 1e-3 * plain.abs().max()


def reverse(batch):
    return batch.flip(1)


each_noise = pytest.mark.parametrize(
    "noise", [*NOISES, reverse], ids=[*map(repr, NOISES), "callable"]
)


@each_init
@each_noise
def test_gradient_equals_autograds_under_noise(noise, init):
    (loss, _), _ = manual_and_autograd(trainer_of(init=init))
    noisy = trainer_of(noise=noise, init=init)
    assert_equal(noisy)
    assert manual_and_autograd(noisy)[0][0] != loss


@each_init
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_bfloat16_products_give_the_gradient_to_two_digits(loss, init, bfloat16):
    options = {"network": MLP((32, 16)), "init": init, "loss": loss}
    mixed = trainer_of(precision="bfloat16", **options)
    assert mixed.flat.values.dtype == torch.float32
    exact = trainer_of(precision="float32", **options)
    _, (expected_loss, expected) = manual_and_autograd(exact)
    for found_loss, gradient in manual_and_autograd(mixed):
        assert found_loss == pytest.approx(expected_loss, rel=0.02)
        assert not torch.equal(gradient, expected)
        assert (gradient - expected).norm() <= 0.02 * expected.norm()


def test_batches_of_several_sizes_may_alternate():
    trainer = trainer_of()
    for n_batches in (1, 2, 3, 1):
        for batch in trainer.batches.shuffled(n_batches, generator()):
            assert_equal(trainer, batch=batch)
    assert set(trainer.gradient.steps) == {23, 12, 11, 8, 7}


# Fits without the manual step.


def fits(monkeypatch, weight=None, **params):
    """Return the same fit with the manual step, and without it."""
    options = {"max_iter": 15, "precision": "float64", "early_stopping": False}
    options |= {"network": MLP((5,)), "batch_size": 10} | params
    manual = quick(**options).fit(X, sample_weight=weight)
    monkeypatch.setattr(_manual_step, "manual_gradient", lambda objective: None)
    return manual, quick(**options).fit(X, sample_weight=weight)


def assert_same_fit(manual, autograd):
    assert_allclose(manual.loss_curve_, autograd.loss_curve_, rtol=1e-9)
    close = {"rtol": 1e-6, "atol": 1e-8}
    assert_allclose(manual.transform(X), autograd.transform(X), **close)


quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@quiet
@each_activation
def test_fits_do_not_depend_on_the_manual_step_for_any_activation(
    activation, monkeypatch
):
    network = MLP((6, 4), activation=activation)
    assert_same_fit(*fits(monkeypatch, network=network))


@quiet
@each_weight
@each_init
@each_loss
def test_fits_do_not_depend_on_the_manual_step(loss, init, weight, monkeypatch):
    assert_same_fit(*fits(monkeypatch, weight, loss=loss, init=init))


@quiet
@each_noise
def test_fits_under_noise_do_not_depend_on_the_manual_step(noise, monkeypatch):
    assert_same_fit(*fits(monkeypatch, noise=noise))


@quiet
@pytest.mark.parametrize("solver", SOLVERS)
def test_fits_by_any_solver_do_not_depend_on_the_manual_step(solver, monkeypatch):
    assert_same_fit(*fits(monkeypatch, solver=solver, batch_size="auto", max_iter=3))


def test_fits_without_the_manual_step_use_autograd(monkeypatch):
    monkeypatch.setattr(_manual_step, "manual_gradient", lambda objective: None)
    trainer = trainer_of()
    assert trainer.gradient == trainer.autograd


# What the manual step does not support.


def linear_maps(n_features, n_components, n_samples):
    return nn.Linear(n_features, n_components), nn.Linear(n_components, n_features)


def shared_layer(n_features, n_components, n_samples):
    encoder, decoder = MLP((5, 5))(n_features, n_components, n_samples)
    decoder.hidden[1] = encoder.hidden[1]
    return encoder, decoder


def weight_norm(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    nn.utils.parametrizations.weight_norm(encoder.hidden[0])
    return encoder, decoder


def other_activation(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    encoder.activation = nn.Hardtanh()
    return encoder, decoder


def frozen_layer(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    encoder.hidden[0].requires_grad_(False)
    return encoder, decoder


class Doubled(nn.Linear):
    """A subclass of a supported module that computes something else."""

    def forward(self, x):
        return 2 * super().forward(x)


def subclass(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    encoder.output = Doubled(5, n_components)
    return encoder, decoder


def quartic(output, target):
    return (output - target) ** 4


def global_noise(batch):
    return batch + 0.1 * torch.randn_like(batch)


UNSUPPORTED = {
    "dropout": {"network": MLP((5,), dropout=0.2)},
    "another activation": {"network": MLP((5,), activation="selu")},
    "a callable network": {"network": linear_maps},
    "modules": {"network": Modules(nn.Linear(7, 3), nn.Linear(3, 7))},
    "a shared layer": {"network": shared_layer},
    "a parametrized layer": {"network": weight_norm},
    "a replaced activation": {"network": other_activation},
    "a frozen layer": {"network": frozen_layer},
    "a subclass of a layer": {"network": subclass},
    "a callable loss": {"loss": quartic},
    "noise from torch's global generator": {"noise": global_noise},
    "a callable regularizer": {"regularizer": lambda codes: codes.square().mean(1)},
    "a no-op with a hook": {"regularizer": type("Own", (Regularizer,), {})()},
}
PENALIZED = {repr(part): {"regularizer": part} for part in REGULARIZERS}


@pytest.mark.parametrize(
    "params",
    [*UNSUPPORTED.values(), *PENALIZED.values()],
    ids=[*UNSUPPORTED, *PENALIZED],
)
def test_unsupported_parts_use_autograd(params):
    trainer = trainer_of(**params)
    assert trainer.gradient == trainer.autograd


@quiet
@pytest.mark.parametrize("params", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_parts_are_trained(params):
    options = {"max_iter": 40, "early_stopping": False, "init": "random"}
    model = quick(**(options | params)).fit(X)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize("regularizer", [Contractive(0), None], ids=str)
def test_regularizers_of_strength_zero_use_the_manual_step(regularizer):
    assert isinstance(trainer_of(regularizer=regularizer).gradient, ManualGradient)


def test_models_with_dropped_components_use_autograd():
    objective = trainer_of().objective
    objective.model.n_dropped = 1
    assert _manual_step.manual_gradient(objective) is None


def test_modules_without_operations_raise():
    with pytest.raises(TypeError, match="Got Conv1d, which has no manual gradient"):
        _manual_step.lay_out(nn.Conv1d(1, 1, 1), None)
