"""A codec encodes and decodes validated rows, a block at a time."""

import numpy as np
import pytest
from configurations import FITS
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES

from skae import MLP, AutoencoderTransformer
from skae._codec import row_means
from skae.data import _rows

X = np.random.default_rng(0).random((150, 6))
KINDS = ["default wine", "Recurrent padded", "MLP tokens", "Conv of images", "sparse"]


def fitted(**params):
    params = {"network": MLP((8,)), "max_iter": 2, "random_state": 0} | params
    return AutoencoderTransformer(2, **params).fit(X)


@pytest.mark.parametrize("name", KINDS)
def test_methods_of_the_estimator_are_those_of_its_codec(name):
    model, rows = FITS[name]()
    codes = model.transform(rows)
    assert codes.shape == (rows.shape[0], model._codec.n_components)
    assert_array_equal(model._codec.decode(codes), model.inverse_transform(codes))


def test_blocks_give_the_same_rows_as_a_whole(monkeypatch):
    model = fitted()
    codes, rows = model.transform(X), model.inverse_transform(X[:, :2])
    monkeypatch.setattr(_rows, "MAX_BLOCK_ROWS", 64)
    assert_allclose(model.transform(X), codes, rtol=1e-12, atol=1e-14)
    assert_allclose(model.inverse_transform(X[:, :2]), rows, rtol=1e-12)
    assert len(list(model._codec.decode_blocks(codes))) == 3


def test_components_are_codes_in_float64():
    codec = fitted(precision="float32")._codec
    components = codec.components(X.astype(np.float32))
    assert components.dtype == np.float64
    assert_array_equal(components, codec.encode(X.astype(np.float32)))


@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_losses_are_those_of_the_reconstruction(loss):
    model = fitted(loss=loss)
    codec = model._codec
    (_, losses), *_ = codec.losses(X)
    errors = model.reconstruction_error(X, per_feature=True)
    power = NUMERIC_LOSSES[loss].power
    assert_allclose(losses * codec.scale**power, errors[: len(losses)])


def test_losses_of_given_codes_are_those_of_what_they_decode_to():
    codec = fitted()._codec
    codes = np.zeros((150, 2))
    losses = np.concatenate([block for _, block in codec.losses(X, codes)])
    residual = (X - codec.decode(codes)) / codec.scale
    assert_allclose(losses, residual**2, rtol=1e-6)


def test_total_losses_are_weighted_sums():
    codec, weight = fitted()._codec, np.arange(150.0)
    total, null_total = codec.total_losses(X, weight)
    losses = np.concatenate([block for _, block in codec.losses(X)])
    assert total == pytest.approx(weight @ losses.mean(axis=1))
    deviations = ((X - codec.mean) / codec.scale) ** 2
    assert null_total == pytest.approx(weight @ deviations.mean(axis=1))


def test_means_of_rows_leave_nan_out():
    assert_array_equal(row_means(np.array([[1.0, 3.0], [5.0, np.nan]])), [2.0, 5.0])
