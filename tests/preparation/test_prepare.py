"""`spikefield prepare`: whole files or none, one bad recording harms no other, only what changed is done again."""

import logging
import shutil
import warnings

import numpy as np
import pytest
from preparation_sessions import clean

from spikefield.cli import main
from spikefield.errors import DroppedDataWarning, InputError
from spikefield.preparation import parallel, recipe
from spikefield.preparation.commands import prepare
from spikefield.preparation.recipe import finished
from spikefield.recordings import session as layout
from spikefield.recordings.raw import Broadband, RawSession, SeriesChoice
from spikefield.recordings.readers import READERS, npz
from spikefield.recordings.readers.reader import Reader, only_itself


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, logger="spikefield")
    return caplog


@pytest.fixture
def folder(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / "raw" / f"{name}.npz")
    return tmp_path / "raw"


def write(path, **changes):
    path.parent.mkdir(exist_ok=True)
    arrays = {
        name: value for name, value in clean().items() if name not in ("session", "subject", "source", "behavior_names")
    }
    np.savez(path, **{**arrays, **changes})


def from_npz(path):
    (raw,) = npz.READER.read(path, SeriesChoice())
    return raw.build()


def written(out):
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def test_npz_arrives_as_its_reader_reads_it(folder, tmp_path, log):
    prepare([folder / "one.npz"], out=tmp_path / "out")
    got, expected = layout.load(tmp_path / "out" / "one.h5"), from_npz(folder / "one.npz")
    np.testing.assert_array_equal(got.lfp.signal, expected.lfp.signal)
    np.testing.assert_array_equal(got.spikes.timestamps, expected.spikes.timestamps)
    np.testing.assert_array_equal(got.behavior.values, expected.behavior.values)
    assert layout.provenance(got)["files"] == layout.provenance(expected)["files"]
    assert "[1/1] one.npz" in log.text
    assert "Use for: teacher, student, inference, scoring" in log.text


def test_again_only_what_is_missing_or_changed(folder, tmp_path, log):
    out = tmp_path / "out"
    prepare([folder], out=out, workers=1)
    before = written(out)
    assert set(before) == {"one.h5", "two.h5"}
    log.clear()
    prepare([folder], out=out, workers=1)
    assert written(out) == before
    assert log.text.count("unchanged") == 2
    write(folder / "one.npz", lfp=clean()["lfp"] + 1)
    prepare([folder], out=out, workers=1)
    assert written(out)["two.h5"] == before["two.h5"]
    assert written(out)["one.h5"] != before["one.h5"]
    (out / "two.h5").unlink()
    prepare([folder], out=out, workers=1)
    assert set(written(out)) == {"one.h5", "two.h5"}


