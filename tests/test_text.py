"""Sparse text: counts and TF-IDF weights of many columns, without the dense matrix."""

import subprocess
import sys

import numpy as np
import pytest
from parts import NUMERIC_LOSSES
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skae import MLP, AutoencoderTransformer, MaskingNoise

SMALL = {"network": MLP((16,)), "random_state": 0}
QUICK = SMALL | {"max_iter": 3}


def topic_counts(n_texts, n_words, n_topics=4, length=30, seed=0):
    """Return word counts of texts that mix a few topics, as CSR."""
    random = np.random.default_rng(seed)
    topics = random.dirichlet(np.full(n_words, 0.05), n_topics)
    shares = random.dirichlet(np.full(n_topics, 0.2), n_texts)
    return sparse.csr_array(random.poisson(length * shares @ topics).astype(float))


COUNTS = topic_counts(700, 300)
DATA = {
    "counts": COUNTS,
    "binary": (COUNTS > 0).astype(float),
    "tfidf": sparse.csr_array(
        TfidfTransformer(sublinear_tf=True).fit_transform(COUNTS)
    ),
}
SUITS = [("tfidf", loss) for loss in NUMERIC_LOSSES] + [
    ("counts", "poisson"),
    ("binary", "log_loss"),
    ("binary", "brier"),
]


def numbers(model, X):
    """Return everything that a fitted model says of rows."""
    codes = model.transform(X)
    error = model.reconstruction_error(X)
    return [codes, model.inverse_transform(codes), error, model.score(X)]


@pytest.mark.parametrize(("kind", "loss"), SUITS)
def test_sparse_equals_dense(kind, loss):
    X = DATA[kind][:120]
    model = AutoencoderTransformer(3, loss=loss, **QUICK)
    expected = numbers(model.fit(X.toarray()), X.toarray())
    for value, wanted in zip(numbers(model.fit(X), X), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "convert",
    [sparse.csr_matrix, sparse.csc_matrix, sparse.csc_array, sparse.coo_array],
)
def test_every_sparse_container_gives_the_same(convert):
    X = DATA["tfidf"][:120]
    model = AutoencoderTransformer(3, **QUICK).fit(convert(X))
    for value, wanted in zip(
        numbers(model, convert(X)), numbers(model, X), strict=True
    ):
        np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize(
    ("kind", "loss"),
    [("counts", "poisson"), ("tfidf", "poisson"), ("binary", "log_loss")],
)
def test_training_beats_the_mean_and_the_start_on_unseen_texts(kind, loss):
    learned, unseen = DATA[kind][:500], DATA[kind][500:]
    model = AutoencoderTransformer(3, loss=loss, random_state=0).fit(learned)
    start = AutoencoderTransformer(3, loss=loss, max_iter=0).fit(learned)
    assert model.score(unseen) > max(0.05, start.score(unseen) + 0.02)


SCRIPT = """
import resource, sys, warnings
import numpy as np
from scipy import sparse
from skae import MLP, AutoencoderTransformer

n, d, length = 16_000, 5_000, 20
words = np.random.default_rng(0).integers(0, d, n * length)
ends = np.arange(0, n * length + 1, length)
X = sparse.csr_array((np.ones(n * length), words, ends), shape=(n, d))
model = AutoencoderTransformer(2, network=MLP((8,)), max_iter=1, random_state=0)
warnings.simplefilter("ignore")
model.fit(X[:300, :50])  # what is loaded at first use is not counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.fit(X)
model.transform(X), model.score(X), model.reconstruction_error(X)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 / (8 * n * d))
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems count in other units"
)
def test_memory_is_that_of_a_batch_not_of_the_dense_matrix():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True
    )
    assert float(done.stdout) < 0.35, done.stderr


def test_a_wide_vocabulary_takes_seconds():
    X = topic_counts(60, 20_000)
    model = AutoencoderTransformer(2, loss="poisson", max_iter=2, random_state=0).fit(X)
    assert model.transform(X).shape == (60, 2)
    assert np.isfinite(model.score(X))


def test_words_go_all_the_way_to_a_classifier():
    texts = ["the cat sat", "a cat purred", "the dog barked", "a dog growled"] * 20
    labels = [0, 0, 1, 1] * 20
    pipeline = make_pipeline(
        TfidfVectorizer(),
        AutoencoderTransformer(2, noise=MaskingNoise(0.2), **QUICK),
        LogisticRegression(),
    )
    assert pipeline.fit(texts, labels).score(texts, labels) > 0.9
