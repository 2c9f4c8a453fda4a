"""Epochs of optimizer steps: their schedule, threads, batches and precision."""

import math
import pickle

import numpy as np
import pytest
import torch
from parts import quick
from runs import data_of, start

from skae import MLP, AutoencoderTransformer
from skae.training import _trainer
from skae.training._trainer import warmup_constant, warmup_cooldown, warmup_cosine

X = np.random.default_rng(0).random((53, 4))


def trainer_of(X=X, **params):
    return start(data_of(X), early_stopping=False, **params).trainer


# The schedule.


def test_the_learning_rate_warms_up_then_falls_to_zero():
    factors = [warmup_cosine(step, 1000) for step in range(1000)]
    top = int(np.argmax(factors))
    assert top == 50
    assert factors[top] == 1
    assert (np.diff(factors[: top + 1]) > 0).all()
    assert (np.diff(factors[top:]) < 0).all()
    assert 0 < factors[-1] < 1e-4


def test_the_warm_up_takes_at_least_20_steps():
    factors = [warmup_cosine(step, 100) for step in range(100)]
    assert np.argmax(factors) == 20
    assert 0 < warmup_cosine(0, 1) < 0.1


def test_from_random_weights_the_learning_rate_falls_in_the_last_fifth_of_the_steps():
    factors = [warmup_cooldown(step, 1000) for step in range(1000)]
    assert (np.diff(factors[:21]) > 0).all()
    assert factors[20:801] == [1.0] * 781
    assert (np.diff(factors[800:]) < 0).all()
    assert 0 < factors[-1] < 0.01
    assert 0 < warmup_cooldown(0, 1) < 0.1


def test_without_a_planned_end_the_learning_rate_is_constant_after_the_warm_up():
    factors = [warmup_constant(step, 0, 1.0) for step in range(40)]
    assert (np.diff(factors[:21]) > 0).all()
    assert factors[20:] == [1.0] * 20


@pytest.mark.parametrize("n_first", [20, 64, 500])
@pytest.mark.parametrize("n_rows", [1, 10, 32, 64, 500])
def test_without_a_planned_end_the_learning_rate_is_proportional_to_few_rows(
    n_rows, n_first
):
    trainer, shares = trainer_of(X=np.zeros((n_rows, 4)), batch_size=1000), []
    trainer.full_rate_rows = min(64, n_first)

    def schedule(step, n_steps, row_share):
        shares.append(row_share)
        return 0.0

    list(trainer.epochs(1, schedule))
    assert shares == [min(1, n_rows / min(64, n_first))]
    assert warmup_constant(100, 0, shares[0]) == shares[0]


def test_the_warm_up_goes_on_in_later_calls():
    trainer, steps = trainer_of(batch_size=53), []

    def schedule(step, n_steps, row_share):
        steps.append(step)
        return 0.0

    list(trainer.epochs(2, schedule))
    list(trainer.epochs(1, schedule))
    assert steps == [0, 1, 2]


@pytest.mark.parametrize("batch_size", [53, 10])
def test_the_schedule_is_that_of_all_steps_of_all_epochs(batch_size):
    trainer, steps = trainer_of(batch_size=batch_size), []

    def schedule(step, n_steps, row_share):
        steps.append((step, n_steps, row_share))
        return 0.0

    list(trainer.epochs(3, schedule))
    n_steps = 3 * math.ceil(53 / batch_size)
    share = 1 / math.ceil(53 / batch_size)
    assert [step[:2] for step in steps] == [(i, n_steps) for i in range(n_steps)]
    assert [step[2] for step in steps] == pytest.approx([share] * n_steps)


# Epochs.


def test_an_epoch_is_the_mean_loss_of_its_steps_on_every_row_once():
    trainer, seen = trainer_of(batch_size=10), []

    def gradient(rows, weights):
        seen.append(rows)
        return rows.sum()

    trainer.gradient = gradient
    (loss,) = trainer.epochs(1)
    rows = torch.cat(seen)
    assert len(seen) == trainer.n_batches == 6
    assert loss == pytest.approx(np.mean([part.sum() for part in seen]))
    expected = trainer.batches.resident
    torch.testing.assert_close(rows.sort(dim=0)[0], expected.sort(dim=0)[0])


def test_epochs_of_learning_rate_zero_change_nothing():
    trainer = trainer_of(alpha=1.0)
    before = trainer.flat.values.clone()
    list(trainer.epochs(2, lambda step, n_steps, n_rows: 0.0))
    assert torch.equal(trainer.flat.values, before)


def test_epochs_train_the_model():
    trainer = trainer_of(learning_rate=0.01)
    losses = list(trainer.epochs(60))
    assert losses[-1] < 0.9 * losses[0]


