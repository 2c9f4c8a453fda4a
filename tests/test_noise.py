"""Noises: each formula, and what they have in common in a fit."""

import numpy as np
import pytest
import torch
from parts import NO_NOISES, NOISES, NUMERIC_LOSSES, generator, quick, rows
from scipy import sparse
from sklearn.datasets import load_digits

from skae import (
    MLP,
    AutoencoderTransformer,
    Conv,
    GaussianNoise,
    Noise,
    Recurrent,
    Sparse,
)
from skae.noise import add_gaussian, as_noise, mask, random_entries, swap

X = rows()


def batch_of(*shape):
    numbers = torch.arange(1, 1 + np.prod(shape), dtype=torch.float64)
    return numbers.reshape(shape)


def test_gaussian_noise_has_mean_zero_and_its_scale():
    added = add_gaussian(torch.zeros(300, 300), 0.5, generator())
    assert added.mean().item() == pytest.approx(0, abs=0.01)
    assert added.std().item() == pytest.approx(0.5, rel=0.01)


def test_random_entries_are_a_fraction_of_all():
    chosen = random_entries(torch.zeros(300, 300), 0.3, generator())
    assert chosen.double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_masking_sets_its_fraction_to_zero_and_leaves_the_rest():
    batch = batch_of(300, 300)
    masked = mask(batch, 0.3, generator())
    changed = masked != batch
    assert (masked[changed] == 0).all()
    assert changed.double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_swapping_takes_values_of_other_rows_and_the_same_feature():
    batch = batch_of(200, 50)
    swapped = swap(batch, 0.4, generator())
    changed = swapped != batch  # all values differ: a row's own would show
    assert changed.double().mean().item() == pytest.approx(0.4, abs=0.02)
    for j in range(50):
        assert set(swapped[:, j].tolist()) <= set(batch[:, j].tolist())


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_a_batch_of_one_row_is_not_swapped(fraction):
    batch = batch_of(1, 4)
    assert torch.equal(swap(batch, fraction, generator()), batch)


