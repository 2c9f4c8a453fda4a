"""The model: an encoder and a decoder, each a linear map beside a network."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skae.networks._layers import zero_output_
from skae.regularizers._base import BaseRegularizer, validation_generator
from skae.training._manual_step import (
    Passes,
    Place,
    is_writable,
    linear_beside,
    write_out,
)

LARGEST = 1e15  # float32 holds its square, in standardised units


class LinearPath(nn.Module):
    """A linear map beside a network: `x -> axes @ x + network(x)`.

    Parameters
    ----------
    network : nn.Module
        Its last layer is set to zero, so that the sum starts as the linear map.

    axes : Tensor of shape (n_outputs, n_inputs)
        The linear map.
    """

    def __init__(self, network: nn.Module, axes: Tensor):
        super().__init__()
        self.network = zero_output_(network)
        self.axes = nn.Parameter(axes)

    @property
    def undecayed(self) -> list[nn.Parameter]:
        """What weight decay is not to shrink."""
        return [self.axes]

    @property
    def writable(self) -> bool:
        """Whether `write_out` knows the network."""
        return is_writable(self.network)

    def write_out(self, x: Place) -> Passes:
        """Return the sum as operations that start from x."""
        return linear_beside(write_out(self.network, x), self.axes, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, n_outputs)."""
        return torch.addmm(self.network(x), x, self.axes.T)


class Autoencoder(nn.Module):
    """An encoder, a decoder and what they are trained for.

    Parameters
    ----------
    reader : InputAdapter
        How rows are taken in, and outputs given.

    encoder, decoder : nn.Module
        Maps from (n, n_read) to (n, n_components) and back.

    offset : Tensor of shape (n_outputs,)
        Output of the model that knows nothing but the mean.

    loss, noise, regularizer : loss, Noise, BaseRegularizer
        The parts of the objective.
    """

    def __init__(self, reader, encoder, decoder, offset, loss, noise, regularizer):
        super().__init__()
        self.reader = reader
        self.encoder = encoder
        self.decoder = decoder
        self.register_buffer("offset", offset)
        self.loss = loss
        self.noise = noise
        self.regularizer = regularizer
        self.n_dropped = 0

    @property
    def writable(self) -> bool:
        """Whether all parts offer what writing out a training step takes."""
        return (
            self.reader.writable
            and self.loss.derivative is not None
            and not self._has_encoder_penalty()
            and not self.n_dropped
            and self._networks_are_writable()
        )

    def _has_encoder_penalty(self):
        ours = type(self.regularizer).encoder_penalty
        return ours is not BaseRegularizer.encoder_penalty

    def _networks_are_writable(self):
        networks = (self.encoder, self.decoder)
        parameters = [p for network in networks for p in network.parameters()]
        return (
            all(is_writable(network) for network in networks)
            and all(p.requires_grad for p in parameters)
            # A gradient is written, not added to what another use has written.
            and len(set(parameters)) == len(parameters)
        )

    def drop(self, n_components: int) -> None:
        """Leave the last components out of the code: they decode as zero."""
        self.n_dropped = n_components

    def as_input(self, array: np.ndarray) -> Tensor:
        """Return numbers as the model takes them, cut off where squares overflow."""
        return torch.from_numpy(array.clip(-LARGEST, LARGEST)).to(self.offset)

    def encode(self, x: Tensor) -> Tensor:
        """Return codes of shape (n_samples, n_components)."""
        return self.encode_read(self.reader(x))

    def encode_read(self, x: Tensor) -> Tensor:
        """Return codes of what the reader returned."""
        codes = self.regularizer.code(self.encoder(x))
        return codes[:, : -self.n_dropped] if self.n_dropped else codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, n_outputs), on the loss's scale."""
        return self.decode_all(self._with_dropped(codes))

    def _with_dropped(self, codes):
        return F.pad(codes, (0, self.n_dropped)) if self.n_dropped else codes

    def decode_all(self, codes: Tensor) -> Tensor:
        """Return outputs from codes with the components that are left out."""
        decoded = self.decoder(self.regularizer.decoder_input(codes))
        return self.reader.write(decoded) + self.offset

    def constant(self, x: Tensor) -> Tensor:
        """Return the outputs of the model that knows nothing but the mean."""
        return self.offset.expand(len(x), -1)

    def objective(self, x: Tensor, target: Tensor, generator, weights=None) -> Tensor:
        """Return the training loss of each sample, shape (n_samples,)."""
        asked, noisy = self.regularizer, self.noise.corrupt(self.reader(x), generator)
        codes = self._with_dropped(self.encode_read(noisy))
        losses = self.mean_loss(asked.training_codes(codes, generator), target)
        added = asked.batch_penalty(codes, losses.detach(), weights, generator)
        slope = asked.encoder_penalty(self.encode_read, noisy, weights, generator)
        return losses + added + slope

    def validation(self, x: Tensor, target: Tensor, weights=None) -> Tensor:
        """Return the loss by which the model is judged, shape (n_samples,).

        What is random has the same numbers at every call.
        """
        asked, read = self.regularizer, self.reader(x)
        codes, generator = (
            self._with_dropped(self.encode_read(read)),
            validation_generator(x),
        )
        views = asked.validation_codes(codes)
        losses = sum(self.mean_loss(view, target) for view in views) / len(views)
        slope = asked.encoder_penalty(self.encode_read, read, weights, generator)
        return asked.validation_loss(codes, losses, weights, generator) + slope

    def mean_loss(self, codes: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of each sample over its codes, one block after another.

        Codes have the shape (n_blocks * n_samples, n_components).
        """
        n_blocks = len(codes) // len(target)
        targets = target.expand(n_blocks, *target.shape).flatten(0, 1)
        losses = self.sample_loss(self.decode_all(codes), targets)
        return losses.unflatten(0, (n_blocks, -1)).mean(dim=0)

    def sample_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the features of each sample, shape (n_samples,)."""
        return self.reader.mean(self.losses(output, target))

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each entry, shape (n_samples, n_features)."""
        return self.reader.losses(self.loss.elementwise, output, target)
