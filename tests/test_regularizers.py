"""Regularizers: each formula, and what all of them have in common."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from parts import NO_REGULARIZERS, NOISES, PRIORS, REGULARIZERS
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from skae import (
    MLP,
    MMD,
    Adversarial,
    AutoencoderTransformer,
    Contractive,
    Ordered,
    Regularizer,
    Sparse,
    TopK,
    Variational,
)
from skae.regularizers._base import TRAINING, BaseRegularizer, as_regularizer
from skae.regularizers._contractive import squared_jacobian
from skae.regularizers._ordered import prefix_mask
from skae.regularizers._prior import CHUNK, mmd, mmd_from_normal
from skae.regularizers._sparse import activity, bernoulli_kl, largest
from skae.regularizers._variational import normal_kl, posterior_shares

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
each = pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)

X = np.random.default_rng(0).standard_normal((60, 5)) @ np.diag([3, 2, 1, 0.7, 0.5])
WEIGHT = np.random.default_rng(1).uniform(0.5, 1.5, 60)
QUICK = {"network": MLP((8,)), "max_iter": 2, "random_state": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def codes_of(n=12, k=3):
    return torch.randn(n, k, generator=generator(), dtype=torch.float64)


def built(regularizer, n_features=5, n_components=3):
    """Return what a model calls, with weights away from where they start."""
    asked = as_regularizer(regularizer).build(n_features, n_components)
    for parameter in getattr(asked, "parameters", list)():
        noise = torch.randn(parameter.shape, generator=generator(1))
        parameter.data = (parameter.data + 0.1 * noise).double()
    return asked


def quick(n_components=3, **params):
    return AutoencoderTransformer(n_components, **(QUICK | params))


# Components in order


def test_prefix_mask_is_one_for_the_first_components():
    mask = prefix_mask(torch.tensor([1, 3]), 3)
    assert mask.tolist() == [[True, False, False], [True, True, True]]


def test_ordered_keeps_random_prefixes_and_their_values():
    codes = torch.rand(4000, 4, generator=generator()) + 1
    kept = Ordered(full=0.5).training_codes(codes, generator())
    mask = kept != 0
    assert torch.equal(kept, codes * mask)
    assert (mask[:, :-1] >= mask[:, 1:]).all()
    shares = torch.bincount(mask.sum(dim=1), minlength=5) / len(codes)
    wanted = torch.tensor([0, 0.125, 0.125, 0.125, 0.625])
    torch.testing.assert_close(shares, wanted, rtol=0, atol=0.03)


def test_ordered_with_all_rows_full_leaves_codes_alone():
    codes = torch.rand(50, 4)
    assert torch.equal(Ordered(full=1.0).training_codes(codes, generator()), codes)


@pytest.mark.parametrize("k", [1, 2, 8, 30])
def test_ordered_is_judged_by_prefixes_from_one_to_all(k):
    codes = torch.ones(3, k)
    lengths = [int(view[0].sum()) for view in Ordered().validation_codes(codes)]
    assert lengths == sorted(set(lengths))
    assert (lengths[0], lengths[-1], len(lengths)) == (1, k, min(k, 8))
    for view, b in zip(Ordered().validation_codes(codes), lengths, strict=True):
        assert (view[:, :b] == 1).all()
        assert (view[:, b:] == 0).all()


# Sparse codes


def test_absolute_codes_are_counted_in_each_components_own_unit():
    codes = codes_of()
    penalty = Sparse(0.5).batch_penalty(codes, None, None, None)
    wanted = (codes.abs() / codes.square().mean(dim=0).sqrt()).sum(dim=1) / 2
    torch.testing.assert_close(penalty, wanted, rtol=1e-3, atol=0)
    small = Sparse(0.5).batch_penalty(
        codes * torch.tensor([1, 9, 99]), None, None, None
    )
    torch.testing.assert_close(small, penalty, rtol=1e-3, atol=0)


def test_divergence_of_activities_is_that_of_bernoullis():
    q = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    wanted = kl_divergence(Bernoulli(torch.tensor(0.2).double()), Bernoulli(q))
    torch.testing.assert_close(bernoulli_kl(0.2, q), wanted, rtol=1e-6, atol=0)
    assert bernoulli_kl(0.3, torch.tensor([0.3])).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5])
def test_activity_is_about_the_share_of_rows_that_use_a_component(p):
    codes = torch.zeros(1000, 1, dtype=torch.float64)
    codes[: int(1000 * p)] = 7.0
    assert activity(codes, None).item() == pytest.approx(p / (1 + p), rel=1e-3)


@quiet
@pytest.mark.parametrize("part", [Sparse(0.1), Sparse(0.3, target=0.05)], ids=repr)
def test_sparse_codes_have_more_entries_near_zero(part, digits):
    shares = []
    for regularizer in (None, part):
        model = quick(16, regularizer=regularizer, max_iter=60, early_stopping=False)
        codes = model.fit_transform(digits)
        shares.append((np.abs(codes) < 0.1 * codes.std(axis=0)).mean())
    assert shares[1] > 2 * shares[0]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_largest_keeps_exactly_k_entries_and_the_largest(k):
    codes = codes_of(50, 4)
    kept = largest(codes, k)
    assert ((kept != 0).sum(dim=1) == k).all()
    assert torch.equal(kept[kept != 0], codes[kept != 0])
    dropped = codes.abs().masked_fill(kept != 0, 0).amax(dim=1)
    assert (kept.abs().masked_fill(kept == 0, np.inf).amin(dim=1) >= dropped).all()


def test_equal_entries_are_cut_to_k_as_well():
    assert (largest(torch.ones(5, 4), 2) != 0).sum(dim=1).tolist() == [2] * 5


def test_top_k_codes_have_k_entries_after_training():
    codes = quick(4, regularizer=TopK(2)).fit_transform(X)
    assert ((codes != 0).sum(axis=1) == 2).all()


# Contractive codes


def exact_jacobian(encode, x, unit):
    rows = [torch.autograd.functional.jacobian(encode, row[None])[0, :, 0] for row in x]
    return (torch.stack(rows) / unit[:, None]).square().sum(dim=(1, 2))


def encoder_and_rows(k):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encode = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, k)).double()
    x = torch.randn(6, 5, generator=generator(), dtype=torch.float64)
    unit = (encode(x).square().mean(dim=0) + 1e-4).sqrt().detach()
    return encode, x, unit


@pytest.mark.parametrize("k", [1, 3, 8])
def test_squared_jacobian_is_exact_for_few_components(k):
    encode, x, unit = encoder_and_rows(k)
    wanted = exact_jacobian(encode, x, unit)
    torch.testing.assert_close(squared_jacobian(encode, x, None, None), wanted)


def test_squared_jacobian_of_a_linear_layer_is_that_of_its_matrix():
    layer, x = nn.Linear(5, 2).double(), codes_of(7, 5)
    unit = (layer(x).square().mean(dim=0) + 1e-4).sqrt()
    wanted = (layer.weight / unit[:, None]).square().sum().expand(7)
    torch.testing.assert_close(squared_jacobian(layer, x, None, None), wanted)


def test_squared_jacobian_of_many_components_is_estimated_without_bias():
    encode, x, unit = encoder_and_rows(20)
    draws = generator()
    estimates = [squared_jacobian(encode, x, None, draws).detach() for _ in range(2000)]
    mean = torch.stack(estimates).mean(dim=0)
    torch.testing.assert_close(mean, exact_jacobian(encode, x, unit), rtol=0.06, atol=0)


def test_squared_jacobian_has_the_gradient_of_its_value():
    encode, x, _ = encoder_and_rows(3)
    matrix = encode[0].weight.detach().clone().requires_grad_()

    def value(matrix):
        parameters = {"0.weight": matrix}
        return squared_jacobian(
            lambda x: torch.func.functional_call(encode, parameters, x), x, None, None
        )

    assert torch.autograd.gradcheck(value, (matrix,))


def test_squared_jacobian_without_gradients_has_none():
    encode, x, _ = encoder_and_rows(3)
    with torch.no_grad():
        assert not squared_jacobian(encode, x, None, None).requires_grad


@quiet
def test_contractive_codes_move_less_under_noise(digits):
    rng, moves = np.random.default_rng(0), []
    noisy = digits + rng.standard_normal(digits.shape)
    for regularizer in (None, Contractive(1.0)):
        model = quick(4, regularizer=regularizer, max_iter=60, early_stopping=False)
        codes = model.fit_transform(digits)
        moves.append(
            (np.abs(model.transform(noisy) - codes) / codes.std(axis=0)).mean()
        )
    assert moves[1] < 0.9 * moves[0]


# Variational codes


def test_divergence_from_the_prior_is_torchs():
    mean, log_var = codes_of(), codes_of() - 1
    posterior = Normal(mean, (log_var / 2).exp())
    wanted = kl_divergence(posterior, Normal(torch.zeros(3).double(), 1.0)).sum(dim=1)
    torch.testing.assert_close(normal_kl(mean, log_var), wanted)
    assert normal_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]


def test_draws_have_the_posteriors_mean_and_variance():
    asked, codes = built(Variational(n_samples=20_000)), codes_of(4)
    draws = asked.training_codes(codes, generator()).unflatten(0, (20_000, 4))
    variance = asked.log_var(codes).exp()
    torch.testing.assert_close(draws.mean(dim=0), codes, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.var(dim=0), variance, rtol=0.05, atol=0)


def test_gradient_is_that_of_the_evidence_lower_bound():
    """The bound of a Gaussian decoder whose noise variance is the best one."""
    asked, d = built(Variational(beta=2)), 5
    codes, losses = codes_of().requires_grad_(), codes_of().square().mean(dim=1)
    decoder = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)

    def gradient(objective):
        inputs = [codes, asked.level]
        return torch.autograd.grad(objective, inputs, retain_graph=True)

    losses = losses + (codes @ decoder).square()
    noise = losses.mean()
    kl = normal_kl(codes, asked.log_var(codes)).mean()
    bound = d / 2 * noise.log() + 2 * kl
    trained = losses + asked.batch_penalty(codes, losses.detach(), None, None)
    for mine, wanted in zip(
        gradient(trained.mean()),
        gradient(bound * 2 * noise.detach() / d),
        strict=True,
    ):
        torch.testing.assert_close(mine, wanted)
    judged = asked.validation_loss(codes, losses, None, None).mean()
    torch.testing.assert_close(judged, (2 / d * bound).exp())


def test_the_bounds_parts_change_as_the_bound_does():
    asked, codes = built(Variational()), codes_of(200)
    losses = codes_of(200).square().mean(dim=1)
    parts = asked.validation_loss(codes, losses, None, None)
    without = asked.validation_loss(codes[1:], losses[1:], None, None).mean()
    assert parts[1:].mean().item() == pytest.approx(without.item(), rel=1e-3)


def test_beta_warms_up_with_the_epochs_that_are_planned():
    asked, codes, losses = built(Variational(warm_up=0.5)), codes_of(), torch.ones(12)
    full = asked.batch_penalty(codes, losses.double(), None, None)
    for progress, share in [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)]:
        asked.advance(progress)
        warm = asked.batch_penalty(codes, losses.double(), None, None)
        torch.testing.assert_close(warm, share * full)


def test_no_component_starts_dead_or_without_doubt():
    shares = posterior_shares(np.array([2.0, 1.0, 0.5, 0.0]), n_features=9)
    noise = (9 - 5.25) / 5
    np.testing.assert_allclose(shares, [noise / 4, 0.5, 0.5, 1.0])
    np.testing.assert_allclose(posterior_shares(np.ones(4), 4), 1e-4)


def test_variational_training_starts_at_probabilistic_pca(digits):
    model = AutoencoderTransformer(
        5, regularizer=Variational(), max_iter=0, precision="float64"
    ).fit(digits)
    pca = PCA(5, svd_solver="full").fit(digits)
    variances = pca.explained_variance_ * 119 / 120
    noise = (digits.var(axis=0).sum() - variances.sum()) / (64 - 5)
    scores = pca.transform(digits)
    shrunk = np.sqrt(variances - noise) / variances
    codes = model.transform(digits)
    np.testing.assert_allclose(codes, scores * shrunk, atol=1e-6)
    asked = model.module_.regularizer
    log_var = asked.log_var(torch.from_numpy(codes)).detach().numpy()
    expected = np.tile(noise / variances, (120, 1))
    np.testing.assert_allclose(np.exp(log_var), expected, rtol=1e-6)
    moments = np.square(codes).mean(axis=0) + np.exp(log_var[0])
    np.testing.assert_allclose(moments, 1, rtol=1e-6)  # as the prior's
    decoded = (scores * (1 - noise / variances)) @ pca.components_ + pca.mean_
    np.testing.assert_allclose(model.inverse_transform(codes), decoded, atol=1e-6)


def test_probabilistic_pca_is_where_a_linear_model_has_no_gradient(digits):
    """The optimum of the bound for linear maps (Lucas et al. 2019)."""
    model = AutoencoderTransformer(
        3, regularizer=Variational(n_samples=1000), network=MLP(()), max_iter=0,
        precision="float64",
    ).fit(digits)  # fmt: skip
    module = model.module_.requires_grad_(True)
    x = torch.from_numpy((digits - model.mean_) / model.scale_)
    module.objective(x, x, generator()).mean().backward()
    axes = [module.encoder.axes, module.decoder.axes, module.regularizer.level]
    loss = module.validation(x, x).mean().item()
    for parameter in axes:
        relative = parameter.grad.abs().max() * parameter.abs().max() / loss
        assert relative < 0.02


@pytest.mark.slow
def test_variational_codes_stay_alive_and_reconstruct(global_random_seed):
    seed = global_random_seed
    X_train, X_test = train_test_split(load_digits().data, random_state=seed)
    models = [
        AutoencoderTransformer(8, regularizer=part, random_state=seed).fit(X_train)
        for part in (None, Variational())
    ]
    plain, variational = (model.score(X_test) for model in models)
    assert models[1].n_active_components_ == 8
    assert variational > plain - 0.05
    codes = models[1].transform(X_test)
    assert 0.7 < codes.std(axis=0).min() < codes.std(axis=0).max() < 1.3


# Codes that follow a prior


def test_mmd_of_a_set_from_itself_is_zero():
    z = codes_of(30)
    assert mmd(z, z).item() == pytest.approx(0, abs=1e-15)
    assert mmd(z, z + 1).item() > 0.01


def test_mmd_from_the_normal_is_that_from_many_draws():
    codes = codes_of(40) * 2 + 0.5
    draws = torch.randn(2000, 3, generator=generator(3), dtype=torch.float64)
    exact = mmd_from_normal(codes, None).mean().item()
    assert exact == pytest.approx(mmd(codes, draws).item(), rel=0.05)


def test_mmd_counts_a_row_of_weight_two_as_two_rows():
    codes, weights = codes_of(10), torch.ones(10).double()
    weights[:4] = 2
    twice = torch.cat([codes, codes[:4]])
    weighted = (mmd_from_normal(codes, weights) * weights).sum() / 14
    torch.testing.assert_close(weighted, mmd_from_normal(twice, None).mean())


def test_mmd_compares_a_bounded_number_of_rows():
    codes = codes_of(CHUNK + 5)
    parts = mmd_from_normal(codes, None)
    torch.testing.assert_close(parts[:CHUNK], mmd_from_normal(codes[:CHUNK], None))


def test_a_critic_learns_from_its_own_loss_and_the_encoder_against_it():
    critic, codes = built(Adversarial(0.5)), codes_of().requires_grad_()
    drawn = torch.randn(12, 3, generator=generator(), dtype=torch.float32).double()
    critic.batch_penalty(codes, None, None, generator()).mean().backward()
    fixed = codes.detach()
    found = nn.functional.softplus(-critic.network(drawn))
    found = (found + nn.functional.softplus(critic.network(fixed))).mean()
    parameters = list(critic.parameters())
    for parameter, wanted in zip(
        parameters, torch.autograd.grad(found, parameters), strict=True
    ):
        torch.testing.assert_close(parameter.grad, wanted)
    slope = torch.autograd.grad(critic.network(codes).sum(), codes)[0]
    assert (codes.grad * slope <= 0).all() or (codes.grad * slope >= 0).all()


@pytest.mark.parametrize("regularizer", PRIORS, ids=repr)
def test_a_prior_gives_standard_normal_codes_by_its_generator(regularizer):
    before = torch.get_rng_state()
    codes = regularizer.prior(5000, 3, generator())
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes.mean(dim=0), torch.zeros(3), rtol=0, atol=0.06)
    torch.testing.assert_close(codes.std(dim=0), torch.ones(3), rtol=0, atol=0.06)
    assert torch.equal(codes, regularizer.prior(5000, 3, generator()))
    fitted = quick(regularizer=regularizer).fit(X).module_.regularizer
    assert torch.equal(codes, fitted.prior(5000, 3, generator()))
    assert torch.equal(torch.get_rng_state(), before)


def test_others_have_no_prior():
    others = [part for part in REGULARIZERS if type(part) not in map(type, PRIORS)]
    for part in [*others, *map(as_regularizer, NO_REGULARIZERS), Regularizer()]:
        assert part.prior(5, 3, generator()) is None


def clusters(n=300):
    """Return rows in two clusters, whose principal scores are far from normal."""
    rng = np.random.default_rng(0)
    ends = 4 * rng.integers(0, 2, (n, 1)) - 2
    return ends * np.array([1, 0.5, 0, 0]) + 0.5 * rng.standard_normal((n, 4))


def distance(model, X):
    codes = torch.from_numpy(model.transform(X)).double()
    return mmd_from_normal(codes, None).mean().item()


@quiet
@pytest.mark.parametrize("regularizer", [MMD(), Adversarial()], ids=repr)
def test_the_code_comes_closer_to_its_prior(regularizer):
    options = {"regularizer": regularizer, "network": MLP((32,)), "batch_size": 64}
    start = quick(2, **options, max_iter=0).fit(clusters())
    model = quick(2, **options, max_iter=100, early_stopping=False).fit(clusters())
    assert distance(model, clusters()) < 0.8 * distance(start, clusters())


@quiet
def test_a_prior_is_worth_reconstruction_to_the_guard():
    """A model is not given up for being no better than PCA at reconstruction alone."""
    options = {"regularizer": MMD(1000), "network": MLP((32,)), "batch_size": 64}
    start = quick(2, **options, max_iter=0).fit(clusters())
    model = quick(2, **options, early_stopping=True, max_iter=30).fit(clusters())
    assert model.best_iter_ > 0
    assert model.score(clusters()) <= start.score(clusters())
    assert distance(model, clusters()) < distance(start, clusters())


# What all have in common


@pytest.mark.parametrize("regularizer", NO_REGULARIZERS, ids=repr)
def test_strength_zero_equals_no_regularizer(regularizer):
    codes = quick(regularizer=regularizer).fit_transform(X)
    np.testing.assert_array_equal(codes, quick().fit_transform(X))


def test_neutral_regularizer_equals_none():
    codes = quick(regularizer=Regularizer()).fit_transform(X)
    np.testing.assert_array_equal(codes, quick().fit_transform(X))


def test_only_what_asks_nothing_is_neutral():
    assert as_regularizer(None).is_noop
    assert Regularizer().is_noop
    assert not as_regularizer(lambda codes: codes.sum(dim=1)).is_noop
    for part in REGULARIZERS:
        assert not part.is_noop
        assert not built(part).is_noop


def test_only_the_contractive_penalty_needs_the_encoder():
    needing = [part for part in REGULARIZERS if not built(part).of_codes_alone]
    assert needing == [Contractive(0.1)]


def test_training_hooks_are_methods_of_the_base():
    assert all(callable(getattr(BaseRegularizer, name)) for name in TRAINING)


@each
def test_training_starts_at_pca(regularizer):
    """To what is cut off, and to probabilistic PCA's shrinkage."""
    model = quick(regularizer=regularizer, max_iter=0).fit(X)
    pca = PCA(3, svd_solver="full").fit(X)
    scores = pca.transform(X)
    codes = model.transform(X)
    used = codes != 0
    ratio = np.where(used, codes, 1) / np.where(used, scores, 1)
    ratio = np.nanmax(np.where(used, ratio, np.nan), axis=0)
    np.testing.assert_allclose(codes, np.where(used, scores * ratio, 0), atol=1e-8)
    back = 1.0
    if type(regularizer) is Variational:
        shares = np.exp(model.module_.regularizer.level.detach().numpy())
        back = 1 - shares
    decoded = np.where(used, scores * back, 0) @ pca.components_ + pca.mean_
    np.testing.assert_allclose(model.inverse_transform(codes), decoded, atol=1e-6)


