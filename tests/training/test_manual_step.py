"""The manual step has the loss and the gradient of autograd."""

import numpy as np
import pytest
import torch
from parts import NOISES, NUMERIC_LOSSES, REGULARIZERS
from runs import data_of, start
from torch import nn

from skae import MLP, AutoencoderTransformer
from skae.networks._layers import ACTIVATIONS
from skae.networks._mlp import FullyConnected
from skae.training import _manual_step
from skae.training._manual_step import Buffer, ManualGradient, lay_out

RNG = np.random.default_rng(0)
X = RNG.random((23, 7))
WEIGHT = RNG.uniform(0.5, 1.5, 23)
WEIGHT /= WEIGHT.mean()
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
MANUAL_LOSSES = [
    name
    for name, loss in NUMERIC_LOSSES.items()
    if loss.elementwise in _manual_step.DERIVATIVES
]
MANUAL_ACTIVATIONS = [
    name for name, cls in ACTIVATIONS.items() if cls in _manual_step.ACTIVATIONS
]


def trainer_of(weight=None, **params):
    """Return the trainer of a small model, moved away from its start."""
    params = {"network": MLP((5,)), "early_stopping": False, "max_iter": 3} | params
    trainer = start(data_of(X, weight), n_components=3, **params).trainer
    generator = torch.Generator().manual_seed(0)
    values = trainer.flat.values
    values.add_(torch.randn(values.shape, generator=generator), alpha=0.1)
    trainer.objective.model.train()
    return trainer


def loss_and_gradient(trainer, gradient, batch):
    """Return the loss of a batch and its gradient."""
    trainer.flat.gradient.fill_(np.nan)  # shows entries that are not written
    trainer.objective.generator.manual_seed(0)
    return gradient(*batch).item(), trainer.flat.gradient.clone()


def manual_and_autograd(trainer):
    """Return loss and gradient of all rows, by both ways."""
    assert isinstance(trainer.gradient, ManualGradient)
    (batch,) = trainer.batches.shuffled(1, None)
    ways = (trainer.gradient, trainer.autograd)
    return [loss_and_gradient(trainer, way, batch) for way in ways]


def assert_same(trainer, tolerance):
    (loss, gradient), (expected_loss, expected) = manual_and_autograd(trainer)
    assert expected.abs().max() > 0
    assert loss == pytest.approx(expected_loss, rel=tolerance)
    assert (gradient - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("activation", MANUAL_ACTIVATIONS)
def test_gradient_is_that_of_autograd_for_every_activation(activation, precision):
    network = MLP((6, 4), activation=activation)
    for loss in MANUAL_LOSSES:
        trainer = trainer_of(network=network, loss=loss, precision=precision)
        assert_same(trainer, TOLERANCE[precision])


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["none", "some"])
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("loss", MANUAL_LOSSES)
def test_gradient_is_that_of_autograd_for_every_loss_and_weight(loss, init, weight):
    for sizes in [(), (5,)]:
        trainer = trainer_of(weight, network=MLP(sizes), init=init, loss=loss)
        assert_same(trainer, 1e-8)


def test_weights_change_the_gradient():
    (_, gradient), _ = manual_and_autograd(trainer_of())
    (_, weighted), _ = manual_and_autograd(trainer_of(WEIGHT))
    assert (gradient - weighted).abs().max() > 1e-3 * gradient.abs().max()


def rolled(batch):
    return batch.roll(1, 0)


@pytest.mark.parametrize("noise", [*NOISES, rolled], ids=[*map(str, NOISES), "own"])
def test_gradient_is_that_of_autograd_with_noise(noise):
    assert_same(trainer_of(noise=noise), 1e-8)


