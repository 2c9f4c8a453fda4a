"""The validation loss is the training loss without randomness."""

import numpy as np
import pytest
import torch
from parts import NOISES, NUMERIC_LOSSES, REGULARIZERS
from runs import curve, data_of, start
from torch import nn

from skae import MLP, Contractive, GaussianNoise, Regularizer, Sparse
from skae.training._objective import eval_norms_for_single_row

X = (curve(60) - curve(60).min()) / np.ptp(curve(60))
WEIGHT = np.random.default_rng(0).uniform(0.5, 1.5, 60)
WEIGHT /= WEIGHT.mean()


def objective_of(weight=None, **params):
    """Return the objective of a small model, and its rows."""
    params = {"early_stopping": False, "precision": "float64"} | params
    trainer = start(data_of(X, weight), **params).trainer
    return trainer.objective, trainer.batches


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weights"])
@pytest.mark.parametrize("regularizer", [None, Sparse(0.1), Contractive(0.1)], ids=str)
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_without_randomness_both_losses_are_equal(loss, regularizer, weight):
    objective, batches = objective_of(weight, loss=loss, regularizer=regularizer)
    (batch,) = batches.shuffled(1, None)
    with torch.enable_grad():
        training_loss = objective.loss(*batch).item()
    assert objective.validation_loss(batches) == pytest.approx(training_loss)


def test_a_regularizer_without_hooks_changes_nothing():
    class Empty(Regularizer):
        pass

    objective, batches = objective_of()
    expected = objective.validation_losses(batches)
    objective, batches = objective_of(regularizer=Empty())
    np.testing.assert_array_equal(objective.validation_losses(batches), expected)


@pytest.mark.parametrize("part", [*NOISES, *REGULARIZERS], ids=str)
def test_the_validation_loss_is_the_same_at_every_call(part):
    name = "noise" if part in NOISES else "regularizer"
    objective, batches = objective_of(**{name: part})
    before = objective.generator.get_state()
    first = objective.validation_loss(batches)
    assert objective.validation_loss(batches) == first
    assert torch.equal(objective.generator.get_state(), before)


def test_the_null_loss_is_that_of_the_mean():
    objective, batches = objective_of(WEIGHT)
    mean = WEIGHT @ X / 60
    scale = np.sqrt((WEIGHT @ (X - mean) ** 2 / 60).mean())
    expected = (WEIGHT @ ((X - mean) / scale) ** 2 / 60).mean()
    assert objective.null_loss(batches) == pytest.approx(expected)


def test_explained_shares_of_pca_are_those_of_its_variances():
    objective, batches = objective_of(n_components=5, max_iter=0)
    variances = np.linalg.svd(X - X.mean(axis=0))[1] ** 2
    shares = objective.explained_shares(batches)
    np.testing.assert_allclose(shares, np.cumsum(variances) / variances.sum())


def global_noise(batch):
    return batch + torch.randn_like(batch)


@pytest.mark.parametrize(
    ("noise", "is_global"),
    [(global_noise, True), (GaussianNoise(0.1), False)],
    ids=["global", "own generator"],
)
def test_parts_that_draw_from_the_global_generator_are_detected(noise, is_global):
    assert objective_of(noise=noise)[0].uses_global_rng == is_global


def with_batch_norm(n_features, n_components, n_samples):
    encoder = nn.Sequential(
        nn.Linear(n_features, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
    )
    return encoder.append(nn.Linear(4, n_components)), nn.Linear(
        n_components, n_features
    )


def test_the_detection_leaves_no_trace():
    objective, batches = objective_of(network=with_batch_norm)
    state = objective.generator.get_state()
    buffers = [buffer.clone() for buffer in objective.model.buffers()]
    objective.detect_global_rng(batches)
    assert objective.uses_global_rng
    assert torch.equal(objective.generator.get_state(), state)
    torch.testing.assert_close(list(objective.model.buffers()), buffers)


@pytest.mark.parametrize(("n_rows", "training"), [(1, False), (2, True)])
def test_batch_norms_are_in_evaluation_mode_for_a_single_row(n_rows, training):
    norm = nn.BatchNorm1d(3).train()
    with eval_norms_for_single_row(norm, n_rows):
        assert norm.training == training
    assert norm.training


def test_dropout_draws_from_the_generator_of_the_objective():
    objective, _ = objective_of(network=MLP((4,), dropout=0.5))
    generators = {
        id(m.generator) for m in objective.model.modules() if hasattr(m, "generator")
    }
    assert generators == {id(objective.generator)}
