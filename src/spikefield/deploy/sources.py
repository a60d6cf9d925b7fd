"""Where live samples come from: a replayed recording here, Lab Streaming Layer and ZeroMQ in modules of their own.

A source hands over what has come since it was last asked, with the time of every sample; the decoder finds gaps and
jitter in these times. Samples that piled up beyond a second are skipped, oldest first, and counted.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch_brain.data import Data

from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.recordings.raw import SeriesChoice
from spikefield.recordings.readers import find_reader

SourceKind = Literal["file", "lsl", "zmq"]
BACKLOG_S = 1.0
_CHUNK_S = 0.01


@dataclass(frozen=True, eq=False)
class Block:
    """Samples (sample, channel) that came together, in the source's unit.

    `times_s` is on the source's own clock; `due_s` is when the last sample came, on `time.perf_counter`.
    `skipped` counts the samples before these that had piled up and were left out.
    """

    samples: Float[np.ndarray, "sample channel"]
    times_s: Float[np.ndarray, " sample"]
    due_s: float
    skipped: int = 0


@dataclass(frozen=True, eq=False)
class Truth:
    """Behaviour (sample, dim) that a replayed session knows; circular dims are cosine and sine, as in training."""

    names: tuple[str, ...]
    times_s: Float[np.ndarray, " sample"]
    values: Float[np.ndarray, "sample dim"]

    def at(self, bin_time_s: Float[np.ndarray, " bin"]) -> Float[np.ndarray, "bin dim"]:
        """Return behaviour (bin, dim) at some times, interpolated; NaN outside what was measured."""
        before = np.clip(np.searchsorted(self.times_s, bin_time_s, "right") - 1, 0, max(len(self.times_s) - 2, 0))
        after = np.minimum(before + 1, len(self.times_s) - 1)
        step_s = np.maximum(self.times_s[after] - self.times_s[before], 1e-9)
        share = ((bin_time_s - self.times_s[before]) / step_s)[:, None]
        found = (1 - share) * self.values[before] + share * self.values[after]
        return np.where((share >= 0) & (share <= 1), found, np.nan)


class Source(ABC):
    """A stream of samples.

    `channel_ids` is None where the source does not name its channels. `ended` is True once nothing more can come.
    """

    name: str
    rate_hz: float
    n_channels: int
    channel_ids: tuple[str, ...] | None = None
    is_replay: bool = False
    ended: bool = False
    truth: Truth | None = None

    @abstractmethod
    def read(self, *, timeout_s: float) -> Block | None:
        """Return all that has come, waiting at most `timeout_s` for a first sample; None if nothing came.

        Raises:
            InputError: what came is not what the source announced.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of files and sockets."""


class FileSource(Source):
    """A recording, replayed at `speed` times its own rate (0: as fast as it is read). Nothing is skipped."""

    is_replay = True

    def __init__(self, session: Data, *, speed: float = 1.0) -> None:
        if not 0 <= speed < math.inf:
            raise InputError(
                f"`speed` must be 0 or more, got {speed}. Give 1 for true speed, 0 for as fast as it is decoded."
            )
        if not layout.has_lfp(session):
            raise InputError(f"session {session.session.id!r} holds no field potential to replay. Choose another file.")
        self.name = str(session.session.id)
        self.session_id = self.name
        self.channel_ids = tuple(np.asarray(session.channels.id).astype(str).tolist())
        self.n_channels = len(self.channel_ids)
        self.rate_hz = float(session.lfp.sampling_rate)
        self.truth = _truth(session)
        self._lfp = np.asarray(session.lfp.signal)
        self._first_s = float(np.asarray(session.lfp.domain.start)[0])
        self._chunk = max(round(self.rate_hz * _CHUNK_S), 1)
        self._speed = speed
        self._next = 0
        self._began_s: float | None = None

    def read(self, *, timeout_s: float) -> Block | None:
        """Return the samples that are due; at speed 0, the next 10 ms."""
        if self._began_s is None:
            self._began_s = time.perf_counter()
        end = self._due(timeout_s)
        if end <= self._next:
            return None
        index = np.arange(self._next, end)
        now = time.perf_counter()
        due_s = now if not self._speed else self._began_s + end / (self.rate_hz * self._speed)
        block = Block(self._lfp[self._next : end], self._first_s + index / self.rate_hz, min(due_s, now))
        self._next = end
        self.ended = end >= len(self._lfp)
        return block

    def _due(self, timeout_s: float) -> int:
        """Return the end of the samples that are due, waiting for the next chunk."""
        wanted = min(self._next + self._chunk, len(self._lfp))
        if not self._speed:
            return wanted
        assert self._began_s is not None
        samples_a_second = self.rate_hz * self._speed
        wait_s = self._began_s + wanted / samples_a_second - time.perf_counter()
        if wait_s > 0:
            time.sleep(min(wait_s, timeout_s))
        due = int((time.perf_counter() - self._began_s) * samples_a_second + 1e-6)
        return min(due - due % self._chunk if due < len(self._lfp) else due, len(self._lfp))


def open_file(path: Path, *, speed: float = 1.0) -> FileSource:
    """Open a prepared session or a raw recording for replay.

    Raises:
        InputError: neither, or a raw recording of broadband, which has to be prepared first.
    """
    return FileSource(_session(path), speed=speed)


def _session(path: Path) -> Data:
    try:
        return layout.load(path)
    except InputError:
        if not path.is_file():
            raise
    raw = next(iter(find_reader(path).read(path, SeriesChoice())), None)
    if raw is None or raw.broadband:
        raise InputError(f"{path}: holds broadband, not a field potential. Run `spikefield prepare` on it first.")
    return raw.build()


def _truth(session: Data) -> Truth | None:
    """Return measured behaviour; a moment at which a dim was not measured is left out."""
    if not layout.has_behavior(session):
        return None
    values, names = layout.behavior_columns(session)
    measured = np.isfinite(values).all(axis=1)
    if not measured.any():
        return None
    return Truth(names, layout.timestamps_s(session.behavior)[measured], values[measured])


def newest(block: Block, *, rate_hz: float) -> Block:
    """Return the newest second of a block; what had piled up before it is counted as skipped."""
    most = max(round(BACKLOG_S * rate_hz), 1)
    if (extra := len(block.samples) - most) <= 0:
        return block
    return Block(block.samples[extra:], block.times_s[extra:], block.due_s, block.skipped + extra)


def open_source(kind: SourceKind, place: str, *, speed: float = 1.0) -> Source:
    """Open a source by its kind and where it is: a file, the name of an LSL stream, or the address of a socket.

    Raises:
        InputError: nothing there, or a package is missing; the message names the extra.
    """
    return _OPENERS[kind](place, speed)


def _open_lsl(place: str, _: float) -> Source:
    from spikefield.deploy.lsl import LslSource

    return LslSource(place)


def _open_zmq(place: str, _: float) -> Source:
    from spikefield.deploy.zeromq import ZmqSource

    return ZmqSource(place)


_OPENERS: dict[str, Callable[[str, float], Source]] = {
    "file": lambda place, speed: open_file(Path(place), speed=speed),
    "lsl": _open_lsl,
    "zmq": _open_zmq,
}
