"""Binning conserves spikes, is exact on edges and never invents a sample."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.signals.binning import bin_index, bin_means, bin_spikes, n_bins


@pytest.mark.parametrize("width_ms", [2.0, 10.0, 20.0, 30.0, 1000 / 30, 100.0])
@pytest.mark.parametrize("start_s", [0.0, 0.1, 123.457, 1.7e9])
def test_times_on_an_edge_belong_to_the_later_bin(width_ms, start_s):
    bins = np.arange(20_000)
    assert np.array_equal(bin_index(start_s + bins * width_ms / 1000, start_s=start_s, bin_width_ms=width_ms), bins)


def test_exact_stamps_that_plain_floor_misplaces():
    stamps = np.arange(2000) / 100
    assert (np.floor(stamps / 0.01) != np.arange(2000)).any()
    assert np.array_equal(bin_index(stamps, start_s=0.0, bin_width_ms=10.0), np.arange(2000))
    assert np.array_equal(bin_index(stamps.astype(np.float32), start_s=0.0, bin_width_ms=10.0), np.arange(2000))


def test_accumulated_stamps():
    stamps = np.cumsum(np.full(5000, 0.01)) - 0.01
    assert np.array_equal(bin_index(stamps, start_s=0.0, bin_width_ms=10.0), np.arange(5000))


@settings(max_examples=50, deadline=None)
@given(ticks=st.lists(st.integers(-3000, 90_000_000), min_size=1, max_size=50), width_us=st.integers(500, 100_000))
def test_equals_exact_arithmetic_on_microsecond_stamps(ticks, width_us):
    exact = [int(Fraction(t, width_us) // 1) for t in ticks]
    times = np.array(ticks) / 1e6
    assert bin_index(times, start_s=0.0, bin_width_ms=width_us / 1000).tolist() == exact


def test_n_bins_counts_whole_bins():
    assert n_bins(0.29, 10.0) == 29
    assert n_bins(0.2899, 10.0) == 28
    assert n_bins(0.0, 10.0) == 0


def slow_counts(times, units, n_units, bins, width_us):
    counts = np.zeros((bins, n_units), int)
    for time, unit in zip(times, units, strict=True):
        k = round(time * 1e6) // width_us
        if 0 <= k < bins:
            counts[k, unit] += 1
    return counts


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), ordered=st.booleans(), spikes=st.integers(0, 400))
def test_counts_equal_a_slow_twin_and_conserve_spikes(seed, ordered, spikes):
    rng = np.random.default_rng(seed)
    times = rng.integers(-50_000, 2_000_000, spikes) / 1e6
    times = np.sort(times) if ordered else times
    units = rng.integers(0, 7, spikes)
    counts = bin_spikes(times, units, n_units=7, n_bins=150, start_s=0.0, bin_width_ms=10.0)
    assert counts.dtype == np.uint16
    assert np.array_equal(counts, slow_counts(times, units, 7, 150, 10_000))
    assert counts.sum() == ((times >= 0) & (times < 1.5)).sum()


@pytest.mark.parametrize("ordered", [True, False])
def test_many_pieces_equal_numpy_histogram(ordered):
    rng = np.random.default_rng(0)
    times, units = rng.uniform(0, 60, 400_000), rng.integers(0, 5, 400_000)
    times = np.sort(times) if ordered else times
    counts = bin_spikes(times, units, n_units=5, n_bins=3000, start_s=0.0, bin_width_ms=20.0)
    for unit in range(5):
        assert np.array_equal(counts[:, unit], np.histogram(times[units == unit], 3000, (0, 60))[0])


def test_sparse_spikes_over_a_long_recording():
    times = np.array([0.005, 3600.005, 3600.006])
    counts = bin_spikes(times, np.array([1, 0, 0]), n_units=2, n_bins=400_000, start_s=0.0, bin_width_ms=10.0)
    assert counts[0].tolist() == [0, 1] and counts[360_000].tolist() == [2, 0] and counts.sum() == 3


def test_refuses_bad_units_times_and_overflow():
    one = np.array([0.5])
    grid = {"n_bins": 1, "start_s": 0.0, "bin_width_ms": 1000.0}
    with pytest.raises(InputError, match="unit_index"):
        bin_spikes(one, np.array([2]), n_units=2, **grid)
    with pytest.raises(InputError, match="times_s"):
        bin_spikes(np.array([np.nan]), np.array([0]), n_units=2, **grid)
    with pytest.raises(InputError, match="bin_width_ms"):
        bin_index(one, start_s=0.0, bin_width_ms=0.0)
    with pytest.raises(InputError, match="narrower"):
        bin_spikes(np.full(70_000, 0.5), np.zeros(70_000, int), n_units=1, **grid)


def test_fast_series_are_averaged_over_each_bin():
    rng = np.random.default_rng(1)
    times = np.arange(1000) / 250
    values = rng.normal(size=(1000, 2))
    values[40:60, 1] = np.nan
    means = bin_means(values, times, n_bins=450, start_s=0.0, bin_width_ms=10.0)
    for k in range(400):
        inside = [i for i in range(1000) if 2 * k * 5 <= 4 * i < 10 * (k + 1)]
        expected = [np.nanmean(values[inside, d]) if np.isfinite(values[inside, d]).any() else np.nan for d in (0, 1)]
        np.testing.assert_allclose(means[k], expected, rtol=1e-12)
    assert np.isnan(means[400:]).all()
    assert np.isnan(means[17:23, 1]).all() and np.isfinite(means[17:23, 0]).all()


def test_slow_series_are_interpolated_but_never_over_a_gap():
    times = np.concatenate([np.arange(10), np.arange(15, 20)]) * 0.05
    values = (3 * times + 1)[:, None]
    means = bin_means(values, times, n_bins=120, start_s=0.0, bin_width_ms=10.0)[:, 0]
    centres = (np.arange(120) + 0.5) * 0.01
    measured = (centres <= 0.45) | ((centres >= 0.75) & (centres <= 0.95))
    assert np.array_equal(np.isfinite(means), measured)
    np.testing.assert_allclose(means[measured], 3 * centres[measured] + 1, rtol=1e-12)


def test_a_series_on_the_grid_passes_unchanged():
    values = np.random.default_rng(2).normal(size=(500, 3))
    means = bin_means(values, np.arange(500) / 100, n_bins=500, start_s=0.0, bin_width_ms=10.0)
    np.testing.assert_allclose(means, values)


def test_refuses_times_that_run_back():
    with pytest.raises(InputError, match="increasing"):
        bin_means(np.zeros((2, 1)), np.array([1.0, 0.0]), n_bins=2, start_s=0.0, bin_width_ms=10.0)
