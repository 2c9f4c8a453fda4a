"""
Convolutional networks for images
=================================

For PCA and for fully connected layers, the order of the pixels of an image does not
matter. Convolutions combine neighboring pixels, with the same weights at every
position. This example compares the three on handwritten digits, for encoding images as
8 numbers and for denoising.

The digits of scikit-learn have 8 x 8 pixels. For larger images, :doc:`/benchmarks`
compares the same networks on MNIST.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skae import MLP, AutoencoderTransformer, Conv, GaussianNoise

X = load_digits().data / 16
X_train, X_test = train_test_split(X, random_state=0)

# %%
# The network is a parameter. The argument of ``Conv`` is the shape of a row: channels,
# height and width. The rows themselves are flat, as for PCA.

networks = {"MLP": MLP(), "Conv": Conv((1, 8, 8))}
models = {"PCA": PCA(8).fit(X_train)}
for name, network in networks.items():
    models[name] = AutoencoderTransformer(
        8, network=network, max_iter=60, random_state=0
    )
    models[name].fit(X_train)

# %%
# Eight components
# ----------------
#
# The error is the squared error as a percentage of the variance of the test images.


def reconstructed(model, images):
    """Return the reconstructions of images."""
    return model.inverse_transform(model.transform(images))


def error(output):
    """Return the squared error as a percentage of the variance of the images."""
    return 100 * ((output - X_test) ** 2).sum() / ((X_test - X_test.mean(0)) ** 2).sum()


def grid(lines, title):
    """Plot rows of ten images each."""
    figure, axes = plt.subplots(
        len(lines), 10, figsize=(7.4, 0.85 * len(lines)), layout="constrained"
    )
    for line, (name, images) in zip(axes, lines.items(), strict=True):
        for ax, image in zip(line, images[:10], strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title)


outputs = {name: reconstructed(model, X_test) for name, model in models.items()}
labels = {
    f"{name}, {error(output):.1f} %": output[:10] for name, output in outputs.items()
}
title = "Reconstructions from 8 components, and errors"
grid({"images": X_test[:10], **labels}, title)
plt.show()

# %%
# Denoising
# ---------
#
# Networks learn to remove noise if it is added to their input during training. PCA is
# not trained for this; it removes the noise that 8 components cannot represent.

noise = models["MLP"].scale_ * np.random.default_rng(0).standard_normal(X_test.shape)
noisy = X_test + noise
denoised = {"PCA": reconstructed(models["PCA"], noisy)}
for name, model in list(models.items())[1:]:
    model.set_params(noise=GaussianNoise(1.0)).fit(X_train)
    denoised[name] = reconstructed(model, noisy)

labels = {
    f"{name}, {error(output):.0f} %": output[:10] for name, output in denoised.items()
}
title = "Reconstructions of noisy images, and errors"
grid({"noisy": noisy[:10], **labels}, title)
plt.show()

# %%
# For such small images, both networks have much lower errors than PCA. Their errors are
# similar, and the fully connected network is faster. Convolutions are useful for images
# with more pixels.
