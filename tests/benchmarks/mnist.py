"""Reconstruction of MNIST with 30 components.

Hinton and Salakhutdinov (Science 313, 2006) report a squared error of 3.00 per test
image (sum over pixels in [0, 1]) for the layers 784-1000-500-250-30, and 13.87 for PCA.
"mlp" has the same layers, and "conv" has two convolutions followed by layers of 500 and
250 units. The settings were chosen on held-out training images, and the test images
were used only once.

    python tests/benchmarks/mnist.py --data FOLDER [--network {mlp,conv,all}]

FOLDER holds mnist.npz with `X_train` and `X_test` of 784 gray values from 0 to 255.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA

from skae import MLP, AutoencoderTransformer, Conv

NETWORKS = {
    "mlp": {
        "network": MLP((1000, 500, 250)),
        "learning_rate": 2e-3,
        "alpha": 1.0,
        "batch_size": 256,
        "max_iter": 60,
    },
    "conv": {
        "network": Conv(
            (1, 28, 28), channels=(16, 32), kernel_size=5, hidden_layer_sizes=(500, 250)
        ),
        "learning_rate": 4e-3,
        "alpha": 0.5,
        "batch_size": 128,
        "max_iter": 60,
    },
}


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


def autoencoder(name, n_epochs):
    """Return an autoencoder; `n_epochs` replaces the number of epochs in NETWORKS."""
    settings = NETWORKS[name]
    return AutoencoderTransformer(
        30,
        loss="brier",
        early_stopping=True,
        validation_fraction=1 / 60,
        random_state=0,
        **{**settings, "max_iter": n_epochs or settings["max_iter"]},
    )


def report(name, model, train, test):
    """Fit a model and print its errors and the time of the fit."""
    start = time.process_time()
    model.fit(train)
    seconds = time.process_time() - start
    errors = [error_per_image(model, X) for X in (train[:10_000], test)]
    print(f"{name:11} {errors[0]:6.2f} {errors[1]:6.2f} {seconds:8.0f}", flush=True)


def main():
    """Fit PCA and the networks, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="folder with mnist.npz")
    parser.add_argument("--network", choices=[*NETWORKS, "all"], default="all")
    parser.add_argument("--epochs", type=int, help="number of epochs of every network")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train, test = images(arguments.data)
    names = NETWORKS if arguments.network == "all" else [arguments.network]
    print("model        train   test   CPU seconds of fit")
    report("PCA", PCA(30), train, test)
    for name in names:
        report(name, autoencoder(name, arguments.epochs), train, test)


if __name__ == "__main__":
    main()
