"""A training run keeps the best state, and ends when its rules say so."""

import numpy as np
import pytest
import torch
from parts import quick
from runs import curve, data_of, start, train_all
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skae import MLP
from skae.training._batches import Batches
from skae.training._run import DIVERGENCE, EVALUATION_ROWS, BestState
from skae.training._trainer import warmup_constant

X = curve(60)
NAN, INF = float("nan"), float("inf")


def run_of(X_val=X, **params):
    """Return a run with validation rows."""
    return start(data_of(X, X_val=X_val), **params)


def run_without_validation(**params):
    return start(data_of(X), early_stopping=False, **params)


def follow(run, losses, training_losses=None, **options):
    """Run epochs of given losses; epoch i fills all parameters with i.

    The start and the mean have a loss of 1.
    """
    training_losses = training_losses or losses
    evaluated = iter([1.0, *losses])
    run.trainer.objective.validation_loss = lambda batches: next(evaluated)
    run.trainer.objective.null_loss = lambda batches: 1.0
    run.start_loss = np.nan  # to be computed

    def epochs():
        for i, loss in enumerate(training_losses, start=1):
            run.trainer.flat.values.fill_(i)
            yield loss

    run.schedule_epochs(len(training_losses), **options)
    run.epochs = epochs()
    train_all(run)
    return run


def epoch_of(state, run):
    """Return the epoch that filled a state; 0 is the start."""
    values = state[0]
    return 0 if torch.equal(values, run.state.start[0]) else int(values.unique())


# The best state.


def with_buffers(n_features, n_components, n_samples):
    encoder = nn.Sequential(nn.Linear(n_features, n_components))
    encoder.append(nn.BatchNorm1d(n_components))
    return encoder, nn.Linear(n_components, n_features)


def test_a_state_has_the_parameters_and_the_buffers_of_the_networks():
    run = run_of(network=with_buffers)
    norm = run.model.encoder.network.network[1]
    tensors = run.state.tensors()
    assert tensors[0] is run.trainer.flat.values
    assert {id(buffer) for buffer in norm.buffers()} == set(map(id, tensors[1:]))


def test_a_saved_state_can_be_loaded():
    run = run_of(network=with_buffers)
    state = BestState(run.model, run.trainer.flat.values)
    for i, tensor in enumerate(state.tensors()):
        tensor.fill_(i + 5)
    state.save(state.best)
    state.load(state.start)
    assert all(map(torch.equal, state.tensors(), state.start))
    state.load(state.best)
    assert [int(tensor.unique()) for tensor in state.tensors()] == [5, 6, 7, 8]


def test_the_copies_of_a_state_are_independent():
    run = run_of()
    before = run.state.start[0].clone()
    run.trainer.flat.values.fill_(7)
    run.state.save(run.state.current)
    assert torch.equal(run.state.start[0], before)
    assert torch.equal(run.state.best[0], before)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([0.9, 0.5, 0.7], 2),
        ([0.9, 0.5, 0.5], 2),  # the first of equal ones
        ([1.2, 1.1, 1.0], 0),  # the start
        ([1.2, 1.1, 0.9], 3),
        ([0.5, NAN], 1),
    ],
    ids=str,
)
def test_the_best_state_has_the_lowest_validation_loss(losses, best):
    run = follow(run_of(), losses, [1.0] * len(losses))
    assert run.best_iter == best
    assert epoch_of(run.state.best, run) == best


def test_without_validation_rows_the_last_state_is_the_best():
    run = follow(run_without_validation(), [0.9, 0.5, 0.7])
    assert run.best_iter == epoch_of(run.state.best, run) == 3


def test_curves_have_the_losses_of_all_epochs():
    run = follow(run_of(), [0.9, 0.5, 0.7], [0.8, 0.4, 0.3])
    assert run.validation_loss_curve == [0.9, 0.5, 0.7]
    assert run.loss_curve == [0.8, 0.4, 0.3]
    assert np.isnan(follow(run_without_validation(), [0.9]).validation_loss_curve).all()


