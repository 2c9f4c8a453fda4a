"""`Modules` is pickled as arrays: the hash of joblib depends on layers and weights."""

import copy
import pickle
import sys
from collections import OrderedDict

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from variants import PUBLIC_VARIANTS, QUICK

from skae import AutoencoderTransformer, Modules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Tagged(nn.Module):
    """Has parameters, buffers and tensors of many types and shapes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2)
        self.frozen = nn.Parameter(torch.randn(2), requires_grad=False)
        self.coarse = nn.Parameter(torch.randn(3, 2).bfloat16())
        self.transposed = nn.Parameter(torch.randn(3, 2).T)
        self.register_buffer("mask", torch.tensor([True, False]), persistent=False)
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("nothing", None)
        self.constant = torch.arange(2.0)
        self.tensors = {"shared": self.constant}

    def forward(self, x):
        return self.linear(x) * self.mask + self.constant


class Steps(nn.Module):
    """Returns the last state of a recurrent cell."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 2)

    def forward(self, x):
        return self.lstm(x.T.unsqueeze(2))[1][0][0]


class Transposed(nn.Module):
    """A decoder with the weights of a linear encoder."""

    def __init__(self, linear):
        super().__init__()
        self.weight = linear.weight

    def forward(self, codes):
        return codes @ self.weight


def seeded(build):
    """Return a function that builds the same modules in each call."""

    def built():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build()

    return built


@seeded
def tied():
    encoder = nn.Linear(5, 2)
    return Modules(encoder, Transposed(encoder))


@seeded
def untied():
    encoder = nn.Linear(5, 2)
    return Modules(encoder, Transposed(copy.deepcopy(encoder)))


BUILT = {
    "linear": seeded(lambda: Modules(nn.Linear(5, 2), nn.Linear(2, 5))),
    "normalized": seeded(
        lambda: Modules(
            nn.Sequential(
                nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ELU(), nn.Linear(4, 2)
            ),
            nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.1), nn.Linear(4, 5)),
            shape=(5,),
        )
    ),
    "attributes": seeded(lambda: Modules(Tagged(), nn.Linear(2, 5))),
    "recurrent": seeded(lambda: Modules(Steps(), nn.Linear(2, 5))),
    "attention": seeded(
        lambda: Modules(
            nn.Linear(5, 2),
            nn.Sequential(nn.TransformerEncoderLayer(2, 1, 4), nn.Linear(2, 5)),
        )
    ),
    "tied": tied,
}


def by_cloudpickle(network):
    cloudpickle = pytest.importorskip("cloudpickle")
    return pickle.loads(cloudpickle.dumps(network))


COPIES = {
    "pickle": lambda network: pickle.loads(pickle.dumps(network)),
    "cloudpickle": by_cloudpickle,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "clone": clone,
}


def by_joblib(network, tmp_path, mmap_mode):
    joblib.dump(network, tmp_path / "network.joblib")
    return joblib.load(tmp_path / "network.joblib", mmap_mode=mmap_mode)


def tensors(network):
    """Return all tensors of both modules, and their names."""
    modules = {"encoder": network.encoder, "decoder": network.decoder}
    named = {}
    for name, module in modules.items():
        for path, layer in module.named_modules():
            found = {**layer._parameters, **layer._buffers, **vars(layer)}
            named |= {f"{name}.{path}.{key}": value for key, value in found.items()}
    return {key: value for key, value in named.items() if torch.is_tensor(value)}


def check_equal(copied, network):
    """Raise unless two networks have the same layers and tensors."""
    assert copied == network
    ours, theirs = tensors(copied), tensors(network)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert type(ours[name]) is type(tensor)
        assert ours[name].dtype == tensor.dtype
        assert ours[name].device.type == "cpu"
        assert ours[name].requires_grad == tensor.requires_grad
        assert torch.equal(ours[name], tensor)
    for name in ("encoder", "decoder"):
        copied_module, module = getattr(copied, name), getattr(network, name)
        assert copied_module.state_dict().keys() == module.state_dict().keys()


# Copies


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_has_the_same_tensors(way, name):
    network = BUILT[name]()
    check_equal(COPIES[way](network), network)
    check_equal(network, BUILT[name]())


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_network_from_a_file_can_be_trained(mmap_mode, name, tmp_path):
    network = BUILT[name]()
    loaded = by_joblib(network, tmp_path, mmap_mode)
    check_equal(loaded, network)
    with torch.no_grad():
        for tensor in tensors(loaded).values():
            tensor.zero_()
    check_equal(network, BUILT[name]())


@pytest.mark.parametrize("way", COPIES)
def test_tensors_that_are_shared_stay_shared(way):
    network = COPIES[way](tied())
    assert network.encoder.weight is network.decoder.weight
    network = COPIES[way](BUILT["attributes"]())
    assert network.encoder.constant is network.encoder.tensors["shared"]


def test_a_shallow_copy_has_the_modules_themselves():
    network = tied()
    copied = copy.copy(network).set_params(shape=(5,))
    assert copied.encoder is network.encoder
    assert network.shape is None


def test_a_tensor_that_is_not_dense_is_pickled_by_torch():
    network = tied()
    network.encoder.register_buffer("graph", torch.eye(3).to_sparse())
    loaded = pickle.loads(pickle.dumps(network))
    assert torch.equal(loaded.encoder.graph.to_dense(), torch.eye(3))


def test_modules_of_invalid_types_are_copied():
    assert pickle.loads(pickle.dumps(Modules("linear", None))).encoder == "linear"


