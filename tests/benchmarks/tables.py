"""Tables of mixed columns and missing values: skae beside standard methods.

All methods have default parameters, without tuning. The tables are:

- codes: the error of numbers and the accuracy of categories in reconstructed test rows,
  and the accuracy of a logistic regression on codes, beside factor analysis of mixed
  data (FAMD), and PCA of scaled columns with one-hot categories;
- imputation: the error of values that were hidden, beside the imputers of scikit-learn.

    python tests/benchmarks/tables.py --data FOLDER [--tables imputation] [--quick]

The folder contains the mixed tables titanic, penguins and credit_scoring
(``.parquet``), with the rows for training and test in the column ``_split``, and
numeric tables (``.npz``). All numbers are means over seeds.
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from skae import AutoencoderImputer, AutoencoderTransformer

TARGETS = {"titanic": "survived", "penguins": "species", "credit_scoring": "Status"}
BUNDLED = ("iris", "wine", "breast_cancer", "diabetes")
FROM_FOLDER = ("ad_fault", "ad_cardio", "ad_Ionosphere", "ad_mammography")
# The default of AutoencoderImputer was chosen on these.
DEVELOPMENT = (*BUNDLED, "ad_fault", "titanic")
COMPONENTS = (2, 4)
MAX_ROWS = 600  # in which values are imputed
SETTINGS = (("random", 0.2), ("random", 0.4), ("high values", 0.2))
TABLES = ("codes", "imputation")


def read_mixed(folder: Path, name: str) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Return the columns, the target and whether a row is for training."""
    table = pd.read_parquet(folder / f"{name}.parquet")
    is_train, target = table.pop("_split") == "train", table.pop(TARGETS[name])
    numbers = table.select_dtypes("number")
    # As floats, reconstructions of integers are not rounded.
    return table.assign(**numbers.astype(float)), target, is_train


def numbers_and_categories(X: pd.DataFrame) -> tuple[list, list]:
    """Return the names of the columns of numbers and of categories."""
    numbers = X.select_dtypes("number").columns.tolist()
    return numbers, [name for name in X if name not in numbers]


class OneHot:
    """Numbers as they are, and the indicators of categories.

    Missing values are NaN.
    """

    def fit(self, X: pd.DataFrame) -> "OneHot":
        """Store the names and the levels of the columns."""
        self.columns = X.columns
        self.numbers, self.categories = numbers_and_categories(X)
        self.levels = {name: X[name].dropna().unique() for name in self.categories}
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return entries, those of numbers first."""
        parts = [X[self.numbers].to_numpy()]
        for name, levels in self.levels.items():
            values = X[name].to_numpy(object)[:, np.newaxis]
            missing = X[name].isna().to_numpy()[:, np.newaxis]
            parts.append(np.where(missing, np.nan, values == np.asarray(levels)))
        return np.hstack(parts).astype(float)

    def inverse_transform(self, entries: np.ndarray) -> pd.DataFrame:
        """Return numbers, and the level of each category with the largest entry."""
        columns = dict(zip(self.numbers, entries.T, strict=False))
        start = len(self.numbers)
        for name, levels in self.levels.items():
            largest = entries[:, start : start + len(levels)].argmax(axis=1)
            columns[name] = np.asarray(levels)[largest]
            start += len(levels)
        return pd.DataFrame(columns)[self.columns]


class FAMD:
    """Factor analysis of mixed data (Pagès 2004).

    PCA of z-scores and of centered indicators over the root of their share. Missing
    values are read as the mean.
    """

    def __init__(self, n_components: int):
        self.n_components = n_components

    def fit(self, X: pd.DataFrame) -> "FAMD":
        """Compute the units of the columns and the axes."""
        self.encoding = OneHot().fit(X)
        entries = self.encoding.transform(X)
        self.mean, self.unit = np.nanmean(entries, axis=0), np.nanstd(entries, axis=0)
        n_numbers = len(self.encoding.numbers)
        self.unit[n_numbers:] = np.sqrt(self.mean[n_numbers:])
        self.pca = PCA(self.n_components, svd_solver="full").fit(self._scaled(X))
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return codes."""
        return self.pca.transform(self._scaled(X))

    def inverse_transform(self, codes: np.ndarray) -> pd.DataFrame:
        """Return the reconstruction of codes."""
        entries = self.pca.inverse_transform(codes) * self.unit + self.mean
        return self.encoding.inverse_transform(entries)

    def _scaled(self, X):
        scaled = (self.encoding.transform(X) - self.mean) / self.unit
        return np.nan_to_num(scaled, nan=0.0)


