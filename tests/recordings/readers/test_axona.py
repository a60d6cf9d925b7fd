"""Axona unit-mode files against planted truth, and the real rat."""

from pathlib import Path

import numpy as np
import pytest
from helpers import by_unit, left_out, read
from writers import axona

from spikefield.errors import InputError
from spikefield.recordings.readers import inspect_file, sources

REAL = Path(__file__).parents[4] / "shared/data/axona_r1838/83812141.set"


def test_every_file_is_read_back(tmp_path):
    path, truth = axona.write(tmp_path)
    (raw,) = read(path)
    gains = np.array([1.5 / 6000, 1.5 / 5000])
    np.testing.assert_allclose(raw.arrays["lfp"], truth.eeg / 128 * gains, rtol=1e-6)
    assert raw.arrays["channel_ids"] == ["eeg1", "eeg2"] and raw.arrays["lfp_rate_hz"] == 250.0
    lights = np.where(truth.lights == 1023, np.nan, truth.lights) * 100 / 365
    np.testing.assert_allclose(raw.arrays["behavior"], lights[:, :2])
    assert np.isnan(raw.arrays["behavior"][10:20]).all()
    for cluster in (1, 2, 3):
        np.testing.assert_allclose(by_unit(raw)[f"t5c{cluster:02d}"], truth.spikes_s[truth.clusters == cluster])
    (unsorted,) = read(path, units=("unsorted",), behavior=("position2",))
    assert unsorted.arrays["unit_ids"] == ["t5c00"]
    assert raw.build().lfp.signal.shape == truth.eeg.shape


def test_any_file_of_a_recording_stands_for_it(tmp_path):
    path, _ = axona.write(tmp_path)
    axona.write(tmp_path, stem="rec2")
    for name in ("rec1.eeg2", "rec1.5", "rec1_5.cut", "rec1.pos"):
        assert read(tmp_path / name)[0].id == "rec1"
    assert sources(tmp_path) == [path, tmp_path / "rec2.set"]
    assert {row.name: row.channels for row in inspect_file(path).series}["sorted"] == 3


def test_without_cut_or_set(tmp_path):
    path, truth = axona.write(tmp_path)
    (tmp_path / "rec1_5.cut").unlink()
    (raw,) = read(path, units=("unsorted",))
    assert len(raw.arrays["spike_times"]) == len(truth.spikes_s)
    path.unlink()
    (raw,) = read(tmp_path / "rec1.eeg")
    np.testing.assert_allclose(raw.arrays["lfp"], truth.eeg / 128)
    assert "parts of full scale" in raw.arrays["source"]["notes"][0]


def _change(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (
            "rec1.eeg",
            lambda p: p.write_bytes(p.read_bytes()[:-300]),
            "must hold binary between data_start and data_end",
        ),
        (
            "rec1.pos",
            lambda p: _change(p, b"num_pos_samples 200", b"num_pos_samples 201"),
            "promises 201 records of 20",
        ),
        ("rec1.eeg2", lambda p: _change(p, b"250.0 hz", b"500.0 hz"), "all channels must have one length and rate"),
        (
            "rec1.eeg",
            lambda p: _change(p, b"sample_rate 250.0 hz", b"sample_rate nothing"),
            "sample_rate: must be a pos",
        ),
        ("rec1.5", lambda p: _change(p, b"num_spikes 60", b"num_spikes 61"), "promises 61 records"),
        ("rec1_5.cut", lambda p: p.write_bytes(p.read_bytes()[:-30]), "must give the cluster of each of 60 spikes"),
        ("rec1_5.cut", lambda p: _change(p, b" 1", b" x"), "not a readable Axona"),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, damage, message):
    path, _ = axona.write(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not REAL.is_file(), reason="needs the recording ../shared/data/axona_r1838")
def test_the_real_rat():
    (raw,) = read(REAL)
    assert raw.arrays["lfp"].shape == (300_250, 3) and len(raw.arrays["unit_ids"]) == 13
    assert raw.arrays["behavior"].shape == (60_050, 2)
    assert left_out(raw) == {}
    assert 1e-5 < raw.arrays["lfp"].std() < 1e-3
