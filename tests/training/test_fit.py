"""The fitted model is PCA unless the network is significantly better."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES, PRIORS, quick
from runs import curve, data_of, fit, gaussian, params_of, start, train_all
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from skae import MLP, MMD, AutoencoderTransformer, Sparse, Variational
from skae.model._config import linear_maps
from skae.training import _fit
from skae.training._fit import (
    codes_to_store,
    continue_fit,
    drop_superfluous_components,
    fitted_attributes,
    improves_on_pca,
    resume_run,
    run_from_fitted,
    training_attributes,
)
from skae.training._objective import Objective
from skae.training._outcome import divergence_message
from skae.training._run import (
    TrainingRun,
    is_significantly_lower,
    t_bound,
    winsorize,
)

RNG = np.random.default_rng(0)


def rows_with_t(n, t):
    """Return losses whose paired t-statistic against zeros is t, without extremes."""
    noise = np.arange(n) % 2.0
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


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize(
    ("extreme", "others", "is_lower"),
    [
        (50, 0.5, True),  # a plain t-test has t = 1: the row dominates the variance
        (-0.4, 0.5, True),  # the mean is still lower
        (-0.6, 0.5, False),  # the mean is higher
        (50, 0.0, False),  # only one row is better
        (50, -0.5, False),  # all others are worse
    ],
)
def test_a_single_row_does_not_decide_alone(n, extreme, others, is_lower):
    gains = others - rows_with_t(n, 0)
    gains[0] = extreme * n
    losses, reference = np.maximum(-gains, 0), np.maximum(gains, 0)
    assert is_significantly_lower(losses, reference, np.ones(n)) == is_lower


def test_gains_are_limited_to_those_of_nine_tenths_of_the_rows():
    gains = RNG.permutation(np.arange(100.0))
    limited, share = winsorize(gains, np.ones(100))
    # 5 rows at each end have the gain of the last one of them.
    assert_array_equal(limited, np.clip(gains, 4, 95))
    assert share == pytest.approx(0.92)


@pytest.mark.parametrize("n", [2, 10, 20])
def test_gains_of_up_to_20_rows_are_not_limited(n):
    gains = RNG.standard_normal(n)
    limited, share = winsorize(gains, np.ones(n))
    assert_array_equal(limited, gains)
    assert share == 1


@pytest.mark.parametrize("unit", [1, 0.1, 1 / 3])
def test_limits_for_integer_weights_are_those_of_repeated_rows(unit):
    for n in range(2, 60):
        gains, weight = RNG.standard_normal(n), RNG.integers(1, 5, n)
        limited, share = winsorize(gains, weight * unit)
        repeated = winsorize(gains.repeat(weight), np.ones(weight.sum()))
        assert_array_equal(limited.repeat(weight), repeated[0])
        assert share == pytest.approx(repeated[1])


@pytest.mark.parametrize("df", [None, 3])
def test_a_better_mean_is_rarely_significant_by_chance(df):
    draw = RNG.standard_normal if df is None else partial(RNG.standard_t, df)
    zeros, weight = np.zeros(100), np.ones(100)
    found = [is_significantly_lower(draw(size=100), zeros, weight) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.025, abs=0.012)


def test_the_bound_without_limited_rows_is_the_quantile():
    assert t_bound(0.025, 50, 1.0) == pytest.approx(stats.t.ppf(0.975, 49))
    assert t_bound(0.025, 1, 1.0) == pytest.approx(stats.t.ppf(0.975, 1))


def worsen(run):
    """Replace the best state by a random one, as a failed training would."""
    if not run.has_next:  # PCA of all rows
        return
    generator = torch.Generator().manual_seed(0)
    values = run.state.best[0]
    values.add_(torch.randn(values.shape, generator=generator).to(values.dtype))
    run.best_iter = 3
    run.loss_curve.append(1.0)


def is_refit(run):
    """Return whether a run is on all rows, without validation rows."""
    return run.validation is None


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


# The epoch is selected by cross-validation below 700 rows.
@pytest.mark.parametrize("n_rows", [400, 800])
@pytest.mark.parametrize(
    "train", [worsen, lambda run: None], ids=["a worse network", "an equal network"]
)
def test_otherwise_the_model_is_pca_of_all_rows(train, n_rows):
    X = curve(n_rows)
    result = fit(data_of(X), train, precision="float64")
    assert_allclose(reconstruction(result, X), pca_reconstruction(X), atol=1e-6)
    # The second run is PCA of all rows, the first one that of the training rows.
    assert [run.best_iter for run in result.runs] == [0, 0]
    assert result.run is result.runs[1]


def test_training_starts_at_pca_of_the_training_rows():
    data = data_of(curve(800))
    training = np.delete(data.X, params_of(data).validation_index, axis=0)
    pca = start(data).pca
    assert_allclose(pca.mean, training.mean(axis=0))
    assert_allclose(pca.scale, np.sqrt(training.var(axis=0).mean()))
    assert_allclose(np.abs(pca.axes), np.abs(PCA(2).fit(training).components_))


def test_gaussian_rows_end_as_pca(global_random_seed):
    X = gaussian(seed=global_random_seed)
    assert fit(data_of(X), max_iter=30).run.best_iter == 0


def losses_at(run, state):
    run.state.load(state)
    return run.trainer.objective.validation_losses(run.validation)


def test_the_comparison_uses_the_weights_of_the_rows():
    run = start(data_of(curve(800)), max_iter=20)
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

    run = start(data_of(curve(800)), regularizer=large)
    run.state.best[0].mul_(0)  # the constant model, without a penalty
    assert improves_on_pca(run)
    run = start(data_of(curve(800)))
    run.state.best[0].mul_(0)
    assert not improves_on_pca(run)


def test_few_rows_without_validation_rows_revert_if_worse():
    X = curve(30)
    result = fit(data_of(X), worsen, precision="float64", early_stopping=False)
    assert result.run.reverted
    assert_allclose(reconstruction(result, X), pca_reconstruction(X), atol=1e-6)


def test_given_validation_rows_are_not_used_for_a_comparison():
    X = curve()
    result = fit(data_of(X, X_val=curve(100, seed=1)), worsen)
    assert len(result.runs) == 1
    assert result.run.best_iter == 3


def test_a_warm_start_is_not_compared_with_pca():
    result = fit(data_of(curve()), worsen, warm_start=True)
    assert len(result.runs) == 1
    assert result.run.best_iter == 3


# The second fit, on all rows.


@pytest.mark.parametrize(("n_rows", "n_runs"), [(60, 2), (4999, 2), (5000, 1)])
def test_below_5000_rows_the_network_is_fitted_again_on_all_rows(
    n_rows, n_runs, monkeypatch
):
    monkeypatch.setattr(_fit, "improves_on_pca", lambda run: True)
    result = fit(data_of(curve(n_rows)), max_iter=1)
    assert len(result.runs) == n_runs
    if n_runs == 2:
        assert len(result.runs[1].trainer.batches.rows) == n_rows


def test_the_refit_takes_a_quarter_of_the_steps_up_to_the_best_epoch():
    result = fit(data_of(curve(800)), max_iter=20, batch_size=30)
    first, refit = result.runs
    assert first.best_iter > 0
    n_steps = first.best_iter * first.trainer.n_batches / 4
    assert len(refit.loss_curve) == round(n_steps / refit.trainer.n_batches)


def test_the_refit_starts_at_the_best_epoch():
    starts = []

    def train(run):
        if is_refit(run):
            starts.append(run.state.start)
        train_all(run)

    first, refit = fit(data_of(curve(800)), train, max_iter=20).runs
    for tensor, best in zip(starts[0], first.state.best, strict=True):
        torch.testing.assert_close(tensor, best, rtol=0, atol=0)
    assert refit.pca.mean is first.pca.mean


def test_the_penalty_has_its_full_strength_in_the_refit():
    factors = []

    def train(run):
        while run.has_next:
            run.train_epoch()
            if is_refit(run):
                factors.append(run.model.regularizer.beta_factor)

    variational = Variational(warm_up=1.0)
    fit(data_of(curve(800)), train, max_iter=20, regularizer=variational)
    assert set(factors) == {1.0}


def test_the_refit_takes_as_many_epochs_as_were_best_in_a_cross_validation():
    first, refit = fit(data_of(curve(400)), max_iter=40, batch_size=30).runs
    assert len(refit.loss_curve) == first.best_iter > 0


def diverge(run):
    train_all(run)
    run.diverged = True


@pytest.mark.parametrize("fail", [diverge, worsen], ids=["diverged", "worse"])
def test_a_refit_that_fails_leaves_the_first_run(fail):
    def train(run):
        (fail if is_refit(run) else train_all)(run)

    result = fit(data_of(curve(400)), train, max_iter=20)
    assert len(result.runs) == 2
    assert result.run is result.runs[0]


@pytest.mark.parametrize(("n", "warns"), [(400, True), (800, False)])
def test_a_refit_from_the_best_epoch_may_fail_without_a_warning(n, warns):
    def train(run):
        (worsen if is_refit(run) else train_all)(run)

    result = fit(data_of(curve(n)), train, max_iter=20)
    assert result.runs[1].worsened
    assert bool(divergence_message(quick(), result)) == warns


@pytest.mark.parametrize("flag", ["stopped", "diverged", "reverted"])
def test_a_run_that_was_stopped_or_diverged_is_not_refitted(flag):
    def train(run):
        train_all(run)
        setattr(run, flag, not is_refit(run))

    result = fit(data_of(curve(400)), train, max_iter=20)
    assert len(result.runs) == (2 if flag == "reverted" else 1)


def test_the_attributes_of_training_are_those_of_the_run_that_selected():
    first, refit = fit(data_of(curve(400)), max_iter=20).runs
    attributes = training_attributes(refit, "pca")
    assert attributes["best_iter_"] == first.best_iter > 0
    assert attributes["loss_curve_"] == first.loss_curve
    assert attributes["validation_loss_curve_"] == first.validation_loss_curve
    assert attributes["refit_loss_curve_"] == refit.loss_curve
    assert attributes["n_iter_"] == 20 + len(refit.loss_curve)
    assert training_attributes(first, "pca")["refit_loss_curve_"] == []


@pytest.mark.parametrize("interrupted", [0, 1], ids=["first run", "refit"])
def test_an_interrupt_is_returned_with_the_best_model_so_far(interrupted):
    runs = []

    def train(run):
        runs.append(run)
        run.train_epoch() if len(runs) > interrupted else train_all(run)
        if len(runs) > interrupted:
            raise KeyboardInterrupt

    result = fit(data_of(curve()), train, max_iter=20)
    assert isinstance(result.interrupt, KeyboardInterrupt)
    assert result.run is runs[0]
    assert len(result.runs) == interrupted + 1


# The start with a link.

LINKED = [name for name, loss in NUMERIC_LOSSES.items() if hasattr(loss, "link")]


def losses_by_shrinkage(run):
    """Return the loss at the start for every factor of the decoder's axes."""
    model, losses = run.model, {}
    for shrinkage in model.loss.shrinkages:
        _, axes = linear_maps(model, run.pca, shrinkage)
        model.decoder.axes.data.copy_(axes)
        losses[shrinkage] = run.trainer.objective.validation_loss(run.evaluation)
    return losses


