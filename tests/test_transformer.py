"""`AutoencoderTransformer` compared with PCA, in a pipeline and in a search."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from runs import curve, gaussian
from scipy.linalg import subspace_angles
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skae import MLP, AutoencoderTransformer, Ordered

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SETS = {f.__name__: f for f in (load_iris, load_wine, load_breast_cancer, load_digits)}


def quick(n_components=2, **params):
    """Return an estimator that is fitted in a few milliseconds."""
    defaults = {"network": MLP((16,)), "max_iter": 5, "random_state": 0}
    return AutoencoderTransformer(n_components, **(defaults | params))


def pca_score(pca, X):
    residual = X - pca.inverse_transform(pca.transform(X))
    return 1 - (residual**2).sum() / ((X - pca.mean_) ** 2).sum()


@pytest.mark.parametrize("name", SETS)
def test_without_training_the_model_is_pca(name):
    X = SETS[name](return_X_y=True)[0]
    model, pca = quick(3, max_iter=0, precision="float64").fit(X), PCA(3).fit(X)
    scores = pca.transform(X)
    assert_allclose(model.transform(X), scores / scores[:, 0].std(), atol=1e-7)
    back = model.inverse_transform(model.transform(X))
    assert_allclose(back, pca.inverse_transform(scores), atol=1e-7)
    assert model.score(X) == pytest.approx(pca_score(pca, X))
    assert (model.n_iter_, model.best_iter_, model.loss_curve_) == (0, 0, [])


def test_without_training_explained_variance_is_that_of_pca():
    X = curve(200)
    ratio = quick(4, max_iter=0, precision="float64").fit(X).explained_variance_ratio_
    assert_allclose(ratio, PCA(4).fit(X).explained_variance_ratio_, atol=1e-9)


@quiet
def test_linear_network_spans_the_subspace_of_pca(global_random_seed):
    X = curve(64, global_random_seed)
    model = quick(
        2, network=MLP(()), init="random", solver="lbfgs", alpha=0, max_iter=25
    ).set_params(early_stopping=False, random_state=global_random_seed)
    model.fit(X)
    decoder = model.module_.decoder.output.weight.detach().numpy()
    angles = subspace_angles(decoder, PCA(2).fit(X).components_.T)
    assert angles.max() < 1e-2


@quiet
@pytest.mark.parametrize("name", SETS)
def test_unseen_rows_are_not_reconstructed_worse_than_by_pca(name, global_random_seed):
    seed = global_random_seed
    X = StandardScaler().fit_transform(SETS[name](return_X_y=True)[0])
    X_train, X_test = train_test_split(X, random_state=seed)
    model = quick(2, max_iter=15, random_state=seed).fit(X_train)
    assert model.score(X_test) > pca_score(PCA(2).fit(X_train), X_test) - 2e-3


def test_training_finds_a_curve_that_pca_cannot(global_random_seed):
    X_train, X_test = curve(400, global_random_seed), curve(200, seed=100)
    params = {"network": MLP((32,)), "random_state": global_random_seed}
    model = quick(1, max_iter="auto", **params).fit(X_train)
    unexplained = 1 - pca_score(PCA(1).fit(X_train), X_test)
    assert 1 - model.score(X_test) < unexplained / 3


@quiet
@pytest.mark.parametrize("solver", ["adamw", "adam"])
def test_integer_weights_equal_repeated_rows(solver):
    X = curve(12)
    weight = np.array([1, 2, 3, 0] * 3)
    model = quick(2, solver=solver, alpha=0.1)
    codes = model.fit(X, sample_weight=weight).transform(X)
    assert_allclose(model.fit(X.repeat(weight, axis=0)).transform(X), codes, rtol=1e-7)
    assert not np.allclose(model.fit(X).transform(X), codes, rtol=1e-3)


@quiet
def test_the_fewest_components_that_explain_a_share_are_kept():
    X = StandardScaler().fit_transform(load_wine().data)
    model = quick(0.9, max_iter=30, early_stopping=False).fit(X)
    total = model.explained_variance_ratio_.cumsum()
    assert model.transform(X).shape[1] == model.n_components_ == len(total)
    assert total[-1] >= 0.9 > total[-2]
    assert model.n_components_ <= PCA(0.9).fit(X).n_components_


@quiet
@pytest.mark.parametrize("network", [MLP((16,)), MLP((16,), dropout=0.2)])
def test_epochs_in_several_calls_equal_as_many_in_one(network):
    X = curve(100)
    params = {"network": network, "early_stopping": False, "warm_start": True}
    once = quick(**params, max_iter=6).fit(X)
    twice = quick(**params, max_iter=3).fit(X).fit(X)
    parts = quick(**params)
    for _ in range(6):
        parts.partial_fit(X)
    for model in (twice, parts):
        assert_array_equal(model.transform(X), once.transform(X))
        assert model.loss_curve_ == once.loss_curve_
        assert model.n_iter_ == 6


@quiet
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_output_is_a_frame_with_names(library):
    pytest.importorskip(library)
    X = curve(80)
    frame = quick(3).set_output(transform=library).fit_transform(X)
    assert list(frame.columns) == ["ae0", "ae1", "ae2"]
    assert_array_equal(frame.to_numpy(), quick(3).fit_transform(X))


@quiet
def test_weights_and_validation_rows_are_routed_through_a_pipeline():
    X, X_val = curve(80), curve(40, seed=1)
    weight = np.random.default_rng(0).uniform(0.5, 2, 80)
    scaler = StandardScaler().fit(X)
    expected = quick().fit(
        scaler.transform(X), sample_weight=weight, X_val=scaler.transform(X_val)
    )
    with config_context(enable_metadata_routing=True):
        last = quick().set_fit_request(sample_weight=True, X_val=True)
        first = StandardScaler().set_fit_request(sample_weight=False)
        pipe = Pipeline([("first", first), ("ae", last)], transform_input=["X_val"])
        pipe.fit(X, sample_weight=weight, X_val=X_val)
    assert_allclose(pipe[-1].validation_loss_curve_, expected.validation_loss_curve_)
    assert_allclose(pipe.transform(X), expected.transform(scaler.transform(X)))


@quiet
def test_early_stopping_uses_validation_rows_if_there_are_enough_rows():
    options = {"max_iter": 3, "early_stopping": "auto"}
    assert quick(**options).fit(curve(9)).validation_loss_curve_ == []
    for n_rows in (10, 100, 800):
        assert len(quick(**options).fit(curve(n_rows)).validation_loss_curve_) == 3
    options["early_stopping"] = False
    assert quick(**options).fit(curve(100)).validation_loss_curve_ == []
    options["early_stopping"] = True
    assert len(quick(**options).fit(curve(30)).validation_loss_curve_) == 3


@quiet
def test_training_stops_after_epochs_without_improvement():
    X_val = np.random.default_rng(0).standard_normal((40, 5)) * 3
    model = quick(learning_rate=0.1, max_iter=300, n_iter_no_change=4)
    model.fit(curve(40), X_val=X_val)
    assert model.n_iter_ == model.best_iter_ + 4 < 300
    best = np.argmin([np.inf, *model.validation_loss_curve_])
    assert model.best_iter_ in (0, best)


def test_a_fit_of_one_epoch_does_not_warn():
    quick(max_iter=1).fit(curve(200))  # warnings are errors


@quiet
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_explained_variance_ratios_add_up_to_the_score(dropout):
    X = gaussian(100)
    model = quick(network=MLP((16,), dropout=dropout), early_stopping=False)
    for fitted in (model.fit(X), clone(model).partial_fit(X)):
        total = fitted.explained_variance_ratio_.sum()
        assert total == pytest.approx(fitted.score(X), abs=1e-6)


@quiet
def test_search_selects_the_model_that_reconstructs_better():
    grid = {"n_components": [1, 3], "max_iter": [0]}
    search = GridSearchCV(quick(), grid, cv=3).fit(curve(200))
    assert search.best_params_["n_components"] == 3
    assert 0 < search.best_score_ <= 1


@quiet
def test_search_sets_parameters_of_the_parts():
    grid = {"network__activation": ["relu", "tanh"], "regularizer__full": [0.2, 0.8]}
    model = quick(regularizer=Ordered(), early_stopping=False)
    search = GridSearchCV(model, grid, cv=2).fit(curve(80))
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 4


def test_setting_a_parameter_of_a_part_does_not_change_other_estimators():
    one, other = AutoencoderTransformer(), AutoencoderTransformer()
    one.set_params(network__activation="relu")
    assert (one.network.activation, other.network.activation) == ("relu", "silu")


def test_display_links_to_the_documentation():
    html = quick()._repr_html_()
    assert "/generated/skae.AutoencoderTransformer.html" in html


def with_dropout(n_features, n_components, n_samples):
    encoder = nn.Sequential(nn.Linear(n_features, 8), nn.Tanh(), nn.Dropout(0.3))
    encoder.append(nn.Linear(8, n_components))
    decoder = nn.Sequential(nn.Linear(n_components, 8), nn.Tanh())
    return encoder, decoder.append(nn.Linear(8, n_features))


@quiet
@pytest.mark.parametrize("init", ["pca", "random"])
def test_modules_with_dropout_are_trained_reproducibly(init):
    X = curve(80)
    model = quick(network=with_dropout, init=init, max_iter=60)
    model.set_params(early_stopping=False, learning_rate=0.01)
    assert_array_equal(model.fit_transform(X), model.fit_transform(X))
    start = quick(network=with_dropout, init=init, max_iter=0).fit(X)
    assert model.score(X) > start.score(X)
