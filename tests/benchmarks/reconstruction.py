"""Reconstruction error on test rows: skae, PCA and two standard implementations.

All methods have default parameters, without tuning. Each data set is split into 75 %
training rows and 25 % test rows, and standardized. The measure is the fraction of
variance unexplained, FVU: the squared error on the test rows divided by their squared
deviation from the training mean. Ratios omit cells in which PCA has an FVU below 1e-6,
where the rest is rounding error. Seconds are CPU seconds on one thread.

    python tests/benchmarks/reconstruction.py [--data FOLDER] [--output results.csv]
    python tests/benchmarks/reconstruction.py --methods textbook --budget 0.25 0.5 1

A cell is a combination of data set, number of components and seed. With `--output`,
results are appended to this file, and those that it contains are not computed again.
With `--budget`, skae is fitted with these shares of its default number of epochs.
"""

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F

from skae import AutoencoderTransformer
from skae.training._auto import default_recipe

BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
MAX_ROWS = 6000
SEEDS, FEW_ROWS = 3, 2200  # three seeds for fewer rows than this, otherwise one
PERFECT = 1e-6  # FVU of PCA
WORSE = 1.005  # ratio of FVUs
SIZES = (0, 300, 700, 2200, np.inf)


@dataclass(frozen=True)
class Result:
    """The result of a method in a cell; the fields are the columns of the table."""

    set: str
    n: int
    d: int
    k: int
    seed: int
    method: str
    fvu: float
    seconds: float

    @property
    def key(self) -> tuple:
        """The fields that identify the result."""
        return self.set, self.k, self.seed, self.method


def pca(X: np.ndarray, k: int, seed: int) -> Callable:
    """Return the reconstruction by k principal components of X."""
    model = PCA(k, svd_solver="full").fit(X)
    return lambda X: model.inverse_transform(model.transform(X))


def skae(X: np.ndarray, k: int, seed: int, max_iter="auto") -> Callable:
    """Return the reconstruction by skae with default parameters."""
    model = AutoencoderTransformer(
        k, device="cpu", max_iter=max_iter, random_state=seed
    ).fit(X)
    return lambda X: model.inverse_transform(model.transform(X))


def skae_in_budget(budget: float, X: np.ndarray, k: int, seed: int) -> Callable:
    """Return the reconstruction by skae with a share of its default epochs."""
    recipe = default_recipe(len(X))
    n_epochs = recipe.n_steps / np.ceil(len(X) / recipe.batch_size)
    return skae(X, k, seed, max_iter=int(np.ceil(budget * n_epochs)))


def mlp_regressor(X: np.ndarray, k: int, seed: int) -> Callable:
    """Return the reconstruction by an MLPRegressor that predicts its own input."""
    model = MLPRegressor(hidden_layer_sizes=(128, k, 128), random_state=seed).fit(X, X)
    return model.predict


def textbook(
    X: np.ndarray, k: int, seed: int, n_epochs: int = 100, batch_size: int = 32
) -> Callable:
    """Return the reconstruction by a textbook autoencoder."""
    d, hidden = X.shape[1], 128
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, k),
        nn.Linear(k, hidden), nn.ReLU(), nn.Linear(hidden, d),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rows = torch.as_tensor(X, dtype=torch.float32)
    for _ in range(n_epochs):
        for batch in rows[torch.randperm(len(rows))].split(batch_size):
            optimizer.zero_grad()
            F.mse_loss(model(batch), batch).backward()
            optimizer.step()
    return lambda X: _numpy(model, X)


@torch.no_grad()
def _numpy(model: nn.Module, X: np.ndarray) -> np.ndarray:
    return model(torch.as_tensor(X, dtype=torch.float32)).numpy()


METHODS = {
    "pca": pca,
    "textbook": textbook,
    "mlp_regressor": mlp_regressor,
    "skae": skae,
}


def bundled() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the data sets that are included in scikit-learn."""
    for name in BUNDLED:
        yield name, getattr(datasets, f"load_{name}")().data


def from_folder(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the numeric data sets in a folder: arrays (.npz) and tables (.parquet)."""
    readers = {".npz": _read_arrays, ".parquet": _read_table}
    for path in sorted(folder.iterdir()):
        if path.suffix in readers:
            X = readers[path.suffix](path)
            if X.shape[1] > 2:
                yield path.stem, X