@pytest.mark.parametrize("regularizer", PRIORS, ids=repr)
def test_codes_with_a_prior_start_with_its_variance(regularizer):
    codes = quick(regularizer=regularizer, max_iter=0).fit_transform(X)
    shares = 0.0
    if type(regularizer) is Variational:
        shares = posterior_shares(PCA(3).fit(X).singular_values_ / np.sqrt(60) /
                                  np.sqrt(X.var(axis=0).mean()), 5)  # fmt: skip
    np.testing.assert_allclose(codes.var(axis=0) + shares, 1, atol=1e-6)


@each
def test_what_is_added_has_the_gradient_of_its_value(regularizer):
    asked, losses = built(regularizer), codes_of().square().mean(dim=1)
    weights = torch.linspace(0.5, 1.5, 12, dtype=torch.float64)

    def value(codes):
        code = asked.code(codes)
        drawn = asked.training_codes(code, generator())
        added = asked.batch_penalty(code, losses, weights, generator())
        return drawn.square().sum() + added

    codes = codes_of().requires_grad_()
    if type(regularizer) is Adversarial:  # two players: the gradient is of no one value
        return
    assert torch.autograd.gradcheck(value, (codes,))


@each
def test_the_same_seed_gives_the_same_bits_and_touches_no_global_state(regularizer):
    before = torch.get_rng_state()
    fits = [quick(regularizer=regularizer).fit_transform(X) for _ in range(2)]
    np.testing.assert_array_equal(*fits)
    assert torch.equal(torch.get_rng_state(), before)


