"""Every network, noise, regularizer, loss and kind of row works with the others."""

import itertools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parts import NETWORKS, NOISES, NUMERIC_LOSSES, REGULARIZERS
from torch import nn

from skae import MLP, AutoencoderTransformer, Modules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
FLAT = RNG.random((24, 12))
SERIES = FLAT.reshape(24, 6, 2)
PADDED = np.where(
    np.arange(6)[:, np.newaxis] < RNG.integers(2, 7, (24, 1, 1)), SERIES, np.nan
)
TOKENS = RNG.integers(0, 5, (24, 6))
ROWS = {
    "flat": (FLAT, "squared_error"),
    "series": (SERIES, "log_loss"),
    "padded": (PADDED, "huber"),
    "tokens": (TOKENS, "cross_entropy"),
}

# Modules have the widths of one table.
OWN = Modules(
    nn.Sequential(nn.Linear(12, 8), nn.SiLU(), nn.Linear(8, 3)), nn.Linear(3, 12)
)

each_network = pytest.mark.parametrize("network", NETWORKS, ids=repr)
each_regularizer = pytest.mark.parametrize(
    "regularizer", [None, *REGULARIZERS], ids=repr
)
each_kind = pytest.mark.parametrize("kind", ROWS)


def model_of(network, n_components=3, **params):
    options = {"max_iter": 2, "batch_size": 10, "early_stopping": False}
    return AutoencoderTransformer(
        n_components, network=network, random_state=0, **(options | params)
    )


def rows_for(network, kind):
    """Return rows of a kind, with time along the network's axis, and their loss."""
    X, loss = ROWS[kind]
    swaps = kind in ("series", "padded") and network.time_axis == -1
    return (X.swapaxes(1, 2) if swaps else X), loss


def assert_same_bits(model, other, X):
    assert_array_equal(model.transform(X), other.transform(X))
    assert model.loss_curve_ == other.loss_curve_


@each_regularizer
@pytest.mark.parametrize("network", [*NETWORKS, OWN], ids=lambda n: type(n).__name__)
def test_every_noise_goes_with_every_network_and_regularizer(network, regularizer):
    for noise in [None, *NOISES]:
        model = model_of(network, noise=noise, regularizer=regularizer).fit(FLAT)
        codes = model.transform(FLAT)
        assert codes.shape == (24, 3)
        assert np.isfinite(model.inverse_transform(codes)).all()
        assert np.isfinite(model.loss_curve_).all()
        assert np.isfinite(model.score(FLAT))
        again = model_of(network, noise=noise, regularizer=regularizer).fit(FLAT)
        assert_same_bits(model, again, FLAT)
        assert_same_bits(model, pickle.loads(pickle.dumps(model)), FLAT)


@each_regularizer
@each_network
@pytest.mark.parametrize("kind", ["padded", "tokens"])
def test_every_kind_of_row_goes_with_every_network_and_regularizer(
    kind, network, regularizer
):
    X, loss = rows_for(network, kind)
    model = model_of(network, loss=loss, regularizer=regularizer).fit(X)
    codes = model.transform(X)
    back = model.inverse_transform(codes)
    assert codes.shape == (24, 3)
    assert back.shape == X.shape
    assert_array_equal(np.isnan(back), np.isnan(X))
    assert model.sample(3, random_state=0).shape == (3, *X.shape[1:])
    assert_same_bits(model, pickle.loads(pickle.dumps(model)), X)


@each_network
def test_every_loss_goes_with_every_network(network):
    for loss, init in itertools.product(NUMERIC_LOSSES, ["pca", "random"]):
        model = model_of(network, loss=loss, init=init).fit(SERIES)
        assert np.isfinite(model.inverse_transform(model.transform(SERIES))).all()


@each_kind
@each_network
def test_before_training_the_network_makes_no_difference(network, kind):
    X, loss = rows_for(network, kind)
    options = {"loss": loss, "max_iter": 0, "precision": "float64"}
    codes = model_of(network, **options).fit_transform(X)
    expected = model_of(MLP((4,)), **options).fit_transform(X)
    assert_allclose(codes, expected, atol=1e-10)


@each_kind
@each_network
def test_training_lowers_the_loss(network, kind):
    X, loss = rows_for(network, kind)
    options = {"loss": loss, "alpha": 0.0, "learning_rate": 0.01}
    start = model_of(network, max_iter=0, **options).fit(X)
    model = model_of(network, max_iter=40, **options).fit(X)
    assert model.score(X) > start.score(X) + 0.01


@each_kind
@each_network
def test_integer_weights_equal_repeated_rows(network, kind):
    X, loss = rows_for(network, kind)
    weight = np.arange(24) % 3
    options = {"loss": loss, "batch_size": 64, "precision": "float64"}
    model = model_of(network, **options).fit(X, sample_weight=weight)
    repeated = model_of(network, **options).fit(X.repeat(weight, axis=0))
    assert_allclose(model.transform(X), repeated.transform(X), rtol=1e-6, atol=1e-9)


@each_kind
@each_network
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_have_the_dtype_of_the_rows(network, kind, dtype):
    X, loss = rows_for(network, kind)
    model = model_of(network, loss=loss).fit(X.astype(dtype))
    assert model.transform(X.astype(dtype)).dtype == dtype


@each_kind
@each_network
def test_two_fits_with_warm_start_equal_one_of_twice_the_epochs(network, kind):
    X, loss = rows_for(network, kind)
    model = model_of(network, loss=loss, warm_start=True)
    twice = model.fit(X).fit(X).transform(X)
    once = model_of(network, loss=loss, warm_start=True, max_iter=4).fit(X)
    assert_array_equal(twice, once.transform(X))


@each_kind
@each_network
@pytest.mark.parametrize("given", [False, True], ids=["drawn", "X_val"])
def test_each_epoch_has_a_validation_loss(given, network, kind):
    X, loss = rows_for(network, kind)
    model = model_of(network, loss=loss, early_stopping=not given)
    model.fit(X, X_val=X[:8] if given else None)
    assert len(model.validation_loss_curve_) == 2
    assert np.isfinite(model.validation_loss_curve_).all()


@each_network
def test_a_share_of_variance_goes_with_every_network(network):
    model = model_of(network, n_components=0.8).fit(FLAT)
    assert model.transform(FLAT).shape[1] == model.n_components_ < 12
