"""Losses of batches and of validation rows."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import (
    NO_REGULARIZERS,
    NOISES,
    NUMERIC_LOSSES,
    REGULARIZERS,
    generator,
    rows,
)
from runs import data_of, start
from torch import nn

from skae import MLP, MMD, Contractive, Regularizer, Sparse, TopK, Variational
from skae.data._layout import PaddedLayout
from skae.data._validation import TrainingData
from skae.noise import as_noise
from skae.training._objective import (
    NOISE_DRAWS,
    eval_norms_for_single_row,
    set_generator,
)

RNG = np.random.default_rng(0)
X = 1 / (1 + np.exp(-rows(40)))  # valid for every loss
WEIGHT = RNG.uniform(0.5, 1.5, 40)
WEIGHT /= WEIGHT.mean()

each_loss = pytest.mark.parametrize("loss", NUMERIC_LOSSES)
each_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["none", "some"])


def trainer_of(weight=None, X=X, **params):
    """Return the trainer of a small model, moved away from its start."""
    defaults = {"n_components": 3, "precision": "float64", "early_stopping": False}
    trainer = start(data_of(X, weight), **(defaults | params)).trainer
    values = trainer.flat.values
    draws = torch.randn(values.shape, generator=generator())
    values.add_(draws.to(values.dtype), alpha=0.1)
    return trainer


def training_loss(trainer):
    trainer.objective.model.train()
    batch = next(trainer.batches.shuffled(1, None))
    return trainer.objective.loss(*batch).item()


def validation_loss(trainer):
    return trainer.objective.validation_loss(trainer.batches)


def l1(codes):
    return 0.1 * codes.abs().sum(dim=1)


# Without random numbers and without penalties that differ in validation.
DETERMINISTIC = [None, l1, Sparse(0.1), TopK(1), MMD(1.0)]


@each_weight
@each_loss
@pytest.mark.parametrize("regularizer", DETERMINISTIC, ids=lambda part: str(part)[:9])
def test_without_random_numbers_the_validation_loss_is_the_training_loss(
    regularizer, loss, weight
):
    trainer = trainer_of(weight, loss=loss, regularizer=regularizer)
    assert validation_loss(trainer) == pytest.approx(training_loss(trainer))


@each_weight
def test_the_loss_is_the_weighted_mean_of_squared_residuals(weight):
    trainer = trainer_of(weight)
    model, standardized = trainer.objective.model, trainer.batches.resident
    residuals = model.decode(model.encode(standardized)) - standardized
    squares = residuals.square().mean(dim=1).detach()
    assert training_loss(trainer) == pytest.approx(np.average(squares, weights=weight))


def test_validation_losses_of_rows_have_the_validation_loss_as_their_mean():
    trainer = trainer_of(WEIGHT)
    losses = trainer.objective.validation_losses(trainer.batches)
    assert losses.shape == (40,)
    assert losses.dtype == np.float64
    expected = np.average(losses, weights=WEIGHT)
    assert validation_loss(trainer) == pytest.approx(expected)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("regularizer", [None, Variational()], ids=repr)
def test_noise_corrupts_validation_rows_as_it_does_training_rows(noise, regularizer):
    clean = trainer_of(noise=None, regularizer=regularizer)
    noisy = trainer_of(noise=noise, regularizer=regularizer)
    trained = np.mean([training_loss(noisy) for _ in range(20)])
    assert validation_loss(noisy) > validation_loss(clean)
    assert validation_loss(noisy) == pytest.approx(trained, rel=0.3)


def random_sign(batch):
    """A noise that draws from torch's global generator."""
    return batch * torch.randn(len(batch), 1).sign()


@pytest.mark.parametrize(
    "noise", [*NOISES, random_sign], ids=["gaussian", "masking", "swap", "callable"]
)
def test_validation_rows_have_the_same_noise_at_each_call(noise):
    trainer = trainer_of(noise=noise)
    before = torch.random.get_rng_state(), trainer.objective.generator.get_state()
    assert validation_loss(trainer) == validation_loss(trainer)
    after = torch.random.get_rng_state(), trainer.objective.generator.get_state()
    assert all(map(torch.equal, before, after))


def test_the_validation_loss_is_the_mean_over_draws_of_the_noise():
    draws = []

    def halved(batch):
        draws.append(batch)
        return batch * 0.5 ** len(draws)

    trainer = trainer_of()
    model, standardized = trainer.objective.model, trainer.batches.resident
    model.noise = as_noise(halved)
    losses = [
        (model.decode(model.encode(0.5**i * standardized)) - standardized).square()
        for i in range(1, NOISE_DRAWS + 1)
    ]
    expected = torch.stack(losses).mean().item()
    assert validation_loss(trainer) == pytest.approx(expected)
    assert len(draws) == NOISE_DRAWS


