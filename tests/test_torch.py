"""torch's global state is isolated: its threads, and its random numbers."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.utils import check_random_state
from torch import nn
from torch.nn import functional as F
from variants import run_script

from skae import AutoencoderTransformer
from skae._torch import SeededDispatch, device_of, draw_seed, isolated_torch

DRAWS = {
    "linear": lambda: nn.Linear(4, 3).weight.detach(),
    "convolution": lambda: nn.Conv1d(2, 3, 2).weight.detach(),
    "recurrent": lambda: nn.LSTM(4, 3).weight_hh_l0.detach(),
    "attention": lambda: nn.MultiheadAttention(4, 2).in_proj_weight.detach(),
    "embedding": lambda: nn.Embedding(5, 3).weight.detach(),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(4, 4)),
    "normal": lambda: torch.randn(5),
    "normal like": lambda: torch.randn_like(torch.zeros(5)),
    "uniform": lambda: torch.rand(5),
    "integers": lambda: torch.randint(0, 10**6, (5,)),
    "permutation": lambda: torch.randperm(50),
    "bernoulli": lambda: torch.bernoulli(torch.full((50,), 0.5)),
    "dropout": lambda: F.dropout(torch.ones(50), 0.5, training=True),
}


def seeded(draw, seed=0):
    with SeededDispatch(torch.Generator().manual_seed(seed)):
        return draw()


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_draws_follow_the_generator_and_leave_torchs_alone(draw):
    before = torch.get_rng_state()
    first = seeded(draw)
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.rand(3)  # which changes the state of torch's own generator
    assert torch.equal(first, seeded(draw))
    assert not torch.equal(first, seeded(draw, seed=1))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_draws_equal_those_of_torch_with_the_same_seed(draw):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected = draw()
    assert torch.equal(seeded(draw, seed=7), expected)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_unseeded_draws_are_counted(draw):
    with SeededDispatch(torch.Generator()) as mode:
        torch.ones(3) + 1
        assert mode.n_unseeded == 0
        draw()
    assert mode.n_unseeded > 0


def test_explicit_generators_are_kept():
    with SeededDispatch(torch.Generator().manual_seed(0)) as mode:
        drawn = torch.rand(5, generator=torch.Generator().manual_seed(7))
    assert mode.n_unseeded == 0
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(7)))


def test_tensors_without_memory_draw_nothing():
    generator = torch.Generator()
    before = generator.get_state()
    with torch.device("meta"), SeededDispatch(generator):
        assert nn.LSTM(4, 3).weight_hh_l0.is_meta
    assert torch.equal(generator.get_state(), before)


def test_tensors_without_memory_have_the_shapes_of_others():
    for name in ("normal", "normal like", "uniform", "linear"):
        with torch.device("meta"), SeededDispatch(torch.Generator()):
            drawn = DRAWS[name]()
        assert drawn.is_meta
        assert drawn.shape == DRAWS[name]().shape
        assert drawn.dtype == torch.float32


def test_threads_draw_what_one_thread_draws():
    def draw(seed):
        return seeded(lambda: nn.LSTM(8, 8).weight_hh_l0.detach(), seed)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, range(12)))
    assert all(torch.equal(draw(seed), w) for seed, w in enumerate(together))


def with_dropout(n_features, n_components, n_samples):
    encoder = nn.Sequential(nn.Linear(n_features, 8), nn.ReLU(), nn.Dropout(0.3))
    encoder.append(nn.Linear(8, n_components))
    return encoder, nn.Linear(n_components, n_features)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_with_own_modules_is_reproducible_and_touches_no_global_state():
    X = np.random.default_rng(0).random((80, 5))
    model = AutoencoderTransformer(2, network=with_dropout, init="random", max_iter=5)
    model.set_params(random_state=0, early_stopping=False)
    numpys = check_random_state(None)  # the global one
    torch_state, numpy_state = torch.get_rng_state(), numpys.get_state()[1].copy()
    codes = model.fit_transform(X)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(numpys.get_state()[1], numpy_state)
    torch.rand(3)
    np.testing.assert_array_equal(model.fit_transform(X), codes)
    assert not np.allclose(model.set_params(random_state=1).fit_transform(X), codes)


def test_the_number_of_threads_is_restored_after_errors():
    def fail(before):
        with isolated_torch(before + 2):
            assert torch.get_num_threads() == before + 2
            raise RuntimeError("broken")

    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="broken"):
        fail(before)
    assert torch.get_num_threads() == before


def test_a_failing_fit_restores_the_number_of_threads():
    def broken(output, target):
        raise RuntimeError("broken")

    X = np.random.default_rng(0).random((30, 4))
    torch.set_num_threads(3)
    with pytest.raises(RuntimeError, match="broken"):
        AutoencoderTransformer(2, loss=broken).fit(X)
    assert torch.get_num_threads() == 3


def test_the_callers_number_of_threads_is_returned():
    torch.set_num_threads(3)
    with isolated_torch() as n_threads:
        assert torch.get_num_threads() == 1
        assert n_threads == 3
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_modes_of_the_caller_are_left_inside(mode):
    with mode(), isolated_torch():
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_modes_of_the_caller_are_restored(mode):
    def modes():
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        before = modes()
        with isolated_torch():
            pass
        assert modes() == before


def test_modes_that_are_not_enabled_are_not_entered(monkeypatch):
    def entered(*args, **kwargs):
        raise AssertionError("Only gradients are to be disabled.")

    monkeypatch.setattr(torch, "inference_mode", entered)
    monkeypatch.setattr(torch, "autocast", entered)
    with isolated_torch():
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_a_seed_is_drawn_from_a_random_state_once():
    assert draw_seed(3) == draw_seed(3) != draw_seed(4)
    state = check_random_state(0)
    assert draw_seed(state) != draw_seed(state)
    assert draw_seed(None) != draw_seed(None)


FORK = """
    import os, pickle, signal, sys, warnings
    import numpy as np, torch
    warnings.simplefilter("ignore")
    from skae import MLP, AutoencoderTransformer
    torch.set_num_threads(2)
    X = np.random.default_rng(0).random((9000, 6))
    settings = dict(network=MLP((64,)), batch_size=8192, max_iter=1, random_state=0)
    model = AutoencoderTransformer(2, **settings).fit(X)
    codes = model.transform(X)  # on two threads
    uses = dict(
        nothing=lambda: None,
        fit=lambda: AutoencoderTransformer(2, **settings).fit(X),
        partial_fit=lambda: model.partial_fit(X),
        transform=lambda: model.transform(X),
        inverse_transform=lambda: model.inverse_transform(codes),
        score=lambda: model.score(X),
        reconstruction_error=lambda: model.reconstruction_error(X),
        sample=lambda: model.sample(9000),
        interpolate=lambda: model.interpolate(X[0], X[1], n_steps=9000),
        compress=lambda: model.decompress(model.compress(X)),
        pickle=lambda: pickle.loads(pickle.dumps(model)),
    )
    for name, use in uses.items():
        torch.ones(10**6).add_(1)  # starts the second thread
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends a child that waits for threads
            use()
            os._exit(torch.get_num_threads())
        _, status = os.waitpid(child, 0)
        # The number of threads that the child has at the end.
        print(name, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked")
def test_a_forked_child_computes_and_keeps_its_number_of_threads():
    printed = dict(line.split() for line in run_script(FORK).splitlines())
    assert len(printed) == 11
    assert set(printed.values()) == {"2"}


def test_the_number_of_threads_is_kept_on_request():
    torch.set_num_threads(3)
    with isolated_torch(n_threads=None):
        assert torch.get_num_threads() == 3


def test_autocast_is_disabled_inside():
    with torch.autocast("cpu", torch.bfloat16), isolated_torch():
        assert not torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_the_device_of_an_operation_is_that_of_its_arguments():
    assert device_of([2, 3]).type == "cpu"
    assert device_of([2, 3], device="meta").type == "meta"
    assert device_of(0.5, torch.zeros(2, device="meta")).type == "meta"
