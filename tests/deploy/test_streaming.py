"""A live stream gives what the model gives offline, in pieces of any size, saved and restored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_model import BIN_MS, live_model, offline, recording

from spikefield.deploy.streaming import StreamingDecoder

VARIANTS = [
    {},
    {"ahead": 2},
    {"patch": 6, "chain": "realtime"},
    {"rate_hz": 50.0},
    {"rate_hz": 1000.0, "bad": ("c2",)},
    {"rate_hz": 500.0, "chain": "band_power", "patch": 18},
]
sizes = st.lists(st.integers(0, 400), min_size=1, max_size=12)


def pieces(lfp, sizes):
    """Cut a recording into pieces whose sizes repeat."""
    first, i = 0, 0
    while first < len(lfp):
        size = sizes[i % len(sizes)] if any(sizes) else 100
        yield slice(first, first + size)
        first, i = first + size, i + 1


def stream(decoder, lfp, sizes, times_s=None):
    """Return all that is decoded of a recording, in one piece."""
    parts = [decoder.push(lfp[p], None if times_s is None else times_s[p]) for p in pieces(lfp, sizes)]
    return joined([*parts, decoder.flush()])


def joined(parts):
    return {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in ("bin_time_s", "values", "quality", "z")
    }


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def case(request):
    model = live_model(**request.param)
    rate_hz = model.chains["live"].clock.rate_hz
    lfp = recording(6.0, rate_hz, seed=5)
    return model, lfp, offline(model, lfp)


@given(sizes=sizes)
@settings(max_examples=8, deadline=None)
def test_pieces_of_any_size_equal_offline(case, sizes):
    model, lfp, expected = case
    decoded = stream(StreamingDecoder(model, "live"), lfp, sizes)
    np.testing.assert_allclose(decoded["values"], expected, atol=1e-4)
    assert decoded["quality"].tolist() == [4] * 6 + [0] * (len(expected) - 6)
    np.testing.assert_allclose(decoded["bin_time_s"], (np.arange(len(expected)) + 0.5) * BIN_MS / 1000, atol=1e-9)
