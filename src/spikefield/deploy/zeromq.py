"""ZeroMQ at both ends of the rig: blocks of samples in from a publisher, decoded behaviour out by another.

A message of samples has two frames:

    1  JSON: {"first_sample": 12000,            index of its first sample since the publisher started
              "rate_hz": 1000.0,
              "shape": [10, 96],                samples, channels
              "dtype": "<f4",                   numpy's name: any little-endian integer or float
              "time_s": 12.0,                   of its first sample; optional, else first_sample / rate_hz
              "channel_ids": ["c0", …]}         optional
    2  the samples, C order, nothing else

A gap in `first_sample` is a gap in the recording. `{"end": true}` alone ends the stream. The sink publishes one frame
of JSON a bin (`Row.to_dict`) and at last `{"end": true}`.
"""

import json
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikefield.deploy.sinks import Row, Sink
from spikefield.deploy.sources import BACKLOG_S, Block, Source, newest
from spikefield.errors import InputError

_FIRST_MESSAGE_S = 10.0
_HELD_MESSAGES = 10_000
_LARGEST_BLOCK_BYTES = 256 << 20
_BACKLOGS_A_READ = 4


def library() -> Any:
    """Return zmq.

    Raises:
        InputError: the package is not installed.
    """
    try:
        import zmq
    except ImportError as error:
        raise InputError("ZeroMQ needs pyzmq. Install it with: pip install 'spikefield[stream]'") from error
    return zmq


def _socket(kind: str, address: str, *, bind: bool) -> Any:
    zmq = library()
    socket = zmq.Context.instance().socket(getattr(zmq, kind))
    socket.setsockopt(zmq.LINGER, 500)
    socket.set_hwm(_HELD_MESSAGES)
    try:
        (socket.bind if bind else socket.connect)(address)
    except zmq.ZMQError as error:
        socket.close()
        raise InputError(
            f"cannot {'bind' if bind else 'connect'} ZeroMQ address {address!r} ({error.strerror}). "
            "Give one such as tcp://127.0.0.1:5555 that is free."
        ) from error
    return socket


class ZmqSource(Source):
    """A subscriber to all messages of a publisher; the first one says what will come."""

    def __init__(self, address: str, *, find_s: float = _FIRST_MESSAGE_S) -> None:
        zmq = library()
        self.name = address
        self._again = zmq.Again
        self._dont_wait = zmq.DONTWAIT
        self._socket = _socket("SUB", address, bind=False)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        if not self._socket.poll(find_s * 1000):
            self.close()
            raise InputError(f"nothing came from {address} within {find_s:g} s. Start its publisher, or check it.")
        self._kept = self._receive()
        if self._kept is None:
            self.close()
            raise InputError(f"{address} ended before its first sample. Start its publisher again.")
        header, samples = self._kept
        self.rate_hz = float(header["rate_hz"])
        self.n_channels = samples.shape[1]
        ids = header.get("channel_ids")
        self.channel_ids = tuple(map(str, ids)) if ids else None

    def read(self, *, timeout_s: float) -> Block | None:
        """Return the samples of all messages that have come."""
        if self._kept is None and not self._socket.poll(timeout_s * 1000):
            return None
        parts: list[np.ndarray] = []
        times: list[np.ndarray] = []
        due_s = time.perf_counter()
        while sum(map(len, parts)) < _BACKLOGS_A_READ * BACKLOG_S * self.rate_hz and (message := self._next()):
            header, samples = message
            self._check_same(header, samples)
            first_s = header.get("time_s", header["first_sample"] / self.rate_hz)
            parts.append(samples)
            times.append(float(first_s) + np.arange(len(samples)) / self.rate_hz)
        if not parts:
            return None
        return newest(Block(np.concatenate(parts), np.concatenate(times), due_s), rate_hz=self.rate_hz)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)

    def _next(self) -> tuple[dict[str, Any], np.ndarray] | None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        if self.ended:
            return None
        try:
            return self._receive()
        except self._again:
            return None

    def _receive(self) -> tuple[dict[str, Any], np.ndarray] | None:
        """Return the next message; None, and `ended`, at the end of the stream."""
        frames = self._socket.recv_multipart(self._dont_wait)
        header = _header(frames[0], self.name)
        if header.get("end"):
            self.ended = True
            return None
        return header, _samples(header, frames, self.name)

    def _check_same(self, header: dict[str, Any], samples: np.ndarray) -> None:
        if samples.shape[1] != self.n_channels or float(header["rate_hz"]) != self.rate_hz:
            raise InputError(
                f"{self.name}: sent {self.n_channels} channels at {self.rate_hz:g} Hz first, now {samples.shape[1]} at "
                f"{header['rate_hz']} Hz. Start the stream again after changing it."
            )


def _header(frame: bytes, name: str) -> dict[str, Any]:
    try:
        header = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: a message's first frame must be JSON ({error}). See the docs of the stream.") from (
            error
        )
    if not isinstance(header, dict):
        raise InputError(
            f"{name}: a message's first frame must be a JSON object, got {str(header)[:60]}. Check the publisher."
        )
    if header.get("end"):
        return header
    for field in ("first_sample", "rate_hz", "shape", "dtype"):
        if field not in header:
            raise InputError(
                f"{name}: a message lacks `{field}`; it must hold first_sample, rate_hz, shape, dtype. "
                "Add it to every message."
            )
    for field in ("first_sample", "rate_hz", *(["time_s"] if "time_s" in header else [])):
        value = header[field]
        if not isinstance(value, int | float) or not math.isfinite(value) or (field == "rate_hz" and value <= 0):
            raise InputError(
                f"{name}: a message's `{field}` must be a finite number, got {value!r}. Check the publisher."
            )
    return header


def _samples(header: dict[str, Any], frames: Sequence[bytes], name: str) -> np.ndarray:
    shape, said = header["shape"], header["dtype"]
    try:
        dtype = np.dtype(said)
    except TypeError as error:
        raise InputError(
            f"{name}: `dtype` must be a numpy number such as '<f4', got {said!r}. Check the publisher."
        ) from error
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: `dtype` must be an integer or a float, got {said!r}. Send float32 as '<f4'.")
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)):
        raise InputError(f"{name}: `shape` must be [samples, channels], got {shape!r}. Check the publisher.")
    expected = shape[0] * shape[1] * dtype.itemsize
    if len(frames) != 2 or len(frames[1]) != expected or expected > _LARGEST_BLOCK_BYTES:
        got = f"{len(frames)} frames, {len(frames[-1])} bytes in the last"
        raise InputError(
            f"{name}: {shape} of {said} must be one frame of {expected} bytes, got {got}. Check the publisher."
        )
    return np.frombuffer(frames[1], dtype).reshape(shape)


class ZmqSink(Sink):
    """A publisher of one JSON frame a bin."""

    def __init__(self, address: str) -> None:
        self._socket = _socket("PUB", address, bind=True)
        self.address = self._socket.getsockopt_string(library().LAST_ENDPOINT)

    def write(self, row: Row) -> None:
        """Publish one bin."""
        self._socket.send_string(row.to_json())

    def close(self) -> None:
        """Tell subscribers that the stream is over."""
        self._socket.send_string('{"end": true}')
        self._socket.close()
