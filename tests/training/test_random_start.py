"""`init="random"`: the start, and the training loss of a textbook PyTorch loop."""

import functools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from parts import NETWORKS, quick
from sklearn.datasets import load_digits
from torch import nn

from skae import MLP, AutoencoderTransformer
from skae.training import _fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SEEDS, BATCH_SIZE, LEARNING_RATE = (0, 1), 200, 1e-3


@functools.cache
def digits():
    X = load_digits().data
    X = X - X.mean(axis=0)
    return X / np.sqrt(np.square(X).mean())


@functools.cache
def textbook_loss(n_epochs):
    """Return the mean over seeds of the loss after training by a PyTorch loop."""
    with torch.random.fork_rng():
        return np.mean([textbook_fit(n_epochs, seed) for seed in SEEDS])


def textbook_fit(n_epochs, seed):
    torch.manual_seed(seed)
    X = torch.from_numpy(digits())
    model = nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8),
        nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64),
    ).double()  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(n_epochs):
        for index in torch.randperm(len(X)).split(BATCH_SIZE):
            optimizer.zero_grad()
            (model(X[index]) - X[index]).square().mean().backward()
            optimizer.step()
    with torch.no_grad():
        return float((model(X) - X).square().mean())


def skae_fit(n_epochs, seed, warm_start):
    X = digits()
    model = AutoencoderTransformer(
        8, network=MLP((32,), activation="relu"), init="random", solver="adam",
        learning_rate=LEARNING_RATE, alpha=0, batch_size=BATCH_SIZE, max_iter=n_epochs,
        early_stopping=False, warm_start=warm_start, precision="float64", device="cpu",
        random_state=seed,
    ).fit(X)  # fmt: skip
    return np.square(model.inverse_transform(model.transform(X)) - X).mean()


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("n_epochs", [2, 10, 40, 100])
def test_the_training_loss_is_at_most_that_of_a_textbook_loop(n_epochs, warm_start):
    losses = [skae_fit(n_epochs, seed, warm_start) for seed in SEEDS]
    assert np.mean(losses) <= 1.05 * textbook_loss(n_epochs)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_an_untrained_network_reconstructs_the_mean(network):
    X = digits()[:40]
    model = quick(2, network=network, init="random", max_iter=0).fit(X)
    reconstructed = model.inverse_transform(model.transform(X))
    assert_allclose(reconstructed, np.tile(X.mean(axis=0), (40, 1)), atol=1e-6)
    assert model.score(X) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_every_weight_is_trained_from_random_weights(network):
    X = digits()[:40]
    untrained, trained = (
        quick(2, network=network, init="random", max_iter=n, early_stopping=False)
        .fit(X)
        .module_
        for n in (0, 10)
    )
    pairs = zip(untrained.named_parameters(), trained.parameters(), strict=True)
    unchanged = [name for (name, old), new in pairs if torch.equal(old, new)]
    assert not unchanged


def test_the_refit_has_the_same_schedule_as_the_search(monkeypatch):
    steps = []

    def schedule(step, n_steps, row_share):
        steps.append((step, n_steps))
        return 1.0

    monkeypatch.setattr(_fit, "warmup_cooldown", schedule)
    model = quick(2, init="random", max_iter=20).fit(digits()[:100])
    n_steps = len(model.refit_loss_curve_) * -(-100 // model.batch_size_)
    assert n_steps
    assert steps[-n_steps:] == [(i, n_steps) for i in range(n_steps)]
