"""Write the inventories with which Sphinx links the names of other libraries.

The inventories contain the names that the documentation uses and a few related ones, so
that a build needs no network. If Sphinx reports "reference target not found" for a name
of another library, add the name here and run this script.
"""

import zlib
from pathlib import Path

HERE = Path(__file__).parent

# "$" is the name itself.
PAGE_OF_NAME = "generated/$.html#$"
NUMPY = "reference/generated/$.html#$"
SKLEARN = "modules/generated/$.html#$"

# For each library: the type and the address of each name.
NAMES = {
    "python": {
        "collections.abc.Callable": ("class", "library/collections.abc.html#$"),
        "collections.abc.Iterable": ("class", "library/collections.abc.html#$"),
        "collections.abc.Sequence": ("class", "library/collections.abc.html#$"),
        "pickle": ("module", "library/pickle.html#module-$"),
    },
    "numpy": {
        "numpy.asarray": ("function", NUMPY),
        "numpy.load": ("function", NUMPY),
        "numpy.memmap": ("class", NUMPY),
        "numpy.ndarray": ("class", NUMPY),
        "numpy.savez": ("function", NUMPY),
        "numpy.random.Generator": ("class", "reference/random/generator.html#$"),
        "numpy.random.RandomState": ("class", "reference/random/legacy.html#$"),
    },
    "scipy": {
        "scipy.sparse.csc_array": ("class", NUMPY),
        "scipy.sparse.csr_array": ("class", NUMPY),
        "scipy.sparse.csr_matrix": ("class", NUMPY),
    },
    "pandas": {
        "pandas.Categorical": ("class", "reference/api/$.html#$"),
        "pandas.DataFrame": ("class", "reference/api/$.html#$"),
        "pandas.Series": ("class", "reference/api/$.html#$"),
        "pandas.read_csv": ("function", "reference/api/$.html#$"),
        "pandas.read_parquet": ("function", "reference/api/$.html#$"),
    },
    "torch": {
        "torch.Generator": ("class", PAGE_OF_NAME),
        "torch.Tensor": ("class", "tensors.html#$"),
        "torch.compile": ("function", PAGE_OF_NAME),
        "torch.distributed": ("module", "distributed.html#module-$"),
        "torch.export": ("module", "export.html#module-$"),
        "torch.export.export": ("function", "export.html"),
        "torch.jit.trace": ("function", PAGE_OF_NAME),
        "torch.nn": ("module", "nn.html#module-$"),
        "torch.nn.Module": ("class", PAGE_OF_NAME),
        "torch.onnx": ("module", "onnx.html#module-$"),
        "torch.onnx.export": ("function", "onnx.html"),
        "torch.optim": ("module", "optim.html#module-$"),
        "torch.optim.AdamW": ("class", PAGE_OF_NAME),
        "torch.optim.Optimizer": ("class", "optim.html#$"),
        "torch.set_num_threads": ("function", PAGE_OF_NAME),
    },
    "sklearn": {
        "sklearn.base.BaseEstimator": ("class", SKLEARN),
        "sklearn.base.TransformerMixin": ("class", SKLEARN),
        "sklearn.base.clone": ("function", SKLEARN),
        "sklearn.callback.ProgressBar": ("class", SKLEARN),
        "sklearn.callback.ScoringMonitor": ("class", SKLEARN),
        "sklearn.cluster.KMeans": ("class", SKLEARN),
        "sklearn.compose.ColumnTransformer": ("class", SKLEARN),
        "sklearn.compose.TransformedTargetRegressor": ("class", SKLEARN),
        "sklearn.config_context": ("function", SKLEARN),
        "sklearn.covariance.EllipticEnvelope": ("class", SKLEARN),
        "sklearn.datasets.load_breast_cancer": ("function", SKLEARN),
        "sklearn.datasets.load_digits": ("function", SKLEARN),
        "sklearn.datasets.load_iris": ("function", SKLEARN),
        "sklearn.datasets.load_wine": ("function", SKLEARN),
        "sklearn.decomposition.FactorAnalysis": ("class", SKLEARN),
        "sklearn.decomposition.FastICA": ("class", SKLEARN),
        "sklearn.decomposition.IncrementalPCA": ("class", SKLEARN),
        "sklearn.decomposition.KernelPCA": ("class", SKLEARN),
        "sklearn.decomposition.NMF": ("class", SKLEARN),
        "sklearn.decomposition.PCA": ("class", SKLEARN),
        "sklearn.decomposition.SparsePCA": ("class", SKLEARN),
        "sklearn.decomposition.TruncatedSVD": ("class", SKLEARN),
        "sklearn.ensemble.HistGradientBoostingClassifier": ("class", SKLEARN),
        "sklearn.ensemble.IsolationForest": ("class", SKLEARN),
        "sklearn.ensemble.RandomForestClassifier": ("class", SKLEARN),
        "sklearn.feature_extraction.text.CountVectorizer": ("class", SKLEARN),
        "sklearn.feature_extraction.text.TfidfVectorizer": ("class", SKLEARN),
        "sklearn.impute.IterativeImputer": ("class", SKLEARN),
        "sklearn.impute.KNNImputer": ("class", SKLEARN),
        "sklearn.impute.SimpleImputer": ("class", SKLEARN),
        "sklearn.linear_model.LogisticRegression": ("class", SKLEARN),
        "sklearn.linear_model.Ridge": ("class", SKLEARN),
        "sklearn.manifold.TSNE": ("class", SKLEARN),
        "sklearn.metrics.PredictionErrorDisplay": ("class", SKLEARN),
        "sklearn.metrics.r2_score": ("function", SKLEARN),
        "sklearn.metrics.roc_auc_score": ("function", SKLEARN),
        "sklearn.mixture.GaussianMixture": ("class", SKLEARN),
        "sklearn.model_selection.GridSearchCV": ("class", SKLEARN),
        "sklearn.model_selection.GroupKFold": ("class", SKLEARN),
        "sklearn.model_selection.HalvingGridSearchCV": ("class", SKLEARN),
        "sklearn.model_selection.RandomizedSearchCV": ("class", SKLEARN),
        "sklearn.model_selection.KFold": ("class", SKLEARN),
        "sklearn.model_selection.StratifiedKFold": ("class", SKLEARN),
        "sklearn.model_selection.TimeSeriesSplit": ("class", SKLEARN),
        "sklearn.model_selection.cross_val_predict": ("function", SKLEARN),
        "sklearn.model_selection.cross_val_score": ("function", SKLEARN),
        "sklearn.model_selection.train_test_split": ("function", SKLEARN),
        "sklearn.model_selection.learning_curve": ("function", SKLEARN),
        "sklearn.model_selection.validation_curve": ("function", SKLEARN),
        "sklearn.neighbors.KNeighborsClassifier": ("class", SKLEARN),
        "sklearn.neighbors.LocalOutlierFactor": ("class", SKLEARN),
        "sklearn.neighbors.NearestNeighbors": ("class", SKLEARN),
        "sklearn.neural_network.MLPRegressor": ("class", SKLEARN),
        "sklearn.pipeline.FeatureUnion": ("class", SKLEARN),
        "sklearn.pipeline.Pipeline": ("class", SKLEARN),
        "sklearn.pipeline.make_pipeline": ("function", SKLEARN),
        "sklearn.preprocessing.FunctionTransformer": ("class", SKLEARN),
        "sklearn.preprocessing.MinMaxScaler": ("class", SKLEARN),
        "sklearn.preprocessing.OneHotEncoder": ("class", SKLEARN),
        "sklearn.preprocessing.OrdinalEncoder": ("class", SKLEARN),
        "sklearn.preprocessing.QuantileTransformer": ("class", SKLEARN),
        "sklearn.preprocessing.RobustScaler": ("class", SKLEARN),
        "sklearn.preprocessing.StandardScaler": ("class", SKLEARN),
        "sklearn.set_config": ("function", SKLEARN),
        "sklearn.svm.OneClassSVM": ("class", SKLEARN),
        "sklearn.svm.SVC": ("class", SKLEARN),
        "sklearn.utils.gen_batches": ("function", SKLEARN),
    },
}


def inventory(library, names):
    """Return the inventory in version 2 of Sphinx's format, as bytes."""
    header = (
        "# Sphinx inventory version 2\n"
        f"# Project: {library}\n"
        "# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    lines = [
        f"{name} py:{kind} 1 {address.replace('$', name)} -\n"
        for name, (kind, address) in sorted(names.items())
    ]
    return header.encode() + zlib.compress("".join(lines).encode(), 9)


if __name__ == "__main__":
    for library, names in NAMES.items():
        (HERE / f"{library}.inv").write_bytes(inventory(library, names))
