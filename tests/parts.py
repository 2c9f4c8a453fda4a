"""One of every part, for tests of properties, and small inputs to compute with."""

import numpy as np
import torch

from skae import (
    MLP,
    MMD,
    Adversarial,
    AutoencoderTransformer,
    Contractive,
    Conv,
    GaussianNoise,
    MaskingNoise,
    Ordered,
    Recurrent,
    Sparse,
    SwapNoise,
    TopK,
    Variational,
)
from skae.losses import LOSSES
from skae.regularizers._base import as_regularizer

NUMERIC_LOSSES = {
    name: loss for name, loss in LOSSES.items() if name != "cross_entropy"
}

NETWORKS = [
    MLP((6,)),
    MLP((6,), n_scores=4),
    Conv(channels=(4,), hidden_layer_sizes=(8,)),
    Conv(channels=(4, 8), hidden_layer_sizes=(), activation="relu"),
    Recurrent(hidden_size=4),
    Recurrent(cell="gru", hidden_size=3, bidirectional=True),
]

NOISES = [GaussianNoise(0.3), MaskingNoise(0.3), SwapNoise(0.3)]
NO_NOISES = [GaussianNoise(0), MaskingNoise(0), SwapNoise(0)]

REGULARIZERS = [
    Ordered(),
    Sparse(0.01),
    Sparse(0.01, target=0.2),
    TopK(2),
    Contractive(0.1),
    Variational(),
    Variational(beta=2, n_samples=3, warm_up=0.5),
    MMD(1.0),
    Adversarial(),
]
NO_REGULARIZERS = [
    Sparse(0),
    Sparse(0, target=0.2),
    TopK(3),  # of three components
    Contractive(0),
    Variational(0),
    MMD(0),
    Adversarial(0),
]
PRIORS = [Variational(), MMD(1.0), Adversarial()]


def rows(n=60):
    """Return rows of five independent features with different variances."""
    deviations = [3, 2, 1, 0.7, 0.5]
    return np.random.default_rng(0).standard_normal((n, 5)) * deviations


def quick(n_components=3, **params):
    """Return an estimator that is fitted in a few milliseconds."""
    defaults = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}
    return AutoencoderTransformer(n_components, **(defaults | params))


def generator(seed=0):
    """Return a generator of torch."""
    return torch.Generator().manual_seed(seed)


def codes_of(n=12, k=3):
    """Return normal codes of shape (n, k)."""
    return torch.randn(n, k, generator=generator(), dtype=torch.float64)


def built(regularizer, n_features=5, n_components=3):
    """Return what a regularizer builds, its parameters moved away from their start."""
    regularizer = as_regularizer(regularizer).build(n_features, n_components)
    for parameter in getattr(regularizer, "parameters", list)():
        noise = torch.randn(parameter.shape, generator=generator(1))
        parameter.data = (parameter.data + 0.1 * noise).double()
    return regularizer