def test_an_epoch_starts_from_the_latest_state_not_from_the_one_that_is_loaded():
    run, seen = run_of(), []
    run.schedule_epochs(2)
    run.train_epoch()
    latest = run.trainer.flat.values.clone()
    run.state.load(run.state.start)  # as a callback may have done
    run.trainer.optimizer.step = lambda *args: (
        seen.append(run.trainer.flat.values.clone()) or torch.zeros(())
    )
    run.train_epoch()
    assert torch.equal(seen[0], latest)


# The end of a run.


def test_a_run_ends_after_the_scheduled_epochs():
    run = run_of()
    run.schedule_epochs(3)
    train_all(run)
    assert len(run.loss_curve) == 3
    assert run.n_remaining == 0


@pytest.mark.parametrize(
    ("losses", "n_epochs"),
    [
        ([1.1, 1.1, 0.9, 1.1, 1.1, 0.8], 6),
        ([0.9, 0.9, 0.9, 0.9, 0.8], 4),
        ([0.9, 1.0, 0.8, 0.9, 0.9, 0.9, 0.1], 6),
    ],
    ids=str,
)
def test_a_run_ends_after_n_epochs_without_a_change(losses, n_epochs):
    run = follow(run_of(), losses, n_iter_no_change=3)
    assert len(run.loss_curve) == n_epochs


@pytest.mark.parametrize(("tol", "n_epochs"), [(0.0, 5), (0.09, 5), (0.11, 1)])
def test_an_improvement_below_tol_is_no_change(tol, n_epochs):
    losses = 0.9 ** np.arange(1, 6)  # the loss of the start is 1
    run = follow(run_of(), losses, n_iter_no_change=1, tol=tol)
    assert len(run.loss_curve) == n_epochs


def test_without_validation_rows_the_training_loss_decides_when_a_run_ends():
    run = follow(run_without_validation(), [1.1, 1.0, 1.0, 0.9], n_iter_no_change=1)
    assert len(run.loss_curve) == 3


def test_epochs_that_improve_by_less_than_tol_are_still_the_best():
    run = follow(run_of(), [0.999, 0.998], tol=0.1)
    assert run.best_iter == 2


def test_a_run_has_a_reason_why_it_stopped():
    run = run_of()
    assert run.stop_reason is None
    assert follow(run, [0.5, 0.4]).stop_reason == "max_iter"
    assert follow(run, [0.5, 0.6, 0.1], n_iter_no_change=2).stop_reason == "max_iter"
    run = follow(run_of(), [0.5, 0.6, 0.7, 0.1], n_iter_no_change=2)
    assert run.stop_reason == "n_iter_no_change"
    assert follow(run_of(), [0.5, 11.0, 0.1]).stop_reason == "divergence"
    run = run_of()
    run.stopped = True
    assert run.stop_reason == "callback"


def test_validation_scores_are_shares_of_the_null_loss():
    run = run_of()
    assert run.validation_score(run.null_loss) == 0
    assert run.validation_score(0.0) == 1
    assert run_without_validation().validation_score(0.0) is None


def test_a_callback_can_stop_a_run():
    run = run_of()
    run.schedule_epochs(5)
    run.train_epoch()
    assert run.has_next
    run.stopped = True
    assert not run.has_next


@pytest.mark.parametrize("new_run", [run_of, run_without_validation])
@pytest.mark.parametrize(
    ("loss", "diverged"), [(9.9, False), (10.1, True), (INF, True), (NAN, True)]
)
def test_a_run_diverges_at_ten_times_the_loss_of_the_mean(new_run, loss, diverged):
    run = follow(new_run(), [0.9, loss, 0.8])
    assert run.diverged == diverged
    assert len(run.loss_curve) == (2 if diverged else 3)
    assert epoch_of(run.state.current, run) == (1 if diverged else 3)
    if diverged:
        assert epoch_of(run.state.best, run) == 1


def test_a_training_loss_that_is_not_finite_is_divergence():
    assert follow(run_of(), [0.9, 0.8], [0.9, NAN]).diverged
    assert not follow(run_of(), [0.9, 0.8], [0.9, 1e6]).diverged


def test_the_limit_is_that_of_a_start_worse_than_the_mean():
    run = run_of()
    run.trainer.objective.validation_loss = lambda batches: 7.0
    run.start_loss = np.nan  # to be computed
    run.schedule_epochs(1)
    assert run.loss_limit == DIVERGENCE * 7


