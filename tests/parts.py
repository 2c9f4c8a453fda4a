"""One of every part: what the tests of properties run over."""

from skae import (
    MLP,
    MMD,
    Adversarial,
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

NUMERIC_LOSSES = {
    name: loss for name, loss in LOSSES.items() if name != "cross_entropy"
}

NETWORKS = [
    MLP((6,)),
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
