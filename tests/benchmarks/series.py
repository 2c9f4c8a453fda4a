"""Codes of time series by PCA and by each network.

Codes of k components are learned from the training rows, without labels. Printed are
the fraction of variance unexplained (FVU) on test rows, the accuracy of a logistic
regression and of the nearest neighbor on the codes, and the CPU seconds of `fit` on one
thread. All networks are trained for the same number of epochs; "longer" stands for ten
times as many, for a fully connected network in about the time of a convolutional one.

    python tests/benchmarks/series.py [--data FOLDER] [--sets NAME ...] [--seeds N]

The folder holds data sets of the time series archive as `ts_<name>.npz`, with arrays
`X_train`, `X_test` of shape (n, channels, length), and `y_train`, `y_test`. Since the
training sets of the archive are small, "pooled" uses 75 % of all rows for training. Two
data sets are simulated: "pulses" has a rising or falling ramp at a random time, and in
"pulses, cut" these series are truncated to random lengths.
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import MLP, AutoencoderTransformer, Conv, Recurrent

NETWORKS = {
    "MLP()": MLP(),
    "MLP(), longer": MLP(),
    "Conv()": Conv(),
    "Recurrent()": Recurrent(),
}
LONGER = {"MLP(), longer": 10}  # times as many epochs
N_STEPS = 400
CODES = (2, 4, 8)
ARCHIVE = ("ItalyPowerDemand", "GunPoint", "BasicMotions")
FEW_ROWS = 1000  # several seeds for fewer rows, otherwise one
N_PULSES, LENGTH, WIDTH, NOISE = 3000, 48, 12, 0.05


class PaddedPCA:
    """PCA of flat rows; lengths, if they differ, are the last column of the codes."""

    def __init__(self, k: int):
        self.k = k

    def fit(self, X):
        flat = X.reshape(len(X), -1)
        self.mean = np.nanmean(flat, axis=0)
        self.n_lengths = int(np.isnan(flat).any())
        self.pca = PCA(self.k - self.n_lengths, svd_solver="full").fit(self._filled(X))
        return self

    def transform(self, X):
        lengths = (~np.isnan(X[..., 0])).mean(axis=1, keepdims=True)
        codes = self.pca.transform(self._filled(X))
        return np.hstack([codes, lengths[:, : self.n_lengths]])

    def reconstruct(self, X):
        filled = self._filled(X)
        return self.pca.inverse_transform(self.pca.transform(filled)).reshape(X.shape)

    def _filled(self, X):
        flat = X.reshape(len(X), -1)
        return np.where(np.isnan(flat), self.mean, flat)


class Autoencoder:
    """An autoencoder of rows with the axes in the order that its network expects."""

    def __init__(self, network, k: int, max_iter: int, seed: int):
        self.channels_first = network.time_axis == -1
        self.model = AutoencoderTransformer(
            k, network=network, max_iter=max_iter, random_state=seed, device="cpu"
        )

    def fit(self, X):
        self.model.fit(self._ordered(X))
        return self

    def transform(self, X):
        return self.model.transform(self._ordered(X))

    def reconstruct(self, X):
        return self._ordered(self.model.inverse_transform(self.transform(X)))

    def _ordered(self, X):
        return X.swapaxes(1, 2) if self.channels_first else X


def pulses(n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with a ramp at a random time, and whether it falls."""
    falls, starts = rng.integers(2, size=n), rng.uniform(0, LENGTH - WIDTH, (n, 1))
    u = (np.arange(LENGTH) - starts) / WIDTH
    ramps = np.where(falls[:, np.newaxis], 1 - u, u) * ((u >= 0) & (u <= 1))
    return ramps + NOISE * rng.standard_normal(u.shape), falls


