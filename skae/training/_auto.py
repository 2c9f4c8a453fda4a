"""The default recipe: what every "auto" means, as functions of the data's shape."""

import numpy as np
import torch
from scipy import stats

SMALL = 5000  # rows below which the final model is trained once more, on all rows
HANDFUL = 10  # held-out rows that tell nothing
PRECISE_ROWS = 500  # up to here float64 costs nothing
N_STEPS = {0: 1500, 1000: 3000, 10_000: 4000}  # from so many rows on
# Chance of preferring a network that is no better than PCA: few rows hide outliers.
LEVEL, LEVEL_FEW, FEW = 0.025, 0.005, 50
COUPLED_ALPHA = 1e-4
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # processors' instructions


def auto(value, rule):
    """Return the value, or what the rule gives where it is "auto"."""
    return rule() if isinstance(value, str) and value == "auto" else value


def n_held_out(n_rows: int, fraction: float, early_stopping) -> int:
    """Return how many rows to hold out.

    With "auto", between 100 and 1000, at most a quarter, and none where that is a
    handful; with True the fraction, but at least one row.
    """
    if early_stopping == "auto":
        wanted = int(np.clip(round(fraction * n_rows), 100, 1000))
        n_rows_out = min(wanted, n_rows // 4)
        return n_rows_out if n_rows_out >= HANDFUL else 0
    return min(max(1, round(fraction * n_rows)), n_rows - 1) if early_stopping else 0


def batch_size(n_rows: int) -> int:
    """Return the power of two nearest to n_rows / 16 within [32, 256]; few rows: all.

    A full batch for few rows makes integer weights equal repeated rows.
    """
    if n_rows <= 64:
        return 64
    return int(np.clip(2 ** round(np.log2(n_rows / 16)), 32, 256))


def n_epochs(n_rows: int, batch_size: int) -> int:
    """Return the epochs that make 1500 steps; 3000 from 1000 rows, 4000 from 10,000.

    A network that cannot be judged, for want of rows to hold out, is worse than PCA
    more often than not: it gets a single, small step.
    """
    if n_rows < 4 * HANDFUL:
        return 1
    n_steps = max(steps for rows, steps in N_STEPS.items() if n_rows >= rows)
    return int(np.ceil(n_steps / np.ceil(n_rows / batch_size)))


def alpha(n_rows: int, decoupled: bool) -> float:
    """Return the rate of weight decay, the fewer rows the stronger, or the penalty."""
    return min(1.0, 500 / n_rows) if decoupled else COUPLED_ALPHA


def patience(n_epochs: int) -> int:
    """Return the epochs without gain after which training stops."""
    return max(8, n_epochs // 4)


def device() -> str:
    """Return the accelerator, where there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def precision(dtype, n_rows: int, device) -> str:
    """Return float64 for little data that came in it, where the device knows it."""
    precise = dtype == np.float64 and n_rows <= PRECISE_ROWS and device != "mps"
    return "float64" if precise else "float32"


def has_bfloat16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 numbers faster than float32 ones."""
    kind = torch.device(device).type
    if kind == "cpu":
        # Earlier versions of torch do not tell.
        abilities = getattr(torch.cpu, "get_capabilities", dict)()
        return any(abilities.get(name) for name in BFLOAT16)
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def check_bfloat16(device: str) -> None:
    """Raise ValueError where bfloat16 would only be slower."""
    if not has_bfloat16(device):
        raise ValueError(
            f"Got precision='bfloat16', but the device {device!r} has no arithmetic "
            "for it. Choose 'auto' or 'float32'."
        )


def clearly_lower(losses, reference, weight) -> bool:
    """Tell whether losses of held-out rows are lower than chance allows.

    A one-sided paired t-test on the rows' differences, at a level of 2.5 %, or 0.5 %
    where there are fewer than 50.
    """
    gain = reference - losses
    mean = np.average(gain, weights=weight)
    variance = np.average(np.square(gain - mean), weights=weight)
    level = LEVEL_FEW if len(gain) < FEW else LEVEL
    bound = stats.t.ppf(1 - level, max(1, len(gain) - 1))
    return bool(mean > bound * np.sqrt(variance / len(gain)))
