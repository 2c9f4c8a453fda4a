"""Estimators that differ in one parameter, for tests of what must hold for each."""

import hashlib
import os
import subprocess
import sys
import textwrap

import numpy as np
import torch
from parts import NETWORKS, NOISES, REGULARIZERS

from skae import MLP, AutoencoderTransformer, Noise, Regularizer

QUICK = {"network": MLP((8,)), "max_iter": 2, "batch_size": 32, "random_state": 0}


def double(batch):
    return batch * 2


def noise_from_the_global_generator(batch):
    return batch + 0.1 * torch.randn_like(batch)


def small_codes(codes):
    return codes.square().sum(dim=1)


# Parameters of public types only, which skops can save.
PUBLIC_VARIANTS = {
    "default": {},
    "float32": {"precision": "float32"},
    "float64": {"precision": "float64"},
    "linear": {"network": MLP(())},
    "dropout": {"network": MLP((8,), dropout=0.2)},
    "tanh": {"network": MLP((8,), activation="tanh")},
    "random": {"init": "random"},
    "huber": {"loss": "huber"},
    "log_loss": {"loss": "log_loss"},
    "poisson": {"loss": "poisson"},
    "no-op parts": {"noise": Noise(), "regularizer": Regularizer()},
    **{repr(part): {"network": part} for part in NETWORKS[1:]},
    **{repr(part): {"noise": part} for part in NOISES},
    **{repr(part): {"regularizer": part} for part in REGULARIZERS},
    "share": {"n_components": 0.8},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "early_stopping": {"early_stopping": True},
    "warm_start": {"warm_start": True},
}
VARIANTS = {
    **PUBLIC_VARIANTS,
    "callable noise": {"noise": double},
    "callable noise that draws": {"noise": noise_from_the_global_generator},
    "callable regularizer": {"regularizer": small_codes},
}


def quick(**params):
    """Return an estimator that is fitted in a few milliseconds."""
    return AutoencoderTransformer(**QUICK | params)


def digest(model):
    """Return a hash of everything that a model has learned."""
    weights = [value.numpy() for value in model.module_.state_dict().values()]
    curves = [model.loss_curve_, model.validation_loss_curve_]
    shares = [model.mean_, model.explained_variance_ratio_]
    parts = (np.asarray(part).tobytes() for part in weights + curves + shares)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def run_script(script, **environment):
    """Return what a script prints in a new interpreter.

    The time limit only ends scripts that hang.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
