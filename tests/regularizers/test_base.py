"""What all regularizers have in common, alone and in a fit."""

import pickle

import numpy as np
import pytest
import torch
from parts import (
    NO_REGULARIZERS,
    NUMERIC_LOSSES,
    REGULARIZERS,
    built,
    codes_of,
    generator,
    quick,
    rows,
)
from sklearn.callback import ScoringMonitor
from sklearn.decomposition import PCA

from skae import (
    MMD,
    Adversarial,
    Contractive,
    Ordered,
    Regularizer,
    Sparse,
    TopK,
    Variational,
)
from skae.regularizers._base import (
    BaseRegularizer,
    as_regularizer,
    mean_square,
    normalized_weights,
    validation_generator,
)

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
each = pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)

X = rows()
WEIGHT = np.random.default_rng(1).uniform(0.5, 1.5, 60)


# Functions


def test_normalized_weights_sum_to_one():
    weights = normalized_weights(torch.tensor([1.0, 3.0]), codes_of(2))
    assert weights.tolist() == [0.25, 0.75]
    assert normalized_weights(None, codes_of(4)).tolist() == [0.25] * 4


def test_mean_square_counts_a_row_of_weight_two_as_two_rows():
    codes = codes_of(3)
    weighted = mean_square(codes, torch.tensor([1.0, 1.0, 2.0]).double())
    torch.testing.assert_close(weighted, mean_square(codes[[0, 1, 2, 2]], None))


def test_mean_square_of_zeros_is_positive():
    assert (mean_square(torch.zeros(4, 2), None) > 0).all()


def test_validation_always_draws_the_same_numbers():
    draws = [torch.rand(3, generator=validation_generator(codes_of())) for _ in "ab"]
    assert torch.equal(*draws)


# The hooks of the base class


@pytest.mark.parametrize(
    "base", [BaseRegularizer(), Regularizer()], ids=["base", "no-op"]
)
def test_hooks_of_the_base_classes_change_nothing(base):
    codes, losses = codes_of(), codes_of()[:, 0]
    assert base.build(5, 3) is base
    assert base.code(codes) is codes
    assert base.decoder_input(codes) is codes
    assert base.training_codes(codes, None) is codes
    assert base.validation_codes(codes) == [codes]
    assert base.encoder_penalty(None, codes, None, None) == 0
    assert base.batch_penalty(codes, losses, None, None) == base.penalty(codes) == 0
    assert torch.equal(base.validation_loss(codes, losses, None, None), losses)
    assert base.prior(5, 3, None) is None


def test_pca_factors_are_in_the_unit_of_the_first_score_and_inverse():
    to_codes, to_scores = BaseRegularizer().pca_factors(np.array([4.0, 2.0]), 5)
    assert to_codes.tolist() == [0.25, 0.25]
    assert to_scores.tolist() == [4, 4]


@each
def test_pca_factors_of_constant_rows_are_finite(regularizer):
    factors = built(regularizer).pca_factors(np.zeros(3), 5)
    assert np.isfinite(factors).all()


def test_a_component_is_active_above_one_percent_of_the_largest_deviation():
    active = BaseRegularizer().active_components(np.square([2.0, 0.021, 0.019]))
    assert active.tolist() == [True, True, False]


def test_only_the_base_class_itself_is_a_no_op():
    class Renamed(Regularizer):
        pass

    assert Regularizer().is_noop
    assert not Renamed().is_noop
    assert not BaseRegularizer().is_noop


@each
def test_regularizers_and_what_they_build_are_no_no_ops(regularizer):
    assert not regularizer.is_noop
    assert not built(regularizer).is_noop


@pytest.mark.parametrize("value", [None, *NO_REGULARIZERS[:3]], ids=repr)
def test_strength_zero_builds_a_no_op(value):
    assert built(value).is_noop


def test_a_function_is_a_penalty():
    part = as_regularizer(lambda codes: codes.sum(dim=1))
    assert torch.equal(part.batch_penalty(codes_of(), 0, None, None), codes_of().sum(1))
    assert not part.is_noop


# Each regularizer alone


@pytest.mark.parametrize(
    "regularizer", [part for part in REGULARIZERS if type(part) is not Adversarial]
)
def test_a_penalty_has_the_gradient_of_its_value(regularizer):
    # The two gradients of Adversarial are tested in test_prior.
    hooks, losses = built(regularizer), codes_of().square().mean(dim=1)
    weights = torch.linspace(0.5, 1.5, 12, dtype=torch.float64)

    def value(outputs):
        codes = hooks.code(outputs)
        decoded = hooks.training_codes(codes, generator())
        penalty = hooks.batch_penalty(codes, losses, weights, generator())
        return decoded.square().sum() + penalty

    assert torch.autograd.gradcheck(value, (codes_of().requires_grad_(),))


