"""`MLP`: the sizes and weights of its layers."""

import pytest
import torch
from parts import quick, rows
from torch import nn

from skae import MLP
from skae.networks._layers import ACTIVATIONS


def layers_of(network):
    return [*network.hidden, network.output]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(), (7,), (7, 3)])
def test_encoder_and_decoder_are_mirror_images(sizes, activation):
    encoder, decoder = MLP(sizes, activation=activation)(5, 2, n_samples=10)
    assert encoder(torch.zeros(4, 5)).shape == (4, 2)
    shapes = [tuple(layer.weight.shape) for layer in layers_of(encoder)]
    mirrored = [tuple(layer.weight.T.shape) for layer in layers_of(decoder)]
    assert shapes == mirrored[::-1]


@pytest.mark.parametrize(
    ("n_features", "n_samples", "width"),
    [
        (1, 1999, 64),
        (20, 1999, 64),
        (21, 1999, 128),
        (1000, 1999, 128),
        (20, 2000, 64),
        (81, 2000, 128),
        (82, 2000, 256),
        (1000, 10**6, 256),
    ],
)
def test_auto_is_wider_for_more_features_and_rows(n_features, n_samples, width):
    encoder, _ = MLP()(n_features, 1, n_samples=n_samples)
    assert [layer.out_features for layer in encoder.hidden] == [width, width]


def test_an_activation_follows_the_hidden_layers_alone():
    encoder, _ = MLP((6,), activation="tanh")(5, 2, n_samples=10)
    x = torch.randn(4, 5)
    expected = encoder.output(encoder.hidden[0](x).tanh())
    torch.testing.assert_close(encoder(x), expected)


def test_weights_have_the_variance_of_he_initialization():
    encoder, _ = MLP((500,))(400, 300, n_samples=10)
    hidden, output = layers_of(encoder)
    assert hidden.weight.var().item() == pytest.approx(2 / 400, rel=0.05)
    assert output.weight.var().item() == pytest.approx(1 / 500, rel=0.05)
    assert not hidden.bias.any()


def test_weights_do_not_depend_on_the_default_dtype():
    def weights():
        torch.manual_seed(0)
        encoder, _ = MLP((6,))(5, 2, n_samples=10)
        return nn.utils.parameters_to_vector(encoder.parameters())

    with torch.random.fork_rng():
        expected = weights()
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(weights(), expected)
        finally:
            torch.set_default_dtype(torch.float32)


def test_no_module_is_called_for_dropout_of_probability_zero():
    encoder, _ = MLP((6,), dropout=0.0)(5, 2, n_samples=10)
    names = [name for name, _ in encoder.named_children()]
    assert names == ["hidden", "output", "activation"]


def test_dropout_is_part_of_training_alone():
    encoder, _ = MLP((6,), dropout=0.5)(5, 2, n_samples=10)
    x = torch.randn(4, 5)
    assert not torch.equal(encoder(x), encoder(x))
    assert torch.equal(encoder.eval()(x), encoder(x))


@pytest.mark.parametrize(
    "network",
    [
        MLP((8, 0)),
        MLP((8.5,)),
        MLP("wide"),
        MLP(activation="swish"),
        MLP(dropout=1.0),
        MLP(n_scores=0),
        MLP(n_scores="all"),
    ],
    ids=repr,
)
def test_invalid_parameters_raise_by_name(network):
    names = r"hidden_layer_sizes|activation|dropout|n_scores"
    with pytest.raises(ValueError, match=names):
        quick(network=network).fit(rows())


@pytest.mark.parametrize(
    ("n_features", "n_components", "n_samples", "n_scores"),
    [
        (256, 2, 1000, 0),
        (257, 2, 500, 32),
        (257, 2, 100_000, 256),
        (257, 64, 1000, 256),
        (257, 65, 1000, 0),
        (5000, 2, 1000, 64),
        (5000, 20, 1000, 80),
        (5000, 50, 100, 100),
        (5000, 300, 100_000, 1200),
        (5000, 5, 3, 5),
    ],
)
def test_wide_rows_have_scores(n_features, n_components, n_samples, n_scores):
    network = MLP()
    assert network.n_scores_for(n_features, n_components, n_samples) == n_scores
