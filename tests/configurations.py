"""Some sixty small fits that together use every part and every layout of rows."""

from functools import partial

import numpy as np
import torch
from scipy import sparse
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import scale
from torch import nn

from skae import (
    MLP,
    MMD,
    Adversarial,
    AutoencoderTransformer,
    Contractive,
    Conv,
    CrossEntropy,
    GaussianNoise,
    MaskingNoise,
    Modules,
    Ordered,
    Recurrent,
    Sparse,
    SwapNoise,
    TopK,
    Variational,
)

MORE_DIGITS = load_digits().data[:600]
DIGITS = MORE_DIGITS[:200]
WINE = scale(load_wine().data)


def signals(n=60):
    return np.random.default_rng(0).standard_normal((n, 9, 2)).cumsum(axis=1)


def padded(n=60):
    X = signals(n)
    for i, length in enumerate(np.random.default_rng(1).integers(3, 10, n)):
        X[i, length:] = np.nan
    return X


def tokens(n=80):
    return np.random.default_rng(0).integers(0, 6, (n, 5))


def curved(n=5200):
    t = np.random.default_rng(0).standard_normal((n, 3))
    return np.tanh(t @ np.random.default_rng(1).standard_normal((3, 10)))


def weights(n):
    return np.random.default_rng(2).integers(0, 4, n)


def cubed_error(output, target):
    return (output - target).abs() ** 3


def flips(batch):
    return batch * torch.randn(len(batch), 1).sign()


def small_codes(codes):
    return 0.1 * codes.square().sum(dim=1)


def two_linear_maps(n_features, n_components, n_samples):
    return nn.Linear(n_features, n_components), nn.Linear(n_components, n_features)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-2)


def convolutions():
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.SiLU(),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    decoder = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 64))
    torch.set_rng_state(torch_state)
    return Modules(encoder, decoder, shape=(1, 8, 8))