@each
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_both_precisions_learn_alike(regularizer, precision):
    options = {"regularizer": regularizer, "early_stopping": False}
    model = quick(precision=precision, **options).fit(X)
    other = quick(precision="float64", **options).fit(X)
    assert model.precision_ == precision
    assert model.score(X) == pytest.approx(other.score(X), abs=0.01)


@each
def test_weights_and_further_epochs_are_accepted(regularizer):
    model = quick(regularizer=regularizer, warm_start=True)
    model.fit(X, sample_weight=WEIGHT).fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.partial_fit(X, sample_weight=WEIGHT).n_iter_ == 5
    assert np.isfinite(loaded.transform(X)).all()


@each
def test_a_share_of_variance_is_kept_and_training_goes_on(regularizer):
    model = quick(0.6, regularizer=regularizer).fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.partial_fit(X).n_components_ == model.n_components_
    assert loaded.transform(X).shape == (60, model.n_components_)


@each
def test_callbacks_see_the_model_after_each_epoch(regularizer):
    monitor = ScoringMonitor(scoring={"share": lambda model, X, y: model.score(X)})
    quick(regularizer=regularizer).set_callbacks(monitor).fit(X)
    scores = [entry["share"] for entry in monitor.get_logs().data]
    assert len(scores) >= 2  # those of a second training on all rows are there too
    assert 0.5 < min(scores) <= max(scores) < 1


