"""Training on principal scores equals training on features, for the squared error."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from parts import NOISES, NUMERIC_LOSSES, REGULARIZERS, generator, quick
from runs import data_of, start
from scipy import sparse

from skae import MLP, AutoencoderTransformer, Contractive
from skae.data._rows import ScoreRows, StandardizedRows
from skae.training import _objective
from skae.training._batches import Batches
from skae.training._manual_step import ManualGradient

RNG = np.random.default_rng(0)
FACTORS = RNG.random((40, 6)) @ RNG.random((6, 30))
X = np.clip(FACTORS / FACTORS.max() + 0.1 * RNG.random((40, 30)), 0, 1)
SPARSE = sparse.csr_matrix(np.where(X > 0.4, X, 0))
WEIGHT = RNG.uniform(0.5, 1.5, 40)
NETWORK = MLP((5,), n_scores=8)

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
each_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["none", "some"])
each_kind = pytest.mark.parametrize("rows", [X, SPARSE], ids=["dense", "sparse"])


def run_of(rows=X, weight=None, **params):
    """Return a run of a small model, moved away from its start."""
    params = {"network": NETWORK, "precision": "float64"} | params
    run = start(data_of(rows, weight), early_stopping=False, **params)
    values = run.trainer.flat.values
    values.add_(torch.randn(values.shape, generator=generator()), alpha=0.1)
    return run


def features_of(run):
    """Return the rows of a run as features, and a function for their losses."""
    rows = run.trainer.batches.rows
    standardized = StandardizedRows(rows.X, rows.mean, rows.scale)[slice(None)]
    return torch.from_numpy(standardized)


# Rows that are reduced to scores.


@each_kind
def test_scores_and_what_they_leave_out_have_the_length_of_the_rows(rows):
    axes = np.linalg.qr(RNG.standard_normal((30, 4)))[0]
    mean, scale = X.mean(axis=0), 0.3
    standardized = StandardizedRows(rows, mean, scale)[slice(5, 20)]
    reduced = ScoreRows(rows, mean, scale, to_scores=axes / 2)[slice(5, 20)]
    assert_allclose(reduced[:, :4], standardized @ axes / 2)
    squares = 4 * np.square(reduced[:, :4]).sum(axis=1) + 30 * reduced[:, 4]
    assert_allclose(squares, np.square(standardized).sum(axis=1))


def test_clean_versions_are_reduced_as_well():
    axes = np.linalg.qr(RNG.standard_normal((30, 4)))[0]
    options = {"mean": X.mean(axis=0), "scale": 0.3, "to_scores": axes}
    both = ScoreRows(X, clean=X[::-1], **options)
    assert both.n_columns == 10
    expected = ScoreRows(X, **options)
    assert_allclose(both[slice(3)], np.hstack([expected[:3], expected[::-1][:3]]))


def test_integers_are_squared_without_overflow():
    rows = sparse.csr_matrix(np.full((3, 4), 200, dtype=np.uint8))
    options = {"mean": np.zeros(4), "scale": 1.0, "to_scores": np.eye(4)[:, :1]}
    assert_allclose(ScoreRows(rows, **options)[:2], [[200, 3 * 200**2 / 4]] * 2)


def test_scores_of_sparse_rows_are_kept_in_memory():
    rows = ScoreRows(SPARSE, X.mean(axis=0), 1.0, to_scores=np.eye(30)[:, :3])
    assert Batches(rows, torch.float32, "cpu").resident.shape == (40, 4)


# Models of scores.


@torch.no_grad()
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
@pytest.mark.parametrize("rows", [X, SPARSE], ids=["dense", "sparse"])
def test_before_training_the_scores_make_no_difference(rows, loss):
    options = {"loss": loss, "max_iter": 0, "precision": "float64"}
    model = quick(network=NETWORK, **options).fit(rows)
    expected = quick(network=MLP((5,)), **options).fit(rows)
    codes = expected.transform(rows)
    assert_allclose(model.transform(rows), codes, atol=1e-10)
    decoded = expected.inverse_transform(codes)
    assert_allclose(model.inverse_transform(codes), decoded, atol=1e-10)


@each_kind
@each_weight
@torch.no_grad()
def test_losses_of_scores_are_those_of_features(rows, weight):
    run = run_of(rows, weight)
    objective, features = run.trainer.objective, features_of(run)
    output = objective.fitted.decode(objective.fitted.encode(features))
    losses = objective.validation_losses(run.trainer.batches)
    assert_allclose(losses, (output - features).square().mean(dim=1))
    null_loss = np.average(features.square().mean(dim=1), weights=weight)
    assert objective.null_loss(run.trainer.batches) == pytest.approx(null_loss)


@pytest.mark.parametrize("n_scores", [8, 25])
@pytest.mark.parametrize("n_components", [3, 12])
def test_there_are_at_least_as_many_scores_as_components(n_scores, n_components):
    model = quick(n_components, network=MLP((5,), n_scores=n_scores)).fit(X)
    size = max(n_scores, n_components)
    assert model.module_.scores.axes.shape == (size, 30)
    assert model.module_.encoder.axes.shape == (n_components, size)


@quiet
@pytest.mark.parametrize("n_scores", [30, 31, None])
def test_as_many_scores_as_features_are_the_features(n_scores):
    model = quick(network=MLP((8,), n_scores=n_scores)).fit(X)
    assert model.module_.scores is None
    assert_allclose(model.transform(X), quick().fit(X).transform(X), rtol=0, atol=0)


def test_scores_beyond_the_rank_are_zero():
    model = quick(network=MLP((8,), n_scores=20)).fit(FACTORS[:9])
    assert np.isfinite(model.transform(X)).all()
    scores = model.module_.scores(torch.from_numpy(X).to(model.module_.offset))
    assert not scores[:, 8:].any()


def test_constant_rows_have_scores_of_zero():
    model = quick(network=NETWORK).fit(np.ones((12, 30)))
    assert_allclose(model.inverse_transform(model.transform(X[:2])), 1)


@torch.no_grad()
def test_reconstructions_lie_on_the_principal_axes():
    model = run_of().trainer.objective.fitted.eval()
    output = model.decode(torch.randn(5, 2, generator=generator()).double())
    axes = model.scores.axes
    torch.testing.assert_close(output @ axes.T @ axes, output)


@torch.no_grad()
def test_scores_have_the_mean_square_of_standardized_features():
    run = run_of()
    scores = run.trainer.objective.fitted.scores(features_of(run))
    assert scores.square().mean().item() == pytest.approx(1)


def test_axes_are_not_trained():
    model = quick(network=NETWORK, max_iter=0).fit(X)
    trained = quick(network=NETWORK, max_iter=3, early_stopping=False).fit(X)
    axes = (m.module_.scores.axes for m in (model, trained))
    torch.testing.assert_close(*axes, rtol=0, atol=0)
    assert "scores.axes" not in dict(model.module_.named_parameters())


@pytest.mark.parametrize(
    "params",
    [
        *({"loss": loss} for loss in ("log_loss", "brier", "poisson")),
        {"init": "random"},
    ],
    ids=str,
)
def test_features_are_read_without_a_linear_start(params):
    assert run_of(**params).model.scores is None


# Training.


PARTS = {
    "none": {},
    "a share": {"n_components": 0.6},
    "absolute_error": {"loss": "absolute_error"},
    **{repr(part): {"noise": part} for part in NOISES},
    **{repr(part): {"regularizer": part} for part in REGULARIZERS},
}


def is_reduced(run):
    return isinstance(run.trainer.batches.rows, ScoreRows)


@pytest.mark.parametrize("params", PARTS.values(), ids=PARTS)
def test_rows_are_reduced_unless_a_part_depends_on_features(params):
    has_slopes = isinstance(params.get("regularizer"), Contractive)
    depends = has_slopes or "loss" in params or "noise" in params
    assert is_reduced(run_of(**params)) != depends


@quiet
@each_weight
@each_kind
@pytest.mark.parametrize("params", PARTS.values(), ids=PARTS)
def test_fits_on_scores_equal_fits_on_features(params, rows, weight, monkeypatch):
    options = {"network": NETWORK, "max_iter": 6, "early_stopping": False}
    options |= {"precision": "float64", "batch_size": 10} | params
    model = quick(**options).fit(rows, sample_weight=weight)
    monkeypatch.setattr(_objective, "trains_on_scores", lambda model: False)
    expected = quick(**options).fit(rows, sample_weight=weight)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-6)
    close = {"rtol": 1e-5, "atol": 1e-6}
    assert_allclose(model.transform(rows), expected.transform(rows), **close)
    shares = (m.explained_variance_ratio_ for m in (model, expected))
    assert_allclose(*shares, **close)


@each_weight
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
@pytest.mark.parametrize("noise", [None, NOISES[0]], ids=repr)
def test_the_manual_gradient_equals_autograds(noise, loss, weight):
    trainer = run_of(weight=weight, loss=loss, noise=noise).trainer
    assert isinstance(trainer.gradient, ManualGradient)
    batch = next(trainer.batches.shuffled(1, None))
    losses, gradients = [], []
    for gradient in (trainer.gradient, trainer.autograd):
        trainer.objective.generator.manual_seed(0)
        losses.append(gradient(*batch).item())
        gradients.append(trainer.flat.gradient.clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


@quiet
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_bfloat16_trains_on_scores(loss, bfloat16):
    options = {"network": NETWORK, "loss": loss, "max_iter": 20}
    mixed = quick(precision="bfloat16", **options).fit(X)
    exact = quick(precision="float32", **options).fit(X)
    assert mixed.score(X) == pytest.approx(exact.score(X), abs=0.02)


@quiet
@each_kind
def test_partial_fit_keeps_the_axes_of_its_first_rows(rows):
    model = quick(network=NETWORK).partial_fit(rows[:20])
    axes = model.module_.scores.axes.clone()
    before = model.transform(rows)
    model.partial_fit(rows[20:])
    torch.testing.assert_close(model.module_.scores.axes, axes, rtol=0, atol=0)
    assert not np.array_equal(model.transform(rows), before)


def test_a_default_fit_of_very_wide_rows_does_not_diverge():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 5)) @ rng.standard_normal((5, 5000))
    model = AutoencoderTransformer(50, random_state=0).fit(rows.astype(np.float32))
    assert model.stop_reason_ != "divergence"


def test_networks_of_wide_rows_do_not_grow_with_the_features():
    def n_parameters(n_features):
        rows = RNG.standard_normal((20, n_features))
        networks = quick(network=MLP((8,))).fit(rows).module_
        return sum(p.numel() for p in networks.parameters())

    assert n_parameters(300) == n_parameters(600)
