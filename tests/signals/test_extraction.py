"""Broadband becomes a field potential with its clock, its gaps and nothing folded back, in any pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.signals.extraction import LfpExtractor, extract_lfp, sample_chunks
from spikefield.signals.sample_clock import Run, SampleClock

RATE_HZ = 24_414.3404


def tone(f, seconds, rate_hz=RATE_HZ, start_s=0.0):
    t = start_s + np.arange(round(seconds * rate_hz)) / rate_hz
    return (20_000 * np.sin(2 * np.pi * f * t))[:, None].astype(np.int16)


def regular(n, rate_hz=RATE_HZ):
    return SampleClock.regular(rate_hz=rate_hz, start_s=0.0, n_samples=n)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 30_000.0, 25_000.0, 31_000.0])
@pytest.mark.parametrize("f", [1.0, 40.0, 200.0, 350.0])
def test_tones_keep_phase_and_amplitude(rate_hz, f):
    x = tone(f, 2.0, rate_hz)
    extractor = LfpExtractor(regular(len(x), rate_hz), scale=1 / 20_000)
    y = extractor.push(x)[:, 0]
    t = extractor.start_s + np.arange(len(y)) / extractor.rate_hz
    middle = slice(200, -200)
    np.testing.assert_allclose(y[middle], np.sin(2 * np.pi * f * t[middle]), atol=0.01)
    assert len(y) == extractor.n_samples == -(-len(x) // round(rate_hz / 1000))


@pytest.mark.parametrize("f", [520.0, 700.0, 990.0, 1500.0, 2400.0, 4037.0, 11_900.0])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 30_000.0, 31_000.0])
def test_no_more_than_one_percent_of_a_fast_tone_folds_back(f, rate_hz):
    x = tone(f, 1.0, rate_hz)
    y = LfpExtractor(regular(len(x), rate_hz), scale=1 / 20_000).push(x)
    assert np.abs(y[100:-100]).max() < 0.01


@settings(max_examples=15, deadline=None)
@given(
    pieces=st.lists(st.integers(1, 3000), max_size=12),
    cut=st.tuples(st.integers(1, 8000), st.integers(1, 8000)),
    missing=st.tuples(st.integers(1, 200), st.integers(1, 5000)),
)
def test_any_pieces_and_gaps_equal_one_run_at_a_time(pieces, cut, missing):
    rng = np.random.default_rng(0)
    x = rng.integers(-1000, 1000, (12_000, 2)).astype(np.int16)
    a, b = sorted(cut)
    b += 1
    runs = (Run(0, a, 0), Run(a, b - a, a + missing[0]), Run(b, len(x) - b, b + missing[0] + missing[1]))
    clock = SampleClock(rate_hz=8000.0, start_s=0.0, runs=runs)
    extractor, out, first = LfpExtractor(clock), [], 0
    for size in [*pieces, len(x)]:
        out.append(extractor.push(x[first : first + size]))
        first += size
    extractor.flush()
    y = np.concatenate(out)
    assert len(y) == extractor.n_samples
    expected = np.full_like(y, np.nan)
    for run in runs:
        index = np.arange(-(-run.first_index // 8), -(-(run.first_index + run.n_samples) // 8))
        expected[index] = slow_twin(x[run.first_sample : run.first_sample + run.n_samples], run.first_index, index)
    np.testing.assert_allclose(y, expected, atol=2e-3)


def slow_twin(x, first_index, index, factor=8):
    """Both low-passes by plain convolution over the run with held ends."""
    from spikefield.signals.extraction import _designs

    rows, first = x.astype(np.float64), first_index
    for design in _designs(factor):
        if not len(rows):
            return rows
        pad = len(design.taps)
        held = np.concatenate([np.repeat(rows[:1], pad, 0), rows, np.repeat(rows[-1:], pad, 0)])
        smooth = np.stack([np.convolve(c, design.taps, "same") for c in held.T], 1)[pad:-pad]
        start = -(-first // design.factor)
        rows, first = smooth[start * design.factor - first :: design.factor], start
    assert first == (index[0] if len(index) else first) and len(rows) == len(index)
    return rows


def test_both_orientations_read_alike():
    x = np.random.default_rng(0).integers(-100, 100, (5000, 3)).astype(np.int16)
    clock = regular(5000, 10_000.0)
    a = extract_lfp(sample_chunks(x, chunk_samples=777), clock)
    b = extract_lfp(sample_chunks(np.ascontiguousarray(x.T), time_axis=1), clock)
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_causal_form_stamps_with_the_last_sample_used():
    x = np.zeros((20_000, 1), np.int16)
    x[10_000:] = 1000
    causal, centred = LfpExtractor(regular(len(x)), form="causal"), LfpExtractor(regular(len(x)))
    assert causal.start_s == pytest.approx(causal.reach_s) and centred.start_s == 0.0
    y = causal.push(x)[:, 0]
    t = causal.start_s + np.arange(len(y)) / causal.rate_hz
    assert np.abs(y[t < 10_000 / RATE_HZ]).max() == 0
    assert causal.reach_s < 0.03


def test_a_recording_that_is_slow_already_passes():
    x = np.random.default_rng(0).integers(-100, 100, (500, 2)).astype(np.int16)
    extractor = LfpExtractor(regular(500, 1000.0), scale=0.5)
    np.testing.assert_array_equal(extractor.push(x), x / 2)
    assert extractor.n_samples == 500 and extractor.reach_s == 0


def test_too_many_or_too_few_samples_are_refused():
    extractor = LfpExtractor(regular(1000))
    extractor.push(np.zeros((900, 2), np.int16))
    with pytest.raises(InputError, match="cut short"):
        extractor.flush()
    with pytest.raises(InputError, match="more samples"):
        extractor.push(np.zeros((200, 2), np.int16))
    with pytest.raises(InputError, match="to_hz"):
        LfpExtractor(regular(1000, 100.0))


def test_the_rate_is_measured_from_all_timestamps():
    rng = np.random.default_rng(0)
    t = 17.3 + np.arange(500_000) / RATE_HZ + rng.normal(0, 2e-6, 500_000)
    clock = SampleClock.of_stamps(t[i : i + 40_000] for i in range(0, len(t), 40_000))
    assert clock.rate_hz == pytest.approx(RATE_HZ, rel=1e-8)
    assert clock.start_s == pytest.approx(17.3, abs=1e-7)
    assert clock.runs == (Run(0, 500_000, 0),)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(200, 5000))
def test_gaps_are_found_to_a_sample(seed, size):
    rng = np.random.default_rng(seed)
    index = np.delete(np.arange(60_000), slice(20_000, 20_001))
    index[30_000:] += int(rng.integers(1, 10**7))
    index[45_000:] += 3
    t = 5.0 + index / RATE_HZ
    clock = SampleClock.of_stamps(t[i : i + size] for i in range(0, len(t), size))
    assert clock.rate_hz == pytest.approx(RATE_HZ, rel=1e-9)
    firsts = [0, 20_000, 30_000, 45_000]
    assert clock.runs == tuple(
        Run(a, b - a, int(index[a])) for a, b in zip(firsts, [*firsts[1:], len(index)], strict=True)
    )
    samples = rng.integers(0, len(index), 100)
    np.testing.assert_allclose(clock.times_s(samples), t[samples], atol=1e-6)
    assert clock.n_samples == len(index) and clock.n_indices == index[-1] + 1


def test_bad_clocks_are_refused():
    t = np.arange(100) / 1000
    backwards = t.copy()
    backwards[50:] -= 0.01
    with pytest.raises(InputError, match="must increase, .* at sample 50"):
        SampleClock.of_stamps([backwards[:30], backwards[30:]])
    with pytest.raises(InputError, match="must be finite seconds, got nan at sample 40"):
        SampleClock.of_stamps([t[:40], np.full(3, np.nan)])
    with pytest.raises(InputError, match="at least two time stamps"):
        SampleClock.of_stamps([t[:1]])