@pytest.mark.parametrize("params", [{}, {"init": "random"}, {"loss": "log_loss"}])
def test_bfloat16_products_give_the_gradient_to_two_digits(params, bfloat16):
    options = {"network": MLP((32, 16)), "precision": "bfloat16"} | params
    trainer = trainer_of(**options)
    assert trainer.flat.values.dtype == torch.float32
    (loss, gradient), (_, by_autograd) = manual_and_autograd(trainer)
    exact = trainer_of(**options | {"precision": "float32"})
    _, (expected_loss, expected) = manual_and_autograd(exact)
    assert loss == pytest.approx(expected_loss, rel=0.02)
    for found in (gradient, by_autograd):
        assert not torch.equal(found, expected)
        assert (found - expected).norm() <= 0.02 * expected.norm()


def test_batches_of_several_sizes_use_memory_of_their_own():
    trainer = trainer_of()
    for n_batches in (1, 2, 3, 1):
        for batch in trainer.batches.shuffled(n_batches, torch.Generator()):
            _, gradient = loss_and_gradient(trainer, trainer.gradient, batch)
            _, expected = loss_and_gradient(trainer, trainer.autograd, batch)
            torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)


def two_networks(n_features, n_components, n_samples):
    return nn.Linear(n_features, n_components), nn.Linear(n_components, n_features)


def shared(n_features, n_components, n_samples):
    encoder, decoder = MLP((5, 5))(n_features, n_components, n_samples)
    decoder.hidden[1] = encoder.hidden[1]
    return encoder, decoder


def reparametrized(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    nn.utils.parametrizations.weight_norm(encoder.hidden[0])
    return encoder, decoder


def frozen(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    encoder.hidden[0].requires_grad_(False)
    return encoder, decoder


class Negative(FullyConnected):
    def forward(self, x):
        return -super().forward(x)


def of_a_subclass(n_features, n_components, n_samples):
    return Negative([n_features, n_components], "relu", 0.0), Negative(
        [n_components, n_features], "relu", 0.0
    )


UNSUPPORTED = {
    "dropout": {"network": MLP((5,), dropout=0.2)},
    "an activation": {"network": MLP((5,), activation="selu")},
    "an own network": {"network": two_networks},
    "shared weights": {"network": shared},
    "a reparametrized layer": {"network": reparametrized},
    "frozen weights": {"network": frozen},
    "a subclass": {"network": of_a_subclass},
    "an own loss": {"loss": lambda output, target: (output - target) ** 4},
    "noise from torch": {"noise": lambda x: x + 0.1 * torch.randn_like(x)},
    **{repr(part): {"regularizer": part} for part in REGULARIZERS},
}


@pytest.mark.parametrize("params", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_parts_are_trained_by_autograd(params):
    trainer = trainer_of(**params)
    assert trainer.gradient == trainer.autograd


def test_modules_without_a_rule_raise():
    with pytest.raises(TypeError, match="Conv1d, which has no manual gradient"):
        lay_out(nn.Conv1d(1, 1, 1), Buffer(torch.zeros(1, 1), None))


FITS = {
    "default": {},
    "random": {"init": "random"},
    "huber": {"loss": "huber"},
    "poisson": {"loss": "poisson"},
    "tanh": {"network": MLP((5,), activation="tanh")},
    "noise": {"noise": NOISES[0]},
    "lbfgs": {"solver": "lbfgs", "max_iter": 3},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("params", FITS.values(), ids=FITS)
def test_without_the_manual_step_fits_are_the_same(params, monkeypatch):
    defaults = {"network": MLP((5,)), "max_iter": 6, "random_state": 0, "alpha": 0}
    params = defaults | params
    model = AutoencoderTransformer(3, early_stopping=False, **params)
    codes, curve = model.fit_transform(X, sample_weight=WEIGHT), model.loss_curve_
    monkeypatch.setattr(_manual_step, "manual_gradient", lambda objective: None)
    expected = model.fit_transform(X, sample_weight=WEIGHT)
    np.testing.assert_allclose(codes, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(curve, model.loss_curve_, rtol=1e-9)
