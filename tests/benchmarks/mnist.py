"""Reconstruct MNIST from 30 numbers an image, with the layers of a famous paper.

Hinton and Salakhutdinov (Science 313, 2006) report a squared error of 3.00 per test
image (sum over pixels in [0, 1]) for 784-1000-500-250-30, and 13.87 for PCA. Settings
were chosen on held-out training images; the test images are looked at once.

    python tests/benchmarks/mnist.py --data FOLDER

FOLDER holds mnist.npz with `X_train` and `X_test` of 784 grey values from 0 to 255.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA

from skae import MLP, AutoencoderTransformer


def images(folder):
    """Return training and test images with pixels in [0, 1]."""
    with np.load(Path(folder) / "mnist.npz", allow_pickle=False) as data:
        return [
            (data[name].reshape(-1, 784) / 255).astype(np.float32)
            for name in ("X_train", "X_test")
        ]


def error_per_image(model, X):
    """Return the mean over images of the sum over pixels of squared errors."""
    reconstruction = model.inverse_transform(model.transform(X))
    return float(np.square(reconstruction - X).sum(axis=1).mean())


def autoencoder(n_epochs):
    """Return the paper's network, started at PCA."""
    return AutoencoderTransformer(
        30,
        network=MLP((1000, 500, 250)),
        loss="brier",
        learning_rate=2e-3,
        alpha=1.0,
        batch_size=256,
        max_iter=n_epochs,
        early_stopping=True,
        validation_fraction=1 / 60,
        random_state=0,
    )


def main():
    """Fit both models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="folder with mnist.npz")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train, test = images(arguments.data)
    print("model        train   test   CPU seconds of fit")
    for model in (PCA(30), autoencoder(arguments.epochs)):
        start = time.process_time()
        model.fit(train)
        seconds = time.process_time() - start
        errors = [error_per_image(model, X) for X in (train[:10_000], test)]
        name = type(model).__name__.removesuffix("Transformer")
        print(f"{name:11} {errors[0]:6.2f} {errors[1]:6.2f} {seconds:8.0f}", flush=True)


if __name__ == "__main__":
    main()
