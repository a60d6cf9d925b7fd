"""A model folder of every format that was ever released loads, and gives the numbers that it gave then."""

from pathlib import Path

import numpy as np
import pytest

import spikefield
from spikefield.deploy.streaming import StreamingDecoder

FOLDER = Path(__file__).parent / "artifacts"


def field(n_samples):
    """Return six sines and their ripples, in volts at 200 Hz."""
    time_s, channel = np.arange(n_samples)[:, None] / 200.0, np.arange(6)
    slow, fast = 2 * np.pi * (0.7 + 0.9 * channel) * time_s + channel, 2 * np.pi * (11 + channel) * time_s
    return 1e-5 * (np.sin(slow) + 0.5 * np.sin(fast))


@pytest.mark.parametrize("format_version", [1])
def test_decodes_as_it_did(format_version):
    model = spikefield.load(FOLDER / f"format-{format_version}")
    decoded = StreamingDecoder(model, "live").push(field(600))
    expected = np.load(FOLDER / f"format-{format_version}-decoded.npy")
    np.testing.assert_allclose(decoded.values, expected, atol=1e-4)
    assert len(expected) == 150 and expected.std(axis=0).min() > 0.1
