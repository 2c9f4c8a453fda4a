"""
Text: paragraphs of documentation
=================================

TF-IDF represents a text by thousands of weights, most of which are zero. Such sparse
matrices are usually reduced by ``TruncatedSVD`` (latent semantic analysis); the
autoencoder accepts them too. The texts in this example are paragraphs from the
docstrings of four libraries. Can a classifier find the library of a paragraph from a
few components?
"""

import inspect
import re

import matplotlib.axes
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import MLP, AutoencoderTransformer

# %%
# Texts
# -----
#
# From each library, 600 different paragraphs are drawn. The texts depend on the
# versions of the libraries that are installed.

LIBRARIES = {
    "numpy": np,
    "pandas": pd.DataFrame,
    "matplotlib": matplotlib.axes.Axes,
    "torch": torch.nn,
}


def paragraphs(library, n=600):
    """Return random paragraphs of at least 100 characters from the docstrings."""
    public = [name for name in sorted(dir(library)) if not name.startswith("_")]
    docs = [inspect.getdoc(getattr(library, name)) or "" for name in public]
    texts = {text for doc in docs for text in re.split(r"\n\s*\n", doc)}
    texts = sorted(text for text in texts if len(text) >= 100 and ">>>" not in text)
    return np.random.default_rng(0).choice(texts, n, replace=False)


texts = np.concatenate([paragraphs(library) for library in LIBRARIES.values()])
labels = np.repeat(list(LIBRARIES), 600)
print(texts[0])

# %%
# Sparse matrices with thousands of columns
# -----------------------------------------
#
# Each column is the TF-IDF weight of a word. The weights are non-negative, and most
# words are rare. ``loss="poisson"`` is suitable for such data, because it models the
# ratio between the frequency of a word in a text and its mean frequency. One small
# hidden layer is sufficient.

train, test, y_train, y_test = train_test_split(
    texts, labels, stratify=labels, random_state=0
)
vectorizer = TfidfVectorizer(
    sublinear_tf=True, stop_words="english", min_df=2, dtype=np.float32
)
X_train, X_test = vectorizer.fit_transform(train), vectorizer.transform(test)
density = X_train.nnz / np.prod(X_train.shape)
print(f"{X_train.shape}, {density:.2%} of the entries are nonzero")

sizes = [2, 4, 8]
svds = {k: TruncatedSVD(k, random_state=0).fit(X_train) for k in sizes}
autoencoders = {
    k: AutoencoderTransformer(
        k, loss="poisson", network=MLP((64,)), max_iter=25, random_state=0
    ).fit(X_train)
    for k in sizes
}

# %%
# Accuracy of a classifier of the codes
# -------------------------------------
#
# The classifier is trained on the codes of the training texts. One text in four is from
# each library, so random guesses are correct for 25 %. The dashed line is the accuracy
# with all columns.


def accuracy(model):
    """Return the accuracy of a classifier on the codes of test texts, in percent."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(model.transform(X_train), y_train)
    return 100 * classifier.score(model.transform(X_test), y_test)


all_columns = LogisticRegression(max_iter=1000).fit(X_train, y_train)
all_columns = 100 * all_columns.score(X_test, y_test)

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for name, models, color, marker in [
    ("TruncatedSVD", svds, "#0072b2", "s"),
    ("autoencoder", autoencoders, "#d55e00", "o"),
]:
    values = [accuracy(model) for model in models.values()]
    ax.plot(sizes, values, marker=marker, color=color, label=name)
    print(
        f"{name:<14}", *(f"{k}: {v:.0f} %" for k, v in zip(sizes, values, strict=True))
    )
print(f"all columns    {all_columns:.0f} %")
ax.axhline(all_columns, color="0.4", ls="--", label=f"all {X_train.shape[1]} columns")
ax.set(xlabel="number of components", ylabel="accuracy on test texts (%)")
ax.set(xticks=sizes, ylim=(25, 100))
ax.set_title("Which library is a paragraph from?")
ax.legend(loc="lower right")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Two components
# --------------
#
# The codes of the test texts. The labels are only used for the colors and the
# classifier, not for the codes.

STYLES = {
    "numpy": ("#0072b2", "o"),
    "pandas": ("#e69f00", "s"),
    "matplotlib": ("#009e73", "^"),
    "torch": ("#cc79a7", "D"),
}

figure_2, axes = plt.subplots(1, 2, figsize=(7.4, 4.2), layout="constrained")
for ax, (name, model) in zip(
    axes, {"TruncatedSVD": svds[2], "autoencoder": autoencoders[2]}.items(), strict=True
):
    codes = model.transform(X_test)
    for library, (color, marker) in STYLES.items():
        points = codes[y_test == library].T
        ax.scatter(*points, s=14, color=color, marker=marker, lw=0, label=library)
    ax.set(xticks=[], yticks=[], title=name, xlabel="component 1", ylabel="component 2")
handles, names = axes[0].get_legend_handles_labels()
figure_2.legend(handles, names, loc="outside lower center", ncols=4, markerscale=1.5)
plt.show()