def one_hot_pca(n_components: int):
    """Return PCA of imputed and scaled columns with one-hot categories."""
    numbers = SimpleImputer()
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )
    pca = PCA(n_components, svd_solver="full")
    return make_pipeline(columns, StandardScaler(), pca)


def reconstruction_errors(X, X_train, back) -> dict[str, float]:
    """Return the error of numbers and the accuracy of categories, means over columns.

    The error of numbers is the squared error over the squared deviation from the
    training mean. Missing values are left out.
    """
    numbers, categories = numbers_and_categories(X)
    present, mean = X[numbers].notna().to_numpy(), X_train[numbers].mean().to_numpy()
    values = X[numbers].to_numpy()
    squares = np.square(values - back[numbers].to_numpy())
    null = np.square(values - mean)
    sums = squares.sum(axis=0, where=present) / null.sum(axis=0, where=present)
    accuracies = []
    for name in categories:
        known = X[name].notna().to_numpy()
        equal = X[name].to_numpy(object) == back[name].to_numpy(object)
        accuracies.append(equal[known].mean())
    return {"error": float(sums.mean()), "accuracy": float(np.mean(accuracies))}


def codes_table(folder: Path, n_seeds: int) -> pd.DataFrame:
    """Return results on test rows of each set, number of components and method."""
    rows = []
    for name in TARGETS:
        X, y, is_train = read_mixed(folder, name)
        rows.append(
            {"set": name, "k": 0, "method": "none"} | null_results(X, y, is_train)
        )
        for k in COMPONENTS:
            models = [("one-hot PCA", one_hot_pca(k)), ("FAMD", FAMD(k))]
            models += [
                ("skae", AutoencoderTransformer(k, device="cpu", random_state=seed))
                for seed in range(n_seeds)
            ]
            for method, model in models:
                cell = {"set": name, "k": k, "method": method}
                rows.append(cell | results(model, X, y, is_train))
    return _means(rows, ["set", "k", "method"])


def results(model, X: pd.DataFrame, y: pd.Series, is_train: pd.Series) -> dict:
    """Return errors, accuracy on codes and CPU seconds of `fit` of a model."""
    start = time.process_time()
    model.fit(X[is_train])
    seconds = time.process_time() - start
    codes = model.transform(X[~is_train])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifier.fit(model.transform(X[is_train]), y[is_train])
    accuracy = {"target": classifier.score(codes, y[~is_train]), "seconds": seconds}
    if isinstance(model, Pipeline):  # one-hot encoding of imputed values has no inverse
        return accuracy
    back = model.inverse_transform(codes)
    return reconstruction_errors(X[~is_train], X[is_train], back) | accuracy


def null_results(X: pd.DataFrame, y: pd.Series, is_train: pd.Series) -> dict:
    """Return the results of means and most frequent values."""
    numbers, categories = numbers_and_categories(X)
    X_train, X_test = X[is_train], X[~is_train]
    values = X_train[numbers].mean().to_dict()
    values |= {name: X_train[name].mode()[0] for name in categories}
    back = pd.DataFrame([values] * len(X_test))
    target = (y[~is_train] == y[is_train].mode()[0]).mean()
    return reconstruction_errors(X_test, X_train, back) | {"target": target}


