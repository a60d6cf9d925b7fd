"""O'Doherty & Makin against planted truth: clocks, cells, moves, broadband either way round, pairs that differ."""

import h5py
import numpy as np
import pytest
from helpers import by_unit, left_out, r2, read
from writers import indy

from spikefield.errors import InputError
from spikefield.recordings.readers import find_reader, format_inspection, inspect_file
from spikefield.recordings.readers.indy import target_moves, velocity


@pytest.fixture
def pair(tmp_path):
    mat, nwb = tmp_path / "indy_20160622_01.mat", tmp_path / "indy_20160622_01.nwb"
    return mat, indy.write_mat(mat), nwb, indy.write_nwb(nwb)


def whole(broadband, samples=3000):
    return np.concatenate(list(broadband.chunks(samples)))


def test_mat_alone_gives_spikes_reaches_and_velocity(tmp_path):
    path = tmp_path / "loco_20170210_03.mat"
    truth = indy.write_mat(path)
    (raw,) = read(path)
    assert (raw.id, raw.arrays["subject"], raw.broadband) == ("loco_20170210_03", "loco", ())
    found = by_unit(raw)
    assert found.keys() == truth.spikes.keys()
    for name, spikes in truth.spikes.items():
        np.testing.assert_array_equal(found[name], spikes)
    assert left_out(raw)["spikes outside the behaviour's clock"] == truth.before_start
    assert truth.before_start and truth.malformed
    assert [cell.split(":")[0] for cell in left_out(raw)["malformed cells"]] == truth.malformed
    assert r2(truth.velocity, raw.arrays["behavior"]) > 0.999
    np.testing.assert_array_equal(raw.arrays["behavior_times_s"], truth.times_s)
    np.testing.assert_array_equal(raw.arrays["trials_s"][1:, 0], truth.times_s[truth.moves])
    session = raw.build()
    assert len(session.units.id) == len(truth.spikes)


def test_velocity_and_moves_against_slow_twins():
    truth = indy.movement(1.0)
    for i in (1, 20, 100):
        a, b = truth.times_s[i] - truth.times_s[i - 1], truth.times_s[i + 1] - truth.times_s[i]
        x = truth.cursor[i - 1 : i + 2]
        expected = (a * a * x[2] + (b * b - a * a) * x[1] - b * b * x[0]) / (a * b * (a + b))
        np.testing.assert_allclose(velocity(truth.cursor, truth.times_s)[i], expected, rtol=1e-9)
    moves = [i for i in range(1, len(truth.target)) if any(truth.target[i] != truth.target[i - 1])]
    assert target_moves(truth.target).tolist() == moves == truth.moves.tolist()
    hidden = np.flatnonzero(np.diff(truth.target.sum(axis=1))) + 1
    assert len(hidden) < len(moves)
    assert not len(target_moves(np.full((5, 2), np.nan)))


@pytest.mark.parametrize(("turned", "compression"), [(False, "gzip"), (True, "gzip"), (False, None), (True, None)])
def test_broadband_is_measured_and_streamed_either_way_round(tmp_path, turned, compression):
    path = tmp_path / "indy_20160622_01.nwb"
    truth = indy.write_nwb(path, turned=turned, compression=compression)
    (raw,) = read(path)
    (stretch,) = raw.broadband
    assert stretch.rate_hz == pytest.approx(indy.RATE_HZ, rel=1e-8)
    assert stretch.start_s == pytest.approx(truth.times_s[0], abs=1e-7)
    np.testing.assert_allclose(stretch.positions_um, truth.positions_um)
    np.testing.assert_array_equal(stretch.conversion_v, indy.CONVERSION_V)
    assert stretch.channel_ids == tuple(truth.names)
    for samples in (977, 4096, 10**6):
        blocks = list(stretch.chunks(samples))
        assert all(block.dtype == np.int16 and len(block) <= samples for block in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), truth.counts)


def test_electrode_names_may_be_texts_of_any_length(tmp_path):
    path = tmp_path / "indy_20160622_01.nwb"
    truth = indy.write_nwb(path, seconds=0.2)
    with h5py.File(path, "r+") as file:
        del file[f"{BROADBAND}/electrode_names"]
        file.create_dataset(f"{BROADBAND}/electrode_names", data=truth.names, dtype=h5py.string_dtype(), chunks=(4,))
    assert read(path)[0].broadband[0].channel_ids == tuple(truth.names)


