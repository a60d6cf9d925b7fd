"""A stream from end to end: what leaves is what the model decodes offline, and what goes wrong is told, in one line."""

import csv
import io
import json
import logging
import os
import signal
import threading
import time
import uuid

import loopback
import numpy as np
import pytest
import torch
from exportable import model as make
from rich.console import Console

import spikefield.artifact as artifact
import spikefield.files as files
import tiny
from spikefield import cli
from spikefield.deploy import lsl, sinks, watch
from spikefield.deploy.channel_map import match_channels
from spikefield.deploy.commands import export, stream, summary
from spikefield.deploy.live import Event, Live, LiveConfig, Status
from spikefield.deploy.sinks import CsvSink, Row, Sink, Writer
from spikefield.deploy.sources import Block, FileSource, Source, Truth
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.deploy.view import View
from spikefield.deploy.watch import Latency, Score, SignalWatch
from spikefield.errors import InputError
from spikefield.evaluation import metrics
from spikefield.recordings.session import save
from spikefield.windows.batches import collate

BINS = 400
FAST = 0.0
TEST_S = [[2.0, 4.0], [5.0, 6.5]]


@pytest.fixture(scope="module")
def model():
    made = make(causal=True, attention_bins=5)
    made.splits["s0"]["test"] = TEST_S
    return made


def short():
    return tiny.session(0, seconds=BINS / 50)


@pytest.fixture(scope="module")
def place(model, tmp_path_factory):
    """A folder with a model and the session that it knows."""
    folder = tmp_path_factory.mktemp("rig")
    with files.whole(folder / "student") as temporary:
        temporary.mkdir()
        artifact.save(model, temporary)
    save(short(), folder / "s0.h5")
    return folder


@pytest.fixture(scope="module")
def offline(model):
    """What the model decodes of the session's field, run once over all of it."""
    return decode(model, np.asarray(short().lfp.signal))


@torch.inference_mode()
def decode(model, lfp):
    features = model.chains["s0"].apply(lfp)[: len(lfp)]
    z = model.encoder(collate([("s0", {"lfp": torch.from_numpy(features)})]))[0].numpy()
    return z @ model.readouts["s0"]["weights"] + model.readouts["s0"]["intercept"]


def read_csv(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(r["vx"]), float(r["vy"])] for r in rows]), rows


def replay(place, **changes):
    given = {"source": "file", "input": str(place / "s0.h5"), "sink": "csv", "speed": FAST}
    stream(place / "student", **given | changes)


