"""
Time series
===========

If an event occurs at a different time in each series, PCA needs a component for each
time, and a neural network does not. This example encodes series of three classes as a
few numbers, plots the codes, encodes series of different lengths, and trains a
classifier on the codes. The labels are only used for the colors and the classifier.
The series are simulated; :doc:`/benchmarks` has results for real ones.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skae import MLP, AutoencoderTransformer, ReconstructionDisplay, Recurrent


def cylinder_bell_funnel(n=900, length=48, seed=0):
    """Return noisy plateaus and ramps, up or down, at random times (Saito 1994)."""
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=n)
    start, width = rng.uniform(4, 16, (n, 1)), rng.uniform(12, 30, (n, 1))
    u = (np.arange(length) - start) / width
    shapes = np.stack([np.ones_like(u), u, 1 - u])[label, np.arange(n)]
    height = 6 + rng.standard_normal((n, 1))
    series = height * shapes * ((u >= 0) & (u <= 1)) + rng.standard_normal((n, length))
    return series, label


series, y = cylinder_bell_funnel()
names = ["cylinder", "bell", "funnel"]

# %%
# One series of each class:

STYLES = [("#0072b2", "o"), ("#e69f00", "s"), ("#009e73", "^")]

figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for label, (color, marker) in enumerate(STYLES):
    one = series[y == label][0]
    ax.plot(one, color=color, marker=marker, ms=4, label=names[label])
ax.set(xlabel="step", ylabel="value", title="One series of each class")
ax.legend()
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# A recurrent network requires rows of shape (length, features). For other networks, the
# rows are flattened.

X = series[:, :, np.newaxis]
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=0.6, random_state=0
)

# %%
# Two components
# --------------
#
# A recurrent network processes a series step by step. This takes more time, so the
# network is small and trained for fewer epochs. On the simulated series, the fully
# connected network explains more of the variance.


def flat(series):
    return series.reshape(len(series), -1)


networks = {
    "MLP()": {"network": MLP()},
    "Recurrent(32)": {
        "network": Recurrent(hidden_size=32),
        "max_iter": 40,
    },
}
pca = PCA(2).fit(flat(X_train))
codes = {"PCA": pca.transform(flat(X_test))}
back = pca.inverse_transform(codes["PCA"])
residual, deviation = flat(X_test) - back, flat(X_test) - pca.mean_
explained = {"PCA": 1 - (residual**2).sum() / (deviation**2).sum()}
for name, parameters in networks.items():
    model = AutoencoderTransformer(2, random_state=0, **parameters).fit(X_train)
    codes[name], explained[name] = model.transform(X_test), model.score(X_test)

figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.4), layout="constrained")
for ax, name in zip(axes, codes, strict=True):
    for label, (color, marker) in enumerate(STYLES):
        points = codes[name][y_test == label].T
        ax.scatter(*points, s=12, c=color, marker=marker, lw=0, label=names[label])
    ax.set(xticks=[], yticks=[], title=f"{name}\n{explained[name]:.0%} explained")
    ax.title.set_size("medium")
handles, labels = axes[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=3, markerscale=2)
figure.suptitle("Two-dimensional codes of test series")
plt.show()

# %%
# Series of different lengths
# ---------------------------
#
# Shorter series are padded with NaN at the end. The last column of the codes is the
# length, so the reconstructions are padded in the same way.

rng = np.random.default_rng(0)
length = X.shape[1]


def cut(series):
    """Return a copy in which every series is truncated to a random length."""
    lengths = rng.integers(length // 2, length + 1, (len(series), 1))
    after_the_end = np.arange(length) >= lengths
    return np.where(after_the_end[:, :, np.newaxis], np.nan, series)


C_train, C_test = cut(X_train), cut(X_test)
model = AutoencoderTransformer(9, random_state=0).fit(C_train)

chosen = [np.flatnonzero(y_test == label)[:2] for label in np.unique(y_test)]
chosen = np.concatenate(chosen)
display = ReconstructionDisplay.from_estimator(model, C_test[chosen])
for ax, row in zip(display.axes_.flat, chosen, strict=True):
    ax.set_title(names[y_test[row]], fontsize="medium")
display.figure_.suptitle("Test series of different lengths, from 9 components")
plt.show()

# %%
# A classifier of the codes
# -------------------------
#
# The transformer is the first step of a pipeline; for PCA, the rows are flattened
# before. With few components, the classifier is more accurate on the codes of the
# autoencoder; with eight components, the accuracies are similar.


def accuracy(*steps):
    """Return the accuracy of nearest neighbors on the codes of test series."""
    pipeline = make_pipeline(*steps, StandardScaler(), KNeighborsClassifier(5))
    return pipeline.fit(X_train, y_train).score(X_test, y_test)


sizes = [2, 4, 8]
accuracies = {
    "PCA": [100 * accuracy(FunctionTransformer(flat), PCA(k)) for k in sizes],
    "autoencoder": [
        100 * accuracy(AutoencoderTransformer(k, random_state=0)) for k in sizes
    ],
}
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.plot(sizes, accuracies["PCA"], "s-", color="#0072b2", label="PCA")
ax.plot(sizes, accuracies["autoencoder"], "o-", color="#d55e00", label="autoencoder")
ax.set(xlabel="number of components", ylabel="accuracy (%)", xticks=sizes)
ax.set_title("Nearest neighbors on the codes of test series")
ax.legend(loc="lower right")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
