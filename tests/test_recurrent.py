"""Recurrent networks: sequence to code to sequence."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from skae import AutoencoderTransformer, Recurrent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = [
    Recurrent(hidden_size=5),
    Recurrent(hidden_size=5, bidirectional=True),
    Recurrent(cell="gru", hidden_size=5),
    Recurrent(cell="gru", hidden_size=5, bidirectional=True),
]


def shifted_sines(n=300, length=24, seed=0):
    """Return a bump at any time: one number tells each, but no plane holds them."""
    rng = np.random.default_rng(seed)
    middle, t = rng.uniform(6, length - 6, (n, 1)), np.arange(length)
    return np.exp(-(((t - middle) / 3) ** 2))[:, :, np.newaxis]


@pytest.mark.parametrize("network", KINDS, ids=repr)
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (1, 3), (4, 3)])
def test_rows_become_codes_and_codes_rows(network, shape):
    encoder, decoder = network.shaped(shape)(shape[0] * shape[1], 2, n_samples=10)
    codes = encoder(torch.randn(5, shape[0] * shape[1]))
    assert codes.shape == (5, 2)
    assert decoder(codes).shape == (5, shape[0] * shape[1])


def test_flat_rows_are_sequences_of_one_feature():
    assert Recurrent().shaped((12,)).shape == (12, 1)
    assert Recurrent((4, 3)).shaped((12,)).shape == (4, 3)
    assert Recurrent().shaped((3, 4)).shape == (3, 4)


@pytest.mark.parametrize("network", KINDS, ids=repr)
def test_order_matters_to_the_encoder(network):
    encoder, _ = network.shaped((6, 1))(6, 2, n_samples=10)
    x = torch.randn(4, 6)
    assert not torch.allclose(encoder(x), encoder(x.flip(1)), atol=1e-3)


@pytest.mark.parametrize("network", KINDS, ids=repr)
def test_a_sequence_is_read_to_both_ends(network):
    encoder, _ = network.shaped((6, 1))(6, 2, n_samples=10)
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
def test_what_does_not_fit_is_refused(network, rows):
    with pytest.raises(ValueError, match=r"shape=|hidden_size|cell"):
        AutoencoderTransformer(network=network).fit(rows)


def test_the_part_given_is_left_as_it_was():
    network = Recurrent(hidden_size=3)
    AutoencoderTransformer(network=network, max_iter=1).fit(shifted_sines(50))
    assert network.shape is None


def test_one_number_tells_where_a_bump_is(global_random_seed):
    X, X_test = shifted_sines(), shifted_sines(100, seed=1000)
    network = Recurrent(hidden_size=24)
    model = AutoencoderTransformer(
        1, network=network, max_iter=80, random_state=global_random_seed
    ).fit(X)
    flat, flat_test = X.reshape(300, -1), X_test.reshape(100, -1)
    pca = PCA(1).fit(flat)
    residual = flat_test - pca.inverse_transform(pca.transform(flat_test))
    unexplained = np.square(residual).sum() / np.square(flat_test - pca.mean_).sum()
    assert 1 - model.score(X_test) < unexplained / 3
