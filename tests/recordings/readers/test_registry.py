"""Every file finds its reader by what is in it, and every wrong file one line that says what is wrong."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import read
from writers import axona, brainset, brainvision, flint, indy, nwb2, trialdata

from spikefield.errors import InputError
from spikefield.recordings.readers import READERS, SeriesChoice, find_reader, format_inspection, inspect_file, sources


def write_npz(path: Path) -> None:
    generator = np.random.default_rng(0)
    np.savez(
        path,
        lfp=generator.normal(size=(500, 3)),
        lfp_rate_hz=250.0,
        spike_times=np.sort(generator.uniform(0, 2, 40)),
        spike_units=np.arange(40) % 4,
        behavior=generator.normal(size=(200, 2)),
        behavior_rate_hz=100.0,
    )


WRITERS = {
    "indy": ("indy_20160622_01.mat", lambda p: indy.write_mat(p, seconds=1.0)),
    "nwb": ("sub-C.nwb", lambda p: nwb2.write(p, seconds=1.5)),
    "flint": ("Flint_2012_e1.mat", lambda p: flint.write(p, bins=(30, 20), gaps_s=(0.5,))),
    "trialdata": ("Chewie_CO_20150313.mat", lambda p: trialdata.write(p, bins=(30, 20))),
    "brainset": ("c_20161021.h5", brainset.write),
    "npz": ("own.npz", write_npz),
}


@pytest.fixture(params=WRITERS)
def recording(request, tmp_path):
    name, write = WRITERS[request.param]
    write(tmp_path / name)
    return request.param, tmp_path / name


def test_found_by_structure_whatever_the_name(recording):
    name, path = recording
    assert find_reader(path).name == name == inspect_file(path).reader
    other = shutil.copy(path, path.with_name("data.bin"))
    assert find_reader(other).name == name
    ((raw,), (same,)) = read(path), read(other)
    assert raw.arrays.keys() == same.arrays.keys() and len(raw.broadband) == len(same.broadband)
    with pytest.raises(InputError, match=r"holds neither .* that was asked for"):
        read(path, lfp=(), units=(), behavior=())


def test_every_recording_builds_and_tells_of_itself(recording):
    _, path = recording
    for raw in read(path):
        source = raw.arrays["source"]
        assert set(source) == {"reader", "files", "notes", "left_out"} and path.name in source["files"]
        if not raw.broadband:
            assert raw.build().session.id == raw.id
    text = format_inspection(inspect_file(path))
    assert text.startswith(str(path)) and "series" in text and text.endswith("\n")


def test_npz_keeps_what_is_chosen(tmp_path):
    write_npz(tmp_path / "own.npz")
    (raw,) = read(tmp_path / "own.npz", behavior=(), lfp=())
    assert "lfp" not in raw.arrays and "behavior" not in raw.arrays and len(raw.arrays["spike_times"]) == 40
    rows = {row.name: row for row in inspect_file(tmp_path / "own.npz").series}
    assert (rows["lfp"].end_s, rows["spike_times"].channels) == (2.0, 4)


SPOILT = {
    "empty": (lambda b: b"", r"is empty \(0 bytes\)"),
    "half-downloaded, zeros": (lambda b: bytes(len(b)), "starts with 512 zero bytes, as half-downloaded files do"),
    "login page": (lambda b: b"  <!DOCTYPE html><html>", "is a web page, not a recording"),
    "pointer": (lambda b: b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer to a large file"),
    "another file": (lambda b: b"%PDF-1.7 something else", "which no reader knows \\(indy"),
    "text": (lambda b: "größe;länge\n".encode("utf-16"), "which no reader knows"),
    "cut in half": (lambda b: b[: len(b) // 2], None),
    "last byte lost": (lambda b: b[:-1], None),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_files_are_one_line(recording, case):
    name, path = recording
    spoil, message = SPOILT[case]
    path.write_bytes(spoil(path.read_bytes()))
    for reader in (None, name):
        with pytest.raises(InputError, match=message if reader is None else None) as caught:
            read(path, name=reader)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_every_reader_refuses_every_other_layout(recording):
    own, path = recording
    for name in sorted(set(READERS) - {own}):
        with pytest.raises(InputError) as caught:
            read(path, name=name)
        assert "\n" not in str(caught.value)


def test_missing_files_and_unknown_readers(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.mat: no such file"):
        find_reader(tmp_path / "nothing.mat")
    with pytest.raises(InputError, match=r"`reader` must be one of indy, trialdata, .*, got 'indie'"):
        find_reader(tmp_path, "indie")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="is HDF5 with x at its root, which no reader knows"):
        find_reader(tmp_path / "other.h5")
    with pytest.raises(Exception, match="lfp"):
        SeriesChoice(lfp="M1")


def test_a_folder_gives_one_path_a_recording(tmp_path):
    for name, write in WRITERS.values():
        write(tmp_path / name)
    indy.write_nwb(tmp_path / "indy_20160622_01.nwb", seconds=0.2)
    indy.write_nwb(tmp_path / "loco_20170210_03.nwb", seconds=0.2)
    (tmp_path / "raw").mkdir()
    axona.write(tmp_path / "raw")
    brainvision.write(tmp_path / "raw")
    (tmp_path / "broken.mat").write_bytes(b"MATLAB 5.0")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".indy.mat.part").write_bytes(b"x")
    found = {p.name for p in sources(tmp_path)}
    names = {name for name, _ in WRITERS.values()}
    assert found == names | {
        "loco_20170210_03.nwb",
        "broken.mat",
        "rec1.set",
        "sub-01_ses-A_task-grip_run-0_ieeg.vhdr",
    }
    with pytest.raises(InputError, match="holds no file that a reader knows"):
        (tmp_path / "empty").mkdir()
        sources(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        sources(tmp_path / "nowhere")


def test_declared_shapes_that_cannot_be_are_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "indy_20160622_01.nwb"
    indy.write_nwb(path, seconds=0.2)
    with h5py.File(path, "r+") as file:
        group = file["acquisition/timeseries/broadband"]
        del group["timestamps"]
        group.create_dataset("timestamps", shape=(10**12,), dtype="f8", chunks=(4096,))
    with pytest.raises(InputError, match=r"declares shape .* more than the file can hold"):
        read(path)


def test_chunks_that_were_never_written_are_not_zeros(tmp_path):
    path = tmp_path / "indy_20160622_01.nwb"
    truth = indy.write_nwb(path, seconds=0.5)
    with h5py.File(path, "r+") as file:
        group = file["acquisition/timeseries/broadband"]
        attrs = dict(group["data"].attrs)
        del group["data"]
        data = group.create_dataset("data", truth.counts.shape, "i2", chunks=(4096, 2), compression="gzip")
        data[:4096] = truth.counts[:4096]
        data.attrs.update(attrs)
    with pytest.raises(InputError, match=r"2 of 6 chunks are whole\. Fetch the file again: it is half-written"):
        read(path)


def test_a_chunk_whose_filter_was_struck_out_is_refused(tmp_path):
    path = tmp_path / "Chewie_CO_20150313.mat"
    trialdata.write(path, bins=(60, 50))
    with h5py.File(path) as file:
        cell = file[file["trial_data/M1_spikes"][0, 0]]
        size = cell.id.get_chunk_info(0).size
    raw = path.read_bytes()
    entry = size.to_bytes(4, "little") + bytes(4)
    assert raw.count(entry) == 1
    path.write_bytes(raw.replace(entry, size.to_bytes(4, "little") + b"\x01\0\0\0"))
    with pytest.raises(InputError, match="0 of 1 chunks are whole"):
        read(path)
