"""Recipes for Dask, Ray and Spark, which the documentation shows.

Each recipe runs on this machine and is compared with a single process. It requires the
extra `cluster`, which is large, and Java for Spark.

    python -m pip install -e ".[cluster]"
    python tests/cluster_recipes.py
"""

import sys
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV

from skae import AutoencoderTransformer

rng = np.random.default_rng(0)
ROWS = np.tanh(rng.standard_normal((2000, 3)) @ rng.standard_normal((3, 10)))
FRAME = pd.DataFrame(ROWS, columns=[f"x{i}" for i in range(10)])


def write_parts(folder):
    """Write the rows of two ranks."""
    FRAME[:1200].to_parquet(f"{folder}/0.parquet")
    FRAME[1200:].to_parquet(f"{folder}/1.parquet")


def train(folder):
    """Fit on the rows of this rank, together with all other ranks."""
    import torch.distributed as dist

    rows = pd.read_parquet(f"{folder}/{dist.get_rank()}.parquet")
    model = AutoencoderTransformer(2, max_iter=2, random_state=0, distributed=True)
    return model.fit(rows)


def spark_train(folder):
    """Fit on Spark, in one process for each part."""
    from pyspark.ml.torch.distributor import TorchDistributor

    def run(folder):
        import torch.distributed as dist

        dist.init_process_group("gloo")
        try:
            return train(folder)
        finally:
            dist.destroy_process_group()

    distributor = TorchDistributor(num_processes=2, local_mode=True, use_gpu=False)
    return distributor.run(run, folder)


def spark_transform(model, frame):
    """Encode a data frame of Spark."""

    def encode(batches):
        for batch in batches:
            yield pd.DataFrame(model.transform(batch), columns=["ae0", "ae1"])

    return frame.mapInPandas(encode, "ae0 double, ae1 double")


def ray_train(folder):
    """Fit on Ray, in two workers."""
    from ray.train import RunConfig, ScalingConfig, get_context
    from ray.train.torch import TorchConfig, TorchTrainer

    def run(config):
        model = train(config["folder"])
        if get_context().get_world_rank() == 0:
            joblib.dump(model, config["folder"] + "/model.joblib")

    TorchTrainer(
        run,
        train_loop_config={"folder": folder},
        scaling_config=ScalingConfig(num_workers=2),
        torch_config=TorchConfig(backend="gloo"),
        run_config=RunConfig(storage_path=folder),
    ).fit()
    return joblib.load(folder + "/model.joblib")


def ray_transform(model, dataset):
    """Encode a dataset of Ray."""

    def encode(batch):
        return pd.DataFrame(model.transform(batch), columns=["ae0", "ae1"])

    return dataset.map_batches(encode, batch_format="pandas")


def dask_train(client, folder, address):
    """Fit on Dask, in one process of each worker."""

    def run(rank, n_ranks):
        import torch.distributed as dist

        dist.init_process_group("gloo", address, rank=rank, world_size=n_ranks)
        try:
            return train(folder)
        finally:
            dist.destroy_process_group()

    workers = list(client.scheduler_info()["workers"])
    ranks = range(len(workers))
    options = [{"workers": [worker], "pure": False} for worker in workers]
    runs = [client.submit(run, r, len(workers), **options[r]) for r in ranks]
    return client.gather(runs)[0]


def dask_transform(model, array):
    """Encode an array of Dask, block by block."""
    from dask_ml.wrappers import ParallelPostFit

    return ParallelPostFit(model).transform(array)


def dask_partial_fit(array):
    """Train for one epoch on each block of an array of Dask."""
    from dask_ml.wrappers import Incremental

    return Incremental(AutoencoderTransformer(2, random_state=0)).fit(array).estimator_


def search(backend):
    """Search on a cluster, with "dask" or "ray" as back end of joblib."""
    model = AutoencoderTransformer(max_iter=1, random_state=0)
    grid = GridSearchCV(model, {"n_components": [1, 2]}, cv=2)
    with joblib.parallel_config(backend):
        return grid.fit(ROWS)


def check(name, result, expected, tolerance=1e-6):
    """Print the difference from a single process; raise if it is large."""
    difference = np.abs(np.asarray(result) - np.asarray(expected)).max()
    print(f"{name:<20} {difference:.1e}", flush=True)
    if difference > tolerance:
        raise SystemExit(f"{name} differs from a single process")


def check_dask(codes, scores):
    """Compare the recipes for Dask with a single process."""
    import dask.array
    from distributed import Client

    array = dask.array.from_array(ROWS, chunks=(500, 10))
    model = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(ROWS)
    check("dask_transform", dask_transform(model, array).compute(), codes)
    # Other steps than those of a fit: only as good.
    score = dask_partial_fit(array).score(ROWS)
    check("dask_partial_fit", score, model.score(ROWS), tolerance=0.05)
    options = {"threads_per_worker": 1, "dashboard_address": None}
    with tempfile.TemporaryDirectory() as folder, Client(n_workers=2, **options) as c:
        write_parts(folder)
        address = f"file://{folder}/address"
        check("dask_train", dask_train(c, folder, address).transform(FRAME), codes)
        check("search dask", search("dask").cv_results_["mean_test_score"], scores)


def check_ray(codes, scores):
    """Compare the recipes for Ray with a single process."""
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    register_ray()
    model = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(FRAME)
    encoded = ray_transform(model, ray.data.from_pandas(FRAME))
    check("ray_transform", encoded.to_pandas(), codes)
    with tempfile.TemporaryDirectory() as folder:
        write_parts(folder)
        check("ray_train", ray_train(folder).transform(FRAME), codes)
    check("search ray", search("ray").cv_results_["mean_test_score"], scores)


def check_spark(codes, scores):
    """Compare the recipes for Spark with a single process."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[2]").getOrCreate()
    model = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(FRAME)
    encoded = spark_transform(model, spark.createDataFrame(FRAME))
    check("spark_transform", encoded.toPandas(), codes)
    with tempfile.TemporaryDirectory() as folder:
        write_parts(folder)
        check("spark_train", spark_train(folder).transform(FRAME), codes)


def main():
    """Run the recipes of the libraries named as arguments, by default of all."""
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).parent))
    model = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(ROWS)
    codes, scores = model.transform(ROWS), search("loky").cv_results_["mean_test_score"]
    checks = {"dask": check_dask, "ray": check_ray, "spark": check_spark}
    for name in sys.argv[1:] or checks:
        checks[name](codes, scores)


if __name__ == "__main__":
    main()