@each
@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_few_rows_train(regularizer, n_rows):
    model = quick(2, regularizer=regularizer, init="random").fit(X)
    model.partial_fit(X[:n_rows])
    assert np.isfinite(model.transform(X)).all()


def modules(n_features, n_components, n_samples):
    encoder = nn.Sequential(nn.Linear(n_features, 4), nn.Tanh(), nn.Dropout(0.1))
    encoder.append(nn.Linear(4, n_components))
    return encoder, nn.Linear(n_components, n_features)


NETWORKS = [MLP(()), MLP((4,), dropout=0.2), modules]
LOSSES = ["squared_error", "huber", "log_loss"]


@quiet
@each
def test_every_noise_network_and_loss_goes_with_every_regularizer(regularizer):
    unit = (X - X.min()) / (X.max() - X.min())
    for noise, network, loss in itertools.product([None, *NOISES], NETWORKS, LOSSES):
        model = quick(noise=noise, network=network, loss=loss, regularizer=regularizer)
        codes = model.set_params(max_iter=1, init="random").fit_transform(unit)
        assert np.isfinite(model.inverse_transform(codes)).all()


@quiet
def test_callable_penalty_shrinks_the_code():
    X = np.random.default_rng(0).random((60, 4))
    options = {"max_iter": 60, "random_state": 0, "early_stopping": False}
    options["init"] = "random"
    free = AutoencoderTransformer(2, **options).fit_transform(X)
    penalised = AutoencoderTransformer(
        2, regularizer=lambda codes: 10 * codes.square().mean(dim=1), **options
    )
    assert np.square(penalised.fit_transform(X)).mean() < np.square(free).mean() / 2


