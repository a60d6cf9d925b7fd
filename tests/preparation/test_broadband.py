"""Broadband to field potential on disk and to crossings: values, gaps, the converter's limits, dead channels."""

from functools import partial

import numpy as np
import pytest

from spikefield.errors import InputError
from spikefield.preparation.broadband import clock_of, crossings, extract
from spikefield.recordings.raw import Broadband

RATE_HZ = 6000.0
VOLTS = np.array([1e-6, -2e-6, 1e-6])


def pieces(counts, samples):
    for first in range(0, len(counts), samples):
        yield counts[first : first + samples]


def stretch(counts, start_s=0.0, ids=("a", "b", "c")):
    return Broadband(
        name="file: data",
        rate_hz=RATE_HZ,
        start_s=start_s,
        n_samples=len(counts),
        channel_ids=ids,
        conversion_v=VOLTS,
        stream=partial(pieces, counts),
    )


def waves(seconds, start_s=0.0, amplitude=(1000, 500, 0)):
    time_s = start_s + np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.rint(np.sin(2 * np.pi * 10 * time_s)[:, None] * amplitude).astype(np.int16)


def test_two_stretches_become_one_grid_with_a_gap(tmp_path):
    parts = (stretch(waves(3.0)), stretch(waves(2.0, 5.0), start_s=5.0))
    made = extract(parts, tmp_path / "lfp")
    lfp, rate_hz = made.arrays["lfp"], made.arrays["lfp_rate_hz"]
    assert (rate_hz, made.arrays["lfp_start_s"], len(lfp)) == (1000.0, 0.0, 7000)
    assert (tmp_path / "lfp").stat().st_size == lfp.nbytes
    np.testing.assert_allclose(made.intervals_s, [(0.0, 3.0), (5.0, 7.0)], atol=1e-9)
    assert np.isnan(lfp[3000:5000]).all()
    expected = np.sin(2 * np.pi * 10 * np.arange(7000) / 1000)[:, None] * np.array([1000, 500, 0]) * VOLTS
    for inner in (slice(100, 2900), slice(5100, 6900)):
        np.testing.assert_allclose(lfp[inner], expected[inner], atol=8e-6)


def test_slow_broadband_keeps_its_rate(tmp_path):
    slow = Broadband(
        name="file: data",
        rate_hz=250.0,
        start_s=1.0,
        n_samples=500,
        channel_ids=("a", "b", "c"),
        conversion_v=VOLTS,
        stream=partial(pieces, waves(1.0)[:500]),
    )
    made = extract([slow], tmp_path / "lfp")
    assert made.arrays["lfp_rate_hz"] == 250.0
    np.testing.assert_allclose(made.arrays["lfp"], waves(1.0)[:500] * VOLTS, rtol=1e-6)


def test_samples_at_the_limits_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.normal(0, 1000, (60_000, 3))
    counts[:, 1] = np.clip(counts[:, 1], -2000, 2000)
    clipped = extract([stretch(counts.astype(np.int16))], tmp_path / "lfp").clipped
    assert clipped["b"] == pytest.approx(np.mean(np.abs(counts[:, 1]) >= 2000) / 2, rel=0.1)
    assert set(clipped) == {"b"}


def test_crossings_of_live_channels(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.normal(0, 10, (round(4 * RATE_HZ), 3))
    counts[:, 2] = 5
    at = np.arange(600, 23_000, 997)
    for shift, height in enumerate((-60, -120, -60)):
        counts[at + shift, 0] += height
        counts[at + shift, 1] -= height  # this channel's gain is negative: its spikes point up in counts
    parts = [stretch(np.rint(counts).astype(np.int16))]
    live = extract(parts, tmp_path / "lfp").live
    assert live.tolist() == [True, True, False]
    found = crossings(parts, live)
    assert found["unit_ids"] == ["a/crossings", "b/crossings"]
    for unit in (0, 1):
        times = found["spike_times"][found["spike_units"] == unit]
        distance = np.abs(times[:, None] - at / RATE_HZ).min(axis=0)
        assert (distance < 1e-3).all()
        assert len(times) < len(at) + 5


def test_stretches_that_overlap_or_differ_are_refused():
    with pytest.raises(InputError, match=r"before the last one ends"):
        clock_of([stretch(waves(3.0)), stretch(waves(2.0), start_s=2.0)])
    with pytest.raises(InputError, match=r"channels differ"):
        clock_of([stretch(waves(1.0)), stretch(waves(1.0), start_s=2.0, ids=("a", "b", "x"))])


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        extract([stretch(waves(1.0))], tmp_path / "lfp")