class Ordinal(OneHot):
    """Numbers as they are, and the positions of the levels of categories.

    Missing values are NaN.
    """

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return entries, those of numbers first."""
        parts = [X[self.numbers].to_numpy()]
        for name, levels in self.levels.items():
            positions = pd.Index(levels).get_indexer(X[name]).astype(float)
            parts.append(np.where(positions < 0, np.nan, positions)[:, np.newaxis])
        return np.hstack(parts)

    def inverse_transform(self, entries: np.ndarray) -> pd.DataFrame:
        """Return numbers, and the level at the rounded position of each category."""
        columns = dict(zip([*self.numbers, *self.categories], entries.T, strict=True))
        for name, levels in self.levels.items():
            positions = np.rint(columns[name]).clip(0, len(levels) - 1).astype(int)
            columns[name] = np.asarray(levels)[positions]
        return pd.DataFrame(columns)[self.columns]


def impute(imputer, gaps: pd.DataFrame) -> pd.DataFrame:
    """Return a table without missing values.

    Imputers other than skae read scaled numbers. They read categories as indicators, of
    which the largest is imputed. Iterative imputers read them as positions: they would
    predict indicators from those of the same category, which are missing as well.
    """
    if isinstance(imputer, AutoencoderImputer):
        has_categories = bool(numbers_and_categories(gaps)[1])
        filled = imputer.fit_transform(gaps if has_categories else gaps.to_numpy())
        return pd.DataFrame(filled, gaps.index, gaps.columns)
    encoding = Ordinal() if isinstance(imputer, IterativeImputer) else OneHot()
    encoding, scaler = encoding.fit(gaps), StandardScaler()
    entries = scaler.fit_transform(encoding.transform(gaps))
    filled = scaler.inverse_transform(imputer.fit_transform(entries))
    return encoding.inverse_transform(filled)


def imputers(seed: int, n_trees: int, n_rounds: int) -> dict:
    """Return the imputers."""
    trees = ExtraTreesRegressor(n_estimators=n_trees, random_state=seed)
    return {
        "mean": SimpleImputer(),
        "KNN": KNNImputer(),
        "ridge": IterativeImputer(random_state=seed),
        "trees": IterativeImputer(trees, max_iter=n_rounds, random_state=seed),
        "skae": AutoencoderImputer(random_state=seed),
    }


def complete_sets(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield tables of which values are hidden, each of at most MAX_ROWS random rows."""
    for name in BUNDLED:
        yield name, _some(getattr(datasets, f"load_{name}")().data)
    for name in FROM_FOLDER:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            yield name, _some(arrays["X"].astype(float))
    for name in TARGETS:
        X, _, is_train = read_mixed(folder, name)
        yield name, _some(X[is_train])


def _some(X) -> pd.DataFrame:
    X = pd.DataFrame(X).sample(frac=1, random_state=0).reset_index(drop=True)
    X = X.iloc[:MAX_ROWS]
    return X.loc[:, X.nunique() > 1]


def hide(X: pd.DataFrame, mechanism: str, rate: float, seed: int) -> np.ndarray:
    """Return a mask of the values to hide, at least one of a row remains.

    At random, or with a probability in proportion to the rank of the value in its
    column; for categories, to the rank of the level in the order of the levels.
    """
    rng = np.random.default_rng([seed, 1])
    probability = np.full(X.shape, rate)
    if mechanism == "high values":
        codes = X.apply(lambda c: c.cat.codes if c.dtype == "category" else c)
        probability = 2 * rate * codes.rank(pct=True).fillna(0).to_numpy()
    hidden = (rng.random(X.shape) < probability) & X.notna().to_numpy()
    present = X.notna().to_numpy() & ~hidden
    return hidden & present.any(axis=1, keepdims=True)


