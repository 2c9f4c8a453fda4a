"""
PCA and the autoencoder on handwritten digits
=============================================

PCA encodes each row as a few numbers and reconstructs it from them by a linear map. An
autoencoder does the same with neural networks. This example fits both to the same
images of handwritten digits and compares them on test images.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skae import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Numbers of components
# ---------------------
#
# Both are scikit-learn transformers with the same methods, so one function evaluates
# both. It returns the share of the variance of the test images that is lost when
# they are encoded and decoded. The pixels have the same unit, so they are not
# standardized.


def variance_lost(model):
    """Return the share of the variance of the test rows that is not explained."""
    residual = X_test - model.inverse_transform(model.transform(X_test))
    return (residual**2).sum() / ((X_test - X_train.mean(axis=0)) ** 2).sum()


sizes = [1, 2, 4, 8, 16]
pcas = {k: PCA(k).fit(X_train) for k in sizes}
autoencoders = {
    k: AutoencoderTransformer(k, random_state=0).fit(X_train) for k in sizes
}

# %%
# The plot shows the variance lost by number of components, on a logarithmic scale.

COLORS = {"PCA": "#0072b2", "autoencoder": "#d55e00"}


def draw_losses(ax):
    """Plot the variance lost by number of components."""
    for name, models in {"PCA": pcas, "autoencoder": autoencoders}.items():
        losses = [100 * variance_lost(model) for model in models.values()]
        marker = "s" if name == "PCA" else "o"
        ax.plot(sizes, losses, marker=marker, color=COLORS[name], label=name)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, sizes)
    ax.set(xlabel="number of components", ylabel="variance lost (%)", ylim=(0, 100))
    ax.legend()
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)


figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
draw_losses(ax)
ax.set_title("Variance of test images lost")
plt.show()

# %%
# Two components
# --------------
#
# Two-dimensional codes can be plotted. Each point is a test image, and the numbers are
# at the median of the images of each digit. The labels are only used for the colors and
# the numbers.


def draw_map(ax, model):
    """Plot the codes of the test images, colored by digit."""
    codes = model.transform(X_test)
    ax.scatter(*codes.T, c=y_test, cmap="tab10", s=12, alpha=0.8, linewidths=0)
    for digit in range(10):
        middle = np.median(codes[y_test == digit], axis=0)
        box = {"boxstyle": "circle,pad=0.15", "fc": "white", "alpha": 0.85, "lw": 0}
        ax.text(*middle, digit, ha="center", va="center", weight="bold", bbox=box)
    ax.set(xticks=[], yticks=[], xlabel="component 1", ylabel="component 2")


maps = {"PCA": pcas[2], "autoencoder": autoencoders[2]}
figure_2, axes = plt.subplots(1, 2, figsize=(7.4, 4), layout="constrained")
for ax, (name, model) in zip(axes, maps.items(), strict=True):
    draw_map(ax, model)
    ax.set_title(f"{name}: {variance_lost(model):.0%} of variance lost")
plt.show()

# %%
# Reconstructed images
# --------------------
#
# The first test image of each digit, and its reconstructions from eight components.
# PCA blurs most of the images, and the autoencoder fewer of them.

rows = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
images = {"original": X_test[rows]}
for name, model in {"PCA": pcas[8], "autoencoder": autoencoders[8]}.items():
    images[name] = model.inverse_transform(model.transform(X_test[rows]))

figure_3, axes = plt.subplots(3, 10, figsize=(7.4, 2.8), layout="constrained")
for line, (name, pictures) in zip(axes, images.items(), strict=True):
    for ax, picture in zip(line, pictures, strict=True):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
figure_3.suptitle("Test images, and their reconstructions from 8 components")
plt.show()

# %%
# Initialization with PCA
# -----------------------
#
# Training starts at the PCA solution: before the first step, the reconstructions are
# those of PCA. With ``max_iter=0``, the autoencoder is not trained and remains PCA.

start = AutoencoderTransformer(8, max_iter=0, random_state=0).fit(X_train)
print(f"PCA                   {variance_lost(pcas[8]):.4f}")
print(f"autoencoder, initial  {variance_lost(start):.4f}")
print(f"autoencoder, trained  {variance_lost(autoencoders[8]):.4f}")
