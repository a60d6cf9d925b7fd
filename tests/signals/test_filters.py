"""Filters do what they state, in both forms."""

import numpy as np
import pytest
from scipy import signal

from spikefield.errors import InputError
from spikefield.signals import filters
from spikefield.signals.stages import CausalFilter, ZeroPhaseFilter


def designs():
    return {
        "low": (filters.band_pass_sos(None, 50.0, order=4, rate_hz=1000.0), 1000.0),
        "high": (filters.band_pass_sos(0.05, None, order=2, rate_hz=100.0), 100.0),
        "band": (filters.band_pass_sos(4.0, 8.0, order=2, rate_hz=1000.0), 1000.0),
        "notch": (filters.notch_sos([60.0, 120.0], quality=30.0, rate_hz=1000.0), 1000.0),
        "anti-alias": (filters.anti_alias_sos(100.0, rate_hz=1000.0, form="causal"), 1000.0),
    }


@pytest.mark.parametrize("name", designs())
@pytest.mark.parametrize("form", ["causal", "zero_phase"])
def test_response_is_the_transform_of_the_impulse_response(name, form):
    sos, rate_hz = designs()[name]
    n = 2 * filters.settle_samples(sos, form="causal", share=1e-9)
    impulse = np.zeros((2 * n + 1, 1))
    impulse[n] = 1
    run = filters.causal_filter if form == "causal" else filters.zero_phase_filter
    measured = run(impulse, sos)[:, 0]
    frequencies = np.array([0.3, 1.0, 5.0, 20.0, 45.0])
    time = np.arange(-n, n + 1) / rate_hz
    transform = np.exp(-2j * np.pi * frequencies[:, None] * time) @ measured
    stated = filters.response(sos, frequencies, rate_hz=rate_hz, form=form)
    np.testing.assert_allclose(transform, stated, atol=1e-6)


@pytest.mark.parametrize("name", designs())
@pytest.mark.parametrize("form", ["causal", "zero_phase"])
def test_one_percent_of_the_weight_lies_beyond_the_reach(name, form):
    sos, rate_hz = designs()[name]
    reach = round(filters.reach_s(sos, rate_hz=rate_hz, form=form) * rate_hz)
    n = 4 * reach + 100
    impulse = np.zeros((2 * n + 1, 1))
    impulse[n] = 1
    run = filters.causal_filter if form == "causal" else filters.zero_phase_filter
    weight = np.abs(run(impulse, sos)[n:, 0])
    assert weight[reach:].sum() / weight.sum() == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize(("form", "kept_hz"), [("causal", 30.0), ("zero_phase", 42.0)])
def test_anti_alias_leaves_half_a_percent_and_keeps_the_movement_band(form, kept_hz):
    sos = filters.anti_alias_sos(100.0, rate_hz=1000.0, form=form)
    gain = np.abs(filters.response(sos, np.linspace(50, 500, 5000), rate_hz=1000.0, form=form))
    assert gain.max() < 0.00502
    assert abs(filters.response(sos, np.array([kept_hz]), rate_hz=1000.0, form=form)[0]) > 0.95


def test_a_constant_makes_no_step_at_the_start():
    sos, _ = designs()["low"]
    ones = np.full((50, 2), 7.0)
    np.testing.assert_allclose(filters.causal_filter(ones, sos), ones)
    np.testing.assert_allclose(filters.zero_phase_filter(ones, sos), ones)
    high, _ = designs()["high"]
    np.testing.assert_allclose(filters.causal_filter(ones, high), 0, atol=1e-9)


def test_zero_phase_equals_scipy_away_from_the_ends():
    sos, _ = designs()["band"]
    x = np.random.default_rng(0).normal(size=(12_000, 2))
    ours, scipys = filters.zero_phase_filter(x, sos), signal.sosfiltfilt(sos, x, axis=0)
    np.testing.assert_allclose(ours[4000:-4000], scipys[4000:-4000], atol=1e-6)


def rows_in_pieces(stage, rows, pieces):
    out, first = [], 0
    for size in [*pieces, len(rows)]:
        out.append(stage.push(rows[first : first + size]))
        first += size
    return np.concatenate([*out, stage.flush()])


@pytest.mark.parametrize("name", designs())
@pytest.mark.parametrize("pieces", [[], [1] * 200, [3000, 1, 7777]])
def test_running_filters_equal_whole_arrays_between_gaps(name, pieces):
    sos, _ = designs()[name]
    x = np.random.default_rng(0).normal(size=(15_000, 2)) + 3
    x[4000:4003] = np.nan
    x[4010] = np.nan
    bounds = [(0, 4000), (4003, 4010), (4011, 15_000)]
    causal = rows_in_pieces(CausalFilter(sos, 2), x, pieces)
    zero_phase = rows_in_pieces(ZeroPhaseFilter(sos, 2), x, pieces)
    for a, b in bounds:
        np.testing.assert_allclose(causal[a:b], filters.causal_filter(x[a:b], sos), atol=1e-9)
        np.testing.assert_allclose(zero_phase[a:b], filters.zero_phase_filter(x[a:b], sos), atol=2e-7)
    for y in (causal, zero_phase):
        assert np.array_equal(np.isnan(y), np.isnan(x))


def test_a_slow_edge_beside_a_fast_one_stays_stable():
    sos = filters.band_pass_sos(0.05, 50.0, order=4, rate_hz=24_414.0625)
    gain = np.abs(filters.response(sos, np.array([0.05, 1.0, 10.0, 50.0]), rate_hz=24_414.0625, form="causal"))
    np.testing.assert_allclose(gain, [2**-0.5, 1, 1, 2**-0.5], atol=2e-3)


def test_refuses_edges_above_half_the_rate():
    with pytest.raises(InputError, match="below half"):
        filters.band_pass_sos(None, 50.0, order=4, rate_hz=80.0)
    with pytest.raises(InputError, match="causal, zero_phase"):
        filters.check_form("backwards")
