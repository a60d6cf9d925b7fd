"""What comes in is what was sent: replay, LSL and ZeroMQ on loopback; what does not fit is refused in one line."""

import builtins
import json
import time
import uuid

import loopback
import numpy as np
import pytest

import tiny
from spikefield.deploy import lsl, zeromq
from spikefield.deploy.channel_map import match_channels
from spikefield.deploy.sinks import Row
from spikefield.deploy.sources import BACKLOG_S, Block, FileSource, Source, Truth, newest, open_file, open_source
from spikefield.errors import InputError
from spikefield.recordings.session import save


def drain(source: Source, *, until: int = 10**9, within_s: float = 5.0) -> Block:
    """Read until the source ends or `until` samples have come."""
    blocks, end = [], time.monotonic() + within_s
    while not source.ended and sum(len(b.samples) for b in blocks) < until and time.monotonic() < end:
        if (block := source.read(timeout_s=0.1)) is not None:
            blocks.append(block)
    samples = np.concatenate([b.samples for b in blocks])
    return Block(samples, np.concatenate([b.times_s for b in blocks]), blocks[-1].due_s, sum(b.skipped for b in blocks))


def test_replay_gives_every_sample_with_its_time(tmp_path):
    session = tiny.session(0, seconds=10.0)
    save(session, tmp_path / "s0.h5")
    source = open_source("file", str(tmp_path / "s0.h5"), speed=0.0)
    got = drain(source)
    np.testing.assert_array_equal(got.samples, np.asarray(session.lfp.signal))
    np.testing.assert_allclose(got.times_s, np.arange(500) / 50)
    assert source.read(timeout_s=0.0) is None and source.ended
    assert source.rate_hz == 50 and source.n_channels == len(source.channel_ids) == 6


def test_replay_keeps_the_speed():
    source = FileSource(tiny.session(0, seconds=10.0), speed=20.0)
    began = time.perf_counter()
    got = drain(source)
    assert len(got.samples) == 500
    assert 0.5 <= time.perf_counter() - began < 1.5
    assert got.due_s - began == pytest.approx(0.5, abs=0.05)


def test_a_slow_reader_of_a_replay_loses_nothing():
    source = FileSource(tiny.session(0, seconds=10.0), speed=100.0)
    source.read(timeout_s=1.0)
    time.sleep(0.05)
    late = source.read(timeout_s=0.0)
    assert late is not None and len(late.samples) >= 200 and late.skipped == 0
    assert time.perf_counter() - late.due_s < 0.05


def test_replay_knows_the_truth_circular_dims_as_in_training():
    given = tiny.arrays(0, seconds=10.0)
    given["behavior"] = np.arange(500.0)[:, None] % 360
    source = FileSource(tiny.from_arrays(**given | {"behavior_names": ["angle"], "behavior_period": [360.0]}))
    assert source.truth is not None and source.truth.names == ("cos(angle)", "sin(angle)")
    at = source.truth.times_s[[30, 40]]
    np.testing.assert_allclose(source.truth.at(at)[:, 0], np.cos(np.deg2rad([30, 40])))
    assert np.isnan(source.truth.at(np.array([1e6]))).all()


def test_truth_is_interpolated_as_numpy_does():
    rng = np.random.default_rng(0)
    times_s, values = np.sort(rng.uniform(0, 10, 200)), rng.normal(size=(200, 2))
    wanted_s = np.concatenate([rng.uniform(-1, 11, 500), times_s])
    expected = [np.interp(wanted_s, times_s, column, np.nan, np.nan) for column in values.T]
    np.testing.assert_allclose(Truth(("a", "b"), times_s, values).at(wanted_s), np.stack(expected, axis=1), atol=1e-9)


def test_a_raw_recording_is_replayed(tmp_path):
    np.savez(tmp_path / "day.npz", **{k: v for k, v in tiny.arrays(0).items() if k != "session"})
    assert open_file(tmp_path / "day.npz").rate_hz == 50


def test_what_cannot_be_replayed_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_source("file", str(tmp_path / "none.h5"))
    with pytest.raises(InputError, match="`speed` must be 0 or more, got -1.0"):
        FileSource(tiny.session(0), speed=-1.0)
    with pytest.raises(InputError, match="holds no field potential to replay"):
        FileSource(tiny.session(0, without=("lfp",)))


