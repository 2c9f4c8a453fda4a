"""
All variants on the same digits
===============================

With a noise or a regularizer, the same estimator is a denoising, sparse, contractive or
variational autoencoder. Here, each variant encodes images of handwritten digits as two
numbers, so that the codes can be plotted. The labels are only used for the plots.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skae import (
    MMD,
    Adversarial,
    AutoencoderTransformer,
    Contractive,
    GaussianNoise,
    MaskingNoise,
    Ordered,
    Sparse,
    SwapNoise,
    TopK,
    Variational,
)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=0.5, random_state=0
)

# %%
# Eleven variants
# ---------------

variants = {
    "default": {},
    "GaussianNoise(1.0)": {"noise": GaussianNoise(1.0)},
    "MaskingNoise(0.3)": {"noise": MaskingNoise(0.3)},
    "SwapNoise(0.15)": {"noise": SwapNoise(0.15)},
    "Ordered()": {"regularizer": Ordered()},
    "Sparse(0.1)": {"regularizer": Sparse(0.1)},
    "TopK(1)": {"regularizer": TopK(1)},
    "Contractive(1)": {"regularizer": Contractive(1)},
    "Variational()": {"regularizer": Variational()},
    "MMD(10)": {"regularizer": MMD(10)},
    "Adversarial()": {"regularizer": Adversarial()},
}
models = {"PCA": PCA(2).fit(X_train)}
for name, parts in variants.items():
    models[name] = AutoencoderTransformer(2, random_state=0, **parts).fit(X_train)

# %%
# Codes of test images
# --------------------
#
# Each image is plotted as its digit. Each title shows the share of the variance that
# the two components explain. ``TopK(1)`` keeps one component of each code, so the codes
# lie on the axes. The last three variants have a standard normal prior; the circles
# contain 39 % and 86 % of this distribution.


def explained(model):
    """Return the share of the variance of the test images that is explained."""
    residual = X_test - model.inverse_transform(model.transform(X_test))
    return 1 - (residual**2).sum() / ((X_test - X_train.mean(axis=0)) ** 2).sum()


figure, axes = plt.subplots(4, 3, figsize=(7.4, 10), layout="constrained")
for ax, (name, model) in zip(axes.flat, models.items(), strict=True):
    codes = model.transform(X_test)
    for digit in range(10):
        points = codes[y_test == digit].T
        ax.scatter(*points, marker=f"${digit}$", s=26, linewidths=0)
    ax.set(xticks=[], yticks=[], title=f"{name}: {explained(model):.0%}")
    ax.set_aspect("equal", adjustable="datalim")
for ax in axes.flat[-3:]:
    for radius in (1, 2):
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, color="0.3", lw=1))
figure.suptitle("Codes of test images, and the variance explained by 2 components")
plt.show()

# %%
# The same percentages in order. Each variant has a property that the default does not
# have, such as a prior to sample from, and most explain about as much of the variance.
# ``TopK(1)`` explains less, as one component of each code is zero.

percent = {name: 100 * explained(model) for name, model in models.items()}
names = sorted(percent, key=percent.get)
colors = ["#d55e00" if name == "default" else "0.6" for name in names]
# sphinx_gallery_thumbnail_number = 2
figure_2, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
ax.barh(names, [percent[name] for name in names], color=colors)
ax.set(xlabel="variance explained (%)", title="Two components, test images")
ax.grid(axis="x", alpha=0.3)
ax.set_axisbelow(True)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
