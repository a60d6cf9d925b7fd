"""Where decoded bins go: lines on standard output or in a CSV file here, LSL and ZeroMQ in modules of their own.

Sinks write in a thread behind a bounded queue, so that one that blocks cannot hold up the decoder: the oldest waiting
bins are dropped and counted, and a reader sees the jump in `bin`.
"""

import errno
import json
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spikefield.errors import InputError

SinkKind = Literal["stdout", "csv", "lsl", "zmq"]
LineFormat = Literal["json", "csv"]
_STDOUT = 1
_MOST_WAITING = 512
_SYNC_EVERY_S = 1.0
_CLOSE_WITHIN_S = 2.0


@dataclass(frozen=True)
class Row:
    """One decoded bin. `quality` holds the decoder's flags, 0 where all is well; `latency_ms` from sample to row."""

    bin: int
    bin_time_s: float
    names: tuple[str, ...]
    values: tuple[float, ...]
    quality: int
    latency_ms: float

    def to_json(self) -> str:
        """Return one line of JSON; what could not be decoded is null."""
        values = {
            name: value if math.isfinite(value) else None for name, value in zip(self.names, self.values, strict=True)
        }
        ends = {"quality": self.quality, "latency_ms": round(self.latency_ms, 3)}
        return json.dumps({"bin": self.bin, "bin_time_s": round(self.bin_time_s, 6), **values, **ends})

    def to_csv(self) -> str:
        """Return one line of CSV; what could not be decoded is empty."""
        values = [f"{value:.9g}" if math.isfinite(value) else "" for value in self.values]
        cells = [str(self.bin), f"{self.bin_time_s:.6f}", *values, str(self.quality), f"{self.latency_ms:.3f}"]
        return ",".join(cells)


def csv_header(names: tuple[str, ...]) -> str:
    """Return the first line of a CSV of decoded bins."""
    quoted = [f'"{name}"' if "," in name or '"' in name else name for name in names]
    return ",".join(["bin", "bin_time_s", *quoted, "quality", "latency_ms"])


class Sink(ABC):
    """Takes one decoded bin after another."""

    @abstractmethod
    def write(self, row: Row) -> None:
        """Hand one bin on; may block.

        Raises:
            InputError: nothing more can be written.
        """

    def close(self) -> None:  # noqa: B027
        """Finish what was begun."""


class StdoutSink(Sink):
    """A line a bin on standard output, straight to the descriptor: what is written is out."""

    def __init__(self, *, form: LineFormat, behavior_names: tuple[str, ...], descriptor: int = _STDOUT) -> None:
        self._as_line = Row.to_json if form == "json" else Row.to_csv
        self._head = "" if form == "json" else csv_header(behavior_names) + "\n"
        self._descriptor = descriptor

    def write(self, row: Row) -> None:
        """Write one line.

        Raises:
            InputError: standard output was closed by its reader.
        """
        text, self._head = f"{self._head}{self._as_line(row)}\n".encode(), ""
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except BrokenPipeError as error:
            raise InputError(
                "standard output was closed by its reader. Let its reader run as long as the stream."
            ) from error


class CsvSink(Sink):
    """A file that grows by whole lines: each is one write, a cut one is taken back, and each second reaches the disk.

    A crash of this process loses nothing that was written, one of the machine at most a second.
    """

    def __init__(self, path: Path, *, behavior_names: tuple[str, ...]) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError as error:
            raise InputError(f"{path} exists. Choose another file, or remove it first.") from error
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}. Choose another folder.") from error
        self._size = 0
        self._synced_s = time.monotonic()
        self._line(csv_header(behavior_names))

    def write(self, row: Row) -> None:
        """Append one line."""
        self._line(row.to_csv())
        if time.monotonic() - self._synced_s > _SYNC_EVERY_S:
            os.fsync(self._descriptor)
            self._synced_s = time.monotonic()

    def close(self) -> None:
        """Bring the file to the disk."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _line(self, line: str) -> None:
        text = f"{line}\n".encode()
        try:
            if os.write(self._descriptor, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise InputError(
                f"cannot write {self._path}: {error.strerror}; it ends with its last whole line. Free some room."
            ) from error
        self._size += len(text)


class Writer:
    """A sink behind a bounded queue and a thread of its own.

    `dropped` counts the bins that never reached the sink; `error` is why it gave up, if it did.
    """

    def __init__(self, sink: Sink, *, most_waiting: int | None = None) -> None:
        self._sink = sink
        self._waiting: deque[Row] = deque()
        self._most_waiting = most_waiting or _MOST_WAITING
        self._changed = threading.Condition()
        self._closing = False
        self.dropped = 0
        self.error: InputError | None = None
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    def put(self, row: Row) -> None:
        """Hand a bin over without waiting; where the queue is full, the oldest bin in it is dropped."""
        with self._changed:
            self._waiting.append(row)
            if len(self._waiting) > self._most_waiting or self.error is not None:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.notify()

    def close(self, *, within_s: float = _CLOSE_WITHIN_S) -> None:
        """Write what still waits, then close the sink; a sink that blocks longer is left, its bins count as dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within_s)
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting.clear()

    def _run(self) -> None:
        try:
            while (row := self._next()) is not None:
                self._sink.write(row)
            self._sink.close()
        except (InputError, OSError) as error:
            with self._changed:
                self.error = (
                    error
                    if isinstance(error, InputError)
                    else InputError(f"the sink failed: {error}. Check where it writes, and start again.")
                )
                self.dropped += len(self._waiting) + 1
                self._waiting.clear()

    def _next(self) -> Row | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None


def open_sink(
    kind: SinkKind, place: str | None, *, form: LineFormat, behavior_names: tuple[str, ...], bin_width_ms: float
) -> Sink:
    """Open a sink by its kind and where it is: a file, the name of the LSL stream to make, or an address to bind.

    Raises:
        InputError: the place is missing or taken, or a package is missing; the message names the extra.
    """
    if kind == "stdout":
        return StdoutSink(form=form, behavior_names=behavior_names)
    if place is None:
        raise InputError(f"`output` must say where `--sink {kind}` goes. Give --output {_PLACES[kind]}.")
    if kind == "csv":
        return CsvSink(Path(place), behavior_names=behavior_names)
    if kind == "lsl":
        from spikefield.deploy.lsl import LslSink

        return LslSink(place, behavior_names=behavior_names, bin_width_ms=bin_width_ms)
    from spikefield.deploy.zeromq import ZmqSink

    return ZmqSink(place)


_PLACES = {"csv": "FILE", "lsl": "NAME, the stream's", "zmq": "ADDRESS, such as tcp://*:5556"}
