"""Scripts that run in several processes of one process group."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

TIME_LIMIT = 100  # seconds, which only ends scripts that hang

START = """
import json, os, pickle, signal, sys, time, warnings
import numpy as np, torch, torch.distributed as dist
from sklearn.exceptions import ConvergenceWarning
from skae import *
from ranks import *
from variants import digest, quick
torch.set_num_threads(1)
warnings.simplefilter("error")
warnings.filterwarnings("ignore", category=ConvergenceWarning)
signal.signal(signal.SIGINT, signal.default_int_handler)
rank = int(os.environ["RANK"])
dist.init_process_group(
    "gloo", init_method=os.environ["INIT"], rank=rank,
    world_size=int(os.environ["N_RANKS"]),
)
"""


class StopAt:
    """A callback that stops training, or raises an error, after some epochs."""

    def __init__(self, n_epochs, action):
        self.n_epochs = n_epochs
        self.action = action

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.n_epochs -= 1
            if self.n_epochs == 0:
                return self.action()
        return False


def rows(n=3000, d=10):
    """Return rows near a curved surface, with distinct variances of the noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    X = np.tanh(rng.standard_normal((n, 3)) @ rng.standard_normal((3, d)))
    return X + rng.standard_normal((n, d)) * np.linspace(0.02, 0.2, d)


def with_batch_norm(n_features, n_components, n_samples):
    """Return an encoder whose outputs depend on all rows of a batch, and a decoder."""
    from torch import nn

    layers = nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU()
    decoder = nn.Linear(n_components, n_features)
    return nn.Sequential(*layers, nn.Linear(8, n_components)), decoder


def divide_steps():
    """Treat small steps like large ones, which are divided between the ranks."""
    from skae.training import _trainer

    _trainer.DIVIDED_STEP = 0


def exceed_memory():
    """Treat small data like data that exceed the memory, and divide steps."""
    from skae.data import _validation
    from skae.training import _batches

    _validation.MAX_HELD_ENTRIES = _batches.RESIDENT_BYTES = 0
    divide_steps()


def error_of(function, *args, **kwargs):
    """Return the type and the message of the error that a function raises."""
    try:
        function(*args, **kwargs)
    except BaseException as error:
        return [type(error).__name__, str(error)]
    return None


def run_ranks(script, n_ranks=2, may_fail=()):
    """Return the JSON that a script prints at last on each rank, or None."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "INIT": f"file://{folder}/store",
            "OMP_NUM_THREADS": "1",
            "N_RANKS": str(n_ranks),
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent), *filter(None, sys.path)]
            ),
        }
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", START + textwrap.dedent(script)],
                env={**environment, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(n_ranks)
        ]
        try:
            outputs = [p.communicate(timeout=TIME_LIMIT) for p in processes]
        finally:
            for process in processes:
                process.kill()
    for rank, (process, (_, errors)) in enumerate(zip(processes, outputs, strict=True)):
        assert rank in may_fail or process.returncode == 0, errors
    return [
        json.loads(printed.splitlines()[-1]) if printed else None
        for printed, _ in outputs
    ]
