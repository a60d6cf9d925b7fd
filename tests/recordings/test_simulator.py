"""The simulator keeps what its documentation promises, and linear decoders land where it was calibrated."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import integrate, signal

from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.recordings.simulator import (
    MONTHLY,
    SimulatorConfig,
    ceiling_r2,
    simulate,
    simulate_session,
    simulate_sessions,
)
from spikefield.recordings.simulator.ceiling import Stretch, block_mean, fit_lagged_ridge, lagged_ridge_r2, split
from spikefield.recordings.simulator.corpus import _generator
from spikefield.recordings.simulator.lfp import spike_potential
from spikefield.recordings.simulator.movement import minimum_jerk, move
from spikefield.recordings.simulator.noise import coloured_noise, smooth_pattern
from spikefield.recordings.simulator.spikes import Units, draw_spikes, draw_units

SHORT = SimulatorConfig(session_s=20.0)


@pytest.fixture(scope="module")
def minute():
    return simulate_session(SimulatorConfig(session_s=60.0), index=0)


@pytest.fixture(scope="module")
def full():
    return simulate_session(index=0)


def power(series, rate_hz):
    """Power spectrum by Welch's method with 2 s windows, mean over columns."""
    frequency_hz, spectrum = signal.welch(series, rate_hz, nperseg=round(2 * rate_hz), axis=0)
    return frequency_hz, spectrum.mean(axis=1)


def same(first, second):
    return all(
        np.array_equal(first.arrays[name], second.arrays[name])
        for name in ("spike_times", "spike_units", "lfp", "behavior", "channel_positions_um")
    ) and np.array_equal(first.state, second.state)


def test_same_seed_same_corpus_other_seed_other_corpus():
    first = simulate_session(SHORT, index=1, seed=3)
    assert same(first, simulate_session(SHORT, index=1, seed=3))
    other = simulate_session(SHORT, index=1, seed=4)
    assert not np.array_equal(first.arrays["behavior"], other.arrays["behavior"])
    assert not np.array_equal(first.loadings.state, other.loadings.state)


def test_a_session_does_not_depend_on_how_many_there_are():
    many = list(itertools.islice(simulate_sessions(dataclasses.replace(SHORT, n_sessions=9), seed=1), 2))
    few = simulate(dataclasses.replace(SHORT, n_sessions=2), seed=1).sessions
    assert [s.session for s in few] == ["sim-a-01", "sim-a-02"]
    assert all(same(a, b) for a, b in zip(few, many, strict=True))


def test_another_take_is_more_of_the_same_session():
    first, second = (simulate_session(SHORT, index=1, take=take) for take in (0, 1))
    assert np.array_equal(first.loadings.state, second.loadings.state)
    assert np.array_equal(first.units.weights, second.units.weights)
    assert not np.array_equal(first.arrays["behavior"], second.arrays["behavior"])


def test_subjects_take_turns_and_differ_in_channels():
    config = dataclasses.replace(SHORT, n_sessions=4, n_subjects=2, n_channels=(96, 30))
    sessions = simulate(config).sessions
    assert [s.session for s in sessions] == ["sim-a-01", "sim-b-01", "sim-a-02", "sim-b-02"]
    assert [s.arrays["lfp"].shape[1] for s in sessions] == [96, 30, 96, 30]
    assert np.array_equal(sessions[1].array.positions_um, sessions[3].array.positions_um)


def test_electrodes_lie_on_the_grid_without_its_corners(minute):
    places = minute.array.positions_um / 400
    assert np.array_equal(places, np.rint(places)) and places.min() == 0 and places.max() == 9
    assert len(np.unique(places, axis=0)) == 96
    assert not any((places == corner).all(axis=1).any() for corner in [(0, 0), (0, 9), (9, 0), (9, 9)])


def test_isolated_reach_has_the_minimum_jerk_profile():
    fraction = np.linspace(0, 1, 10001)
    path, slope = minimum_jerk(fraction)
    assert path[0] == 0 and path[-1] == pytest.approx(1)
    assert slope.max() / slope.mean() == pytest.approx(1.875, rel=1e-3)
    np.testing.assert_allclose(np.gradient(path, fraction)[1:-1], slope[1:-1], atol=1e-6)


