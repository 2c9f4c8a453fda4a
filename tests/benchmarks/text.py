"""Codes of sparse text matrices: skae and TruncatedSVD (LSA).

Texts are represented by weights of words and word pairs: TF-IDF (sublinear, normalized
to length 1), counts, or presence. Codes of 2 to 64 components are learned from training
texts without labels, and evaluated on test texts. Four tables:

- accuracy: balanced accuracy of a logistic regression on standardized codes, and of 5
  nearest neighbors on the codes;
- deviance: fraction of the Poisson deviance of the counts that is explained; the
  reconstructions of TruncatedSVD are clipped to a minimum rate of 1e-3;
- sequences: the input is the first 12 words as tokens, with a vocabulary of 1000 words;
  for each network with 8 components, the fraction of the cross-entropy that is
  explained, the fraction of words that are reconstructed, and the accuracies;
- cost: seconds of the fit, number of epochs, seconds of `transform`, and the memory
  that the fit adds to the process in MB, for vocabularies of several sizes.

"start (PCA)" is the autoencoder before training (`max_iter=0`). Networks have one
hidden layer of 64 units and `max_iter=25`, except for the rows "default" of the cost
table. All fits use one thread.

    python tests/benchmarks/text.py --data FOLDER [--tables NAME ...] [--sets NAME ...]
        [--models NAME ...] [--seeds N]

The folder holds text_ag_news.parquet and text_sms_spam.parquet, with the columns
`_split` ("train" or "test"), `text` and `label`. `--models` selects rows of the table
"accuracy".
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import MLP, AutoencoderTransformer, Conv, Recurrent

SETS = ("ag_news", "sms_spam")
SIZES = (2, 8, 16, 32, 64)
N_WORDS = 10_000
VOCABULARIES = (10_000, 20_000, 50_000)
MIN_RATE = 1e-3  # of a word, in reconstructions of TruncatedSVD

WORDS = {"ngram_range": (1, 2), "dtype": np.float32}
WEIGHTS = {
    "TF-IDF": (TfidfVectorizer, {"sublinear_tf": True}),
    "counts": (CountVectorizer, {}),
    "presence": (CountVectorizer, {"binary": True}),
}
SMALL = {"network": MLP((64,)), "max_iter": 25}
LOW_RATE = SMALL | {"loss": "poisson", "learning_rate": 1e-3}
MODELS = {
    "TruncatedSVD": ("TF-IDF", None),
    "start (PCA)": ("TF-IDF", {"max_iter": 0}),
    "poisson": ("TF-IDF", SMALL | {"loss": "poisson"}),
    "poisson, learning_rate=1e-3": ("TF-IDF", LOW_RATE),
    "TruncatedSVD, counts": ("counts", None),
    "TruncatedSVD, presence": ("presence", None),
    "log_loss, presence": ("presence", SMALL | {"loss": "log_loss"}),
    "poisson, counts": ("counts", SMALL | {"loss": "poisson"}),
    "squared_error": ("TF-IDF", SMALL),
    "log_loss": ("TF-IDF", SMALL | {"loss": "log_loss"}),
}
N_TOKENS, N_STEPS = 1000, 12
TOKEN_NETWORKS = {
    "start (PCA)": MLP(()),
    "MLP()": MLP(),
    "MLP((64,))": MLP((64,)),
    "Conv()": Conv(),
    "Recurrent()": Recurrent(),
}
LOSSES = {"squared_error": {}, "poisson": {"loss": "poisson"}}


def texts(folder: Path, name: str) -> dict[str, tuple[pd.Series, pd.Series]]:
    """Return training and test texts, and their labels."""
    table = pd.read_parquet(folder / f"text_{name}.parquet")
    return {
        part: (rows["text"], rows["label"].astype("category").cat.codes)
        for part, rows in table.groupby("_split")
    }


def weights(data: dict, kind: str, n_words: int):
    """Return the weights of words in training and test texts, in CSR format."""
    vectorizer, options = WEIGHTS[kind]
    vectorizer = vectorizer(max_features=n_words, **WORDS, **options)
    X = vectorizer.fit_transform(data["train"][0])
    return X, vectorizer.transform(data["test"][0])


def reducer(k: int, options: dict | None, seed: int):
    """Return TruncatedSVD, or an autoencoder with options."""
    if options is None:
        return TruncatedSVD(k, random_state=seed)
    return AutoencoderTransformer(k, device="cpu", random_state=seed, **options)


def measures(model, X, X_test, y, y_test) -> dict[str, float]:
    """Return the accuracy of classifiers on codes, and the seconds of the fit."""
    start = time.process_time()
    codes = model.fit(X).transform(X)
    seconds = time.process_time() - start
    classifiers = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "neighbors": KNeighborsClassifier(5),
    }
    test_codes = model.transform(X_test)
    scores = {
        name: balanced_accuracy_score(y_test, c.fit(codes, y).predict(test_codes))
        for name, c in classifiers.items()
    }
    return scores | {"seconds": seconds}


def accuracy(folder: Path, sets: list[str], n_seeds: int) -> pd.DataFrame:
    """Return the accuracy of classifiers on codes, averaged over seeds."""
    table = {}
    for name in sets:
        data = texts(folder, name)
        labels = data["train"][1], data["test"][1]
        for label, (kind, options) in MODELS.items():
            X, X_test = weights(data, kind, N_WORDS)
            for k in SIZES:
                runs = [
                    measures(reducer(k, options, seed), X, X_test, *labels)
                    for seed in range(n_seeds)
                ]
                table[name, label, k] = pd.DataFrame(runs).mean()
                print(name, label, k, *table[name, label, k].round(3), flush=True)
    return pd.DataFrame(table).T.unstack()


def half_deviance(counts: np.ndarray, rates: np.ndarray) -> float:
    """Return half the sum of the Poisson deviance of counts."""
    logs = np.log(np.where(counts > 0, counts / rates, 1.0))
    return float(np.sum(rates - counts + counts * logs))


def svd_deviance(model: TruncatedSVD, X, X_test) -> float:
    """Return the fraction of deviance explained by a TruncatedSVD."""
    mean = np.maximum(np.asarray(X.mean(axis=0)).ravel(), 1e-5)
    loss = null = 0.0
    for start in range(0, X_test.shape[0], 500):
        rows = X_test[start : start + 500]
        rates = model.inverse_transform(model.transform(rows))
        loss += half_deviance(rows.toarray(), np.maximum(rates, MIN_RATE))
        null += half_deviance(rows.toarray(), mean)
    return 1 - loss / null


def tokens(data: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the first words of texts as tokens; 0 is padding, 1 any other word."""
    vectorizer = CountVectorizer(max_features=N_TOKENS - 2).fit(data["train"][0])
    number = {word: i + 2 for i, word in enumerate(vectorizer.get_feature_names_out())}
    split = vectorizer.build_analyzer()
    numbered = []
    for part in ("train", "test"):
        X = np.zeros((len(data[part][0]), N_STEPS), dtype=int)
        for row, text in zip(X, data[part][0], strict=True):
            words = [number.get(word, 1) for word in split(text)[:N_STEPS]]
            row[: len(words)] = words
        numbered.append(X)
    return tuple(numbered)


