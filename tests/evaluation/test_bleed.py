"""Behaviour planted in the slow field, or in spike waveforms above 100 Hz alone, is found where it was planted."""

import json

import numpy as np
import pytest
from scipy import signal

from spikefield.errors import InputError
from spikefield.evaluation.bleed import bands_within, check_bleed
from spikefield.recordings.arrays import from_arrays

RATE_HZ, SECONDS, CHANNELS = 1000.0, 60.0, 3


def slow(rng, n, columns, *, cutoff_hz=1.0, rate_hz=RATE_HZ):
    sos = signal.butter(2, cutoff_hz, fs=rate_hz, output="sos")
    values = signal.sosfiltfilt(sos, rng.normal(size=(n, columns)), axis=0)
    return values / values.std(axis=0)


def planted(kind, *, rate_hz=RATE_HZ, seed=0):
    """Return a session whose behaviour is in the field below 5 Hz ('field'), in spikes' waveforms, or nowhere."""
    rng = np.random.default_rng(seed)
    n = round(SECONDS * rate_hz)
    state = slow(rng, n, 2, rate_hz=rate_hz)
    field = rng.normal(size=(n, CHANNELS))
    if kind == "field":
        field += 0.5 * state @ rng.normal(size=(2, CHANNELS))
    if kind == "spikes":
        rate = np.exp(-3.2 + 0.8 * state @ rng.normal(size=(2, CHANNELS)))
        waves = signal.convolve(rng.uniform(size=rate.shape) < rate, np.array([1, -2.5, 1.5, 0])[:, None], "same")
        field += 6 * signal.sosfiltfilt(signal.butter(4, 150, "highpass", fs=rate_hz, output="sos"), waves, axis=0)
    step = round(rate_hz / 50)
    return from_arrays(lfp=field, lfp_rate_hz=rate_hz, behavior=state[::step], behavior_rate_hz=50.0)


@pytest.fixture(scope="module")
def in_the_field():
    return check_bleed(planted("field"))


def test_behaviour_in_the_slow_field(in_the_field):
    found = in_the_field
    assert found.verdict == "field" and found.reached_hz == 5.0
    assert found.best_r2 > 0.8
    assert all(cutoff.r2_band < 0.1 for cutoff in found.cutoffs[1:])
    assert found.sentence.startswith("What you read comes from below 5 Hz (R² 0.")
    assert "add little" in found.sentence


def test_behaviour_in_the_waveforms_of_spikes():
    found = check_bleed(planted("spikes"))
    assert found.verdict == "spikes" and found.reached_hz is not None and found.reached_hz >= 200.0
    by_cutoff = {cutoff.high_hz: cutoff for cutoff in found.cutoffs}
    assert by_cutoff[100.0].r2_below < 0.1 and by_cutoff[450.0].r2_below > 0.3
    assert max(by_cutoff[high].r2_band for high in (200.0, 300.0, 450.0)) > 0.3
    assert "spikes that bleed into the field may be what you read" in found.sentence


def test_nothing_to_read():
    found = check_bleed(planted("nothing", rate_hz=250.0))
    assert found.verdict == "nothing read" and found.reached_hz is None
    assert found.sentence.startswith("Nothing is read from the field up to 100 Hz")


def test_the_lowest_cutoff_is_the_first_band_alone(in_the_field):
    first = in_the_field.cutoffs[0]
    assert first.low_hz == 0.0 and first.r2_below == first.r2_band


def test_a_slow_field_tells_how_far_it_was_tested():
    found = check_bleed(planted("field", rate_hz=100.0))
    assert [cutoff.high_hz for cutoff in found.cutoffs] == [5.0, 10.0, 20.0]
    assert found.sentence.endswith("At 100 Hz the field holds nothing above 20 Hz, so no more can be tested.")
    none = check_bleed(slowest())
    assert none.cutoffs == () and none.verdict == "not tested" and np.isnan(none.best_r2)
    assert none.sentence == "The field comes at 10 Hz: nothing can be tested. Prepare it from a faster recording."
    assert json.loads(json.dumps(none.to_dict()))["reached_hz"] is None


def slowest():
    rng = np.random.default_rng(0)
    return from_arrays(
        lfp=rng.normal(size=(1000, 2)), lfp_rate_hz=10.0, behavior=rng.normal(size=(1000, 1)), behavior_rate_hz=10.0
    )


def test_bands_end_below_half_the_rate():
    assert [high for _, high in bands_within(1000.0)][-1] == 450.0
    assert [high for _, high in bands_within(250.0)][-1] == 100.0
    assert bands_within(10.0) == ()


@pytest.mark.parametrize("name", ["lfp", "behavior"])
def test_without_field_or_behaviour_nothing_is_tested(name):
    rng = np.random.default_rng(0)
    streams = {
        "lfp": {"lfp": rng.normal(size=(1000, 2)), "lfp_rate_hz": 100.0},
        "behavior": {"behavior": rng.normal(size=(1000, 1)), "behavior_rate_hz": 100.0},
    }
    given = {k: v for kind, arrays in streams.items() if kind != name for k, v in arrays.items()}
    with pytest.raises(InputError, match=f"has no {name}, which this check needs"):
        check_bleed(from_arrays(spike_times=[0.5, 1.5], spike_units=[0, 0], **given))


def test_numbers_for_json(in_the_field):
    content = in_the_field.to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["r2"][0].keys() == {"low_hz", "high_hz", "r2_below", "r2_band"}
