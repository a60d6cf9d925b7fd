"""Planted spikes are found once each, whatever the pieces; quiet units are left out by training time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.signals.sample_clock import Run, SampleClock
from spikefield.signals.spikes import ThresholdConfig, detect_spikes, estimate_noise, select_units

RATE_HZ = 24_414.0
WAVE = -np.sin(np.linspace(0, np.pi, 10))


def broadband(seconds=3.0, channels=3, height=15.0, seed=0):
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    x = rng.normal(size=(n, channels)) * 100
    x += 3000 * np.sin(2 * np.pi * 8 * np.arange(n) / RATE_HZ)[:, None]
    places = [np.sort(rng.choice(np.arange(200, n - 200, 100), 60, replace=False)) for _ in range(channels)]
    for channel, starts in enumerate(places):
        for start in starts:
            x[start : start + 10, channel] += height * 100 * WAVE
    return x.round().astype(np.int16), places


def regular(n):
    return SampleClock.regular(rate_hz=RATE_HZ, start_s=10.0, n_samples=n)


def test_planted_spikes_are_found_once_each():
    x, places = broadband()
    clock, config = regular(len(x)), ThresholdConfig(threshold=5.0)
    noise = estimate_noise([x], clock, config=config)
    found = detect_spikes([x], clock, noise=noise, config=config)
    for channel, starts in enumerate(places):
        samples = np.rint((found.times_s[found.unit_index == channel] - 10) * RATE_HZ).astype(int)
        near = np.abs(samples[:, None] - (starts + 4)).min(axis=1) <= 8
        assert near.sum() == len(starts) and (~near).sum() <= 1


def test_spikes_hardly_move_the_noise_estimate():
    quiet, _ = broadband(height=0.0)
    busy, _ = broadband()
    config = ThresholdConfig()
    a, b = (estimate_noise([x], regular(len(x)), config=config) for x in (quiet, busy))
    np.testing.assert_allclose(b, a, rtol=0.05)


def test_noise_comes_from_training_time():
    x, _ = broadband()
    loud = x.copy()
    loud[len(x) // 2 :] *= 3
    training = np.array([[10.0, 11.4]])
    a = estimate_noise([x], regular(len(x)), config=ThresholdConfig(), within_s=training)
    b = estimate_noise([loud], regular(len(x)), config=ThresholdConfig(), within_s=training)
    np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="no sample"):
        estimate_noise([x], regular(len(x)), config=ThresholdConfig(), within_s=np.array([[0.0, 1.0]]))


@settings(max_examples=8, deadline=None)
@given(pieces=st.lists(st.integers(1, 30_000), max_size=6))
def test_any_pieces_give_the_same_spikes(pieces):
    x, _ = broadband()
    clock, config = regular(len(x)), ThresholdConfig(sign="both", threshold=3.5)
    bounds = np.clip(np.cumsum([0, *pieces, len(x)]), 0, len(x))
    cut = [x[a:b] for a, b in itertools.pairwise(bounds)]
    noise = estimate_noise([x], clock, config=config)
    np.testing.assert_allclose(estimate_noise(cut, clock, config=config), noise, rtol=1e-9)
    whole, parts = (detect_spikes(c, clock, noise=noise, config=config) for c in ([x], cut))
    np.testing.assert_array_equal(whole.times_s, parts.times_s)
    np.testing.assert_array_equal(whole.unit_index, parts.unit_index)
    assert (np.diff(whole.times_s) >= 0).all() and len(whole.times_s) > 100


@pytest.mark.parametrize("refractory_ms", [0.0, 1.0, 5.0])
def test_no_two_spikes_of_a_channel_within_the_refractory_time(refractory_ms):
    x, _ = broadband()
    clock, config = regular(len(x)), ThresholdConfig(threshold=2.0, refractory_ms=refractory_ms)
    found = detect_spikes([x], clock, noise=estimate_noise([x], clock, config=config), config=config)
    apart = [np.diff(found.times_s[found.unit_index == c]).min() for c in range(3)]
    assert min(apart) >= refractory_ms / 1000 - 1 / RATE_HZ
    if refractory_ms == 0:
        assert min(apart) < 0.5e-3


def test_sign():
    x, places = broadband()
    clock = regular(len(x))
    for flip, sign in ((1, "negative"), (-1, "positive"), (1, "both")):
        config = ThresholdConfig(sign=sign, threshold=8.0)
        found = detect_spikes([flip * x], clock, noise=estimate_noise([x], clock, config=config), config=config)
        assert len(found.times_s) == pytest.approx(sum(map(len, places)), rel=0.1)


def test_gaps_shift_times_and_make_no_spike():
    x = np.full((20_000, 1), -5000, np.int16)
    x[10_000:] = 5000
    x += np.random.default_rng(0).normal(0, 20, x.shape).astype(np.int16)
    clock = SampleClock(rate_hz=RATE_HZ, start_s=0.0, runs=(Run(0, 10_000, 0), Run(10_000, 10_000, 50_000)))
    config = ThresholdConfig(sign="both", threshold=8.0)
    noise = estimate_noise([x], clock, config=config)
    assert not len(detect_spikes([x[:7000], x[7000:]], clock, noise=noise, config=config).times_s)
    x[15_000:15_010, 0] += (4000 * WAVE).astype(np.int16)
    assert detect_spikes([x], clock, noise=noise, config=config).times_s[0] == pytest.approx(55_002 / RATE_HZ, abs=3e-4)


def test_units_are_chosen_by_training_rate():
    counts = np.zeros((1000, 3), np.uint16)
    counts[:500:50, 0] = 1
    counts[500:, 1] = 5
    counts[::40, 2] = 1
    within = np.arange(1000) < 500
    assert select_units(counts, within=within, bin_width_ms=20.0).tolist() == [True, False, True]
    assert select_units(counts, within=within, bin_width_ms=20.0, min_rate_hz=1.1).tolist() == [False, False, True]
    with pytest.raises(InputError, match="within"):
        select_units(counts, within=np.zeros(1000, bool), bin_width_ms=20.0)


def test_bad_settings_are_refused():
    for wrong in ({"threshold": -4.5}, {"low_hz": 6000.0}, {"refractory_ms": -1.0}):
        with pytest.raises(InputError):
            ThresholdConfig(**wrong)
    with pytest.raises(InputError, match="too slow"):
        ThresholdConfig().sos(500.0)
    x = np.zeros((2000, 2), np.int16)
    with pytest.raises(InputError, match="dead"):
        estimate_noise([x], regular(2000), config=ThresholdConfig())