def test_another_configuration_or_version_does_it_again(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare([folder / "one.npz"], out=out)
    assert layout.has_lfp(layout.load(out / "one.h5"))
    prepare([folder / "one.npz"], out=out, lfp=["none"])
    assert not layout.has_lfp(layout.load(out / "one.h5"))
    before = written(out)
    monkeypatch.setattr(recipe.importlib.metadata, "version", lambda _: "99")
    prepare([folder / "one.npz"], out=out, lfp=["none"])
    assert written(out) != before


def test_a_bad_recording_is_told_and_the_others_finish(folder, tmp_path, log, capsys):
    (folder / "bad.npz").write_bytes((folder / "one.npz").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"1 of 3 recordings failed: bad\.npz") as caught:
        prepare([folder], out=tmp_path / "out", workers=1)
    assert "\n" not in str(caught.value)
    assert set(written(tmp_path / "out")) == {"one.h5", "two.h5"}
    (line,) = [record.getMessage() for record in log.records if "failed" in record.getMessage()]
    assert "bad.npz" in line and "\n" not in line
    with pytest.raises(SystemExit) as left:
        main(["prepare", str(folder), "--out", str(tmp_path / "out"), "--workers", "1"])
    assert left.value.code == 2
    assert "sources unchanged 2, failed 1" in capsys.readouterr().out


def test_a_single_bad_source_says_why_and_leaves_nothing(tmp_path):
    write(tmp_path / "raw" / "x.npz", lfp_rate_hz=-5.0)
    with pytest.raises(InputError, match=r"x\.npz: `lfp_rate_hz` must be a positive number, got -5"):
        prepare([tmp_path / "raw" / "x.npz"], out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_that_nobody_foresaw_fails_its_recording_only(folder, tmp_path, log, monkeypatch):
    real = layout.save

    def broken(session, path):
        if session.session.id == "one":
            raise ZeroDivisionError("oh")
        return real(session, path)

    monkeypatch.setattr(layout, "save", broken)
    with pytest.raises(InputError, match=r"1 of 2 recordings failed: one\.npz"):
        prepare([folder], out=tmp_path / "out", workers=1)
    assert "ZeroDivisionError: oh" in log.text
    assert set(written(tmp_path / "out")) == {"two.h5"}


def test_a_session_of_another_source_is_not_overwritten(folder, tmp_path, log):
    write(tmp_path / "other" / "one.npz", lfp=clean()["lfp"] + 1)
    with pytest.raises(InputError, match=r"1 of 2 recordings failed: one\.npz"):
        prepare([folder / "one.npz", tmp_path / "other"], out=tmp_path / "out", workers=1)
    assert "holds a session of another source" in log.text
    np.testing.assert_array_equal(layout.load(tmp_path / "out" / "one.h5").lfp.signal, clean()["lfp"])
    simulated = tmp_path / "by-hand"
    layout.save(from_npz(folder / "one.npz"), simulated / "one.h5")
    with pytest.raises(InputError, match=r"holds a session of another source"):
        prepare([folder / "one.npz"], out=simulated)


def test_what_lies_in_out_is_no_source(folder):
    out = folder / "prepared"
    prepare([folder], out=out, workers=1)
    prepare([folder], out=out, workers=1)
    assert set(written(out)) == {"one.h5", "two.h5"}


def test_dropped_data_is_warned_of(tmp_path):
    lfp = clean()["lfp"]
    lfp[:, 3] = 7
    write(tmp_path / "raw" / "x.npz", lfp=lfp)
    with pytest.warns(DroppedDataWarning, match=r"x: .* constant channels were left out: ch003"):
        prepare([tmp_path / "raw" / "x.npz"], out=tmp_path / "out")


def test_warnings_of_the_checks_are_told(tmp_path, log):
    lfp = clean()["lfp"]
    lfp[:, 3] *= 100
    write(tmp_path / "raw" / "x.npz", lfp=lfp)
    prepare([tmp_path / "raw" / "x.npz"], out=tmp_path / "out")
    assert "warning: channels that are over 5 times as large" in log.text
    assert "note:" not in log.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"workers": 0}, "`workers` must be at least 1"),
        ({"reader": "nix"}, "`reader` must be one of"),
        ({"spikes": "crossings"}, "holds no broadband"),
        ({"lfp": ["nix"]}, "no lfp series named 'nix'"),
    ],
)
def test_wrong_arguments(folder, tmp_path, arguments, says):
    with pytest.raises(InputError, match=says):
        prepare([folder / "one.npz"], out=tmp_path / "out", **arguments)


RATE_HZ, BREAK_S, PAUSE_S, END_S = 4000.0, 30.0, 10.0, 70.0


def broadband_reader(sessions=1, spikes=True):
    """Return a reader of `.fake` files: broadband with a pause, spikes all the way through it."""

    def stretch(start_s, end_s):
        n = round((end_s - start_s) * RATE_HZ)

        def stream(samples):
            rng = np.random.default_rng(1)
            for first in range(0, n, samples):
                yield rng.normal(0, 300, (min(samples, n - first), 2)).astype(np.int16)

        return Broadband(
            name="x.fake: data",
            rate_hz=RATE_HZ,
            start_s=start_s,
            n_samples=n,
            channel_ids=("p", "q"),
            conversion_v=np.array([1e-6, 1e-6]),
            stream=stream,
        )

    def read(path, choice):
        for i in range(sessions):
            times = np.arange(0, END_S, 0.01) + 0.003
            arrays = {"session": f"s{i}", "source": {"reader": "fake"}}
            if spikes:
                arrays |= {"spike_times": times, "spike_units": np.arange(len(times)) % 5}
            yield RawSession(
                path=path, arrays=arrays, broadband=(stretch(0.0, BREAK_S), stretch(BREAK_S + PAUSE_S, END_S))
            )

    return Reader(
        name="fake",
        layout="fake",
        matches=lambda path: path.suffix == ".fake",
        inspect=lambda path: None,
        read=read,
        files=only_itself,
    )


