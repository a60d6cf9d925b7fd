"""Every fault of the field potential, planted and found; a clean one is left in peace."""

import numpy as np
import pytest
from preparation_sessions import clean, contents_of, findings, warned

from spikefield.preparation.checks import run_checks
from spikefield.recordings.simulator import SimulatorConfig, simulate_session


@pytest.mark.parametrize("seed", [0, 1])
def test_a_clean_session_gives_no_warning(seed):
    config = SimulatorConfig(session_s=61.0, n_channels=(24,))
    found = run_checks(contents_of(simulate_session(config, index=0, seed=seed).arrays))
    assert [f.line() for f in found if f.severity != "note"] == []


def test_the_demo_array_gives_no_warning():
    found = run_checks(contents_of(simulate_session(SimulatorConfig(session_s=60.0), index=0).arrays))
    assert [f.line() for f in found if f.severity != "note"] == []


def test_flat_and_standing_channels():
    arrays = clean()
    arrays["lfp"][:, 3] *= 1e-3
    arrays["lfp"][5000:, 5] = arrays["lfp"][5000, 5]
    assert warned(arrays, "flat_channels").names == ("ch003", "ch005")


def test_noisy_channels_by_size_and_by_roughness():
    arrays, rng = clean(), np.random.default_rng(0)
    arrays["lfp"][:, 2] *= 12
    arrays["lfp"][:, 9] += rng.normal(0, 60, len(arrays["lfp"]))
    assert warned(arrays, "noisy_channels").names == ("ch002", "ch009")


def test_duplicate_channels_at_any_gain():
    arrays = clean()
    arrays["lfp"][:, 7] = -0.5 * arrays["lfp"][:, 4]
    assert warned(arrays, "duplicate_channels").place == "ch004 = ch007"


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_mains_rules_a_channel(mains_hz):
    arrays = clean()
    time_s = np.arange(len(arrays["lfp"])) / arrays["lfp_rate_hz"]
    arrays["lfp"][:, 11] += 40 * np.sin(2 * np.pi * mains_hz * time_s)
    found = warned(arrays, "mains")
    assert found.names == ("ch011",)
    assert f"{mains_hz:g} Hz" in found.what


def test_the_simulators_own_mains_are_a_note():
    (found,) = findings(clean(), "mains")
    assert found.severity == "note"
    assert "60 Hz" in found.what


def test_saturation():
    arrays = clean()
    top = np.quantile(arrays["lfp"][:, 6], 0.97)
    arrays["lfp"][:, 6] = np.minimum(arrays["lfp"][:, 6], top)
    found = warned(arrays, "saturation")
    assert found.names == ("ch006",)
    assert "3 %" in found.what or "2.9 %" in found.what


def test_saturation_that_was_counted_in_the_broadband():
    arrays = clean()
    arrays["source"] = {"reader": "x", "prepared": {"clipped": {"ch001": 0.02, "ch002": 1e-5}}}
    assert warned(arrays, "saturation").names == ("ch001",)


@pytest.mark.parametrize("gain", [1e-9, 1e6])
def test_a_size_that_no_unit_of_volts_explains(gain):
    arrays = clean()
    arrays["source"] = {"reader": "x"}
    arrays["lfp"] *= np.float32(gain)
    assert "cannot be volts" in warned(arrays, "unit_of_measure").what


def test_a_size_that_the_declared_unit_does_not_explain():
    arrays = clean()
    arrays["source"] = {"reader": "x", "lfp_unit": "V"}
    assert "V is no field potential" in warned(arrays, "unit_of_measure").what


def test_volts_and_microvolts_pass():
    arrays = clean()
    for unit, gain in {"microvolt": 1.0, "V": 1e-6, "mV": 1e-3}.items():
        scaled = {**arrays, "lfp": arrays["lfp"] * np.float32(gain), "source": {"reader": "x", "lfp_unit": unit}}
        assert findings(scaled, "unit_of_measure") == []


def test_counts_of_a_converter_are_not_volts():
    arrays = clean()
    arrays["source"] = {"reader": "x"}
    arrays["lfp"] = np.rint(arrays["lfp"] * 20)
    assert "whole numbers" in warned(arrays, "unit_of_measure").what


def test_what_was_standardised_before_leaks():
    arrays = clean()
    arrays["source"] = {"reader": "x"}
    lfp = arrays["lfp"].astype(np.float64)
    arrays["lfp"] = (lfp - lfp.mean(axis=0)) / lfp.std(axis=0)
    assert "standardised before" in warned(arrays, "unit_of_measure").what


def test_power_features_are_not_held_to_volts():
    arrays = clean()
    arrays["lfp"] = 1e9 * arrays["lfp"] ** 2
    arrays["source"] = {"reader": "x"}
    assert findings(arrays, "unit_of_measure") == []


def test_a_reshape_instead_of_a_transpose():
    arrays = clean()
    samples, channels = arrays["lfp"].shape
    arrays["lfp"] = np.ascontiguousarray(arrays["lfp"].T).reshape(samples, channels)
    assert "mixed up" in warned(arrays, "axes").what


def test_lost_samples_that_were_filled():
    arrays = clean()
    arrays["lfp"][10_000:10_100] = arrays["lfp"][10_000]
    arrays["lfp"][20_000:20_200] = 0
    found = warned(arrays, "lost_samples")
    assert "0.60 s" in found.what
    assert found.where == "20.00 to 20.20 s, 40.00 to 40.40 s"


def test_ten_equal_samples_are_no_loss():
    arrays = clean()
    arrays["lfp"][10_000:10_010] = arrays["lfp"][10_000]
    assert findings(arrays, "lost_samples") == []


def test_valid_time_without_field_potential():
    arrays = clean()
    arrays["lfp"] = arrays["lfp"][:20_000]
    arrays["intervals_s"] = [(0.0, 90.0)]
    assert "covers 40.0 of 90.0 s" in warned(arrays, "lfp_coverage").what
