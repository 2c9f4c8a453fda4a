"""Rows of any shape: images and series, padded sequences, and tokens."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from parts import NUMERIC_LOSSES
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import (
    MLP,
    AutoencoderTransformer,
    Conv,
    CrossEntropy,
    GaussianNoise,
    Ordered,
    Recurrent,
    Variational,
)
from skae.data._layout import LazyRows, PaddedLayout, column_mean
from skae.losses import cross_entropy
from skae.model._adapters import masked_losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
DIGITS = load_digits().data[:150]
IMAGES = DIGITS.reshape(-1, 1, 8, 8)
QUICK = {"network": MLP((8,)), "max_iter": 3, "random_state": 0}


def walks(n=90, length=7, n_series=2):
    """Return random walks of different lengths, with NaN after the end."""
    rng = np.random.default_rng(1)
    walks = rng.standard_normal((n, length, n_series)).cumsum(axis=1)
    ends = rng.integers(2, length + 1, n)
    walks[np.arange(length) >= ends[:, np.newaxis]] = np.nan
    return walks


WALKS = walks()
SENTENCES = (np.arange(120)[:, np.newaxis] % 3) * 4 + RNG.integers(0, 4, (120, 6))


def quick(n_components=3, **params):
    return AutoencoderTransformer(n_components, **(QUICK | params))


# Arrays of shapes other than (n_samples, n_features).


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (64, 1), (2, 2, 4, 4)])
def test_rows_of_any_shape_are_as_flat_ones_and_come_back_in_it(shape):
    X = DIGITS.reshape(-1, *shape)
    model, flat = quick().fit(X), quick().fit(DIGITS)
    codes = model.transform(X)
    assert_array_equal(codes, flat.transform(DIGITS))
    back = model.inverse_transform(codes)
    assert back.shape == X.shape
    assert_array_equal(back.reshape(len(X), -1), flat.inverse_transform(codes))
    assert model.score(X) == flat.score(DIGITS)
    assert model.n_features_in_ == 64
    assert_array_equal(model.transform(DIGITS), codes)  # flat rows are welcome


def test_what_a_model_makes_has_the_shape_that_fit_saw():
    model = quick().fit(IMAGES)
    assert model.sample(4).shape == (4, 1, 8, 8)
    assert model.interpolate(IMAGES[0], IMAGES[1:2], n_steps=5).shape == (5, 1, 8, 8)
    assert model.decompress(model.compress(IMAGES)).shape == IMAGES.shape
    assert model.fit_transform(IMAGES).shape == (150, 3)
    assert pickle.loads(pickle.dumps(model)).sample(2).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("wrong", [(8, 8, 1), (8, 8), (1, 16, 4), (1, 4, 4)])
def test_rows_of_another_shape_are_refused_with_both_shapes(wrong):
    model = quick().fit(IMAGES)
    rows = np.zeros((3, *wrong))
    with pytest.raises(ValueError, match=r"but `fit` saw \(1, 8, 8\)"):
        model.transform(rows)


def test_rows_of_another_shape_can_be_fitted_anew():
    model = quick().fit(IMAGES).fit(DIGITS[:, :32])
    assert model.inverse_transform(model.transform(DIGITS[:, :32])).shape == (150, 32)


def test_validation_rows_partial_fit_and_weights_take_any_shape():
    weight = np.ones(150)
    weight[:5] = 2
    model = quick().fit(IMAGES, X_val=IMAGES[:20], sample_weight=weight)
    assert len(model.validation_loss_curve_) == 3
    model = quick().partial_fit(IMAGES).partial_fit(IMAGES)
    assert model.n_iter_ == 2
    with pytest.raises(ValueError, match="shape"):
        model.partial_fit(IMAGES.reshape(-1, 8, 8, 1))


def test_search_and_pipeline_take_any_shape():
    search = GridSearchCV(quick(), {"n_components": [2, 5]}, cv=2)
    assert search.fit(IMAGES).best_params_ == {"n_components": 5}
    pipeline = make_pipeline(quick(), StandardScaler())
    assert pipeline.fit_transform(IMAGES).shape == (150, 3)


# Sequences of different lengths.


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_nan_after_the_end_come_back_where_they_were(loss, axis):
    X = WALKS if axis == 1 else WALKS.swapaxes(1, 2)
    model = quick(4, loss=loss).fit(X)
    back = model.inverse_transform(model.transform(X))
    assert_array_equal(np.isnan(back), np.isnan(X))
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.inverse_transform(loaded.transform(X)), back)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_last_column_of_a_code_is_the_length(dtype):
    X = WALKS.astype(dtype)
    codes = quick(3).fit_transform(X)
    assert codes.shape == (90, 3)
    assert codes.dtype == dtype
    lengths = (~np.isnan(X[:, :, 0])).sum(axis=1)
    assert_allclose(codes[:, -1] * 7, lengths, rtol=1e-3)


@pytest.mark.parametrize("regularizer", [None, Ordered(), Variational()])
def test_made_sequences_end_as_training_rows_do(regularizer):
    model = quick(3, regularizer=regularizer).fit(WALKS)
    made = np.isnan(model.sample(200, random_state=0))
    lengths = 7 - made.sum(axis=1)[:, 0]
    assert set(lengths) <= set(range(1, 8))
    assert lengths.mean() == pytest.approx(4.5, abs=0.7)
    assert not (made[:, :-1] & ~made[:, 1:]).any()


def test_what_is_after_the_end_counts_for_nothing():
    model = quick(4, max_iter=30).fit(WALKS)
    reconstruction = model.inverse_transform(model.transform(WALKS))
    squares = np.square(reconstruction - WALKS)
    mean = model.mean_.reshape(7, 2)
    deviations = np.square(WALKS - mean)
    per_row = [np.nanmean(s, axis=(1, 2)).sum() for s in (squares, deviations)]
    assert model.score(WALKS) == pytest.approx(1 - per_row[0] / per_row[1], rel=1e-5)
    errors = model.reconstruction_error(WALKS)
    assert_allclose(errors, np.nanmean(squares, axis=(1, 2)), rtol=1e-4)
    entries = model.reconstruction_error(WALKS, per_feature=True)
    assert_array_equal(np.isnan(entries), np.isnan(WALKS.reshape(90, -1)))


def test_a_loss_of_ones_own_never_sees_what_is_not_there():
    def capped(output, target):
        square = (output - target).square()
        return torch.where(square < 4, square, torch.full_like(square, 4.0))

    model = quick(4, loss=capped, precision="float64").fit(WALKS)
    entries = model.reconstruction_error(WALKS, per_feature=True)
    assert_array_equal(np.isnan(entries), np.isnan(WALKS.reshape(90, -1)))
    errors = model.reconstruction_error(WALKS)
    assert_allclose(errors, np.nanmean(entries, axis=1))
    assert_allclose(
        errors.mean(),
        model.module_.sample_loss(
            model.module_.decode(model.module_.encode(standardised(model, WALKS))),
            standardised(model, WALKS),
        )
        .mean()
        .item(),
    )


def standardised(model, X):
    rows = (X.reshape(len(X), -1) - model.mean_) / model.scale_
    return model.module_.as_input(rows)


def test_constant_sequences_have_the_scale_of_constant_rows():
    X = np.where(np.isnan(WALKS), np.nan, 0.1)
    model = quick(3).fit(X)
    assert model.scale_ == 1.0
    assert_array_equal(model.inverse_transform(model.transform(X)), X)


def test_rows_of_weight_zero_do_not_tell_what_rows_are():
    X, weight = WALKS[:, :2].copy(), np.ones(90)
    X[0, 1], weight[0] = np.nan, 0
    assert quick(2).fit(X, sample_weight=weight)._blueprint.layout.kind == "numbers"
    other = SENTENCES.copy()
    other[0] = 40
    model = tokens().fit(other, sample_weight=np.arange(120) > 0)
    assert model._blueprint.layout.n_tokens == 12


def test_lists_of_different_lengths_are_told_to_be_padded():
    with pytest.raises(ValueError, match="Pad sequences"):
        quick(2).fit([[[1.0], [2.0]], [[1.0]]])


def test_networks_refuse_sequences_whose_time_is_elsewhere():
    with pytest.raises(ValueError, match=r"end of axis 1, but Conv expects .* axis 2"):
        quick(3, network=Conv(channels=(4,))).fit(WALKS)
    with pytest.raises(ValueError, match=r"axis 2, but Recurrent expects .* axis 1"):
        quick(3, network=Recurrent(hidden_size=4)).fit(WALKS.swapaxes(1, 2))
    quick(3, network=Conv(channels=(4,))).fit(WALKS.swapaxes(1, 2))


def test_padding_of_no_length_changes_nothing_but_the_last_column():
    X = np.nan_to_num(WALKS)
    padded = np.concatenate([X, np.full((90, 1, 2), np.nan)], axis=1)
    padded[0, -1] = 0.0  # one sequence is longer
    model = quick(2, max_iter=0, precision="float64").fit(padded[1:])
    flat = quick(1, max_iter=0, precision="float64").fit(X[1:])
    assert_allclose(model.transform(padded[1:])[:, :1], flat.transform(X[1:]))


def test_the_mean_of_a_column_is_that_of_what_is_there():
    X, weight = WALKS.reshape(90, -1), RNG.random(90)
    expected = [np.average(c[~np.isnan(c)], weights=weight[~np.isnan(c)]) for c in X.T]
    assert_allclose(column_mean(X, weight), expected)
    assert_array_equal(column_mean(np.full((3, 2), np.nan), np.ones(3)), [0, 0])
    model = quick(3, max_iter=0).fit(WALKS)
    assert_allclose(model.mean_, np.nanmean(X, axis=0))


def test_without_training_padded_rows_are_those_of_pca_at_the_mean():
    X = WALKS.reshape(90, -1)
    filled = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    scores = PCA(2).fit_transform(filled)
    codes = quick(3, max_iter=0, precision="float64").fit_transform(WALKS)
    assert_allclose(codes[:, :2], scores / scores[:, 0].std(), atol=1e-9)


@pytest.mark.parametrize("loss", NUMERIC_LOSSES)
def test_the_gradient_of_what_is_absent_is_zero(loss):
    output = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0.5, torch.nan, torch.nan], [0.5, 0.2, torch.nan]])
    losses = masked_losses(NUMERIC_LOSSES[loss].elementwise, output, target.double())
    losses.nanmean(dim=1).sum().backward()
    assert_array_equal(losses.isnan(), target.isnan())
    assert_array_equal(output.grad.numpy() == 0, target.isnan().numpy())


def test_lengths_of_rows_are_not_those_of_features():
    gaps = WALKS.copy()
    gaps[5, 0] = np.nan
    one_feature = WALKS.copy()
    one_feature[5, 1:, 0] = np.nan
    empty = WALKS.copy()
    empty[5] = np.nan
    for X, cause in [(gaps, "end of seq"), (one_feature, "end"), (empty, "Sequence 5")]:
        with pytest.raises(ValueError, match=cause):
            quick(3).fit(X)
        with pytest.raises(ValueError, match=cause):
            quick(3).fit(WALKS).transform(X)


def test_what_lengths_do_not_go_with_is_refused():
    with pytest.raises(ValueError, match="n_components=1 for sequences"):
        quick(1).fit(WALKS)
    with pytest.raises(ValueError, match="cannot be compressed"):
        quick(3).fit(WALKS).compress(WALKS)
    with pytest.raises(ValueError, match="NaN"):
        quick(3).fit(np.nan_to_num(WALKS)).transform(WALKS)
    with pytest.raises(ValueError, match="NaN"):
        quick(3).fit(WALKS.reshape(90, -1))


def test_a_share_of_variance_and_going_on_work_with_lengths():
    model = quick(0.6, max_iter=20).fit(WALKS)
    assert model.transform(WALKS).shape[1] == model.n_components_ >= 2
    assert len(model.explained_variance_ratio_) == model.n_components_
    model = quick(3).partial_fit(WALKS).partial_fit(WALKS[:20])
    assert_array_equal(
        np.isnan(model.inverse_transform(model.transform(WALKS))), np.isnan(WALKS)
    )


def test_time_is_found_by_where_nan_are():
    assert quick(3).fit(WALKS)._blueprint.layout == PaddedLayout((7, 2), axis=0)
    other = quick(3).fit(WALKS.swapaxes(1, 2))
    assert other._blueprint.layout == PaddedLayout((2, 7), axis=1)


# TokenLayout.


def tokens(n_components=3, **params):
    return quick(n_components, loss="cross_entropy", **params)


@pytest.mark.parametrize("spread", [1, 9])  # a vocabulary below and above the embedding
def test_tokens_come_back_as_tokens(spread):
    X = SENTENCES * spread
    options = {"max_iter": 60, "early_stopping": False, "learning_rate": 1e-2}
    model = tokens(3, **options, regularizer=None, alpha=0).fit(X)
    back = model.inverse_transform(model.transform(X))
    assert back.dtype == np.int64
    assert back.shape == X.shape
    shares = [np.bincount(step).max() / len(X) for step in X.T]
    assert (back == X).mean() > np.mean(shares) + 0.1
    assert model.score(X) > 0.3
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.transform(X), model.transform(X))
    assert set(np.unique(model.sample(20, random_state=0))) <= set(np.unique(X))


def test_a_perfect_code_tells_every_token():
    X = np.array([[0, 1, 2], [2, 1, 0], [1, 2, 0]]).repeat(30, axis=0)
    model = tokens(2, network=MLP((16,)), max_iter=150, early_stopping=False)
    assert_array_equal(
        model.set_params(learning_rate=0.02).fit_transform(X).shape, (90, 2)
    )
    assert_array_equal(model.inverse_transform(model.transform(X)), X)
    assert model.score(X) > 0.9


def test_score_is_one_less_the_entropy_that_is_left_over_that_of_the_shares():
    model = tokens().fit(SENTENCES)
    shares = [np.bincount(step, minlength=12) / 120 for step in SENTENCES.T]
    entropy = -sum((p[p > 0] * np.log(p[p > 0])).sum() for p in shares) / 6
    errors = model.reconstruction_error(SENTENCES)
    assert model.score(SENTENCES) == pytest.approx(
        1 - errors.mean() / entropy, abs=0.01
    )


def test_cross_entropy_is_that_of_torch():
    logits, target = torch.randn(5, 4 * 3), torch.randint(3, (5, 4))
    wanted = torch.distributions.Categorical(logits=logits.view(5, 4, 3))
    found = cross_entropy(logits, target.float())
    torch.testing.assert_close(found, -wanted.log_prob(target))


def test_noise_and_weights_and_names_go_with_tokens():
    weight = np.ones(120)
    weight[:60] = 3
    model = tokens(noise=GaussianNoise(0.1)).fit(SENTENCES, sample_weight=weight)
    assert model.score(SENTENCES, sample_weight=weight) < 1
    model = tokens().partial_fit(SENTENCES).partial_fit(SENTENCES)
    assert model.transform(SENTENCES).shape == (120, 3)
    assert clone(model).fit(SENTENCES.astype(np.float32)).n_features_in_ == 6


def test_weights_of_tokens_equal_repetition():
    weight = np.arange(40) % 3
    options = {"batch_size": 200, "early_stopping": False, "precision": "float64"}
    model = tokens(2, **options)
    codes = model.fit(SENTENCES[:40], sample_weight=weight).transform(SENTENCES)
    repeated = model.fit(SENTENCES[:40].repeat(weight, axis=0)).transform(SENTENCES)
    assert_allclose(codes, repeated, rtol=1e-5, atol=1e-7)


def test_tokens_go_through_bytes_unharmed():
    model = tokens(max_iter=30).fit(SENTENCES)
    data = model.compress(SENTENCES, max_error=0.5)
    assert_array_equal(model.decompress(data), SENTENCES)


@pytest.mark.parametrize(
    "wrong", [SENTENCES + 0.5, -SENTENCES, SENTENCES * 10**6], ids=["half", "<0", "1e6"]
)
def test_what_is_not_a_token_is_refused(wrong):
    with pytest.raises(ValueError, match=r"integers from 0 to the size"):
        tokens().fit(wrong)


def test_a_vocabulary_may_be_larger_than_what_fit_sees():
    model = tokens().set_params(loss=CrossEntropy(n_tokens=50)).fit(SENTENCES)
    unseen = np.where(SENTENCES == 0, 49, SENTENCES)
    assert np.isfinite(model.transform(unseen)).all()
    assert np.isfinite(model.score(unseen))
    assert pickle.loads(pickle.dumps(model)).score(unseen) == model.score(unseen)
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=3, error_score="raise")
    split = np.sort(SENTENCES, axis=0)  # folds of other tokens
    assert np.isfinite(search.fit(split).best_score_)
    with pytest.raises(ValueError, match="token 11, but the vocabulary"):
        model.set_params(loss=CrossEntropy(n_tokens=5)).fit(SENTENCES)
    with pytest.raises(ValueError, match="'n_tokens' parameter of CrossEntropy"):
        model.set_params(loss=CrossEntropy(n_tokens=0)).fit(SENTENCES)


def test_more_logits_than_memory_are_refused():
    X = SENTENCES.copy()
    X[0, 0] = 2**20 - 1
    with pytest.raises(ValueError, match="logits for a row; expected at most"):
        tokens().fit(np.tile(X, 5))


def test_tokens_in_half_precision_are_tokens():
    model = tokens().fit(SENTENCES.astype(np.float16))
    assert model.transform(SENTENCES.astype(np.float16)).dtype == np.float16


def test_a_token_that_fit_did_not_see_is_refused():
    model = tokens().fit(SENTENCES)
    with pytest.raises(
        ValueError, match=r"token 12, but the vocabulary has .* 0 to 11"
    ):
        model.transform(SENTENCES + 1)
    with pytest.raises(ValueError, match="token 12"):
        tokens().fit(SENTENCES, X_val=SENTENCES + 1)


def test_convolutions_are_given_the_embedding_as_channels():
    network = Conv(channels=(4,), hidden_layer_sizes=())
    model = tokens(network=network, max_iter=60, alpha=0.0).fit(SENTENCES)
    assert model._blueprint.network.shape == (12, 6)
    x = torch.from_numpy(SENTENCES[:5].astype(np.float32))
    read = model.module_.to(torch.float32).reader(x)
    table = model.module_.reader.table[SENTENCES[:5]]  # (n_samples, time, embedding)
    centred = table.transpose(1, 2).flatten(1) - model.module_.reader.mean_read
    torch.testing.assert_close(read, centred)
    assert model.score(SENTENCES) > 0.1


def test_a_view_is_a_matrix_that_is_made_when_it_is_read():
    view = LazyRows(DIGITS, lambda rows: rows[:, :3] * 2, 3)
    assert view.shape == (150, 3)
    assert_array_equal(view[10:20], DIGITS[10:20, :3] * 2)
    assert_array_equal(np.asarray(view), DIGITS[:, :3] * 2)