def test_epochs_are_in_training_mode_and_gradients_are_not_recorded_between_them():
    trainer = trainer_of(network=MLP((8,), dropout=0.1))
    trainer.objective.model.eval()
    next(trainer.epochs(1))
    assert trainer.objective.model.training
    assert torch.is_grad_enabled()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_noise_in_place_does_not_change_the_rows():
    seen = []

    def raised(batch):
        seen.append(float(batch.mean()))
        return batch.add_(1.0)

    quick(2, noise=raised, batch_size=53, max_iter=4, early_stopping=False).fit(X)
    assert max(seen) < 0.5


def test_the_manual_steps_memory_is_freed():
    trainer = trainer_of(batch_size=20)
    list(trainer.epochs(1))
    assert set(trainer.gradient.steps) == {17, 18}
    trainer.free_buffers()
    assert not trainer.gradient.steps


# Threads.


def threads_of_steps(trainer):
    """Return the number of threads during the steps of an epoch."""
    seen = []

    def gradient(rows, weights):
        seen.append(torch.get_num_threads())
        return torch.zeros(())

    trainer.gradient = gradient
    next(trainer.epochs(1))
    return set(seen)


@pytest.mark.parametrize(
    ("small_step", "n_threads"), [(0, 3), (1e9, 1)], ids=["large step", "small step"]
)
def test_large_steps_use_the_callers_threads(small_step, n_threads, monkeypatch):
    monkeypatch.setattr(_trainer, "SMALL_STEP", small_step)
    torch.set_num_threads(3)
    assert threads_of_steps(trainer_of()) == {n_threads}
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_every_training_method_passes_on_the_callers_threads(method, monkeypatch):
    monkeypatch.setattr(_trainer, "SMALL_STEP", 0)
    torch.set_num_threads(3)
    model = AutoencoderTransformer(2, network=MLP((4,)), max_iter=1, warm_start=True)
    getattr(model, method)(np.random.default_rng(0).random((50, 5)))
    assert model._run.trainer.n_threads == 3


def test_the_size_of_a_step_counts_products_of_the_batch(monkeypatch):
    # Encoder and decoder: axes of 2 * 4, layers of 4 * 8 + 8 * 2 and their 10 or 12
    # biases, and 6 operations per product and row.
    n_operations = 6 * 20 * (2 * 8 + 2 * 48 + 10 + 12)
    torch.set_num_threads(3)
    for small_step, n_threads in [(n_operations, 1), (n_operations - 1, 3)]:
        monkeypatch.setattr(_trainer, "SMALL_STEP", small_step)
        assert trainer_of(batch_size=20).n_threads == n_threads


# Precision.


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_bfloat16_products_train_float32_weights(dropout, digits, bfloat16):
    options = {"network": MLP((16,), dropout=dropout), "max_iter": 60, "alpha": 0}
    options |= {"early_stopping": False}
    model = quick(4, precision="bfloat16", **options).fit(digits)
    exact = quick(4, precision="float32", **options).fit(digits)
    assert model.precision_ == "bfloat16"
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())
    assert model.loss_curve_ != exact.loss_curve_
    assert model.score(digits) == pytest.approx(exact.score(digits), abs=0.02)
    assert pickle.loads(pickle.dumps(model)).score(digits) == model.score(digits)


@pytest.mark.parametrize(("first", "then"), [(300, 1000), (1500, 100)])
def test_further_training_keeps_the_precision_of_the_model(first, then):
    rows = np.random.default_rng(0).random((1500, 4))
    model = quick(2, batch_size=500)
    before = model.partial_fit(rows[:first]).precision_
    copied = pickle.loads(pickle.dumps(model))
    for trained in (model, copied):
        trained.partial_fit(rows[:then])
        assert trained.precision_ == before
        assert trained.module_.offset.dtype == getattr(torch, before)


# Autograd.


def test_autograd_returns_the_loss_and_overwrites_the_gradient():
    trainer = trainer_of(network=MLP((8,), activation="selu"))
    batch = next(trainer.batches.shuffled(1, None))
    gradients = []
    for _ in range(2):
        loss = trainer.autograd(*batch)
        gradients.append(trainer.flat.gradient.clone())
    assert torch.equal(*gradients)
    assert not loss.requires_grad
    assert loss == trainer.objective.loss(*batch)


def global_noise(batch):
    return batch + 0.1 * torch.randn_like(batch)


@pytest.mark.parametrize("activation", ["silu", "selu"], ids=["manual", "autograd"])
def test_epochs_with_noise_from_torchs_global_generator_follow_the_seed(activation):
    losses = []
    for _ in range(2):
        torch.rand(3)  # which changes the state of the global generator
        before, network = torch.get_rng_state(), MLP((8,), activation=activation)
        trainer = trainer_of(network=network, noise=global_noise)
        losses.append(list(trainer.epochs(3)))
        assert torch.equal(torch.get_rng_state(), before)
    assert losses[0] == losses[1]
