"""What goes out is whole lines; a sink that blocks or fails holds nothing up, and every bin is accounted for."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from spikefield.deploy.sinks import CsvSink, Row, Sink, StdoutSink, Writer, csv_header, open_sink
from spikefield.errors import InputError

NAMES = ("vx", "vy")


def row(i: int, **changes) -> Row:
    given = {"bin": i, "bin_time_s": i / 100, "names": NAMES, "values": (i / 3, -1.0), "quality": 0, "latency_ms": 0.5}
    return Row(**given | changes)


def pipe_lines(form: str, rows: list[Row]) -> list[str]:
    reading, writing = os.pipe()
    sink = StdoutSink(form=form, behavior_names=NAMES, descriptor=writing)
    for one in rows:
        sink.write(one)
    os.close(writing)
    with os.fdopen(reading) as file:
        return file.read().splitlines()


def test_json_lines_hold_every_field_and_null_for_what_could_not_be_decoded():
    first, second = map(json.loads, pipe_lines("json", [row(3), row(4, values=(float("nan"), 2.0), quality=5)]))
    assert first == {"bin": 3, "bin_time_s": 0.03, "vx": 1.0, "vy": -1.0, "quality": 0, "latency_ms": 0.5}
    assert second["vx"] is None and second["vy"] == 2.0 and second["quality"] == 5


def test_csv_lines_have_one_header():
    lines = pipe_lines("csv", [row(3), row(4, values=(float("nan"), 2.0))])
    assert lines == ["bin,bin_time_s,vx,vy,quality,latency_ms", "3,0.030000,1,-1,0,0.500", "4,0.040000,,2,0,0.500"]
    assert next(csv.reader([csv_header(("a,b", "c"))])) == ["bin", "bin_time_s", "a,b", "c", "quality", "latency_ms"]


def test_a_closed_pipe_is_one_line():
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(InputError, match="standard output was closed by its reader"):
        StdoutSink(form="json", behavior_names=NAMES, descriptor=writing).write(row(0))
    os.close(writing)


def test_the_csv_file_is_whole_after_every_bin(tmp_path):
    sink = CsvSink(tmp_path / "new" / "out.csv", behavior_names=NAMES)
    for i in range(5):
        sink.write(row(i))
        lines = (tmp_path / "new/out.csv").read_text().split("\n")
        assert len(lines) == i + 3 and lines[-1] == "" and lines[-2].startswith(f"{i},")
    sink.close()
    with pytest.raises(InputError, match=r"out.csv exists. Choose another file, or remove it first"):
        CsvSink(tmp_path / "new" / "out.csv", behavior_names=NAMES)


def test_a_killed_process_leaves_whole_lines(tmp_path):
    code = (
        "import sys; from pathlib import Path; from itertools import count\n"
        "from spikefield.deploy.sinks import CsvSink, Row\n"
        "sink = CsvSink(Path(sys.argv[1]), behavior_names=('vx',))\n"
        "for i in count(): sink.write(Row(i, i / 100, ('vx',), (1 / 3,), 0, 0.5))\n"
    )
    path = tmp_path / "out.csv"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    end = time.monotonic() + 15
    while not (path.exists() and path.stat().st_size > 20_000) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert path.read_text().endswith("\n") and [int(r["bin"]) for r in rows] == list(range(len(rows)))
    assert {r["latency_ms"] for r in rows} == {"0.500"}


def test_a_full_disk_takes_the_cut_line_back(tmp_path, monkeypatch):
    sink = CsvSink(tmp_path / "out.csv", behavior_names=NAMES)
    sink.write(row(0))
    whole = (tmp_path / "out.csv").read_text()
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, text: real(descriptor, text[:4]))
    with pytest.raises(InputError, match="No space left on device; it ends with its last whole line"):
        sink.write(row(1))
    assert (tmp_path / "out.csv").read_text() == whole


class Blocked(Sink):
    """Writes only when let."""

    def __init__(self):
        self.rows, self.gate = [], threading.Semaphore(0)

    def write(self, row):
        self.gate.acquire()
        self.rows.append(row.bin)


def test_a_blocked_sink_drops_the_oldest_and_holds_nothing_up():
    sink = Blocked()
    writer = Writer(sink, most_waiting=10)
    writer.put(row(0))
    while writer._waiting:
        time.sleep(0.001)
    began = time.perf_counter()
    for i in range(1, 101):
        writer.put(row(i))
    assert time.perf_counter() - began < 0.5
    assert writer.dropped == 90
    sink.gate.release(1000)
    writer.close()
    assert sink.rows == [0, *range(91, 101)] and writer.dropped == 90 and writer.error is None


def test_a_sink_that_never_returns_is_left_and_its_bins_counted():
    writer = Writer(Blocked(), most_waiting=10)
    for i in range(5):
        writer.put(row(i))
    began = time.perf_counter()
    writer.close(within_s=0.1)
    assert time.perf_counter() - began < 1 and writer.dropped >= 4


def test_a_sink_that_fails_says_why_and_every_bin_is_counted():
    class Broken(Sink):
        def write(self, row):
            raise OSError("gone")

    writer = Writer(Broken())
    for i in range(20):
        writer.put(row(i))
    writer.close()
    assert (
        str(writer.error) == "the sink failed: gone. Check where it writes, and start again." and writer.dropped == 20
    )


def test_a_place_is_needed(tmp_path):
    given = {"form": "json", "behavior_names": NAMES, "bin_width_ms": 10.0}
    for kind in ("csv", "lsl", "zmq"):
        with pytest.raises(InputError, match=f"`output` must say where `--sink {kind}` goes. Give --output"):
            open_sink(kind, None, **given)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*Choose another folder|exists"):
        open_sink("csv", str(tmp_path / "file" / "out.csv"), **given)


def test_zmq_sink_publishes_bins_and_an_end():
    zmq = pytest.importorskip("zmq")
    sink = open_sink("zmq", "tcp://127.0.0.1:*", form="json", behavior_names=NAMES, bin_width_ms=10.0)
    reader = zmq.Context.instance().socket(zmq.SUB)
    reader.setsockopt(zmq.SUBSCRIBE, b"")
    reader.connect(sink.address)
    end = time.monotonic() + 5
    while not reader.poll(20) and time.monotonic() < end:
        sink.write(row(1))
    assert json.loads(reader.recv()) == json.loads(row(1).to_json())
    sink.close()
    frames = []
    while reader.poll(1000):
        frames.append(reader.recv())
        if frames[-1] == b'{"end": true}':
            break
    assert frames[-1] == b'{"end": true}'
    reader.close(linger=0)
