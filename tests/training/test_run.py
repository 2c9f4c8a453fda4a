"""A run keeps the best state, and ends when nothing improves."""

import numpy as np
import pytest
import torch
from runs import curve, data_of, params_of, start, train_all

from skae.training._fit import split_batches
from skae.training._trainer import constant


def copied(state):
    return [tensor.clone() for tensor in state]


def run_with_losses(losses, **params):
    """Return a run whose epochs are evaluated to given losses."""
    run = start(data_of(curve(200)), max_iter=len(losses), **params)
    evaluate = iter(losses)
    run.trainer.objective.validation_loss = lambda batches: next(evaluate)
    return run


def test_the_epoch_of_lowest_validation_loss_is_kept():
    run = run_with_losses([0.3, 0.1, 0.2])
    run.best_loss = run.loss_limit = 1.0
    run.train_epoch()
    run.train_epoch()
    best = copied(run.state.current)
    run.train_epoch()
    assert run.best_iter == 2
    assert run.validation_loss_curve == [0.3, 0.1, 0.2]
    torch.testing.assert_close(run.state.best, best)
    assert not torch.equal(run.state.current[0], best[0])


def test_without_validation_rows_the_last_epoch_is_kept():
    run = start(data_of(curve(200)), early_stopping=False)
    train_all(run)
    assert run.best_iter == len(run.loss_curve) == 5
    torch.testing.assert_close(run.state.best, run.state.current)
    assert run.validation_loss_curve == []


@pytest.mark.parametrize(("tol", "n_epochs"), [(0.0, 4), (0.1, 3)])
def test_a_run_ends_after_epochs_without_improvement(tol, n_epochs):
    run = run_with_losses([0.5, 0.48, 0.6, 0.7, 0.4])
    run.n_iter_no_change, run.tol, run.best_loss = 2, tol, 1.0
    run.loss_limit = 10.0
    train_all(run)
    assert len(run.loss_curve) == n_epochs


@pytest.mark.parametrize("loss", [np.nan, np.inf, 11.0])
def test_a_run_that_diverges_ends_and_keeps_the_state_before(loss):
    run = run_with_losses([0.5, loss, 0.1])
    run.loss_limit = 10.0
    run.best_loss = 1.0
    run.train_epoch()
    best = copied(run.state.best)
    run.train_epoch()
    assert run.diverged
    assert not run.has_next
    torch.testing.assert_close(run.state.best, best)


def test_the_limit_of_the_loss_is_ten_times_that_of_the_start_or_the_mean():
    run = start(data_of(curve(200)))
    assert run.start_loss < run.null_loss
    assert run.loss_limit == pytest.approx(10 * run.null_loss)


@pytest.mark.parametrize("factor", [3.0, 1.001])
def test_a_run_that_worsened_reverts_to_the_start(factor):
    run = start(data_of(curve(60)), early_stopping=False, precision="float64")
    train_all(run)
    run.start_loss = run.trainer.objective.validation_loss(run.evaluation) / factor
    run.revert_if_worse()
    assert run.reverted
    assert run.best_iter == 0
    assert run.worsened == (factor == 3.0)  # more than 1 % of the mean's loss
    torch.testing.assert_close(run.state.best, run.state.start)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_run_that_improved_does_not_revert(early_stopping):
    run = start(data_of(curve(200)), early_stopping=early_stopping)
    train_all(run)
    best = copied(run.state.best)
    run.revert_if_worse()
    assert not run.reverted
    torch.testing.assert_close(run.state.best, best)


def test_the_start_is_pca_of_the_training_rows():
    data = data_of(curve(200))
    index = params_of(data).validation_index
    run = start(data)
    training = np.delete(data.X, index, axis=0)
    np.testing.assert_allclose(run.pca.mean, training.mean(axis=0))
    assert run.state.start[0].dtype == torch.float64


def test_further_epochs_continue_on_other_rows():
    data, other = data_of(curve(100)), data_of(curve(80, seed=1))
    run = start(data, early_stopping=False)
    train_all(run)
    values = run.trainer.flat.values.clone()
    params = params_of(other, early_stopping=False)
    run.resume(*split_batches(other, params, run.pca), params.batch_size)
    run.schedule_epochs(2, constant)
    torch.testing.assert_close(run.trainer.flat.values, values)
    train_all(run)
    assert len(run.loss_curve) == 7
    assert len(run.trainer.batches.rows) == 80


def test_the_fitted_model_is_a_copy_or_the_model_itself():
    run = start(data_of(curve(100)))
    train_all(run)
    model = run.best_model(copied=True)
    assert model is not run.model
    assert not model.training
    assert run.best_model(copied=False) is run.model
    assert all(p.grad is None for p in run.model.parameters())


def test_the_report_of_an_epoch_names_its_losses():
    run = run_with_losses([0.25])
    run.loss_limit = 1.0
    run.train_epoch()
    assert run.report().startswith("Epoch 1, loss = ")
    assert run.report().endswith(", validation loss = 0.25")


def test_states_are_copies():
    run = start(data_of(curve(100)))
    before = copied(run.state.start)
    run.trainer.flat.values.add_(1)
    torch.testing.assert_close(run.state.start, before)
    run.state.load(run.state.start)
    torch.testing.assert_close(run.state.tensors(), before)