@pytest.mark.parametrize(
    "part",
    [Sparse(-1), Sparse(target=1.0), TopK(0), Contractive("a"), Variational(beta=-1),
     Variational(n_samples=0), MMD(-1), Adversarial(None)],
    ids=repr,
)  # fmt: skip
def test_parameters_without_meaning_are_refused(part):
    with pytest.raises(ValueError, match=f"parameter of {type(part).__name__} must be"):
        quick(regularizer=part).fit(X)


# Components that collapse


def test_all_components_of_pca_that_vary_are_active(digits):
    assert quick(8).fit(digits).n_active_components_ == 8
    flat = digits * (np.arange(64) < 20)  # pixels of which 16 vary
    n_varying = (flat.var(axis=0) > 0).sum()
    model = quick(30, max_iter=0).fit(flat)
    assert model.n_active_components_ <= n_varying


def test_a_code_that_died_is_reported_and_says_what_to_turn(digits):
    model = quick(4, regularizer=Variational(beta=1e4), max_iter=150, batch_size=16)
    with pytest.warns(ConvergenceWarning, match=r"died.*Lower the regularizer's beta"):
        model.set_params(learning_rate=0.03, early_stopping=False).fit(digits)
    assert model.n_active_components_ == 0


def test_constant_rows_are_no_dead_code():
    model = quick(2, regularizer=Variational()).fit(np.ones((30, 4)))
    assert model.n_active_components_ == 0
