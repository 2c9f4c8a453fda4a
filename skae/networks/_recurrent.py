"""Recurrent networks: sequence to code to sequence."""

from numbers import Integral

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skae._sklearn import Interval, StrOptions
from skae.networks._base import Network, check_entries
from skae.networks._layers import HeLinear, n_products

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(nn.Module):
    """A cell reads the sequence; the code is a linear map of what it ends in.

    Parameters
    ----------
    cell : nn.RNNBase
        Reads sequences of shape (n_samples, length, features).

    shape : tuple of int
        (length, features)

    n_components : int
        Width of the code.
    """

    def __init__(self, cell: nn.RNNBase, shape: tuple[int, int], n_components: int):
        super().__init__()
        self.shape = shape
        self.cell = cell
        self.output = HeLinear(2 * n_states(cell), n_components, dtype=torch.float32)

    @property
    def n_products(self) -> int:
        """Multiplications for a row: a cell uses its weights at every step."""
        return self.shape[0] * n_products(self.cell) + n_products(self.output)

    def forward(self, x: Tensor) -> Tensor:
        """Return codes of flat rows."""
        # (n_samples, length, n_states)
        read, _ = self.cell(x.unflatten(1, self.shape))
        # The ends of both directions, and the mean, to which all steps are near.
        forth, back = read[:, -1], read[:, 0]
        size = self.cell.hidden_size
        ends = torch.cat([forth[:, :size], back[:, size:]], dim=1)
        return self.output(torch.cat([ends, read.mean(dim=1)], dim=1))


class RecurrentDecoder(nn.Module):
    """A cell is told the code and the step, at every step, and writes the sequence.

    Parameters
    ----------
    cell : nn.RNNBase
        Reads sequences as wide as its states.

    shape : tuple of int
        (length, features)

    n_components : int
        Width of the code.
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
        """Multiplications for a row: all weights but one are used at every step."""
        at_every_step = n_products(self.cell) + n_products(self.output)
        return len(self.steps) * at_every_step + n_products(self.code)

    def forward(self, codes: Tensor) -> Tensor:
        """Return flat rows of codes."""
        told = torch.tanh(self.code(codes).unsqueeze(1) + self.steps)
        states, _ = self.cell(told)  # (n_samples, length, n_states)
        return self.output(states).flatten(1)


def n_states(cell: nn.RNNBase) -> int:
    """Return how many numbers a cell has after a step, in both directions."""
    return cell.hidden_size * (2 if cell.bidirectional else 1)


class Recurrent(Network):
    r"""Recurrent encoder and decoder for sequences.

    A gated cell reads the sequence, and the code is a linear map of its last states and
    their mean. In the decoder another cell is told the code and an embedding of the
    step, at every step, and a linear map of its states is the sequence:

    .. math:: h_t = \text{cell}(x_t, h_{t-1}), \quad z = W [h_T, \bar h], \qquad
        s_t = \text{cell}(\tanh(U z + e_t), s_{t-1}), \quad \hat x_t = V s_t

    Parameters
    ----------
    shape : tuple of (length, features) or None, default=None
        The shape of a sequence. With None it is the one that `fit` is given; flat rows
        are sequences of one feature.

    cell : {"gru", "lstm"}, default="lstm"
        ReZero recurrent units, or long short-term memory, which take less time on
        processors.

    hidden_size : int, default=64
        Number of units of a cell in each direction.

    bidirectional : bool, default=False
        Whether both networks go through the sequence backwards, too.

    See Also
    --------
    Conv : Convolutions along the sequence.
    MLP : Fully connected layers.

    Notes
    -----
    A step takes time in proportion to the length: one cell after the other. On GPUs,
    cuDNN cannot differentiate a cell twice, as :class:`Contractive` asks.

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

    time_axis = 0  # of (length, features)
    _parameter_constraints = {
        "shape": [tuple, list, None],
        "cell": [StrOptions(set(CELLS))],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "bidirectional": ["boolean"],
    }

    def __init__(self, shape=None, *, cell="lstm", hidden_size=64, bidirectional=False):
        self.shape = shape
        self.cell = cell
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional

    def shaped(self, shape):
        """Return the network for rows of a shape, its own where it has one."""
        self._validate_params()
        own = self.shape or (shape if len(shape) > 1 else (*shape, 1))
        if len(own) != 2 or not all(isinstance(n, Integral) and n > 0 for n in own):
            raise ValueError(
                f"Got shape={own!r}, but expected (length, features), two positive "
                "integers. Set the network's shape to that of a sequence."
            )
        check_entries(own, shape)
        return clone(self).set_params(shape=tuple(own))

    def __call__(self, n_features, n_components, n_samples):
        shape = self.shaped((n_features,)).shape
        return (
            RecurrentEncoder(self._cell(shape[1]), shape, n_components),
            RecurrentDecoder(self._cell(self.hidden_size), shape, n_components),
        )

    def _cell(self, n_inputs):
        return CELLS[self.cell](
            n_inputs,
            self.hidden_size,
            bidirectional=self.bidirectional,
            batch_first=True,
            dtype=torch.float32,
        )