def test_what_piled_up_beyond_a_second_is_skipped_and_counted():
    samples = np.arange(5000.0)[:, None]
    kept = newest(Block(samples, samples[:, 0] / 1000, 1.0, 3), rate_hz=1000.0)
    assert len(kept.samples) == BACKLOG_S * 1000 and kept.samples[-1] == 4999 and kept.skipped == 4003
    assert kept.times_s[0] == 4.0
    assert newest(kept, rate_hz=1000.0) is kept


# Lab Streaming Layer


@pytest.fixture
def lsl_library():
    return loopback.library_or_skip()


@pytest.fixture
def outlet(lsl_library):
    """An outlet of three channels at 500 Hz, and its name."""
    name = f"spikefield-test-{uuid.uuid4().hex[:8]}"
    info = lsl_library.StreamInfo(name, "LFP", 3, 500.0, "float32", name)
    info.set_channel_names(["a", "b", "c"])
    return lsl_library.StreamOutlet(info), name


def test_lsl_loopback(outlet, lsl_library):
    out, name = outlet
    source = open_source("lsl", name)
    assert (source.rate_hz, source.n_channels, source.channel_ids) == (500.0, 3, ("a", "b", "c"))
    assert source.read(timeout_s=0.01) is None
    sent = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    times_s = lsl_library.local_clock() + np.arange(100) / 500
    for i in range(0, 100, 20):
        out.push_chunk(sent[i : i + 20], times_s[i : i + 20])
    got = drain(source, until=100)
    np.testing.assert_array_equal(got.samples, sent)
    np.testing.assert_allclose(got.times_s, times_s, atol=1e-3)
    source.close()


def test_lsl_stream_that_comes_back(lsl_library):
    name = f"spikefield-back-{uuid.uuid4().hex[:8]}"

    def start():
        return lsl_library.StreamOutlet(lsl_library.StreamInfo(name, "LFP", 2, 500.0, "float32", name))

    outlet = start()
    source = lsl.LslSource(name)
    del outlet
    assert source.read(timeout_s=0.2) is None
    outlet, block, end = start(), None, time.monotonic() + 40  # the library looks for it at its leisure
    while block is None and time.monotonic() < end:
        outlet.push_chunk(np.ones((5, 2), np.float32))
        block = source.read(timeout_s=0.2)
    assert block is not None and (block.samples == 1).all()
    source.close()
    with pytest.raises(InputError, match="was lost"):
        source._inlet = Lost()
        source.read(timeout_s=0.0)


class Lost:
    def pull_sample(self, timeout):
        raise RuntimeError("The stream connection has been lost.")


def test_lsl_stream_that_is_not_there(lsl_library):
    with pytest.raises(InputError, match=r"no LSL stream named 'nobody' within 0.2 s; .*Start it, or check the name"):
        lsl.LslSource("nobody", find_s=0.2)


def test_lsl_stream_of_text_is_refused(lsl_library):
    name = f"spikefield-text-{uuid.uuid4().hex[:8]}"
    keep = lsl_library.StreamOutlet(lsl_library.StreamInfo(name, "Markers", 1, 0.0, "string", name))
    with pytest.raises(InputError, match="holds text or has no regular rate"):
        lsl.LslSource(name)
    del keep


def test_lsl_sink_loopback(lsl_library):
    name = f"spikefield-out-{uuid.uuid4().hex[:8]}"
    sink = lsl.LslSink(name, behavior_names=("vx", "vy"), bin_width_ms=10.0)
    source = lsl.LslSource(name)
    assert source.channel_ids == ("vx", "vy", "quality", "bin_time_s")
    assert source.read(timeout_s=0.01) is None
    sink.write(Row(7, 0.075, ("vx", "vy"), (1.5, -2.0), 3, 0.4))
    np.testing.assert_array_equal(drain(source, until=1).samples, [[1.5, -2.0, 3, 0.075]])
    source.close()


