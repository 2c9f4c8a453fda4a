"""Scores in the unit of the data, and errors of rows that a model has not seen."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from parts import NUMERIC_LOSSES, quick
from runs import curve
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import (
    AutoencoderTransformer,
    Recurrent,
    cross_val_reconstruction_error,
    reconstruction_r2,
)

X = 1 / (1 + np.exp(-curve(120)))  # valid for every loss
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("k", [1, 3])
def test_the_score_of_pca_is_the_share_of_variance(k):
    pca = PCA(k).fit(X)
    share = pca.explained_variance_ratio_.sum()
    assert reconstruction_r2(pca, X) == pytest.approx(share)
    model = AutoencoderTransformer(k, max_iter=0).fit(X)
    assert reconstruction_r2(model, X) == pytest.approx(share)


@quiet
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_the_score_does_not_depend_on_the_unit_of_the_loss(loss):
    model = quick(3, loss=loss).fit(X)
    residuals = model.inverse_transform(model.transform(X)) - X
    expected = 1 - np.square(residuals).sum() / np.square(X - X.mean(axis=0)).sum()
    assert reconstruction_r2(model, X) == pytest.approx(expected)


@quiet
@pytest.mark.parametrize("kind", [sparse.csr_array, pd.DataFrame, np.ndarray.tolist])
def test_the_score_accepts_every_kind_of_rows(kind):
    model = quick(2).fit(X)
    assert reconstruction_r2(model, kind(X)) == pytest.approx(
        reconstruction_r2(model, X)
    )


@quiet
def test_padding_is_left_out_of_the_score():
    sequences = X.reshape(60, 5, 2).copy()
    sequences[:30, 3:] = np.nan
    model = quick(3, network=Recurrent(hidden_size=3)).fit(sequences)
    back = model.inverse_transform(model.transform(sequences))
    residuals = np.nansum(np.square(back - sequences))
    centered = sequences - np.nanmean(sequences, axis=0)
    expected = 1 - residuals / np.nansum(np.square(centered))
    assert reconstruction_r2(model, sequences) == pytest.approx(expected)


@quiet
def test_a_search_compares_losses_and_transformers():
    pipeline = make_pipeline(StandardScaler(), quick(2))
    grid = [
        {"autoencodertransformer__loss": ["squared_error", "absolute_error"]},
        {"autoencodertransformer": [PCA(2), PCA(1)]},
    ]
    search = GridSearchCV(pipeline, grid, scoring=reconstruction_r2, cv=2).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert scores[3] < scores[2]


def outliers():
    rng = np.random.default_rng(0)
    t, W = rng.standard_normal((600, 3)), rng.standard_normal((3, 10))
    rows = np.tanh(t @ W) + 0.3 * rng.standard_normal((600, 10))
    rows[:20] += 2 * rng.standard_normal((20, 10))
    return rows, np.arange(600) < 20


@pytest.mark.parametrize("seed", [0, 1])
def test_outliers_of_the_training_rows_have_large_errors_out_of_fold(seed):
    rows, is_outlier = outliers()
    model = AutoencoderTransformer(5, random_state=seed)
    errors = cross_val_reconstruction_error(model, rows, cv=3)
    # In the sample, the area is 0.18 for seed 0.
    assert roc_auc_score(is_outlier, errors) > 0.99


@quiet
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, pd.DataFrame])
@pytest.mark.parametrize("cv", [3, KFold(3, shuffle=True, random_state=0)], ids=str)
def test_the_errors_of_a_fold_are_those_of_a_model_of_the_other_folds(cv, kind):
    errors = cross_val_reconstruction_error(quick(), kind(X), cv=cv)
    for train, test in (KFold(3) if cv == 3 else cv).split(X):
        model = quick().fit(kind(X[train]))
        assert_allclose(errors[test], model.reconstruction_error(kind(X[test])))


@quiet
def test_groups_are_held_out_together():
    groups = np.arange(120) % 4
    errors = cross_val_reconstruction_error(quick(), X, groups=groups, cv=GroupKFold(4))
    model = quick().fit(X[groups != 1])
    assert_allclose(errors[groups == 1], model.reconstruction_error(X[groups == 1]))


def test_every_row_must_be_in_one_test_set():
    with pytest.raises(ValueError, match="test sets do not contain every row"):
        cross_val_reconstruction_error(quick(), X, cv=ShuffleSplit(3))
