"""What all tests share: one thread, and three tiny binned sessions of different shape that share a latent."""

import pytest
import torch

import tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sessions():
    """Three binned sessions: 10, 9 and 10 units; 6, 8 and 6 channels."""
    return [tiny.binned(0), tiny.binned(1, units=9, channels=8), tiny.binned(2)]