@pytest.mark.parametrize("loss", LINKED)
def test_the_decoder_is_shrunk_to_the_lowest_loss(loss):
    # Log-normal, so that the tangent of the link at the mean is far too steep.
    factor = np.exp(1.5 * RNG.standard_normal((400, 1)))
    X = factor * np.exp(0.1 * RNG.standard_normal((400, 5))) / 1000
    run = start(data_of(X), loss=loss, early_stopping=False)
    losses = losses_by_shrinkage(run)
    assert 0 < min(losses, key=losses.get) < 1
    assert run.start_loss == pytest.approx(min(losses.values()))


def test_the_decoder_is_not_shrunk_where_the_tangent_fits():
    X = 0.5 + 0.01 * curve()
    run = start(data_of(X), loss="log_loss", early_stopping=False)
    losses = losses_by_shrinkage(run)
    assert run.start_loss == pytest.approx(losses[1.0]) == min(losses.values())


# Components.


def with_shares(run, *shares):
    """Let the first components of a run explain given shares."""
    run.trainer.objective.explained_shares = lambda batches, sizes: np.array(shares)


@pytest.mark.parametrize(
    ("share", "n_dropped"), [(0.4, 3), (0.5, 3), (0.6, 2), (0.8, 1), (0.99, 0)]
)
def test_components_beyond_the_share_are_dropped(share, n_dropped):
    data = data_of(gaussian())
    params = replace(params_of(data, n_components=4), share=share)
    run = start(data, n_components=4)
    with_shares(run, 0.5, 0.7, 0.85, 0.95)
    drop_superfluous_components(run, params)
    assert run.n_dropped == n_dropped