def test_all_entries_can_be_masked_or_swapped():
    batch = batch_of(30, 4)
    assert not mask(batch, 1.0, generator()).any()
    assert (swap(batch, 1.0, generator()) != batch).all()


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_come_from_the_generator_alone(noise, dtype):
    batch = batch_of(20, 4).to(dtype)
    before, default = torch.get_rng_state(), torch.get_default_dtype()
    first = noise.corrupt(batch, generator())
    torch.set_default_dtype(torch.float64)
    try:
        second = noise.corrupt(batch, generator())
    finally:
        torch.set_default_dtype(default)
    assert first.dtype == dtype
    assert torch.equal(first, second)
    assert not torch.equal(first, noise.corrupt(batch, generator(1)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_a_batch_is_not_changed_in_place(noise):
    batch = batch_of(20, 4)
    noise.corrupt(batch, generator())
    assert torch.equal(batch, batch_of(20, 4))


@pytest.mark.parametrize("noise", [*NO_NOISES, Noise()], ids=repr)
def test_strength_zero_gives_the_bits_of_no_noise(noise):
    codes = quick(noise=noise).fit_transform(X)
    np.testing.assert_array_equal(codes, quick().fit_transform(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_noise_changes_training_and_nothing_after_it(noise):
    options = {"max_iter": 20, "init": "random", "early_stopping": False}
    model, plain = (quick(noise=part, **options).fit(X) for part in (noise, None))
    assert not np.allclose(model.transform(X), plain.transform(X))
    np.testing.assert_array_equal(model.transform(X), model.transform(X))


def test_only_the_base_class_itself_is_a_no_op():
    class Renamed(Noise):
        pass

    assert Noise().is_noop
    assert not Renamed().is_noop
    assert not any(noise.is_noop for noise in NOISES)


def test_a_function_is_a_noise():
    noise = as_noise(lambda batch: batch / 2)
    assert torch.equal(
        noise.corrupt(torch.ones(2, 3), generator()), torch.ones(2, 3) / 2
    )
    assert not noise.is_noop


def test_a_function_that_changes_its_argument_does_not_change_the_batch():
    batch = batch_of(20, 4)
    as_noise(lambda batch: batch.zero_()).corrupt(batch, generator())
    assert torch.equal(batch, batch_of(20, 4))


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("value", [-0.1, "much"])
def test_an_invalid_strength_raises_by_name(noise, value):
    (name,) = noise.get_params()
    part = type(noise)(value)
    message = f"'{name}' parameter of {type(noise).__name__}"
    with pytest.raises(ValueError, match=message):
        quick(noise=part).fit(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_denoising_beats_plain_training_on_noisy_rows(digits, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    noisy = digits + 4 * rng.standard_normal(digits.shape)
    options = {"network": MLP((64,)), "max_iter": 100, "init": "random"}
    options |= {"early_stopping": False, "random_state": global_random_seed}
    errors = []
    for noise in (None, NOISES[0]):
        model = AutoencoderTransformer(10, noise=noise, **options).fit(digits[:90])
        cleaned = model.inverse_transform(model.transform(noisy[90:]))
        errors.append(np.square(cleaned - digits[90:]).mean())
    assert errors[1] < errors[0]


def denoising_errors(model, clean, noise, n_draws=5):
    """Return the mean squared error of rows that are reconstructed from noisy ones."""
    standardized = torch.from_numpy((clean - model.mean_) / model.scale_)
    draws = generator()
    errors = []
    for _ in range(n_draws):
        noisy = noise.corrupt(standardized, draws).numpy() * model.scale_ + model.mean_
        decoded = model.inverse_transform(model.transform(noisy))
        errors.append(((decoded - clean) ** 2).mean())
    return np.mean(errors)


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", ["auto", False])
@pytest.mark.parametrize("k", [32, 128])
@pytest.mark.parametrize("noise", [GaussianNoise(0.8), *NOISES], ids=repr)
def test_a_denoising_autoencoder_is_better_than_pca_on_noisy_rows(
    noise, k, early_stopping
):
    X = load_digits().data / 16
    pca, model = (
        AutoencoderTransformer(k, noise=noise, random_state=0, max_iter=max_iter)
        for max_iter in (0, 60)
    )
    pca.fit(X[:1000])
    model.set_params(early_stopping=early_stopping).fit(X[:1000])
    errors = [denoising_errors(m, X[1000:], noise) for m in (model, pca)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.slow
def test_noisy_digits_are_denoised_by_default():
    X = load_digits().data / 16
    noise = GaussianNoise(0.3 / X[:1000].std())
    model = AutoencoderTransformer(32, noise=noise, random_state=0).fit(X[:1000])
    # PCA has 0.048.
    assert denoising_errors(model, X[1000:], noise) < 0.02


@pytest.mark.parametrize(
    "network", [MLP((8,)), Conv(channels=(4,)), Recurrent(hidden_size=4)], ids=repr
)
def test_every_network_is_compared_with_pca_on_noisy_rows(network):
    # A constant signal: with noise, its mean is far better than the first component.
    level = np.random.default_rng(0).choice([-1.0, 1.0], (300, 1, 1))
    X = (
        level * np.ones((1, 12, 1))
        if isinstance(network, Recurrent)
        else (level * np.ones((1, 1, 12)))
    )
    model = AutoencoderTransformer(
        1, network=network, noise=GaussianNoise(2.0), max_iter=40, random_state=0
    )
    assert model.fit(X).best_iter_ > 0


# Pairs of noisy and clean rows.

RNG = np.random.default_rng(0)
CLEAN = RNG.random((120, 6))
NOISY = (CLEAN + 0.2 * RNG.standard_normal((120, 6))).clip(0, 1)
WEIGHT = RNG.integers(0, 3, 120).astype(float)

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@quiet
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("regularizer", [None, Sparse(0.01)], ids=repr)
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_clean_rows_that_equal_the_rows_change_nothing(loss, regularizer, method):
    models = [quick(2, loss=loss, regularizer=regularizer) for _ in range(2)]
    getattr(models[0], method)(CLEAN, sample_weight=WEIGHT)
    getattr(models[1], method)(CLEAN, sample_weight=WEIGHT, X_clean=CLEAN)
    codes = [model.transform(CLEAN) for model in models]
    np.testing.assert_allclose(codes[0], codes[1], rtol=1e-6, atol=1e-9)


@quiet
@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (MLP((8,)), np.asarray),
        (MLP((8,)), sparse.csr_array),
        (Recurrent(hidden_size=4), lambda X: X.reshape(-1, 3, 2)),
    ],
    ids=["dense", "csr", "sequences"],
)
def test_moments_and_pca_are_those_of_the_clean_rows(network, kind):
    X, X_clean = kind(NOISY), kind(CLEAN)
    model = quick(2, network=network, max_iter=0).fit(X, X_clean=X_clean)
    expected = quick(2, network=network, max_iter=0).fit(X_clean)
    np.testing.assert_array_equal(model.mean_, expected.mean_)
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))


@quiet
@pytest.mark.parametrize("early_stopping", ["auto", False])
def test_pairs_are_denoised_as_well_as_by_noise(early_stopping):
    X, rng = load_digits().data / 16, np.random.default_rng(0)
    noisy = X + 0.3 * rng.standard_normal(X.shape)
    model, pca = (
        AutoencoderTransformer(16, random_state=0, max_iter=max_iter)
        for max_iter in (40, 0)
    )
    model.set_params(early_stopping=early_stopping)
    model.fit(noisy[:1000], X_clean=X[:1000])
    pca.fit(X[:1000])
    errors = [
        np.square(m.inverse_transform(m.transform(noisy[1000:])) - X[1000:]).mean()
        for m in (model, pca)
    ]
    assert errors[0] < 0.96 * errors[1]


def test_clean_rows_must_be_as_many_as_the_rows_and_valid():
    model = quick()
    with pytest.raises(ValueError, match="X_clean has 119 rows, but expected 120"):
        model.fit(NOISY, X_clean=CLEAN[1:], sample_weight=WEIGHT)
    with pytest.raises(ValueError, match="X_clean"):
        model.fit(NOISY, X_clean=CLEAN[:, 1:])
    with pytest.raises(ValueError, match="X_clean"):
        model.fit(NOISY, X_clean=np.where(CLEAN > 0.5, np.nan, CLEAN))
    with pytest.raises(ValueError, match="X_clean and X_val"):
        model.fit(NOISY, X_clean=CLEAN, X_val=CLEAN)
