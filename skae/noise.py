"""Noise: what is done to a batch before it is encoded, for decoding to undo."""


def no_noise(batch):
    """Return the batch as it came: the absence of noise."""
    return batch


def as_noise(noise):
    """Return a callable on a batch; None stands for no noise."""
    return no_noise if noise is None else noise
