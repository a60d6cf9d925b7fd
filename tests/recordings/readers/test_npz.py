"""A `.npz` of own arrays is read like the arrays in memory; what is wrong with it is one line."""

import numpy as np
import pytest

import tiny
from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.raw import SeriesChoice
from spikefield.recordings.readers import npz


def given(**changes):
    """Return good arguments, 4 s, changed."""
    return {**tiny.arrays(0, seconds=4.0, units=5, channels=3), **changes}


def from_npz(path):
    (raw,) = npz.READER.read(path, SeriesChoice())
    return raw.build()


def test_npz_takes_the_same_names(tmp_path):
    np.savez(tmp_path / "rat7.npz", **{k: v for k, v in given().items() if k != "session"})
    session = from_npz(tmp_path / "rat7.npz")
    twin = from_arrays(**given(session="rat7"))
    assert session.session.id == "rat7" and session.subject.id == "subject0"
    np.testing.assert_array_equal(session.lfp.signal, twin.lfp.signal)
    np.testing.assert_array_equal(session.spikes.timestamps, twin.spikes.timestamps)
    assert layout.provenance(session)["reader"] == "npz" and "rat7.npz" in layout.provenance(session)["files"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lfp_rate": 50.0}, r"unknown name 'lfp_rate'. Use only behavior, behavior_names"),
        ({"source": "x"}, "unknown name 'source'"),
        ({"notes": np.array([{"a": 1}], dtype=object)}, r"not a readable \.npz of own arrays"),
        ({"lfp": np.ones((200, 3))}, "`lfp` has only constant or NaN channels"),
    ],
)
def test_a_bad_npz_is_one_line(tmp_path, changes, message):
    np.savez(tmp_path / "bad.npz", **given(**changes))
    with pytest.raises(InputError, match=message) as caught:
        from_npz(tmp_path / "bad.npz")
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{tmp_path}/bad.npz: ")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: b[: len(b) // 2], "File is not a zip file"),
        (lambda b: b"", r"is empty \(0 bytes\)"),
        (lambda b: b"PK\x03\x04 no", "File is not a zip file"),
        (lambda b: b[:-30], "File is not a zip file"),
    ],
)
def test_a_spoilt_npz_is_one_line(tmp_path, spoil, message):
    np.savez(tmp_path / "a.npz", **given())
    (tmp_path / "a.npz").write_bytes(spoil((tmp_path / "a.npz").read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        from_npz(tmp_path / "a.npz")
    assert "\n" not in str(caught.value) and "a.npz: " in str(caught.value)


def test_numbers_and_names_may_be_stored_as_any_kind_of_them(tmp_path):
    names = {"behavior_names": np.array([b"vx", b"vy"]), "channel_ids": np.array(["a", "b", "c"])}
    np.savez(tmp_path / "a.npz", **given(lfp_rate_hz=np.int32(50), behavior_rate_hz=50, **names))
    session = from_npz(tmp_path / "a.npz")
    assert float(session.lfp.sampling_rate) == 50.0
    assert list(session.behavior_dims.name) == ["vx", "vy"] and list(session.channels.id) == ["a", "b", "c"]
