"""
Number of components of images
==============================

``PCA(n_components=0.9)`` selects the smallest number of components that explain 90 % of
the variance. The autoencoder has the same option: its components are then trained in
order of importance, and the smallest number that explains this share of the variance
of the validation rows is kept.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skae import AutoencoderTransformer, Ordered

X, _ = load_digits(return_X_y=True)
X_train, X_test = train_test_split(X, random_state=0)

# %%
# 90 % of the variance
# --------------------

pca = PCA(n_components=0.9).fit(X_train)
autoencoder = AutoencoderTransformer(n_components=0.9, random_state=0).fit(X_train)
print("PCA        ", pca.n_components_)
print("autoencoder", autoencoder.n_components_)

# %%
# Ordered components
# ------------------
#
# The regularizer :class:`~skae.Ordered` orders the components by importance, for a
# fixed number of components: the first components of a code, on their own, reconstruct
# the row as well as possible. Such a code can be truncated, by setting the last
# components to zero. By default, the components are trained to be used together.

k = 16
default = AutoencoderTransformer(k, random_state=0).fit(X_train)
ordered = AutoencoderTransformer(k, regularizer=Ordered(), random_state=0).fit(X_train)


def explained(model):
    """Return the share of the variance that the first 1, 2, ... components explain."""
    codes = model.transform(X_test)
    deviation = ((X_test - X_train.mean(axis=0)) ** 2).sum()
    truncated = [codes * (np.arange(codes.shape[1]) < b) for b in range(1, k + 1)]
    residuals = [X_test - model.inverse_transform(codes) for codes in truncated]
    return np.array([1 - (r**2).sum() / deviation for r in residuals])


# %%
# Each curve shows the share of the variance of the test images that is explained
# when all but the first components are set to zero.

BLUE, ORANGE, GRAY = "#0072b2", "#d55e00", "#777777"

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
curves = {
    "autoencoder, ordered": (ordered, ORANGE, "o-"),
    "PCA": (PCA(k).fit(X_train), BLUE, "s-"),
    "autoencoder, default": (default, GRAY, "^--"),
}
for name, (model, color, style) in curves.items():
    percent = 100 * explained(model)
    ax.plot(range(1, k + 1), percent, style, color=color, ms=4, label=name)
ax.axhline(90, color="black", lw=0.8, ls=":")
ax.text(1, 91, "90 %", va="bottom")
ax.set_xticks(range(1, k + 1))
ax.set(xlabel="components kept", ylabel="variance explained (%)", ylim=(None, 100))
ax.set_title("Test images, reconstructed from the first of 16 components")
ax.legend(frameon=False, loc="lower right")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# As for PCA, ``explained_variance_ratio_`` contains the share of the variance that each
# component adds. It is computed on training rows.

print(np.round(ordered.explained_variance_ratio_, 3))