def test_a_replay_leaves_as_the_model_decodes_offline(place, offline, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="spikefield"):
        replay(place, output=str(tmp_path / "out.csv"), record=tmp_path / "record")
    decoded, rows = read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(decoded, offline, atol=1e-4)
    assert [int(r["bin"]) for r in rows] == list(range(BINS))
    np.testing.assert_allclose([float(r["bin_time_s"]) for r in rows], (np.arange(BINS) + 0.5) / 50, atol=1e-6)
    assert {int(r["quality"]) for r in rows[4:]} == {0}
    assert (tmp_path / "record/decoded.csv").read_text() == (tmp_path / "out.csv").read_text()
    run = files.read_json(tmp_path / "record/run.json")
    assert run["ended"] == "source ended" and run["bins"] == BINS and run["counters"]["dropped_samples"] == 0
    assert run["session"] == "s0" and set(run["r2"]) == {"vx", "vy"} and run["events"] == []
    assert 0 < run["latency_ms"]["p50"] <= run["latency_ms"]["p99"] <= run["latency_ms"]["max"]
    assert "400 bins in" in caplog.text and "source ended" in caplog.text

    time_s = (np.arange(BINS) + 0.5) / 50
    truth = FileSource(short()).truth.at(time_s)
    inside = ((time_s >= 2) & (time_s < 4)) | ((time_s >= 5) & (time_s < 6.5))
    np.testing.assert_allclose(list(run["r2"].values()), metrics.r2(truth[inside], offline[inside]), rtol=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_lines_on_standard_output_by_the_command_line(place, offline, capfd):
    flags = ["--source", "file", "--input", str(place / "s0.h5"), "--speed", "0", "--sink", "stdout"]
    with pytest.raises(SystemExit) as done:
        cli.main(["stream", str(place / "student"), *flags])
    assert done.value.code == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    np.testing.assert_allclose([[line["vx"], line["vy"]] for line in lines], offline, atol=1e-4)


def test_export_by_the_command_line(place, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    export(place / "student", out=tmp_path / "onnx")
    assert sorted(p.name for p in (tmp_path / "onnx").iterdir()) == ["step.onnx", "window.onnx"]
    assert "window.onnx: largest difference from the network" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"`out` .* exists. Choose another folder, or remove it first"):
        export(place / "student", out=tmp_path / "onnx")


@pytest.mark.usefixtures("unchecked")
def test_a_map_reorders_and_what_is_missing_is_flagged(place, offline, tmp_path):
    ids = [str(c) for c in np.asarray(tiny.session(0).channels.id).astype(str)]
    given = tiny.arrays(0, seconds=BINS / 50)
    other = tiny.from_arrays(**given | {"lfp": given["lfp"][:, ::-1] / 4, "channel_ids": [f"x{i}" for i in range(6)]})
    save(other, tmp_path / "s0.h5")
    lines = [f"x{5 - i},{c}" for i, c in enumerate(ids)]
    (tmp_path / "map.csv").write_text("\n".join(["source,model", *lines]))
    common = {"input": str(tmp_path / "s0.h5"), "channel_map": tmp_path / "map.csv", "scale": 4.0}
    replay(place, output=str(tmp_path / "all.csv"), **common)
    np.testing.assert_allclose(read_csv(tmp_path / "all.csv")[0], offline, atol=1e-3)
    (tmp_path / "map.csv").write_text("\n".join(["source,model", *lines[1:]]))
    replay(place, output=str(tmp_path / "most.csv"), **common)
    decoded, rows = read_csv(tmp_path / "most.csv")
    assert all(int(r["quality"]) & 2 for r in rows) and np.isfinite(decoded).all()
    assert np.abs(decoded - offline).max() > 1e-2


def test_what_does_not_fit_is_refused_before_anything_is_written(place, tmp_path):
    out = tmp_path / "out.csv"
    other = tiny.session(0, channels=7)
    save(other, tmp_path / "seven.h5")
    with pytest.raises(InputError, match="must send the model's 6 channels, got 7.*--channel-map"):
        replay(place, input=str(tmp_path / "seven.h5"), output=str(out))
    given = tiny.arrays(0) | {"lfp_rate_hz": 60.0}
    save(
        tiny.from_arrays(**{k: v for k, v in given.items() if not k.startswith(("behavior", "spike"))}),
        out.parent / "f.h5",
    )
    with pytest.raises(InputError, match="the source gives 60 Hz, but the model learned 50 Hz"):
        replay(place, input=str(tmp_path / "f.h5"), output=str(out))
    with pytest.raises(InputError, match="`output` must say where `--sink csv` goes"):
        replay(place)
    with pytest.raises(InputError, match="`session` must be one of s0, none is named 'x'"):
        replay(place, output=str(out), session="x")
    (tmp_path / "record").mkdir()
    with pytest.raises(InputError, match=r"`record` .*record exists"):
        replay(place, output=str(out), record=tmp_path / "record")
    assert not out.exists()


def test_a_scale_that_is_forgotten_is_said(place, tmp_path):
    given = tiny.arrays(0, seconds=4.0)
    save(tiny.from_arrays(**given | {"lfp": given["lfp"] * 1e6}), tmp_path / "s0.h5")
    with pytest.raises(InputError, match="times as large as in training"):
        replay(place, input=str(tmp_path / "s0.h5"), output=str(tmp_path / "out.csv"), record=tmp_path / "record")
    assert "times as large as in training" in files.read_json(tmp_path / "record/run.json")["ended"]


# Trouble


class Scripted(Source):
    """Plays blocks and pauses: each entry is a number of samples, or None for a read that brings nothing."""

    def __init__(self, script, lfp, *, skipped=0):
        self.name, self.rate_hz, self.n_channels = "rig", 50.0, 6
        self._script, self._lfp, self._next, self._skipped = list(script), lfp, 0, skipped

    def read(self, *, timeout_s):
        entry = self._script.pop(0)
        self.ended = not self._script
        if entry is None:
            time.sleep(timeout_s)
            return None
        rows = np.arange(self._next, self._next + entry)
        self._next += entry
        return Block(self._lfp[rows % len(self._lfp)], rows / 50, time.perf_counter(), self._skipped)


class Kept(Sink):
    def __init__(self):
        self.rows = []

    def write(self, row):
        self.rows.append(row)


def live(model, source, *sinks, **config):
    decoder = StreamingDecoder(model, "s0", bad="interpolate", on_gap="bridge")
    return Live(
        decoder,
        source,
        match_channels(source, decoder.channel_ids),
        writers=tuple(Writer(sink) for sink in sinks),
        config=LiveConfig(**config),
        watch=watch_of(model),
    )


def watch_of(model):
    return SignalWatch(n_features=len(model.chains["s0"].feature_names), bin_width_ms=model.bin_width_ms)


@pytest.fixture
def watched(model, monkeypatch):
    """Return the state of the signal after these samples, with a memory of four seconds."""
    monkeypatch.setattr(watch, "_MEMORY_S", 4.0)

    def run(samples, *, bad=()):
        decoder, seen = StreamingDecoder(model, "s0"), watch_of(model)
        decoder.set_bad_channels(bad)
        for piece in np.array_split(samples, 3):
            seen.push(decoder.push(piece).features)
        return seen.quality()

    return run


@pytest.fixture
def lfp():
    return np.asarray(short().lfp.signal)


def test_a_stall_is_told_once_and_the_stream_goes_on(model, lfp, caplog, offline):
    kept = Kept()
    with caplog.at_level(logging.INFO, logger="spikefield"):
        status = live(model, Scripted([50, *[None] * 6, 50], lfp), kept, stall_s=0.02).run()
    np.testing.assert_allclose([r.values for r in kept.rows], offline[:100], atol=1e-4)
    assert [e.what for e in status.events] == ["rig: no sample for 0.02 s. Check that it still sends."]
    assert "samples come again" in caplog.text and not status.stalled


def test_a_stall_ends_the_stream_where_asked(model, lfp):
    kept = Kept()
    run = live(model, Scripted([50, *[None] * 6, 50], lfp), kept, stall_s=0.02, on_trouble="end")
    with pytest.raises(InputError, match="rig: no sample for 0.02 s"):
        run.run()
    assert len(kept.rows) == 50 and run.status.bins == 50 and "no sample" in run.status.ended


@pytest.mark.parametrize("on_trouble", ["continue", "end"])
def test_a_flood_is_counted(model, lfp, on_trouble):
    run = live(model, Scripted([50, 50, 50], lfp, skipped=7), Kept(), on_trouble=on_trouble)
    if on_trouble == "end":
        with pytest.raises(InputError, match="rig: samples must come no faster than they are decoded"):
            run.run()
        return
    status = run.run()
    assert status.skipped_samples == 21 and len(status.events) == 1 and status.bins == 150


class Stuck(Sink):
    def __init__(self):
        self.gate = threading.Event()

    def write(self, row):
        self.gate.wait()


@pytest.mark.parametrize("on_trouble", ["continue", "end"])
def test_a_blocked_sink_never_holds_the_decoder_up(model, lfp, on_trouble, monkeypatch):
    monkeypatch.setattr(sinks, "_MOST_WAITING", 50)
    stuck, kept = Stuck(), Kept()

    class Patient(Scripted):
        """Sends when the sink that does not block has all that was sent."""

        def read(self, *, timeout_s):
            end = time.monotonic() + 5
            while len(kept.rows) < self._next and time.monotonic() < end:
                time.sleep(0.001)
            return super().read(timeout_s=timeout_s)

    run = live(model, Patient([50] * 8, lfp), stuck, kept, on_trouble=on_trouble)
    flush = run._decoder.flush
    monkeypatch.setattr(run._decoder, "flush", lambda: (stuck.gate.set(), flush())[1])
    if on_trouble == "end":
        with pytest.raises(InputError, match="`sink`: must take bins as fast"):
            run.run()
        return
    status = run.run()
    assert len(kept.rows) == status.bins == 400
    assert 300 < status.sink_dropped_bins <= 350 and len(status.events) == 1


def test_a_sink_that_fails_ends_the_stream(model, lfp):
    class Broken(Sink):
        def write(self, row):
            raise InputError("the disk is full.")

    with pytest.raises(InputError, match="the disk is full"):
        live(model, Scripted([10] * 200, lfp), Broken()).run()


def test_an_interrupt_ends_the_stream_in_order(model, tmp_path):
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
    sink = CsvSink(tmp_path / "out.csv", behavior_names=("vx", "vy"))
    status = live(model, FileSource(short()), sink).run()
    assert status.ended == "stopped" and 5 < status.bins < 1000
    assert len(read_csv(tmp_path / "out.csv")[1]) == status.bins


def test_drops_and_bursts_are_accounted_for(model, lfp):
    rng = np.random.default_rng(0)
    lfp = lfp.copy()
    lfp[200:202] = np.nan
    keep = np.ones(len(lfp), bool)
    keep[[50, 120, *range(300, 350)]] = False
    rows, n = np.flatnonzero(keep), 0

    class Dropping(Source):
        name, rate_hz, n_channels = "rig", 50.0, 6

        def read(self, *, timeout_s):
            nonlocal n
            index = rows[n : n + int(rng.integers(1, 40))]
            n += len(index)
            self.ended = n >= len(rows)
            return Block(lfp[index], index / 50, time.perf_counter())

    kept = Kept()
    status = live(model, Dropping(), kept).run()
    assert status.counters["dropped_samples"] == 52 and status.counters["bad_samples"] == 2
    assert status.counters["samples"] == len(rows) and status.counters["resets"] >= 1
    times_s = np.array([r.bin_time_s for r in kept.rows])
    assert (np.diff(times_s) > 0).all() and not ((times_s > 6.02) & (times_s < 6.98)).any()
    assert all(np.isfinite(r.values).all() for r in kept.rows)
    assert status.flagged_bins == sum(r.quality > 0 for r in kept.rows) > 0


def test_lsl_in_and_lsl_out(model, lfp, offline):
    library = loopback.library_or_skip()
    names = [f"spikefield-{what}-{uuid.uuid4().hex[:8]}" for what in ("in", "out")]
    outlet = library.StreamOutlet(library.StreamInfo(names[0], "LFP", 6, 50.0, "float32", names[0]))
    source, sink = lsl.LslSource(names[0]), lsl.LslSink(names[1], behavior_names=("vx", "vy"), bin_width_ms=20.0)
    reader = lsl.LslSource(names[1])
    reader.read(timeout_s=0.01)
    outlet.push_chunk(lfp[:50].astype(np.float32), library.local_clock() + np.arange(50) / 50)
    with pytest.raises(InputError, match="no sample for 0.5 s"):
        live(model, source, sink, stall_s=0.5, on_trouble="end").run()
    got, end = np.zeros((0, 4)), time.monotonic() + 3
    while len(got) < 50 and time.monotonic() < end:
        block = reader.read(timeout_s=0.1)
        got = got if block is None else np.concatenate([got, block.samples])
    np.testing.assert_allclose(got[:, :2], offline[:50], atol=1e-4)
    source.close()
    reader.close()


# What is watched


@pytest.fixture(scope="module")
def whole():
    return np.asarray(tiny.session(0).lfp.signal, np.float64)[:1000]


def test_latency_percentiles_are_those_of_numpy():
    latency, values = Latency(), np.random.default_rng(0).lognormal(0, 1.5, 5000)
    assert latency.percentile_ms(50.0) == 0
    for value in values.tolist():
        latency.add(value, n_bins=1)
    for percent in (10.0, 50.0, 99.0):
        assert latency.percentile_ms(percent) == pytest.approx(np.percentile(values, percent), rel=0.02)
    latency.add(0.0, n_bins=1)
    latency.add(1e9, n_bins=1)
    assert latency.max_ms == 1e9 and latency.percentile_ms(100.0) <= 1e9


def test_a_signal_like_in_training_raises_no_alarm(watched, whole):
    quality = watched(whole)
    assert (quality.absent, quality.flat, quality.noisy, quality.alarm) == (0, 0, 0, False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x * 4, {"drifted": 6, "alarm": True}),
        (lambda x: x * 20, {"noisy": 6, "alarm": True}),
        (lambda x: x + 10 * x.std(), {"drifted": 6, "alarm": True}),
        (lambda x: np.where(np.arange(6) == 2, x[:1], x), {"flat": 1}),
        (lambda x: np.where(np.arange(len(x))[:, None] > 0, np.nan, x), {"absent": 6, "alarm": False}),
    ],
)
def test_a_signal_unlike_training_is_seen(watched, whole, change, expected):
    quality = watched(change(whole))
    assert {name: getattr(quality, name) for name in expected} == expected


