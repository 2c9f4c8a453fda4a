"""
PCA and the autoencoder on handwritten digits
=============================================

PCA encodes each row as a few numbers and reconstructs it from them by a linear map. An
autoencoder does the same by neural networks. This example fits both to the same images
of handwritten digits and compares them on test images.
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
# both. It returns the fraction of the variance of the test images that is lost when
# they are encoded and decoded. The pixels have the same unit, so they are not
# standardized.


def variance_lost(model):
    """Return the fraction of the variance of the test rows that is not explained."""
    residual = X_test - model.inverse_transform(model.transform(X_test))
    return (residual**2).sum() / ((X_test - X_train.mean(axis=0)) ** 2).sum()


sizes = [1, 2, 4, 8, 16]
pcas = {k: PCA(k).fit(X_train) for k in sizes}
autoencoders = {
    k: AutoencoderTransformer(k, random_state=0).fit(X_train) for k in sizes
}

# %%
# Two components
# --------------
#
# Two-dimensional codes can be plotted. The labels are only used for the colors. The
# plot on the right shows the variance lost by number of components.

BLUE, ORANGE = "#0072b2", "#d55e00"

figure, axes = plt.subplots(1, 3, figsize=(12, 4.1), layout="constrained")
maps = {"PCA": pcas[2], "autoencoder": autoencoders[2]}
for ax, (name, model) in zip(axes, maps.items(), strict=False):
    codes = model.transform(X_test)
    ax.scatter(*codes.T, c=y_test, cmap="tab10", s=9, alpha=0.8, linewidths=0)
    for digit in range(10):
        middle = np.median(codes[y_test == digit], axis=0)
        ax.text(
            *middle,
            digit,
            ha="center",
            va="center",
            weight="bold",
            bbox={"boxstyle": "circle,pad=0.2", "fc": "white", "alpha": 0.85, "lw": 0},
        )
    ax.set(xticks=[], yticks=[], xlabel="component 1", ylabel="component 2")
    ax.set_title(f"2 components, {name}\n{variance_lost(model):.0%} of variance lost")

ax = axes[2]
for name, models, color in [
    ("PCA", pcas, BLUE),
    ("autoencoder", autoencoders, ORANGE),
]:
    losses = [100 * variance_lost(model) for model in models.values()]
    ax.plot(sizes, losses, "o-", color=color, label=name)
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, sizes)
ax.set(xlabel="number of components", ylabel="variance lost (%)", ylim=(0, 100))
ax.set_title("Variance of test images lost,\nby number of components")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
ax.grid(alpha=0.3)
plt.show()

# %%
# Reconstructed images
# --------------------
#
# The first test image of each digit, and its reconstructions from eight components.

rows = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
images = {"original": X_test[rows]}
for name, model in {"PCA": pcas[8], "autoencoder": autoencoders[8]}.items():
    images[name] = model.inverse_transform(model.transform(X_test[rows]))

figure_8, axes = plt.subplots(3, 10, figsize=(10, 3.5), layout="constrained")
for line, (name, pictures) in zip(axes, images.items(), strict=True):
    for ax, picture in zip(line, pictures, strict=True):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
figure_8.suptitle("Test images, and their reconstructions from 8 components")
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