@pytest.fixture
def fake(tmp_path, monkeypatch):
    def make(**kind):
        monkeypatch.setitem(READERS, "fake", broadband_reader(**kind))
        path = tmp_path / "raw" / "x.fake"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"something")
        return path

    return make


def test_broadband_becomes_field_potential_with_its_gap(fake, tmp_path):
    prepare([fake()], out=tmp_path / "out")
    session = layout.load(tmp_path / "out" / "s0.h5")
    starts, ends = layout.valid_intervals_s(session)
    np.testing.assert_allclose(np.column_stack([starts, ends]), [(0, BREAK_S), (BREAK_S + PAUSE_S, END_S)], atol=1e-6)
    origin = layout.provenance(session)
    assert origin["lfp_unit"] == "V"
    assert origin["left_out"] == {"spikes outside valid time": round(PAUSE_S * 100)}
    times = np.asarray(session.spikes.timestamps)
    assert not ((times >= BREAK_S) & (times < BREAK_S + PAUSE_S)).any()
    assert len(session.lfp) == END_S * 1000
    assert 1e-5 < np.nanstd(session.lfp.signal) < 3e-4
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["s0.h5"]


def test_a_full_disk_fails_its_recording_in_one_line(fake, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(InputError, match=r"x\.fake: .*No space left on device\. Check rights and room"):
        prepare([fake()], out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_crossings_where_nobody_sorted(fake, tmp_path):
    path = fake(spikes=False)
    prepare([path], out=tmp_path / "out")
    assert not layout.has_spikes(layout.load(tmp_path / "out" / "s0.h5"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DroppedDataWarning)
        prepare([path], out=tmp_path / "out", spikes="crossings")
    session = layout.load(tmp_path / "out" / "s0.h5")
    assert set(map(str, session.units.id)) <= {"p/crossings", "q/crossings"}
    assert any("threshold crossings" in note for note in layout.provenance(session)["notes"])


def test_every_session_of_a_source_has_to_be_there(fake, tmp_path):
    path, out = fake(sessions=3), tmp_path / "out"
    prepare([path], out=out)
    assert set(written(out)) == {"s0.h5", "s1.h5", "s2.h5"}
    assert len(finished(out)) == 1
    for name in ("s0.h5", "s2.h5"):
        before = written(out)
        (out / name).unlink()
        assert finished(out) == set()
        prepare([path], out=out)
        assert set(written(out)) == set(before)
    before = written(out)
    prepare([path], out=out)
    assert written(out) == before


def test_many_recordings_side_by_side_on_ray(folder, tmp_path, log):
    (folder / "bad.npz").write_bytes(b"nonsense" * 100)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"1 of 3 recordings failed: bad\.npz"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray and what it imports
        prepare([folder], out=out, workers=2)
    assert set(written(out)) == {"one.h5", "two.h5"}
    assert "[3/3]" in log.text
    alone = tmp_path / "alone"
    prepare([folder / "one.npz"], out=alone)
    assert layout.provenance(layout.load(alone / "one.h5")) == layout.provenance(layout.load(out / "one.h5"))
    shutil.rmtree(out / "one.h5", ignore_errors=True)


def test_no_cluster_answers(folder, tmp_path):
    with pytest.raises(InputError, match=r"`ray_address` 'nowhere'"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(parallel.do_all(lambda _: None, [folder], workers=None, address="nowhere"))
