"""The model: encoder and decoder, each a network beside a linear skip connection."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skae.networks._layers import zero_output_

MAX_INPUT = 1e15  # in standardized units; float32 holds its square


class LinearSkip(nn.Module):
    """A network beside a linear skip connection: `x -> axes @ x + network(x)`.

    Parameters
    ----------
    network : nn.Module
        Its last layer is set to zero, so that the sum starts as the linear map.

    axes : Tensor of shape (n_outputs, n_inputs)
        The linear map.
    """

    undecayed = ("axes",)  # decay would pull the model away from PCA

    def __init__(self, network: nn.Module, axes: Tensor):
        super().__init__()
        self.network = zero_output_(network)
        self.axes = nn.Parameter(axes)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, n_outputs)."""
        # One operation for the sum and the product.
        return torch.addmm(self.network(x), x, self.axes.T)


class Autoencoder(nn.Module):
    """An encoder, a decoder, and the parts of their training objective.

    Parameters
    ----------
    adapter : InputAdapter
        Maps rows to the encoder's inputs, and the decoder's outputs to those of the
        loss.

    encoder, decoder : nn.Module
        Maps from (n_samples, n_inputs) to (n_samples, n_components) and back.

    offset : Tensor of shape (n_outputs,)
        The output of the constant model, whose reconstruction is the mean.

    loss, noise, regularizer : loss, Noise, BaseRegularizer
        The parts of the objective.

    n_components : int
        Number of components, including those that are dropped.

    n_dropped : int, default=0
        Number of components left out at the end of a code. They decode as zero.
    """

    def __init__(
        self,
        adapter,
        encoder,
        decoder,
        offset,
        loss,
        noise,
        regularizer,
        n_components,
        n_dropped=0,
    ):
        super().__init__()
        self.adapter = adapter
        self.encoder = encoder
        self.decoder = decoder
        self.register_buffer("offset", offset)
        self.loss = loss
        self.noise = noise
        self.regularizer = regularizer
        self.n_components = n_components
        self.n_dropped = n_dropped

    def as_input(self, array: np.ndarray) -> Tensor:
        """Return an array as a tensor of the model's type, with finite squares."""
        # Beyond, squared errors would be infinite, and means of losses NaN.
        return torch.from_numpy(array.clip(-MAX_INPUT, MAX_INPUT)).to(self.offset)

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of standardized rows, shape (n_samples, n_components)."""
        return self.encode_inputs(self.adapter.inputs(x))

    def encode_inputs(self, inputs: Tensor) -> Tensor:
        """Return the codes of the encoder's inputs, shape (n_samples, n_components)."""
        # (n_samples, n_components)
        codes = self.regularizer.code(self.encoder(inputs))
        return codes[:, : -self.n_dropped] if self.n_dropped else codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return outputs of shape (n_samples, n_outputs), on the scale of the loss."""
        if codes.shape[1] < self.n_components:
            codes = self.pad(codes)
        # (n_samples, n_inputs)
        decoded = self.decoder(self.regularizer.decoder_input(codes))
        return self.adapter.write(decoded) + self.offset

    def pad(self, codes: Tensor) -> Tensor:
        """Return codes with zeros in place of the dropped components."""
        return F.pad(codes, (0, self.n_components - codes.shape[1]))
