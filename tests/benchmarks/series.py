"""Time series: what small codes of each kind of network keep.

Codes of k numbers are learned without labels from the rows of a set's first part. On
the rows of the other part: the fraction of variance unexplained (FVU), and the accuracy
of a logistic regression and of the nearest neighbour on the codes. Seconds are those of
the processor for `fit`, on one thread. All networks have as many epochs; "longer" has
ten times as many, for a fully connected network that costs nearer to a recurrent one.

    python tests/benchmarks/series.py [--data FOLDER] [--sets NAME ...] [--seeds N]

The folder holds sets of the time series archive as `ts_<name>.npz`, with arrays
`X_train`, `X_test` of shape (n, channels, length), and `y_train`, `y_test`. Their parts
to learn from are small; "pooled" stands for 75 % of all rows in their place. Two sets
are made: pulses at a random time, in two classes that are each other's mirror images in
time, and the same cut off at random lengths.
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
FEW_ROWS = 1000  # below which there are several seeds
N_MADE, LENGTH, WIDTH, NOISE = 3000, 48, 12, 0.05


class PaddedPCA:
    """PCA of flat rows; where lengths differ, they are the last column of the code."""

    def __init__(self, k: int):
        self.k = k

    def fit(self, X):
        flat = X.reshape(len(X), -1)
        self.mean = np.nanmean(flat, axis=0)
        self.n_marks = int(np.isnan(flat).any())
        self.pca = PCA(self.k - self.n_marks, svd_solver="full").fit(self._filled(X))
        return self

    def transform(self, X):
        lengths = (~np.isnan(X[..., 0])).mean(axis=1, keepdims=True)
        codes = self.pca.transform(self._filled(X))
        return np.hstack([codes, lengths[:, : self.n_marks]])

    def reconstruct(self, X):
        filled = self._filled(X)
        return self.pca.inverse_transform(self.pca.transform(filled)).reshape(X.shape)

    def _filled(self, X):
        flat = X.reshape(len(X), -1)
        return np.where(np.isnan(flat), self.mean, flat)


class Autoencoder:
    """An autoencoder of rows in the order of axes that its network wants."""

    def __init__(self, network, k: int, max_iter: int, seed: int):
        self.first = network.time_axis == -1
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
        return X.swapaxes(1, 2) if self.first else X


def pulses(n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return a ramp at a random time in every row, and whether it falls."""
    falls, starts = rng.integers(2, size=n), rng.uniform(0, LENGTH - WIDTH, (n, 1))
    u = (np.arange(LENGTH) - starts) / WIDTH
    ramps = np.where(falls[:, np.newaxis], 1 - u, u) * ((u >= 0) & (u <= 1))
    return ramps + NOISE * rng.standard_normal(u.shape), falls


def made(seed: int, cut: bool) -> tuple:
    """Return pulses to learn from and to judge by, and their classes."""
    rng = np.random.default_rng(seed)
    X, y = pulses(N_MADE, rng)
    if cut:
        lengths = rng.integers(LENGTH // 2, LENGTH + 1, (N_MADE, 1))
        X[np.arange(LENGTH) >= lengths] = np.nan
    X = X[:, :, np.newaxis].astype(np.float32)
    return train_test_split(X, y, train_size=2000, random_state=seed)


def archive(path: Path, seed: int, pooled: bool) -> tuple:
    """Return an archive's rows of shape (length, channels), and their classes."""
    with np.load(path, allow_pickle=False) as arrays:
        X = [arrays[name].swapaxes(1, 2) for name in ("X_train", "X_test")]
        y = [arrays[name] for name in ("y_train", "y_test")]
    if not pooled:
        return *X, *y
    X, y = np.concatenate(X), np.concatenate(y)
    return train_test_split(X, y, train_size=0.75, random_state=seed, stratify=y)


def sets(data: Path | None) -> Iterator[tuple]:
    """Yield the name of each set, and a function that returns it for a seed."""
    yield "pulses", lambda seed: made(seed, cut=False)
    yield "pulses, cut", lambda seed: made(seed, cut=True)
    for name in ARCHIVE if data else ():
        path = data / f"ts_{name}.npz"
        yield name, lambda seed, path=path: archive(path, seed, pooled=False)
        yield f"{name}, pooled", lambda seed, path=path: archive(path, seed, True)


def n_epochs(n: int) -> int:
    """Return the epochs that make 400 steps of default batches."""
    size = 64 if n <= 64 else int(np.clip(2 ** round(np.log2(n / 16)), 32, 256))
    return int(np.ceil(N_STEPS / np.ceil(n / size)))


def models(n: int, k: int, seed: int) -> Iterator[tuple]:
    """Yield the name of each competitor, and the competitor."""
    yield "PCA", PaddedPCA(k)
    for name, network in NETWORKS.items():
        max_iter = n_epochs(n) * LONGER.get(name, 1)
        yield name, Autoencoder(network, k, max_iter, seed)


def unexplained(model, X, X_test) -> float:
    """Return the FVU, over the steps that are there."""
    residual = X_test - model.reconstruct(X_test)
    return np.nansum(residual**2) / np.nansum((X_test - np.nanmean(X, axis=0)) ** 2)


def measure(model, X, X_test, y, y_test) -> dict:
    """Return what a model's codes are worth."""
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


def run(data: Path | None, wanted, n_seeds: int) -> pd.DataFrame:
    """Measure all competitors on the wanted sets, or on all."""
    results = []
    for name, load in sets(data):
        if wanted and name not in wanted:
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
    """Return the mean, and the spread where there are several seeds."""
    digits = 1 if values.name == "seconds" else 3
    text = f"{values.mean():.{digits}f}"
    spread = values.std()
    return f"{text} ± {spread:.{digits}f}" if spread >= 0.5 * 10**-digits else text


def summarise(results: pd.DataFrame) -> None:
    """Print the means over seeds, as a table that reStructuredText reads."""
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
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with ts_<name>.npz files")
    parser.add_argument("--sets", nargs="+", help="names of the sets to run")
    parser.add_argument("--seeds", type=int, default=3, help="for sets of few rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        summarise(run(arguments.data, arguments.sets, arguments.seeds))


if __name__ == "__main__":
    main()
