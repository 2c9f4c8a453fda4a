"""Modules of fitted models give the results of `transform` and `inverse_transform`."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import DIGITS, FITS, SMALL
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_model, save_model
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from skae import AutoencoderTransformer

PARTS = ["encode", "decode", "both"]


def rows_of(X):
    """Return rows as a dense array."""
    return X.toarray() if sparse.issparse(X) else np.asarray(X)


def inputs_and_results(model, X):
    """Return the input and the expected output of each part."""
    codes = model.transform(X)
    decoded = model.inverse_transform(codes)
    return {"encode": (X, codes), "decode": (codes, decoded), "both": (X, decoded)}


def small(X=DIGITS, **params):
    return AutoencoderTransformer(**{**SMALL, **params}, random_state=0).fit(X)


def as_numpy(tensor):
    return tensor.detach().numpy()


@pytest.mark.parametrize("name", FITS)
def test_modules_have_the_results_of_the_estimator(name):
    model, X = FITS[name]()
    for part, (rows, expected) in inputs_and_results(model, rows_of(X)).items():
        result = as_numpy(model.to_torch_module(part)(torch.from_numpy(rows)))
        # float16 is rounded once only.
        atol = 1e-2 if result.dtype == np.float16 else 1e-6
        assert_allclose(result, expected, rtol=1e-6, atol=atol)
        assert result.shape == expected.shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_results_have_the_float_type_of_the_input(dtype):
    model = small()
    rows = torch.from_numpy(DIGITS).to(dtype)
    assert model.to_torch_module("encode")(rows).dtype == dtype
    assert model.to_torch_module()(rows).dtype == dtype


def test_codes_of_integers_have_the_type_of_the_model():
    rows = torch.from_numpy(DIGITS.astype(np.uint8))
    model = small(precision="float32")
    codes = model.to_torch_module("encode")(rows)
    assert codes.dtype == torch.float32
    assert_allclose(as_numpy(codes), model.transform(DIGITS), rtol=1e-5, atol=1e-6)


def test_a_large_mean_costs_no_digits():
    X = DIGITS + 1e6
    shifted = small(X).to_torch_module()(torch.from_numpy(X))
    expected = small().to_torch_module()(torch.from_numpy(DIGITS))
    assert_allclose(as_numpy(shifted) - 1e6, as_numpy(expected), atol=1e-3)


def test_one_part_has_the_weights_of_this_part_only():
    model = small()
    sizes = {
        part: sum(p.numel() for p in model.to_torch_module(part).parameters())
        for part in PARTS
    }
    assert sizes["encode"] + sizes["decode"] == sizes["both"]
    assert 0 < sizes["encode"] < sizes["both"]


def test_training_the_module_leaves_the_model_unchanged():
    model, rows = small(), torch.from_numpy(DIGITS)
    before, module = model.transform(DIGITS), model.to_torch_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (module(rows) - rows).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert_array_equal(model.transform(DIGITS), before)


@pytest.mark.parametrize("part", PARTS)
def test_weights_are_restored_from_safetensors(part, tmp_path):
    model = small()
    rows, _ = inputs_and_results(model, DIGITS)[part]
    module, path = model.to_torch_module(part), tmp_path / "weights.safetensors"
    save_model(module, path)
    other = copy.deepcopy(module)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    load_model(other, path)
    rows = torch.from_numpy(rows)
    assert_array_equal(as_numpy(other(rows)), as_numpy(module(rows)))


@pytest.mark.parametrize("part", PARTS)
def test_exported_programs_accept_any_number_of_rows(part):
    model = small()
    rows, expected = inputs_and_results(model, DIGITS)[part]
    rows = torch.from_numpy(rows)
    program = torch.export.export(
        model.to_torch_module(part),
        (rows[:2].clone(),),  # not a view, whose strides would be checked
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )
    assert_allclose(as_numpy(program.module()(rows)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_modules_can_be_traced():
    model = small()
    rows = torch.from_numpy(DIGITS)
    traced = torch.jit.trace(model.to_torch_module("encode"), (rows[:2],))
    assert_allclose(as_numpy(traced(rows)), model.transform(DIGITS), atol=1e-6)


def table(missing=False):
    """Return a table of numbers, booleans and categories."""
    rng = np.random.default_rng(0)
    size = rng.normal(3, 1, 120)
    frame = pd.DataFrame(
        {
            "size": size,
            "count": rng.poisson(4, 120),
            "large": size > 3,
            "color": np.array(["red", "green", "blue"])[(size > 2.5) + 0 + (size > 4)],
        }
    )
    if missing:
        frame.loc[::7, "size"] = np.nan
        frame.loc[1::9, "color"] = None
    return frame


def positions(frame):
    """Return a table as numbers, with positions of levels, -1 if missing."""
    columns = frame.copy()
    columns["color"] = pd.Categorical(frame["color"], ["blue", "green", "red"]).codes
    return columns.to_numpy(np.float64)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_tables_are_given_by_positions_of_levels(missing):
    frame = table(missing)
    model = AutoencoderTransformer(3, max_iter=5, random_state=0).fit(frame)
    module, codes = model.to_torch_module(), model.transform(frame)
    rows = torch.from_numpy(positions(frame))
    assert_allclose(as_numpy(module.encode(rows)), codes, atol=1e-6)
    decoded = as_numpy(module.decode(torch.from_numpy(np.asarray(codes))))
    assert_allclose(decoded, positions(model.inverse_transform(codes)), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_tables_with_dates_have_no_module():
    frame = table().assign(day=pd.date_range("2026-01-01", periods=120))
    model = AutoencoderTransformer(3, max_iter=2, random_state=0).fit(frame)
    with pytest.raises(ValueError, match="Column 'day' contains dates"):
        model.to_torch_module()


def test_other_widths_are_refused():
    module = small().to_torch_module()
    with pytest.raises(ValueError, match="rows of 1 entries, but expected 64"):
        module(torch.zeros(5, 1))
    with pytest.raises(ValueError, match="codes of 1 columns, but expected 3"):
        module.decode(torch.zeros(5, 1))


def test_flat_rows_of_images_are_accepted():
    X = DIGITS.reshape(-1, 1, 8, 8)
    module = small(X).to_torch_module()
    flat, images = torch.from_numpy(DIGITS), torch.from_numpy(X)
    assert_array_equal(as_numpy(module(flat)), as_numpy(module(images)))
    assert module(flat).shape == X.shape


def test_converted_modules_compute_in_their_type():
    X = load_digits().data[:50]
    model = small(X, precision="float64")
    module = model.to_torch_module().float()
    result = module(torch.from_numpy(X).float())
    expected = model.inverse_transform(model.transform(X))
    assert_allclose(as_numpy(result), expected, atol=1e-4)


def test_modules_of_half_precision_have_similar_codes():
    model = small()
    codes = model.to_torch_module("encode").half()(torch.from_numpy(DIGITS).half())
    assert_allclose(as_numpy(codes), model.transform(DIGITS), rtol=0.1, atol=0.1)


def test_rows_of_networks_in_half_precision_keep_their_digits():
    X = DIGITS + 1e5
    model = small(X)
    encoder = model.to_torch_module("encode")
    encoder.model.half()
    codes = as_numpy(encoder(torch.from_numpy(X)))
    assert_allclose(codes, model.transform(X), rtol=1e-2, atol=1e-2)


def test_modules_are_in_evaluation_mode():
    module = small().to_torch_module()
    assert not any(part.training for part in module.modules())


def test_models_that_are_not_fitted_have_no_module():
    with pytest.raises(NotFittedError):
        AutoencoderTransformer().to_torch_module()


def test_unknown_parts_are_refused():
    with pytest.raises(ValueError, match="'part' parameter of to_torch_module"):
        small().to_torch_module("encoder")
