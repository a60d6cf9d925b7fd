"""The loop at the rig: samples from a source through the decoder to a sink, on time, with every loss counted and said.

One thread reads, decodes and hands over; the sink writes in another. What goes wrong becomes an event, told in one
line when it begins; then the loop goes on or ends, as configured.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from spikefield.deploy.channel_map import ChannelMap
from spikefield.deploy.decoded import Decoded
from spikefield.deploy.sinks import Row, Writer
from spikefield.deploy.sources import Block, Source
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.deploy.watch import Latency, Score, SignalWatch
from spikefield.errors import InputError

log = logging.getLogger("spikefield")

TroublePolicy = Literal["continue", "end"]
_READ_S = 0.1
_TELL_EVERY_S = 0.5
_MOST_EVENTS = 1000


@dataclass(frozen=True)
class LiveConfig:
    """What to do when the source stalls for `stall_s` or floods, or when the sink blocks."""

    on_trouble: TroublePolicy | str = "continue"
    stall_s: float = 2.0

    def __post_init__(self) -> None:
        if self.on_trouble not in get_args(TroublePolicy):
            raise InputError(
                f"`on_trouble` must be one of {', '.join(get_args(TroublePolicy))}, got {self.on_trouble!r}. "
                "Choose one of them."
            )
        if not self.stall_s > 0:
            raise InputError(
                f"`stall_s` must be a positive number of seconds, got {self.stall_s}. Leave it out for the default."
            )


@dataclass(frozen=True)
class Event:
    """Something that went wrong, `seconds` after the start."""

    seconds: float
    what: str


@dataclass
class Status:
    """Where a stream stands: for the view while it runs, and for its record."""

    names: tuple[str, ...]
    seconds: float = 0.0
    bins: int = 0
    flagged_bins: int = 0
    skipped_samples: int = 0
    sink_dropped_bins: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    signal: dict[str, Any] = field(default_factory=dict)
    r2: dict[str, float] = field(default_factory=dict)
    recent_r2: dict[str, float] = field(default_factory=dict)
    decoded: dict[str, float] = field(default_factory=dict)
    true: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    stalled: bool = False
    ended: str = "running"


class Live:
    """One run. `writers` get every bin; `tell` gets the status twice a second, when there is time for it."""

    def __init__(
        self,
        decoder: StreamingDecoder,
        source: Source,
        channels: ChannelMap,
        *,
        writers: tuple[Writer, ...],
        config: LiveConfig,
        watch: SignalWatch,
        score: Score | None = None,
        tell: Callable[[Status], None] | None = None,
    ) -> None:
        self._decoder, self._source, self._channels, self._writers = decoder, source, channels, writers
        self._config, self._watch, self._score, self._tell = config, watch, score, tell
        self._latency = Latency()
        self._began_s = self._heard_s = self._told_s = time.perf_counter()
        self._drop_told: set[int] = set()
        self._flooded = False
        self._stop = False
        self.status = Status(names=decoder.behavior_names)

    def run(self) -> Status:
        """Decode until the source ends, an interrupt comes, or trouble that shall end it.

        Raises:
            InputError: the trouble; `status` is complete.
        """
        self._began_s = self._heard_s = time.perf_counter()
        try:
            with self._interrupts():
                self._loop()
            self._emit(self._decoder.flush(), time.perf_counter())
            self.status.ended = "stopped" if self._stop else "source ended"
        except InputError as error:
            self.status.ended = str(error)
            raise
        finally:
            for writer in self._writers:
                writer.close()
            self._refresh()
        self._check_sinks(may_end=False)
        return self.status

    def _loop(self) -> None:
        while not self._source.ended and not self._stop:
            block = self._source.read(timeout_s=min(_READ_S, self._config.stall_s))
            if block is not None:
                self._heard(block)
                samples = self._channels.apply(block.samples)
                self._emit(self._decoder.push(samples, block.times_s), block.due_s)
            else:
                self._check_stall()
            self._check_sinks(may_end=True)
            if self._tell and time.perf_counter() - self._told_s > _TELL_EVERY_S:
                self._refresh()
                self._tell(self.status)

    def _heard(self, block: Block) -> None:
        self._heard_s = time.perf_counter()
        if self.status.stalled:
            self.status.stalled = False
            log.info("%s: samples come again", self._source.name)
        if block.skipped:
            self.status.skipped_samples += block.skipped
            if not self._flooded:
                self._trouble(
                    f"{self._source.name}: samples must come no faster than they are decoded, but pile up: the oldest "
                    "are skipped. Leave a core to the decoder, or use a smaller model."
                )
        self._flooded = block.skipped > 0

    def _check_stall(self) -> None:
        if not self.status.stalled and time.perf_counter() - self._heard_s > self._config.stall_s:
            self.status.stalled = True
            self._trouble(f"{self._source.name}: no sample for {self._config.stall_s:g} s. Check that it still sends.")

    def _check_sinks(self, *, may_end: bool) -> None:
        """A sink that failed ends the run: nothing would leave it any more. One that blocks is trouble."""
        for i, writer in enumerate(self._writers):
            if writer.error is not None:
                raise writer.error
            if writer.dropped and i not in self._drop_told:
                self._drop_told.add(i)
                self._trouble(
                    "`sink`: must take bins as fast as they are decoded, but is slower: the oldest waiting ones are "
                    "dropped. Check what reads from it, or use another.",
                    may_end=may_end,
                )

    def _trouble(self, text: str, *, may_end: bool = True) -> None:
        if len(self.status.events) < _MOST_EVENTS:
            self.status.events.append(Event(round(time.perf_counter() - self._began_s, 3), text))
        if may_end and self._config.on_trouble == "end":
            raise InputError(text)
        log.warning("%s", text)

    def _emit(self, decoded: Decoded, due_s: float) -> None:
        """Hand the bins over, and only then look at them."""
        if not len(decoded):
            self._watch.push(decoded.features)
            return
        latency_ms = (time.perf_counter() - due_s) * 1000
        status = self.status
        for i, (time_s, quality) in enumerate(zip(decoded.bin_time_s.tolist(), decoded.quality.tolist(), strict=True)):
            values = tuple(decoded.values[i].tolist())
            row = Row(status.bins + i, time_s, status.names, values, quality, latency_ms)
            for writer in self._writers:
                writer.put(row)
        status.bins += len(decoded)
        status.flagged_bins += int((decoded.quality > 0).sum())
        status.decoded = dict(zip(status.names, decoded.values[-1].tolist(), strict=True))
        self._latency.add(latency_ms, n_bins=len(decoded))
        self._watch.push(decoded.features)
        if self._score:
            self._score.add(decoded.bin_time_s, np.asarray(decoded.values, np.float64))

    def _refresh(self) -> None:
        """Bring the status up to date."""
        status, latency = self.status, self._latency
        self._told_s = time.perf_counter()
        status.seconds = round(self._told_s - self._began_s, 3)
        status.sink_dropped_bins = sum(writer.dropped for writer in self._writers)
        percentiles = {f"p{p}": round(latency.percentile_ms(float(p)), 3) for p in (50, 99)}
        status.latency_ms = percentiles | {"max": round(latency.max_ms, 3)}
        status.counters = asdict(self._decoder.counters)
        status.signal = asdict(self._watch.quality())
        if self._score:
            status.r2, status.recent_r2 = self._score.r2(), self._score.recent_r2()
            status.true = dict(zip(self._score.names, self._score.last_true.tolist(), strict=True))

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Let the first interrupt or request to end finish the run in order; a second interrupt is the usual one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(*_: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        before = {which: signal.signal(which, stop) for which in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)
