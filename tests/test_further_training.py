"""Parameters that are changed between calls of partial_fit are used, or refused."""

import pickle
from functools import partial

import numpy as np
import pytest
from torch import nn

from skae import MLP, AutoencoderTransformer, GaussianNoise, Sparse, Variational

X = np.random.default_rng(0).random((80, 5))
APPLIED = {
    "learning_rate": 0.02,
    "alpha": 0.5,
    "solver": "sgd",
    "noise": GaussianNoise(1.0),
    "batch_size": 20,
}
REFUSED = {
    "n_components": 3,
    "init": "random",
    "loss": "huber",
    "regularizer": Sparse(0.1),
    "network": MLP((5,)),
}


def trained(method):
    """Return an estimator that may be trained further, and the method for it."""
    model = AutoencoderTransformer(2, network=MLP((8,)), max_iter=2, random_state=0)
    model.set_params(warm_start=True, early_stopping=False)
    train = getattr(model, method)
    return train(X), train


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", APPLIED)
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_parameters_of_training_are_applied(method, name):
    model, train = trained(method)
    expected = train(X).transform(X)
    model, train = trained(method)
    model.set_params(**{name: APPLIED[name]})
    assert not np.allclose(train(X).transform(X), expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", [n for n in APPLIED if n != "batch_size"])
def test_changed_parameters_have_the_effect_that_they_have_after_loading(name):
    model, train = trained("partial_fit")
    model.set_params(**{name: APPLIED[name]})
    loaded = pickle.loads(pickle.dumps(model))
    expected = loaded.partial_fit(X).transform(X)
    np.testing.assert_array_equal(train(X).transform(X), expected)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_parameters_of_the_model_are_refused(method, name):
    model, train = trained(method)
    codes = model.transform(X)
    model.set_params(**{name: REFUSED[name]})
    with pytest.raises(ValueError, match=rf"Got {name}=.* warm_start=False"):
        train(X)
    np.testing.assert_array_equal(model.transform(X), codes)


def test_a_part_that_is_changed_in_place_is_noticed():
    model = AutoencoderTransformer(2, network=MLP((8,)), regularizer=Variational())
    model.partial_fit(X).set_params(regularizer__beta=4.0)
    with pytest.raises(ValueError, match="Got regularizer=Variational"):
        model.partial_fit(X)


def cubed_error(output, target, weight=1.0):
    return weight * (output - target).abs() ** 3


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize(
    "loss",
    [cubed_error, partial(cubed_error, weight=2.0), nn.SmoothL1Loss(reduction="none")],
    ids=["function", "partial", "module"],
)
def test_unchanged_callables_are_accepted(loss, saved):
    model = AutoencoderTransformer(2, network=MLP((8,)), loss=loss).partial_fit(X)
    model = pickle.loads(pickle.dumps(model)) if saved else model
    assert model.partial_fit(X).n_iter_ == 2


@pytest.mark.parametrize(
    "other",
    [lambda output, target: output - target, partial(cubed_error, weight=2.0)],
    ids=["function", "partial"],
)
def test_other_callables_raise(other):
    model = AutoencoderTransformer(2, network=MLP((8,)), loss=cubed_error)
    model.partial_fit(X).set_params(loss=other)
    with pytest.raises(ValueError, match="Got loss="):
        model.partial_fit(X)