def test_components_are_dropped_from_the_refit_as_well(monkeypatch):
    shares = np.array([0.95, 0.97, 0.99])
    monkeypatch.setattr(Objective, "explained_shares", lambda *args: shares)
    result = fit(data_of(curve()), n_components=0.94, max_iter=20)
    k = result.params.config.n_components
    assert len(result.runs) == 2
    assert [run.n_dropped for run in result.runs] == [k - 1] * 2


@pytest.mark.parametrize("regularizer", [None, Sparse(0.01), Variational()])
def test_the_refit_is_trained_without_the_dropped_components(monkeypatch, regularizer):
    shares = np.array([0.95, 0.97, 0.99])
    monkeypatch.setattr(Objective, "explained_shares", lambda *args: shares)
    options = {"n_components": 0.94, "max_iter": 20, "regularizer": regularizer}
    refit = fit(data_of(curve()), **options).runs[1]
    k, trained = refit.model.n_components, refit.state.best
    assert refit.trainer.objective.model.n_dropped == k - 1 > 0
    # No gradient reaches the outputs of the encoder that are dropped.
    refit.state.load(trained)
    axes = refit.model.encoder.axes[1:].clone()
    refit.state.load(refit.state.start)
    assert torch.equal(axes, refit.model.encoder.axes[1:])
    assert len(refit.loss_curve) > 0


