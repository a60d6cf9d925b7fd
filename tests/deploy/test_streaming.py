"""A live stream gives what the model gives offline, in pieces of any size, saved and restored."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
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
    lfp = recording(2.5, model.chains["live"].clock.rate_hz, seed=5)
    return model, lfp, offline(model, lfp)


@given(sizes=sizes)
@settings(max_examples=6, deadline=None)
def test_pieces_of_any_size_equal_offline(case, sizes):
    model, lfp, expected = case
    decoded = stream(StreamingDecoder(model, "live"), lfp, sizes)
    np.testing.assert_allclose(decoded["values"], expected, atol=1e-4)
    assert decoded["quality"].tolist() == [4] * 6 + [0] * (len(expected) - 6)
    np.testing.assert_allclose(decoded["bin_time_s"], (np.arange(len(expected)) + 0.5) * BIN_MS / 1000, atol=1e-9)


@pytest.mark.usefixtures("unchecked")
def test_sample_by_sample_equals_offline(case):
    model, lfp, expected = case
    np.testing.assert_allclose(stream(StreamingDecoder(model, "live"), lfp, [1])["values"], expected, atol=1e-4)


@given(sizes=sizes, share=st.floats(0, 1))
@settings(max_examples=4, deadline=None)
def test_saved_and_restored_goes_on_as_if_nothing_had_been(case, sizes, share):
    model, lfp, _ = case
    cut = round(share * len(lfp))
    first, whole = StreamingDecoder(model, "live"), StreamingDecoder(model, "live")
    for decoder in (first, whole):
        decoder.set_bad_channels(["c1"])
    before = first.push(lfp[:cut])
    second = StreamingDecoder(model, "live")
    second.restore(safetensors.numpy.load(safetensors.numpy.save(first.state())))
    expected = joined([whole.push(lfp[:cut]), whole.push(lfp[cut:]), whole.flush()])
    restored = joined([before, second.push(lfp[cut:]), second.flush()])
    assert {k: v.tolist() for k, v in restored.items()} == {k: v.tolist() for k, v in expected.items()}
    assert second.counters == replace(whole.counters, late_bins=second.counters.late_bins)


@given(share=st.floats(0.1, 0.9), value=st.sampled_from([0.0, 1e-4, np.nan, np.inf]))
@settings(max_examples=6, deadline=None)
def test_the_future_never_changes_the_past(case, share, value):
    model, lfp, _ = case
    cut = round(share * len(lfp))
    altered = lfp.copy()
    altered[cut:] = altered[cut:] + value
    first, second = (StreamingDecoder(model, "live") for _ in range(2))
    before = first.push(lfp[:cut])
    decoded = second.push(altered)
    np.testing.assert_allclose(decoded.values[: len(before)], before.values, atol=1e-12)
    np.testing.assert_array_equal(decoded.quality[: len(before)], before.quality)


@pytest.mark.usefixtures("unchecked")
def test_reset_forgets_everything(case):
    model, lfp, expected = case
    decoder = StreamingDecoder(model, "live")
    decoder.push(lfp[:171])
    decoder.reset()
    np.testing.assert_allclose(stream(decoder, lfp, [100])["values"], expected, atol=1e-4)
