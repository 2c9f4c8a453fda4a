"""
Sampling new rows and interpolating between rows
================================================

The decoder of an autoencoder maps codes to rows. Codes with the same distribution as
those of the training rows are mapped to rows that are similar to the training rows.
Here, the training rows are images of handwritten digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from skae import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
model = AutoencoderTransformer(10, random_state=0).fit(X)

# %%
# Samples
# -------
#
# ``sample`` draws codes from a Gaussian mixture that is fitted to the codes of training
# rows, and decodes them.


def show(ax, images, title):
    """Plot images in a square grid."""
    side = int(np.sqrt(len(images)))
    spaced = np.pad(images.reshape(side, side, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    picture = spaced.transpose(0, 2, 1, 3).reshape(10 * side, 10 * side)
    ax.imshow(picture, cmap="gray_r", vmin=0, vmax=16)
    ax.set(xticks=[], yticks=[], title=title)


pca = PCA(10, whiten=True).fit(X)
normal = np.random.default_rng(0).standard_normal((64, 10))

figure, ax = plt.subplots(figsize=(4.2, 4.4), layout="constrained")
show(ax, model.sample(64, random_state=0), "samples of the autoencoder")
plt.show()

# %%
# For comparison: training images, and samples of PCA, whose ten components are drawn
# from a Gaussian distribution. Fewer of these can be read as a digit.

figure_2, axes = plt.subplots(1, 2, figsize=(7.4, 3.9), layout="constrained")
show(axes[0], X[:64], "training images")
show(axes[1], pca.inverse_transform(normal), "samples of PCA")
plt.show()

# %%
# The samples are not copies of training images: the distance from a sample to the
# nearest training image is slightly larger than that from a training image to the
# nearest other one.

new = model.sample(1000, random_state=0)
nearest = NearestNeighbors(n_neighbors=2).fit(X)
print("nearest training image, medians")
print(f"  of a sample          {np.median(nearest.kneighbors(new)[0][:, 0]):.1f}")
print(f"  of a training image  {np.median(nearest.kneighbors(X)[0][:, 1]):.1f}")

# %%
# Interpolation
# -------------
#
# ``interpolate`` decodes the points on a straight line between the codes of two rows.
# On a straight line between the images themselves, one image fades into the other.

pairs = [(0, 6), (3, 8), (1, 7), (4, 9)]
n_steps = 9

figure_3, axes = plt.subplots(
    len(pairs), 2, figsize=(7.4, 2.4), layout="constrained", sharex=True
)
for line, (start, end) in zip(axes, pairs, strict=True):
    first, last = X[y == start][0], X[y == end][0]
    paths = [
        model.interpolate(first, last, n_steps),
        np.linspace(first, last, n_steps),
    ]
    for ax, path in zip(line, paths, strict=True):
        strip = path.reshape(n_steps, 8, 8).transpose(1, 0, 2).reshape(8, -1)
        ax.imshow(strip, cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(f"{start} to {end}", rotation=0, ha="right", va="center")
axes[0, 0].set_title("interpolation of codes")
axes[0, 1].set_title("interpolation of pixels")
plt.show()

# %%
# Codes of samples
# ----------------
#
# Two-dimensional codes can be plotted. The codes of the samples lie in the same regions
# as those of the images. The Gaussian mixture makes the regions rounder, and a few
# samples lie outside of them.

flat = AutoencoderTransformer(2, random_state=0).fit(X)
figure_4, axes = plt.subplots(
    1, 2, figsize=(7.4, 4), layout="constrained", sharex=True, sharey=True
)
codes = flat.transform(X)
axes[0].scatter(*codes.T, c=y, cmap="tab10", s=7, linewidths=0)
for digit in range(10):
    middle = np.median(codes[y == digit], axis=0)
    box = {"boxstyle": "circle,pad=0.15", "fc": "white", "alpha": 0.85, "lw": 0}
    axes[0].text(*middle, digit, ha="center", va="center", weight="bold", bbox=box)
axes[0].set_title("codes of the images, by digit")
drawn = flat.transform(flat.sample(len(X), random_state=0))
axes[1].scatter(*drawn.T, color="0.35", s=7, linewidths=0)
axes[1].set_title("codes of samples")
for ax in axes:
    ax.set(xticks=[], yticks=[], xlabel="component 1", ylabel="component 2")
plt.show()
