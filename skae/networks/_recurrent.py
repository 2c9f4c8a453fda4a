"""Recurrent networks: encoders and decoders of sequences."""

from collections.abc import Sequence
from numbers import Integral

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skae._sklearn import Interval, StrOptions
from skae.networks._base import Network, check_n_entries
from skae.networks._layers import HeLinear, n_products, zero_output_

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(nn.Module):
    """A recurrent cell and a linear map from its states to the code.

    Parameters
    ----------
    cell : nn.RNNBase
        Takes sequences of shape (n_samples, length, features).

    shape : tuple of int
        (length, features)

    n_components : int
        Number of components of a code.
    """

    def __init__(self, cell: nn.RNNBase, shape: tuple[int, int], n_components: int):
        super().__init__()
        self.shape = shape
        self.cell = cell
        self.output = HeLinear(2 * n_states(cell), n_components, dtype=torch.float32)

    @property
    def n_products(self) -> int:
        """Number of multiplications for a row: the cell is used at every step."""
        return self.shape[0] * n_products(self.cell) + n_products(self.output)

    def forward(self, x: Tensor) -> Tensor:
        """Return codes of flat rows, shape (n_samples, n_components)."""
        states, _ = self.cell(x.unflatten(1, self.shape))
        # (n_samples, length, n_states): the forward states, then the backward ones
        size = self.cell.hidden_size
        last = torch.cat([states[:, -1, :size], states[:, 0, size:]], dim=1)
        # In the mean, gradients reach each step directly, not through all later ones.
        return self.output(torch.cat([last, states.mean(dim=1)], dim=1))


class RecurrentDecoder(nn.Module):
    """A recurrent cell whose input at each step is the code and the step.

    Parameters
    ----------
    cell : nn.RNNBase
        Takes sequences with as many features as it has units.

    shape : tuple of int
        (length, features)

    n_components : int
        Number of components of a code.
    """

    def __init__(self, cell: nn.RNNBase, shape: tuple[int, int], n_components: int):
        super().__init__()
        length, features = shape
        like = {"dtype": torch.float32}
        self.code = HeLinear(n_components, cell.input_size, **like)
        self.steps = nn.Parameter(torch.randn(length, cell.input_size, **like))
        self.cell = cell
        self.output = HeLinear(n_states(cell), features, **like)

    @property
    def n_products(self) -> int:
        """Number of multiplications for a row: all but `code` is used at every step."""
        at_every_step = n_products(self.cell) + n_products(self.output)
        return len(self.steps) * at_every_step + n_products(self.code)

    def forward(self, codes: Tensor) -> Tensor:
        """Return flat rows, shape (n_samples, length * features)."""
        # (n_samples, 1, n_inputs) + (length, n_inputs)
        inputs = torch.tanh(self.code(codes).unsqueeze(1) + self.steps)
        # (n_samples, length, n_states)
        states, _ = self.cell(inputs)
        return self.output(states).flatten(1)


def n_states(cell: nn.RNNBase) -> int:
    """Return the number of outputs of a cell at each step, in all its directions."""
    return cell.hidden_size * (2 if cell.bidirectional else 1)


class Recurrent(Network):
    r"""Recurrent encoder and decoder, for sequences.

    A gated cell reads the sequence, and the code is a linear map of its last state and
    of the mean of all states. In the decoder, the input of another cell at each step is
    the code and an embedding of the step, and the sequence is a linear map of its
    states:

    .. math:: h_t = \text{cell}(x_t, h_{t-1}), \quad z = W [h_T, \bar h], \qquad
        s_t = \text{cell}(\tanh(U z + e_t), s_{t-1}), \quad \hat x_t = V s_t

    Parameters
    ----------
    shape : tuple of (length, features) or None, default=None
        The shape of a sequence. With None it is that of the rows which `fit` receives;
        flat rows are sequences of one feature.

    cell : {"gru", "lstm"}, default="lstm"
        Gated recurrent units, or long short-term memory, which takes less time on CPUs.

    hidden_size : int, default=64
        Number of units of a cell in each direction.

    bidirectional : bool, default=False
        Whether both networks also go through the sequence backwards.

    See Also
    --------
    Conv : Convolutions along the sequence.
    MLP : Fully connected layers.

    Notes
    -----
    The time of a step grows with the length, since a cell takes one time step after the
    other. On GPUs, cuDNN cannot differentiate a cell twice, as :class:`Contractive`
    requires.

    References
    ----------
    .. [1] K. Cho et al. "Learning Phrase Representations using RNN Encoder-Decoder for
       Statistical Machine Translation". Conference on Empirical Methods in Natural
       Language Processing, 2014.

    .. [2] N. Srivastava, E. Mansimov, R. Salakhutdinov. "Unsupervised Learning of Video
       Representations using LSTMs". International Conference on Machine Learning, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from skae import AutoencoderTransformer, Recurrent
    >>> X = np.random.default_rng(0).standard_normal((50, 12, 2)).cumsum(axis=1)
    >>> network = Recurrent(hidden_size=8)
    >>> model = AutoencoderTransformer(3, network=network, max_iter=2).fit(X)
    >>> model.inverse_transform(model.transform(X)).shape
    (50, 12, 2)
    """

    time_axis = 0  # rows are (length, features)
    needs_trial = False
    _parameter_constraints = {
        "shape": [tuple, list, None],
        "cell": [StrOptions(set(CELLS))],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "bidirectional": ["boolean"],
    }

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        *,
        cell: str = "lstm",
        hidden_size: int = 64,
        bidirectional: bool = False,
    ):
        self.shape = shape
        self.cell = cell
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional

    def shaped(self, shape):
        """Return a copy that holds a shape: the network's own, or else that of rows."""
        self._validate_params()
        own = tuple(self.shape or (shape if len(shape) > 1 else (*shape, 1)))
        if len(own) != 2 or not all(isinstance(n, Integral) and n > 0 for n in own):
            raise ValueError(
                f"Got shape={own!r}, but expected (length, features), two positive "
                "integers. Set the network's shape to that of a sequence."
            )
        check_n_entries(own, shape)
        return clone(self).set_params(shape=own)

    def __call__(self, n_features, n_components, n_samples):
        shape = self.shaped((n_features,)).shape
        encoder = RecurrentEncoder(self._cell(shape[1]), shape, n_components)
        decoder = RecurrentDecoder(self._cell(self.hidden_size), shape, n_components)
        return encoder, zero_output_(decoder)

    def _cell(self, n_inputs):
        return CELLS[self.cell](
            n_inputs,
            self.hidden_size,
            bidirectional=self.bidirectional,
            batch_first=True,
            dtype=torch.float32,
        )