def sequences(folder: Path, sets: list[str], n_seeds: int) -> pd.DataFrame:
    """Return scores and accuracies of codes of the first words, by network."""
    table = {}
    networks, seeds = TOKEN_NETWORKS.items(), range(n_seeds)
    for name, (label, network), seed in product(sets, networks, seeds):
        data = texts(folder, name)
        X, X_test = tokens(data)
        max_iter = 0 if label == "start (PCA)" else 40
        options = {"network": network, "loss": "cross_entropy", "max_iter": max_iter}
        model = reducer(8, options, seed)
        row = measures(model, X, X_test, data["train"][1], data["test"][1])
        back = model.inverse_transform(model.transform(X_test))
        row["explained"] = model.score(X_test)
        row["words"] = (back == X_test)[X_test > 1].mean()
        table[name, label, seed] = row
        print(name, label, seed, row, flush=True)
    return pd.DataFrame(table).T.groupby(level=[0, 1], sort=False).mean()


def deviance(folder: Path, sets: list[str], n_seeds: int) -> pd.DataFrame:
    """Return the fraction of the deviance of counts that is explained."""
    table = {}
    for name in sets:
        X, X_test = weights(texts(folder, name), "counts", N_WORDS)
        for k in SIZES:
            svd = reducer(k, None, 0).fit(X)
            start = reducer(k, {"loss": "poisson", "max_iter": 0}, 0).fit(X)
            options = SMALL | {"loss": "poisson"}
            trained = [reducer(k, options, seed).fit(X) for seed in range(n_seeds)]
            table[name, k] = {
                "TruncatedSVD": svd_deviance(svd, X, X_test),
                "start (PCA)": start.score(X_test),
                "poisson": np.mean([model.score(X_test) for model in trained]),
            }
    return pd.DataFrame(table).T


def one_cost(folder: Path, n_words: int, label: str, options: dict) -> None:
    """Print time and memory of one fit; run in a separate process."""
    X, X_test = weights(texts(folder, "ag_news"), "TF-IDF", n_words)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model, start = reducer(16, options, 0), time.process_time()
    model.fit(X)
    seconds = time.process_time() - start
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    start = time.process_time()
    model.transform(X_test)
    encoding = time.process_time() - start
    epochs = getattr(model, "n_iter_", 0)
    print(X.shape[1], label, round(seconds, 1), epochs, round(encoding, 2), added >> 10)


COSTS = {"TruncatedSVD": None, "start (PCA)": {"max_iter": 0}} | {
    f"{loss}{suffix}": options | size
    for suffix, size in ((", default", {}), ("", SMALL))
    for loss, options in LOSSES.items()
}


def cost(folder: Path, sets: list[str], n_seeds: int) -> pd.DataFrame:
    """Return time and memory of fits, each in a separate process."""
    rows = []
    for n_words in VOCABULARIES:
        for label in COSTS:
            command = [sys.executable, __file__, "--data", str(folder)]
            command += ["--one-cost", str(n_words), label]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(done.stdout.strip(), flush=True)
            rows.append([n_words, label, *map(float, done.stdout.split()[-4:])])
    columns = ["words", "model", "seconds", "epochs", "encoding", "MB"]
    return pd.DataFrame(rows, columns=columns).set_index(["words", "model"])


TABLES = {
    "accuracy": accuracy,
    "sequences": sequences,
    "deviance": deviance,
    "cost": cost,
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one-cost", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        if arguments.one_cost:
            n_words, label = arguments.one_cost
            one_cost(arguments.data, int(n_words), label, COSTS[label])
            return
        for label in set(MODELS) - set(arguments.models):
            del MODELS[label]
        for name in arguments.tables:
            table = TABLES[name](arguments.data, arguments.sets, arguments.seeds)
            print(f"\n{name}\n{table.to_string(float_format='{:.3f}'.format)}")


if __name__ == "__main__":
    main()
