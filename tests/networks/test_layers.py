"""Layers that networks share."""

import pytest
import torch
from parts import generator
from torch import nn

from skae.networks._layers import Dropout, HeLinear, ReZero, n_products, zero_output_
from skae.networks._mlp import FullyConnected


@pytest.fixture
def dropout():
    module = Dropout(0.3)
    module.generator = generator()
    return module


def test_dropout_keeps_the_mean(dropout):
    x = torch.ones(100_000)
    assert dropout(x).mean().item() == pytest.approx(1, abs=0.02)
    assert dropout(x).unique().tolist() == [0, pytest.approx(1 / 0.7)]


def test_dropout_draws_from_its_generator(dropout):
    first = dropout(torch.ones(100))
    dropout.generator.manual_seed(0)
    assert torch.equal(dropout(torch.ones(100)), first)


def test_dropout_changes_nothing_in_evaluation(dropout):
    x = torch.rand(100)
    assert dropout.eval()(x) is x


def test_he_linear_keeps_the_second_moment_under_relu():
    layer, x = HeLinear(400, 500), torch.randn(500, 400, generator=generator())
    assert layer.weight.var().item() == pytest.approx(2 / 400, rel=0.05)
    assert not layer.bias.any()
    assert layer(x).relu().square().mean().item() == pytest.approx(1, rel=0.1)


def test_rezero_starts_at_zero_and_learns_to_leave_it():
    module, x = ReZero(nn.Linear(3, 2)), torch.rand(4, 3)
    assert not module(x).any()
    module(x).sum().backward()
    assert module.gain.grad != 0


def test_a_network_with_an_output_has_it_set_to_zero():
    network = FullyConnected((3, 4, 2), "relu", dropout=0.0)
    assert zero_output_(network) is network
    assert not network(torch.rand(5, 3)).any()
    assert network.hidden[0].weight.any()


@pytest.mark.parametrize("output", [None, "the last layer"])
def test_a_network_without_an_output_layer_is_multiplied_by_zero(output):
    network = nn.Linear(3, 2)
    network.output = output
    assert isinstance(zero_output_(network), ReZero)
    assert network.weight.any()


def test_n_products_of_linear_layers_is_their_number_of_parameters():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert n_products(network) == 3 * 4 + 4 + 4 * 2 + 2
