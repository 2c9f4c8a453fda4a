"""
Denoising: noisy digits in, clean ones out
==========================================

A narrow code has little room for noise, so PCA and every autoencoder remove some. A
denoising autoencoder is trained for it: its rows get noise before they are encoded, and
must come back clean. Here all three see noisy images of handwritten digits that none
was trained on.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skae import AutoencoderTransformer, GaussianNoise

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

pca = PCA(16).fit(X_train)
plain = AutoencoderTransformer(16, random_state=0).fit(X_train)

# %%
# The noise is a parameter, in the unit of the standardized data: with 1 it is as strong
# as the images differ from their mean.

denoising = AutoencoderTransformer(16, noise=GaussianNoise(1.0), random_state=0)
denoising.fit(X_train)

# %%
# What comes back
# ---------------
#
# ``scale_`` is the unit of the noise in that of the pixels.


def noisy(images, strength, seed=0):
    """Return images with noise, as many times the scale of the data as told."""
    normal = np.random.default_rng(seed).standard_normal(images.shape)
    return images + strength * denoising.scale_ * normal


def denoised(model, images):
    """Return what a model makes of images."""
    return model.inverse_transform(model.transform(images))


models = {"PCA": pca, "autoencoder": plain, "denoising autoencoder": denoising}
rows = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
images = {"clean": X_test[rows], "noisy": noisy(X_test, 1.0)[rows]}
images |= {name: denoised(model, images["noisy"]) for name, model in models.items()}

figure, axes = plt.subplots(5, 10, figsize=(10, 5.6), layout="constrained")
for line, (name, pictures) in zip(axes, images.items(), strict=True):
    for ax, picture in zip(line, pictures, strict=True):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name.replace(" ", "\n"), rotation=0, ha="right", va="center")
figure.suptitle("Noisy digits, and what comes back from 16 numbers each")
plt.show()

# %%
# How much noise
# --------------
#
# The error is that against the clean images, as a share of their variance. The plain
# autoencoder is the best of the three where there is little noise, and worse than PCA
# where there is much. The one that was trained for noise loses some detail without any,
# and its error grows the least. Weak noise is better left as it is.


def error(output):
    """Return squared deviations from the clean images as a share of their variance."""
    return ((output - X_test) ** 2).sum() / ((X_test - X_test.mean(axis=0)) ** 2).sum()


strengths = np.linspace(0, 1.5, 7)
colors = ["#0072b2", "#e69f00", "#d55e00"]

figure_2, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
for color, (name, model) in zip(colors, models.items(), strict=True):
    errors = [
        100 * error(denoised(model, noisy(X_test, strength))) for strength in strengths
    ]
    ax.plot(strengths, errors, "o-", color=color, label=name)
untouched = [100 * error(noisy(X_test, strength)) for strength in strengths]
ax.plot(strengths, untouched, "--", color="0.5", label="noise left as it is")
ax.axvline(1.0, color="0.8", zorder=0)
ax.text(1.02, 3, "noise in training", color="0.5")
ax.set(xlabel="strength of the noise", ylabel="error (% of variance)", ylim=(0, 100))
ax.set_title("Error against the clean images")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
ax.grid(alpha=0.3)
plt.show()

# %%
# Without clean images
# --------------------
#
# Above, all models learned from clean images. Where there are only noisy ones, those
# by which training is judged are noisy too. No network is clearly better than PCA at
# giving these back, so what ``fit`` returns is PCA.

only_noisy, judged = noisy(X_train, 1.0, seed=1), noisy(X_test, 1.0)
print(f"{'noise left as it is':<22} {error(judged):.3f}")
for name, model in models.items():
    print(f"{name:<22} {error(denoised(model.fit(only_noisy), judged)):.3f}")
