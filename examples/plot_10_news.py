"""
Headlines as points: sparse text beside latent semantic analysis
=================================================================

Texts become thousands of TF-IDF weights, nearly all of them zero. ``TruncatedSVD``
(latent semantic analysis) is what usually makes a few numbers of them; the autoencoder
takes the same sparse matrix. The headlines are made up here, of four topics that share
places, days and turns of phrase. Run the script with ``--data FOLDER`` for real news,
if you have a table ``text_ag_news.parquet`` with columns ``text`` and ``label``.
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
# A headline draws who, does and what from the lists of its topic, and the rest from
# lists that all topics share.

TOPICS = {
    "world": [
        "minister president envoy rebels parliament embassy troops voters senate "
        "police refugees ambassador premier coalition army protesters council judge",
        "condemns signs vetoes denounces ratifies debates besieges pardons recalls",
        "treaty ceasefire election border sanctions hostages summit constitution "
        "referendum accord airstrike visa asylum ballot curfew decree uprising",
    ],
    "sports": [
        "striker goalkeeper coach sprinter champion pitcher team rookie captain "
        "quarterback boxer cyclist swimmer golfer midfielder referee skater bowler",
        "beats scores wins loses defends trains outruns equalises injures qualifies",
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
TURNS = (
    "new first after despite over amid again late key major report says big early "
    "former rare local second more than expected official plan week year could may"
)


def made_headlines(n_headlines):
    """Return headlines and the names of their topics."""
    random = np.random.default_rng(0)
    names = random.choice(list(TOPICS), n_headlines)
    headlines = []
    for name in names:
        who, does, what = (part.split() for part in TOPICS[name])
        own = [*random.choice(who, 2), random.choice(does), *random.choice(what, 2)]
        shared = random.choice(TURNS.split(), 7)
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
texts, topics = read_news(folder) if folder else made_headlines(2000)
print(texts[0])

# %%
# Thousands of columns, never made dense
# --------------------------------------
#
# Words and pairs of words, weighted by TF-IDF. Weights are not negative, and most words
# are rare: ``loss="poisson"`` suits them, as it asks by what factor a word is more
# frequent than usual. One small hidden layer is enough for such wide data.

train, test, y_train, y_test = train_test_split(texts, topics, random_state=0)
vectorizer = TfidfVectorizer(
    sublinear_tf=True, ngram_range=(1, 2), max_features=5_000, dtype=np.float32
)
X_train, X_test = vectorizer.fit_transform(train), vectorizer.transform(test)
print(f"{X_train.shape}, of which {X_train.nnz / np.prod(X_train.shape):.2%} is stored")


def reducers(k):
    """Return the two ways to k numbers."""
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
# The map, and what a classifier reads from it
# --------------------------------------------
#
# No labels were used for the codes; the colors come after.

COLORS = dict(zip(TOPICS, ["#0072b2", "#d55e00", "#009e73", "#cc79a7"], strict=True))
BLUE, ORANGE = "#0072b2", "#d55e00"


def accuracy(k, name):
    """Return the accuracy of a linear classifier on codes of unseen texts."""
    learned, unseen = codes[k, name]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return 100 * classifier.fit(learned, y_train).score(unseen, y_test)


figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
for ax, name in zip(axes, models[2], strict=False):
    for topic, color in COLORS.items():
        points = codes[2, name][1][y_test == topic]
        ax.scatter(*points.T, s=8, color=color, alpha=0.6, lw=0, label=topic)
    ax.set(xticks=[], yticks=[], title=f"{name}, two numbers")
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
axes[2].set_title("Topics of unseen headlines")
axes[2].legend(frameon=False)
axes[2].grid(alpha=0.3)
axes[2].spines[["top", "right"]].set_visible(False)
plt.show()
