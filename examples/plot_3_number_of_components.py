"""
How many components: a share of the variance, and components in order
=====================================================================

With ``PCA(n_components=0.9)`` one asks for a share of the variance rather than for a
number of components. The autoencoder can be asked the same. Its components are then
trained in order of importance, and the fewest are kept that explain the share on rows
held out during training.
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
# Ask for 90 %
# ------------

pca = PCA(n_components=0.9).fit(X_train)
autoencoder = AutoencoderTransformer(n_components=0.9, random_state=0).fit(X_train)
print("PCA        ", pca.n_components_)
print("autoencoder", autoencoder.n_components_)

# %%
# Components in order
# -------------------
#
# :class:`~skae.Ordered` asks for the order alone: the first component must do as well
# as it can on its own, the second must add what it can, and so on. An ordered code can
# be cut: zeros in place of the last components give what a smaller code gives. The
# components of a plain autoencoder are trained to be used together.

k = 16
plain = AutoencoderTransformer(k, random_state=0).fit(X_train)
ordered = AutoencoderTransformer(k, regularizer=Ordered(), random_state=0).fit(X_train)


def explained(model):
    """Return the share of unseen variance that 1, 2, ... components explain."""
    codes = model.transform(X_test)
    deviation = ((X_test - X_train.mean(axis=0)) ** 2).sum()
    kept = [codes * (np.arange(codes.shape[1]) < b) for b in range(1, k + 1)]
    residuals = [X_test - model.inverse_transform(cut) for cut in kept]
    return np.array([1 - (r**2).sum() / deviation for r in residuals])


# %%
# The curves below are measured on images that took no part in training. The height of a
# curve at b is what is left of the images when all but the first b components are set
# to zero.

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"

figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
curves = {
    "autoencoder, ordered": (ordered, ORANGE, "o-"),
    "PCA": (PCA(k).fit(X_train), BLUE, "o-"),
    "autoencoder, plain": (plain, GREY, "o--"),
}
for name, (model, color, style) in curves.items():
    shares = 100 * explained(model)
    ax.plot(range(1, k + 1), shares, style, color=color, ms=4, label=name)
ax.axhline(90, color="black", lw=0.8, ls=":")
ax.text(1, 91, "90 %", va="bottom")
ax.set_xticks(range(1, k + 1))
ax.set(xlabel="components kept", ylabel="variance explained (%)", ylim=(None, 100))
ax.set_title("Unseen digits, from the first components of a code of 16")
ax.legend(frameon=False, loc="lower right")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# ``explained_variance_ratio_`` holds what each component adds, as PCA's does. It is
# measured on rows that ``fit`` was given.

print(np.round(ordered.explained_variance_ratio_, 3))
