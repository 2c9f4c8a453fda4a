"""Errors and warnings name the mistake, and what to write instead."""

import numpy as np
import pytest
import torch
from torch import nn

from skae import (
    MLP,
    AutoencoderTransformer,
    CrossEntropy,
    GaussianNoise,
    Sparse,
    Variational,
)
from skae._parameters import SYNONYMS, suggestion

X = np.random.default_rng(0).random((60, 5))

MISTAKES = {
    "network=MLP": ({"network": MLP}, r"such as MLP\(\). Got the class MLP"),
    "loss=CrossEntropy": ({"loss": CrossEntropy}, "Got the class CrossEntropy"),
    "noise=GaussianNoise": ({"noise": GaussianNoise}, r"such as GaussianNoise\(\)"),
    "regularizer=Variational": ({"regularizer": Variational}, r"Variational\(\)"),
    "network=Sequential": (
        {"network": nn.Sequential(nn.Linear(5, 2))},
        r"Modules\(encoder, decoder\). Got a torch.nn.Sequential",
    ),
    "loss=MSELoss": ({"loss": nn.MSELoss()}, r"MSELoss\(reduction='none'\)"),
    "loss that is a mean": (
        {"loss": lambda output, target: (output - target).square().mean()},
        r"returned shape \(\) .* expected the loss of each entry",
    ),
    "penalty of each code": (
        {"regularizer": lambda codes: codes.square()},
        r"penalty of shape \(\d+, 2\) .* one penalty for each row",
    ),
    "penalty of the batch": (
        {"regularizer": lambda codes: codes.square().mean()},
        r"penalty of shape \(\) .* one penalty for each row",
    ),
    "loss=mse": ({"loss": "mse"}, "Did you mean loss='squared_error'?"),
    "loss=squared": ({"loss": "squarederror"}, "Did you mean loss='squared_error'?"),
    "solver=Adam": ({"solver": "Adam"}, "Did you mean solver='adam'?"),
    "regularizer=vae": (
        {"regularizer": "vae"},
        r"Did you mean regularizer=Variational\(\)?",
    ),
    "noise=gaussian": ({"noise": "gaussian"}, r"Did you mean noise=GaussianNoise\(\)?"),
    "network=lstm": ({"network": "lstm"}, r"Did you mean network=Recurrent\(\)?"),
    "device=gpu": ({"device": "gpu"}, "Set device='auto' or 'cuda'"),
    "device=tpu": ({"device": "tpu"}, "Set device='auto' or 'cpu', 'cuda' or 'mps'"),
    "solver without optimizer": (
        {"solver": lambda parameters: None},
        "returned None, but expected a torch.optim.Optimizer",
    ),
}


@pytest.mark.parametrize(("params", "message"), MISTAKES.values(), ids=MISTAKES)
def test_frequent_mistakes_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(2, max_iter=2, **params).fit(X)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_missing_is_named(device, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match=f"'{device}', but torch finds no such device"):
        AutoencoderTransformer(2, device=device).fit(X)


def test_options_are_listed_in_order():
    message = "'absolute_error', 'brier', 'cross_entropy', 'huber', 'log_loss'"
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(loss="unknown").fit(X)


@pytest.mark.parametrize("name", SYNONYMS)
def test_nothing_is_suggested_for_what_resembles_nothing(name):
    assert suggestion(name, "xyzzyx") == suggestion(name, 3) == ""


SIZES = {
    "one row": (1, X[:1], r"one row \(n_samples=1\).* Fit on more rows"),
    "features": (6, X, r"n_components=6 is larger than the 5 features .*Sparse\(\)"),
    "rows": (4, X[:3], r"n_components=4 is larger than the 3 rows"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("k", "rows", "message"), SIZES.values(), ids=SIZES)
def test_sizes_from_which_nothing_is_learned_warn(k, rows, message):
    model = AutoencoderTransformer(k, network=MLP((4,)), max_iter=2, random_state=0)
    with pytest.warns(UserWarning, match=message) as record:
        model.fit(rows)
    assert {warning.filename for warning in record} == {__file__}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "params",
    [
        {"n_components": 5},
        {"n_components": 0.99},
        {"n_components": 9, "regularizer": Sparse()},
        {"n_components": 9, "noise": GaussianNoise()},
    ],
    ids=str,
)
def test_as_many_components_as_features_and_overcomplete_codes_do_not_warn(params):
    AutoencoderTransformer(**params, network=MLP((4,)), max_iter=2).fit(X)


def test_the_embedded_width_counts_for_tokens_and_batches_are_not_counted():
    tokens = np.random.default_rng(0).integers(0, 4, (60, 3))
    quick = {"network": MLP((4,)), "max_iter": 1}
    AutoencoderTransformer(6, loss="cross_entropy", **quick).fit(tokens)
    model = AutoencoderTransformer(4, **quick).partial_fit(X)
    model.partial_fit(X[:1])


BAD = {
    "learning_rate": np.nan,
    "alpha": -1.0,
    "noise": 3,
    "precision": "load",
    "solver": "newton",
    "regularizer": "l3",
    "tol": 2.0,
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "warm start"])
def test_every_training_method_validates_every_parameter(method, name):
    model = AutoencoderTransformer(2, network=MLP((4,)), max_iter=2, random_state=0)
    model.set_params(warm_start=method == "warm start").fit(X)
    codes = model.transform(X)
    model.set_params(**{name: BAD[name]})
    train = model.partial_fit if method == "partial_fit" else model.fit
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        train(X)
    np.testing.assert_array_equal(model.transform(X), codes)


def test_a_module_is_a_loss_if_it_returns_the_loss_of_each_entry():
    loss = nn.MSELoss(reduction="none")
    model = AutoencoderTransformer(2, loss=loss, max_iter=2, random_state=0).fit(X)
    assert torch.is_tensor(model.module_.offset)
    assert 0 < model.score(X) <= 1
