"""The trainer takes steps by a schedule, on as many threads as they are worth."""

import pickle

import numpy as np
import pytest
import torch
from runs import curve, data_of, start
from sklearn.exceptions import ConvergenceWarning

from skae import MLP, AutoencoderTransformer
from skae.training import _trainer
from skae.training._trainer import constant, warmup_cosine

X = np.random.default_rng(0).random((53, 4))


def test_schedule_rises_then_falls_to_zero():
    factors = [warmup_cosine(step, 1000) for step in range(1000)]
    top = int(np.argmax(factors))
    assert top == 50
    assert factors[top] == 1
    assert (np.diff(factors[: top + 1]) > 0).all()
    assert (np.diff(factors[top:]) < 0).all()
    assert 0 < factors[-1] < 1e-4
    assert 0 < warmup_cosine(0, 1) < 0.1
    assert constant(0, 10) == constant(9, 10) == 1


@pytest.mark.parametrize("network", [MLP((16,)), MLP((16,), dropout=0.1)])
def test_bfloat16_products_train_float32_weights(network, digits, bfloat16):
    options = {"network": network, "max_iter": 60, "random_state": 0, "alpha": 0}
    options["early_stopping"] = False
    model = AutoencoderTransformer(4, precision="bfloat16", **options).fit(digits)
    exact = AutoencoderTransformer(4, precision="float32", **options).fit(digits)
    assert model.precision_ == "bfloat16"
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())
    assert model.loss_curve_ != exact.loss_curve_
    assert model.score(digits) == pytest.approx(exact.score(digits), abs=0.02)
    assert pickle.loads(pickle.dumps(model)).score(digits) == model.score(digits)


def test_memory_of_steps_is_freed_between_calls():
    model = AutoencoderTransformer(2, network=MLP((8,)), batch_size=1000)
    for n_rows in range(40, 50):
        model.partial_fit(X[:n_rows])
        assert not model._run.trainer.gradient.steps
        assert model._run.epochs is None


@pytest.mark.parametrize(("first", "then"), [(300, 1000), (1500, 100)])
def test_further_training_keeps_the_precision_of_the_model(first, then):
    rows = np.random.default_rng(0).random((1500, 4))
    model = AutoencoderTransformer(2, network=MLP((8,)), batch_size=500)
    before = model.partial_fit(rows[:first]).precision_
    copied = pickle.loads(pickle.dumps(model))
    for trained in (model, copied):
        trained.partial_fit(rows[:then])
        assert trained.precision_ == before
        assert trained.module_.offset.dtype == getattr(torch, before)


def test_further_training_keeps_components_dropped(digits):
    options = {"max_iter": 200, "early_stopping": False, "random_state": 0}
    model = AutoencoderTransformer(0.8, network=MLP((32,)), **options)
    k = model.fit(digits).n_components_
    assert k < model._config.n_components
    assert model.partial_fit(digits).n_components_ == k
    assert model.transform(digits).shape == (120, k)


def test_noise_in_place_leaves_the_rows_alone():
    seen = []

    def raised(batch):
        seen.append(float(batch.mean()))
        return batch.add_(1.0)

    options = {
        "noise": raised,
        "batch_size": 53,
        "max_iter": 4,
        "early_stopping": False,
    }
    AutoencoderTransformer(2, network=MLP((8,)), **options).fit(X)
    assert max(seen) < 0.5


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adamw", "adam", "rmsprop", "sgd"])
def test_training_that_diverges_warns_and_keeps_a_finite_model(solver, early_stopping):
    rows = np.random.default_rng(0).standard_normal((40, 5))
    options = {"early_stopping": early_stopping, "solver": solver, "random_state": 0}
    options |= {"network": MLP((8,)), "max_iter": 50, "learning_rate": 1e6}
    model = AutoencoderTransformer(2, **options)
    with pytest.warns(ConvergenceWarning, match="Lower learning_rate"):
        model.fit(rows)
    assert model.n_iter_ < 50
    assert np.isfinite(model.validation_loss_curve_).all()
    assert all(p.isfinite().all() for p in model.module_.parameters())
    pca = AutoencoderTransformer(2, max_iter=0).fit(rows)
    assert model.score(rows) >= pca.score(rows) - 1e-6


@pytest.mark.parametrize(("threshold", "n_threads"), [(1e9, 1), (1e3, 3)])
def test_only_large_steps_use_several_threads(threshold, n_threads, monkeypatch):
    monkeypatch.setattr(_trainer, "SMALL_STEP", threshold)
    torch.set_num_threads(3)
    assert start(data_of(curve(50))).trainer.n_threads == n_threads


def test_an_epoch_takes_a_step_for_each_batch():
    trainer = start(data_of(curve(53)), batch_size=10, early_stopping=False).trainer
    assert trainer.n_batches == 6
    losses = list(trainer.epochs(3))
    assert len(losses) == 3
    assert trainer.optimizer.n_steps == 18
