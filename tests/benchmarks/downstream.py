"""Accuracy of classifiers on codes: skae beside PCA.

Both have default parameters. Each data set is split into 75 % training rows and 25 %
test rows, and standardized. A logistic regression on standardized codes and 5 nearest
neighbors are trained on the codes of the training rows. For sets with anomalies the
classes are unbalanced, so the measure is balanced accuracy.

    python tests/benchmarks/downstream.py [--data FOLDER] [--sets digits wine]

Rows are data sets with a number of components; numbers are means over seeds.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from reconstruction import MAX_ROWS, numbers_of_components
from sklearn import datasets
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import AutoencoderTransformer

BUNDLED = ("digits", "breast_cancer", "wine", "iris")
CLASSIFIERS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    "5-NN": KNeighborsClassifier(5),
}


def labeled_sets(folder: Path | None) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, rows and labels of the bundled sets and of those in a folder."""
    for name in BUNDLED:
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True)
    for path in sorted(folder.glob("*.npz")) if folder else ():
        with np.load(path, allow_pickle=False) as arrays:
            parts = [""] if "X" in arrays else ["_train", "_test"]
            if f"y{parts[0]}" in arrays:
                X = np.concatenate([arrays[f"X{part}"] for part in parts])
                y = np.concatenate([arrays[f"y{part}"] for part in parts])
                some = np.random.default_rng(0).permutation(len(X))[:MAX_ROWS]
                yield path.stem, X[some].reshape(len(some), -1).astype(float), y[some]


def accuracies(reducer, X, y, seed: int) -> dict[str, float]:
    """Return the balanced accuracy on test rows of each classifier."""
    rows = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y)
    X_train, X_test, y_train, y_test = rows
    reduce = make_pipeline(StandardScaler(), reducer).fit(X_train)
    codes, test_codes = reduce.transform(X_train), reduce.transform(X_test)
    return {
        name: balanced_accuracy_score(
            y_test, clone(classifier).fit(codes, y_train).predict(test_codes)
        )
        for name, classifier in CLASSIFIERS.items()
    }


def run_cell(name: str, X, y, k: int, n_seeds: int) -> dict:
    """Return the mean accuracies for a number of components, and print them."""
    row = {"set": name, "n": len(X), "d": X.shape[1], "k": k}
    for classifier in CLASSIFIERS:
        row |= dict.fromkeys((f"{classifier} PCA", f"{classifier} skae"), 0.0)
    for seed in range(n_seeds):
        skae = AutoencoderTransformer(k, device="cpu", random_state=seed)
        for label, reducer in (("PCA", PCA(k, svd_solver="full")), ("skae", skae)):
            for classifier, accuracy in accuracies(reducer, X, y, seed).items():
                row[f"{classifier} {label}"] += accuracy / n_seeds
    print(
        " ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
    )
    return row


def summarize(table: pd.DataFrame) -> None:
    """Print means, and the cell in which skae is most below PCA."""
    for classifier in CLASSIFIERS:
        pca, skae = table[f"{classifier} PCA"], table[f"{classifier} skae"]
        gain = skae - pca
        lowest = table.loc[gain.idxmin()]
        print(f"\n{classifier}: PCA {pca.mean():.3f}, skae {skae.mean():.3f}")
        print(f"  skae is better in {(gain > 0).sum()} of {len(table)} cells,")
        print(f"  worse in {(gain < 0).sum()}, by over 0.02 in {(gain < -0.02).sum()}")
        print(f"  lowest gain {gain.min():.3f} ({lowest['set']}, k={lowest['k']})")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with .npz files")
    parser.add_argument("--sets", nargs="+", help="names of the data sets")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        table = pd.DataFrame(
            run_cell(name, X, y, k, arguments.seeds)
            for name, X, y in labeled_sets(arguments.data)
            if not arguments.sets or name in arguments.sets
            for k in numbers_of_components(*X.shape)
        )
    summarize(table)


if __name__ == "__main__":
    main()
