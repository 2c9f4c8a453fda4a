"""Time of a training step: skae and other libraries.

All methods train the same network with the same number of epochs, batch size and Adam
at a constant learning rate, in float32, on centered rows divided by one number. Rounds
over the methods are interleaved. Printed are medians of the CPU microseconds of a step
(a whole fit divided by its number of steps) and of the reconstruction of a row, and the
fraction of variance unexplained after the fit, also relative to that of the PyTorch
loop.

    python tests/benchmarks/speed.py [--data FOLDER] [--threads N] [--rounds N]
    python tests/benchmarks/speed.py --grid

FOLDER holds mnist.npz; without it, rows of the same shape are simulated. skorch, pythae
and PyOD are included if they are installed: `pip install -e ".[bench]"`. With `--grid`,
a grid search over 45 fits is timed.
"""

import argparse
import contextlib
import importlib.util
import io
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from skae import MLP, AutoencoderTransformer, Conv

LEARNING_RATE = 1e-3
PEERS = ("skorch", "pythae", "pyod")
KERNEL_SIZE = 5


@dataclass(frozen=True)
class Task:
    """Training rows, and the layers and training parameters of an autoencoder.

    With `channels`, rows are square images, and convolutions precede the linear layers.
    """

    X: np.ndarray
    hidden: tuple[int, ...]
    code: int
    batch_size: int
    epochs: int
    channels: tuple[int, ...] = ()

    @property
    def n_steps(self) -> int:
        """Number of steps of a fit."""
        return self.epochs * -(-len(self.X) // self.batch_size)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of units from the rows to the codes."""
        return self.X.shape[1], *self.hidden, self.code

    def warm_up(self) -> "Task":
        """Return a task of one epoch with two batches."""
        return replace(self, X=self.X[: 2 * self.batch_size], epochs=1)


def layers(sizes) -> nn.Sequential:
    """Return linear layers with ReLU between them."""
    modules = []
    for n_in, n_out in pairwise(sizes):
        modules += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def network(task: Task) -> nn.Sequential:
    """Return the task's encoder and decoder."""
    if task.channels:
        return convolutional(task)
    return nn.Sequential(layers(task.sizes), layers(task.sizes[::-1]))


def convolutional(task: Task) -> nn.Sequential:
    """Return convolutions, linear layers and transposed convolutions."""
    side = round(task.X.shape[1] ** 0.5)
    kernel = {"kernel_size": KERNEL_SIZE, "stride": 2, "padding": KERNEL_SIZE // 2}
    encoder, decoder = [nn.Unflatten(1, (1, side, side))], [nn.Flatten()]
    for n_in, n_out in pairwise((1, *task.channels)):
        transposed = nn.ConvTranspose2d(n_out, n_in, output_padding=1, **kernel)
        encoder += [nn.Conv2d(n_in, n_out, **kernel), nn.ReLU()]
        decoder[:0] = [nn.ReLU(), transposed]
        side //= 2
    maps = task.channels[-1], side, side
    sizes = side * side * maps[0], *task.hidden, task.code
    return nn.Sequential(
        *encoder, nn.Flatten(), layers(sizes),
        layers(sizes[::-1]), decoder[0], nn.Unflatten(1, maps), *decoder[1:],
    )  # fmt: skip


def forward(module: nn.Module, X: np.ndarray) -> np.ndarray:
    """Return a module's output for all rows."""
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


def skae_network(task: Task):
    """Return the network of the task as a parameter of skae."""
    if not task.channels:
        return MLP(task.hidden, activation="relu")
    return Conv(
        channels=task.channels,
        kernel_size=KERNEL_SIZE,
        hidden_layer_sizes=task.hidden,
        activation="relu",
    )


def autoencoder(task: Task, precision: str = "float32") -> AutoencoderTransformer:
    """Return an estimator of skae with the network and the optimizer of the task."""
    return AutoencoderTransformer(
        task.code,
        network=skae_network(task),
        init="random",
        solver="adam",
        learning_rate=LEARNING_RATE,
        alpha=0,
        batch_size=task.batch_size,
        max_iter=task.epochs,
        early_stopping=False,
        warm_start=True,  # for a constant learning rate
        device="cpu",
        precision=precision,
        random_state=0,
    )


def skae(task: Task, precision: str = "float32") -> Callable:
    """Fit an estimator of skae."""
    model = autoencoder(task, precision).fit(task.X)
    return lambda X: model.inverse_transform(model.transform(X))


def skae_bfloat16(task: Task) -> Callable:
    """Fit an estimator of skae with matrix products in bfloat16."""
    return skae(task, "bfloat16")


def textbook(task: Task, learning_rate: float = LEARNING_RATE) -> Callable:
    """Fit by a standard PyTorch loop."""
    model = network(task)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    rows = TensorDataset(torch.from_numpy(task.X))
    loader = DataLoader(rows, batch_size=task.batch_size, shuffle=True)
    for _ in range(task.epochs):
        total = 0.0
        for (batch,) in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(batch), batch)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return lambda X: forward(model, X)


def perceptron(task: Task) -> MLPRegressor:
    """Return an MLPRegressor, to be fitted to its own input."""
    return MLPRegressor(
        hidden_layer_sizes=(*task.hidden, task.code, *task.hidden[::-1]),
        learning_rate_init=LEARNING_RATE,
        alpha=0,
        batch_size=task.batch_size,
        max_iter=task.epochs,
        n_iter_no_change=task.epochs,
        tol=0,
        random_state=0,
    )


def mlp_regressor(task: Task) -> Callable:
    """Fit an MLPRegressor."""
    return perceptron(task).fit(task.X, task.X).predict


def skorch_net(task: Task):
    """Return a regressor of skorch."""
    from skorch import NeuralNetRegressor

    return NeuralNetRegressor(
        lambda: network(task),
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        batch_size=task.batch_size,
        max_epochs=task.epochs,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )


def skorch(task: Task) -> Callable:
    """Fit by skorch."""
    return skorch_net(task).fit(task.X, task.X).predict


def pythae(task: Task) -> Callable:
    """Fit by pythae, which writes its results to a folder."""
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = layers(task.sizes)

        def forward(self, x):
            return ModelOutput(embedding=self.layers(x))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = layers(task.sizes[::-1])

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z))

    config = AEConfig(input_dim=(task.X.shape[1],), latent_dim=task.code)
    model = AE(config, encoder=Encoder(), decoder=Decoder())
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=task.epochs,
            per_device_train_batch_size=task.batch_size,
            learning_rate=LEARNING_RATE,
            no_cuda=True,
        )
        TrainingPipeline(model=model, training_config=trainer)(train_data=task.X)
    model.eval()
    return lambda X: (
        model.decoder(model.encoder(torch.from_numpy(X)).embedding)
        .reconstruction.detach()
        .numpy()
    )