# The random numbers of other devices differ.
FIXED = {"random_state": 0, "device": "cpu"}
SMALL = {"n_components": 3, "network": MLP((16,)), "max_iter": 4}
SCORES = MLP((16,), n_scores=20)
# Name: (parameters, rows, parameters of fit).
CONFIGURATIONS = {
    "default": ({}, DIGITS, {}),
    "default wine": ({}, WINE, {}),
    "default few rows": ({}, WINE[:30], {}),
    "default many rows": ({"max_iter": 3}, curved(), {}),
    "float32": (SMALL, DIGITS.astype(np.float32), {}),
    "float16": (SMALL, DIGITS.astype(np.float16), {}),
    "600 rows of float64": (SMALL, MORE_DIGITS, {}),
    "precision float64": ({**SMALL, "precision": "float64"}, MORE_DIGITS, {}),
    "sparse": (SMALL, sparse.csr_matrix(DIGITS), {}),
    "weights": (SMALL, WINE, {"sample_weight": weights(178)}),
    "X_val": (SMALL, WINE[:100], {"X_val": WINE[100:]}),
    "no early stopping": ({**SMALL, "early_stopping": False}, DIGITS, {}),
    "early stopping": ({**SMALL, "early_stopping": True}, DIGITS, {}),
    "PCA": ({**SMALL, "max_iter": 0}, DIGITS, {}),
    "random init": ({**SMALL, "init": "random"}, DIGITS, {}),
    "share": ({**SMALL, "n_components": 0.8}, DIGITS, {}),
    # Without noise the losses would be rounding errors.
    "more components than features": (
        {**SMALL, "n_components": 20, "noise": GaussianNoise(0.3)}, WINE, {},
    ),
    "linear": ({**SMALL, "network": MLP(())}, DIGITS, {}),
    "relu": ({**SMALL, "network": MLP((8, 8), activation="relu")}, DIGITS, {}),
    "selu": ({**SMALL, "network": MLP((8,), activation="selu")}, DIGITS, {}),
    "dropout": ({**SMALL, "network": MLP((8,), dropout=0.3)}, DIGITS, {}),
    "scores": ({**SMALL, "network": SCORES}, DIGITS, {}),
    "scores sparse": ({**SMALL, "network": SCORES}, sparse.csr_matrix(DIGITS), {}),
    "scores huber": ({**SMALL, "network": SCORES, "loss": "huber"}, DIGITS, {}),
    "scores noise": (
        {**SMALL, "network": SCORES, "noise": GaussianNoise(0.3)}, DIGITS, {},
    ),
    "scores Variational": (
        {**SMALL, "network": SCORES, "regularizer": Variational()}, DIGITS, {},
    ),
    "Conv": ({**SMALL, "network": Conv(channels=(4, 8))}, DIGITS, {}),
    "Conv of images": (
        {**SMALL, "network": Conv(channels=(4,))}, DIGITS.reshape(-1, 1, 8, 8), {},
    ),
    "Conv of signals": (
        {**SMALL, "network": Conv(channels=(4,))}, signals().swapaxes(1, 2), {},
    ),
    "Conv of tokens": (
        {**SMALL, "network": Conv(channels=(4,)), "loss": "cross_entropy"},
        tokens(), {},
    ),
    "Recurrent": ({**SMALL, "network": Recurrent(hidden_size=6)}, signals(), {}),
    "Recurrent padded": (
        {**SMALL, "network": Recurrent(cell="gru", hidden_size=6)}, padded(), {},
    ),
    "Recurrent bidirectional": (
        {**SMALL, "network": Recurrent(hidden_size=4, bidirectional=True)},
        signals(), {},
    ),
    "Recurrent tokens": (
        {**SMALL, "network": Recurrent(hidden_size=6), "loss": CrossEntropy(8)},
        tokens(), {},
    ),
    "MLP padded": (SMALL, padded(), {}),
    "MLP padded log_loss": (
        {**SMALL, "loss": "log_loss"}, 1 / (1 + np.exp(-padded())), {},
    ),
    "MLP tokens": ({**SMALL, "loss": "cross_entropy"}, tokens(), {}),
    "Modules": ({**SMALL, "network": convolutions()}, DIGITS, {}),
    "Modules random": (
        {**SMALL, "network": convolutions(), "init": "random"}, DIGITS, {},
    ),
    "callable network": ({**SMALL, "network": two_linear_maps}, DIGITS, {}),
    **{
        loss: ({**SMALL, "loss": loss}, DIGITS / 16, {})
        for loss in ("absolute_error", "huber", "log_loss", "brier", "poisson")
    },
    "callable loss": ({**SMALL, "loss": cubed_error}, DIGITS / 16, {}),
    "poisson weights": (
        {**SMALL, "loss": "poisson"}, DIGITS, {"sample_weight": weights(200)},
    ),
    **{
        repr(noise): ({**SMALL, "noise": noise}, DIGITS, {})
        for noise in (GaussianNoise(0.3), MaskingNoise(), SwapNoise())
    },
    "callable noise": ({**SMALL, "noise": flips}, DIGITS, {}),
    **{
        repr(regularizer): ({**SMALL, "regularizer": regularizer}, DIGITS, {})
        for regularizer in (
            Ordered(), Sparse(), Sparse(target=0.2), TopK(2), Contractive(),
            Variational(), Variational(beta=2, n_samples=2, warm_up=0.5), MMD(),
            Adversarial(),
        )
    },
    "callable regularizer": ({**SMALL, "regularizer": small_codes}, DIGITS, {}),
    "Contractive of many components": (
        {**SMALL, "n_components": 10, "regularizer": Contractive()}, DIGITS, {},
    ),
    "Variational weights": (
        {**SMALL, "regularizer": Variational()}, WINE,
        {"sample_weight": weights(178)},
    ),
    **{
        solver: ({**SMALL, "solver": solver}, DIGITS, {})
        for solver in ("adam", "rmsprop", "sgd", "lbfgs")
    },
    "callable solver": ({**SMALL, "solver": sgd}, DIGITS, {}),
    "batches of 7": ({**SMALL, "batch_size": 7}, DIGITS, {}),
}  # fmt: skip


def fitted(name):
    """Return the fitted estimator of a configuration, and its rows."""
    params, X, fit_params = CONFIGURATIONS[name]
    return AutoencoderTransformer(**params, **FIXED).fit(X, **fit_params), X


def partially_fitted():
    """Return an estimator that was trained in parts, and its rows."""
    X = DIGITS
    model = AutoencoderTransformer(3, network=MLP((16,)), **FIXED)
    for part in np.split(X, 4):
        model.partial_fit(part)
    return model, X


def warm_started():
    """Return an estimator that was fitted twice, and its rows."""
    X, params = DIGITS, {**SMALL, "warm_start": True, **FIXED}
    return AutoencoderTransformer(**params).fit(X).fit(X), X


FITS = {
    **{name: partial(fitted, name) for name in CONFIGURATIONS},
    "partial_fit": partially_fitted,
    "warm_start": warm_started,
}
