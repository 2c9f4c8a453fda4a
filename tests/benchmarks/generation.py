"""How like real rows the generated ones are: skae, a Gaussian mixture, pythae's VAE.

Half of every set is learned from; as many rows are generated as the other half has, and
the two are compared by nearest neighbors:

- precision: the share of generated rows that lie among real ones, recall: the share of
  real rows that lie among generated ones (Kynkäänniemi et al., 2019; 3 neighbors);
- density: how many real neighborhoods a generated row lies in, coverage: the share of
  real neighborhoods with a generated row (Naeem et al., 2020; 5 neighbors);
- accuracy: that of a support vector classifier on the real rows, trained on rows from
  one generator per class ("train on synthetic, test on real").

"real" is the rows that were learned from in place of generated ones: what a perfect
generator attains. Every set is standardised, except images. Seconds are those of the
processor for the fit and the rows, on one thread.

    python tests/benchmarks/generation.py [--data FOLDER] [--sets NAME ...]

The folder holds sets of numbers with classes: X and y, or X_train, y_train, X_test and
y_test, in .npz files. pythae takes part where it is installed.
"""

import argparse
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skae import MMD, Adversarial, AutoencoderTransformer, Variational
from skae._generation import mixture_codes

BUNDLED = ("digits", "breast_cancer", "wine")
IMAGES = ("digits", "mnist")
MOST_ROWS, SEEDS = 4000, 3
FEWEST_IN_CLASS = 20
FIGURES = ["precision", "recall", "density", "coverage", "accuracy", "seconds"]


def real(X: np.ndarray, n_samples: int, k: int, seed: int) -> np.ndarray:
    """Return rows of X, each as often as any other."""
    order = np.random.default_rng(seed).permutation(len(X))
    return X[np.resize(order, n_samples)]


def mixture(X: np.ndarray, n_samples: int, k: int, seed: int) -> np.ndarray:
    """Return rows from the Gaussian mixture of least BIC, fitted to X itself."""
    return mixture_codes(X, seed, n_samples, seed)


def skae(X: np.ndarray, n_samples: int, k: int, seed: int, **options) -> np.ndarray:
    """Return rows from this package, at its default parameters but for the options."""
    model = AutoencoderTransformer(k, device="cpu", random_state=seed, **options)
    return model.fit(X).sample(n_samples, random_state=seed)