def test_the_target_of_corrupted_rows_is_clean():
    trainer = trainer_of(noise=torch.zeros_like)
    model, standardized = trainer.objective.model, trainer.batches.resident
    output = model.decode(model.encode(torch.zeros_like(standardized)))
    expected = (output - standardized).square().mean().item()
    assert training_loss(trainer) == pytest.approx(expected)


def test_dropout_is_used_in_training_alone():
    plain, dropout = (
        trainer_of(network=MLP((8,), dropout=p), init="random") for p in (0.0, 0.5)
    )
    assert validation_loss(plain) == validation_loss(dropout)
    assert training_loss(plain) != training_loss(dropout)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_the_validation_loss_is_the_same_at_each_call(regularizer):
    trainer = trainer_of(regularizer=regularizer)
    before = trainer.objective.generator.get_state()
    assert validation_loss(trainer) == validation_loss(trainer)
    assert torch.equal(trainer.objective.generator.get_state(), before)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_a_regularizer_changes_the_training_loss(regularizer):
    plain, trainer = trainer_of(), trainer_of(regularizer=regularizer)
    assert training_loss(trainer) != pytest.approx(training_loss(plain), rel=1e-6)


@pytest.mark.parametrize("regularizer", NO_REGULARIZERS, ids=repr)
def test_a_regularizer_of_strength_zero_changes_no_bit(regularizer):
    plain, trainer = trainer_of(), trainer_of(regularizer=regularizer)
    assert training_loss(trainer) == training_loss(plain)
    assert validation_loss(trainer) == validation_loss(plain)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_regularizers_receive_dropped_components_as_zeros(regularizer):
    trainer = trainer_of(regularizer=regularizer)
    trainer.objective.model.n_dropped = 1
    assert np.isfinite([training_loss(trainer), validation_loss(trainer)]).all()


class Halved(Regularizer):
    """Validate the code, and the code at half its size."""

    def validation_codes(self, codes):
        return [codes, 0.5 * codes]


def test_the_validation_loss_is_the_mean_over_validation_codes():
    trainer = trainer_of(regularizer=Halved())
    model, standardized = trainer.objective.model, trainer.batches.resident
    codes = model.encode(standardized)
    losses = [
        (model.decode(factor * codes) - standardized).square().mean().item()
        for factor in (1.0, 0.5)
    ]
    assert validation_loss(trainer) == pytest.approx(np.mean(losses))


def test_encoder_penalties_are_part_of_both_losses():
    plain, trainer = trainer_of(), trainer_of(regularizer=Contractive(1e6))
    for loss in (training_loss, validation_loss):
        assert loss(trainer) > 1000 * loss(plain)


def test_mixed_precision_changes_the_training_loss_by_rounding(bfloat16):
    exact, mixed = (
        trainer_of(precision=name, network=MLP((8,), activation="selu"))
        for name in ("float32", "bfloat16")
    )
    assert training_loss(mixed) == pytest.approx(training_loss(exact), rel=0.02)
    assert training_loss(mixed) != training_loss(exact)
    assert validation_loss(mixed) == validation_loss(exact)


# The loss of the mean.


@each_weight
def test_the_squared_error_of_the_mean_is_one(weight):
    trainer = trainer_of(weight)
    assert trainer.objective.null_loss(trainer.batches) == pytest.approx(1)


@each_loss
@each_weight
def test_the_null_loss_is_that_of_a_model_that_returns_the_mean(loss, weight):
    trainer = trainer_of(weight, loss=loss, init="random")
    with torch.no_grad():
        trainer.objective.model.decoder.output.weight.zero_()
        trainer.objective.model.decoder.output.bias.zero_()
    null_loss = trainer.objective.null_loss(trainer.batches)
    assert null_loss == pytest.approx(validation_loss(trainer))


def test_the_null_loss_of_padded_rows_does_not_count_padding():
    padded = rows(40).reshape(40, 5, 1)
    padded[:20, 3:] = np.nan
    data = TrainingData(padded.reshape(40, 5), PaddedLayout((5, 1), 0))
    trainer = start(data, early_stopping=False).trainer
    expected = np.nanmean(trainer.batches.resident.numpy() ** 2, axis=1).mean()
    null_loss = trainer.objective.null_loss(trainer.batches)
    assert null_loss == pytest.approx(expected)


