"""The written-out step has autograd's loss and gradient, whatever the parts."""

import numpy as np
import pytest
import torch
from parts import NOISES, NUMERIC_LOSSES, REGULARIZERS
from torch import nn

from skae import MLP, AutoencoderTransformer, Contractive, Ordered
from skae.data._layout import NumericLayout
from skae.data._validation import TrainingData
from skae.training._fit import Fit, choose
from skae.training._manual_step import BY_HAND, WrittenGradient

RNG = np.random.default_rng(0)
X = RNG.random((23, 7))
WEIGHT = RNG.uniform(0.5, 1.5, 23)
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}


class Both(Ordered):
    """Components in order of importance, and a penalty."""

    def penalty(self, codes):
        return 0.1 * codes.abs().sum(dim=1)


def table_of(weight=None):
    return TrainingData(X, NumericLayout(X.shape[1:]), weight)


def trainer_of(*, table=None, **params):
    """Return the trainer of a small model, moved away from its start."""
    params = {"network": MLP((5,)), "early_stopping": False, "max_iter": 3} | params
    table = table or table_of()
    estimator = AutoencoderTransformer(3, **params)
    trainer = Fit(table, choose(estimator, table, seed=1)).start().trainer
    generator = torch.Generator().manual_seed(0)
    values = trainer.flat.values
    values.add_(torch.randn(values.shape, generator=generator), alpha=0.1)
    trainer.objective.model.train()
    return trainer


def written_and_differentiated(trainer):
    """Return loss and gradient of one batch, by both ways."""
    assert isinstance(trainer.gradient, WrittenGradient)
    (batch,) = trainer.batches.shuffled(1, None)
    results = []
    for way in (trainer.gradient, trainer.differentiate):
        trainer.flat.gradient.fill_(np.nan)  # whatever is not written shows
        trainer.objective.generator.manual_seed(0)
        results.append((way(*batch).item(), trainer.flat.gradient.clone()))
    return results