def test_hand_goes_to_each_target_and_rests_there():
    movement = move(SimulatorConfig(), samples=6000, generator=np.random.default_rng(0))
    travelled = integrate.cumulative_trapezoid(movement.velocity_cm_s, dx=0.01, axis=0, initial=0)
    np.testing.assert_allclose(travelled, movement.position_cm, atol=0.02)
    for start_s, end_s in movement.reaches_s[:-1]:
        before, after = int(start_s * 100), int(np.ceil(end_s * 100))
        assert not movement.velocity_cm_s[before].any() and not movement.velocity_cm_s[after].any()
        np.testing.assert_allclose(movement.position_cm[after], movement.target_cm[before])
        speed = movement.speed_cm_s[before : after + 1]
        assert speed.max() / (speed.sum() / 100 / (end_s - start_s)) == pytest.approx(1.875, rel=0.03)
    assert np.abs(movement.position_cm).max() <= 10
    assert np.all(movement.reaches_s[1:, 0] - movement.reaches_s[:-1, 1] >= 0.3)


def test_state_leads_the_hand_and_is_shared():
    config = dataclasses.replace(SimulatorConfig(), session_s=60.0, n_subjects=2, private_shared_std=0.01)
    maps = []
    for index in range(2):
        session = simulate_session(config, index=index)
        velocity = session.arrays["behavior"]
        at = {
            lead: Stretch(session.state[100:-100], velocity[100 + lead : len(velocity) - 100 + lead])
            for lead in (-10, 6)
        }
        assert lagged_ridge_r2(*split(at[6], gap=0), lag_bins=0) > 0.98
        assert lagged_ridge_r2(*split(at[-10], gap=0), lag_bins=0) < 0.9
        maps.append(fit_lagged_ridge([at[6]], lag_bins=0).weights)
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.98


def test_mean_rates_lie_in_their_range(full):
    rates = np.bincount(full.arrays["spike_units"]) / 300
    assert 60 <= len(rates) <= 110
    assert rates.min() > 1.5 and rates.max() < 16.5 and rates.max() / rates.min() > 4


def test_spikes_are_poisson():
    times_s, units = draw_spikes(np.full((100_000, 3), 20.0), rate_hz=100.0, generator=np.random.default_rng(0))
    assert np.all(np.diff(times_s) >= 0) and times_s[-1] < 1000
    counts = np.histogram(times_s[units == 1], np.arange(0, 1001))[0]
    assert counts.mean() == pytest.approx(20, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.15)
    intervals = np.diff(times_s[units == 1])
    assert intervals.std() / intervals.mean() == pytest.approx(1, abs=0.05)


def test_coloured_noise_has_the_variance_and_the_slope_asked_for():
    noise = coloured_noise(np.random.default_rng(0), rows=8, samples=60_000, rate_hz=500.0, exponent=2.0, knee_hz=0.5)
    assert noise.var(axis=1).mean() == pytest.approx(1, rel=0.15)
    frequency_hz, spectrum = power(noise.T, 500)
    high = (frequency_hz > 3) & (frequency_hz < 100)
    assert np.polyfit(np.log(frequency_hz[high]), np.log(spectrum[high]), 1)[0] == pytest.approx(-2, abs=0.1)


def test_smooth_pattern_correlates_over_its_length():
    places = np.array([[0.0, 0.0], [500.0, 0.0], [5000.0, 0.0]])
    drawn = smooth_pattern(np.random.default_rng(0), places, rows=20_000, length_um=500.0)
    expected = np.exp(-0.5)
    np.testing.assert_allclose(np.cov(drawn.T), [[1, expected, 0], [expected, 1, 0], [0, 0, 1]], atol=0.04)


def test_field_falls_with_frequency_and_has_a_line_peak(minute):
    frequency_hz, spectrum = power(minute.arrays["lfp"], 500)
    band = (frequency_hz >= 1) & (frequency_hz < 55)
    assert np.polyfit(np.log(frequency_hz[band]), np.log(spectrum[band]), 1)[0] < -1
    for line_hz in (60, 120):
        at = np.abs(frequency_hz - line_hz) <= 1
        beside = (np.abs(frequency_hz - line_hz) > 2) & (np.abs(frequency_hz - line_hz) < 8)
        assert spectrum[at].max() > 5 * spectrum[beside].mean()
    assert minute.arrays["lfp"].dtype == np.float32
    assert 20 < minute.arrays["lfp"].std() < 200


