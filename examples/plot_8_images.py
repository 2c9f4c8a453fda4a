"""
Images: what convolutions see
=============================

To PCA and to fully connected layers an image is a row of numbers in any order.
Convolutions know which pixels are neighbours, and apply the same weights everywhere.
Here all three compress handwritten digits to 8 numbers, and remove noise from them.

The bundled digits have 8 x 8 pixels. With ``--data FOLDER``, a folder with mnist.npz,
the script runs on images of 28 x 28 as well, where neighbourhood tells more.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skae import MLP, AutoencoderTransformer, Conv, GaussianNoise

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, help="folder with mnist.npz")
folder = parser.parse_known_args()[0].data

if folder:
    with np.load(folder / "mnist.npz", allow_pickle=False) as arrays:
        X = arrays["X_train"][:6000].reshape(-1, 784) / 255
else:
    X = load_digits().data / 16
X_train, X_test = train_test_split(X, random_state=0)
side = int(np.sqrt(X.shape[1]))

# %%
# The network is a parameter. ``Conv`` is told what a row is: channels, height, width.
# Rows stay flat, so everything else is as for tables.

networks = {"MLP": MLP(), "Conv": Conv((1, side, side))}
models = {"PCA": PCA(8).fit(X_train)}
for name, network in networks.items():
    models[name] = AutoencoderTransformer(
        8, network=network, max_iter=60, random_state=0
    )
    models[name].fit(X_train)

# %%
# Eight numbers an image
# ----------------------


def reconstructed(model, images):
    """Return what a model makes of images."""
    return model.inverse_transform(model.transform(images))


def error(output):
    """Return squared errors as a percentage of the variance of the images."""
    return 100 * ((output - X_test) ** 2).sum() / ((X_test - X_test.mean(0)) ** 2).sum()


def grid(lines, title):
    """Draw lines of ten images each."""
    figure, axes = plt.subplots(
        len(lines), 10, figsize=(10, 1.15 * len(lines)), layout="constrained"
    )
    for line, (name, images) in zip(axes, lines.items(), strict=True):
        for ax, image in zip(line, images[:10], strict=True):
            ax.imshow(image.reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title)


outputs = {name: reconstructed(model, X_test) for name, model in models.items()}
labels = {
    f"{name}, {error(output):.1f} %": output[:10] for name, output in outputs.items()
}
grid({"images": X_test[:10], **labels}, "Unseen digits from 8 numbers each, and errors")
plt.show()

# %%
# Without noise
# -------------
#
# Trained with noise on their input, networks learn to remove it. PCA has no such
# training; what it removes is what does not fit into 8 components.

noise = models["MLP"].scale_ * np.random.default_rng(0).standard_normal(X_test.shape)
noisy = X_test + noise
denoised = {"PCA": reconstructed(models["PCA"], noisy)}
for name, model in list(models.items())[1:]:
    model.set_params(noise=GaussianNoise(1.0)).fit(X_train)
    denoised[name] = reconstructed(model, noisy)

labels = {
    f"{name}, {error(output):.0f} %": output[:10] for name, output in denoised.items()
}
grid({"noisy": noisy[:10], **labels}, "What comes back from noisy digits, and errors")
plt.show()

# %%
# On images as small as these both networks are far ahead of PCA and close to each
# other, and the fully connected one is faster: every pixel is near every other. What
# convolutions know pays with more pixels.