@pytest.mark.parametrize("way", ["pickle", "cloudpickle", "deepcopy"])
def test_modules_of_a_class_in_main_are_copied(way, monkeypatch):
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    Doubled.__module__, Doubled.__qualname__ = "__main__", "Doubled"
    monkeypatch.setattr(sys.modules["__main__"], "Doubled", Doubled, raising=False)
    network, x = Modules(Doubled(5, 2), nn.Linear(2, 5)), torch.ones(1, 5)
    copied = COPIES[way](network)
    assert torch.equal(copied.encoder(x), network.encoder(x))


# Hashes


@pytest.mark.parametrize("name", BUILT)
def test_equal_networks_have_equal_hashes(name):
    network, same = BUILT[name](), BUILT[name]()
    hashes = {joblib.hash(network), joblib.hash(same)}
    for way in COPIES.values():
        hashes |= {joblib.hash(way(network)), joblib.hash(clone(way(same)))}
    assert len(hashes) == 1


@pytest.mark.parametrize("name", [n for n in BUILT if n != "tied"])
def test_estimators_with_equal_networks_have_equal_hashes(name):
    model = AutoencoderTransformer(network=BUILT[name]())
    same = AutoencoderTransformer(network=BUILT[name]())
    # The hash of the default network must not depend on the object either.
    assert joblib.hash(model) == joblib.hash(clone(model)) == joblib.hash(same)


def renamed(network):
    layers = network.encoder._modules
    network.encoder._modules = OrderedDict(reversed(layers.items()))


def other_weight(network):
    network.encoder[0].weight.data[0, 0] += 1e-6


def other_buffer(network):
    network.encoder[1].running_mean[0] += 1


CHANGES = {
    "weight": other_weight,
    "buffer": other_buffer,
    "requires_grad": lambda n: n.encoder[0].weight.requires_grad_(False),
    "dtype": lambda n: n.encoder.double(),
    "option": lambda n: setattr(n.decoder[1], "p", 0.2),
    "layer": lambda n: n.encoder.__setitem__(2, nn.Tanh()),
    "order of layers": renamed,
    "mode": lambda n: n.decoder.eval(),
    "shape": lambda n: n.set_params(shape=(5, 1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_network_has_another_hash(change):
    network = BUILT["normalized"]()
    CHANGES[change](network)
    assert joblib.hash(network) != joblib.hash(BUILT["normalized"]())


def test_tied_weights_have_another_hash_than_equal_ones():
    assert joblib.hash(tied()) != joblib.hash(untied())


# A cache of fitted steps


VARIANTS = {
    **PUBLIC_VARIANTS,
    **{f"Modules {name}": {"network": build} for name, build in BUILT.items()},
}


def built(params):
    """Return an estimator whose network is built anew, if it is a function above."""
    network = params.get("network")
    params = params | ({"network": network()} if network in BUILT.values() else {})
    return AutoencoderTransformer(**{**QUICK, "precision": "float64", **params})


@pytest.fixture(scope="module")
def rows():
    rows = np.random.default_rng(0).random((60, 5))
    rows.setflags(write=False)
    return rows


@pytest.fixture
def fits(monkeypatch):
    """A list with an entry for every fit of an autoencoder."""
    fits, fit = [], AutoencoderTransformer.fit

    def counted(self, *args, **kwargs):
        fits.append(type(self))
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(AutoencoderTransformer, "fit", counted)
    return fits


def fitted_pipeline(model, rows, memory):
    pipeline = make_pipeline(model, LinearRegression(), memory=memory)
    return pipeline.fit(rows, rows[:, 0])


@pytest.mark.parametrize("name", [n for n in VARIANTS if "Conv" not in n])
def test_a_pipeline_with_a_cache_fits_an_estimator_once(name, rows, fits, tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0)
    first = fitted_pipeline(built(VARIANTS[name]), rows, memory)
    again = fitted_pipeline(built(VARIANTS[name]), rows, memory)
    assert len(fits) == 1
    np.testing.assert_array_equal(again.predict(rows), first.predict(rows))


@pytest.mark.parametrize("name", ["default", "Modules linear"])
def test_a_pipeline_with_a_cache_fits_again_after_a_change(name, rows, fits, tmp_path):
    model = built(VARIANTS[name])
    memory = joblib.Memory(tmp_path, verbose=0)
    fitted_pipeline(model, rows, memory)
    fitted_pipeline(clone(model).set_params(learning_rate=0.1), rows, memory)
    fitted_pipeline(model, rows[1:], memory)
    assert len(fits) == 3


@pytest.mark.parametrize("name", ["default", "Modules normalized"])
def test_a_fitted_estimator_and_its_copies_have_equal_hashes(name, rows):
    model = built(VARIANTS[name]).fit(rows)
    copies = [COPIES[way](model) for way in ("pickle", "deepcopy", "copy")]
    # A pickle changes the strides of arrays without entries, which are hashed as well.
    hashes = {joblib.hash(COPIES["pickle"](copied)) for copied in (model, *copies)}
    assert len(hashes) == 1


@pytest.mark.parametrize("name", ["default", "Modules normalized"])
def test_a_pipeline_with_a_cache_reuses_what_follows_a_fitted_step(
    name, rows, fits, tmp_path
):
    models = [built(VARIANTS[name]).fit(rows) for _ in range(2)]
    for model in models:
        steps = FrozenEstimator(model), built({})
        pipeline = make_pipeline(*steps, LinearRegression(), memory=str(tmp_path))
        pipeline.fit(rows, rows[:, 0])
    assert len(fits) == 3  # two before, and one of the second step