def pyod(task: Task) -> Callable:
    """Fit an outlier detector of PyOD, without batch normalization and dropout."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(
        preprocessing=False,
        lr=LEARNING_RATE,
        epoch_num=task.epochs,
        batch_size=task.batch_size,
        optimizer_params={},
        hidden_neuron_list=[*task.hidden, task.code],
        batch_norm=False,
        dropout_rate=0.0,
        verbose=0,
    ).fit(task.X)
    return lambda X: forward(model.model, X)


METHODS = {
    "textbook": textbook,
    "mlp_regressor": mlp_regressor,
    "skorch": skorch,
    "pythae": pythae,
    "pyod": pyod,
    "skae": skae,
}
CONVOLUTIONAL = ("textbook", "skorch", "skae")


def methods(precisions: bool) -> dict[str, Callable]:
    """Return the methods that can be run with the installed packages."""
    found = {
        name: method
        for name, method in METHODS.items()
        if name not in PEERS or importlib.util.find_spec(name)
    }
    for name in PEERS:
        if name not in found:
            print(f'{name} is not installed; run `pip install -e ".[bench]"`')
    if precisions and _has_bfloat16():
        found["skae, bfloat16"] = skae_bfloat16
    return found


def _has_bfloat16():
    try:
        skae_bfloat16(Task(np.eye(8, dtype=np.float32), (), 2, 8, epochs=1))
    except ValueError as error:
        print(error)
        return False
    return True


def standardized(X: np.ndarray) -> np.ndarray:
    """Return centered rows divided by their root mean square, as skae does in `fit`."""
    X = X - X.mean(axis=0)
    return (X / np.sqrt(np.square(X).mean())).astype(np.float32)


def simulated(n: int, d: int) -> np.ndarray:
    """Return rows near a six-dimensional nonlinear manifold, with noise."""
    rng = np.random.default_rng(0)
    manifold = np.tanh(rng.standard_normal((n, 6)) @ rng.standard_normal((6, d)))
    return manifold + 0.1 * rng.standard_normal((n, d))


def images(folder: Path | None) -> np.ndarray:
    """Return 60,000 rows of 784 numbers: MNIST, or simulated ones."""
    path = folder and folder / "mnist.npz"
    if path is None or not path.exists():
        return simulated(60_000, 784)
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["X_train"].reshape(-1, 784) / 255


def tasks(folder: Path | None) -> dict[str, Task]:
    """Return the tasks by name."""
    digits = standardized(load_digits().data)
    mnist = standardized(images(folder))
    return {
        "digits 64-32-8, batch 200": Task(digits, (32,), 8, 200, epochs=150),
        "50,000 x 50: 64-32-8, batch 256": Task(
            standardized(simulated(50_000, 50)), (64, 32), 8, 256, epochs=4
        ),
        "MNIST 256-64-32, batch 256": Task(mnist, (256, 64), 32, 256, epochs=3),
        "MNIST 1000-500-250-30, batch 256": Task(
            mnist[:20_000], (1000, 500, 250), 30, 256, epochs=2
        ),
        "MNIST, 2 convolutions, 500-250-30, batch 128": Task(
            mnist[:20_000], (500, 250), 30, 128, epochs=2, channels=(16, 32)
        ),
    }


@contextlib.contextmanager
def silence():
    """Suppress output: some libraries print despite `verbose=0`."""
    logging.disable(logging.CRITICAL)
    try:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            yield
    finally:
        logging.disable(logging.NOTSET)


def measure(method: Callable, task: Task) -> dict[str, float]:
    """Return the time of a step and of a reconstruction, and its error."""
    with silence():
        start = time.process_time()
        reconstruct = method(task)
        fitted = time.process_time()
        rows = task.X[:10_000]
        error = float(np.square(reconstruct(rows) - rows).mean())
        done = time.process_time()
    return {
        "us a step": (fitted - start) / task.n_steps * 1e6,
        "us a row": (done - fitted) / len(rows) * 1e6,
        "unexplained": error,
    }


def compare(name: str, task: Task, found: dict, n_rounds: int) -> None:
    """Print a table of medians over interleaved rounds."""
    if task.channels:
        found = {label: found[label] for label in CONVOLUTIONAL if label in found}
    for method in found.values():
        measure(method, task.warm_up())
    rounds = [
        {"method": label, **measure(method, task)}
        for _ in range(n_rounds)
        for label, method in found.items()
    ]
    table = pd.DataFrame(rounds).groupby("method", sort=False).median()
    steps = table["us a step"]
    for label in ("textbook", "mlp_regressor"):
        if label not in steps:
            continue
        table[f"ratio of {label}"] = steps[label] / steps
    if "textbook" in steps:
        errors = table["unexplained"]
        table["unexplained / textbook"] = errors / errors["textbook"]
    print(f"\n{name}, {task.n_steps} steps")
    print(table.to_string(float_format=lambda x: f"{x:.4g}"), flush=True)


GRID = {"learning_rate": [1e-3, 3e-3, 1e-2], "alpha": [0.0, 1e-4, 1e-2]}
PERCEPTRON = {"learning_rate": "learning_rate_init"}
SKORCH = {"learning_rate": "lr", "alpha": "optimizer__weight_decay"}


def search(estimator, names: dict[str, str], X, y=None) -> None:
    """Fit an estimator with nine settings on five folds."""
    grid = {names.get(name, name): values for name, values in GRID.items()}
    GridSearchCV(estimator, grid, cv=5, refit=False, error_score="raise").fit(X, y)


def search_by_hand(task: Task) -> None:
    """Do the same with a standard PyTorch loop, which has no parameter `alpha`."""
    for parameters in ParameterGrid(GRID):
        for train, test in KFold(5).split(task.X):
            fold = replace(task, X=task.X[train])
            reconstruct = textbook(fold, parameters["learning_rate"])
            np.square(reconstruct(task.X[test]) - task.X[test]).mean()


def grid(n_rounds: int) -> None:
    """Print the CPU seconds of a search over 45 fits of 10 epochs."""
    task = Task(standardized(load_digits().data), (32,), 8, 200, epochs=10)
    model = autoencoder(task).set_params(warm_start=False)
    searches = {
        "textbook": lambda: search_by_hand(task),
        "mlp_regressor": lambda: search(perceptron(task), PERCEPTRON, task.X, task.X),
        "skae": lambda: search(model, {}, task.X),
    }
    if importlib.util.find_spec("skorch"):
        searches["skorch"] = lambda: search(skorch_net(task), SKORCH, task.X, task.X)
    seconds = {name: [] for name in searches}
    for _ in range(n_rounds + 1):
        for name, run in searches.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    medians = {name: float(np.median(s[1:])) for name, s in seconds.items()}
    print("\n45 fits in a grid search, CPU seconds")
    for name, median in medians.items():
        ratio = median / medians["skae"]
        print(f"{name:15} {median:6.2f}   {ratio:5.2f} times as long as skae")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with mnist.npz")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--grid", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads, torch {torch.__version__}")
    with threadpool_limits(arguments.threads):
        if arguments.grid:
            grid(arguments.rounds)
        else:
            found = methods(precisions=True)
            for name, task in tasks(arguments.data).items():
                compare(name, task, found, arguments.rounds)


if __name__ == "__main__":
    main()