def test_movement_potential_is_weak_and_slow():
    with_it, without = (
        simulate_session(dataclasses.replace(SHORT, movement_uv=size_uv), index=0)
        for size_uv in (SHORT.movement_uv, 1e-9)
    )
    potential = with_it.arrays["lfp"] - without.arrays["lfp"]
    assert 0 < potential.var() < 0.1 * with_it.arrays["lfp"].var()
    frequency_hz, spectrum = power(potential, 500)
    assert spectrum[frequency_hz <= 5].sum() > 0.97 * spectrum.sum()
    state = block_mean(with_it.state, 2)
    assert lagged_ridge_r2(*split(Stretch(state, block_mean(potential[:, :5], 10)), gap=10), lag_bins=10) > 0.99


def test_beta_falls_while_the_hand_moves(full):
    sections = signal.butter(3, (13, 30), btype="bandpass", fs=500, output="sos")
    beta = block_mean(signal.sosfiltfilt(sections, full.arrays["lfp"], axis=0) ** 2, 5).mean(axis=1)
    speed = np.linalg.norm(full.arrays["behavior"], axis=1)
    assert beta[speed > 8].mean() < 0.5 * beta[speed == 0].mean()


def test_beta_travels_across_the_array():
    quiet = {name: 1e-6 for name in ("movement_uv", "nuisance_uv", "background_uv", "spike_uv")}
    config = SimulatorConfig(session_s=20.0, line_uv=0.0, harmonic_uv=0.0, wave_spread_rad=1e-6, **quiet)
    session = simulate_session(config, index=0)
    analytic = signal.hilbert(session.arrays["lfp"], axis=0)
    strong = np.abs(analytic).mean(axis=1) > 10
    axis = np.array([np.cos(session.array.wave_axis_rad), np.sin(session.array.wave_axis_rad)])
    along = session.array.positions_um @ axis
    first, last = np.argmin(along), np.argmax(along)
    shift = np.angle(np.exp(1j * np.angle(analytic[strong, last] * analytic[strong, first].conj())))
    assert np.abs(shift).mean() > 0.3
    across = np.abs(along[:, None] - along[None]) + 1e9 * np.eye(len(along))
    near = np.unravel_index(np.argmin(across), across.shape)
    level = np.angle(analytic[strong, near[0]] * analytic[strong, near[1]].conj())
    assert np.abs(level).mean() < 0.1


def test_each_spike_leaves_a_slow_dip_around_its_unit(minute):
    config = SimulatorConfig()
    units = Units(np.zeros((1, 10)), np.zeros(1), np.ones(1), np.array([40]))
    dip = spike_potential(config, np.array([0.5]), np.array([0]), units, minute.array, samples=500)
    peak = dip.min(axis=1)
    distance_um = np.linalg.norm(minute.array.positions_um - minute.array.positions_um[40], axis=1)
    assert np.argmin(peak) == 40 and np.abs(dip[:, :250]).max() < 1e-6
    assert peak[40] == pytest.approx(-config.spike_uv, rel=0.1)
    assert abs(dip[40, -1]) < 0.01
    np.testing.assert_allclose(peak / peak[40], np.exp(-distance_um / config.spike_length_um), atol=1e-4)


def test_loadings_drift_slowly():
    sessions = [simulate_session(dataclasses.replace(SHORT, session_s=10.0), index=index) for index in (0, 1, 5)]
    near, far = (np.corrcoef(sessions[0].loadings.state.ravel(), s.loadings.state.ravel())[0, 1] for s in sessions[1:])
    keep = SimulatorConfig().loading_keep
    assert near == pytest.approx(keep, abs=0.03) and far == pytest.approx(keep**5, abs=0.1)
    assert far < near < 1
    assert np.array_equal(sessions[0].array.positions_um, sessions[2].array.positions_um)


