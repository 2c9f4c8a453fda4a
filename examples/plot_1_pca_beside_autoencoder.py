"""
Handwritten digits: what a small code keeps, with PCA and with an autoencoder
=============================================================================

PCA describes each row by a few numbers, and gets the row back by a linear map. An
autoencoder describes it by as many numbers and gets it back by a neural network. Here
both see the same images of handwritten digits, and are judged by images that neither
has seen.
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
# Codes of several sizes
# ----------------------
#
# Both are transformers of scikit-learn, with the same methods. So one function fits and
# judges either: it returns the share of the held-out images' variance that is lost when
# they are encoded and decoded. The pixels share a unit, so there is nothing to
# standardise.


def variance_lost(model):
    """Return the share of the held-out rows' variance that a code does not keep."""
    residual = X_test - model.inverse_transform(model.transform(X_test))
    return (residual**2).sum() / ((X_test - X_train.mean(axis=0)) ** 2).sum()


sizes = [1, 2, 4, 8, 16]
pcas = {k: PCA(k).fit(X_train) for k in sizes}
autoencoders = {
    k: AutoencoderTransformer(k, random_state=0).fit(X_train) for k in sizes
}

# %%
# Two numbers for an image
# ------------------------
#
# With two components, the code is a map of the images. No labels were used to draw it;
# the colors come after. On the right, the variance lost by the codes of each size.

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
ax.set_title("Lost on held-out images,\nby size of the code")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
ax.grid(alpha=0.3)
plt.show()

# %%
# Eight numbers for an image
# --------------------------
#
# What the loss means to the eye: held-out images, and what comes back from eight
# numbers each.

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
figure_8.suptitle("Held-out digits, and what comes back from 8 numbers each")
plt.show()

# %%
# Why it is not worse
# -------------------
#
# The autoencoder starts as PCA: before the first step of training, both give the same
# reconstruction. With ``max_iter=0`` they are equal.

start = AutoencoderTransformer(8, max_iter=0, random_state=0).fit(X_train)
print(f"PCA          {variance_lost(pcas[8]):.4f}")
print(f"before step  {variance_lost(start):.4f}")
print(f"autoencoder  {variance_lost(autoencoders[8]):.4f}")
