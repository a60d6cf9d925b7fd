"""Gaps, jitter, bursts of NaN, bad channels and wrong sources: filled in by policy, flagged, counted, or refused."""

from dataclasses import replace

import numpy as np
import pytest
from live_model import N_CHANNELS, live_model, recording

from spikefield.deploy.streaming import BAD_CHANNELS, BRIDGED, REMEMBERS, WARMING_UP, StreamingDecoder
from spikefield.errors import InputError

RATE_HZ = 500.0
A_BIN = 10


@pytest.fixture(scope="module")
def model():
    return live_model(RATE_HZ)


@pytest.fixture(scope="module")
def lfp():
    return recording(3.0, RATE_HZ, seed=3)


def times_of(lfp):
    return 1e5 + np.arange(len(lfp)) / RATE_HZ


def without(lfp, first, end):
    """Return the recording and its times with samples left out."""
    keep = np.r_[0:first, end : len(lfp)]
    return lfp[keep], times_of(lfp)[keep]


def flagged(decoded, bit):
    return np.flatnonzero(decoded.quality & bit).tolist()


def test_a_short_gap_is_bridged_flagged_and_counted(model, lfp):
    decoder = StreamingDecoder(model, "live")
    decoded = decoder.push(*without(lfp, 503, 515))
    bridged = lfp.copy()
    bridged[503:515] = lfp[502] + (lfp[515] - lfp[502]) * np.arange(1, 13)[:, None] / 13
    np.testing.assert_allclose(decoded.values, StreamingDecoder(model, "live").push(bridged).values, atol=1e-9)
    assert flagged(decoded, BRIDGED) == [50, 51]
    assert flagged(decoded, REMEMBERS) == list(range(52, 51 + model.encoder.reach.past_bins + 1))
    assert flagged(decoded, WARMING_UP) == list(range(6))
    counters = replace(decoder.counters, late_bins=0, clock_jitter_ms=0.0)
    assert (counters.samples, counters.bins, counters.resets) == (len(lfp) - 12, len(decoded), 0)
    assert (counters.dropped_samples, counters.bridged_ms) == (12, pytest.approx(24.0))
    np.testing.assert_allclose(decoded.bin_time_s, 1e5 + (np.arange(150) + 0.5) * 0.02, atol=1e-6)


def test_whatever_reaches_an_invented_sample_says_so(lfp):
    """Alter the bridged samples: every bin that changes carries a flag, before and after them."""
    model = live_model(RATE_HZ, ahead=2, chain="band_power")
    gone = lfp.copy()
    gone[505:515] = np.nan
    louder = gone.copy()
    louder[504] *= 50
    one, two = (StreamingDecoder(model, "live").push(x) for x in (gone, louder))
    changed = np.flatnonzero((np.abs(one.values - two.values) > 1e-3).any(axis=1))
    assert changed.min() == 48 and changed.max() > 60
    assert (one.quality[changed] & (BRIDGED | REMEMBERS)).all()
    assert flagged(one, BRIDGED) == [50, 51]
    assert flagged(one, REMEMBERS)[:3] == [48, 49, 52]


def test_holding_repeats_the_last_sample(model, lfp):
    decoded = StreamingDecoder(model, "live", bad="hold").push(*without(lfp, 503, 515))
    held = lfp.copy()
    held[503:515] = lfp[502]
    np.testing.assert_allclose(decoded.values, StreamingDecoder(model, "live").push(held).values, atol=1e-9)


