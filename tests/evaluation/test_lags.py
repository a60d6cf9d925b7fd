"""Lags and averages stay inside their stretch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.evaluation.lags import averaged, bins_of, lagged, reach_of

STRETCHES = [(2, 9), (9, 10), (14, 30)]


def _slow_lagged(values, stretches, lags):
    rows = []
    for start, end in stretches:
        for t in range(start, end):
            rows.append(np.concatenate([values[min(max(t + lag, start), end - 1)] for lag in lags]))
    return np.array(rows)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), lags=st.lists(st.integers(-8, 8), min_size=1, max_size=5, unique=True))
def test_lagged_equals_a_slow_twin(seed, lags):
    values = np.random.default_rng(seed).normal(size=(32, 3))
    np.testing.assert_array_equal(lagged(values, STRETCHES, lags), _slow_lagged(values, STRETCHES, lags))


def test_nothing_outside_a_stretch_reaches_its_rows():
    values = np.random.default_rng(0).normal(size=(32, 3))
    poisoned = np.full_like(values, np.nan)
    poisoned[bins_of(STRETCHES)] = values[bins_of(STRETCHES)]
    for lags in ((-4, 0, 4), (0,)):
        np.testing.assert_array_equal(lagged(poisoned, STRETCHES, lags), lagged(values, STRETCHES, lags))
    other = values.copy()
    other[14:30] += 100
    assert np.array_equal(lagged(other, STRETCHES[:2], (-4, 4)), lagged(values, STRETCHES[:2], (-4, 4)))


def test_lag_zero_is_the_bins_themselves():
    values = np.random.default_rng(0).normal(size=(32, 3))
    np.testing.assert_array_equal(lagged(values, STRETCHES, (0,)), values[bins_of(STRETCHES)])


@pytest.mark.parametrize("width", [1, 2, 3, 6, 20])
def test_average_equals_a_slow_twin(width):
    values = np.random.default_rng(1).normal(size=(32, 2))
    result = averaged(values, STRETCHES, width_bins=width)
    for start, end in STRETCHES:
        for t in range(start, end):
            near = [min(max(t + i - width // 2, start), end - 1) for i in range(width)]
            np.testing.assert_allclose(result[t], values[near].mean(0), rtol=1e-5, atol=1e-6)
    outside = np.setdiff1d(np.arange(32), bins_of(STRETCHES))
    assert np.isnan(result[outside]).all()


@pytest.mark.parametrize(
    ("reach_s", "bin_width_ms", "lags", "width"),
    [
        (0.1, 100.0, (-1, 0, 1), 1),
        (0.4, 100.0, (-4, -3, -2, -1, 0, 1, 2, 3, 4), 1),
        (0.1, 20.0, (-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5), 1),
        (0.4, 20.0, (-20, -16, -12, -8, -4, 0, 4, 8, 12, 16, 20), 4),
        (0.1, 500.0, (-1, 0, 1), 1),
    ],
)
def test_reach_covers_its_seconds(reach_s, bin_width_ms, lags, width):
    assert reach_of(reach_s, bin_width_ms=bin_width_ms) == (lags, width)