def test_pair_shares_one_clock_and_valid_time(pair):
    mat, truth, nwb, broadband = pair
    (raw,) = read(mat)
    (same,) = read(nwb)
    assert raw.arrays["source"]["files"].keys() == {mat.name, nwb.name} == same.arrays["source"]["files"].keys()
    end = min(broadband.times_s[-1] + 1 / indy.RATE_HZ, truth.times_s[-1] + 0.004)
    np.testing.assert_allclose(raw.arrays["intervals_s"], [(truth.times_s[0], end)], atol=1e-6)
    assert raw.arrays["spike_times"].max() < end
    lost = sum((spikes >= end).sum() for spikes in truth.spikes.values())
    assert left_out(raw).get("spikes outside the field potential", 0) == lost > 0
    assert find_reader(mat).files(mat) == find_reader(nwb).files(nwb) == (mat, nwb)
    signal = whole(raw.broadband[0])[::20].astype(np.float32)
    session = raw.build({"lfp": signal, "lfp_rate_hz": indy.RATE_HZ / 20, "lfp_start_s": raw.broadband[0].start_s})
    assert session.lfp.signal.shape[1] == 4


def test_a_gap_in_the_broadband_stays_a_gap(tmp_path):
    path = tmp_path / "indy_20160622_01.nwb"
    truth = indy.write_nwb(path, gap=(20_001, 0.5))
    first, second = read(path)[0].broadband
    assert (first.n_samples, second.n_samples) == (20_001, len(truth.counts) - 20_001)
    assert second.start_s == pytest.approx(truth.times_s[20_001], abs=0.5 / indy.RATE_HZ)
    assert first.rate_hz == pytest.approx(indy.RATE_HZ, rel=1e-7)
    np.testing.assert_array_equal(np.vstack([whole(first), whole(second)]), truth.counts)
    (row,) = inspect_file(path).series
    assert row.gaps_s[0] == pytest.approx((truth.times_s[20_000] + 1 / indy.RATE_HZ, truth.times_s[20_001]))


def test_inspection_tells_everything_without_the_signal(pair):
    mat, truth, _, broadband = pair
    found = inspect_file(mat)
    rows = {row.name: row for row in found.series}
    assert rows["sorted"].channels + rows["unsorted"].channels == len(truth.spikes)
    assert rows["broadband"].rate_hz == pytest.approx(indy.RATE_HZ, rel=1e-7)
    assert rows["reaches"].channels == len(truth.moves) + 1
    assert [e.id for e in found.electrodes] == broadband.names
    text = format_inspection(found)
    assert "24414.34" in text and "mm/s" in text and "cursor_velocity" in text


def test_series_are_chosen_by_name(pair):
    mat, truth, *_ = pair
    (raw,) = read(mat, units=("sorted",), behavior=("finger_pos", "target_pos"), lfp=())
    assert raw.broadband == () and all("sorted" in name for name in raw.arrays["unit_ids"])
    z, minus_x, minus_y = truth.finger.T
    np.testing.assert_allclose(raw.arrays["behavior"][:, :3], np.column_stack([-minus_x, -minus_y, z]))
    np.testing.assert_allclose(raw.arrays["behavior"][:, 3:], truth.target)
    with pytest.raises(InputError, match=r"no behavior series named 'speed'\. Choose from cursor_velocity, cursor_pos"):
        read(mat, behavior=("speed",))


def test_two_areas(tmp_path):
    path = tmp_path / "indy_20160407_02.mat"
    truth = indy.write_mat(path, channels=3, areas=("M1", "S1"))
    assert by_unit(read(path)[0]).keys() == truth.spikes.keys()
    assert any(name.startswith("S1 ") for name in truth.spikes)


def _edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def _replace(file, name, values):
    attrs = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values).attrs.update(attrs)