def assert_same(trainer, tolerance):
    (loss, gradient), (wanted_loss, wanted) = written_and_differentiated(trainer)
    assert wanted.abs().max() > 0
    assert loss == pytest.approx(wanted_loss, rel=tolerance)
    assert (gradient - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("activation", BY_HAND)
def test_gradient_equals_autograds_for_every_activation_and_loss(activation, precision):
    network = MLP((6, 4), activation=activation)
    for loss in NUMERIC_LOSSES:
        trainer = trainer_of(network=network, loss=loss, precision=precision)
        assert_same(trainer, TOLERANCE[precision])


@pytest.mark.parametrize("weight", [None, WEIGHT / WEIGHT.mean()], ids=["none", "some"])
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_gradient_equals_autograds_for_every_init_and_weight(loss, init, weight):
    table = table_of(weight)
    for sizes in [(), (5,)]:
        trainer = trainer_of(table=table, network=MLP(sizes), init=init, loss=loss)
        assert_same(trainer, 1e-8)


def test_weights_change_the_gradient():
    plain = trainer_of()
    weighted = trainer_of(table=table_of(WEIGHT / WEIGHT.mean()))
    (_, gradient), _ = written_and_differentiated(plain)
    (_, other), _ = written_and_differentiated(weighted)
    assert (gradient - other).abs().max() > 1e-3 * gradient.abs().max()


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_noise_from_the_generator_is_written_out(noise):
    trainer = trainer_of(noise=noise)
    generator, gradients = trainer.objective.generator, []
    (batch,) = trainer.batches.shuffled(1, None)
    for way in (trainer.gradient, trainer.differentiate):
        generator.manual_seed(5)
        way(*batch)
        gradients.append(trainer.flat.gradient.clone())
    assert isinstance(trainer.gradient, WrittenGradient)
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("init", ["pca", "random"])
def test_gradient_equals_autograds_under_noise(init):
    trainer = trainer_of(noise=lambda batch: batch.roll(1, 0), init=init)
    assert_same(trainer, 1e-8)


OF_CODES = [part for part in REGULARIZERS if part != Contractive(0.1)]
OF_CODES += [Both(), lambda codes: codes.square().mean(dim=1)]


@pytest.mark.parametrize("weight", [None, WEIGHT / WEIGHT.mean()], ids=["none", "some"])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("regularizer", OF_CODES, ids=repr)
def test_gradient_equals_autograds_with_a_regularizer(regularizer, loss, weight):
    trainer = trainer_of(table=table_of(weight), regularizer=regularizer, loss=loss)
    assert_same(trainer, 1e-8)


PARTS = {
    "plain": {},
    "without a linear path": {"init": "random"},
    "a regularizer": {"regularizer": Both()},
    "a linked loss": {"loss": "log_loss"},
}


@pytest.mark.parametrize("params", PARTS.values(), ids=PARTS.keys())
def test_bfloat16_products_give_the_gradient_to_three_digits(params, bfloat16):
    options = {"network": MLP((32, 16)), "precision": "bfloat16"} | params
    trainer = trainer_of(**options)
    assert trainer.flat.values.dtype == torch.float32
    (loss, gradient), (_, lowered) = written_and_differentiated(trainer)
    exact = trainer_of(**options | {"precision": "float32"})
    _, (wanted_loss, wanted) = written_and_differentiated(exact)
    assert loss == pytest.approx(wanted_loss, rel=0.02)
    for found in (gradient, lowered):
        assert not torch.equal(found, wanted)
        assert (found - wanted).norm() <= 0.02 * wanted.norm()


def test_memory_serves_batches_of_several_sizes_in_turn():
    trainer = trainer_of()
    for n_batches in (1, 2, 3, 1):
        for batch in trainer.batches.shuffled(n_batches, torch.Generator()):
            trainer.gradient(*batch)
            gradient = trainer.flat.gradient.clone()
            trainer.differentiate(*batch)
            torch.testing.assert_close(
                gradient, trainer.flat.gradient, rtol=1e-8, atol=0
            )


def two_networks(n_features, n_components, n_samples):
    return nn.Linear(n_features, n_components), nn.Linear(n_components, n_features)


UNWRITTEN = {
    "dropout": {"network": MLP((5,), dropout=0.2)},
    "a penalty on the encoder": {"regularizer": Contractive(0.1)},
    "an activation that is not written out": {"network": MLP((5,), activation="selu")},
    "own modules": {"network": two_networks},
    "an own loss": {"loss": lambda output, target: (output - target) ** 4},
    "noise drawn from torch": {"noise": lambda x: x + 0.1 * torch.randn_like(x)},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("params", UNWRITTEN.values(), ids=UNWRITTEN.keys())
def test_what_cannot_be_written_out_trains_through_autograd(params):
    trainer = trainer_of(**params)
    assert trainer.gradient == trainer.differentiate
    options = {"init": "random", "max_iter": 40, "early_stopping": False}
    model = AutoencoderTransformer(3, random_state=0, **(options | params)).fit(X)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_the_same_model_both_ways_ends_the_same(dropout, monkeypatch):
    options = {"max_iter": 20, "early_stopping": False, "random_state": 0}
    network = MLP((5,), dropout=dropout)
    model = AutoencoderTransformer(3, network=network, alpha=0, **options).fit(X)
    monkeypatch.setattr("skae.model._autoencoder.Autoencoder.writable", False)
    other = AutoencoderTransformer(3, network=network, alpha=0, **options).fit(X)
    np.testing.assert_allclose(model.transform(X), other.transform(X), rtol=1e-6)
    np.testing.assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-9)


def shared(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    square = nn.Linear(5, 5, dtype=torch.float32)
    encoder.hidden.insert(1, square)
    decoder.hidden.insert(1, square)
    return encoder, decoder


def reparametrized(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    nn.utils.parametrizations.weight_norm(encoder.hidden[0])
    return encoder, decoder


def with_another_activation(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    encoder.activation = nn.Tanh()
    return encoder, decoder


def frozen(n_features, n_components, n_samples):
    encoder, decoder = MLP((5,))(n_features, n_components, n_samples)
    encoder.hidden[0].requires_grad_(False)
    return encoder, decoder


@pytest.mark.parametrize(
    "network", [shared, reparametrized, with_another_activation, frozen]
)
def test_networks_that_were_changed_train_through_autograd(network):
    trainer = trainer_of(network=network)
    assert trainer.gradient == trainer.differentiate
