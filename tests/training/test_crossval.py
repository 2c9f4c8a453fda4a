"""Cross-validation: folds, curves, and the test of the gains."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from runs import curve, data_of, fit, gaussian, params_of, train_all
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.decomposition import PCA

from skae import MLP, AutoencoderTransformer
from skae.training import _crossval
from skae.training._crossval import (
    corrected_t,
    cross_validation_folds,
    distinct_rows,
)
from skae.training._fit import start_folds

RNG = np.random.default_rng(0)


def scheduled(X, weight=None, **params):
    """Return a cross-validation at PCA, with its epochs scheduled."""
    data = data_of(X, weight)
    params = params_of(data, **params)
    run = start_folds(data, params)
    run.schedule_epochs(params.max_iter)
    return run


# The folds.


@pytest.mark.parametrize("n_rows", [10, 11, 100])
def test_every_row_is_in_one_fold(n_rows):
    folds = cross_validation_folds(RNG.random((n_rows, 3)), seed=0)
    assert_array_equal(np.sort(np.concatenate(folds)), np.arange(n_rows))
    sizes = [len(fold) for fold in folds]
    assert len(folds) == 5
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("n_distinct", "n_folds"), [(1, 0), (9, 0), (10, 5)])
def test_a_few_different_rows_have_no_folds(n_distinct, n_folds):
    X = RNG.random((n_distinct, 3))[np.arange(40) % n_distinct]
    assert len(cross_validation_folds(X, seed=0)) == n_folds


def test_equal_rows_are_in_the_same_fold():
    X = RNG.random((12, 3))
    rows = np.repeat(np.arange(12), np.arange(12) % 4 + 1)
    folds = cross_validation_folds(X[rows], seed=0)
    assert [set(rows[fold]) for fold in folds] == [
        set(fold) for fold in cross_validation_folds(X, seed=0)
    ]


def test_folds_depend_on_the_seed_and_not_on_the_order_or_storage_of_rows():
    X, order = RNG.random((30, 3)).round(1), RNG.permutation(30)
    folds = cross_validation_folds(X, seed=0)
    for fold, same in zip(folds, cross_validation_folds(X[order], 0), strict=True):
        assert set(fold) == set(order[same])
    for fold, same in zip(
        folds, cross_validation_folds(sparse.csr_matrix(X), 0), strict=True
    ):
        assert_array_equal(fold, same)
    assert set(folds[0]) != set(cross_validation_folds(X, seed=1)[0])


def test_distinct_rows_have_distinct_numbers():
    assert_array_equal(np.unique(distinct_rows(RNG.random((9, 2)))), np.arange(9))


# The runs.


def test_every_fold_starts_at_pca_of_the_other_rows():
    X = curve(60)
    run = scheduled(X)
    for fold, index in zip(run.runs, params_of(data_of(X)).folds, strict=True):
        training = np.delete(X, index, axis=0)
        assert_allclose(fold.pca.mean, training.mean(axis=0))
        assert_allclose(np.abs(fold.pca.axes), np.abs(PCA(2).fit(training).components_))
        assert len(fold.evaluation.rows) == len(index)


def row_losses(run):
    """Train all epochs, and return the losses at the start and after each epoch."""
    losses = [run.row_losses()]
    while run.has_next:
        run.train_epoch()
        losses.append(run.row_losses())
    return np.array(losses)


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_means_of_losses_relative_to_pca(weighted):
    weight = RNG.uniform(0.5, 2, 60) if weighted else None
    run = scheduled(curve(60), weight, max_iter=12, learning_rate=0.02)
    losses = row_losses(run)
    folds = [run.fold == i for i in range(5)]
    means = np.transpose(
        [np.average(losses[:, f], axis=1, weights=run.weight[f]) for f in folds]
    )
    sizes = [run.weight[f].sum() for f in folds]
    relative = np.average(means / means[0], axis=1, weights=sizes)
    unit = np.average(means[0], weights=sizes)
    assert_allclose([run.start_loss, *run.validation_loss_curve], unit * relative)
    assert run.best_iter == relative.argmin() > 0
    assert run.best_loss == min(run.validation_loss_curve)
    assert run.start_loss < run.null_loss


def test_the_epoch_of_a_fold_is_selected_on_the_other_folds():
    run = scheduled(gaussian(40), max_iter=40)
    losses = row_losses(run)
    means = np.transpose([losses[:, run.fold == i].mean(axis=1) for i in range(5)])
    relative = means / means[0]
    epochs = [np.delete(relative, i, axis=1).mean(axis=1).argmin() for i in range(5)]
    assert len(set(epochs)) > 1
    expected = losses[np.array(epochs)[run.fold], np.arange(40)]
    assert_allclose(run.losses_of_others, expected / means[0][run.fold])


def test_a_fold_of_loss_zero_at_the_start_is_valid():
    X = np.outer(np.arange(20.0) - 9.5, [1, 2, 3])
    run = scheduled(X, n_components=1, precision="float64")
    train_all(run)
    assert np.isfinite(run.validation_loss_curve).all()
    assert not run.improves_on_start() or run.start_loss > 0


# The test.


@pytest.mark.parametrize(
    ("n_rows", "t", "improves"),
    [
        (150, 2.0, True),  # the quantile of 97.5 % is 1.98
        (150, 1.9, False),
        (149, 2.3, False),  # the quantile of 99 % is 2.35: few rows hide outliers
        (149, 2.4, True),
    ],
)
def test_the_level_is_lower_for_few_rows(n_rows, t, improves, monkeypatch):
    run = scheduled(curve(n_rows))
    run.best_iter, run.losses_of_others = 1, run.start_losses - 1
    monkeypatch.setattr(_crossval, "corrected_t", lambda *args: t)
    assert run.improves_on_start() == improves
    run.best_iter = 0
    assert not run.improves_on_start()


def with_gains(run, gains):
    """Set the relative gains of a run at its best epoch."""
    run.best_iter, run.losses_of_others = 1, run.start_losses - gains
    return run


@pytest.mark.parametrize(
    ("extreme", "others", "improves"),
    [
        (50, 0.5, True),  # a plain t-test has t < 1: the row dominates the variance
        (-0.4, 0.5, True),  # the mean is still lower
        (-0.6, 0.5, False),  # the mean is higher
        (50, 0.0, False),  # only one row is better
        (50, -0.5, False),  # all others are worse
    ],
)
def test_a_single_row_does_not_decide_alone(extreme, others, improves):
    gains = others + np.arange(200) % 2 - 0.5
    gains[0] = extreme * 200
    run = scheduled(curve(200))
    run.units[:] = 1
    assert with_gains(run, gains).improves_on_start() == improves


@pytest.mark.parametrize(("extreme", "improves"), [(1, True), (1000, False)])
def test_the_mean_in_the_unit_of_the_data_must_be_lower(extreme, improves):
    X = curve(200)
    X[0] *= extreme
    run = scheduled(X)
    gains = run.start_losses / 2
    # Its share of the relative losses is at most that of its fold.
    gains[run.start_losses.argmax()] *= -1
    assert gains.mean() > 0
    assert with_gains(run, gains).improves_on_start() == improves


def test_gains_in_the_unit_of_the_data_are_those_of_the_squared_error():
    X = curve(100)
    X[0] *= 30
    run = scheduled(X, precision="float64")
    start, index = run.start_losses, np.concatenate(params_of(data_of(X)).folds)
    errors = np.empty(100)
    for fold in params_of(data_of(X)).folds:
        pca = PCA(2).fit(np.delete(X, fold, axis=0))
        residual = X[fold] - pca.inverse_transform(pca.transform(X[fold]))
        errors[fold] = np.square(residual).sum(axis=1)
    gains, others = start * RNG.random(100), start * RNG.random(100)
    expected = (gains / start) @ errors[index] / ((others / start) @ errors[index])
    ratio = run.gain_in_data_unit(gains) / run.gain_in_data_unit(others)
    assert ratio == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n_folds", [2, 5])
def test_the_statistic_is_that_of_a_t_test_with_a_larger_variance(n_folds):
    gains = RNG.normal(0.3, 1, 50)
    n_training = 50 * (1 - 1 / n_folds)
    factor = np.sqrt((1 / 50) / (1 / 50 + 1 / n_training))
    expected = stats.ttest_1samp(gains, 0).statistic * factor
    assert corrected_t(gains, np.ones(50), 50, n_folds) == pytest.approx(expected)


def test_the_statistic_of_a_known_case():
    # 3 / sqrt(2.5 * (1 / 5 + 1 / 4))
    t = corrected_t(np.arange(1.0, 6), np.ones(5), 5, 5)
    assert t == pytest.approx(2 * np.sqrt(2))


@pytest.mark.parametrize(("gain", "t"), [(0.0, 0.0), (1.0, np.inf), (-1.0, 0.0)])
def test_the_statistic_without_a_variance(gain, t):
    assert corrected_t(np.full(9, gain), np.ones(9), 9, 5) == t


def test_the_statistic_of_integer_weights_is_that_of_repeated_rows():
    gains, weight = RNG.random(9), np.arange(1, 10)
    t = corrected_t(gains.repeat(weight), np.ones(45), 9, 5)
    assert corrected_t(gains, weight / 5, 9, 5) == pytest.approx(t)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_rows", [30, 100, 300])
def test_gaussian_rows_end_as_pca(n_rows, global_random_seed):
    X = gaussian(n_rows, seed=global_random_seed)
    assert fit(data_of(X), max_iter=30, learning_rate=0.01).run.best_iter == 0


@pytest.mark.parametrize("n_rows", [30, 60, 200])
def test_a_curve_of_few_rows_is_learned(n_rows, global_random_seed):
    X, X_test = curve(n_rows, global_random_seed), curve(300, seed=1000)
    model = AutoencoderTransformer(1, network=MLP((32,)), device="cpu", random_state=0)
    pca = AutoencoderTransformer(1, max_iter=0).fit(X)
    assert not model.fit(X).is_pca_
    assert 1 - model.score(X_test) < 0.7 * (1 - pca.score(X_test))


def test_after_a_stop_the_model_is_that_of_the_first_fold():
    X = curve(200)

    def train(run):
        train_all(run)
        run.stopped = True

    result = fit(data_of(X), train, max_iter=40)
    training = np.delete(X, result.params.folds[0], axis=0)
    assert result.runs == (result.run,)
    assert_allclose(result.run.pca.mean, training.mean(axis=0))


def test_the_state_of_the_first_fold_is_that_of_the_best_epoch():
    run = scheduled(curve(200), max_iter=30)
    row_losses(run)
    other = scheduled(curve(200), max_iter=30)
    for _ in range(run.best_iter):
        other.train_epoch()
    assert torch.equal(run.state.best[0], other.state.current[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "params", [{}, {"solver": "sgd"}, {"loss": "huber"}, {"n_components": 2}], ids=str
)
def test_integer_weights_equal_repeated_rows(params):
    X, weight = curve(30), np.arange(30) % 3 + 1
    params = {"n_components": 1, "network": MLP((16,)), "random_state": 0} | params
    model = AutoencoderTransformer(max_iter=200, device="cpu", **params)
    model.fit(X, sample_weight=weight)
    repeated = clone(model).fit(X.repeat(weight, axis=0))
    assert model.is_pca_ == repeated.is_pca_
    assert model.best_iter_ == repeated.best_iter_
    # Rounding errors grow over 200 epochs.
    assert_allclose(model.transform(X), repeated.transform(X), rtol=1e-4, atol=1e-7)
    names = ["loss_curve_", "validation_loss_curve_", "best_validation_score_"]
    for name in names:
        assert_allclose(getattr(model, name), getattr(repeated, name), rtol=1e-5)