BAD_MAT = {
    "missing field": (lambda f: f.__delitem__("target_pos") or f.__delitem__("cursor_pos"), "no reader knows"),
    "clock jumps": (lambda f: _replace(f, "t", f["t"][()] + (np.arange(750) > 400)), r"/t: must step by 0.004 .* 401"),
    "clock runs back": (lambda f: _replace(f, "t", f["t"][()][:, ::-1]), r"/t: must step by 0.004"),
    "clock stands": (lambda f: _replace(f, "t", np.full((1, 750), 3.0)), r"/t: must step"),
    "clock is text": (lambda f: _replace(f, "t", np.bytes_("hello")), r"/t: must hold floats"),
    "clock is NaN": (lambda f: _replace(f, "t", np.full((1, 750), np.nan)), r"/t: must hold two or more finite"),
    "cursor too short": (
        lambda f: _replace(f, "cursor_pos", f["cursor_pos"][:, :-5]),
        r"cursor_pos: must be \(2, 750\)",
    ),
    "spikes not cells": (lambda f: _replace(f, "spikes", np.ones((5, 4))), r"/spikes: must hold references"),
    "spikes in ms": (
        lambda f: [
            f[ref].__setitem__(..., f[ref][()] * 1e3) for ref in f["spikes"][()].ravel() if f[ref].shape[0] == 1
        ],
        r"/spikes: must be seconds on the clock of /t \(1234\.500 to",
    ),
    "names lack": (lambda f: _replace(f, "chan_names", f["chan_names"][:, :2]), r"/spikes: must have one column"),
}


@pytest.mark.parametrize("case", BAD_MAT)
def test_bad_mat_is_one_line(tmp_path, case):
    path = tmp_path / "indy_20160622_01.mat"
    indy.write_mat(path)
    change, message = BAD_MAT[case]
    _edit(path, change)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


BROADBAND = "acquisition/timeseries/broadband"
BAD_NWB = {
    "no timestamps": (lambda f: f.__delitem__(f"{BROADBAND}/timestamps"), "timestamps: missing; .* holds data"),
    "half-written": (
        lambda f: _replace(f, f"{BROADBAND}/timestamps", f[f"{BROADBAND}/timestamps"][:5000]),
        "data: must have one axis of 5000 samples",
    ),
    "runs back": (
        lambda f: f[f"{BROADBAND}/timestamps"].__setitem__(slice(900, 902), [1.0, 2.0]),
        r"timestamps: must increase, got 1234\.\d+ then 1\.0+ s at sample 900",
    ),
    "NaN in the clock": (
        lambda f: f[f"{BROADBAND}/timestamps"].__setitem__(70, np.nan),
        "timestamps: must be finite seconds, got nan at sample 70",
    ),
    "floats": (
        lambda f: _replace(f, f"{BROADBAND}/data", f[f"{BROADBAND}/data"][()].astype(np.float32)),
        "data: must hold integers, got float32",
    ),
    "no conversion": (lambda f: f[f"{BROADBAND}/data"].attrs.__delitem__("conversion"), "attribute `conversion`"),
    "conversion 0": (lambda f: f[f"{BROADBAND}/data"].attrs.__setitem__("conversion", 0.0), "attribute `conversion`"),
    "names lack": (
        lambda f: _replace(f, f"{BROADBAND}/electrode_names", np.array([b"a", b"b"])),
        "electrode_names: must be 4 different names",
    ),
    "no broadband": (lambda f: f.__delitem__(BROADBAND), "broadband: missing"),
    "another version": (lambda f: _replace(f, "nwb_version", np.bytes_("0.8")), "no reader knows"),
}


@pytest.mark.parametrize("case", BAD_NWB)
def test_bad_broadband_is_one_line(tmp_path, case):
    path = tmp_path / "indy_20160622_01.nwb"
    indy.write_nwb(path, seconds=0.5)
    change, message = BAD_NWB[case]
    _edit(path, change)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_s": 10.0}, r"does not belong to indy_20160622_01\.nwb: /t runs 1234\.5"),
        ({"names": ("M1 001", "M1 002")}, r"does not belong .* 4 chan_names \(M1 001, …\), but 2 electrodes"),
        ({"names": ("S1 001", "S1 002", "S1 003", "S1 004")}, "does not belong"),
    ],
)
def test_files_of_two_sessions_are_refused(tmp_path, options, message):
    indy.write_mat(tmp_path / "indy_20160622_01.mat")
    indy.write_nwb(tmp_path / "indy_20160622_01.nwb", **options)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "indy_20160622_01.mat")


def test_nwb_2_beside_a_mat_is_refused_by_version(tmp_path):
    indy.write_mat(tmp_path / "indy_1_01.mat")
    with h5py.File(tmp_path / "indy_1_01.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
    with pytest.raises(InputError, match=r"must be NWB 1, got version 2\.6\.0"):
        read(tmp_path / "indy_1_01.mat")