# Shares of explained loss.


@each_weight
def test_before_training_shares_are_the_explained_variance_of_pca(weight):
    trainer = start(
        data_of(X, weight), n_components=4, precision="float64", early_stopping=False
    ).trainer
    centered = X - np.average(X, axis=0, weights=weight)
    scaled = centered if weight is None else np.sqrt(weight)[:, np.newaxis] * centered
    variances = np.linalg.svd(scaled, compute_uv=False) ** 2
    expected = (variances / variances.sum()).cumsum()[:4]
    shares = trainer.objective.explained_shares(trainer.batches)
    assert_allclose(shares, expected)


@each_loss
def test_the_share_of_all_components_is_one_minus_the_ratio_of_losses(loss):
    trainer = trainer_of(WEIGHT, loss=loss)
    share = trainer.objective.explained_shares(trainer.batches)[-1]
    null_loss = trainer.objective.null_loss(trainer.batches)
    assert share == pytest.approx(1 - validation_loss(trainer) / null_loss)


def test_constant_rows_have_finite_shares():
    trainer = trainer_of(X=np.ones((12, 5)))
    assert np.isfinite(trainer.objective.explained_shares(trainer.batches)).all()


# Parts that draw from torch's global generator.


class Jitter(nn.Module):
    """Batch normalization, then noise from torch's global generator."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_inputs)
        self.output = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.output(self.norm(x) + 0.1 * torch.randn_like(x))


def jitter(n_features, n_components, n_samples):
    return Jitter(n_features, n_components), Jitter(n_components, n_features)


def global_noise(batch):
    return batch + torch.randn_like(batch)


GLOBAL = {
    "network": {"network": jitter},
    "noise": {"noise": global_noise},
    "regularizer": {"regularizer": lambda codes: torch.rand(len(codes))},
}
SEEDED = {
    "dropout": {"network": MLP((8,), dropout=0.1)},
    **{repr(part): {"noise": part} for part in NOISES},
    **{repr(part): {"regularizer": part} for part in REGULARIZERS},
}


@pytest.mark.parametrize("params", GLOBAL.values(), ids=GLOBAL)
def test_parts_that_draw_from_torchs_global_generator_are_detected(params):
    assert trainer_of(**params).objective.uses_global_rng


@pytest.mark.parametrize("params", SEEDED.values(), ids=SEEDED)
def test_the_librarys_parts_draw_from_the_objectives_generator(params):
    assert not trainer_of(**params).objective.uses_global_rng


def test_the_detection_leaves_no_trace():
    trainer = trainer_of(network=jitter)
    objective, model = trainer.objective, trainer.objective.model

    def trace():
        state = [*model.state_dict().values(), trainer.flat.gradient]
        states = objective.generator.get_state(), torch.get_rng_state()
        return [tensor.clone() for tensor in (*state, *states)]

    before = trace()
    objective.detect_global_rng(trainer.batches)
    assert objective.uses_global_rng
    assert all(map(torch.equal, before, trace()))


def test_losses_with_global_random_numbers_follow_the_objectives_generator():
    trainer = trainer_of(noise=global_noise)
    before, losses = torch.get_rng_state(), []
    for seed in (0, 0, 1):
        trainer.objective.generator.manual_seed(seed)
        losses.append(training_loss(trainer))
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_modules_with_a_generator_receive_it():
    trainer = trainer_of(network=MLP((8,), dropout=0.1))
    model, objective = trainer.objective.model, trainer.objective
    dropout = model.encoder.network.dropout
    assert dropout.generator is objective.generator
    set_generator(model, None)
    assert dropout.generator is None


# Batch normalization.


@pytest.mark.parametrize(("n_rows", "is_eval"), [(1, True), (2, False)])
def test_batch_norms_are_in_evaluation_mode_for_a_single_row(n_rows, is_eval):
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.Dropout())
    with eval_norms_for_single_row(model, n_rows):
        assert [module.training for module in model] == [not is_eval] * 2 + [True]
    assert all(module.training for module in model)


def test_frozen_batch_norms_stay_in_evaluation_mode():
    model = nn.Sequential(nn.BatchNorm1d(3).eval())
    with eval_norms_for_single_row(model, 1):
        pass
    assert not model[0].training


def test_a_batch_of_one_row_is_trained_with_batch_normalization():
    trainer = trainer_of(network=jitter, init="random")
    loss = trainer.objective.loss(trainer.batches.read(slice(0, 1)), None)
    assert loss.isfinite()
    assert_array_equal(trainer.objective.model.encoder.norm.num_batches_tracked, 0)
