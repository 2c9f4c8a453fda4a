"""The configuration of a model: builds it in `fit`, and again when it is loaded."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
import torch

from skae._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from skae._torch import SeededDispatch
from skae.data._layout import Layout, layout_from_state, layout_to_state
from skae.data._pca import PCASolution
from skae.losses import LOSSES, StandardizedLoss, as_loss
from skae.model._adapters import ADAPTERS
from skae.model._autoencoder import Autoencoder, LinearSkip, PrincipalScores
from skae.networks._base import check_network
from skae.noise import as_noise
from skae.regularizers._base import as_regularizer

MODEL_DTYPES = ("float32", "float64")
INITS = ("pca", "random")

# Constraints of the parts, for the estimator and for a saved configuration.
PART_CONSTRAINTS = {
    "network": [callable],
    "init": [StrOptions(set(INITS))],
    "loss": [StrOptions(set(LOSSES)), HasMethods(["elementwise"]), callable],
    "noise": [HasMethods(["corrupt", "_validate_params"]), callable, None],
    "regularizer": [HasMethods(["penalty", "_validate_params"]), callable, None],
}
COUNT = Interval(Integral, 1, None, closed="left")
CONFIG_CONSTRAINTS = {
    **PART_CONSTRAINTS,
    "n_components": [COUNT],
    "n_samples": [COUNT],
    "dtype": [StrOptions(set(MODEL_DTYPES))],
    "n_dropped": [Interval(Integral, 0, None, closed="left")],
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines a model except its weights.

    Attributes
    ----------
    layout : Layout
        The layout of a row.

    n_components, n_samples : int
        The sizes for which the network is built, beside the width of a row.

    network, loss, noise, regularizer : part, name or callable
        As given to the estimator.

    init : {"pca", "random"}
        Whether linear skip connections run beside the networks.

    dtype : {"float32", "float64"}
        The type of the weights.

    n_dropped : int, default=0
        Number of components left out at the end of a code.
    """

    layout: Layout
    n_components: int
    n_samples: int
    network: Any
    loss: Any
    noise: Any
    regularizer: Any
    init: str
    dtype: str
    n_dropped: int = 0

    @property
    def n_columns(self) -> int:
        """Number of columns of a code: kept components, and lengths of sequences."""
        return self.n_components - self.n_dropped + self.layout.n_lengths

    @property
    def n_scores(self) -> int:
        """Number of scores that the networks read, or 0 if they read features."""
        # Outputs beyond a link function, such as logits, are not close to the axes.
        is_linear = isinstance(as_loss(self.loss), StandardizedLoss)
        is_linear &= self.init == "pca" and self.layout.kind == "numbers"
        if not is_linear or not hasattr(self.network, "n_scores_for"):
            return 0
        return self.network.n_scores_for(
            self.layout.n_features, self.n_components, self.n_samples
        )

    @property
    def n_axes(self) -> int:
        """Number of principal axes from which the model is built."""
        return max(self.n_components, self.n_scores) if self.init == "pca" else 0

    def build(self, seed: int, pca: PCASolution) -> Autoencoder:
        """Return the model at the start of training: PCA, if init="pca".

        The weights of the networks are drawn from the seed.
        """
        with torch.device("cpu"), SeededDispatch(torch.Generator().manual_seed(seed)):
            model = self._assemble(check=True)
            # The constant model reconstructs the mean.
            offset, _ = model.loss.linearize(pca.output_mean, pca.input_scale)
            model.offset += torch.from_numpy(offset)
            if pca.embedding is not None:
                model.adapter.initialize(pca.embedding)
            # In float64, before the conversion to the model's type.
            if self.init == "pca":
                deviations = pca.deviations / pca.input_scale
                n_inputs = pca.axes.shape[1]
                model.regularizer.initialize(deviations[: self.n_components], n_inputs)
                if model.scores is not None:
                    model.scores.initialize(pca.axes, deviations)
                encoder_axes, decoder_axes = linear_maps(model, pca)
                model.encoder.axes = torch.nn.Parameter(encoder_axes)
                model.decoder.axes = torch.nn.Parameter(decoder_axes)
            return model.to(getattr(torch, self.dtype)).train()

    def load(self, arrays: dict) -> Autoencoder:
        """Return the model with the weights in `arrays`, or raise ValueError.

        Shapes are first compared on a model without memory, so that a state that
        declares huge sizes costs nothing.
        """
        with torch.device("meta"), SeededDispatch(torch.Generator()):
            try:
                model = self._assemble().to(getattr(torch, self.dtype))
            except Exception as error:  # a saved part can raise anything
                raise ValueError(
                    f"The model cannot be built from its saved configuration: {error}"
                ) from error
        check_arrays(arrays, model.state_dict())
        # Built anew, not from the model above: modules may hold tensors that are not in
        # their state.
        with torch.device("cpu"), SeededDispatch(torch.Generator()):
            model = self._assemble().to(getattr(torch, self.dtype))
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        model.load_state_dict(tensors)  # in place: shared weights stay shared
        return model.eval()

    def _assemble(self, check=False):
        """Return the model with random networks beside linear maps of zeros."""
        k, n_scores, loss = self.n_components, self.n_scores, as_loss(self.loss)
        n_inputs = n_scores or math.prod(self.layout.network_shape)
        adapter = ADAPTERS[type(self.layout)](self.layout, loss)
        # Both are built at once: they may share weights.
        encoder, decoder = self.network(n_inputs, k, self.n_samples)
        if check and getattr(self.network, "needs_trial", True):
            check_network("encoder", encoder, n_inputs, k)
            check_network("decoder", decoder, k, n_inputs)
        if self.init == "pca":
            encoder = LinearSkip(encoder, torch.zeros(k, n_inputs))
            decoder = LinearSkip(decoder, torch.zeros(n_inputs, k))
        if check and callable(self.loss):
            check_elementwise(loss.elementwise)
        regularizer = as_regularizer(self.regularizer)
        return Autoencoder(
            adapter=adapter,
            encoder=encoder,
            decoder=decoder,
            offset=torch.zeros(self.layout.n_outputs, dtype=torch.float64),
            loss=adapter.loss,
            noise=as_noise(self.noise),
            regularizer=regularizer.build(self.layout.n_columns, k),
            n_components=k,
            n_dropped=self.n_dropped,
            scores=(
                PrincipalScores(n_scores, self.layout.n_features) if n_scores else None
            ),
        )

    def to_state(self) -> dict:
        """Return the configuration as plain values and parts."""
        return {**vars(self), "layout": layout_to_state(self.layout)}

    @classmethod
    def from_state(cls, state: dict) -> "ModelConfig":
        """Return the saved configuration, or raise ValueError."""
        if not isinstance(state, dict) or set(state) != {f.name for f in fields(cls)}:
            raise ValueError("The saved state does not describe a model.")
        layout = layout_from_state(state["layout"])
        values = {name: state[name] for name in CONFIG_CONSTRAINTS}
        validate_parameter_constraints(CONFIG_CONSTRAINTS, values, "a saved model")
        if any(isinstance(value, type) for value in values.values()):
            raise ValueError("The saved state has a class in place of an instance.")
        has_tokens = as_loss(state["loss"]).vocabulary is not None
        if has_tokens != (layout.kind == "tokens"):
            raise ValueError("The saved loss does not fit the layout of the rows.")
        if state["n_dropped"] >= state["n_components"]:
            raise ValueError("The saved state drops every component.")
        return cls(**{**state, "layout": layout})


