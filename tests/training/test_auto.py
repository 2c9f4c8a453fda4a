"""Every "auto" has the value that the documentation states."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skae import (
    MLP,
    MMD,
    AutoencoderTransformer,
    Conv,
    CrossEntropy,
    MaskingNoise,
    Ordered,
    Recurrent,
    Sparse,
)
from skae.data._layout import NumericLayout, PaddedLayout, TokenLayout
from skae.data._validation import TrainingData
from skae.training._auto import default_recipe, resolve_params


def resolved_for(data, seed=0, **params):
    """Return the resolved parameters of a fit on validated rows."""
    params = AutoencoderTransformer(**params).get_params(deep=False)
    return resolve_params(params, data, seed)


def resolved(n_rows, *, X_val=None, dtype=np.float64, seed=0, **params):
    """Return the resolved parameters of a fit on different rows."""
    X = np.arange(3 * n_rows).reshape(n_rows, 3).astype(dtype)
    data = TrainingData(X, NumericLayout((3,)), None, X_val)
    return resolved_for(data, seed, **params)


@pytest.mark.parametrize(
    ("n_rows", "fraction", "n_validation"),
    [
        (39, 0.1, 0),  # a quarter is fewer than 10
        (40, 0.1, 10),
        (200, 0.1, 50),  # at most a quarter
        (400, 0.1, 100),
        (900, 0.1, 100),  # at least 100
        (5000, 0.1, 500),
        (5000, 0.3, 1000),
        (100_000, 0.1, 1000),  # at most 1000
    ],
)
def test_number_of_validation_rows(n_rows, fraction, n_validation):
    # With a prior there is no cross-validation.
    params = {"validation_fraction": fraction, "regularizer": MMD()}
    index = resolved(n_rows, **params).validation_index
    assert len(np.unique(index)) == n_validation


@pytest.mark.parametrize(
    ("params", "n_validation"),
    [
        ({"early_stopping": False}, 0),
        ({"early_stopping": True}, 10),
        ({"early_stopping": True, "validation_fraction": 0.001}, 1),
        ({"early_stopping": True, "validation_fraction": 0.999}, 99),
        ({"early_stopping": True, "max_iter": 0}, 0),
        ({"early_stopping": True, "X_val": np.zeros((5, 3))}, 0),
    ],
)
def test_number_of_validation_rows_that_is_not_auto(params, n_validation):
    assert len(resolved(100, **params).validation_index) == n_validation


def test_validation_rows_follow_the_seed():
    first, again, other = (resolved(800, seed=s).validation_index for s in (0, 0, 1))
    assert_array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize(("n_rows", "n_folds"), [(9, 0), (10, 5), (699, 5), (700, 0)])
def test_few_rows_are_validated_in_folds(n_rows, n_folds):
    params = resolved(n_rows)
    assert len(params.folds) == n_folds
    assert len(params.validation_index) == (100 if n_rows == 700 else 0)
    assert params.holds_out_rows == (n_rows >= 10)


@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": False},
        {"early_stopping": True},
        {"warm_start": True},
        {"max_iter": 0},
        {"regularizer": MMD()},
        {"X_val": np.zeros((5, 3))},
    ],
    ids=str,
)
def test_there_are_no_folds_without_a_comparison_with_pca(params):
    assert resolved(100, **params).folds == ()


@pytest.mark.parametrize(
    ("n_rows", "batch_size"),
    [(1, 64), (64, 64), (65, 32), (700, 32), (800, 64), (2000, 128), (4000, 256)],
)
def test_batch_size_is_the_power_of_two_nearest_to_a_sixteenth(n_rows, batch_size):
    assert default_recipe(n_rows).batch_size == batch_size
    assert resolved(n_rows).batch_size == min(batch_size, n_rows)


def test_batch_size_of_lbfgs_is_all_rows():
    assert resolved(5000, solver="lbfgs").batch_size == 5000
    assert resolved(5000, solver="lbfgs", batch_size=7).batch_size == 7


@pytest.mark.parametrize(
    ("n_rows", "n_steps"),
    [(40, 1500), (999, 1500), (1000, 3000), (9999, 3000), (10_000, 4000)],
)
@pytest.mark.parametrize("batch_size", [32, 50])
def test_max_iter_makes_a_number_of_steps(n_rows, n_steps, batch_size):
    max_iter = resolved(n_rows, batch_size=batch_size).max_iter
    n_batches = -(-n_rows // batch_size)
    assert (max_iter - 1) * n_batches < n_steps <= max_iter * n_batches


@pytest.mark.parametrize(
    "params",
    [{"early_stopping": False}, {"early_stopping": True}, {"warm_start": True}],
)
def test_max_iter_of_few_rows_is_one_without_folds(params):
    assert resolved(39, **params).max_iter == 1
    assert resolved(39).max_iter == 1500


@pytest.mark.parametrize(
    ("n_rows", "solver", "alpha"),
    [
        (10, "adamw", 1.0),
        (500, "adamw", 1.0),
        (1000, "adamw", 0.5),
        (1000, "adam", 1e-4),
    ],
)
def test_alpha_is_smaller_for_more_rows(n_rows, solver, alpha):
    assert resolved(n_rows, solver=solver).alpha == alpha


@pytest.mark.parametrize(
    ("n_rows", "max_iter", "n_iter_no_change"),
    [
        (800, 1, 8),
        (800, 32, 8),
        (800, 40, 10),
        (800, 99, 24),
        (100, 96, 8),  # with folds
        (100, 160, 10),
    ],
)
def test_n_iter_no_change_is_a_share_of_the_epochs(n_rows, max_iter, n_iter_no_change):
    assert resolved(n_rows, max_iter=max_iter).n_iter_no_change == n_iter_no_change


@pytest.mark.parametrize(
    ("dtype", "n_rows", "device", "precision"),
    [
        (np.float64, 64, "cpu", "float64"),
        (np.float64, 65, "cpu", "float32"),
        (np.float64, 64, "mps", "float32"),  # has no float64
        (np.float32, 64, "cpu", "float32"),
        (np.float16, 64, "cpu", "float32"),
    ],
)
def test_precision_is_float64_for_small_float64_data(
    dtype, n_rows, device, precision, monkeypatch
):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert resolved(n_rows, dtype=dtype, device=device).config.dtype == precision


def dtypes(params):
    """Return the types of the weights and of the products."""
    return params.config.dtype, params.compute_dtype


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision_is_that_of_weights_and_products(precision):
    params = resolved(100, precision=precision)
    assert dtypes(params) == (precision, getattr(torch, precision))


def test_bfloat16_products_have_float32_weights(bfloat16):
    params = resolved(100, precision="bfloat16")
    assert dtypes(params) == ("float32", torch.bfloat16)


def test_bfloat16_raises_on_devices_without_it(monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    with pytest.raises(ValueError, match=r"'cpu' has no bfloat16.*'float32'"):
        resolved(100, precision="bfloat16", device="cpu")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    params = resolved(100, precision="bfloat16", device="cpu")
    assert params.compute_dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_device_is_the_accelerator_if_there_is_one(cuda, mps, device, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert resolved(100).device == device


def test_given_values_are_kept():
    given = {"alpha": 0.25, "batch_size": 5, "max_iter": 6, "n_iter_no_change": 7}
    params = resolved(100, **given)
    assert {name: getattr(params, name) for name in given} == given


# The configuration of the model.


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("network", MLP((4,))),
        ("noise", MaskingNoise(0.1)),
        ("regularizer", Sparse(0.1)),
        ("loss", CrossEntropy(5)),
    ],
)
def test_the_configuration_has_clones_of_the_parts(name, part):
    kept = getattr(resolved(100, **{name: part}).config, name)
    assert kept == part
    assert kept is not part


def test_networks_receive_the_shape_of_a_row():
    data = TrainingData(np.zeros((30, 12)), NumericLayout((1, 4, 3)))
    assert resolved_for(data, network=Conv()).config.network.shape == (1, 4, 3)


@pytest.mark.parametrize(
    ("network", "channels_first"),
    [(MLP(), False), (Recurrent(), False), (Conv(), True)],
)
def test_the_layout_has_the_axes_that_the_network_expects(network, channels_first):
    data = TrainingData(np.zeros((30, 6)), TokenLayout((6,), 9))
    layout = resolved_for(data, network=network).config.layout
    assert layout.channels_first == channels_first


PADDED = TrainingData(np.zeros((30, 14)), PaddedLayout((7, 2), 0))


def test_one_component_of_a_sequence_is_its_length():
    config = resolved_for(PADDED, n_components=3).config
    assert config.n_components == 2
    assert config.n_columns == 3


def test_sequences_need_two_components():
    with pytest.raises(ValueError, match=r"Got n_components=1 for .* at least 2"):
        resolved_for(PADDED, n_components=1)


def with_variances(*variances):
    """Return rows whose columns are uncorrelated and have given variances."""
    signs = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return np.tile(signs, (25, 1)) * np.sqrt(variances)


@pytest.mark.parametrize(
    ("share", "n_components"), [(0.1, 1), (0.59, 1), (0.61, 2), (0.89, 2), (0.91, 3)]
)
def test_a_share_of_variance_is_the_fewest_components_of_pca(share, n_components):
    X = with_variances(6, 3, 1)
    params = resolved_for(TrainingData(X, NumericLayout((3,))), n_components=share)
    assert params.config.n_components == n_components
    assert params.share == share


def test_a_share_of_variance_is_that_of_weighted_rows():
    X, weight = with_variances(6, 3, 1), np.ones(100)
    X[:48, 1:] = 0  # of the other rows two components have a share of 0.9
    data = TrainingData(X, NumericLayout((3,)))
    assert resolved_for(data, n_components=0.7).config.n_components == 1
    weight[:48] = 1e-6
    data = TrainingData(X, NumericLayout((3,)), weight / weight.mean())
    assert resolved_for(data, n_components=0.7).config.n_components == 2


@pytest.mark.parametrize(
    ("given", "regularizer"), [(None, Ordered()), (Sparse(0.1), Sparse(0.1))], ids=repr
)
def test_components_are_ordered_if_their_number_is_a_share(given, regularizer):
    X = with_variances(6, 3, 1)
    data = TrainingData(X, NumericLayout((3,)))
    config = resolved_for(data, n_components=0.5, regularizer=given).config
    assert config.regularizer == regularizer
    config = resolved_for(data, n_components=2, regularizer=given).config
    assert config.regularizer == given


# Training a fitted model further.


@pytest.mark.parametrize(
    "other",
    [
        {"n_components": 3},
        {"init": "random"},
        {"loss": "huber"},
        {"regularizer": Sparse(0.1)},
        {"network": MLP((4,))},
    ],
    ids=str,
)
def test_a_fitted_model_cannot_become_another_one(other):
    config = resolved(100).config
    (name,) = other
    with pytest.raises(ValueError, match=rf"Got {name}=.*warm_start=False"):
        resolved(100, **other).for_model(config)
    assert resolved(100, max_iter=3).for_model(config).config == config


def test_the_noise_of_a_fitted_model_may_change():
    params = resolved(100, noise=MaskingNoise(0.2))
    assert params.for_model(resolved(100).config).config.noise == MaskingNoise(0.2)


@pytest.mark.parametrize(("first", "then"), [(50, 1000), (1000, 50)])
def test_the_precision_is_that_of_the_fitted_model(first, then):
    fitted = resolved(first)
    assert dtypes(resolved(then)) != dtypes(fitted)
    assert dtypes(resolved(then).for_model(fitted.config)) == dtypes(fitted)


def test_bfloat16_products_are_kept_for_a_fitted_model(bfloat16):
    mixed = resolved(1000, precision="bfloat16")
    assert mixed.for_model(resolved(1000).config).compute_dtype == torch.bfloat16


def test_a_share_of_variance_may_give_another_number_of_components():
    X = with_variances(6, 3, 1)
    data = TrainingData(X, NumericLayout((3,)))
    config = resolved_for(data, n_components=0.5).config
    params = resolved_for(data, n_components=0.95)
    assert params.config.n_components > config.n_components == 1
    assert params.for_model(config).config.n_components == 1
