"""The default recipe: what each of its rules gains, and what it costs.

In each variant, one rule of the default parameters is replaced. The measures are the
FVU on test rows and the CPU seconds of the fit, both relative to the default in the
same cells; means are geometric. Data sets are split and standardized as in
reconstruction.py.

    python tests/benchmarks/recipe.py [--data FOLDER] [--sets digits ad_fault]

A cell is a combination of data set, number of components and seed.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from reconstruction import bundled, from_folder, numbers_of_components, split
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skae import MLP, AutoencoderTransformer
from skae.networks._mlp import default_width
from skae.training._auto import default_recipe
from skae.training._fit import REFIT_ROWS

SIZES = {"n < 700": (0, 700), "700 <= n": (700, np.inf)}


def width(factor: float) -> Callable:
    """Return parameters with hidden layers `factor` times as wide."""

    def parameters(X):
        units = int(factor * default_width(X.shape[1], len(X)))
        return {"network": MLP((units, units))}

    return parameters


def steps(factor: float) -> Callable:
    """Return parameters with `factor` times as many steps."""

    def parameters(X):
        recipe = default_recipe(len(X))
        n_batches = np.ceil(len(X) / recipe.batch_size)
        return {"max_iter": int(np.ceil(factor * recipe.n_steps / n_batches))}

    return parameters


def batch(factor: float) -> Callable:
    """Return parameters with batches `factor` times as large, and as many steps."""
    return lambda X: {"batch_size": int(factor * default_recipe(len(X)).batch_size)}


def decay(factor: float) -> Callable:
    """Return parameters with `factor` times the weight decay."""
    return lambda X: {"alpha": factor * default_recipe(len(X)).alpha}


def layers(n_layers: int) -> Callable:
    """Return parameters with another number of hidden layers."""
    return lambda X: {
        "network": MLP((default_width(X.shape[1], len(X)),) * n_layers),
    }


def fixed(**parameters) -> Callable:
    """Return the same parameters for all data."""
    return lambda X: parameters


VARIANTS = {
    "default": fixed(),
    'init="random"': fixed(init="random"),
    'activation="relu"': fixed(network=MLP(activation="relu")),
    'activation="tanh"': fixed(network=MLP(activation="tanh")),
    "1 hidden layer": layers(1),
    "3 hidden layers": layers(3),
    "half the units": width(0.5),
    "twice the units": width(2),
    "no weight decay": decay(0),
    "a tenth of the weight decay": decay(0.1),
    "learning_rate=1e-3": fixed(learning_rate=1e-3),
    "learning_rate=1e-2": fixed(learning_rate=1e-2),
    "half the steps": steps(0.5),
    "twice the steps": steps(2),
    "half the batch size": batch(0.5),
    "twice the batch size": batch(2),
    "early_stopping=True": fixed(early_stopping=True),
    "early_stopping=False": fixed(early_stopping=False),
    "n_scores=None": fixed(network=MLP(n_scores=None)),
    'solver="rmsprop"': fixed(solver="rmsprop"),
    'precision="float64"': fixed(precision="float64"),
    "without a refit": fixed(),
}


def measure(variant: str, X_train, X_test, k: int, seed: int) -> dict:
    """Return the FVU on the test rows and the CPU seconds of a fit."""
    parameters = VARIANTS[variant](X_train)
    model = AutoencoderTransformer(k, device="cpu", random_state=seed, **parameters)
    # No parameter omits the refit.
    refit_rows = 0 if variant == "without a refit" else REFIT_ROWS
    start = time.process_time()
    with patch("skae.training._fit.REFIT_ROWS", refit_rows):
        model.fit(X_train)
    seconds = time.process_time() - start
    residual = model.inverse_transform(model.transform(X_test)) - X_test
    squares = np.square(X_test - X_train.mean(axis=0)).sum()
    return {"fvu": np.square(residual).sum() / squares, "seconds": seconds}


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return geometric means of FVU and seconds relative to the default, by size."""
    cell = ["set", "k", "seed", "n"]
    wide = table.pivot_table(index=cell, columns="variant", values=["fvu", "seconds"])
    columns = {}
    for label, (low, high) in SIZES.items():
        n = wide.index.get_level_values("n")
        part = wide[(n >= low) & (n < high)]
        for measured in ("fvu", "seconds"):
            values = part[measured]
            ratios = np.log(values.div(values["default"], axis=0))
            columns[f"{measured}, {label}"] = np.exp(ratios.mean()).round(3)
    return pd.DataFrame(columns).reindex(
        [v for v in VARIANTS if v in set(table.variant)]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with .npz and .parquet files")
    parser.add_argument("--sets", nargs="+", help="names of the data sets")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, help="file for all results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    sets = dict(bundled())
    sets |= dict(from_folder(arguments.data)) if arguments.data else {}
    results = []
    with threadpool_limits(1):
        for name in arguments.sets or sets:
            for k in numbers_of_components(*sets[name].shape):
                for seed in range(arguments.seeds):
                    rows = split(sets[name], seed)
                    cell = {"set": name, "k": k, "seed": seed, "n": len(sets[name])}
                    for variant in ["default", *arguments.variants]:
                        measured = measure(variant, *rows, k, seed)
                        results.append(cell | {"variant": variant} | measured)
                print(f"{name}, {k} components", flush=True)
    table = pd.DataFrame(results).drop_duplicates(["set", "k", "seed", "variant"])
    if arguments.output:
        table.to_csv(arguments.output, index=False)
    print(summarize(table).to_string())


if __name__ == "__main__":
    main()
