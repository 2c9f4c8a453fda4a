"""Blueprints: what a model is built from, for `fit` and for reading a saved state."""

import math
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
import torch

from skae._sklearn import (
    CONTAINERS,
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from skae._torch import SeededDispatch
from skae.data._layout import NumericLayout, layout_of, state_of
from skae.data._pca import LinearPath as Axes
from skae.data._rows import DTYPES as ROW_DTYPES
from skae.losses import LOSSES, as_loss
from skae.model._adapters import READERS
from skae.model._autoencoder import Autoencoder, LinearPath
from skae.networks._base import check_network
from skae.noise import as_noise
from skae.regularizers._base import as_regularizer

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Blueprint:
    """Everything that determines a model but its weights.

    Attributes
    ----------
    layout : NumericLayout
        What a row stands for.

    n_components, n_samples : int
        Sizes for which the network is built, beside that of a row.

    network, loss, noise, regularizer : part, name or callable
        As given to the estimator.

    init : {"pca", "random"}
        Whether a linear path runs beside the networks.

    dtype : str
        "float32" or "float64".

    n_dropped : int, default=0
        How many of the last components the code leaves out.
    """

    layout: NumericLayout
    n_components: int
    n_samples: int
    network: Any
    loss: Any
    noise: Any
    regularizer: Any
    init: str
    dtype: str
    n_dropped: int = 0

    @classmethod
    def from_state(cls, state: dict) -> "Blueprint":
        """Return the blueprint that was saved, refusing what is not one."""
        if not isinstance(state, dict) or set(state) != {f.name for f in fields(cls)}:
            raise ValueError("The saved state does not describe a model.")
        layout = layout_of(state["layout"])
        wanted = {name: state[name] for name in CONSTRAINTS}
        validate_parameter_constraints(CONSTRAINTS, wanted, "a saved model")
        if layout.kind not in as_loss(state["loss"]).kinds:
            raise ValueError("The saved loss is not one of such rows.")
        if state["n_dropped"] >= state["n_components"]:
            raise ValueError("The saved state drops every component.")
        return cls(**{**state, "layout": layout})

    def state(self) -> dict:
        """Return the blueprint as plain values and parts."""
        return {**vars(self), "layout": state_of(self.layout)}

    @property
    def n_features(self) -> int:
        """How many entries a row has."""
        return self.layout.n_features

    @property
    def n_columns(self) -> int:
        """Width of the code: components that are kept, and what else is told."""
        return self.n_components - self.n_dropped + self.layout.n_marks

    @property
    def n_read(self) -> int:
        """How many numbers a network is given for a row."""
        return math.prod(self.layout.read_shape)

    @property
    def n_axes(self) -> int:
        """How many principal axes the model starts from."""
        return self.n_components if self.init == "pca" else 0

    def build(self, seed: int, path: Axes | None = None) -> Autoencoder:
        """Return the model with random networks beside the path's linear maps.

        Without a path all linear maps are zero.
        """
        with torch.device("cpu"), SeededDispatch(torch.Generator().manual_seed(seed)):
            encoder, decoder = self._networks()
            check_network("encoder", encoder, self.n_read, self.n_components)
            check_network("decoder", decoder, self.n_components, self.n_read)
            return self._assemble(encoder, decoder, path).train()

    def load(self, arrays: dict) -> Autoencoder:
        """Return the model with the weights in `arrays`, refusing what does not fit.

        The model is laid out without memory first: a hostile size costs nothing.
        """
        check_arrays(arrays, self._blank("meta").state_dict())
        model = self._blank("cpu")  # with what modules hold beside their state, too
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        model.load_state_dict(tensors)  # in place: what is shared stays shared
        return model.eval()

    def _blank(self, device):
        with torch.device(device), SeededDispatch(torch.Generator()):
            return self._assemble(*self._networks(), None)

    def _networks(self):
        return self.network(self.n_read, self.n_components, self.n_samples)

    def _assemble(self, encoder, decoder, path):
        asked = as_regularizer(self.regularizer)
        asked = asked.build(self.n_features, self.n_components)
        maps = self._maps(path, asked)
        encoder, decoder = INITS[self.init](encoder, decoder, *maps)
        loss, noise = as_loss(self.loss), as_noise(self.noise)
        reader = READERS[self.layout.kind](self.layout)
        offset = torch.zeros(self.layout.n_outputs, dtype=torch.float64)
        if path is not None:
            offset += torch.from_numpy(loss.start(path.mean, path.scale)[0])
            reader.start(*path.ends)
        model = Autoencoder(reader, encoder, decoder, offset, loss, noise, asked)
        model.drop(self.n_dropped)
        return model.to(getattr(torch, self.dtype))

    def _maps(self, path, asked):
        shape = self.n_components, self.n_read
        if path is None or not self.n_axes:
            return torch.zeros(shape), torch.zeros(shape[::-1])
        slope = as_loss(self.loss).start(path.mean, path.scale)[1] * path.shrinkage
        deviations = path.deviations / path.scale
        asked.initialize(deviations, self.n_read)
        to_codes, to_scores = asked.pca_factors(deviations, self.n_read)
        return (
            torch.from_numpy(to_codes[:, np.newaxis] * path.axes),
            torch.from_numpy(slope[:, np.newaxis] * path.axes.T * to_scores),
        )


def beside_linear_maps(encoder, decoder, encoder_map, decoder_map):
    """Return encoder and decoder that start as linear maps."""
    return LinearPath(encoder, encoder_map), LinearPath(decoder, decoder_map)


def networks_alone(encoder, decoder, encoder_map, decoder_map):
    """Return encoder and decoder as they are."""
    return encoder, decoder


INITS = {"pca": beside_linear_maps, "random": networks_alone}

COUNT = Interval(Integral, 1, None, closed="left")
CONSTRAINTS = {
    "n_components": [COUNT],
    "n_samples": [COUNT],
    "network": [callable],
    "loss": [StrOptions(set(LOSSES)), HasMethods(["elementwise"]), callable],
    "noise": [HasMethods(["corrupt", "_validate_params"]), callable, None],
    "regularizer": [HasMethods(["penalty", "_validate_params"]), callable, None],
    "init": [StrOptions(set(INITS))],
    "dtype": [StrOptions(set(DTYPES))],
    "n_dropped": [Interval(Integral, 0, None, closed="left")],
}

KEPT = {
    "_container": [StrOptions({"default", *CONTAINERS})],
    "_dtype": [StrOptions({dtype.__name__ for dtype in ROW_DTYPES})],
    "_seed": [Interval(Integral, 0, 2**31, closed="left")],
}


def check_arrays(arrays: dict, wanted: dict) -> None:
    """Raise ValueError unless arrays have the names, shapes and types of the wanted."""
    if not isinstance(arrays, dict) or set(arrays) != set(wanted):
        raise ValueError("The saved weights do not belong to this network.")
    for name, array in arrays.items():
        shape = tuple(wanted[name].shape)
        dtype = str(wanted[name].dtype).removeprefix("torch.")
        fits = isinstance(array, np.ndarray) and array.dtype == np.dtype(dtype)
        if not fits or array.shape != shape:
            raise ValueError(
                f"Got saved weights {name!r} of shape {np.shape(array)}, but expected "
                f"{dtype} of shape {shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"The saved weights {name!r} are not finite.")


def check_attributes(state: dict, blueprint: Blueprint) -> None:
    """Raise ValueError unless the saved attributes belong to the blueprint's model."""
    wanted = {"mean_": np.empty(blueprint.n_features)}
    check_arrays({"mean_": state.get("mean_")}, wanted)
    scale, k = state.get("scale_"), state.get("n_components_")
    if not (isinstance(scale, float) and 0 < scale < np.inf):
        raise ValueError(f"Got a saved scale of {scale!r}, but expected one above 0.")
    blueprint.layout.check_standard(state["mean_"], scale)
    if state.get("n_features_in_") != blueprint.n_features:
        raise ValueError("The saved model was fitted to another number of features.")
    if k != blueprint.n_columns:
        raise ValueError(f"The saved model has no code of n_components_={k!r}.")
    n_marks = blueprint.layout.n_marks
    for name, width in (("_codes", k - n_marks), ("_marks", n_marks)):
        shape = (*np.shape(state.get(name))[:1], width)
        wanted = {name: np.empty(shape, blueprint.dtype)}
        check_arrays({name: state.get(name)}, wanted)
    if len(state["_codes"]) not in (0, len(state["_marks"])):
        raise ValueError("The saved codes are not of as many rows as their marks.")
    validate_parameter_constraints(
        KEPT, {name: state.get(name) for name in KEPT}, "a saved model"
    )
