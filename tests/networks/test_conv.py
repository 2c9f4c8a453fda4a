"""`Conv`: shapes in and out, the start at PCA, state, and what it is for."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA

from skae import MLP, AutoencoderTransformer, Conv
from skae.networks._layers import n_products

SHAPES = [
    (1, 1),
    (1, 2),
    (1, 3),
    (2, 13),
    (6, 32),
    (1, 1, 1),
    (1, 1, 9),
    (1, 8, 8),
    (3, 5, 8),
    (2, 7, 4),
]
IMAGES, SIGNALS = Conv((2, 6, 5), channels=(4, 8)), Conv((3, 20), channels=(4, 8))
NETWORKS = [IMAGES, SIGNALS, Conv((1, 60), channels=(4,), hidden_layer_sizes=())]


def model(network, **parameters):
    settings = {"max_iter": 2, "random_state": 0, **parameters}
    return AutoencoderTransformer(3, network=network, **settings)


@pytest.fixture(scope="module")
def X():
    X = np.random.default_rng(0).standard_normal((50, 60)).cumsum(axis=1)
    X.flags.writeable = False
    return X


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("channels", [(4,), (4, 3, 2)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_decoder_returns_rows_of_the_encoders_shape(shape, channels, kernel_size):
    network = Conv(shape, channels=channels, kernel_size=kernel_size)
    x = torch.randn(3, math.prod(shape))
    encoder, decoder = network(x.shape[1], 2, n_samples=10)
    assert encoder(x).shape == (3, 2)
    assert decoder(encoder(x)).shape == x.shape


@pytest.mark.parametrize(
    ("row_shape", "shape"),
    [
        ((1,), (1, 1, 1)),
        ((2,), (1, 2)),
        ((64,), (1, 8, 8)),
        ((24,), (1, 24)),
        ((6, 100), (6, 100)),
        ((3, 8, 9), (3, 8, 9)),
    ],
)
def test_shape_of_flat_rows_is_an_image_if_square_else_a_signal(row_shape, shape):
    assert Conv().shaped(row_shape).shape == shape


def test_own_shape_takes_precedence_over_that_of_flat_rows():
    network = Conv((2, 32))
    assert network.shaped((64,)) == network


def test_the_shape_of_rows_is_set_on_a_copy():
    network = Conv()
    assert network.shaped((64,)).shape == (1, 8, 8)
    assert network.shape is None


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Conv((1, 8, 9)), r"rows of shape \(60,\).*expected 72.*Set the network"),
        (Conv((60,)), r"shape=\(60,\) of 1 dimensions, but expected \(channels"),
        (Conv((1, 2, 5, 6)), "of 4 dimensions"),
        (Conv((1, 0, 60)), "expected a tuple of positive integers"),
        (Conv(channels=()), "channels"),
        (Conv(channels=(4, 0)), "channels"),
        (Conv(kernel_size=4), "kernel_size=4, but expected an odd number, such as 5"),
        (Conv(hidden_layer_sizes=(2.5,)), "hidden_layer_sizes"),
        (Conv(activation="swish"), "activation"),
    ],
    ids=repr,
)
def test_invalid_parameters_raise_by_name(network, message, X):
    with pytest.raises(ValueError, match=message):
        model(network).fit(X)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), ()])
def test_rows_of_other_dimensions_raise(shape):
    with pytest.raises(ValueError, match=f"of {len(shape)} dimensions"):
        Conv().shaped(shape)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_training_starts_at_pca(network, X):
    start, pca = model(network, max_iter=0).fit(X), PCA(3).fit(X)
    expected = pca.inverse_transform(pca.transform(X))
    np.testing.assert_allclose(
        start.inverse_transform(start.transform(X)), expected, atol=1e-9
    )


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pickled_model_returns_the_same_bits(network, dtype, X):
    fitted = model(network).fit(X.astype(dtype))
    codes = fitted.transform(X.astype(dtype))
    assert codes.dtype == dtype
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(X.astype(dtype)), codes)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_the_same_seed_gives_the_same_bits(network, X):
    first, second, other = (
        model(clone(network), init="random", random_state=seed).fit_transform(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_weights_do_not_depend_on_the_default_dtype():
    def weights():
        torch.manual_seed(0)
        return torch.cat([p.ravel() for p in IMAGES(60, 2, 10)[0].parameters()])

    expected = weights()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(weights(), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_integer_weights_equal_repeated_rows(network, X):
    rows, weight = X[:12], np.arange(12) % 3 + 1
    weighted = model(network).fit(rows, sample_weight=weight)
    repeated = model(network).fit(np.repeat(rows, weight, axis=0))
    np.testing.assert_allclose(
        weighted.transform(rows), repeated.transform(rows), rtol=1e-7, atol=1e-9
    )


def test_weights_have_the_variance_of_he_initialization():
    encoder, decoder = Conv((64, 8, 8), channels=(64, 64))(64 * 64, 2, n_samples=10)
    x = torch.randn(100, 64 * 64)
    for layer in (m for m in encoder.layers if hasattr(m, "kernel_size")):
        assert layer.weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.05)
        assert not layer.bias.any()
    assert 0.2 < encoder(x).var().item() < 5
    hidden = decoder.layers(torch.randn(100, 2))
    assert 0.2 < hidden.var().item() < 5


def test_n_products_counts_a_kernel_at_every_position():
    network = Conv((1, 8, 8), channels=(4, 8), hidden_layer_sizes=(5,))
    encoder, decoder = network(64, 3, n_samples=10)
    expected = 9 * (16 * 4 + 4 * 32) + 32 * 5 + 5 * 3
    assert [n_products(module) for module in (encoder, decoder)] == [expected] * 2
    perceptron, _ = MLP((5,))(64, 3, n_samples=10)
    assert n_products(perceptron) == sum(p.numel() for p in perceptron.parameters())


def test_weight_decay_shrinks_kernels(X):
    settings = {"max_iter": 40, "n_iter_no_change": 40, "learning_rate": 1e-2}
    settings |= {"early_stopping": False}
    fits = [model(IMAGES, alpha=alpha, **settings).fit(X) for alpha in (0.0, 5.0)]
    kernels = [
        sum(
            p.square().sum().item()
            for p in fitted.module_.encoder.network.layers.parameters()
            if p.ndim > 2
        )
        for fitted in fits
    ]
    assert kernels[1] < 0.5 * kernels[0]


def bumps(n, seed):
    """Return signals of one bump each, at a random position."""
    rng = np.random.default_rng(seed)
    centers, widths = rng.uniform(8, 56, (n, 1)), rng.uniform(1.5, 3, (n, 1))
    return np.exp(-0.5 * ((np.arange(64) - centers) / widths) ** 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_shifted_patterns_are_learned_in_fewer_steps_than_by_an_mlp():
    train, test = bumps(300, 0), bumps(300, 1)
    settings = {"max_iter": 20, "early_stopping": False, "precision": "float32"}
    unexplained = [
        1 - model(network, **settings).set_params(n_components=2).fit(train).score(test)
        for network in (Conv((1, 64), channels=(8, 16)), MLP((128, 128)))
    ]
    assert unexplained[0] < 0.8 * unexplained[1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 6, 1), (5, 9, 4)], ids=str)
def test_images_whose_channels_seem_to_come_last_warn(shape):
    images = np.random.default_rng(0).random((40, *shape))
    quick = {"max_iter": 1, "random_state": 0}
    network = Conv(channels=(4,))
    with pytest.warns(UserWarning, match=r"pass np.moveaxis\(X, -1, 1\)"):
        AutoencoderTransformer(2, network=network, **quick).fit(images)
    AutoencoderTransformer(2, network=network, **quick).fit(np.moveaxis(images, -1, 1))
    network.set_params(shape=shape)  # warnings are errors
    AutoencoderTransformer(2, network=network, **quick).fit(images)


@pytest.mark.parametrize(
    "shape",
    [(1, 8, 8), (3, 32, 32), (3, 8, 3), (4, 9, 1), (64, 4, 4), (16, 3, 3), (9, 1, 1),
     (8, 1, 4), (30, 3), (30, 1)],
    ids=str,
)  # fmt: skip
def test_channels_that_come_first_do_not_warn(shape):
    assert Conv().shaped(shape).shape == shape  # warnings are errors
