"""
Denoising images of digits
==========================

A code with few components cannot represent noise, so PCA and any autoencoder remove
some of it. A denoising autoencoder is trained for this: noise is added to the rows
before they are encoded, and the loss compares the reconstruction with the original
rows. This example compares the three on noisy test images of handwritten digits.
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
default = AutoencoderTransformer(16, random_state=0).fit(X_train)

# %%
# The noise is a parameter. Its scale is relative to the standardized data: a scale of 1
# is the root mean square of the centered images.

denoising = AutoencoderTransformer(16, noise=GaussianNoise(1.0), random_state=0)
denoising.fit(X_train)

# %%
# Denoised images
# ---------------
#
# A noise scale of 1 is ``scale_`` in the unit of the pixels.


def noisy(images, strength, seed=0):
    """Return images with Gaussian noise; its strength is a multiple of `scale_`."""
    normal = np.random.default_rng(seed).standard_normal(images.shape)
    return images + strength * denoising.scale_ * normal


def denoised(model, images):
    """Return the reconstructions of images."""
    return model.inverse_transform(model.transform(images))


models = {"PCA": pca, "autoencoder": default, "denoising autoencoder": denoising}
rows = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
images = {"clean": X_test[rows], "noisy": noisy(X_test, 1.0)[rows]}
images |= {name: denoised(model, images["noisy"]) for name, model in models.items()}

figure, axes = plt.subplots(5, 10, figsize=(7.4, 4.2), layout="constrained")
for line, (name, pictures) in zip(axes, images.items(), strict=True):
    for ax, picture in zip(line, pictures, strict=True):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name.replace(" ", "\n"), rotation=0, ha="right", va="center")
figure.suptitle("Noisy test images, and their reconstructions from 16 components")
plt.show()

# %%
# Strength of the noise
# ---------------------
#
# The error is the squared deviation from the clean images, as a percentage of their
# variance. The default autoencoder has the lowest error of the three for weak noise,
# and a higher error than PCA for strong noise. The error of the denoising autoencoder
# is higher without noise, and increases least with the strength of the noise. For the
# weakest noise, the noisy images themselves have the lowest error.


def error(output):
    """Return squared deviations from the clean images relative to their variance."""
    return ((output - X_test) ** 2).sum() / ((X_test - X_test.mean(axis=0)) ** 2).sum()


strengths = np.linspace(0, 1.5, 7)
styles = {"#0072b2": "s-", "#e69f00": "^-", "#d55e00": "o-"}

figure_2, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
for (color, style), (name, model) in zip(styles.items(), models.items(), strict=True):
    errors = [
        100 * error(denoised(model, noisy(X_test, strength))) for strength in strengths
    ]
    ax.plot(strengths, errors, style, color=color, label=name)
noisy_errors = [100 * error(noisy(X_test, strength)) for strength in strengths]
ax.plot(strengths, noisy_errors, "--", color="0.5", label="noisy images")
ax.axvline(1.0, color="0.8", zorder=0)
ax.text(1.02, 3, "noise in training", color="0.35")
ax.set(xlabel="strength of the noise", ylabel="error (% of variance)", ylim=(0, 100))
ax.set_title("Error relative to the clean images")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
ax.grid(alpha=0.3)
# sphinx_gallery_thumbnail_number = 2
plt.show()

# %%
# Training on noisy images
# ------------------------
#
# Above, all models were trained on clean images. If only noisy images are available,
# the validation images are noisy too. Here, no network is significantly better than PCA
# at reconstructing these, so both autoencoders fall back to PCA.

noisy_train, noisy_test = noisy(X_train, 1.0, seed=1), noisy(X_test, 1.0)
print(f"{'noisy images':<22} {error(noisy_test):.3f}")
for name, model in models.items():
    print(f"{name:<22} {error(denoised(model.fit(noisy_train), noisy_test)):.3f}")
