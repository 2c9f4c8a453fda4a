"""A codec encodes and decodes validated rows, a block at a time."""

import numpy as np
import pytest
import torch
from configurations import FITS
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES

from skae import MLP, AutoencoderTransformer
from skae._codec import row_means
from skae.data import _rows
from skae.data._rows import dense
from skae.data._validation import validate_rows

X = np.random.default_rng(0).random((150, 6))
KINDS = ["weights", "Recurrent padded", "MLP tokens", "Conv of images", "sparse"]


def fitted(**params):
    params = {"network": MLP((8,)), "max_iter": 2, "random_state": 0} | params
    return AutoencoderTransformer(2, **params).fit(X)


def all_losses(codec, X, codes=None):
    return np.concatenate([losses for _, losses in codec.losses(X, codes)])


@pytest.mark.parametrize("name", KINDS)
def test_blocks_of_rows_give_the_same_as_all_rows(name, monkeypatch):
    model, rows = FITS[name]()
    codec, X = model._codec, validate_rows(model, rows)
    codes = codec.encode(X)
    components = codec.components(X)[::-1]  # those of other rows

    def outputs():
        losses = all_losses(codec, X), all_losses(codec, X, components)
        return codec.encode(X), codec.components(X), codec.decode(codes), *losses

    whole = outputs()
    monkeypatch.setattr(_rows, "MAX_BLOCK_ROWS", 17)
    assert len(list(codec.losses(X))) == -(-X.shape[0] // 17)
    blocks = outputs()
    for found, expected in zip(blocks, whole, strict=True):
        assert found.shape == expected.shape
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_codes_are_components_then_lengths(name):
    model, rows = FITS[name]()
    codec, X = model._codec, validate_rows(model, rows)
    codes, k = codec.encode(X), codec.n_components - codec.layout.n_lengths
    assert codes.shape == (X.shape[0], codec.n_components)
    assert codes.dtype == X.dtype
    assert_array_equal(codes[:, :k], codec.components(X))
    assert_array_equal(codes[:, k:], codec.layout.lengths(X))


@pytest.mark.parametrize("name", KINDS)
def test_losses_are_nan_where_the_rows_are(name):
    model, rows = FITS[name]()
    codec, X = model._codec, validate_rows(model, rows)
    assert_array_equal(np.isnan(all_losses(codec, X)), np.isnan(dense(X)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decoded_rows_have_the_float_type_of_the_codes(dtype):
    model, _ = FITS["MLP padded"]()
    assert model._codec.decode(np.ones((3, 3), dtype)).dtype == dtype


def test_decoded_tokens_are_integers():
    model, _ = FITS["MLP tokens"]()
    assert model._codec.decode(np.ones((3, 3))).dtype == np.int64


def test_float16_codes_are_clipped_to_its_range():
    codec = fitted()._codec
    huge = np.full((1, 6), 6e4, np.float16)
    with torch.no_grad():
        codec.module.encoder.axes *= 10
    codes = codec.encode(huge)
    assert codes.dtype == np.float16
    assert np.isfinite(codes).all()
    assert np.abs(codes).max() == np.finfo(np.float16).max


def test_decoded_blocks_are_the_rows_in_float64():
    codec = fitted(precision="float32")._codec
    codes = codec.encode(X)
    ((block, rows),) = codec.decode_blocks(codes)
    assert block == slice(0, 150)
    assert rows.dtype == np.float64
    assert_array_equal(rows, codec.decode(codes))


def test_components_are_codes_in_float64():
    codec = fitted(precision="float32")._codec
    components = codec.components(X.astype(np.float32))
    assert components.dtype == np.float64
    assert_array_equal(components, codec.encode(X.astype(np.float32)))


@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_losses_are_those_of_the_reconstruction(loss):
    model = fitted(loss=loss)
    codec = model._codec
    losses = all_losses(codec, X)
    errors = model.reconstruction_error(X, per_feature=True)
    power = NUMERIC_LOSSES[loss].power
    assert_allclose(losses * codec.scale**power, errors)


def test_losses_of_given_codes_are_those_of_what_they_decode_to():
    codec = fitted()._codec
    codes = np.zeros((150, 2))
    losses = all_losses(codec, X, codes)
    residual = (X - codec.decode(codes)) / codec.scale
    assert_allclose(losses, residual**2, rtol=1e-6)


def test_total_losses_are_weighted_sums():
    codec, weight = fitted()._codec, np.arange(150.0)
    total, null_total = codec.total_losses(X, weight)
    losses = all_losses(codec, X)
    assert total == pytest.approx(weight @ losses.mean(axis=1))
    deviations = ((X - codec.mean) / codec.scale) ** 2
    assert null_total == pytest.approx(weight @ deviations.mean(axis=1))


def test_means_of_rows_leave_nan_out():
    assert_array_equal(row_means(np.array([[1.0, 3.0], [5.0, np.nan]])), [2.0, 5.0])
