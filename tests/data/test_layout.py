"""Rows of any shape, padded sequences and tokens return in the shape of the input."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import mixed, with_missing

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
from skae.data._layout import (
    IncompleteLayout,
    LazyRows,
    NumericLayout,
    PaddedLayout,
    TokenLayout,
    infer_layout,
    layout_from_state,
    layout_to_state,
    weighted_nanmean,
)
from skae.data._validation import fit_table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def frozen(X):
    X.flags.writeable = False
    return X


def random_walks(n=90, n_steps=7, n_series=2):
    """Return random walks of different lengths, padded with NaN."""
    rng = np.random.default_rng(1)
    walks = rng.standard_normal((n, n_steps, n_series)).cumsum(axis=1)
    lengths = rng.integers(2, n_steps + 1, n)
    walks[np.arange(n_steps) >= lengths[:, np.newaxis]] = np.nan
    return frozen(walks)


RNG = np.random.default_rng(0)
DIGITS = frozen(load_digits().data[:150].copy())
IMAGES = DIGITS.reshape(-1, 1, 8, 8)


def fitted_layout(frame):
    return fit_table(frame, None, slice(None), "from_dtype")[1]


WALKS = random_walks()
FLAT_WALKS = WALKS.reshape(90, -1)
EQUAL = frozen(np.where(np.arange(7)[:, np.newaxis] < 5, np.nan_to_num(WALKS), np.nan))
SENTENCES = frozen(np.arange(120)[:, np.newaxis] % 3 * 4 + RNG.integers(0, 4, (120, 6)))
TABLES = [fitted_layout(frame) for frame in (mixed(), with_missing(mixed()))]
LAYOUTS = [
    NumericLayout((1, 8, 8)),
    IncompleteLayout((6,)),
    *TABLES,
    PaddedLayout((7, 2), 0),
    PaddedLayout((7, 2), 0, length=5),
    TokenLayout((6,), 12),
]
EXACT = {"max_iter": 0, "precision": "float64"}


def quick(n_components=3, **params):
    options = {"network": MLP((8,)), "max_iter": 3, "random_state": 0}
    return AutoencoderTransformer(n_components, **(options | params))


def tokens(n_components=3, **params):
    return quick(n_components, **({"loss": "cross_entropy"} | params))


def round_trip(model, X):
    return model.inverse_transform(model.transform(X))


# Layouts by themselves.


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_equals_the_one_of_its_state(layout):
    assert layout_from_state(layout_to_state(layout)) == layout


@pytest.mark.parametrize("state", [None, {}, {"kind": "numbers"}, {"kind": ["tokens"]}])
def test_other_states_raise(state):
    with pytest.raises(ValueError, match="does not describe the layout"):
        layout_from_state(state)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sizes_are_those_of_the_arrays(layout):
    X, weight = np.ones((5, layout.n_features)), np.ones(5)
    assert layout.lengths(X).shape == (5, layout.n_lengths)
    matrix = np.asarray(layout.as_matrix(X, weight))
    n_masks = getattr(layout, "has_mask", 0) * layout.n_columns
    assert matrix.shape == (5, np.prod(layout.network_shape) - n_masks)
    n_inputs = matrix.shape[1] + n_masks
    assert layout.fit_pca(X, weight, 3).axes.shape == (3, n_inputs)
    assert layout.n_outputs == layout.n_features * getattr(layout, "n_tokens", 1)


def test_numbers_are_inferred_for_rows_without_nan():
    assert infer_layout(DIGITS, (8, 8), None) == NumericLayout((8, 8))


@pytest.mark.parametrize("length", [0, 8, -1, 2.0, "5", [5]])
def test_invalid_saved_lengths_raise(length):
    state = layout_to_state(PaddedLayout((7, 2), 0)) | {"length": length}
    with pytest.raises(ValueError, match=r"saved length of .* from 1 to 7"):
        layout_from_state(state)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_length_that_all_sequences_have_is_stored_in_the_layout(axis):
    X = EQUAL if axis == 0 else EQUAL.swapaxes(1, 2)
    layout = infer_layout(X.reshape(90, -1), X.shape[1:], None)
    assert layout == PaddedLayout(X.shape[1:], axis, length=5)
    assert layout.n_lengths == 0
    assert infer_layout(X[:1].reshape(1, -1), X.shape[1:], None) == layout


def test_the_time_axis_is_the_one_with_nan_at_the_end():
    swapped = WALKS.swapaxes(1, 2).reshape(90, -1)
    assert infer_layout(FLAT_WALKS, (7, 2), None) == PaddedLayout((7, 2), axis=0)
    assert infer_layout(swapped, (2, 7), None) == PaddedLayout((2, 7), axis=1)


@pytest.mark.parametrize(("vocabulary", "n_tokens"), [("auto", 12), (50, 50)])
def test_the_vocabulary_is_given_or_that_of_the_rows(vocabulary, n_tokens):
    assert infer_layout(SENTENCES, (6,), vocabulary) == TokenLayout((6,), n_tokens)


@pytest.mark.parametrize("axis", [0, 1])
def test_lengths_restore_the_padding(axis):
    walks = WALKS if axis == 0 else WALKS.swapaxes(1, 2)
    layout, X = PaddedLayout(walks.shape[1:], axis), walks.reshape(90, -1)
    back = layout.unflatten(np.nan_to_num(X), layout.lengths(X))
    assert_array_equal(back, walks)


def test_weighted_nanmean_ignores_nan():
    weight = RNG.random(90)
    kept = [~np.isnan(column) for column in FLAT_WALKS.T]
    pairs = zip(FLAT_WALKS.T, kept, strict=True)
    expected = [np.average(c[k], weights=weight[k]) for c, k in pairs]
    assert_allclose(weighted_nanmean(FLAT_WALKS, weight), expected)


def test_weighted_nanmean_of_nan_is_zero():
    assert_array_equal(weighted_nanmean(np.full((3, 2), np.nan), np.ones(3)), [0, 0])


def test_token_frequencies_are_close_to_the_counts_and_positive():
    frequencies = TokenLayout((6,), 20).token_frequencies(SENTENCES, np.ones(120))
    counts = [np.bincount(step, minlength=20) for step in SENTENCES.T]
    assert_allclose(frequencies, np.array(counts) / 120, atol=0.01)
    assert_allclose(frequencies.sum(axis=1), 1)
    assert frequencies.min() > 0


def test_small_vocabularies_are_one_hot_and_large_ones_embedded():
    weight = np.ones(120)
    table = TokenLayout((6,), 12).embedding_table(SENTENCES, weight)
    assert_array_equal(table, np.eye(12))
    table = TokenLayout((6,), 120).embedding_table(10 * SENTENCES, weight)
    assert table.shape == (120, 32)


def test_equal_rows_of_tokens_have_a_nonzero_embedding():
    table = TokenLayout((40,), 40).embedding_table(
        np.tile(np.arange(40), (5, 1)), np.ones(5)
    )
    assert table.any(axis=1).all()


def test_lazy_rows_are_transformed_when_they_are_read():
    rows = LazyRows(DIGITS, lambda block: block[:, :3] * 2, 3)
    assert rows.shape == (150, 3)
    assert_array_equal(rows[10:20], DIGITS[10:20, :3] * 2)
    assert_array_equal(np.asarray(rows), DIGITS[:, :3] * 2)


# Rows of several axes.


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (64, 1), (2, 2, 4, 4)])
def test_rows_of_any_shape_equal_flat_rows(shape):
    X = DIGITS.reshape(-1, *shape)
    model, flat = quick().fit(X), quick().fit(DIGITS)
    codes = flat.transform(DIGITS)
    assert_array_equal(model.transform(X), codes)
    assert_array_equal(model.transform(DIGITS), codes)
    back = flat.inverse_transform(codes).reshape(X.shape)
    assert_array_equal(model.inverse_transform(codes), back)
    assert model.score(X) == flat.score(DIGITS)


@pytest.mark.parametrize(
    "generate",
    [
        lambda model: model.sample(4),
        lambda model: model.interpolate(IMAGES[0], IMAGES[1:2], n_steps=5),
        lambda model: model.decompress(model.compress(IMAGES)),
        lambda model: pickle.loads(pickle.dumps(model)).sample(2),
    ],
    ids=["sample", "interpolate", "decompress", "loaded"],
)
def test_generated_rows_have_the_shape_seen_in_fit(generate):
    assert generate(quick().fit(IMAGES)).shape[1:] == (1, 8, 8)


@pytest.mark.parametrize("wrong", [(8, 8, 1), (8, 8), (1, 16, 4), (1, 4, 4)])
def test_rows_of_another_shape_raise_with_both_shapes(wrong):
    model = quick().fit(IMAGES)
    with pytest.raises(ValueError, match=r"\(.*\), but expected \(1, 8, 8\)"):
        model.transform(np.zeros((3, *wrong)))
    with pytest.raises(ValueError, match="shape"):
        model.partial_fit(np.zeros((3, *wrong)))


def test_a_second_fit_accepts_rows_of_another_shape():
    model = quick().fit(IMAGES).fit(DIGITS[:, :32])
    assert round_trip(model, DIGITS[:, :32]).shape == (150, 32)


def test_validation_rows_and_weights_go_with_any_shape():
    weight = np.arange(150) < 5
    model = quick().fit(IMAGES, X_val=IMAGES[:20], sample_weight=1 + weight)
    assert len(model.validation_loss_curve_) == 3


def test_partial_fit_takes_any_shape():
    model = quick().partial_fit(IMAGES).partial_fit(IMAGES)
    assert model.n_iter_ == 2


def test_search_and_pipeline_take_any_shape():
    search = GridSearchCV(quick(), {"n_components": [2, 5]}, cv=2)
    assert search.fit(IMAGES).best_params_ == {"n_components": 5}
    pipeline = make_pipeline(quick(), StandardScaler())
    assert pipeline.fit_transform(IMAGES).shape == (150, 3)


# Sequences of different lengths.


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_reconstructed_sequences_have_their_lengths(loss, axis):
    X = WALKS if axis == 1 else WALKS.swapaxes(1, 2)
    model = quick(4, loss=loss).fit(X)
    back = round_trip(model, X)
    assert_array_equal(np.isnan(back), np.isnan(X))
    assert_array_equal(round_trip(pickle.loads(pickle.dumps(model)), X), back)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_last_column_of_a_code_is_the_length(dtype):
    codes = quick(3).fit_transform(WALKS.astype(dtype))
    assert codes.shape == (90, 3)
    assert codes.dtype == dtype
    lengths = (~np.isnan(WALKS[:, :, 0])).sum(axis=1)
    assert_allclose(codes[:, -1] * 7, lengths, rtol=1e-3)


@pytest.mark.parametrize("regularizer", [None, Ordered(), Variational()])
def test_sampled_sequences_have_lengths_like_the_training_rows(regularizer):
    model = quick(3, regularizer=regularizer).fit(WALKS)
    missing = np.isnan(model.sample(200, random_state=0))
    lengths = 7 - missing.sum(axis=1)[:, 0]
    assert lengths.min() >= 1
    assert lengths.mean() == pytest.approx(4.5, abs=0.7)
    assert not (missing[:, :-1] & ~missing[:, 1:]).any()


def test_score_and_error_ignore_the_padding():
    model = quick(4, max_iter=30).fit(WALKS)
    squares = np.square(round_trip(model, WALKS) - WALKS)
    deviations = np.square(WALKS - model.mean_.reshape(7, 2))
    errors, null = (np.nanmean(s, axis=(1, 2)) for s in (squares, deviations))
    assert_allclose(model.reconstruction_error(WALKS), errors, rtol=1e-4)
    expected = 1 - errors.sum() / null.sum()
    assert model.score(WALKS) == pytest.approx(expected, rel=1e-5)


def test_errors_of_the_padding_are_nan():
    entries = quick(4).fit(WALKS).reconstruction_error(WALKS, per_feature=True)
    assert_array_equal(np.isnan(entries), np.isnan(FLAT_WALKS))


def test_constant_sequences_are_reconstructed():
    X = np.where(np.isnan(WALKS), np.nan, 0.1)
    model = quick(3).fit(X)
    assert model.scale_ == 1.0
    assert_array_equal(round_trip(model, X), X)


@pytest.mark.parametrize("k", [1, 3])
def test_steps_of_padding_in_all_sequences_change_no_code(k):
    X = np.nan_to_num(WALKS)
    padded = np.concatenate([X, np.full((90, 3, 2), np.nan)], axis=1)
    model, expected = quick(k, **EXACT).fit(padded), quick(k, **EXACT).fit(X)
    assert_allclose(model.transform(padded), expected.transform(X))
    assert model.score(padded) == pytest.approx(expected.score(X))
    back = round_trip(model, padded)
    assert_allclose(back[:, :7], round_trip(expected, X))
    assert np.isnan(back[:, 7:]).all()
    assert_array_equal(round_trip(pickle.loads(pickle.dumps(model)), padded), back)


@pytest.mark.parametrize(
    "generate",
    [
        lambda model: model.sample(4, random_state=0),
        lambda model: model.interpolate(EQUAL[0], EQUAL[1], n_steps=4),
        lambda model: model.inverse_transform(np.ones((4, 3))),
    ],
    ids=["sample", "interpolate", "inverse_transform"],
)
@pytest.mark.parametrize("regularizer", [None, Variational()])
def test_generated_sequences_have_the_length_of_all_training_rows(
    regularizer, generate
):
    rows = generate(quick(3, regularizer=regularizer).fit(EQUAL))
    assert_array_equal(np.isnan(rows), np.isnan(EQUAL[:4]))


def test_one_padded_sequence_has_a_stored_length():
    with pytest.warns(UserWarning, match="one row"):
        model = quick(1).fit(WALKS[:1])
    assert_array_equal(round_trip(model, WALKS[:1]), WALKS[:1])


@pytest.mark.parametrize(
    "method", ["transform", "score", "reconstruction_error", "partial_fit"]
)
def test_sequences_of_another_length_than_all_in_fit_raise(method):
    model = quick(3).fit(EQUAL)
    shorter = EQUAL.copy()
    shorter[4, 4] = np.nan
    cause = r"Sequence 4 of X has 4 steps .* expected 5, as in all sequences"
    with pytest.raises(ValueError, match=cause):
        getattr(model, method)(shorter)
    with pytest.raises(ValueError, match="Sequence 0 of X has 7 steps"):
        getattr(model, method)(np.nan_to_num(EQUAL))


def test_training_with_equal_lengths_continues():
    model = quick(3).partial_fit(EQUAL).partial_fit(EQUAL[:20])
    assert_array_equal(np.isnan(round_trip(model, EQUAL)), np.isnan(EQUAL))
    model = quick(3).fit(EQUAL, X_val=EQUAL[:20])
    with pytest.raises(ValueError, match=r"Invalid X_val: Sequence 0 of X has 7 steps"):
        model.fit(EQUAL, X_val=np.nan_to_num(EQUAL))


def test_the_mean_ignores_the_padding():
    model = quick(3, max_iter=0).fit(WALKS)
    assert_allclose(model.mean_, np.nanmean(FLAT_WALKS, axis=0))


def test_without_training_codes_are_those_of_pca_with_the_mean_as_padding():
    filled = np.where(np.isnan(FLAT_WALKS), np.nanmean(FLAT_WALKS, axis=0), FLAT_WALKS)
    scores = PCA(2).fit_transform(filled)
    codes = quick(3, **EXACT).fit_transform(WALKS)
    assert_allclose(codes[:, :2], scores / scores[:, 0].std(), atol=1e-9)


def with_nan(*index):
    X = WALKS.copy()
    X[index] = np.nan
    return X


INVALID = {
    "NaN at the start": (with_nan(5, 0), "at the end of sequences"),
    "NaN in one feature": (with_nan(5, slice(1, None), 0), "at the end of sequences"),
    "NaN only": (with_nan(5), "Sequence 5 of X contains only NaN"),
}


@pytest.mark.parametrize(("X", "cause"), INVALID.values(), ids=INVALID.keys())
def test_invalid_padding_raises(X, cause):
    with pytest.raises(ValueError, match=cause):
        quick(3).fit(X)
    with pytest.raises(ValueError, match=cause):
        quick(3).fit(WALKS).transform(X)


def test_networks_with_another_time_axis_raise():
    with pytest.raises(ValueError, match=r"end of axis 1, but Conv expects .* axis 2"):
        quick(3, network=Conv(channels=(4,))).fit(WALKS)
    with pytest.raises(ValueError, match=r"axis 2, but Recurrent expects .* axis 1"):
        quick(3, network=Recurrent(hidden_size=4)).fit(WALKS.swapaxes(1, 2))
    quick(3, network=Conv(channels=(4,))).fit(WALKS.swapaxes(1, 2))


def test_nan_raise_if_fit_saw_none():
    with pytest.raises(ValueError, match="NaN"):
        quick(3).fit(np.nan_to_num(WALKS)).transform(WALKS)


def test_nan_in_flat_rows_raise_if_no_value_was_missing_in_fit():
    model = quick(3).fit(np.nan_to_num(FLAT_WALKS))
    with pytest.raises(ValueError, match=r"SimpleImputer .* X\[\.\.\., np.newaxis\]"):
        model.transform(FLAT_WALKS)


@pytest.mark.parametrize("X", [WALKS, EQUAL], ids=["different", "equal"])
def test_sequences_with_padding_cannot_be_compressed(X):
    with pytest.raises(ValueError, match="cannot be compressed"):
        quick(3).fit(X).compress(X)


def test_a_share_of_the_variance_goes_with_lengths():
    model = quick(0.6, max_iter=20).fit(WALKS)
    assert model.transform(WALKS).shape[1] == model.n_components_ >= 2
    assert len(model.explained_variance_ratio_) == model.n_components_


def test_partial_fit_goes_with_lengths():
    model = quick(3).partial_fit(WALKS).partial_fit(WALKS[:20])
    assert_array_equal(np.isnan(round_trip(model, WALKS)), np.isnan(WALKS))


# Tokens.


@pytest.mark.parametrize("spread", [1, 9])  # a vocabulary below and above the embedding
def test_trained_reconstructions_of_tokens_beat_the_most_frequent(spread):
    X = SENTENCES * spread
    options = {"max_iter": 60, "early_stopping": False, "learning_rate": 1e-2}
    back = round_trip(tokens(**options, alpha=0).fit(X), X)
    assert back.dtype == np.int64
    most_frequent = [np.bincount(step).max() / len(X) for step in X.T]
    assert (back == X).mean() > np.mean(most_frequent) + 0.1


def test_saved_models_of_tokens_return_the_same_codes():
    model = tokens().fit(SENTENCES)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.transform(SENTENCES), model.transform(SENTENCES))


def test_sampled_tokens_are_those_of_the_vocabulary():
    samples = tokens().fit(SENTENCES * 9).sample(20, random_state=0)
    assert set(np.unique(samples)) <= set(np.unique(SENTENCES * 9))


def test_few_sentences_are_reconstructed_without_error():
    X = np.array([[0, 1, 2], [2, 1, 0], [1, 2, 0]]).repeat(30, axis=0)
    options = {"max_iter": 150, "early_stopping": False, "learning_rate": 0.02}
    model = tokens(2, network=MLP((16,)), **options).fit(X)
    assert_array_equal(round_trip(model, X), X)
    assert model.score(X) > 0.9


def test_score_is_one_minus_error_over_entropy():
    model = tokens().fit(SENTENCES)
    shares = [np.bincount(step, minlength=12) / 120 for step in SENTENCES.T]
    entropy = -sum((p[p > 0] * np.log(p[p > 0])).sum() for p in shares) / 6
    expected = 1 - model.reconstruction_error(SENTENCES).mean() / entropy
    assert model.score(SENTENCES) == pytest.approx(expected, abs=0.01)


def test_noise_and_weights_go_with_tokens():
    weight = 1 + np.arange(120) % 3
    model = tokens(noise=GaussianNoise(0.1)).fit(SENTENCES, sample_weight=weight)
    assert model.score(SENTENCES, sample_weight=weight) < 1


def test_partial_fit_goes_with_tokens():
    model = tokens().partial_fit(SENTENCES).partial_fit(SENTENCES)
    assert model.transform(SENTENCES).shape == (120, 3)


def test_weights_of_tokens_equal_repeated_rows():
    weight, X = np.arange(40) % 3, SENTENCES[:40]
    options = {"batch_size": 200, "early_stopping": False, "precision": "float64"}
    model = tokens(2, **options)
    codes = model.fit(X, sample_weight=weight).transform(X)
    repeated = model.fit(X.repeat(weight, axis=0)).transform(X)
    assert_allclose(codes, repeated, rtol=1e-5, atol=1e-7)


def test_compressed_tokens_are_exact():
    model = tokens(max_iter=30).fit(SENTENCES)
    data = model.compress(SENTENCES, max_error=0.5)
    assert_array_equal(model.decompress(data), SENTENCES)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_tokens_may_be_floats(dtype):
    X = SENTENCES.astype(dtype)
    assert tokens().fit(X).transform(X).dtype == dtype


@pytest.mark.parametrize(
    "wrong", [SENTENCES + 0.5, -SENTENCES, SENTENCES * 10**6], ids=["half", "<0", "1e6"]
)
def test_other_numbers_than_tokens_raise(wrong):
    with pytest.raises(ValueError, match=r"tokens, integers from 0 to at most 1048575"):
        tokens().fit(wrong)


def test_n_tokens_may_exceed_the_tokens_seen_in_fit():
    model = tokens(loss=CrossEntropy(n_tokens=50)).fit(SENTENCES)
    unseen = np.where(SENTENCES == 0, 49, SENTENCES)
    assert np.isfinite(model.transform(unseen)).all()
    assert np.isfinite(model.score(unseen))
    assert pickle.loads(pickle.dumps(model)).score(unseen) == model.score(unseen)


def test_n_tokens_allows_cross_validation_with_rare_tokens():
    model = tokens(loss=CrossEntropy(n_tokens=50))
    folds_of_other_tokens = np.sort(SENTENCES, axis=0)
    scores = cross_val_score(model, folds_of_other_tokens, cv=3, error_score="raise")
    assert np.isfinite(scores).all()


def test_n_tokens_below_the_tokens_of_fit_raises():
    with pytest.raises(ValueError, match="token 11, but the vocabulary"):
        tokens(loss=CrossEntropy(n_tokens=5)).fit(SENTENCES)


def test_tokens_beyond_the_vocabulary_raise():
    cause = r"token 12, but the vocabulary has .* 0 to 11"
    with pytest.raises(ValueError, match=cause):
        tokens().fit(SENTENCES).transform(SENTENCES + 1)
    with pytest.raises(ValueError, match=cause):
        tokens().fit(SENTENCES, X_val=SENTENCES + 1)


def test_more_logits_than_memory_holds_raise():
    X = np.tile(SENTENCES, 5)
    X[0, 0] = 2**20 - 1
    with pytest.raises(ValueError, match="logits per row, but at most"):
        tokens().fit(X)


def test_channels_first_networks_get_the_embedding_as_channels():
    network = Conv(channels=(4,), hidden_layer_sizes=())
    layout = TokenLayout((6,), 12).for_network(network)
    assert layout.network_shape == (12, 6)
    table = RNG.random((12, 12))
    embedded = layout.embed(SENTENCES, table)[:5].reshape(5, 12, 6)
    assert_array_equal(embedded, table[SENTENCES[:5]].swapaxes(1, 2))


def test_convolutions_learn_tokens():
    network = Conv(channels=(4,), hidden_layer_sizes=())
    model = tokens(network=network, max_iter=60, alpha=0.0).fit(SENTENCES)
    assert model.score(SENTENCES) > 0.1