def test_the_share_of_explained_loss_decides_the_number_of_components():
    X = gaussian()
    result = fit(data_of(X), n_components=0.8, max_iter=0, early_stopping=False)
    attributes = fitted_attributes(result.run, result.params, copied=True)
    total = attributes["explained_variance_ratio_"].cumsum()
    assert total[-1] >= 0.8 > total[-2]


def test_shares_of_components_are_computed_without_dropout():
    data = data_of(curve())
    params = params_of(data, network=MLP((8,), dropout=0.5))
    run = start(data, network=MLP((8,), dropout=0.5), early_stopping=False)
    run.train_epoch()
    first, second = (fitted_attributes(run, params, copied=True) for _ in range(2))
    name = "explained_variance_ratio_"
    assert_array_equal(first[name], second[name])


def test_components_that_vary_in_rows_of_little_weight_alone_are_inactive():
    X, weight = gaussian(200), np.repeat([2.0, 1e-9], 100)
    X[:100, 1:] = 0
    for weights, n_active in [(None, 2), (weight, 1)]:
        data = data_of(X, weights)
        run = start(data, early_stopping=False, precision="float64")
        attributes = fitted_attributes(run, params_of(data), copied=True)
        assert attributes["n_active_components_"] == n_active


# Training further.


def test_a_run_from_a_fitted_model_starts_from_its_weights_and_curves():
    data = data_of(curve())
    model = quick(0.9, max_iter=20).fit(data.X)
    model._config = replace(model._config, n_dropped=1)
    params = params_of(data, n_components=0.9).for_model(model._config)
    run = run_from_fitted(model, data, params)
    assert run.n_dropped == 1
    assert run.loss_curve == model.loss_curve_
    assert run.loss_curve is not model.loss_curve_
    assert run.validation_loss_curve == model.validation_loss_curve_
    assert run.best_iter == model.best_iter_
    for p, q in zip(run.model.parameters(), model.module_.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.data_ptr() != q.data_ptr()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_that_is_continued_equals_one_of_all_epochs(early_stopping):
    data = data_of(curve())
    options = {"warm_start": True, "early_stopping": early_stopping}
    half, params = fit(data, max_iter=3, **options), params_of(data, max_iter=3)
    continued = continue_fit(half.run, params, train_all).run
    once = fit(data, max_iter=6, **options).run
    assert continued.loss_curve == once.loss_curve
    assert torch.equal(continued.state.best[0], once.state.best[0])


def test_training_further_reverts_if_worse():
    data = data_of(curve())
    params = params_of(data, early_stopping=False)
    run = fit(data, warm_start=True, early_stopping=False).run
    before = run.state.start[0].clone()
    result = continue_fit(run, params, worsen)
    assert result.run.reverted
    assert torch.equal(run.state.best[0], before)


def test_an_interrupt_of_further_training_is_returned():
    def train(run):
        raise KeyboardInterrupt

    data = data_of(curve())
    result = continue_fit(start(data, warm_start=True), params_of(data), train)
    assert isinstance(result.interrupt, KeyboardInterrupt)


def test_a_run_that_is_resumed_has_the_other_rows_standardized_as_the_first():
    first, other = data_of(curve(100)), data_of(curve(80, seed=1))
    run = start(first, early_stopping=False)
    resume_run(run, other, params_of(other, early_stopping=False))
    standardized = (other.X - run.pca.mean) / run.pca.scale
    assert_allclose(run.trainer.batches.resident, standardized)


# Codes that are stored.


def test_stored_codes_are_evenly_spaced_rows():
    X = np.arange(5000.0)[:, np.newaxis] * np.ones((1, 3))
    run = start(data_of(X), n_components=1, early_stopping=False)
    layout = data_of(X).layout
    codes, lengths = codes_to_store(run.model, run.trainer.batches, layout)
    assert codes.shape == (1000, 1)
    assert lengths.shape == (1000, 0)
    assert_allclose(np.diff(codes[:, 0]), np.diff(codes[:, 0])[0], rtol=1e-3)


@pytest.mark.parametrize("regularizer", PRIORS, ids=repr)
def test_no_codes_are_stored_where_the_regularizer_has_a_prior(regularizer):
    data = data_of(curve(50))
    run = start(data, regularizer=regularizer)
    codes, _ = codes_to_store(run.model, run.trainer.batches, data.layout)
    assert codes.shape == (0, 2)


def test_rows_of_little_weight_are_not_stored():
    X, weight = curve(200), np.repeat([1e-9, 2.0], 100)
    run = start(data_of(X, weight), early_stopping=False)
    codes, _ = codes_to_store(run.model, run.trainer.batches, data_of(X).layout)
    with torch.no_grad():
        heavy = run.model.encode(run.trainer.batches.resident[100:]).numpy()
    assert_array_equal(np.unique(codes, axis=0), np.unique(heavy, axis=0))


# Warnings.


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