def linear_maps(model: Autoencoder, pca: PCASolution, shrinkage: float = 1.0):
    """Return the skip connections' weights at which the model is PCA.

    Returns
    -------
    encoder_axes : Tensor of shape (n_components, n_inputs)
        From inputs to codes.

    decoder_axes : Tensor of shape (n_inputs, n_components)
        From codes to outputs, multiplied by the slope of the loss's link at the mean
        and by the shrinkage.
    """
    k, n_inputs = model.n_components, pca.axes.shape[1]
    # In standardized units.
    deviations = pca.deviations[:k] / pca.input_scale
    to_codes, to_scores = model.regularizer.pca_factors(deviations, n_inputs)
    if model.scores is not None:
        unit, first = float(model.scores.unit), np.eye(k, len(pca.axes))
        return (
            torch.from_numpy(to_codes[:, np.newaxis] * unit * first),
            torch.from_numpy(first.T * to_scores * shrinkage / unit),
        )
    _, slope = model.loss.linearize(pca.output_mean, pca.input_scale, shrinkage)
    # (n_inputs,), also of inputs that are not reconstructed, whose axes are zero
    slope = np.append(slope, np.full(n_inputs - len(slope), slope[0]))
    # (n_components, n_inputs) and (n_inputs, n_components)
    return (
        torch.from_numpy(to_codes[:, np.newaxis] * pca.axes),
        torch.from_numpy(slope[:, np.newaxis] * pca.axes.T * to_scores),
    )


def check_elementwise(loss: Callable) -> None:
    """Raise ValueError unless a user's loss returns the loss of each entry."""
    losses = loss(torch.zeros(2, 3), torch.zeros(2, 3))
    if getattr(losses, "shape", None) != (2, 3):
        is_tensor = isinstance(losses, torch.Tensor)
        came = f"shape {tuple(losses.shape)}" if is_tensor else type(losses).__name__
        raise ValueError(
            f"The loss returned {came} for outputs and targets of shape (2, 3), but "
            "expected the loss of each entry, a tensor of their shape. Leave out the "
            "mean over entries."
        )


def check_arrays(arrays: dict, expected: dict) -> None:
    """Raise ValueError unless arrays have the names, shapes and types of `expected`."""
    if not isinstance(arrays, dict) or set(arrays) != set(expected):
        raise ValueError("The saved weights do not belong to this network.")
    for name, array in arrays.items():
        shape = tuple(expected[name].shape)
        dtype = str(expected[name].dtype).removeprefix("torch.")
        fits = isinstance(array, np.ndarray) and array.dtype == np.dtype(dtype)
        if not fits or array.shape != shape:
            raise ValueError(
                f"Got saved weights {name!r} of shape {np.shape(array)}, but expected "
                f"{dtype} of shape {shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"The saved weights {name!r} are not finite.")


def to_arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return a module's parameters and buffers as arrays on the CPU."""
    state = module.state_dict()
    return {name: value.cpu().numpy().copy() for name, value in state.items()}
