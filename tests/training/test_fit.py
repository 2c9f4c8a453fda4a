"""The fitted model is PCA unless the network is significantly better."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from runs import curve, data_of, fit, gaussian, start, train_all
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from skae import MLP, MMD, AutoencoderTransformer
from skae.training import _fit
from skae.training._fit import (
    codes_to_store,
    fitted_attributes,
    improves_on_pca,
    is_significantly_lower,
)
from skae.training._run import TrainingRun

RNG = np.random.default_rng(0)


def rows_with_t(n, t):
    """Return losses whose paired t-statistic against zeros is t."""
    noise = RNG.standard_normal(n)
    noise = (noise - noise.mean()) / noise.std()
    return noise - t / np.sqrt(n)


@pytest.mark.parametrize(
    ("n", "t", "is_lower"),
    [
        (50, 2.05, True),  # the quantile of 97.5 % is 2.01
        (50, 1.95, False),
        (49, 2.5, False),  # the quantile of 99.5 % is 2.68: few rows hide outliers
        (49, 2.8, True),
        (1000, 2.0, True),
        (1000, -5.0, False),  # worse
    ],
)
def test_losses_are_compared_by_a_paired_t_test(n, t, is_lower):
    losses, weight = rows_with_t(n, t), np.ones(n)
    assert is_significantly_lower(losses, np.zeros(n), weight) == is_lower


def test_equal_losses_are_not_lower():
    losses = RNG.random(100)
    assert not is_significantly_lower(losses, losses, np.ones(100))


def test_rows_of_little_weight_do_not_make_losses_lower():
    gain = np.where(np.arange(100) < 50, 1.0, -0.1)
    weight = np.where(np.arange(100) < 50, 1e-3, 2.0)
    assert is_significantly_lower(-gain, np.zeros(100), np.ones(100))
    assert not is_significantly_lower(-gain, np.zeros(100), weight)


def worsen(run):
    """Replace the best state by a random one, as a failed training would."""
    if not run.has_next:  # PCA of all rows
        return
    generator = torch.Generator().manual_seed(0)
    values = run.state.best[0]
    values.add_(torch.randn(values.shape, generator=generator).to(values.dtype))
    run.best_iter = 3


def pca_reconstruction(X, k=2):
    pca = PCA(k).fit(X)
    return pca.inverse_transform(pca.transform(X))


def reconstruction(result, X):
    model, mean, scale = result.run.model, result.run.pca.mean, result.run.pca.scale
    result.run.state.load(result.run.state.best)
    model.eval()
    with torch.no_grad():
        rows = torch.from_numpy((X - mean) / scale).to(model.offset)
        return model.decode(model.encode(rows)).numpy() * scale + mean


def test_a_better_network_is_kept():
    X = curve()
    result = fit(data_of(X), network=MLP((32,)), max_iter=60)
    residual, residual_of_pca = X - reconstruction(result, X), X - pca_reconstruction(X)
    assert (residual**2).sum() < 0.5 * (residual_of_pca**2).sum()
    assert result.run.best_iter > 0


@pytest.mark.parametrize(
    "train", [worsen, lambda run: None], ids=["a worse network", "an equal network"]
)
def test_otherwise_the_model_is_pca_of_all_rows(train):
    X = curve()
    result = fit(data_of(X), train, precision="float64")
    assert_allclose(reconstruction(result, X), pca_reconstruction(X), atol=1e-6)
    assert result.run.best_iter == 0
    assert len(result.runs) == 2  # the second one is PCA of all rows


def test_gaussian_rows_end_as_pca(global_random_seed):
    X = gaussian(seed=global_random_seed)
    assert fit(data_of(X), max_iter=30).run.best_iter == 0


def losses_at(run, state):
    run.state.load(state)
    return run.trainer.objective.validation_losses(run.validation)


def test_the_comparison_uses_the_weights_of_the_rows():
    run = start(data_of(curve()), max_iter=20)
    train_all(run)
    losses, reference = losses_at(run, run.state.best), losses_at(run, run.state.start)
    is_better = losses < reference
    assert 0 < is_better.sum() < len(is_better)
    for rows in (is_better, ~is_better):
        run.validation.weight = torch.from_numpy(rows.astype(float))
        assert improves_on_pca(run) == rows[is_better].any()


def test_a_regularizer_with_a_prior_keeps_the_network():
    run = start(data_of(curve()), regularizer=MMD(1.0))
    worsen(run)
    assert improves_on_pca(run)


def test_penalties_are_part_of_the_comparison():
    def large(codes):
        return 100 * codes.square().mean(dim=1)

    run = start(data_of(curve()), regularizer=large)
    run.state.best[0].mul_(0)  # the constant model, without a penalty
    assert improves_on_pca(run)
    run = start(data_of(curve()))
    run.state.best[0].mul_(0)
    assert not improves_on_pca(run)


def test_few_rows_without_validation_rows_revert_if_worse():
    X = curve(30)
    result = fit(data_of(X), worsen_and_report, precision="float64")
    assert result.run.reverted
    assert_allclose(reconstruction(result, X), pca_reconstruction(X), atol=1e-6)


def worsen_and_report(run):
    worsen(run)
    run.loss_curve.append(1.0)


def test_given_validation_rows_are_not_used_for_a_comparison():
    X = curve()
    result = fit(data_of(X, X_val=curve(100, seed=1)), worsen)
    assert len(result.runs) == 1
    assert result.run.best_iter == 3


@pytest.mark.parametrize(("n_rows", "n_runs"), [(60, 2), (4999, 2), (5000, 1)])
def test_below_5000_rows_the_network_is_fitted_again_on_all_rows(
    n_rows, n_runs, monkeypatch
):
    monkeypatch.setattr(_fit, "improves_on_pca", lambda run: True)
    result = fit(data_of(curve(n_rows)), max_iter=1)
    assert len(result.runs) == n_runs
    if n_runs == 2:
        assert len(result.runs[1].trainer.batches.rows) == n_rows


def test_the_refit_takes_as_many_steps_as_the_best_epoch_of_the_first_run():
    result = fit(data_of(curve(400)), max_iter=20, batch_size=30)
    first, refit = result.runs
    n_epochs = first.best_iter * first.trainer.n_batches / refit.trainer.n_batches
    n_refit = len(refit.loss_curve) - len(first.loss_curve)
    assert n_refit == round(n_epochs)


def test_a_refit_that_fails_leaves_the_first_run():
    def train(run):
        train_all(run)
        run.diverged = run.validation is None

    result = fit(data_of(curve(400)), train, max_iter=20)
    assert len(result.runs) == 2
    assert result.run is result.runs[0]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_run_that_was_stopped_is_not_refitted(stopped):
    def train(run):
        train_all(run)
        run.stopped = stopped

    result = fit(data_of(curve(400)), train, max_iter=20)
    assert len(result.runs) == (1 if stopped else 2)


def test_an_interrupt_is_returned_with_the_best_model_so_far():
    def train(run):
        run.train_epoch()
        raise KeyboardInterrupt

    result = fit(data_of(curve()), train)
    assert isinstance(result.interrupt, KeyboardInterrupt)
    assert len(result.run.loss_curve) == 1


@pytest.mark.parametrize("loss", ["log_loss", "brier", "poisson"])
def test_the_decoder_is_shrunk_to_the_lowest_loss(loss, monkeypatch):
    # Rare ones, for which the tangent of the link at the mean is steep.
    groups = RNG.integers(0, 20, 400)[:, np.newaxis] == np.arange(20)
    X = (groups & (RNG.random(groups.shape) < 0.9)).astype(float)
    best = start(data_of(X), loss=loss).start_loss
    monkeypatch.setattr(_fit, "shrink_decoder", lambda *args: None)
    unshrunk = start(data_of(X), loss=loss).start_loss
    assert best < unshrunk if loss == "poisson" else best <= unshrunk


def test_the_share_of_explained_loss_decides_the_number_of_components():
    X = gaussian()
    result = fit(data_of(X), n_components=0.8, max_iter=0, early_stopping=False)
    attributes = fitted_attributes(result.run, result.params, copied=True)
    total = attributes["explained_variance_ratio_"].cumsum()
    assert total[-1] >= 0.8 > total[-2]


def test_stored_codes_are_evenly_spaced_rows():
    X = np.arange(5000.0)[:, np.newaxis] * np.ones((1, 3))
    run = start(data_of(X), n_components=1, early_stopping=False)
    codes, lengths = codes_to_store(
        run.model, run.trainer.batches, run.model.adapter and data_of(X).layout
    )
    assert codes.shape == (1000, 1)
    assert lengths.shape == (1000, 0)
    assert_allclose(np.diff(codes[:, 0]), np.diff(codes[:, 0])[0], rtol=1e-3)


def test_rows_of_weight_zero_are_not_stored():
    X, weight = curve(200), np.repeat([1e-9, 2.0], 100)
    run = start(data_of(X, weight), early_stopping=False)
    codes, _ = codes_to_store(run.model, run.trainer.batches, data_of(X).layout)
    with torch.no_grad():
        heavy = run.model.encode(run.trainer.batches.resident[100:]).numpy()
    assert_array_equal(np.unique(codes, axis=0), np.unique(heavy, axis=0))


@pytest.mark.parametrize(("loss", "warns"), [(0.7, True), (0.8, False)])
def test_a_fit_warns_if_the_loss_fell_by_a_quarter_in_the_second_half(
    loss, warns, monkeypatch
):
    def train_epoch(run):
        run.n_remaining -= 1
        run.loss_curve.append([2.0, 1.0, 0.9, loss][len(run.loss_curve)])

    monkeypatch.setattr(TrainingRun, "train_epoch", train_epoch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        AutoencoderTransformer(2, max_iter=4, early_stopping=False).fit(curve(100))
    assert any("still decreasing" in str(w.message) for w in caught) == warns


def test_a_fit_warns_of_max_iter_if_the_loss_still_falls():
    model = AutoencoderTransformer(
        2, network=MLP((16,)), init="random", early_stopping=False, warm_start=True,
        learning_rate=0.02, batch_size=200, max_iter=20, random_state=0,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="still decreasing. Increase max_iter"):
        model.fit(curve(200))