def imputation_errors(X, filled, hidden) -> dict[str, float]:
    """Return the error of hidden numbers and the share of wrong hidden categories.

    The error is the root of the mean square, in units of the deviation of the column.
    """
    numbers, categories = numbers_and_categories(X)
    values = X[numbers].to_numpy()
    scaled = (filled[numbers].to_numpy() - values) / np.nanstd(values, axis=0)
    of_numbers = hidden[:, [X.columns.get_loc(name) for name in numbers]]
    errors = {"error": np.sqrt(np.square(scaled[of_numbers]).mean())}
    if categories:
        of_categories = hidden[:, [X.columns.get_loc(name) for name in categories]]
        wrong = X[categories].to_numpy(object) != filled[categories].to_numpy(object)
        errors["wrong"] = wrong[of_categories].mean()
    return errors


def imputation_table(folder: Path, n_seeds: int, names, sizes) -> pd.DataFrame:
    """Return errors and seconds of each set, way of hiding and method."""
    rows = []
    for name, X in complete_sets(folder):
        for mechanism, rate in SETTINGS if not names or name in names else ():
            for seed in range(n_seeds):
                hidden = hide(X, mechanism, rate, seed)
                gaps = X.mask(hidden)
                for method, imputer in imputers(seed, *sizes).items():
                    start = time.process_time()
                    filled = impute(imputer, gaps)
                    seconds = time.process_time() - start
                    cell = {"set": name, "missing": f"{rate:.0%} {mechanism}"}
                    cell |= {"method": method, "seconds": seconds}
                    rows.append(cell | imputation_errors(X, filled, hidden))
            print(f"{name}, {rate:.0%} {mechanism}: done", flush=True)
    return _means(rows, ["missing", "set", "method"])


def _means(rows: list[dict], by: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows).groupby(by, sort=False).mean()


def print_imputation(table: pd.DataFrame) -> None:
    """Print a table for each measure, and ratios to KNN and extra-trees."""
    for measure, title in {
        "error": "error of numbers",
        "wrong": "share of wrong categories",
        "seconds": "CPU seconds",
    }.items():
        wide = table[measure].dropna().unstack(sort=False)
        if len(wide):
            print(
                f"\n{title}\n{wide.round(3 if measure != 'seconds' else 2).to_string()}"
            )
    for group, is_chosen in (("development sets", True), ("other sets", False)):
        of_group = table.index.isin(DEVELOPMENT, level="set") == is_chosen
        for missing, part in table[of_group].groupby("missing", sort=False):
            print(f"\n{group}, {missing}")
            _print_ratios(part)


def _print_ratios(table):
    for measure in ("error", "wrong", "seconds"):
        wide = table[measure].dropna().unstack(sort=False)
        for peer in ("KNN", "trees") if len(wide) else ():
            ratios = wide["skae"] / wide[peer]
            print(
                f"  {measure}, skae / {peer}: geometric mean "
                f"{np.exp(np.log(ratios).mean()):.3f}, highest {ratios.max():.3f} "
                f"({ratios.idxmax()[1]}), above 1 in {(ratios > 1).sum()} of "
                f"{len(ratios)}"
            )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--sets", nargs="+", help="sets in which values are imputed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trees", type=int, default=10, help="number of extra-trees")
    parser.add_argument("--rounds", type=int, default=5, help="max_iter with trees")
    parser.add_argument("--quick", action="store_true", help="one seed, three sets")
    arguments = parser.parse_args()
    sets, n_seeds = arguments.sets, arguments.seeds
    sizes = arguments.trees, arguments.rounds
    if arguments.quick:
        sets, n_seeds = sets or ["iris", "wine", "penguins"], 1
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        if "codes" in arguments.tables:
            print(codes_table(arguments.data, n_seeds).round(3).to_string())
        if "imputation" in arguments.tables:
            print_imputation(imputation_table(arguments.data, n_seeds, sets, sizes))


if __name__ == "__main__":
    main()
