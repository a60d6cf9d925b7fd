"""Length, gaps, trials, needs; sessions that do not agree with each other."""

from dataclasses import replace

import numpy as np
import pytest
from preparation_sessions import clean, contents_of, findings, warned

from spikefield.preparation import session_checks
from spikefield.preparation.session_checks import check_agreement


def test_nothing_neural_is_a_problem():
    (found,) = session_checks.check_streams(replace(contents_of(clean()), spikes=None, field=None))
    assert (found.severity, found.stream) == ("problem", "session")


@pytest.mark.parametrize(("end_s", "severity"), [(8.0, "problem"), (40.0, "warning")])
def test_too_short(end_s, severity):
    arrays = {**clean(), "intervals_s": [(0.0, end_s)]}
    assert warned(arrays, "length").severity == severity


def test_gaps_are_a_note_and_a_warning_where_they_rule():
    arrays = {**clean(), "intervals_s": [(0.0, 40.0), (41.5, 90.0)]}
    (found,) = findings(arrays, "gaps")
    assert (found.severity, found.where) == ("note", "40.00 to 41.50 s")
    arrays["intervals_s"] = [(t, t + 0.5) for t in np.arange(0, 90, 0.8)]
    assert "shorter than 1 s" in warned(arrays, "gaps").what
    arrays["intervals_s"] = [(0.0, 10.0), (80.0, 90.0)]
    assert "77.8 %" in warned(arrays, "gaps").what


def test_stretches_that_touch_are_seams_not_gaps():
    arrays = {**clean(), "intervals_s": [(t, t + 3.0) for t in np.arange(0, 90, 3.0)]}
    (found,) = findings(arrays, "gaps")
    assert found.severity == "note"
    assert found.what.startswith("29 seams")
    assert contents_of(arrays).gaps_s == []


def test_trials_in_another_unit_and_outside():
    arrays = clean()
    arrays["trials_s"] = [(t, t + 2.0) for t in np.arange(0, 90, 3.0)]
    assert [f.severity for f in findings(arrays, "trials")] == ["note"]
    arrays["trials_s"] = [(t / 1000, (t + 2) / 1000) for t in np.arange(0, 90, 3.0)]
    assert "shorter than 0.2 s" in warned(arrays, "trials").what
    arrays["trials_s"] = [(t, t + 2.0) for t in np.arange(0, 180, 3.0)]
    assert "30 trials outside" in warned(arrays, "trials").what


def test_needs_are_told_and_warned_of(monkeypatch):
    (found,) = findings(clean(), "needs")
    assert (found.severity, "0.5 GB" in found.what, "minutes" in found.what) == ("note", True, True)
    monkeypatch.setattr(session_checks, "_FIELD_COPIES", 1e9)
    assert "memory" in warned(clean(), "needs").what


def test_sessions_in_different_units():
    other = {**clean(), "session": "other"}
    assert list(check_agreement([contents_of(clean()), contents_of(other)])) == []
    other["lfp"] = other["lfp"] * np.float32(1e-6)
    other["behavior"] = other["behavior"] * [1.0, 100.0]
    found = [f.what for f in check_agreement([contents_of(clean()), contents_of(other)])]
    assert found == [
        "field potential is 1e+06 times as large in sim-a-01 as in other",
        "vy is 100 times as large in other as in sim-a-01",
    ]


def test_sessions_of_one_name():
    (found,) = check_agreement([contents_of(clean()), contents_of(clean())])
    assert (found.severity, found.names) == ("problem", ("sim-a-01",))