def pythae(
    X: np.ndarray, n_samples: int, k: int, seed: int, beta=1.0, learning_rate=1e-4
) -> np.ndarray:
    """Return rows from pythae's VAE, whose outputs lie in [0, 1]."""
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.samplers import NormalSampler
    from pythae.trainers import BaseTrainerConfig

    logging.disable(logging.WARNING)
    scaler = MinMaxScaler().fit(X)
    config = BetaVAEConfig(input_dim=(X.shape[1],), latent_dim=k, beta=beta)
    model = BetaVAE(config)
    with (
        tempfile.TemporaryDirectory() as folder,
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        options = BaseTrainerConfig(
            folder, seed=seed, no_cuda=True, learning_rate=learning_rate
        )
        train = TrainingPipeline(model=model, training_config=options)
        train(scaler.transform(X).astype(np.float32))
        rows = NormalSampler(model).sample(n_samples)
    return scaler.inverse_transform(rows.numpy().astype(float))


def pythae_by_hand(X: np.ndarray, n_samples: int, k: int, seed: int) -> np.ndarray:
    """Return rows from pythae's VAE with its two decisive numbers chosen by hand.

    At its defaults the prior outweighs the reconstruction of features in [0, 1], and
    all codes say the same.
    """
    return pythae(X, n_samples, k, seed, beta=0.02, learning_rate=1e-3)


METHODS = {
    "real": real,
    "Gaussian mixture": mixture,
    "pythae VAE": pythae,
    "pythae VAE, tuned": pythae_by_hand,
    "skae": skae,
    "skae, Variational": partial(skae, regularizer=Variational()),
    "skae, MMD": partial(skae, regularizer=MMD()),
    "skae, Adversarial": partial(skae, regularizer=Adversarial()),
}


def available(names: list[str]) -> list[str]:
    """Return the methods that can run here, and say which cannot."""
    missing = [name for name in names if name.startswith("pythae")]
    if not missing or find_spec("pythae"):
        return names
    print(f"Left out, since pythae is not installed: {', '.join(missing)}.")
    return [name for name in names if name not in missing]


@dataclass(frozen=True)
class Cell:
    """A half of a set to learn from, another to judge by, and the width of the code."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    k: int
    seed: int

    def measure(self, method: str) -> dict[str, float]:
        """Return the method's figures."""
        generate, start = METHODS[method], time.process_time()
        rows = generate(self.X, len(self.X_test), self.k, self.seed)
        seconds = time.process_time() - start
        figures = neighborhood_figures(self.X_test, rows)
        return figures | {"accuracy": self.accuracy(generate), "seconds": seconds}

    def accuracy(self, generate) -> float:
        """Return the accuracy on real rows of a classifier that saw generated ones."""
        classes, counts = np.unique(self.y, return_counts=True)
        parts = [self.X[self.y == label] for label in classes]
        rows = [
            generate(part, len(part), min(self.k, len(part) // 4), self.seed)
            for part in parts
        ]
        classifier = SVC().fit(np.vstack(rows), np.repeat(classes, counts))
        return classifier.score(self.X_test, self.y_test)


def neighborhood_figures(X: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Return precision, recall, density and coverage of generated rows."""
    distances = pairwise_distances(X, rows)  # (n_real, n_generated)
    among_real = distances <= radii(X, 3)[:, np.newaxis]
    among_generated = distances <= radii(rows, 3)
    near = distances <= radii(X, 5)[:, np.newaxis]
    return {
        "precision": among_real.any(axis=0).mean(),
        "recall": among_generated.any(axis=1).mean(),
        "density": near.sum(axis=0).mean() / 5,
        "coverage": near.any(axis=1).mean(),
    }


def radii(X: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Return each row's distance from its nth nearest neighbor."""
    distances = pairwise_distances(X)
    return np.partition(distances, n_neighbors, axis=1)[:, n_neighbors]


def bundled() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the sets that come with scikit-learn."""
    for name in BUNDLED:
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True)


def from_folder(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the sets with classes in a folder, at most 4000 rows of each."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            X, y = (_column(arrays, name) for name in ("X", "y"))
        if y is None or y.dtype.kind not in "iu":
            continue
        rows = np.random.default_rng(0).permutation(len(X))[:MOST_ROWS]
        X, y = X[rows].reshape(len(rows), -1).astype(float), y[rows]
        if np.unique(y, return_counts=True)[1].min() >= 2 * FEWEST_IN_CLASS:
            yield path.stem, X, y


def _column(arrays, name):
    names = [n for n in (name, f"{name}_train", f"{name}_test") if n in arrays]
    return np.concatenate([arrays[n] for n in names]) if names else None


def cells(name: str, X: np.ndarray, y: np.ndarray) -> Iterator[Cell]:
    """Yield the set's halves, for each size of code and each seed."""
    for k in sorted({max(2, X.shape[1] // 4), max(2, X.shape[1] // 2)}):
        for seed in range(SEEDS):
            halves = train_test_split(
                X, y, test_size=0.5, stratify=y, random_state=seed
            )
            X_train, X_test, y_train, y_test = halves
            if name not in IMAGES:
                scaler = StandardScaler().fit(X_train)
                X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
            yield Cell(name, X_train, y_train, X_test, y_test, k, seed)


def run(sets, methods: list[str]) -> pd.DataFrame:
    """Return a row of figures for each cell and method; print the means of each k."""
    results = []
    for name, X, y in sets:
        here = []
        for cell in cells(name, X, y):
            here += [
                {"set": name, "k": cell.k, "method": m, **cell.measure(m)}
                for m in methods
            ]
        report(f"{name}: {len(X)} rows of {X.shape[1]}", here, ["k", "method"])
        results += here
    return pd.DataFrame(results)


def report(title: str, results, by) -> None:
    """Print mean figures."""
    table = pd.DataFrame(results).groupby(by, sort=False)[FIGURES].mean()
    print(f"\n{title}\n{table.to_string(float_format='{:.3f}'.format)}", flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with .npz files")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--sets", nargs="+", help="names of the sets to run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    sets = [*bundled(), *(from_folder(arguments.data) if arguments.data else ())]
    if arguments.sets:
        sets = [s for s in sets if s[0] in arguments.sets]
    with threadpool_limits(1):
        results = run(sets, available(arguments.methods))
    report("Mean over sets, codes and seeds", results, ["method"])


if __name__ == "__main__":
    main()
