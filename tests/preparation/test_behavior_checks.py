"""Every fault of behaviour and of the clocks, planted and found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preparation_sessions import SECONDS, clean, findings, stamped, warned

from spikefield.preparation.clock_check import explained_by_lag


def test_behaviour_that_never_changes():
    arrays = clean()
    arrays["behavior"][:, 1] = 3.0
    assert (warned(arrays, "frozen").severity, warned(arrays, "frozen").names) == ("warning", ("vy",))
    arrays["behavior"][:, 0] = np.nan
    assert warned(arrays, "frozen").severity == "problem"


def test_tracking_that_froze():
    arrays = clean()
    arrays["behavior"][2000:3500] = arrays["behavior"][2000]
    found = warned(arrays, "frozen")
    start_s, end_s = (float(word) for word in found.where.removesuffix(" s").split(" to "))
    assert 19 < start_s <= 20 and 34.9 < end_s < 36  # the hand may have held still at both ends
    assert f"{end_s - start_s:.1f} s" in found.what


def test_missing_samples_and_holes_in_the_stamps():
    arrays = clean()
    arrays["behavior"][:4000, 0] = np.nan
    assert "44 %" in warned(arrays, "missing").what
    arrays = stamped(clean())
    kept = (arrays["behavior_times_s"] < 20) | (arrays["behavior_times_s"] >= 50)
    arrays["behavior"], arrays["behavior_times_s"] = arrays["behavior"][kept], arrays["behavior_times_s"][kept]
    found = warned(arrays, "missing")
    assert "60 of 90 s" in found.what
    assert found.where == "19.99 to 50.00 s"


def test_behaviour_of_another_time_is_a_problem():
    found = warned(stamped(clean(), late_s=500.0), "missing")
    assert (found.severity, found.stream) == ("problem", "behavior")


@pytest.mark.parametrize("gain", [1e-9, 1e9])
def test_an_unlikely_unit(gain):
    arrays = clean()
    arrays["behavior"][:, 0] *= gain
    assert warned(arrays, "behavior_size").names == ("vx",)


def test_a_jump_of_lost_tracking():
    arrays = clean()
    arrays["behavior"][4000, 1] = 1e4
    assert "2 jumps" in warned(arrays, "behavior_size").what


def angle(turns=9.0):
    return (360 * turns * np.arange(round(SECONDS * 100)) / (SECONDS * 100)) % 360


def test_an_angle_that_nobody_declared():
    arrays = clean()
    arrays["behavior"][:, 0] = angle()
    assert "8 times" in warned(arrays, "circles").what
    declared = {**arrays, "behavior_period": [360.0, np.nan]}
    assert findings(declared, "circles") == []
    assert findings(declared, "behavior_size") == []


def test_a_period_in_another_unit():
    arrays = clean()
    arrays["behavior"][:, 0] = angle()
    arrays["behavior_period"] = [2 * np.pi, np.nan]
    assert "declared period" in warned(arrays, "circles").what


def test_time_in_trial_predicts_behaviour():
    arrays, rng = clean(), np.random.default_rng(0)
    arrays["trials_s"] = [(t, t + 2.9) for t in np.arange(0, 90, 3.0)]
    assert findings(arrays, "time_in_trial") == []
    time_s = np.arange(len(arrays["behavior"])) / 100
    arrays["behavior"][:, 0] = np.minimum(time_s % 3, 2.9) + rng.normal(0, 0.4, len(time_s))
    found = warned(arrays, "time_in_trial")
    expected = 1 - 0.16 / (2.9**2 / 12 + 0.16)
    assert float(found.names[0].split()[1]) == pytest.approx(expected, abs=0.03)
    assert len(found.names) == 1


@pytest.mark.parametrize("late_s", [-8.0, 1.2, 12.0])
def test_an_offset_of_the_clock(late_s):
    found = [f for f in findings(stamped(clean(), late_s=late_s), "clocks") if f.severity == "warning"]
    assert len(found) == 2
    for finding in found:
        assert ("late" if late_s > 0 else "early") in finding.what
        assert float(finding.what.split("stamped ")[1].split()[0]) == pytest.approx(abs(late_s), abs=0.15)


def test_a_drift_of_the_clock():
    found = [f for f in findings(stamped(clean(), stretched=1.005), "clocks") if f.severity == "warning"]
    assert any("against spikes" in f.what for f in found)
    for finding in found:
        assert float(finding.what.split(" by ")[1].split()[0]) == pytest.approx(300, abs=60)


def test_behaviour_of_another_animal_cannot_be_checked():
    arrays, rng = clean(), np.random.default_rng(0)
    arrays["behavior"] = np.cumsum(rng.normal(size=arrays["behavior"].shape), axis=0)
    (found,) = findings(arrays, "clocks")
    assert found.severity == "note"
    assert "spikes and the field potential" in found.what


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 3), st.integers(-30, 30))
def test_r2_by_lag_equals_a_fit_at_each_lag(seed, components, dims, centre):
    rng = np.random.default_rng(seed)
    white = np.linalg.qr(rng.normal(size=(120, components)))[0]
    movement = rng.normal(size=(120, dims))
    lags = np.arange(centre - 5, centre + 6)
    padded = np.concatenate([np.zeros((60, dims)), movement, np.zeros((60, dims))])
    slow = []
    for lag in lags:
        later = padded[60 + lag : 180 + lag]
        fit = white @ np.linalg.lstsq(white, later, rcond=None)[0]
        slow.append(np.mean((fit**2).sum(axis=0) / (movement**2).sum(axis=0)))
    np.testing.assert_allclose(explained_by_lag(white, movement, lags), slow, atol=1e-10)
