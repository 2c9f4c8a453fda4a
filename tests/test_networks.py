"""Networks: the shapes that they build, and what they refuse."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skae import MLP, AutoencoderTransformer, Modules
from skae.networks._layers import ACTIVATIONS, Dropout

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


SHAPE = (4, 3)


class Convolution(nn.Module):
    """Reads rows of shape (n, length, features); its last layer is `output`."""

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


@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_own_modules_are_trained_and_left_as_they_were(precision, init, rows):
    network, same = own_modules(), own_modules()
    model = fitted(network, rows, precision=precision, init=init)
    assert model.inverse_transform(model.transform(rows)).shape == rows.shape
    assert len(set(model.loss_curve_)) == len(model.loss_curve_)
    assert network == same
    assert network.shape is None
    assert not network.encoder.output.weight.grad


def to_shape(*shape):
    return nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, shape))


@pytest.mark.parametrize("decoder", [nn.Linear(2, 12), to_shape(*SHAPE)])
def test_a_decoder_gives_rows_of_the_shape_or_flat(decoder, rows):
    of_shape = fitted(own_modules(decoder=decoder), rows)
    flat = fitted(own_modules(SHAPE, decoder), rows.reshape(80, 12))
    codes = flat.transform(rows.reshape(80, 12))
    np.testing.assert_array_equal(of_shape.transform(rows), codes)


def test_own_modules_start_from_the_weights_that_they_have(rows):
    network = own_modules()
    model = fitted(network, rows, init="random", max_iter=0, precision="float64")
    standardised = torch.tensor((rows - model.mean_.reshape(SHAPE)) / model.scale_)
    codes = copy.deepcopy(network.encoder).double()(standardised).detach()
    np.testing.assert_allclose(model.transform(rows), codes)


def test_modules_are_equal_where_their_weights_are():
    network = own_modules()
    assert network == clone(network) == own_modules()
    assert hash(network) == hash(clone(network))
    assert network != own_modules(SHAPE)
    assert network != MLP()
    other = clone(network)
    with torch.no_grad():
        other.encoder.output.bias += 1
    assert network != other
    assert repr(network).startswith("Modules(decoder=Sequential(")


def test_a_search_goes_over_own_modules(rows):
    wide = own_modules(decoder=nn.Linear(2, 12))
    model = AutoencoderTransformer(max_iter=1, random_state=0)
    grid = {"network": [own_modules(), wide]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(rows)
    assert search.best_params_["network"] in grid["network"]
    nested = clone(search.best_estimator_).set_params(network__decoder=wide.decoder)
    assert nested.network.decoder is wide.decoder


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
def test_own_modules_that_do_not_fit_are_refused_in_their_shapes(
    network, message, rows
):
    with pytest.raises(ValueError, match=message):
        fitted(network, rows)


def normalised(n_features, n_components, n_samples):
    encoder = nn.Sequential(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ELU())
    encoder.append(nn.Linear(8, n_components))
    return encoder, nn.Linear(n_components, n_features)


def test_the_kept_model_is_the_judged_one_with_its_running_statistics(rows):
    X, X_val = rows[:10], rows[10:]
    model = AutoencoderTransformer(
        network=normalised, init="random", max_iter=60, learning_rate=0.1,
        n_iter_no_change=60, random_state=0,
    )  # fmt: skip
    model.fit(X, X_val=X_val)
    assert 0 < model.best_iter_ < model.n_iter_
    kept = model.reconstruction_error(X_val).mean() / model.scale_**2
    assert kept == pytest.approx(min(model.validation_loss_curve_), rel=1e-9)
    tracked = model.module_.encoder[1].num_batches_tracked
    assert tracked == model.best_iter_


def test_running_statistics_learn_nothing_before_the_first_step(rows):
    model = fitted(normalised, rows, max_iter=0)
    norm = model.module_.encoder.network.network[1]
    assert norm.num_batches_tracked == 0
    assert not norm.running_mean.any()


@pytest.mark.parametrize(("n_rows", "batch_size"), [(1, 1), (5, 1), (3, 2)])
def test_a_batch_of_one_row_is_normalised_by_running_statistics(
    n_rows, batch_size, rows
):
    model = fitted(normalised, rows[:n_rows], batch_size=batch_size, init="random")
    assert np.isfinite(model.transform(rows)).all()


@pytest.mark.parametrize("training", [True, False])
def test_modules_are_trained_in_whatever_mode_they_come(training, rows):
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


@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("saved", [False, True])
def test_weights_that_own_modules_share_stay_shared(saved, init, rows):
    model = fitted(clone(tied()), rows, init=init)
    model = pickle.loads(pickle.dumps(model)) if saved else model
    parameters = list(model.partial_fit(rows).module_.parameters())
    assert len(parameters) == {"pca": 2 + 2 + 2, "random": 2}[init]  # paths and gates


def own_of_any_width(n_features, n_components, n_samples):
    encoder, decoder = normalised(n_features, n_components, n_samples)
    return Modules(encoder, decoder)(n_features, n_components, n_samples)


def test_a_callable_that_makes_the_part_can_be_saved(rows):
    model = fitted(own_of_any_width, rows)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(rows), model.transform(rows))
