"""Defects of other libraries of autoencoders, which this one does not have."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from skae import MLP, AutoencoderTransformer

X = load_iris().data
X.setflags(write=False)

SMALL = {"network": MLP((8,)), "random_state": 0}


@pytest.mark.filterwarnings("ignore:X has one row")
@pytest.mark.parametrize("n_rows", [1, 2, 31, 33])
def test_fewer_rows_than_a_batch_are_trained_on(n_rows):
    model = AutoencoderTransformer(2, batch_size=32, max_iter=2, **SMALL)
    assert np.isfinite(model.fit(X[:n_rows]).inverse_transform([[0.0, 0.0]])).all()


def test_the_last_rows_are_not_dropped_if_they_do_not_fill_a_batch():
    outlier = np.vstack([X[:64], 100 * X[:1]])
    with_it, without = (
        AutoencoderTransformer(2, init="random", batch_size=64, max_iter=1, **SMALL)
        .fit(rows, sample_weight=np.r_[np.ones(64), weight])
        .loss_curve_
        for rows, weight in ((outlier, [1.0]), (outlier, [1e-9]))
    )
    assert with_it != without


def test_a_search_without_scoring_selects_the_model_that_reconstructs_better():
    search = GridSearchCV(
        AutoencoderTransformer(max_iter=0), {"n_components": [1, 3]}, cv=3
    ).fit(X)
    assert search.best_params_ == {"n_components": 3}


def test_weights_change_the_model():
    weight = np.linspace(0, 1, len(X))
    plain, weighted = (
        AutoencoderTransformer(1, max_iter=0).fit(X, sample_weight=w).mean_
        for w in (None, weight)
    )
    assert not np.allclose(plain, weighted)


def test_a_constructor_does_not_change_global_random_states():
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    AutoencoderTransformer(random_state=3)
    assert np.array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.parametrize("width", [1, 3, 5, 8])
def test_rows_of_another_width_raise(width):
    model = AutoencoderTransformer(2, max_iter=0).fit(X)
    with pytest.raises(ValueError, match=f"X has {width} features"):
        model.transform(np.ones((4, width)))


def test_codes_of_another_width_raise():
    model = AutoencoderTransformer(2, max_iter=0).fit(X)
    with pytest.raises(ValueError, match="n_components_=2"):
        model.inverse_transform(np.ones((2, 3)))


def test_a_fit_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    AutoencoderTransformer(2, max_iter=1, **SMALL).fit(X)
    assert not list(tmp_path.iterdir())


def test_values_far_outside_0_and_1_are_reconstructed():
    far = 1000 * X - 500
    assert AutoencoderTransformer(3, max_iter=2, **SMALL).fit(far).score(far) > 0.99


def test_a_small_change_of_a_constant_column_does_not_dominate_the_score():
    constant = np.column_stack([X, np.full(len(X), 7.0)])
    model = AutoencoderTransformer(2, max_iter=2, **SMALL).fit(constant)
    moved = constant + np.array([0, 0, 0, 0, 1e-3])
    assert model.score(moved) == pytest.approx(model.score(constant), abs=1e-4)


def test_unknown_parameters_raise():
    with pytest.raises(TypeError, match="n_component"):
        AutoencoderTransformer(n_component=2)
    with pytest.raises(ValueError, match="Invalid parameter 'hidden'"):
        AutoencoderTransformer().set_params(network__hidden=(3,))
