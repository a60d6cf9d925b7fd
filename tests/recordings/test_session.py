"""A prepared session comes back from its file; what is none, or is not whole, is refused in one line."""

import errno

import h5py
import numpy as np
import pytest

import tiny
from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.recordings.arrays import from_arrays


@pytest.fixture
def path(tmp_path):
    return layout.save(tiny.session(0, seconds=4.0), tmp_path / "s0.h5")


def test_a_session_comes_back_whole(tmp_path):
    arrays = tiny.arrays(0, seconds=4.0)
    session = from_arrays(**arrays, intervals_s=[[0, 1.5], [2, 4]], trials_s=[[0, 1]], behavior_period=[np.nan, 6.28])
    path = layout.save(session, tmp_path / "deep/s0.h5")
    back = layout.load(path)
    np.testing.assert_array_equal(back.lfp.signal, session.lfp.signal)
    np.testing.assert_array_equal(back.spikes.timestamps, session.spikes.timestamps)
    np.testing.assert_array_equal(back.spikes.unit_index, session.spikes.unit_index)
    np.testing.assert_array_equal(back.behavior.values, arrays["behavior"])
    np.testing.assert_array_equal(back.behavior_dims.period, [np.nan, 6.28])
    assert [list(x) for x in layout.valid_intervals_s(back)] == [[0, 2], [1.5, 4]]
    assert list(back.trials.end) == [1] and (back.session.id, back.subject.id) == ("s0", "subject0")
    assert layout.provenance(back) == layout.provenance(session)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["s0.h5"]


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        layout.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "s0.h5", "no such file. Write prepared sessions with `spikefield prepare")


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"no HDF5" + b])
def test_a_spoilt_file_is_refused(path, spoil):
    path.write_bytes(spoil(path.read_bytes()))
    refused(path, "not a readable prepared session")


def change(path, how):
    with h5py.File(path, "r+") as file:
        how(file)


def drop(name):
    def how(file):
        del file[name]

    return how


def attribute(group, name, value):
    def how(file):
        (file[group] if group else file).attrs[name] = value

    return how


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (attribute("", "layout_version", 2), "layout 2 is newer than 1, the newest known here. Update spikefield"),
        (attribute("", "layout_version", "1"), "layout 1 is newer than 1"),
        (lambda f: f.attrs.__delitem__("layout_version"), "has no `layout_version`, so it is not a prepared session"),
        (attribute("session", "id", "../../x"), r"`session\.id` must be made of letters, .* got '\.\./\.\./x'"),
        (attribute("subject", "id", "a/b"), r"`subject\.id` must be made of letters"),
        (attribute("", "provenance", "{"), "not a whole prepared session"),
        (drop("session"), "not a whole prepared session"),
        (drop("units"), "not a whole prepared session, it lacks units"),
        (drop("channels"), "it lacks channels"),
        (drop("behavior_dims"), "it lacks behavior_dims"),
        (drop("domain"), r"not a readable prepared session \(.*must have a domain"),
    ],
)
def test_an_altered_file_is_refused(path, how, message):
    change(path, how)
    refused(path, message)


def test_sessions_of_a_folder_come_by_name(tmp_path):
    for seed in (2, 0, 1):
        layout.save(tiny.session(seed, seconds=4.0), tmp_path / f"s{seed}.h5")
    (tmp_path / "ceiling.json").write_text("{}")
    (tmp_path / ".s9.h5.part.h5").write_text("half")
    assert [p.name for p in layout.session_paths(tmp_path)] == ["s0.h5", "s1.h5", "s2.h5"]


def test_a_folder_without_sessions_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no prepared session \(\*\.h5\). Run `spikefield prepare SOURCE --out"):
        layout.session_paths(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        layout.session_paths(tmp_path / "nowhere")


def test_a_full_disk_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "Can't write data\n(file write failed: time = today)")

    monkeypatch.setattr(layout.Data, "to_hdf5", full)
    with pytest.raises(InputError, match=r"cannot write .*s0\.h5: No space left on device\. Free") as caught:
        layout.save(tiny.session(0, seconds=4.0), path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["s0.h5"]