def test_start_and_mean_are_evaluated_once():
    run = run_of()
    run.schedule_epochs(1)
    before = run.start_loss, run.null_loss
    train_all(run)
    run.schedule_epochs(1)
    assert (run.start_loss, run.null_loss) == before


# Progress of the regularizer.


def progress_of(run, n_epochs, **options):
    seen = []
    run.model.regularizer.set_progress = seen.append
    run.schedule_epochs(n_epochs, **options)
    train_all(run)
    return seen


def test_progress_rises_with_the_planned_epochs():
    assert progress_of(run_of(), 4) == [0, 0.25, 0.5, 0.75]


def test_without_a_planned_end_progress_is_complete():
    assert progress_of(run_of(), 3, schedule=warmup_constant) == [1, 1, 1]


# Reverting.


@pytest.mark.parametrize(
    ("increase", "reverted", "worsened"),
    [
        (-0.1, False, False),
        (0.0, False, False),
        (0.009, True, False),
        (0.011, True, True),
    ],
)
def test_a_run_without_validation_rows_reverts_if_the_loss_rose(
    increase, reverted, worsened
):
    run = follow(run_without_validation(), [0.5])
    run.trainer.objective.validation_loss = lambda batches: 1.0 + increase
    run.revert_if_worse()
    assert (run.reverted, run.worsened) == (reverted, worsened)
    assert run.best_iter == epoch_of(run.state.best, run) == (0 if reverted else 1)


def test_a_run_with_validation_rows_does_not_revert():
    run = follow(run_of(), [0.9])
    run.trainer.objective.validation_loss = lambda batches: 100.0
    run.revert_if_worse()
    assert not run.reverted
    assert run.best_iter == 1


def test_a_run_without_epochs_does_not_revert():
    run = run_without_validation()
    run.revert_if_worse()
    assert not run.reverted


def test_reverting_to_the_start_does_not_share_its_memory():
    run = follow(run_of(), [0.9])
    run.revert_to_start()
    assert run.best_iter == epoch_of(run.state.best, run) == 0
    run.state.best[0].fill_(3)
    assert epoch_of(run.state.start, run) == 0
    assert not (run.state.start[0] == 3).all()


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adamw", "adam", "rmsprop", "sgd"])
def test_a_fit_that_diverges_warns_and_keeps_a_finite_model(solver, early_stopping):
    rows = np.random.default_rng(0).standard_normal((40, 5))
    model = quick(2, solver=solver, early_stopping=early_stopping, max_iter=50)
    with pytest.warns(ConvergenceWarning, match="Lower learning_rate"):
        model.set_params(learning_rate=1e6).fit(rows)
    assert model.n_iter_ < 50
    assert np.isfinite(model.validation_loss_curve_).all()
    assert all(p.isfinite().all() for p in model.module_.parameters())
    pca = quick(2, max_iter=0).fit(rows)
    assert model.score(rows) >= pca.score(rows) - 1e-6


# The fitted model.


@pytest.mark.parametrize("copied", [False, True])
def test_the_fitted_model_has_the_best_state(copied):
    run = follow(run_of(), [0.9, 0.5, 0.7])
    run.n_dropped = 1
    model = run.best_model(copied)
    assert not model.training
    assert model.n_dropped == 1
    for p in model.parameters():
        assert p.grad is None
        assert (p == 2).all()


@pytest.mark.parametrize("copied", [False, True])
def test_the_fitted_model_has_no_generator(copied):
    run = run_of(network=MLP((8,), dropout=0.1))
    run.schedule_epochs(1)
    model = run.best_model(copied)
    assert model.encoder.network.dropout.generator is None
    kept = run.model.encoder.network.dropout.generator
    assert kept is (run.trainer.objective.generator if copied else None)


def test_a_copy_of_the_model_is_not_changed_by_further_training():
    run = run_of()
    run.schedule_epochs(2)
    run.train_epoch()
    model = run.best_model(copied=True)
    before = [p.clone() for p in model.parameters()]
    run.train_epoch()
    assert all(map(torch.equal, before, model.parameters()))


