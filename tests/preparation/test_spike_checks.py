"""Every fault of the spikes, planted and found, as times and as counts."""

import numpy as np
import pytest
from preparation_sessions import SECONDS, clean, findings, warned


def with_train(arrays, times_s):
    """Return the session with one more unit."""
    unit = arrays["spike_units"].max() + 1
    times = np.concatenate([arrays["spike_times"], times_s])
    units = np.concatenate([arrays["spike_units"], np.full(len(times_s), unit)])
    return {**arrays, "spike_times": times, "spike_units": units}, f"unit{unit:03d}"


def as_counts(arrays, width_s=0.02):
    table = np.zeros((round(SECONDS / width_s), arrays["spike_units"].max() + 1), int)
    np.add.at(table, ((arrays.pop("spike_times") / width_s).astype(int), arrays.pop("spike_units")), 1)
    return {**arrays, "spike_counts": table, "bin_width_ms": 1000 * width_s}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_rate_that_no_neuron_has(rng):
    arrays, name = with_train(clean(), np.sort(rng.uniform(0, SECONDS, 30_000)))
    for session in (arrays, as_counts(dict(arrays))):
        found = warned(session, "rates")
        assert found.names == (name,)
        assert "333 Hz" in found.what


def test_slow_units_are_a_note_and_a_warning_where_hardly_any_is_left(rng):
    arrays, name = with_train(clean(), np.sort(rng.uniform(0, SECONDS, 20)))
    (found,) = findings(arrays, "rates")
    assert (found.severity, found.names) == ("note", (name,))
    few = {**clean(), "spike_times": clean()["spike_times"][::100], "spike_units": clean()["spike_units"][::100]}
    assert "below 1 Hz" in warned(few, "rates").what


def test_duplicate_units(rng):
    arrays = clean()
    train = arrays["spike_times"][arrays["spike_units"] == 4]
    jittered, name = with_train(arrays, train[rng.random(len(train)) < 0.8] + 1e-4)
    assert warned(jittered, "duplicate_units").names == (f"unit004 = {name}",)


def test_duplicate_counts():
    arrays = as_counts(clean())
    arrays["spike_counts"] = np.column_stack([arrays["spike_counts"], arrays["spike_counts"][:, 2]])
    assert warned(arrays, "duplicate_units").names == ("unit002 = unit030",)


def test_spikes_found_twice(rng):
    arrays = clean()
    train = np.sort(rng.uniform(0, SECONDS - 1, 900))
    twice, name = with_train(arrays, np.sort(np.concatenate([train, train[::5] + 5e-4])))
    found = warned(twice, "refractory_time")
    assert found.names == (name,)
    assert "18 %" in found.what  # 180 of 1080, and what chance adds


def test_poisson_units_are_a_note():
    assert {f.severity for f in findings(clean(), "refractory_time")} == {"note"}


def test_spikes_outside_valid_time():
    arrays = clean()
    arrays["intervals_s"] = [(0.0, 40.0), (45.0, 90.0)]
    inside = ((arrays["spike_times"] < 40) | (arrays["spike_times"] >= 45)).mean()
    found = warned(arrays, "valid_time_of_spikes")
    assert f"{100 * (1 - inside):.2g} %" in found.what


@pytest.mark.parametrize("form", [dict, as_counts])
def test_a_pause_that_nobody_marked(form):
    arrays = clean()
    kept = (arrays["spike_times"] < 30) | (arrays["spike_times"] > 37)
    arrays["spike_times"], arrays["spike_units"] = arrays["spike_times"][kept], arrays["spike_units"][kept]
    found = warned(form(arrays), "pauses")
    assert "7.0 s" in found.what
    assert found.where.startswith(("29.9", "30.0"))


def test_a_marked_pause_is_none():
    arrays = clean()
    kept = (arrays["spike_times"] < 30) | (arrays["spike_times"] >= 37)
    arrays["spike_times"], arrays["spike_units"] = arrays["spike_times"][kept], arrays["spike_units"][kept]
    arrays["intervals_s"] = [(0.0, 30.0), (37.0, 90.0)]
    assert findings(arrays, "pauses") == []


def test_units_that_vanish(rng):
    arrays, name = with_train(clean(), np.sort(rng.uniform(0, 0.5 * SECONDS, 400)))
    assert warned(arrays, "vanishing_units").names == (name,)


def test_parts_are_counted_in_valid_time(rng):
    arrays = clean()
    arrays["intervals_s"] = [(0.0, 20.0), (70.0, 90.0)]
    train = rng.uniform(0, 40, 400)
    arrays, _ = with_train(arrays, np.sort(np.where(train < 20, train, train + 50)))
    assert findings(arrays, "vanishing_units") == []
