"""Acquisition systems through neo: BrainVision against planted counts and against mne, and the real recording."""

import gc
from pathlib import Path

import numpy as np
import pytest
from helpers import read
from writers import blackrock, brainvision

from spikefield.errors import InputError
from spikefield.preparation.broadband import clock_of
from spikefield.recordings.readers import find_reader, format_inspection, inspect_file

pytest.importorskip("neo")
REAL = sorted((Path(__file__).parents[4] / "shared/data/pynm_ecog_stn").rglob("*.vhdr"))


def whole(broadband, samples=777):
    return np.concatenate(list(broadband.chunks(samples)))


@pytest.mark.parametrize(("floats", "vectorized"), [(False, False), (True, False), (False, True)])
def test_brainvision_is_read_back_in_volts(tmp_path, floats, vectorized):
    path, stored = brainvision.write(tmp_path, floats=floats, vectorized=vectorized)
    (raw,) = read(path)
    (lfp,) = raw.broadband
    assert lfp.channel_ids == ("LFP_0", "LFP_1", "ECOG_0") and lfp.rate_hz == 1000.0
    counts = whole(lfp)
    assert counts.dtype == (np.float32 if floats else np.int16)
    np.testing.assert_array_equal(counts, stored[:, :3])
    np.testing.assert_allclose(lfp.conversion_v, brainvision.RESOLUTION_UV * 1e-6)
    np.testing.assert_allclose(lfp.positions_um, [(0, 0), (1000, 2000), (2000, 4000)])
    np.testing.assert_allclose(raw.arrays["behavior"][:, 0], stored[:, 3] * 1e-7, rtol=1e-6)
    assert raw.arrays["behavior_names"] == ["GRIP"] and raw.arrays["subject"] == "01"
    assert len(raw.arrays["source"]["files"]) == 5
    session = raw.build({"lfp": counts.astype(np.float32), "lfp_rate_hz": 1000.0, "channel_ids": lfp.channel_ids})
    assert session.lfp.signal.shape == (4000, 3)


def test_without_tables_all_channels_are_field_potential(tmp_path):
    path, stored = brainvision.write(tmp_path, bids=False)
    (raw,) = read(path)
    assert raw.broadband[0].channel_ids[-1] == "GRIP" and raw.broadband[0].positions_um is None
    (raw,) = read(path, lfp=("LFP_1", "LFP_0"), behavior=("GRIP",))
    np.testing.assert_array_equal(whole(raw.broadband[0]), stored[:, :2])
    with pytest.raises(InputError, match=r"no lfp series named 'X'\. Choose from Signals, LFP_0"):
        read(path, lfp=("X",))


def test_inspection(tmp_path):
    path, _ = brainvision.write(tmp_path)
    found = inspect_file(path)
    assert [row.channels for row in found.series] == [3, 1] and len(found.electrodes) == 3
    assert "GRIP" in format_inspection(found)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # neo leaves its files to the garbage collector
def test_blackrock_keeps_its_pauses(tmp_path):
    path = tmp_path / "rat7.ns2"
    packets = blackrock.write(path)
    (raw,) = read(path)
    assert [b.start_s for b in raw.broadband] == pytest.approx([0.0, 1.5 + 0.7])
    assert clock_of(raw.broadband).runs == ((0, 1500, 0), (1500, 900, 2200))
    blocks = [block for stretch in raw.broadband for block in stretch.chunks(400)]
    np.testing.assert_array_equal(np.vstack(blocks), np.vstack(packets))
    assert all(block.dtype == np.int16 for block in blocks)
    np.testing.assert_allclose(raw.broadband[0].conversion_v, blackrock.UV_PER_COUNT * 1e-6, rtol=1e-4)
    (row,) = inspect_file(path).series
    assert row.gaps_s == (pytest.approx((1.5, 2.2)),) and row.rate_hz == 1000.0
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match="not a readable file of an acquisition system") as caught:
        whole(read(path)[0].broadband[-1])
    del caught
    gc.collect()


def _replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.with_suffix(".eeg").unlink(), "not a readable file of an acquisition system"),
        (lambda p: p.with_suffix(".vmrk").unlink(), "not a readable file of an acquisition system"),
        (lambda p: _replace(p, "Ch3=ECOG_0,,0.1,", "Ch3=ECOG_0,,abc,"), "not a readable|must be a number"),
        (lambda p: _replace(p, "NumberOfChannels=4", "NumberOfChannels=9"), "not a readable|must name"),
        (lambda p: _replace(p, "INT_16", "UINT_99"), "not a readable"),
        (lambda p: p.write_bytes(p.read_bytes()[:60]), "not a readable"),
        (
            lambda p: p.write_bytes(p.read_text(encoding="utf-8").encode("cp1252")),
            r"must be UTF-8, got byte 0xb5 at \d+\. Save the text as UTF-8",
        ),
        (lambda p: p.write_bytes(b""), r"is empty \(0 bytes\)"),
    ],
)
def test_bad_files_are_one_line(tmp_path, damage, message):
    path, _ = brainvision.write(tmp_path)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_neo_names_the_extra(tmp_path, monkeypatch):
    import sys

    path, _ = brainvision.write(tmp_path)
    monkeypatch.setitem(sys.modules, "neo", None)
    monkeypatch.setitem(sys.modules, "neo.rawio", None)
    with pytest.raises(InputError, match=r"pip install 'spikefield\[vendor\]'"):
        read(path)


@pytest.mark.skipif(not REAL, reason="needs the recording ../shared/data/pynm_ecog_stn")
def test_real_brainvision_recording():
    (raw,) = read(REAL[0])
    (lfp,) = raw.broadband
    assert (lfp.rate_hz, lfp.n_samples, len(lfp.channel_ids)) == (1000.0, 19001, 9)
    assert raw.arrays["behavior_names"] == ["MOV_RIGHT"]
    mne = pytest.importorskip("mne")
    other = mne.io.read_raw_brainvision(REAL[0], verbose="error").get_data(picks=list(lfp.channel_ids))
    np.testing.assert_allclose(whole(lfp, 5000) * lfp.conversion_v, other.T, rtol=1e-5, atol=1e-12)
    assert find_reader(REAL[0]).name == "vendor"