def simulated(seed: int, cut: bool) -> tuple:
    """Return training and test rows of pulses, and their classes."""
    rng = np.random.default_rng(seed)
    X, y = pulses(N_PULSES, rng)
    if cut:
        lengths = rng.integers(LENGTH // 2, LENGTH + 1, (N_PULSES, 1))
        X[np.arange(LENGTH) >= lengths] = np.nan
    X = X[:, :, np.newaxis].astype(np.float32)
    return train_test_split(X, y, train_size=2000, random_state=seed)


def archive(path: Path, seed: int, pooled: bool) -> tuple:
    """Return training and test rows of shape (length, channels), and their classes."""
    with np.load(path, allow_pickle=False) as arrays:
        X = [arrays[name].swapaxes(1, 2) for name in ("X_train", "X_test")]
        y = [arrays[name] for name in ("y_train", "y_test")]
    if not pooled:
        return *X, *y
    X, y = np.concatenate(X), np.concatenate(y)
    return train_test_split(X, y, train_size=0.75, random_state=seed, stratify=y)


def sets(data: Path | None) -> Iterator[tuple]:
    """Yield the name of each data set, and a function that returns it for a seed."""
    yield "pulses", lambda seed: simulated(seed, cut=False)
    yield "pulses, cut", lambda seed: simulated(seed, cut=True)
    for name in ARCHIVE if data else ():
        path = data / f"ts_{name}.npz"
        yield name, lambda seed, path=path: archive(path, seed, pooled=False)
        yield f"{name}, pooled", lambda seed, path=path: archive(path, seed, True)


def n_epochs(n: int) -> int:
    """Return the number of epochs with 400 steps of the default batch size."""
    size = 64 if n <= 64 else int(np.clip(2 ** round(np.log2(n / 16)), 32, 256))
    return int(np.ceil(N_STEPS / np.ceil(n / size)))


def models(n: int, k: int, seed: int) -> Iterator[tuple]:
    """Yield (name, model) for PCA and each network."""
    yield "PCA", PaddedPCA(k)
    for name, network in NETWORKS.items():
        max_iter = n_epochs(n) * LONGER.get(name, 1)
        yield name, Autoencoder(network, k, max_iter, seed)


def unexplained(model, X, X_test) -> float:
    """Return the FVU over the entries that are not padding."""
    residual = X_test - model.reconstruct(X_test)
    return np.nansum(residual**2) / np.nansum((X_test - np.nanmean(X, axis=0)) ** 2)


def measure(model, X, X_test, y, y_test) -> dict:
    """Return the FVU, the accuracies on the codes, and the seconds of the fit."""
    start = time.process_time()
    model.fit(X)
    result = {"seconds": time.process_time() - start}
    result["FVU"] = unexplained(model, X, X_test)
    codes, codes_test = model.transform(X), model.transform(X_test)
    classifiers = {
        "logistic": LogisticRegression(max_iter=1000),
        "1-NN": KNeighborsClassifier(1),
    }
    for name, classifier in classifiers.items():
        classifier = make_pipeline(StandardScaler(), classifier).fit(codes, y)
        result[name] = classifier.score(codes_test, y_test)
    return result


def run(data: Path | None, names, n_seeds: int) -> pd.DataFrame:
    """Run all models on the given data sets, or on all."""
    results = []
    for name, load in sets(data):
        if names and name not in names:
            continue
        seeds = range(n_seeds if len(load(0)[0]) < FEW_ROWS else 1)
        for k, seed in product(CODES, seeds):
            X, X_test, y, y_test = load(seed)
            for label, model in models(len(X), k, seed):
                result = measure(model, X, X_test, y, y_test)
                results.append({"set": name, "k": k, "model": label, **result})
                line = "  ".join(f"{key} {value:.3f}" for key, value in result.items())
                print(f"{name:24} k={k} seed {seed} {label:14} {line}", flush=True)
    return pd.DataFrame(results)


def as_text(values: pd.Series) -> str:
    """Return the mean and, for several seeds, the standard deviation."""
    digits = 1 if values.name == "seconds" else 3
    text = f"{values.mean():.{digits}f}"
    spread = values.std()
    return f"{text} ± {spread:.{digits}f}" if spread >= 0.5 * 10**-digits else text


def summarize(results: pd.DataFrame) -> None:
    """Print the means over seeds as a table in reStructuredText."""
    columns = ["FVU", "logistic", "1-NN", "seconds"]
    table = results.groupby(["set", "k", "model"], sort=False)[columns].agg(as_text)
    table = table.reset_index().astype(str)
    lines = [list(table.columns), *table.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    print("\n".join(["", rule, lines[0], rule, *lines[1:], rule]))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with ts_<name>.npz files")
    parser.add_argument("--sets", nargs="+", help="names of the data sets")
    parser.add_argument("--seeds", type=int, default=3, help="for small data sets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        summarize(run(arguments.data, arguments.sets, arguments.seeds))


if __name__ == "__main__":
    main()
