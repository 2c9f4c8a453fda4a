"""Which files of the documentation hold doctests, and how many threads they use."""

import pytest
import torch

collect_ignore = ["conf.py", "_build", "auto_examples", "generated"]


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Compute on one thread, as the other tests do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
