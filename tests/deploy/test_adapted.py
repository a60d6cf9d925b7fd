"""A readout fitted to the day is better on that day, belongs to its model alone, and smooths as the filter does."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from exportable import model as make

import spikefield.artifact as artifact
import spikefield.files as files
import tiny
from spikefield import cli
from spikefield.deploy.adaptation import KalmanSmoother, RecursiveReadout
from spikefield.deploy.adapted import adapt_readout, load_adapted
from spikefield.deploy.commands import adapt, stream
from spikefield.deploy.readout import LinearReadout
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.errors import InputError
from spikefield.recordings.session import save

SECONDS = 12.0


@pytest.fixture(scope="module")
def model():
    return make(causal=True, attention_bins=5)


@pytest.fixture(scope="module")
def place(model, tmp_path_factory):
    """A folder with a model of random weights, a labelled recording, and what `adapt` made of them."""
    folder = tmp_path_factory.mktemp("rig")
    with files.whole(folder / "student") as temporary:
        temporary.mkdir()
        artifact.save(model, temporary)
    save(tiny.session(0, seconds=SECONDS), folder / "today.h5")
    with pytest.raises(SystemExit) as done:
        cli.main(
            ["adapt", str(folder / "student"), str(folder / "today.h5"), "--out", str(folder / "today.safetensors")]
        )
    assert done.value.code == 0
    return folder


def test_the_fitted_readout_is_ridge_towards_the_old_one_and_better(model, place):
    adapted = load_adapted(place / "today.safetensors", model, "s0")
    about = adapted.about
    assert (
        about["after_r2"] > 0.3 > about["before_r2"] and about["bins"] == SECONDS * 50 - 5
    )  # warming up; the last middle
    assert about["data"] == "today.h5" and about["data_sha256"] == files.sha256(place / "today.h5")
    decoder = StreamingDecoder(model, "s0")
    lfp = np.asarray(tiny.session(0, seconds=SECONDS).lfp.signal)
    decoded = decoder.push(lfp)
    z, behavior = decoded.z[4:].astype(float), tiny.arrays(0, seconds=SECONDS)["behavior"]
    middle = (behavior[:-1] + behavior[1:]) / 2  # the replay's truth lies at the bins' middles
    z, behavior = z[:-1], middle[4:]
    again = adapt_readout(decoder.readout, z, behavior, names=("vx", "vy"), bin_width_ms=20.0)
    assert again.about["certainty_s"] == about["certainty_s"]
    np.testing.assert_allclose(again.readout.weights, adapted.readout.weights, atol=0.2)
    recursive = RecursiveReadout(decoder.readout, penalty=about["certainty_s"] * 50 * z.var(axis=0))
    recursive.update(z, behavior)
    np.testing.assert_allclose(again.readout.weights, recursive.current().weights)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("smooth", [False, True])
def test_the_stream_uses_it(model, place, tmp_path, smooth):
    given = {"source": "file", "input": str(place / "today.h5"), "sink": "csv", "output": str(tmp_path / "o.csv")}
    file = place / "today.safetensors"
    stream(place / "student", **given, speed=0.0, readout=file, smooth=smooth, record=tmp_path / "record")
    found = np.loadtxt(tmp_path / "o.csv", delimiter=",", skiprows=1)[:, 2:4]
    adapted = load_adapted(file, model, "s0")
    z = StreamingDecoder(model, "s0").push(np.asarray(tiny.session(0, seconds=SECONDS).lfp.signal)).z
    expected = adapted.readout.predict(z)
    if smooth:
        expected = adapted.smoother.start().push(expected)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    said = files.read_json(tmp_path / "record/run.json")
    assert said["readout"] == str(file) and said["smooth"] is smooth


@pytest.mark.usefixtures("unchecked")
def test_a_session_without_a_readout_gets_its_first(model, place, tmp_path):
    blank = replace(model, readouts={}, sessions={"s0": {**model.sessions["s0"], "behavior": []}})
    with files.whole(tmp_path / "blank") as temporary:
        temporary.mkdir()
        artifact.save(blank, temporary)
    adapt(tmp_path / "blank", place / "today.h5", out=tmp_path / "first.safetensors")
    given = {"source": "file", "input": str(place / "today.h5"), "sink": "csv", "output": str(tmp_path / "o.csv")}
    stream(tmp_path / "blank", **given, speed=0.0, readout=tmp_path / "first.safetensors")
    assert (tmp_path / "o.csv").read_text().startswith("bin,bin_time_s,vx,vy,quality")


def test_smoothing_begins_anew_after_a_gap_and_survives_a_restart(model):
    walk = np.cumsum(np.random.default_rng(0).normal(size=(200, 2)), axis=0)
    smoother = KalmanSmoother.fit(walk + np.random.default_rng(1).normal(size=walk.shape), walk)
    lfp, times_s = np.asarray(tiny.session(0, seconds=6.0).lfp.signal), np.arange(300) / 50
    kept = np.r_[0:100, 150:300]
    plain, smooth, first, second = (StreamingDecoder(model, "s0", smoother=s) for s in (None, *[smoother] * 3))
    decoded, smoothed = plain.push(lfp[kept], times_s[kept]), smooth.push(lfp[kept], times_s[kept])
    values, n_before = decoded.values, int((decoded.bin_time_s < 2).sum())
    parts = [smoother.start().push(values[:n_before]), smoother.start().push(values[n_before:])]
    np.testing.assert_allclose(smoothed.values, np.concatenate(parts))
    start = first.push(lfp[:130])
    second.restore(safetensors.numpy.load(safetensors.numpy.save(first.state())))
    end = second.push(lfp[130:])
    whole = StreamingDecoder(model, "s0", smoother=smoother).push(lfp)
    np.testing.assert_array_equal(np.concatenate([start.values, end.values]), whole.values)


def test_what_does_not_belong_is_refused(model, place, tmp_path):
    other = make(causal=True, attention_bins=5, dim=8)
    with pytest.raises(
        InputError, match="was fitted for session 's0' of model 'student', not for session 's0' of this"
    ):
        load_adapted(place / "today.safetensors", other, "s0")
    with pytest.raises(InputError, match="not a readout file"):
        load_adapted(place / "today.h5", model, "s0")
    with pytest.raises(InputError, match="not a readout file"):
        load_adapted(place / "student/readouts.safetensors", model, "s0")
    arrays = safetensors.numpy.load_file(place / "today.safetensors")
    newer = {"format": json.dumps("spikefield-readout"), "format_version": "2"}
    safetensors.numpy.save_file(arrays, tmp_path / "newer.safetensors", newer)
    with pytest.raises(InputError, match="`format_version` must be 1, got 2. Update spikefield"):
        load_adapted(tmp_path / "newer.safetensors", model, "s0")
    with pytest.raises(InputError, match="`smooth` needs a file of `spikefield adapt`"):
        stream(place / "student", source="file", input=str(place / "today.h5"), smooth=True)
    with pytest.raises(InputError, match=r"`out` .* exists"):
        adapt(place / "student", place / "today.h5", out=place / "today.safetensors")
    save(tiny.session(0, without=("behavior",)), tmp_path / "silent.h5")
    with pytest.raises(InputError, match="holds no behaviour"):
        adapt(place / "student", tmp_path / "silent.h5", out=tmp_path / "o.safetensors")
    readout, behavior = LinearReadout(np.zeros((16, 2)), np.zeros(2)), np.zeros((100, 2))
    with pytest.raises(InputError, match="must hold at least 6 s of good bins with behaviour, got 2 s"):
        adapt_readout(readout, np.zeros((100, 16)), behavior, names=("vx", "vy"), bin_width_ms=20.0)
