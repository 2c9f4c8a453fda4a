"""Training reads every row once per epoch, from memory or from where it lies."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skae import MLP, AutoencoderTransformer
from skae.data._rows import StandardizedRows
from skae.training._trainer import Batches, constant, threads, warmup_cosine

X = np.random.default_rng(0).random((53, 4))


def batches_of(X, weight=None, index=None):
    rows = StandardizedRows(X, np.zeros(X.shape[1]), 1.0, weight, index)
    return Batches(rows, "float64", "cpu")


@pytest.mark.parametrize("n_batches", [1, 2, 7, 53])
@pytest.mark.parametrize("resident_bytes", [0, 2**30], ids=["streamed", "resident"])
def test_batches_cover_all_rows_once_in_even_sizes(
    n_batches, resident_bytes, monkeypatch
):
    monkeypatch.setattr("skae.training._trainer.RESIDENT_BYTES", resident_bytes)
    weight = np.arange(1.0, 54.0)
    batches = batches_of(X, weight)
    assert (batches.resident is None) == (resident_bytes == 0)
    pairs = list(batches.shuffled(n_batches, torch.Generator().manual_seed(0)))
    sizes = [len(rows) for rows, _ in pairs]
    assert len(sizes) == n_batches
    assert max(sizes) - min(sizes) <= 1
    rows = torch.cat([rows for rows, _ in pairs]).numpy()
    weights = torch.cat([weights for _, weights in pairs]).numpy()
    order = np.argsort(weights)
    np.testing.assert_array_equal(weights[order], weight)
    np.testing.assert_array_equal(rows[order], X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_streamed_rows_equal_resident_rows(monkeypatch):
    model = AutoencoderTransformer(2, max_iter=3, random_state=0, batch_size=16)
    codes = model.fit_transform(X)
    monkeypatch.setattr("skae.training._trainer.RESIDENT_BYTES", 0)
    np.testing.assert_array_equal(model.fit_transform(X), codes)


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


def test_number_of_threads_is_restored_also_after_errors():
    def fail(before):
        with threads(before + 2):
            assert torch.get_num_threads() == before + 2
            raise RuntimeError("broken")

    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="broken"):
        fail(before)
    assert torch.get_num_threads() == before


def test_failing_fit_restores_the_number_of_threads():
    def broken(output, target):
        raise RuntimeError("broken")

    torch.set_num_threads(3)
    with pytest.raises(RuntimeError, match="broken"):
        AutoencoderTransformer(2, loss=broken).fit(X)
    assert torch.get_num_threads() == 3


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


def test_bfloat16_is_refused_where_it_would_only_be_slower(monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", dict, raising=False)
    model = AutoencoderTransformer(2, precision="bfloat16", device="cpu")
    with pytest.raises(ValueError, match=r"'cpu' has no arithmetic.*'float32'"):
        model.fit(X)
    abilities = {"avx512_bf16": True}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: abilities, raising=False)
    assert model.set_params(max_iter=1).fit(X).precision_ == "bfloat16"


def test_memory_does_not_grow_with_the_sizes_of_chunks():
    model = AutoencoderTransformer(2, network=MLP((8,)), batch_size=1000)
    for n_rows in range(40, 50):
        model.partial_fit(X[:n_rows])
        assert not model._course.trainer.gradient.steps
        assert model._course.epochs is None


@pytest.mark.parametrize(("first", "then"), [(300, 1000), (1500, 100)])
def test_precision_is_that_of_the_model_that_goes_on(first, then):
    rows = np.random.default_rng(0).random((1500, 4))
    model = AutoencoderTransformer(2, network=MLP((8,)), batch_size=500)
    before = model.partial_fit(rows[:first]).precision_
    copied = pickle.loads(pickle.dumps(model))
    for going in (model, copied):
        going.partial_fit(rows[:then])
        assert going.precision_ == before
        assert going.module_.offset.dtype == getattr(torch, before)


def test_a_saved_model_that_left_components_out_goes_on_without_them(digits):
    options = {"max_iter": 200, "early_stopping": False, "random_state": 0}
    model = AutoencoderTransformer(0.8, network=MLP((32,)), **options)
    k = model.fit(digits).n_components_
    assert k < model._blueprint.n_components
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