@pytest.mark.parametrize(("first", "end"), [(500, 600), (503, 597), (503, 504)])
def test_a_long_gap_starts_anew_on_the_same_grid(model, lfp, first, end):
    policy = {"on_gap": "reset"} if end - first == 1 else {}
    decoder = StreamingDecoder(model, "live", **policy)
    decoded = decoder.push(*without(lfp, first, end))
    edge = -(-end // A_BIN) * A_BIN
    alone = StreamingDecoder(model, "live").push(lfp[edge:])
    if edge == end:
        np.testing.assert_allclose(decoded.values[-len(alone) :], alone.values, atol=1e-9)
    assert (decoded.bin_time_s > 1e5 + edge / RATE_HZ).sum() == (len(lfp) - edge) // A_BIN
    assert flagged(decoded, BRIDGED) == []
    assert (np.diff(decoded.bin_time_s) > 0.019).all()
    assert len(flagged(decoded, WARMING_UP)) == 12
    assert (decoder.counters.resets, decoder.counters.dropped_samples) == (1, end - first)


@pytest.mark.usefixtures("unchecked")
def test_jitter_is_no_gap_and_drops_are_found_in_it(model, lfp):
    rng = np.random.default_rng(0)
    lfp = recording(12.0, RATE_HZ, seed=4)
    kept = np.ones(len(lfp), bool)
    for first in range(1000, 6000, 500):
        kept[first : first + 8] = False
    times_s = times_of(lfp) + rng.normal(scale=0.1 / RATE_HZ, size=len(lfp))
    for drift in (1.0, 1.0001, 0.999):
        decoder = StreamingDecoder(model, "live")
        decoder.push(lfp[kept], times_s[kept] * drift)
        assert decoder.counters.dropped_samples == 80
        assert decoder.counters.clock_jitter_ms == pytest.approx(0.1 / RATE_HZ * 1000, rel=0.4)


def test_repeated_samples_are_dropped_and_counted(model, lfp):
    times_s = times_of(lfp)
    again = np.r_[0:700, 690:700, 700 : len(lfp)]
    decoder = StreamingDecoder(model, "live")
    decoded = decoder.push(lfp[again], times_s[again])
    np.testing.assert_allclose(decoded.values, StreamingDecoder(model, "live").push(lfp).values, atol=1e-9)
    assert decoder.counters.repeated_samples == 10


def test_a_clock_that_starts_again_starts_anew(model, lfp):
    times_s = times_of(lfp)
    times_s[800:] -= 1e4
    decoder = StreamingDecoder(model, "live")
    decoded = decoder.push(lfp, times_s)
    assert decoder.counters.resets == 1
    assert len(flagged(decoded, WARMING_UP)) == 12
    assert decoded.bin_time_s[-1] == pytest.approx(times_s[-1], abs=0.02)


@pytest.mark.parametrize("bad", ["interpolate", "hold", "mask"])
def test_a_burst_in_one_channel_follows_the_policy(model, lfp, bad):
    burst = lfp.copy()
    burst[505:525, 2] = np.nan
    decoder = StreamingDecoder(model, "live", bad=bad)
    decoded = decoder.push(burst)
    assert flagged(decoded, BAD_CHANNELS) == [50, 51, 52]
    assert np.isfinite(decoded.values).all()
    assert (decoder.counters.bad_samples, decoder.counters.resets) == (20, 0)
    if bad != "mask":
        filled = burst.copy()
        filled[505:525, 2] = burst[504, 2] if bad == "hold" else burst[505:525, [1, 3]].mean(1)
        np.testing.assert_allclose(decoded.values, StreamingDecoder(model, "live").push(filled).values, atol=1e-9)


def test_a_masked_channel_is_absent_in_every_bin_that_lacks_some_of_it(model, lfp):
    burst, loud = lfp.copy(), lfp.copy()
    burst[505:525, 2] = np.nan
    loud[500:505, 2] = 1e-3
    loud[505:525, 2] = np.nan
    decoded, louder = (StreamingDecoder(model, "live", bad="mask").push(x).values for x in (burst, loud))
    np.testing.assert_allclose(decoded, louder, atol=1e-9)


@pytest.mark.parametrize("bad", ["interpolate", "hold", "mask"])
def test_named_bad_channels_are_never_read(model, lfp, bad):
    first, second = (StreamingDecoder(model, "live", bad=bad) for _ in range(2))
    noisy = lfp.copy()
    noisy[:, 3] = 1.0
    for decoder in (first, second):
        decoder.set_bad_channels(["c3"])
    one, two = first.push(lfp), second.push(noisy)
    np.testing.assert_array_equal(one.values, two.values)
    assert flagged(one, BAD_CHANNELS) == list(range(len(one)))
    assert not np.allclose(one.values, StreamingDecoder(model, "live").push(lfp).values)


def test_good_again_is_unflagged(model, lfp):
    decoder = StreamingDecoder(model, "live")
    decoder.set_bad_channels(["c3"])
    decoder.push(lfp[:500])
    decoder.set_bad_channels([])
    assert flagged(decoder.push(lfp[500:]), BAD_CHANNELS) == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("size", [1, 7, 1500])
def test_a_silent_source_is_held_then_starts_anew(model, lfp, size):
    silent = lfp.copy()
    silent[500:540] = np.nan
    silent[900:915] = np.nan
    decoder = StreamingDecoder(model, "live")
    parts = [decoder.push(silent[i : i + size]) for i in range(0, len(lfp), size)]
    quality = np.concatenate([p.quality for p in parts])
    times_s = np.concatenate([p.bin_time_s for p in parts])
    bridged = np.round(times_s[(quality & BRIDGED) > 0] / 0.02 - 0.5).astype(int).tolist()
    assert bridged == [50, 51, 52, 90, 91]
    assert (decoder.counters.resets, decoder.counters.bad_samples) == (1, 55)
    assert decoder.counters.bridged_ms == pytest.approx(2 * (25 + 15))


def test_a_leading_silence_gives_nothing(model, lfp):
    silent = lfp.copy()
    silent[:200] = np.nan
    decoded = StreamingDecoder(model, "live").push(silent)
    np.testing.assert_allclose(decoded.values, StreamingDecoder(model, "live").push(lfp[200:]).values, atol=1e-9)
    assert decoded.bin_time_s[0] == pytest.approx(0.41)


@pytest.mark.parametrize(
    ("samples", "times_s", "message"),
    [
        (np.zeros((5, N_CHANNELS - 1)), None, "6 channels.*--channel-map"),
        (np.zeros(5), None, "--channel-map"),
        (np.zeros((5, N_CHANNELS), np.int16), None, "are integers.*--scale"),
        (np.zeros((5, N_CHANNELS), complex), None, "must be numbers"),
        (np.zeros((5, N_CHANNELS)), np.zeros(4), "one time a sample"),
        (np.zeros((5, N_CHANNELS)), np.full(5, np.nan), "`times_s` must be finite"),
        (np.zeros((60, N_CHANNELS)), np.arange(60) / 1000, "come at 1000 Hz, but the model learned 500 Hz"),
        (np.zeros((60, N_CHANNELS)), np.zeros(60), "must increase"),
    ],
)
def test_a_push_that_cannot_be_is_refused(model, samples, times_s, message):
    with pytest.raises(InputError, match=message):
        StreamingDecoder(model, "live").push(samples, times_s)


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_other_units_are_refused_once(model, lfp, factor):
    decoder = StreamingDecoder(model, "live")
    with pytest.raises(InputError, match="times as large as in training.*--scale"):
        decoder.push(factor * lfp)
    decoder.push(factor * lfp)


def test_a_source_is_compared_with_the_model(model):
    decoder = StreamingDecoder(model, "live")
    ids = [f"c{i}" for i in range(N_CHANNELS)]
    decoder.check_source(channel_ids=ids, rate_hz=RATE_HZ)
    for given, message in (
        ({"channel_ids": ids[:-1]}, "5 channels.*6.*--channel-map"),
        ({"channel_ids": ids[::-1]}, "another order.*--channel-map"),
        ({"channel_ids": [*ids[:-1], "x"]}, "'x' is not one.*--channel-map"),
        ({"rate_hz": 1000.0}, "1000 Hz.*500 Hz"),
    ):
        with pytest.raises(InputError, match=message):
            decoder.check_source(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"session_id": "other"}, "'other' has no signal chain in the model, which knows live"),
        ({"readout_of": "other"}, "no readout.*`readout_of`"),
        ({"bad": "zero"}, "`bad` must be one of interpolate, hold, mask"),
        ({"on_gap": "zero"}, "`on_gap` must be one of bridge, reset"),
        ({"max_bridge_ms": -1.0}, "`max_bridge_ms`"),
    ],
)
def test_a_decoder_that_cannot_be_is_refused(model, given, message):
    with pytest.raises(InputError, match=message):
        StreamingDecoder(model, **({"session_id": "live"} | given))


def test_bad_channels_that_cannot_be_are_refused(model):
    decoder = StreamingDecoder(model, "live")
    with pytest.raises(InputError, match="'x' is not one of the model's channels"):
        decoder.set_bad_channels(["x"])
    with pytest.raises(InputError, match="at least one good channel"):
        decoder.set_bad_channels([f"c{i}" for i in range(N_CHANNELS)])
