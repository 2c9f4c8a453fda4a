"""Noise changes what is encoded as its formula says, and only by its generator."""

import numpy as np
import pytest
import torch
from parts import NO_NOISES, NOISES

from skae import MLP, AutoencoderTransformer, Noise
from skae.noise import add_gaussian, as_noise, mask, swap

X = np.random.default_rng(0).standard_normal((60, 5))
QUICK = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(*shape):
    numbers = torch.arange(1, 1 + np.prod(shape), dtype=torch.float64)
    return numbers.reshape(shape)


def test_gaussian_noise_has_mean_zero_and_its_scale():
    added = add_gaussian(torch.zeros(300, 300), 0.5, generator())
    assert added.mean().item() == pytest.approx(0, abs=0.01)
    assert added.std().item() == pytest.approx(0.5, rel=0.01)


def test_masking_sets_its_fraction_to_zero_and_leaves_the_rest():
    batch = batch_of(300, 300)
    masked = mask(batch, 0.3, generator())
    changed = masked != batch
    assert (masked[changed] == 0).all()
    assert changed.double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_swapping_takes_values_of_other_rows_and_the_same_feature():
    batch = batch_of(200, 50)
    swapped = swap(batch, 0.4, generator())
    changed = swapped != batch  # all values differ, so no row stands in for itself
    assert changed.double().mean().item() == pytest.approx(0.4, abs=0.02)
    for j in range(50):
        assert set(swapped[:, j].tolist()) <= set(batch[:, j].tolist())


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_a_row_without_others_cannot_be_swapped(fraction):
    batch = batch_of(1, 4)
    assert torch.equal(swap(batch, fraction, generator()), batch)


def test_all_entries_can_be_masked_or_swapped():
    batch = batch_of(30, 4)
    assert not mask(batch, 1.0, generator()).any()
    assert (swap(batch, 1.0, generator()) != batch).all()


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_follow_the_generator_alone(noise, dtype):
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
def test_strength_zero_equals_no_noise(noise):
    codes = AutoencoderTransformer(2, noise=noise, **QUICK).fit_transform(X)
    plain = AutoencoderTransformer(2, **QUICK).fit_transform(X)
    np.testing.assert_array_equal(codes, plain)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_noise_changes_training_and_nothing_after_it(noise):
    options = {**QUICK, "max_iter": 20, "init": "random", "early_stopping": False}
    model = AutoencoderTransformer(2, noise=noise, **options).fit(X)
    plain = AutoencoderTransformer(2, **options).fit(X)
    assert not np.allclose(model.transform(X), plain.transform(X))
    np.testing.assert_array_equal(model.transform(X), model.transform(X))


def test_a_callable_is_a_noise():
    noise = as_noise(lambda batch: batch / 2)
    assert torch.equal(
        noise.corrupt(torch.ones(2, 3), generator()), torch.ones(2, 3) / 2
    )
    assert not noise.is_noop


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("value", [-0.1, "much"])
def test_a_strength_without_meaning_is_refused_by_name(noise, value):
    (name,) = noise.get_params()
    part = type(noise)(value)
    with pytest.raises(
        ValueError, match=f"'{name}' parameter of {type(noise).__name__}"
    ):
        AutoencoderTransformer(2, noise=part, **QUICK).fit(X)


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