def _read_arrays(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        names = ("X",) if "X" in arrays else ("X_train", "X_test")
        X = np.concatenate([arrays[name] for name in names])
    return _subsample(X).reshape(min(len(X), MAX_ROWS), -1).astype(float)


def _read_table(path: Path) -> np.ndarray:
    table = pd.read_parquet(path).drop(columns="_split").select_dtypes("number")
    return _subsample(table.dropna().to_numpy(float))


def _subsample(X: np.ndarray) -> np.ndarray:
    """Return at most 6000 random rows, with a fixed seed."""
    if len(X) <= MAX_ROWS:
        return X
    return X[np.random.default_rng(0).choice(len(X), MAX_ROWS, replace=False)]


def numbers_of_components(n: int, d: int) -> list[int]:
    """Return the numbers of components for n rows of d features."""
    largest = min(d - 1, int(0.75 * n) // 2)
    return [k for k in sorted({2, d // 8, d // 4, d // 2}) if 2 <= k <= largest]


def split(X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return standardized training and test rows."""
    X_train, X_test = train_test_split(X, test_size=0.25, random_state=seed)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test)


def measure(method: str, X_train, X_test, k: int, seed: int) -> tuple[float, float]:
    """Return the FVU of a method on the test rows, and the seconds of the fit."""
    start = time.process_time()
    reconstruct = METHODS[method](X_train, k, seed)
    seconds = time.process_time() - start
    squares = np.square(X_test - X_train.mean(axis=0)).sum()
    return np.square(reconstruct(X_test) - X_test).sum() / squares, seconds


class Results:
    """The results in memory and, with a path, in a file."""

    def __init__(self, path: Path | None):
        self.path = path
        self.by_key = {}
        if path is not None and path.exists():
            for row in pd.read_csv(path).itertuples(index=False):
                self._store(Result(*row))

    def __getitem__(self, key: tuple) -> Result:
        return self.by_key[key]

    def __contains__(self, key: tuple) -> bool:
        return key in self.by_key

    def add(self, result: Result) -> None:
        """Store a result, and append it to the file."""
        self._store(result)
        if self.path is None:
            return
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(field.name for field in fields(Result))
            writer.writerow(astuple(result))

    def table(self) -> pd.DataFrame:
        """Return a row for each result."""
        return pd.DataFrame(list(self.by_key.values()))

    def _store(self, result):
        self.by_key[result.key] = result


def run_cell(results: Results, name: str, X: np.ndarray, k, seed, methods) -> None:
    """Run the methods that are not in the results of a cell, and print its line."""
    missing = [m for m in methods if (name, k, seed, m) not in results]
    if missing:
        X_train, X_test = split(X, seed)
    for method in missing:
        fvu, seconds = measure(method, X_train, X_test, k, seed)
        results.add(Result(name, *X.shape, k, seed, method, fvu, seconds))
    line = f"{name:22} {len(X):5} x {X.shape[1]:<5} k={k:<4} seed {seed}"
    reference = results[name, k, seed, "pca"].fvu
    line += f"  FVU of PCA {reference:.2e}"
    for method in methods[1:]:
        result = results[name, k, seed, method]
        ratio = result.fvu / reference if reference >= PERFECT else np.nan
        line += f" | {method} {ratio:6.3f} {result.seconds:5.1f} s"
    print(line, flush=True)


def run(data: Path | None, names, methods, results: Results) -> None:
    """Run all cells of the given data sets, or of all."""
    sets = dict(bundled()) | (dict(from_folder(data)) if data else {})
    for name, X in sets.items():
        if names and name not in names:
            continue
        for k in numbers_of_components(*X.shape):
            for seed in range(SEEDS if len(X) < FEW_ROWS else 1):
                run_cell(results, name, X, k, seed, methods)


def mean_ratio(ratios: pd.Series) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.log(ratios).mean()))


def summarize(table: pd.DataFrame) -> None:
    """Print a comparison of the methods, overall and by number of rows."""
    cell = ["set", "n", "d", "k", "seed"]
    wide = table.pivot_table(index=cell, columns="method", values=["fvu", "seconds"])
    fvu, seconds = wide["fvu"], wide["seconds"]
    imperfect = fvu["pca"] >= PERFECT
    print(f"\n{(~imperfect).sum()} cells omitted from ratios: PCA is exact in these.")
    fvu, seconds = fvu[imperfect], seconds[imperfect]
    for method in fvu.columns.drop("pca"):
        _against_pca(method, (fvu[method] / fvu["pca"]).dropna())
    for method in fvu.columns[fvu.columns.str.startswith("skae")]:
        if "textbook" in fvu:
            _against_textbook(method, fvu, seconds)


def _against_pca(method, ratios):
    worse = (ratios > WORSE).sum()
    print(f"\n{method}: worse than PCA in {worse} of {len(ratios)} cells")
    means = {"all": mean_ratio(ratios)}
    means |= {label: mean_ratio(part) for label, part in _by_size(ratios)}
    text = ", ".join(f"{label}: {mean:.3f}" for label, mean in means.items())
    print(f"  geometric mean of FVU / PCA's FVU: {text}")
    name, _, _, k, seed = ratios.idxmax()
    print(f"  worst cell: {ratios.max():.3f} ({name}, k={k}, seed {seed})")


def _against_textbook(method, fvu, seconds):
    ratios = (fvu[method] / fvu["textbook"]).dropna()
    times = (seconds[method] / seconds["textbook"])[ratios.index]
    print(f"\n{method} / textbook, geometric means; all: FVU {mean_ratio(ratios):.3f}")
    for (label, part), (_, time_part) in zip(
        _by_size(ratios), _by_size(times), strict=True
    ):
        won, lost = (part < 1).sum(), (part > 1).sum()
        print(
            f"  {label}: FVU {mean_ratio(part):.3f}, {won} cells won, {lost} lost, "
            f"fit time {mean_ratio(time_part):.2f} (median {time_part.median():.2f})"
        )


def _by_size(values):
    n = values.index.get_level_values("n")
    for low, high in pairwise(SIZES):
        part = values[(n >= low) & (n < high)]
        if len(part):
            yield f"{low} <= n < {high}", part


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with .npz and .parquet files")
    parser.add_argument("--output", type=Path, help="file that results are appended to")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--sets", nargs="+", help="names of the data sets")
    parser.add_argument("--budget", nargs="+", type=float, default=[])
    arguments = parser.parse_args()
    budgets = {f"skae x {b:g}": partial(skae_in_budget, b) for b in arguments.budget}
    METHODS.update(budgets)
    methods = ["pca", *(m for m in arguments.methods if m != "pca"), *budgets]
    results = Results(arguments.output)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        run(arguments.data, arguments.sets, methods, results)
    summarize(results.table())


if __name__ == "__main__":
    main()