@pytest.mark.parametrize(("package", "open_it"), [("mne_lsl", "lsl"), ("zmq", "zmq")])
def test_a_missing_package_names_the_extra(monkeypatch, package, open_it):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(f"No module named {package!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"Install it with: pip install 'spikefield\[stream\]'"):
        open_source(open_it, "tcp://127.0.0.1:1")


# ZeroMQ


class Publisher:
    """Sends samples as the documentation of `deploy.zeromq` says; written apart from it."""

    def __init__(self):
        zmq = pytest.importorskip("zmq")
        self.socket = zmq.Context.instance().socket(zmq.PUB)
        self.address = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.first = 0

    def send(self, samples, **changes):
        header = {"first_sample": self.first, "rate_hz": 1000.0, "shape": list(samples.shape)}
        header |= {"dtype": samples.dtype.str, "channel_ids": ["a", "b"]} | changes
        self.socket.send_multipart([json.dumps(header).encode(), samples.tobytes()])
        self.first += len(samples)

    def send_until_heard(self, monkeypatch, samples, **changes):
        """Open a source, sending the first block again and again until it has subscribed."""
        real = zeromq._socket

        def subscribed(kind, address, *, bind):
            socket = real(kind, address, bind=bind)
            socket.setsockopt(zeromq.library().SUBSCRIBE, b"")
            end = time.monotonic() + 5
            while not socket.poll(20) and time.monotonic() < end:
                self.first = 0
                self.send(samples, **changes)
            return socket

        monkeypatch.setattr(zeromq, "_socket", subscribed)
        return open_source("zmq", self.address)


@pytest.fixture
def publisher():
    made = Publisher()
    yield made
    made.socket.close(linger=0)


def block(n=10, dtype="<f4", seed=0):
    return np.random.default_rng(seed).normal(0, 100, (n, 2)).astype(dtype)


def test_zmq_loopback_with_a_gap_and_an_end(publisher, monkeypatch):
    source = publisher.send_until_heard(monkeypatch, block())
    assert (source.rate_hz, source.n_channels, source.channel_ids) == (1000.0, 2, ("a", "b"))
    publisher.first += 5
    publisher.send(block(seed=1))
    publisher.send(block(seed=2), time_s=7.0)
    publisher.socket.send_string('{"end": true}')
    got = drain(source)
    np.testing.assert_array_equal(got.samples[-20:], np.concatenate([block(seed=1), block(seed=2)]))
    assert got.times_s[-20] == 0.015 and got.times_s[-10] == 7.0 and got.times_s[-1] == pytest.approx(7.009)
    assert source.ended and source.read(timeout_s=0.0) is None
    source.close()


def test_a_flood_is_cut_to_its_newest_second(publisher, monkeypatch):
    source = publisher.send_until_heard(monkeypatch, block())
    for seed in range(4):
        publisher.send(block(1000, seed=seed))
    time.sleep(0.3)
    got = source.read(timeout_s=1.0)
    assert len(got.samples) == 1000 and got.skipped >= 2000
    source.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [10, 3]}, r"must be one frame of 120 bytes, got 2 frames, 80 bytes"),
        ({"shape": [-1, 2]}, r"`shape` must be \[samples, channels\]"),
        ({"dtype": "O"}, "`dtype` must be an integer or a float"),
        ({"dtype": "nonsense"}, "`dtype` must be a numpy number"),
        ({"rate_hz": 500.0}, "sent 2 channels at 1000 Hz first, now 2 at 500"),
        ({"rate_hz": None}, "`rate_hz` must be a finite number, got None"),
        ({"first_sample": "x"}, "`first_sample` must be a finite number"),
    ],
)
def test_a_message_that_does_not_fit_is_refused(publisher, monkeypatch, changes, message):
    source = publisher.send_until_heard(monkeypatch, block())
    drain(source, until=10)
    publisher.send(block(), **changes)
    with pytest.raises(InputError, match=message):
        drain(source, within_s=2.0)
    source.close()


