"""Outlier detection: skae beside detectors of PyOD and scikit-learn.

All have default parameters, except that PCA leaves out directions without variance.
Sets are those of ADBench: `.npz` files with rows `X` and labels `y`, 1 for outliers.
There are two protocols:

- "normal": half of the normal rows train; the others and all outliers are scored;
- "all": all rows train, and the same rows are scored.

Columns are standardized by the training rows.

    python tests/benchmarks/outliers.py --data FOLDER [--sets cardio fault] [--speed]

Numbers are means over seeds, which draw the rows, the training rows and the fit.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.ecod import ECOD
from pyod.models.knn import KNN
from pyod.models.lof import LOF
from pyod.models.pca import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import AutoencoderOutlierDetector

# Settings were chosen on these sets.
DEVELOPMENT = (
    "cardio",
    "fault",
    "Ionosphere",
    "mammography",
    "optdigits",
    "WPBC",
    "mnist",
)
DETECTORS: dict[str, Callable] = {
    "skae": lambda seed: AutoencoderOutlierDetector(random_state=seed),
    "PyOD AutoEncoder": lambda seed: AutoEncoder(
        random_state=seed, device="cpu", verbose=0
    ),
    # Without the directions of no variance, by which PyOD divides.
    "PCA": lambda seed: PCA(n_components=1 - 1e-6, svd_solver="full"),
    "kNN": lambda seed: KNN(),
    "LOF": lambda seed: LOF(),
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "ECOD": lambda seed: ECOD(),
}
MEASURES = ["AUROC", "AP", "CPU s"]


def outlier_sets(
    folder: Path, n_rows: int, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, rows and labels of the sets in a folder, of at most `n_rows` rows."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            if "X" not in arrays or "y" not in arrays:
                continue
            X, y = arrays["X"].astype(float), arrays["y"].astype(int)
        if len(X) > n_rows:
            X, _, y, _ = train_test_split(
                X, y, train_size=n_rows, random_state=seed, stratify=y
            )
        yield path.stem.removeprefix("ad_"), X, y


def split(X, y, protocol: str, seed: int):
    """Return training rows, scored rows, and the labels of these."""
    if protocol == "all":
        rows = StandardScaler().fit_transform(X)
        return rows, rows, y
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    train, test = np.split(normal, [len(normal) // 2])
    test = np.concatenate([test, np.flatnonzero(y == 1)])
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), scaler.transform(X[test]), y[test]


def outlier_scores(detector, X_train, X_test) -> np.ndarray:
    """Return scores of the test rows, higher for outliers."""
    detector.fit(X_train)
    if hasattr(detector, "score_samples"):
        return -detector.score_samples(X_test)
    # PyOD leaves each training row out of its own neighbors.
    if X_train is X_test:
        return detector.decision_scores_
    return detector.decision_function(X_test)


def run_set(name: str, X, y, protocol: str, seed: int) -> Iterator[dict]:
    """Yield the measures of each detector."""
    X_train, X_test, y_test = split(X, y, protocol, seed)
    for label, new in DETECTORS.items():
        start = time.process_time()
        scores = np.nan_to_num(outlier_scores(new(seed), X_train, X_test))
        seconds = time.process_time() - start
        part = "development" if name in DEVELOPMENT else "other"
        yield {
            "set": name,
            "part": part,
            "protocol": protocol,
            "detector": label,
            "AUROC": 100 * roc_auc_score(y_test, scores),
            "AP": 100 * average_precision_score(y_test, scores),
            "CPU s": seconds,
        }


def summarize(table: pd.DataFrame) -> None:
    """Print the AUROC on each set, and means over sets."""
    per_set = table.groupby(["protocol", "set", "detector"])["AUROC"].mean().unstack()
    print(per_set[list(DETECTORS)].round(1).to_string())
    both = pd.concat([table, table.assign(part="all sets")])
    means = both.groupby(["protocol", "part", "detector"])[MEASURES].mean()
    print(means.round(2).to_string())


def measure_speed(n_rows: int = 100_000, n_columns: int = 30) -> None:
    """Print the CPU seconds of fits of skae and PyOD's autoencoder."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n_rows, 5))
    X = np.tanh(latent @ rng.standard_normal((5, n_columns)))
    X += 0.1 * rng.standard_normal(X.shape)
    for label in ("skae", "PyOD AutoEncoder"):
        start = time.process_time()
        DETECTORS[label](0).fit(X)
        print(f"{label}: {time.process_time() - start:.1f} CPU s for {X.shape}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of .npz files")
    parser.add_argument("--sets", nargs="+", help="names of the data sets")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1500, help="rows of a set, at most")
    parser.add_argument("--speed", action="store_true", help="measure large fits")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        for new in DETECTORS.values():  # first fits import modules
            new(0).fit(np.random.default_rng(0).standard_normal((100, 5)))
        if arguments.speed:
            measure_speed()
            return
        results = [
            row
            for seed in range(arguments.seeds)
            for name, X, y in outlier_sets(arguments.data, arguments.rows, seed)
            if not arguments.sets or name in arguments.sets
            for protocol in ("normal", "all")
            for row in run_set(name, X, y, protocol, seed)
        ]
    summarize(pd.DataFrame(results))


if __name__ == "__main__":
    main()
