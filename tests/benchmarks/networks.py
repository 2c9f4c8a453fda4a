"""Fully connected and convolutional networks for images and signals.

Each network is trained with default parameters on the same rows. Printed are the
fraction of variance unexplained on test rows and the CPU seconds of the fit, on one
thread.

    python tests/benchmarks/networks.py [--data FOLDER] [--seeds N]

FOLDER holds mnist.npz and ts_*.npz: images, and signals of shape (n, channels, length).
Without it, only the digits of scikit-learn are used.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from skae import MLP, AutoencoderTransformer, Conv

NETWORKS = {"MLP": lambda shape: MLP(), "Conv": Conv}
SIGNALS = {"GunPoint": (2, 8), "ItalyPowerDemand": (2, 8), "BasicMotions": (8,)}
MNIST_ROWS = 10_000


def tasks(folder):
    """Yield (name, shape of a row, training rows, test rows, n_components)."""
    digits = train_test_split(load_digits().data, random_state=0)
    for k in (2, 8, 16):
        yield "digits", (1, 8, 8), *digits, k
    if folder is None:
        return
    train, test, _ = read(folder / "mnist.npz")
    for k in (8, 16, 30):
        yield "MNIST", (1, 28, 28), train[:MNIST_ROWS] / 255, test / 255, k
    for name, sizes in SIGNALS.items():
        for k in sizes:
            train, test, shape = read(folder / f"ts_{name}.npz")
            yield name, shape, train, test, k


def read(path):
    """Return flattened training and test rows of a file, and the shape of a row."""
    with np.load(path, allow_pickle=False) as arrays:
        train, test = arrays["X_train"], arrays["X_test"]
    flat = (X.reshape(len(X), -1).astype(np.float32) for X in (train, test))
    return *flat, train.shape[1:]


def unexplained(model, X):
    """Return the fraction of variance unexplained by reconstructed rows."""
    reconstruction = model.inverse_transform(model.transform(X))
    return np.square(reconstruction - X).sum() / np.square(X - X.mean(axis=0)).sum()


def measure(model, train, test):
    """Return the fraction of variance unexplained, and the CPU seconds of the fit."""
    start = time.process_time()
    model.fit(train)
    return unexplained(model, test), time.process_time() - start


def models(shape, k, seed):
    """Yield (name, model) for PCA and each network."""
    yield "PCA", PCA(k)
    for name, network in NETWORKS.items():
        yield (
            name,
            AutoencoderTransformer(k, network=network(shape), random_state=seed),
        )


def main():
    """Print medians over seeds for each task and model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and ts_*.npz")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("data               k  model        unexplained   CPU seconds of fit")
    with threadpool_limits(1):
        for name, shape, train, test, k in tasks(arguments.data):
            results = {}
            for seed in range(arguments.seeds):
                for label, model in models(shape, k, seed):
                    results.setdefault(label, []).append(measure(model, train, test))
            for label, runs in results.items():
                fvu, seconds = np.median(runs, axis=0)
                print(
                    f"{name:17} {k:2}  {label:10} {fvu:13.4f} {seconds:20.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
