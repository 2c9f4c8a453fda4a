"""PCA of incomplete rows, and predictions of their missing entries."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skae.data._missing import FillAxes, fill, fit_incomplete_pca, observed_moments
from skae.data._pca import fit_pca

RNG = np.random.default_rng(0)
AXES = np.linalg.qr(RNG.standard_normal((6, 2)))[0].T
X = 3 + RNG.standard_normal((300, 2)) * [3, 2] @ AXES
X += 0.1 * RNG.standard_normal(X.shape)
GAPS = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
GAPS[np.isnan(GAPS).all(axis=1)] = 3.0


def test_without_gaps_the_solution_is_that_of_pca():
    pca, expected = (fit(X, np.ones(300), 2) for fit in (fit_incomplete_pca, fit_pca))
    assert_allclose(pca.mean, expected.mean)
    assert_allclose(pca.scale, expected.scale)
    assert_allclose(pca.axes, expected.axes)
    assert_allclose(pca.deviations, expected.deviations)


def test_axes_of_incomplete_rows_are_close_to_those_of_complete_rows():
    pca = fit_incomplete_pca(GAPS, np.ones(300), 2)
    singular = np.linalg.svd(pca.axes @ AXES.T, compute_uv=False)
    assert singular.min() > 0.995


def test_rows_are_filled_with_the_conditional_mean_of_probabilistic_pca():
    noise, signal = 0.01, np.array([9.0, 4.0])
    covariance = AXES.T * signal @ AXES + noise * np.eye(6)
    filled = fill(GAPS[:40], np.full(6, 3.0), FillAxes(AXES, noise / signal))
    for row, gaps in zip(filled, GAPS[:40], strict=True):
        m = np.isnan(gaps)
        slope = covariance[np.ix_(m, ~m)] @ np.linalg.inv(covariance[np.ix_(~m, ~m)])
        assert_allclose(row[m], 3 + slope @ (gaps[~m] - 3))
        assert_array_equal(row[~m], gaps[~m])


def test_moments_are_those_of_the_values_that_are_present():
    weight = np.arange(300) % 3
    repeated = GAPS.repeat(weight, axis=0)
    mean, variance = observed_moments(GAPS, weight)
    assert_allclose(mean, np.nanmean(repeated, axis=0))
    assert_allclose(variance, np.nanvar(repeated, axis=0))
