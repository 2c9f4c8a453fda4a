"""`Modules`: a user's own encoder and decoder, of rows of any shape."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skae import MLP, AutoencoderTransformer, Modules
from skae.networks._modules import Reshaped, same_module

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHAPE = (4, 3)


class Convolution(nn.Module):
    """Takes rows of shape (n, length, features); its last layer is `output`."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Conv1d(3, 5, 2)
        self.output = nn.Linear(15, 2)

    def forward(self, x):
        return self.output(self.hidden(x.transpose(1, 2)).tanh().flatten(1))


def own_modules(shape=None, decoder=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = decoder or nn.Sequential(
            nn.Linear(2, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 12)
        )
        return Modules(Convolution(), decoder, shape)


@pytest.fixture(scope="module")
def rows():
    rows = np.random.default_rng(0).standard_normal((80, *SHAPE)).cumsum(axis=1)
    rows.setflags(write=False)
    return rows


def fitted(network, rows, **options):
    options = {"max_iter": 3, "random_state": 0, **options}
    return AutoencoderTransformer(network=network, **options).fit(rows)


# Shapes


def to_shape(*shape):
    return nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, shape))


@pytest.mark.parametrize("decoder", [nn.Linear(2, 12), to_shape(*SHAPE)])
def test_reshaped_maps_flat_rows_to_flat_rows(decoder):
    module = Reshaped(decoder, (2,), SHAPE)
    module.check_shapes("decoder")
    assert module(torch.zeros(5, 2)).shape == (5, 12)


def test_reshaped_has_the_output_of_its_network():
    encoder = Convolution()
    assert Reshaped(encoder, SHAPE, (2,)).output is encoder.output
    assert Reshaped(nn.Linear(2, 12), (2,), SHAPE).output is None


@pytest.mark.parametrize("decoder", [nn.Linear(2, 12), to_shape(*SHAPE)])
def test_shape_makes_no_difference_to_the_result(decoder, rows):
    shaped = fitted(own_modules(decoder=decoder), rows)
    flat = fitted(own_modules(SHAPE, decoder), rows.reshape(80, 12))
    codes = flat.transform(rows.reshape(80, 12))
    np.testing.assert_array_equal(shaped.transform(rows), codes)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Modules(nn.Linear(12, 2), nn.Linear(2, 12)),
            r"encoder got an input of shape \(2, 4, 3\) and failed: mat1",
        ),
        (
            Modules(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), nn.Linear(2, 12)),
            r"returned \(2, 5\), but expected \(2, 2\)",
        ),
        (
            own_modules(decoder=to_shape(3, 4)),
            r"decoder got an input of shape \(2, 2\) and returned \(2, 3, 4\), but "
            r"expected \(2, 4, 3\) or \(2, 12\)",
        ),
        (Modules(nn.LSTM(3, 2), nn.Linear(2, 12)), r"encoder .* returned a tuple"),
        (own_modules((5, 3)), "of 12 entries, but expected 15"),
        (own_modules((4, -3)), "expected positive integers"),
        (own_modules((4.0, 3)), "expected positive integers"),
        (Modules("linear", nn.Linear(2, 12)), "'encoder' parameter of Modules"),
    ],
)
def test_modules_that_do_not_fit_raise_in_their_own_shapes(network, message, rows):
    with pytest.raises(ValueError, match=message):
        fitted(network, rows)


# Weights


@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_copies_are_trained_and_the_modules_left_unchanged(precision, init, rows):
    network, same = own_modules(), own_modules()
    model = fitted(network, rows, precision=precision, init=init)
    assert model.inverse_transform(model.transform(rows)).shape == rows.shape
    assert len(set(model.loss_curve_)) == len(model.loss_curve_)
    assert network == same
    assert network.shape is None
    assert network.encoder.output.weight.grad is None


def test_random_init_starts_from_the_modules_weights(rows):
    network = own_modules()
    model = fitted(network, rows, init="random", max_iter=0, precision="float64")
    standardized = torch.tensor((rows - model.mean_.reshape(SHAPE)) / model.scale_)
    codes = copy.deepcopy(network.encoder).double()(standardized).detach()
    np.testing.assert_allclose(model.transform(rows), codes)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_modules_makes_no_difference(training, rows):
    network = own_modules()
    network.decoder.train(training)
    curve = fitted(network, rows).loss_curve_
    assert curve == fitted(own_modules(), rows).loss_curve_


