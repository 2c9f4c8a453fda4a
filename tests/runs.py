"""Fits without an estimator, for tests of training."""

import numpy as np
import torch

from skae import MLP, AutoencoderTransformer
from skae.data._layout import NumericLayout
from skae.data._validation import TrainingData
from skae.training._auto import resolve_params
from skae.training._fit import fit_model, start_at_pca


def data_of(X, weight=None, X_val=None):
    """Return validated rows."""
    return TrainingData(X, NumericLayout(X.shape[1:]), weight, X_val)


def params_of(data, **params):
    """Return the resolved parameters of a small network."""
    params = {"n_components": 2, "network": MLP((8,)), "max_iter": 5} | params
    params = AutoencoderTransformer(**params).get_params(deep=False)
    return resolve_params(params, data, 0, torch.get_num_threads())


def start(data, **params):
    """Return a run at PCA, with its epochs scheduled."""
    params = params_of(data, **params)
    run = start_at_pca(data, params)
    run.schedule_epochs(params.max_iter)
    return run


def train_all(run):
    """Run the scheduled epochs."""
    while run.has_next:
        run.train_epoch()


def fit(data, train=train_all, **params):
    """Return the result of a fit."""
    return fit_model(data, params_of(data, **params), train)


def curve(n=400, seed=0):
    """Return noisy points of a curve, which two linear components cannot follow."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-2, 2, (n, 1))
    X = np.hstack([t, t**2, np.sin(2 * t), np.cos(t), t**3 / 4])
    return X + 0.05 * rng.standard_normal(X.shape)


def gaussian(n=400, seed=0):
    """Return draws from a normal distribution, for which PCA is best."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 5)) @ rng.standard_normal((5, 5))
