"""
News headlines and latent semantic analysis
===========================================

TF-IDF represents a text by thousands of weights, most of which are zero. Such sparse
matrices are usually reduced by ``TruncatedSVD`` (latent semantic analysis); the
autoencoder accepts them too. The headlines in this example are simulated. With
``--data FOLDER``, the script uses real news instead, from a table
``text_ag_news.parquet`` with the columns ``text`` and ``label`` in this folder.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import MLP, AutoencoderTransformer

# %%
# Four topics
# -----------
#
# The subjects, verbs and objects of a headline are drawn from the lists of its topic,
# and the other words from lists that are the same for all topics.

TOPICS = {
    "world": [
        "minister president envoy rebels parliament embassy troops voters senate "
        "police refugees ambassador premier coalition army protesters council mayor",
        "condemns signs vetoes denounces ratifies debates besieges pardons recalls",
        "treaty ceasefire election border sanctions hostages summit constitution "
        "referendum accord airstrike visa asylum ballot curfew decree uprising",
    ],
    "sports": [
        "striker goalkeeper coach sprinter champion pitcher team rookie captain "
        "quarterback boxer cyclist swimmer golfer midfielder referee skater bowler",
        "beats scores wins loses defends trains outruns equalizes injures qualifies",
        "medal final playoff season record penalty tournament inning marathon title "
        "trophy league overtime derby innings relay knockout",
    ],
    "business": [
        "retailer bank investors airline shareholders economist refiner insurer "
        "automaker brewer lender exporters trader miner analysts grocer carrier",
        "acquires downgrades invests refinances audits borrows sells lists merges",
        "shares profit takeover bond oil inflation dividend earnings tariff debt "
        "quarter revenue deficit mortgage currency stake bankruptcy",
    ],
    "science": [
        "astronomers researchers telescope engineers physicists startup robot "
        "chipmaker hackers biologists probe laboratory geneticist satellite rover",
        "discovers launches sequences patches measures encrypts simulates detects",
        "galaxy software genome virus planet processor browser fossil vaccine comet "
        "network battery laser protein antibody browser spacecraft",
    ],
}
PLACES = "london tokyo paris berlin cairo delhi geneva madrid boston sydney seoul oslo"
DAYS = "monday tuesday wednesday thursday friday saturday sunday"
PHRASES = (
    "new first after despite over amid again late key major report says big early "
    "former rare local second more than expected official plan week year could may"
)


def simulated_headlines(n_headlines):
    """Return headlines and the names of their topics."""
    random = np.random.default_rng(0)
    names = random.choice(list(TOPICS), n_headlines)
    headlines = []
    for name in names:
        subjects, verbs, objects = (part.split() for part in TOPICS[name])
        own = [
            *random.choice(subjects, 2),
            random.choice(verbs),
            *random.choice(objects, 2),
        ]
        shared = random.choice(PHRASES.split(), 7)
        words = random.permutation([*own, *shared])
        place, day = random.choice(PLACES.split()), random.choice(DAYS.split())
        headlines.append(f"{place} : {' '.join(words)} on {day}")
    return headlines, names


def read_news(folder):
    """Return real texts and their topics."""
    table = pd.read_parquet(folder / "text_ag_news.parquet")
    table = table.groupby("label").head(1000)
    return table["text"], np.array(list(TOPICS))[table["label"]]


parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path)
folder = parser.parse_args().data
texts, topics = read_news(folder) if folder else simulated_headlines(2000)
print(texts[0])

# %%
# Sparse matrices with thousands of columns
# -----------------------------------------
#
# The columns are the TF-IDF weights of words and pairs of words. They are non-negative,
# and most words are rare. ``loss="poisson"`` is suitable for such data, because it
# models the ratio between the frequency of a word in a text and its mean frequency. One
# small hidden layer is sufficient.

train, test, y_train, y_test = train_test_split(texts, topics, random_state=0)
vectorizer = TfidfVectorizer(
    sublinear_tf=True, ngram_range=(1, 2), max_features=5_000, dtype=np.float32
)
X_train, X_test = vectorizer.fit_transform(train), vectorizer.transform(test)
density = X_train.nnz / np.prod(X_train.shape)
print(f"{X_train.shape}, {density:.2%} of the entries are nonzero")


def reducers(k):
    """Return two transformers with k components."""
    autoencoder = AutoencoderTransformer(
        k, loss="poisson", network=MLP((64,)), max_iter=25, random_state=0
    )
    return {
        "TruncatedSVD": TruncatedSVD(k, random_state=0),
        "autoencoder": autoencoder,
    }


sizes = [2, 3, 8]
models = {k: reducers(k) for k in sizes}
codes = {
    (k, name): (model.fit_transform(X_train), model.transform(X_test))
    for k in sizes
    for name, model in models[k].items()
}

# %%
# Codes of test texts, and the accuracy of a classifier
# -----------------------------------------------------
#
# The labels are only used for the colors and the classifier.

COLORS = dict(zip(TOPICS, ["#0072b2", "#d55e00", "#009e73", "#cc79a7"], strict=True))
BLUE, ORANGE = "#0072b2", "#d55e00"


def accuracy(k, name):
    """Return the accuracy of a linear classifier on the codes of test texts."""
    train_codes, test_codes = codes[k, name]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return 100 * classifier.fit(train_codes, y_train).score(test_codes, y_test)


figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
for ax, name in zip(axes, models[2], strict=False):
    for topic, color in COLORS.items():
        points = codes[2, name][1][y_test == topic]
        ax.scatter(*points.T, s=8, color=color, alpha=0.6, lw=0, label=topic)
    ax.set(xticks=[], yticks=[], title=f"{name}, 2 components")
axes[0].legend(frameon=False, markerscale=2)
for name, color in [("TruncatedSVD", BLUE), ("autoencoder", ORANGE)]:
    values = [accuracy(k, name) for k in sizes]
    axes[2].plot(sizes, values, "o-", color=color, label=name)
    print(
        f"{name:<14}", *(f"{k}: {v:.0f} %" for k, v in zip(sizes, values, strict=True))
    )
axes[2].set_xscale("log", base=2)
axes[2].set_xticks(sizes, sizes)
axes[2].set(xlabel="number of components", ylabel="accuracy (%)")
axes[2].set_title("Topics of test headlines")
axes[2].legend(frameon=False)
axes[2].grid(alpha=0.3)
axes[2].spines[["top", "right"]].set_visible(False)
plt.show()
