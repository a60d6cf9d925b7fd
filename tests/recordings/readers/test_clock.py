"""The measured clock, the grid of pieces and the arithmetic of intervals, against slow twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.readers import grid


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(50, 30000),
    lengths=st.lists(st.integers(2, 400), min_size=1, max_size=4),
    gaps=st.lists(st.integers(2, 5000), min_size=4, max_size=4),
    block=st.integers(1, 300),
    jitter=st.floats(0, 0.1),
    seed=st.integers(0, 99),
)
def test_measured_clock_equals_a_least_squares_fit(rate, lengths, gaps, block, jitter, seed):
    samples, stretch = [], []
    place = 0
    for i, length in enumerate(lengths):
        samples += range(place, place + length)
        stretch += [i] * length
        place += length + gaps[i]
    noise = np.random.default_rng(seed).uniform(-jitter, jitter, len(samples))
    times = 100.0 + (np.array(samples) + noise) / rate
    blocks = [times[i : i + block] for i in range(0, len(times), block)]
    found = clock.measure(blocks, "t")
    assert [s.count for s in found.stretches] == lengths
    assert [s.first for s in found.stretches] == np.cumsum([0, *lengths[:-1]]).tolist()
    design = np.zeros((len(times), len(lengths) + 1))
    design[:, 0] = np.concatenate([np.arange(n) for n in lengths])
    design[np.arange(len(times)), np.array(stretch) + 1] = 1
    period, *starts = np.linalg.lstsq(design, times - 100.0, rcond=None)[0]
    assert found.rate_hz == pytest.approx(1 / period, rel=1e-9)
    np.testing.assert_allclose([s.start_s for s in found.stretches], 100.0 + np.array(starts), atol=1e-9)


def test_rate_of_a_long_recording_is_exact():
    rate = 24414.34
    blocks = ((np.arange(i, i + 10**5) / rate) + 5.0 for i in range(0, 3 * 10**6, 10**5))
    found = clock.measure(blocks, "t")
    assert found.rate_hz == pytest.approx(rate, rel=1e-11) and found.stretches[0].start_s == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1.0], "at least two"),
        ([], "at least two"),
        ([1.0, 1.0], "must increase, got 1.000000 then 1.000000 s at sample 1"),
        ([0.0, 1.0, np.inf], "must be finite seconds, got inf at sample 2"),
        (np.cumsum(np.arange(1, 3000) % 2 * 9 + 1.0), "steps unevenly"),
    ],
)
def test_clocks_that_are_none(times, message):
    times = np.asarray(times)
    blocks = [times[:2], times[2:]] if len(times) > 2 else [times] * bool(len(times))
    with pytest.raises(InputError, match=message):
        clock.measure(blocks, "f: t")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), pieces=st.integers(1, 5))
def test_grid_keeps_every_sample_where_its_clock_puts_it(seed, pieces):
    generator = np.random.default_rng(seed)
    rate, starts, blocks, runs_on, place = 100.0, [], [], [], 700
    for _ in range(pieces):
        n = int(generator.integers(3, 30))
        starts.append(place / rate)
        blocks.append(generator.normal(size=(n, 2)).astype(np.float32))
        runs_on.append(bool(generator.integers(2)))
        place += n + int(generator.integers(0, 4) if runs_on[-1] else generator.integers(20, 50))
    laid = grid.lay(starts, blocks, runs_on, rate)
    held = np.zeros(len(laid.signal), bool)
    for start, block in zip(starts, blocks, strict=True):
        first = round((start - starts[0]) * rate)
        np.testing.assert_array_equal(laid.signal[first : first + len(block)], block)
        held[first : first + len(block)] = True
    times = laid.start_s + (np.arange(len(laid.signal)) + 0.5) / rate
    valid = clock.inside(times, np.array(laid.intervals_s))
    assert (np.isfinite(laid.signal).all(axis=1) == valid).all()
    assert laid.bridged == (valid & ~held).sum()
    assert len(laid.intervals_s) == 1 + sum(not joined for joined in runs_on[:-1])


@settings(max_examples=50, deadline=None)
@given(a=st.lists(st.integers(0, 60), unique=True, max_size=8), b=st.lists(st.integers(0, 60), unique=True, max_size=8))
def test_intervals_against_sets_of_points(a, b):
    spans = [np.array(sorted(x)[: len(x) // 2 * 2], float).reshape(-1, 2) for x in (a, b)]
    points = np.arange(-1, 62) + 0.5
    each = [np.array([any(s <= p < e for s, e in x) for p in points]) for x in spans]
    if all(len(x) for x in spans):
        for x, expected in zip(spans, each, strict=True):
            np.testing.assert_array_equal(clock.inside(points, x), expected)
    both = clock.common(*spans)
    found = clock.inside(points, both) if len(both) else np.zeros(len(points), bool)
    np.testing.assert_array_equal(found, each[0] & each[1])