def test_training_goes_on_after_a_copy_as_without_one():
    runs = [run_of(learning_rate=0.01) for _ in range(2)]
    for run, copies in zip(runs, (True, False), strict=True):
        run.schedule_epochs(3)
        while run.has_next:
            run.train_epoch()
            if copies:
                run.best_model(copied=True)
    assert runs[0].loss_curve == runs[1].loss_curve


# Continuing, and memory.


def test_a_resumed_run_goes_on_as_if_it_had_not_paused():
    paused, once = run_of(), run_of()
    batches, validation = paused.trainer.batches, paused.validation
    for _ in range(2):
        paused.schedule_epochs(2, warmup_constant)
        train_all(paused)
        paused.free_data()
        paused.resume(batches, validation, paused.trainer.batch_size)
    once.schedule_epochs(4, warmup_constant)
    train_all(once)
    assert paused.loss_curve == once.loss_curve
    assert paused.validation_loss_curve == once.validation_loss_curve


def test_a_resumed_run_uses_the_other_rows():
    run = run_without_validation()
    rows = run.trainer.batches.rows.subset(np.arange(7))
    other = Batches(rows, torch.float64, "cpu")
    run.stopped = run.diverged = True
    run.resume(other, None, batch_size=5)
    assert run.trainer.batches is other
    assert run.trainer.n_batches == 2
    assert len(run.evaluation.rows) == 7
    run.schedule_epochs(1)
    assert run.has_next


def test_the_start_of_a_resumed_run_is_the_fitted_model():
    run = follow(run_of(), [0.9, 0.5, 0.7])
    run.reverted = run.worsened = True
    run.resume(run.trainer.batches, run.validation, 32)
    assert (run.state.start[0] == 2).all()
    assert not run.reverted
    assert not run.worsened
    # Two epochs, of which none is better than the fitted model on these rows
    losses = iter([0.1, 0.2, 0.3])
    run.trainer.objective.validation_loss = lambda batches: next(losses)
    run.schedule_epochs(2, warmup_constant)
    train_all(run)
    assert run.start_loss == 0.1
    assert run.best_iter == 2
    assert (run.state.best[0] == 2).all()


def test_a_resumed_run_reverts_to_the_fitted_model():
    run = follow(run_without_validation(), [0.9, 0.5])
    run.resume(run.trainer.batches, None, 32)
    losses = iter([0.1, 0.2])
    run.trainer.objective.validation_loss = lambda batches: next(losses)
    run.schedule_epochs(1, warmup_constant)
    train_all(run)
    run.revert_if_worse()
    assert run.reverted
    assert run.best_iter == 2
    assert (run.state.best[0] == 2).all()


def test_training_rows_are_evaluated_where_there_are_no_validation_rows():
    run = start(data_of(curve(1200)), early_stopping=False)
    assert len(run.evaluation.rows) == 400 <= EVALUATION_ROWS


def test_validation_rows_are_evaluated_where_there_are_any():
    run = run_of()
    assert run.evaluation is run.validation


def test_a_paused_run_holds_no_rows_and_no_buffers():
    run = run_of()
    run.schedule_epochs(1)
    train_all(run)
    steps = run.trainer.gradient.steps
    assert steps
    run.free_data()
    assert not steps
    parts = run.trainer.batches, run.validation, run.evaluation, run.epochs
    assert parts == (None,) * 4


def test_partial_fit_holds_no_rows_and_no_buffers_between_calls():
    model = quick(2, batch_size=1000)
    for n_rows in range(40, 50):
        model.partial_fit(X[:n_rows])
        assert not model._run.trainer.gradient.steps
        assert model._run.trainer.batches is None
        assert model._run.epochs is None


def test_a_finished_run_still_returns_its_best_model():
    run = follow(run_of(), [0.9, 0.5, 0.7])
    run.free_buffers()
    assert run.trainer.optimizer is run.trainer.gradient is run.state.current is None
    assert all((p == 2).all() for p in run.best_model(copied=False).parameters())


def test_the_report_has_the_losses_of_the_last_epoch():
    run = follow(run_of(), [0.9, 0.25], [0.8, 0.12345678])
    assert run.report() == "Epoch 2, loss = 0.123457, validation loss = 0.25"
    run = follow(run_without_validation(), [0.9])
    assert run.report() == "Epoch 1, loss = 0.9"