@pytest.mark.usefixtures("unchecked")
def test_absent_channels_are_no_drift(watched, model, whole):
    samples = whole[:400].copy()
    samples[:, 1] = np.nan
    for bad in ((), (model.chains["s0"].channel_ids[1],)):
        quality = watched(samples, bad=bad)
        assert quality.absent == 1 and not quality.alarm


def test_scores_are_those_of_the_metrics():
    rng = np.random.default_rng(0)
    time_s = np.arange(400) / 50
    true = rng.normal(size=(400, 2))
    decoded = np.stack([rng.normal(size=400), true[:, 1] + 0.5 * rng.normal(size=400), true[:, 0]], axis=1)
    truth = Truth(("a", "b"), time_s, true)
    score = Score(truth, ("other", "b", "a"), within_s=[[2.0, 4.0]])
    for piece in np.array_split(np.arange(400), 37):
        score.add(time_s[piece], decoded[piece])
    assert score.names == ("b", "a")
    expected = metrics.r2(true[:, ::-1], decoded[:, 1:])
    np.testing.assert_allclose(list(score.recent_r2().values()), expected)
    inside = slice(100, 200)
    np.testing.assert_allclose(list(score.r2().values()), metrics.r2(true[inside, ::-1], decoded[inside, 1:]))


def test_the_view_shows_what_matters(model, lfp):
    status = live(model, Scripted([50], lfp), Kept()).run()
    status.true, status.r2, status.recent_r2 = {"vx": 1.5}, {"vx": 0.71}, {"vx": 0.62}
    status.signal["alarm"], status.stalled = True, True
    status.events.append(Event(3.25, "rig: no sample for 2 s."))
    console = Console(width=120, record=True, file=io.StringIO())
    with View("distilled decodes s0", console) as view:
        view(status)
    text = console.export_text()
    for shown in ("distilled decodes s0", "vx", "1.500", "0.710", "0.620", "p99", "DRIFT", "STALLED", "3.2 s  rig"):
        assert shown in text
    assert "50 bins in" in summary(status) and "R² vx 0.710" in summary(status) and "drift:" in summary(status)


def test_what_is_logged_stands_above_the_view(monkeypatch):
    handler = logging.StreamHandler(before := io.StringIO())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    console = Console(width=120, record=True, file=io.StringIO(), force_terminal=True)
    with View("title", console) as view:
        view(Status(names=("vx",)))
        logging.getLogger("spikefield").warning("rig: no sample for 2 s.")
    assert "rig: no sample for 2 s." in console.file.getvalue() and not before.getvalue()
    assert handler.stream is before


def test_a_policy_that_is_none_is_refused():
    with pytest.raises(InputError, match="`on_trouble` must be one of continue, end, got 'panic'"):
        LiveConfig(on_trouble="panic")
    with pytest.raises(InputError, match="`stall_s` must be a positive number"):
        LiveConfig(stall_s=0.0)
    assert Status(names=("vx",)).ended == "running" and Row(0, 0.0, ("vx",), (1.0,), 0, 0.0).to_csv()
