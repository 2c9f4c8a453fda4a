"""The loss of tables, and how their rows are read."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import generator
from tables import mixed, with_missing
from torch.nn import functional as F

from skae import MaskingNoise, SwapNoise
from skae.data._missing import FillAxes, fill
from skae.data._validation import fit_table
from skae.losses import as_loss
from skae.model._adapters import ColumnsAdapter
from skae.model._columns import ColumnsLoss

FRAME = mixed()
ROWS, LAYOUT = fit_table(FRAME, None, slice(None), "from_dtype")
GAPS, INCOMPLETE = fit_table(with_missing(FRAME), None, slice(None), "from_dtype")
LOSS = ColumnsLoss(LAYOUT).double()
MEAN = ROWS.mean(axis=0)
NAMES = list(FRAME)


def target_of(rows):
    return LOSS.target(torch.from_numpy(rows - MEAN), torch.from_numpy(MEAN), 1.0)


def outputs(seed=0):
    shape = len(ROWS), LAYOUT.n_outputs
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def entries_of(name):
    return np.flatnonzero(LAYOUT.column_of_entry == NAMES.index(name))


def test_the_loss_of_a_number_is_the_squared_error_of_z_scores():
    losses = LOSS.losses(outputs(), target_of(ROWS))[:, NAMES.index("size")]
    (entry,) = entries_of("size")
    z = (FRAME["size"] - FRAME["size"].mean()) / FRAME["size"].std(ddof=0)
    assert_allclose(losses, (outputs()[:, entry].numpy() - z) ** 2)


@pytest.mark.parametrize("name", ["color", "text"])
def test_the_loss_of_a_category_is_the_cross_entropy_over_the_entropy(name):
    losses = LOSS.losses(outputs(), target_of(ROWS))[:, NAMES.index(name)]
    codes = torch.tensor(FRAME[name].astype("category").cat.codes.to_numpy()).long()
    entropies = F.cross_entropy(outputs()[:, entries_of(name)], codes, reduction="none")
    shares = FRAME[name].value_counts(normalize=True)
    assert_allclose(losses, entropies / -(shares * np.log(shares)).sum())


def test_the_loss_of_a_boolean_is_the_log_loss_over_the_entropy():
    losses = LOSS.losses(outputs(), target_of(ROWS))[:, NAMES.index("flag")]
    (entry,) = entries_of("flag")
    labels = torch.tensor(FRAME.flag.to_numpy()).double()
    entropies = F.binary_cross_entropy_with_logits(
        outputs()[:, entry], labels, reduction="none"
    )
    p = FRAME.flag.mean()
    assert_allclose(losses, entropies / -(p * np.log(p) + (1 - p) * np.log(1 - p)))


def test_the_null_loss_of_every_column_is_1():
    offset, _ = LOSS.linearize(MEAN, 1.0)
    constant = torch.from_numpy(offset).expand(len(ROWS), -1)
    losses = LOSS.losses(constant, target_of(ROWS))
    assert_allclose(losses.mean(dim=0), 1)


def test_linearized_outputs_reconstruct_rows_close_to_the_mean():
    offset, slope = LOSS.linearize(MEAN, 1.0)
    step = 1e-4 * (ROWS - MEAN)
    output = torch.from_numpy(offset + slope * step)
    (flag,), colors = entries_of("flag"), entries_of("color")
    p = (MEAN + step) * LAYOUT.units
    assert_allclose(output[:, flag].sigmoid(), p[:, flag], atol=1e-7)
    assert_allclose(output[:, colors].softmax(dim=1), p[:, colors], atol=1e-7)
    assert_allclose(output[:, entries_of("size")], step[:, entries_of("size")])


def test_only_slopes_of_logits_are_shrunk():
    _, slope = LOSS.linearize(MEAN, 1.0)
    _, shrunk = LOSS.linearize(MEAN, 1.0, 0.5)
    is_linked = LOSS.is_linked.numpy()
    assert_array_equal(shrunk, np.where(is_linked, 0.5 * slope, slope))


def test_the_reconstruction_of_targets_is_the_row():
    output = target_of(ROWS).clone()
    output[:, LOSS.is_linked] = 20 * output[:, LOSS.is_linked] - 10
    rows = LOSS.reconstruction(output, torch.from_numpy(MEAN), 1.0)
    assert_allclose(rows, ROWS, atol=1e-12)


def test_missing_values_have_no_loss_and_no_gradient():
    rows = ROWS.copy()
    rows[:5, entries_of("color")] = np.nan
    output = outputs().requires_grad_()
    losses = LOSS.losses(output, target_of(rows))
    assert_array_equal(losses.isnan().sum(dim=0), 5 * (np.array(NAMES) == "color"))
    losses.nanmean(dim=1).sum().backward()
    assert not output.grad[:5, entries_of("color")].any()
    assert output.grad.isfinite().all()


# Inputs


def adapter(layout):
    return ColumnsAdapter(layout, as_loss("squared_error")).double().eval()


def test_complete_rows_are_read_as_they_are():
    rows = torch.from_numpy(ROWS - MEAN)
    assert adapter(LAYOUT).inputs(rows) is not rows
    assert_array_equal(adapter(LAYOUT).inputs(rows), rows)


def test_missing_values_are_read_as_predictions_and_a_mask():
    reader, filler = adapter(INCOMPLETE), None
    n = INCOMPLETE.n_features
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((n, 7)))[0].T
    axes = axes[: len(reader.read.axes)]
    filler = FillAxes(axes, np.full(len(axes), 0.3))
    reader.initialize(filler)
    inputs = reader.inputs(torch.from_numpy(GAPS))
    assert_allclose(inputs[:, :n], fill(GAPS, np.zeros(n), filler), atol=1e-12)
    assert_array_equal(inputs[:, n:], with_missing(FRAME).isna())


@pytest.mark.parametrize("noise", [SwapNoise(0.5), MaskingNoise(0.5)], ids=repr)
def test_noise_corrupts_all_entries_of_a_column_together(noise):
    reader = adapter(INCOMPLETE)
    columns = reader.column_of_input
    rows = torch.arange(1, 41.0).unsqueeze(1).expand(-1, len(columns))
    noisy = reader.corrupt(noise, rows, generator())
    for column in columns.unique():
        values = noisy[:, columns == column]
        assert (values == values[:, :1]).all()
    assert 0.3 < (noisy != rows).double().mean() < 0.7