@pytest.mark.parametrize(
    "part",
    [Sparse(-1), Sparse(target=1.0), TopK(0), Contractive("a"), Variational(beta=-1),
     Variational(n_samples=0), MMD(-1), Adversarial(None), Ordered(full=2)],
    ids=repr,
)  # fmt: skip
def test_invalid_parameters_raise_with_the_name_of_the_part(part):
    with pytest.raises(ValueError, match=f"parameter of {type(part).__name__} must be"):
        quick(regularizer=part).fit(X)


# Each regularizer in a fit


@pytest.mark.parametrize("regularizer", [*NO_REGULARIZERS, Regularizer()], ids=repr)
def test_strength_zero_gives_the_bits_of_no_regularizer(regularizer):
    codes = quick(regularizer=regularizer).fit_transform(X)
    np.testing.assert_array_equal(codes, quick().fit_transform(X))


@each
def test_training_starts_at_pca(regularizer):
    """The codes are multiples of PCA's scores, and decoded as PCA decodes them."""
    model = quick(regularizer=regularizer, max_iter=0).fit(X)
    pca = PCA(3, svd_solver="full").fit(X)
    codes, scores = model.transform(X), pca.transform(X)
    kept = codes != 0  # not those that TopK sets to zero
    factors = np.nanmax(np.where(kept, codes / scores, np.nan), axis=0)
    np.testing.assert_allclose(codes, np.where(kept, scores * factors, 0), atol=1e-8)
    shrinkage = 1.0
    if type(regularizer) is Variational:  # that of probabilistic PCA
        shrinkage = 1 - model.module_.regularizer.log_var_offset.detach().exp().numpy()
    expected = pca.inverse_transform(np.where(kept, scores * shrinkage, 0))
    np.testing.assert_allclose(model.inverse_transform(codes), expected, atol=1e-6)


@each
def test_a_seed_gives_the_same_bits_and_no_global_state_changes(regularizer):
    before = torch.get_rng_state()
    fits = [quick(regularizer=regularizer).fit_transform(X) for _ in range(2)]
    np.testing.assert_array_equal(*fits)
    assert torch.equal(torch.get_rng_state(), before)


@each
def test_float32_learns_as_float64_does(regularizer):
    options = {"regularizer": regularizer, "early_stopping": False}
    models = [
        quick(precision=precision, **options).fit(X)
        for precision in ("float32", "float64")
    ]
    assert [model.precision_ for model in models] == ["float32", "float64"]
    assert models[0].score(X) == pytest.approx(models[1].score(X), abs=0.01)


@each
def test_training_with_weights_goes_on_after_pickling(regularizer):
    model = quick(regularizer=regularizer, warm_start=True)
    model.fit(X, sample_weight=WEIGHT).fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.partial_fit(X, sample_weight=WEIGHT).n_iter_ == 5
    assert np.isfinite(loaded.transform(X)).all()


@each
def test_a_share_of_variance_fixes_the_number_of_components(regularizer):
    model = quick(0.6, regularizer=regularizer).fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.partial_fit(X).n_components_ == model.n_components_
    assert loaded.transform(X).shape == (60, model.n_components_)


@quiet
@each
def test_callbacks_score_the_model_after_each_epoch(regularizer):
    monitor = ScoringMonitor(scoring={"share": lambda model, X, y: model.score(X)})
    model = quick(regularizer=regularizer, max_iter=3, early_stopping=False)
    model.set_callbacks(monitor).fit(X)
    scores = [entry["share"] for entry in monitor.get_logs().data]
    assert len(scores) == 1 + 3  # the end of fit, and its epochs
    assert scores[0] == pytest.approx(model.score(X))
    assert 0.5 < min(scores) <= max(scores) < 1


@each
@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_few_rows_train(regularizer, n_rows):
    model = quick(2, regularizer=regularizer, init="random").fit(X)
    model.partial_fit(X[:n_rows])
    assert np.isfinite(model.transform(X)).all()


@quiet
@each
@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_every_loss_goes_with_every_regularizer(loss, regularizer):
    unit = (X - X.min()) / (X.max() - X.min())
    model = quick(loss=loss, regularizer=regularizer, early_stopping=False).fit(unit)
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.inverse_transform(model.transform(unit))).all()


@quiet
def test_a_penalty_on_squared_codes_shrinks_them():
    options = {"max_iter": 60, "early_stopping": False, "init": "random"}
    free, penalized = (
        quick(2, regularizer=part, **options).fit_transform(X)
        for part in (None, lambda codes: 10 * codes.square().mean(dim=1))
    )
    assert np.square(penalized).mean() < np.square(free).mean() / 2


def test_all_components_of_pca_that_vary_are_active(digits):
    assert quick(8).fit(digits).n_active_components_ == 8
    flat = digits * (np.arange(64) < 20)  # pixels of which 16 vary
    n_varying = (flat.var(axis=0) > 0).sum()
    model = quick(30, max_iter=0).fit(flat)
    assert model.n_active_components_ <= n_varying