class Transposed(nn.Module):
    """A decoder with the weights of a linear encoder."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, codes):
        return codes @ self.linear.weight


def tied():
    linear = nn.Linear(12, 2)
    return Modules(nn.Sequential(nn.Flatten(), linear), Transposed(linear))


# The layer, and with "pca" a linear map and a ReZero factor for each module
N_PARAMETERS = {"pca": 2 + 2 + 2, "random": 2}


@pytest.mark.parametrize("init", N_PARAMETERS)
@pytest.mark.parametrize("saved", [False, True])
def test_weights_that_both_modules_share_stay_shared(saved, init, rows):
    model = fitted(clone(tied()), rows, init=init)
    model = pickle.loads(pickle.dumps(model)) if saved else model
    parameters = list(model.partial_fit(rows).module_.parameters())
    assert len(parameters) == N_PARAMETERS[init]


# The part


def test_modules_are_equal_if_their_weights_are():
    network = own_modules()
    assert network == clone(network) == own_modules()
    assert hash(network) == hash(clone(network))
    assert network != own_modules(SHAPE)
    assert network != MLP()
    other = clone(network)
    with torch.no_grad():
        other.encoder.output.bias += 1
    assert network != other


@pytest.mark.parametrize(
    ("module", "other", "equal"),
    [
        (nn.Tanh(), nn.Tanh(), True),
        (nn.Tanh(), nn.SiLU(), False),
        (nn.Dropout(0.1), nn.Dropout(0.2), False),
        (nn.Linear(3, 2), nn.Linear(3, 2), False),  # of other weights
        ("linear", "linear", True),
        ("linear", nn.Tanh(), False),
    ],
    ids=repr,
)
def test_same_module_compares_layers_and_numbers(module, other, equal):
    assert same_module(module, other) == equal


def test_repr_shows_both_modules():
    assert repr(own_modules()).startswith("Modules(decoder=Sequential(")


def test_a_grid_search_selects_among_modules(rows):
    wide = own_modules(decoder=nn.Linear(2, 12))
    model = AutoencoderTransformer(max_iter=1, random_state=0)
    grid = {"network": [own_modules(), wide]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(rows)
    assert search.best_params_["network"] in grid["network"]
    nested = clone(search.best_estimator_).set_params(network__decoder=wide.decoder)
    assert nested.network.decoder is wide.decoder


# Batch normalization in modules


def normalized(n_features, n_components, n_samples):
    encoder = nn.Sequential(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ELU())
    encoder.append(nn.Linear(8, n_components))
    return encoder, nn.Linear(n_components, n_features)


def test_the_best_epochs_running_statistics_are_restored(rows):
    X, X_val = rows[:10], rows[10:]
    model = AutoencoderTransformer(
        network=normalized, init="random", max_iter=60, learning_rate=0.1,
        n_iter_no_change=60, random_state=0,
    )  # fmt: skip
    model.fit(X, X_val=X_val)
    assert 0 < model.best_iter_ < model.n_iter_
    kept = model.reconstruction_error(X_val).mean() / model.scale_**2
    assert kept == pytest.approx(min(model.validation_loss_curve_), rel=1e-9)
    assert model.module_.encoder[1].num_batches_tracked == model.best_iter_


def test_running_statistics_do_not_change_before_the_first_step(rows):
    model = fitted(normalized, rows, max_iter=0)
    norm = model.module_.encoder.network.network[1]
    assert norm.num_batches_tracked == 0
    assert not norm.running_mean.any()


@pytest.mark.filterwarnings("ignore:X has one row")
@pytest.mark.parametrize(("n_rows", "batch_size"), [(1, 1), (5, 1), (3, 2)])
def test_a_batch_of_one_row_is_normalized_by_running_statistics(
    n_rows, batch_size, rows
):
    model = fitted(normalized, rows[:n_rows], batch_size=batch_size, init="random")
    assert np.isfinite(model.transform(rows)).all()


# A function that builds modules of the data's size


def own_of_any_width(n_features, n_components, n_samples):
    encoder, decoder = normalized(n_features, n_components, n_samples)
    return Modules(encoder, decoder)(n_features, n_components, n_samples)


def test_a_function_that_uses_the_part_can_be_saved(rows):
    model = fitted(own_of_any_width, rows)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(rows), model.transform(rows))
