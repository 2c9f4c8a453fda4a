"""`Recurrent`: shapes in and out, the order of steps, and what it is for."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from skae import AutoencoderTransformer, Recurrent
from skae.networks._layers import n_products

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = [
    Recurrent(hidden_size=5),
    Recurrent(hidden_size=5, bidirectional=True),
    Recurrent(cell="gru", hidden_size=5),
    Recurrent(cell="gru", hidden_size=5, bidirectional=True),
]


def bumps(n=300, length=24, seed=0):
    """Return bumps at random times: a curve that no plane of few dimensions holds."""
    rng = np.random.default_rng(seed)
    middle, t = rng.uniform(6, length - 6, (n, 1)), np.arange(length)
    return np.exp(-(((t - middle) / 3) ** 2))[:, :, np.newaxis]


@pytest.mark.parametrize("network", KINDS, ids=repr)
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (1, 3), (4, 3)])
def test_the_decoder_returns_rows_of_the_encoders_shape(network, shape):
    encoder, decoder = network.shaped(shape)(shape[0] * shape[1], 2, n_samples=10)
    codes = encoder(torch.randn(5, shape[0] * shape[1]))
    assert codes.shape == (5, 2)
    assert decoder(codes).shape == (5, shape[0] * shape[1])


@pytest.mark.parametrize(
    ("own", "row_shape", "shape"),
    [(None, (12,), (12, 1)), ((4, 3), (12,), (4, 3)), (None, (3, 4), (3, 4))],
)
def test_flat_rows_are_sequences_of_one_feature_without_an_own_shape(
    own, row_shape, shape
):
    assert Recurrent(own).shaped(row_shape).shape == shape


@pytest.mark.parametrize("network", KINDS, ids=repr)
def test_codes_depend_on_the_order_of_steps(network):
    encoder, _ = network.shaped((6, 1))(6, 2, n_samples=10)
    x = torch.randn(4, 6)
    assert not torch.allclose(encoder(x), encoder(x.flip(1)), atol=1e-3)


def test_n_products_counts_a_cell_at_every_step():
    counts = []
    for length in (1, 2, 3):
        encoder, decoder = Recurrent(hidden_size=5)(length, 2, n_samples=10)
        counts.append([n_products(encoder), n_products(decoder)])
    assert np.diff(counts, axis=0).min() > 0
    assert not np.diff(counts, n=2, axis=0).any()


@pytest.mark.parametrize("network", KINDS, ids=repr)
def test_codes_depend_on_every_step(network):
    encoder, _ = network.shaped((6, 1))(6, 2, n_samples=10)
    x = torch.randn(1, 6, requires_grad=True)
    encoder(x)[0, 0].backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("states", [slice(0, 5), slice(5, 10)], ids=["last", "first"])
def test_the_final_state_of_each_direction_depends_on_every_step(states):
    encoder, _ = KINDS[1].shaped((6, 1))(6, 2, n_samples=10)
    weight = torch.zeros_like(encoder.output.weight)
    weight[:, states] = 1  # not the mean of all states
    encoder.output.weight.data = weight
    x = torch.randn(1, 6, requires_grad=True)
    encoder(x)[0, 0].backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize(
    ("network", "rows"),
    [
        (Recurrent((5, 2)), np.zeros((9, 12))),
        (Recurrent((5, 2, 1)), np.zeros((9, 10))),
        (Recurrent((5, 2.0)), np.zeros((9, 10))),
        (Recurrent(), np.zeros((9, 2, 3, 4))),
        (Recurrent(hidden_size=0), np.zeros((9, 10))),
        (Recurrent(cell="rnn"), np.zeros((9, 10))),
    ],
)
def test_invalid_parameters_and_shapes_raise_by_name(network, rows):
    with pytest.raises(ValueError, match=r"shape=|hidden_size|cell"):
        AutoencoderTransformer(network=network).fit(rows)


def test_fit_leaves_the_part_unchanged():
    network = Recurrent(hidden_size=3)
    AutoencoderTransformer(network=network, max_iter=1).fit(bumps(50))
    assert network.shape is None


@pytest.mark.slow
def test_one_component_explains_what_a_bump_at_any_time_leaves_to_pca(
    global_random_seed,
):
    X, X_test = bumps(), bumps(100, seed=1000)
    network = Recurrent(hidden_size=24)
    model = AutoencoderTransformer(
        1, network=network, max_iter=80, random_state=global_random_seed
    ).fit(X)
    flat, flat_test = X.reshape(300, -1), X_test.reshape(100, -1)
    pca = PCA(1).fit(flat)
    residual = flat_test - pca.inverse_transform(pca.transform(flat_test))
    unexplained = np.square(residual).sum() / np.square(flat_test - pca.mean_).sum()
    assert 1 - model.score(X_test) < unexplained / 3
