"""The contract of networks: what they build, and how it is checked."""

import numpy as np
import pytest
import torch
from parts import quick, rows
from torch import nn

from skae import Network
from skae.networks._base import check_n_entries, check_network
from skae.networks._layers import n_products
from skae.training._optimizers import FlatParameters


class WithOutput(nn.Module):
    """A module whose last layer is its attribute `output`."""

    def __init__(self, *layers):
        super().__init__()
        *hidden, self.output = layers
        self.hidden = nn.Sequential(*hidden)

    def forward(self, x):
        return self.output(self.hidden(x))


class Shallow(Network):
    """A network of one's own."""

    def __init__(self, *, with_output=False):
        self.with_output = with_output

    def __call__(self, n_features, n_components, n_samples):
        layers = nn.Linear(n_features, 4), nn.ReLU(), nn.Linear(4, n_components)
        kind = WithOutput if self.with_output else nn.Sequential
        return kind(*layers), nn.Linear(n_components, n_features)


class Layer(nn.Linear):
    """A module with the optional attributes of a `NetworkModule`."""

    generator = None
    n_products = 7
    undecayed = ("weight",)


def test_own_network_is_trained_and_searched_by_name():
    model = quick(network=Shallow()).set_params(network__with_output=True)
    assert model.fit_transform(rows()).shape == (60, 3)
    assert model.network == Shallow(with_output=True)


@pytest.mark.parametrize("with_output", [True, False])
def test_own_network_starts_at_zero_beside_pca(with_output):
    network = Shallow(with_output=with_output)
    module = quick(network=network, max_iter=0).fit(rows()).module_
    x = torch.from_numpy(rows())
    assert not module.encoder.network(x).any()
    assert not module.decoder.network(module.encode(x)).any()


def test_output_of_own_network_needs_no_factor():
    models = [
        quick(network=Shallow(with_output=value), max_iter=0).fit(rows())
        for value in (False, True)
    ]
    gains = [hasattr(model.module_.encoder.network, "gain") for model in models]
    assert gains == [True, False]


def test_undecayed_matrices_are_not_shrunk():
    flat = FlatParameters(nn.Sequential(nn.Linear(3, 4), Layer(4, 5)))
    assert flat.decayed.shape == (3 * 4,)


def test_n_products_of_a_submodule_replaces_the_count_of_its_parameters():
    assert n_products(nn.Sequential(nn.Linear(3, 4), Layer(4, 5))) == 16 + 7


def test_generator_of_a_submodule_is_set_in_training_alone():
    seen = []

    class Recorder(Layer):
        def forward(self, x):
            seen.append(self.generator)
            return super().forward(x)

    def network(n_features, n_components, n_samples):
        return Recorder(n_features, n_components), Layer(n_components, n_features)

    model = quick(network=network).fit(rows())
    assert any(isinstance(generator, torch.Generator) for generator in seen)
    model.transform(rows())
    assert seen[-1] is None


def test_a_network_is_the_same_for_rows_of_any_shape_by_default():
    network = Shallow()
    assert network.shaped((1, 8, 8)) is network
    assert network.time_axis is None


def test_shapes_of_as_many_entries_as_a_row_pass():
    check_n_entries((4, 3), (12,))
    with pytest.raises(ValueError, match=r"of shape \(12,\), of 12 .*expected 15 for"):
        check_n_entries((5, 3), (12,))


def test_modules_of_the_right_shape_pass():
    check_network("encoder", nn.Linear(3, 2), 3, 2)
    check_network("encoder", nn.Linear(3, 2).double(), 3, 2)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(3, 5), r"got an input of shape \(2, 3\) and returned \(2, 5\), but "
                          r"expected \(2, 2\). Change the layers of the encoder"),
        (nn.Linear(4, 2), r"got an input of shape \(2, 3\) and failed: mat1"),
        (nn.LSTM(3, 2), r"and returned a tuple, but expected \(2, 2\)"),
    ],
    ids=["outputs", "inputs", "type"],
)  # fmt: skip
def test_modules_of_a_wrong_shape_raise_with_the_shapes(module, message):
    with pytest.raises(ValueError, match=message):
        check_network("encoder", module, 3, 2)


def test_a_module_with_check_shapes_is_checked_by_it_alone():
    module = nn.Linear(9, 9)
    module.check_shapes = lambda name: names.append(name)
    names = []
    check_network("decoder", module, 3, 2)
    assert names == ["decoder"]


def test_a_check_changes_no_running_statistics():
    module = nn.BatchNorm1d(3)
    check_network("encoder", module, 3, 3)
    assert module.num_batches_tracked == 0
    assert not module.running_mean.any()


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_fit_checks_both_modules(name):
    def network(n_features, n_components, n_samples):
        sizes = {"encoder": (5, 3), "decoder": (3, 5)} | {name: (7, 7)}
        return nn.Linear(*sizes["encoder"]), nn.Linear(*sizes["decoder"])

    with pytest.raises(ValueError, match=f"The network's {name} got an input of"):
        quick(network=network).fit(rows())


def test_modules_of_float64_are_converted():
    def network(n_features, n_components, n_samples):
        encoder, decoder = Shallow()(n_features, n_components, n_samples)
        return encoder.double(), decoder.double()

    codes = quick(network=network).fit_transform(rows().astype(np.float32))
    assert codes.dtype == np.float32