def test_ridge_equals_plain_least_squares_with_lags():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((4000, 3))
    series = Stretch(features, features[:, :2] + rng.standard_normal((4000, 2)))
    fit = fit_lagged_ridge([series], lag_bins=1)
    rows = np.array([[*series.features[t - 1 : t + 2].T.ravel(), 1.0] for t in range(1, 3999)])
    scale = rows[:, :-1].std(axis=0)
    penalties = 10.0 ** np.arange(-7, 3)
    inputs = (rows[:, :-1] - rows[:, :-1].mean(axis=0)) / scale
    target = series.target[1:3999] - series.target[1:3999].mean(axis=0)
    candidates = [
        np.linalg.solve(inputs.T @ inputs / 3998 + p * np.eye(9), inputs.T @ target / 3998) / scale[:, None]
        for p in penalties
    ]
    assert min(np.abs(fit.weights - c).max() / np.abs(c).max() for c in candidates) < 0.02


@pytest.mark.filterwarnings("error")
def test_prepared_session_round_trip(minute, tmp_path):
    data = minute.to_data()
    assert layout.has_spikes(data) and layout.has_lfp(data) and layout.has_behavior(data)
    assert layout.duration_s(data) == pytest.approx(60)
    loaded = layout.load(layout.save(data, tmp_path / "sim-a-01.h5"))
    assert list(loaded.behavior_dims.name) == ["vx", "vy"]
    assert np.array_equal(loaded.lfp.signal, minute.arrays["lfp"])
    assert len(loaded.spikes.timestamps) == len(minute.arrays["spike_times"])
    assert layout.provenance(loaded)["lfp_unit"] == "microvolt"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_sessions": 0}, "n_sessions"),
        ({"session_s": float("nan")}, "session_s"),
        ({"n_channels": (97,)}, "n_channels"),
        ({"n_channels": ()}, "n_channels"),
        ({"rate_hz": (15.0, 2.0)}, "rate_hz"),
        ({"lfp_rate_hz": 200.0}, "lfp_rate_hz"),
        ({"n_state": 7}, "n_state"),
        ({"n_subjects": 27}, "n_subjects"),
    ],
)
def test_wrong_constants_are_refused_by_name(wrong, named):
    with pytest.raises(InputError, match=f"`{named}`"):
        SimulatorConfig(**wrong)


def test_negative_seed_is_refused():
    with pytest.raises(InputError, match="`seed`"):
        simulate_session(SHORT, index=0, seed=-1)


def test_linear_decoders_land_where_calibrated(full):
    velocity = block_mean(full.arrays["behavior"], 2)
    edges = [np.arange(15_001) * 0.02, np.arange(len(full.units.lag_s) + 1) - 0.5]
    counts = np.histogram2d(full.arrays["spike_times"], full.arrays["spike_units"], edges)[0]
    field = block_mean(full.arrays["lfp"], 10)
    field -= field.mean(axis=1, keepdims=True)
    spikes_r2 = lagged_ridge_r2(*split(Stretch(counts, velocity), gap=20), lag_bins=4)
    lfp_r2 = lagged_ridge_r2(*split(Stretch(field, velocity), gap=20), lag_bins=4)
    assert 0.8 < spikes_r2 < 0.95
    assert 0.4 < lfp_r2 < 0.75
    assert ceiling_r2(full) > 0.95


def test_units_fade_over_months_and_the_default_corpus_is_what_it_was():
    monthly = dataclasses.replace(SHORT, **MONTHLY)
    months = [simulate_session(monthly, index=i) for i in range(3)]
    assert same(months[0], simulate_session(SHORT, index=0))
    heard = [{tuple(row) for row in session.units.weights} for session in months]
    assert heard[0] > heard[1] > heard[2] and len(months[1].arrays["lfp"].T) == 96
    assert not np.array_equal(months[0].loadings.state, months[1].loadings.state)
    plain = simulate_session(SHORT, index=1)
    drawn = draw_units(SHORT, n_channels=96, generator=_generator(0, 3, 1))
    assert np.array_equal(plain.units.weights, drawn.weights) and np.array_equal(plain.units.lag_s, drawn.lag_s)
    told = plain.arrays["source"]["config"]
    assert "unit_keep" not in told and told["loading_keep"] == 0.99
    assert months[1].arrays["source"]["config"]["unit_keep"] == MONTHLY["unit_keep"]


@pytest.mark.parametrize("keep", [0.0, 1.5])
def test_a_share_of_units_that_cannot_be(keep):
    with pytest.raises(InputError, match="`unit_keep` must be"):
        SimulatorConfig(unit_keep=keep)