@pytest.mark.parametrize("frame", [b"\xff\xfe", b"[1]", b'{"rate_hz": 1}', b"[" * 100_000])
def test_a_message_that_is_no_header_is_refused(publisher, monkeypatch, frame):
    source = publisher.send_until_heard(monkeypatch, block())
    drain(source, until=10)
    publisher.socket.send_multipart([frame, b""])
    with pytest.raises(InputError, match="JSON|lacks `first_sample`"):
        drain(source, within_s=2.0)
    source.close()


def test_zmq_addresses_that_do_not_work():
    pytest.importorskip("zmq")
    with pytest.raises(InputError, match="cannot connect ZeroMQ address 'nowhere'"):
        open_source("zmq", "nowhere")
    with pytest.raises(InputError, match=r"nothing came from tcp://127.0.0.1:9 within 0.1 s"):
        zeromq.ZmqSource("tcp://127.0.0.1:9", find_s=0.1)


# Channel maps


class Fake(Source):
    """A source of which only what it announces matters."""

    def __init__(self, ids, *, named=True):
        self.name, self.rate_hz, self.n_channels = "rig", 1000.0, len(ids)
        self.channel_ids = tuple(ids) if named else None

    def read(self, *, timeout_s):
        raise NotImplementedError


def test_the_same_channels_need_no_map():
    samples = block()
    for source in (Fake("ab"), Fake("ab", named=False)):
        matched = match_channels(source, ("a", "b"))
        assert matched.is_identity
        np.testing.assert_array_equal(matched.apply(samples), samples)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Fake("abc"), "must send the model's 2 channels, got 3"),
        (Fake("ba"), "sends the model's 2 channels in another order"),
        (Fake("ax"), "channel 2 is 'x' instead of 'b'"),
    ],
)
def test_other_channels_name_the_map(source, message):
    with pytest.raises(InputError, match=rf"{message}.* --channel-map FILE"):
        match_channels(source, ("a", "b"))


def test_a_map_orders_scales_and_says_what_is_missing(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("source,model,scale\nz,a,2\nx,c,0.5\n")
    matched = match_channels(Fake("xyz"), ("a", "b", "c"), path)
    got = matched.apply(np.array([[1, 2, 3], [4, 5, 6]], np.int16))
    np.testing.assert_array_equal(got, [[6, np.nan, 0.5], [12, np.nan, 2.0]])
    assert matched.missing == ("b",)
    path.write_text("source,model\n1,a\n0,b\n")
    unnamed = match_channels(Fake("xyz", named=False), ("a", "b"), path)
    np.testing.assert_array_equal(unnamed.apply(np.array([[1.0, 2.0, 3.0]])), [[2.0, 1.0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from,to\n", "first line must be source,model"),
        ("source,model\n", "names no channel"),
        ("source,model\nx,q\n", "line 2: the model has no channel 'q'; it has a, b"),
        ("source,model\nq,a\n", "line 2: rig has no channel 'q'; it has x, y"),
        ("source,model\nx,a\ny,a\n", "line 3: channel 'a' of the model stands here a second time"),
        ("source,model,scale\nx,a,zero\n", "`scale` must be a number other than 0, got 'zero'"),
        ("source,model\nx\n", "the model has no channel ''"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tmp_path, text, message):
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        match_channels(Fake("xy"), ("a", "b"), tmp_path / "map.csv")


def test_counts_stay_counts_unless_they_are_scaled(tmp_path):
    counts = block(dtype="<i2")
    same = match_channels(Fake("ab"), ("a", "b"))
    assert same.apply(counts).dtype == np.int16  # for the decoder to refuse where volts were learned
    np.testing.assert_allclose(match_channels(Fake("ab"), ("a", "b"), scale=0.25).apply(counts), counts * 0.25)
    (tmp_path / "map.csv").write_text("source,model,scale\nb,a,2\n")
    np.testing.assert_array_equal(
        match_channels(Fake("ab"), ("a",), tmp_path / "map.csv", scale=0.5).apply(counts)[:, 0], counts[:, 1]
    )
    with pytest.raises(InputError, match="`scale` must be a number other than 0, got 0"):
        match_channels(Fake("ab"), ("a", "b"), scale=0.0)
    with pytest.raises(InputError, match="not a readable CSV"):
        match_channels(Fake("xy"), ("a", "b"), tmp_path / "none.csv")
