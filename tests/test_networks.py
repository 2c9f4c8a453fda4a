"""Networks: the shapes that they build, and what they refuse."""

import pytest
import torch
from torch import nn

from skae import MLP, AutoencoderTransformer
from skae.networks import ACTIVATIONS, Dropout


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(), (7,), (7, 3)])
def test_encoder_and_decoder_are_mirror_images(sizes, activation):
    encoder, decoder = MLP(sizes, activation=activation)(5, 2, n_samples=10)
    assert encoder(torch.zeros(4, 5)).shape == (4, 2)
    shapes = [tuple(layer.weight.shape) for layer in encoder.layers]
    mirrored = [tuple(layer.weight.T.shape) for layer in decoder.layers]
    assert shapes == mirrored[::-1]


def test_auto_is_wider_for_more_rows():
    narrow, _ = MLP()(5, 2, n_samples=1999)
    wide, _ = MLP()(5, 2, n_samples=2000)
    assert [len(net.layers[0].weight) for net in (narrow, wide)] == [128, 256]


def test_weights_have_the_variance_of_he_initialisation():
    encoder, _ = MLP((500,))(400, 2, n_samples=10)
    assert encoder.layers[0].weight.var().item() == pytest.approx(2 / 400, rel=0.05)
    assert not encoder.layers[0].bias.any()


def test_dropout_keeps_the_mean_and_rests_while_evaluating():
    dropout = Dropout(0.3)
    dropout.generator = torch.Generator().manual_seed(0)
    x = torch.ones(100_000)
    assert dropout(x).mean().item() == pytest.approx(1, abs=0.02)
    assert dropout(x).unique().tolist() == [0, pytest.approx(1 / 0.7)]
    assert torch.equal(dropout.eval()(x), x)


@pytest.mark.parametrize(
    "network",
    [
        MLP((8, 0)),
        MLP((8.5,)),
        MLP("wide"),
        MLP(activation="swish"),
        MLP(dropout=1.0),
    ],
    ids=repr,
)
def test_parameters_without_meaning_are_refused(network):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes|activation|dropout"):
        AutoencoderTransformer(network=network).fit(torch.eye(3).numpy())


def too_wide(n_features, n_components, n_samples):
    return nn.Linear(n_features, n_components + 1), nn.Linear(n_components, n_features)


def not_matching(n_features, n_components, n_samples):
    return nn.Linear(n_features + 1, n_components), nn.Linear(n_components, n_features)


@pytest.mark.parametrize("network", [too_wide, not_matching])
def test_modules_of_the_wrong_shape_are_refused_with_the_shapes(network):
    with pytest.raises(ValueError, match=r"encoder got an input of shape \(2, 3\)"):
        AutoencoderTransformer(network=network).fit(torch.eye(3).numpy())
