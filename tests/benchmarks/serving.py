"""Time to encode or decode one row and 1000 rows: skae beside PCA.

Both have default parameters. Rows are arrays of digits (8 components), and data frames
and standardized arrays of wine (2 components). Methods are called in turn, in random
order, since a method is faster after another one that calls the same code. Printed are
medians of the microseconds of a call, and their ratios to PCA.

    python tests/benchmarks/serving.py [--threads N] [--calls N]

Two methods run skae's model outside of scikit-learn: as a PyTorch module, and in ONNX
Runtime if it is installed. They do not validate their input. `MLPRegressor` has the
layers of skae's encoder and predicts its codes.
"""

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import AutoencoderTransformer

N_ROWS = {"1 row": 1, "1000 rows": 1000}
WARM_UP = 20
ONNX = ("onnxruntime", "skl2onnx")


def as_torch_module(model: AutoencoderTransformer, part: str) -> Callable:
    """Return a function of arrays that calls the model as a PyTorch module."""
    module = model.to_torch_module(part)

    @torch.inference_mode()
    def call(X):
        return module(torch.from_numpy(X)).numpy()

    return call


def in_onnx_runtime(model: AutoencoderTransformer, X: np.ndarray) -> Callable:
    """Return a function of arrays that encodes them in ONNX Runtime, in float32."""
    import onnxruntime
    import skl2onnx

    import skae.onnx

    skae.onnx.register()
    exported = skl2onnx.to_onnx(model, X[:1].astype(np.float32))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(exported.SerializeToString(), options)
    name = session.get_inputs()[0].name
    return lambda X: session.run(None, {name: X.astype(np.float32)})[0]


def perceptron(model: AutoencoderTransformer, X: np.ndarray) -> MLPRegressor:
    """Return a perceptron with the layers of the encoder, fitted to its codes."""
    sizes = [layer.out_features for layer in model.module_.encoder.network.hidden]
    network = MLPRegressor(hidden_layer_sizes=sizes, max_iter=5, random_state=0)
    return network.fit(X, model.transform(X))


def digits() -> Iterator[tuple[str, dict[str, Callable], dict[str, np.ndarray]]]:
    """Yield the tasks of arrays of digits: encoding and decoding."""
    X = load_digits().data
    pca, model = PCA(8).fit(X), AutoencoderTransformer(8, random_state=0).fit(X)
    encoders = {"PCA": pca.transform, "skae": model.transform}
    decoders = {"PCA": pca.inverse_transform, "skae": model.inverse_transform}
    encoders["skae, PyTorch module"] = as_torch_module(model, "encode")
    decoders["skae, PyTorch module"] = as_torch_module(model, "decode")
    if all(importlib.util.find_spec(name) for name in ONNX):
        encoders["skae, ONNX Runtime"] = in_onnx_runtime(model, X)
    encoders["MLPRegressor"] = perceptron(model, X).predict
    yield "digits, transform", encoders, dict.fromkeys(encoders, X)
    codes = dict.fromkeys(decoders, model.transform(X)) | {"PCA": pca.transform(X)}
    yield "digits, inverse_transform", decoders, codes


def wine() -> Iterator[tuple[str, dict[str, Callable], dict]]:
    """Yield the tasks of data frames, and of arrays in a pipeline with a scaler."""
    frame = load_wine(as_frame=True).data
    estimators = {"PCA": PCA(2), "skae": AutoencoderTransformer(random_state=0)}
    frames = {name: clone(e).fit(frame).transform for name, e in estimators.items()}
    yield "wine, transform of a data frame", frames, dict.fromkeys(frames, frame)
    X = frame.to_numpy()
    pipelines = {
        name: make_pipeline(StandardScaler(), estimator).fit(X).transform
        for name, estimator in estimators.items()
    }
    yield "wine, pipeline with StandardScaler", pipelines, dict.fromkeys(pipelines, X)


def first_rows(X, n_rows: int):
    """Return the first rows of an array or a data frame, repeated if there are few."""
    positions = np.arange(n_rows) % len(X)
    return X.iloc[positions] if isinstance(X, pd.DataFrame) else X[positions]


def medians(methods: dict[str, Callable], inputs: dict, n_calls: int) -> pd.Series:
    """Return the median microseconds of a call of each method."""
    times = {name: np.empty(n_calls) for name in methods}
    rng = np.random.default_rng(0)
    for i in range(-WARM_UP, n_calls):
        for name in rng.permutation(list(methods)):
            start = time.perf_counter()
            methods[name](inputs[name])
            # Those of the warm-up are overwritten.
            times[name][i] = time.perf_counter() - start
    return pd.DataFrame(times).median() * 1e6


def measure(methods: dict[str, Callable], inputs: dict, n_calls: int) -> pd.DataFrame:
    """Return medians, and their ratios to PCA, for each number of rows."""
    columns = {}
    for label, n_rows in N_ROWS.items():
        rows = {name: first_rows(X, n_rows) for name, X in inputs.items()}
        # Fewer calls of many rows take about as long.
        times = medians(methods, rows, max(WARM_UP, n_calls // (1 + n_rows // 100)))
        columns[label] = times.round(1)
        columns[f"{label} / PCA"] = (times / times["PCA"]).round(2)
    return pd.DataFrame(columns)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=3000, help="of one row")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads, torch {torch.__version__}, microseconds")
    with threadpool_limits(arguments.threads):
        for tasks in (digits, wine):
            for title, methods, inputs in tasks():
                table = measure(methods, inputs, arguments.calls)
                print(f"\n{title}\n{table.to_string()}", flush=True)


if __name__ == "__main__":
    main()
