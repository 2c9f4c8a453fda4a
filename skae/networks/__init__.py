"""Networks: parts that build an encoder and a decoder."""

from skae.networks._base import Network
from skae.networks._conv import Conv
from skae.networks._mlp import MLP
from skae.networks._modules import Modules
from skae.networks._recurrent import Recurrent

__all__ = ["MLP", "Conv", "Modules", "Network", "Recurrent"]
