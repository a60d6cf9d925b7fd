"""Live samples in, decoded behaviour out: signal chain, causal network and readout, each with its state.

    decoder = StreamingDecoder(model, session_id)
    decoded = decoder.push(samples, times_s)      the bins that these samples complete, flagged where they need it

Samples may come in pieces of any size; the numbers are those of the same model run over the whole recording. Missing
and bad samples are handled by named policies, counted, and every bin that they touch carries a flag.
"""

import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from spikefield.artifact import Model
from spikefield.deploy.adaptation import KalmanSmoother, Smoothing
from spikefield.deploy.decoded import BAD_CHANNELS, BRIDGED, GOOD, REMEMBERS, WARMING_UP, Counters, Decoded
from spikefield.deploy.network import NetworkStream
from spikefield.deploy.readout import LinearReadout, chain_of_session, readout_of_session
from spikefield.deploy.repair import BadPolicy, ChannelRepair, features_of_channels
from spikefield.deploy.sample_times import SampleTimes
from spikefield.deploy.units import UnitCheck, check_source
from spikefield.errors import InputError
from spikefield.signals.chain import ChainStream

GapPolicy = Literal["bridge", "reset"]
_EDGE = 1e-6
_INVENTED = BRIDGED | BAD_CHANNELS
_PLACE = ("_index", "_n_lost", "_done_bin", "_next_bin", "_run_bins", "_tainted_until")


class StreamingDecoder:
    """A model that decodes one session's channels while they are recorded.

    Args:
        model: a causal student.
        session_id: the session whose channels, signal chain and space embedding are used.
        bad: what to put in the place of bad channels (`spikefield.deploy.repair`).
        on_gap: fill in missing samples up to `max_bridge_ms`, or start anew after each; longer gaps always start anew.
        max_bridge_ms: the longest gap that is filled in.
        readout_of: the session whose readout is used; by default the same.
        readout: one to use instead, such as one fitted at the rig.
        smoother: filters what is decoded, bin by bin; None leaves it as it is.

    Raises:
        InputError: the model is not causal or does not know the session, or there is no readout.
    """

    def __init__(
        self,
        model: Model,
        session_id: str,
        *,
        bad: BadPolicy | str = "interpolate",
        on_gap: GapPolicy | str = "bridge",
        max_bridge_ms: float = 50.0,
        readout_of: str | None = None,
        readout: LinearReadout | None = None,
        smoother: KalmanSmoother | None = None,
    ) -> None:
        if on_gap not in get_args(GapPolicy):
            raise InputError(
                f"`on_gap` must be one of {', '.join(get_args(GapPolicy))}, got {on_gap!r}. Choose one of them."
            )
        if not 0 <= max_bridge_ms < float("inf"):
            raise InputError(f"`max_bridge_ms` must be 0 or more, got {max_bridge_ms}. Give 0 to bridge no gap.")
        self._chain = chain_of_session(model, session_id)
        self.session_id = session_id
        self.channel_ids = self._chain.channel_ids
        self.n_channels = len(self.channel_ids)
        self.rate_hz, self.bin_width_ms = self._chain.clock.rate_hz, self._chain.clock.bin_width_ms
        learned, self.behavior_names = readout_of_session(model, readout_of or session_id)
        self.readout: LinearReadout = learned if readout is None else readout
        self._smoothing = Smoothing(smoother, longest_step_s=1.5 * self.bin_width_ms / 1000)
        self._network = NetworkStream(model.encoder, session_id, n_channels=len(self._chain.feature_names))
        reach = model.encoder.reach
        assert reach is not None
        filter_bins = int(np.ceil(self._chain.reach_s * 1000 / self.bin_width_ms))
        self._reach_bins, self._warm_bins = reach.past_bins + filter_bins, self._network.bins - 1
        self._filter_ahead_bins = 0 if self._chain.is_causal else filter_bins
        self._used = np.array([c not in self._chain.bad_channels for c in self.channel_ids])
        self._repair = ChannelRepair(bad, self._used)
        self._samples_a_bin = self.rate_hz * self.bin_width_ms / 1000
        self._most_bridged = int(max_bridge_ms / 1000 * self.rate_hz + _EDGE) if on_gap == "bridge" else 0
        self._times = SampleTimes(self.rate_hz, longest_jump_s=max(max_bridge_ms / 1000, 2 / self.rate_hz))
        self._units = UnitCheck(self._chain)
        self._features_of = features_of_channels(self._chain)
        self._stream: ChainStream | None = None
        self.counters = Counters()
        self.reset()

    def reset(self) -> None:
        """Forget everything but the counters and the bad channels; the next sample starts a new stream."""
        self._times.reset()
        self._repair.reset()
        self._index = 0
        self._n_lost, self._done_bin = 0, -1
        self._units.reset()
        self._smoothing.reset()
        self._start_anew()

    def push(
        self,
        samples: Float[np.ndarray, "sample channel"] | np.ndarray,
        times_s: Float[np.ndarray, " time"] | None = None,
    ) -> Decoded:
        """Take the next samples of all channels, in the model's order and units, and return the bins they complete.

        Args:
            samples: (sample, channel), in the units of the training; NaN = not measured.
            times_s: when each was taken, on any steady clock; without them no sample counts as missing.

        Raises:
            InputError: another number of channels, units or rate than in training, or times that cannot be.
        """
        start_s = time.perf_counter()
        rows = self._rows(samples)
        self._begin()
        self.counters.samples += len(rows)
        if times_s is None:
            self._times.skip(len(rows))
            self._take(rows)
        else:
            self._take_timed(rows, np.asarray(times_s, np.float64))
        decoded = self._decoded(start_s)
        self._units.raise_refusal()
        return decoded

    def flush(self) -> Decoded:
        """End the stream: return what waited for later samples. The next sample starts a new stream."""
        start_s = time.perf_counter()
        self._begin()
        self._end_run()
        decoded = self._decoded(start_s)
        self.reset()
        return decoded

    def set_bad_channels(self, bad: Sequence[str]) -> None:
        """Treat these channels as bad from the next sample on, by the policy, and all others as good.

        Raises:
            InputError: an unknown channel, or none left.
        """
        if unknown := [c for c in bad if c not in self.channel_ids]:
            raise InputError(
                f"`bad`: {unknown[0]!r} is not one of the model's channels: {', '.join(self.channel_ids)}. "
                "Name channels of the model."
            )
        marked = np.isin(self.channel_ids, list(bad))
        if not (self._used & ~marked).any():
            raise InputError("`bad` must leave at least one good channel, got all of them. Leave one out of the list.")
        self._repair.set_bad(marked)

    def check_source(self, *, channel_ids: Sequence[str] | None = None, rate_hz: float | None = None) -> None:
        """Compare what a source says of itself with what the model learned.

        Raises:
            InputError: other channels, another order, or another rate.
        """
        check_source(self._chain, channel_ids=channel_ids, rate_hz=rate_hz)

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that the stream remembers, as plain arrays for safetensors or numpy."""
        own = {
            "place": np.array([getattr(self, name) for name in _PLACE], np.int64),
            "counters": np.array([getattr(self.counters, f.name) for f in fields(Counters)], np.float64),
            "flags": np.array(sorted(self._flags.items()), np.int64).reshape(-1, 2),
            "waiting": np.array(self._waiting, np.int64).reshape(-1, 2),
            "masked": self._masked.copy(),
        }
        parts = {
            "times": self._times.state(),
            "units": self._units.state(),
            "repair": self._repair.state(),
            "network": self._network.state(),
            "smoothing": self._smoothing.state(),
        }
        if self._stream is not None:
            own["first_bin"] = np.array([self._first_index, self._first_bin])
            parts["chain"] = self._stream.state()
        return own | {f"{part}.{k}": v for part, values in parts.items() for k, v in values.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state` of a decoder of the same model, session and policies."""

        def part(name: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}

        self._start_anew()
        if "first_bin" in state:
            self._index = int(state["first_bin"][0])
            self._stream = self._new_stream()
            self._stream.restore(part("chain"))
        for name, value in zip(_PLACE, state["place"].tolist(), strict=True):
            setattr(self, name, value)
        for f, value in zip(fields(Counters), state["counters"].tolist(), strict=True):
            setattr(self.counters, f.name, type(f.default)(value))
        self._flags = dict(state["flags"].tolist())
        self._waiting = [(b, q) for b, q in state["waiting"].tolist()]
        self._masked = state["masked"].copy()
        self._times.restore(part("times"))
        self._units.restore(part("units"))
        self._repair.restore(part("repair"))
        self._network.restore(part("network"))
        self._smoothing.restore(part("smoothing"))

    def _begin(self) -> None:
        """Make room for what the next samples bring."""
        self._out: list[tuple[float, int, np.ndarray]] = []
        self._features: list[np.ndarray] = []

    def _rows(self, samples: np.ndarray) -> Float[np.ndarray, "sample channel"]:
        samples = np.asarray(samples)
        if samples.ndim != 2 or samples.shape[1] != self.n_channels:
            raise InputError(
                f"`samples` must be (sample, {self.n_channels} channels) as in session {self.session_id!r}, got shape "
                f"{samples.shape}. Choose and order the source's channels with `--channel-map`."
            )
        self._units.check_type(samples)
        return samples.astype(np.float64)

    def _take_timed(self, rows: np.ndarray, times_s: np.ndarray) -> None:
        if times_s.shape != (len(rows),):
            raise InputError(
                f"`times_s` must be one time a sample, got shape {times_s.shape} for {len(rows)} samples. "
                "Give one for each row of `samples`."
            )
        n_taken = 0
        for piece in self._times.cut(times_s):
            if piece.missing is None:
                self._interrupt()
            elif piece.missing:
                self._bridge(piece.missing, rows[piece.first])
            self._take(rows[piece.first : piece.end])
            n_taken += piece.end - piece.first
        self.counters.repeated_samples += len(rows) - n_taken
        self.counters.clock_jitter_ms = self._times.jitter_ms

    def _bridge(self, n_missing: int, following: np.ndarray) -> None:
        """Fill in samples that never came, or start anew."""
        self.counters.dropped_samples += n_missing
        if self._stream is None or n_missing + self._n_lost > self._most_bridged:
            self._interrupt()
            self._index += n_missing
            return
        last = self._repair.last
        share = np.arange(1, n_missing + 1)[:, None] / (n_missing + 1)
        step = np.where(np.isfinite(following), following - last, 0.0) * (self._repair.policy != "hold")
        self._fill(last + share * step)

    def _take(self, rows: np.ndarray) -> None:
        """Take rows that follow each other; those that hold nothing are bridged by the last ones before."""
        if not len(rows):
            return
        finite = np.isfinite(rows[:, self._used])
        if finite.all():
            self._n_lost = 0
            self._feed(rows, GOOD)
            return
        self.counters.bad_samples += int((~finite.all(axis=1)).sum())
        lost = self._repair.lost(rows)
        borders = np.flatnonzero(lost[1:] != lost[:-1]) + 1
        for piece in np.split(np.arange(len(rows)), borders):
            if lost[piece[0]]:
                self._lose(len(piece))
            else:
                self._n_lost = 0
                self._feed(rows[piece], GOOD)

    def _lose(self, n_samples: int) -> None:
        """Hold the last row for as long as may be bridged, then start anew."""
        bridged = 0 if self._stream is None else min(n_samples, max(self._most_bridged - self._n_lost, 0))
        if bridged:
            self._fill(np.repeat(self._repair.last[None], bridged, axis=0))
        if n_samples > bridged:
            self._interrupt()
        first, self._index = self._index, self._index + n_samples - bridged
        n_silent = int(self._index / self._samples_a_bin + _EDGE) - int(first / self._samples_a_bin + _EDGE)
        self._features += [np.full(len(self._chain.feature_names), np.nan)] * n_silent
        self._n_lost += n_samples

    def _fill(self, rows: np.ndarray) -> None:
        self.counters.bridged_ms += len(rows) / self.rate_hz * 1000
        self._feed(rows, BRIDGED)

    def _feed(self, rows: np.ndarray, flag: int) -> None:
        """Give rows to the chain, and the bins that come out to the network."""
        for repaired, bad in self._repair(rows):
            if self._stream is None:
                self._stream = self._new_stream()
            any_bad = bool(bad.any())
            if self._repair.policy == "mask":
                self._mask(self._stream, bad)
            if flag or any_bad:
                self._flag(len(repaired), flag | (BAD_CHANNELS if any_bad else 0))
            self._index += len(repaired)
            rows = self._stream.push(repaired)
            if any_bad and len(rows):
                self._features += list(np.where(bad @ self._features_of, np.nan, rows))
            else:
                self._features += list(rows if flag == GOOD else np.full_like(rows, np.nan))
            self._run(rows)

    def _mask(self, stream: ChainStream, bad: Bool[np.ndarray, " channel"]) -> None:
        """Tell the chain which channels are absent from here on."""
        if not np.array_equal(bad, self._masked):
            stream.set_bad_channels([c for c, absent in zip(self.channel_ids, bad, strict=True) if absent])
            self._masked = bad.copy()

    def _flag(self, n_samples: int, flag: int) -> None:
        """Remember a flag for all bins that the next samples touch."""
        first = int(np.floor(self._index / self._samples_a_bin + _EDGE))
        end = int(np.ceil((self._index + n_samples) / self._samples_a_bin - _EDGE))
        for bin_index in range(first, end):
            self._flags[bin_index] = self._flags.get(bin_index, 0) | flag
        for bin_index in range(max(first - self._filter_ahead_bins, self._next_bin), first):
            self._flags[bin_index] = self._flags.get(bin_index, 0) | REMEMBERS

    def _run(self, features: Float[np.ndarray, "bin feature"]) -> None:
        for row in features:
            bin_index, self._next_bin = self._next_bin, self._next_bin + 1
            flag = self._flags.pop(bin_index, 0) if self._flags else 0
            if bin_index <= self._done_bin:  # half of it came before a gap and has been decoded
                continue
            absent = np.isnan(row)
            if absent.any():
                if absent.all():  # less than half of the bin was measured
                    self._finish_network()
                    self._network.reset()
                    self._run_bins = 0
                    continue
                row = np.where(absent, 0.0, row)
            if not self._units.done:
                self._units.add(row)
            quality = flag | (WARMING_UP if self._run_bins < self._warm_bins else 0)
            if flag & _INVENTED:
                self._tainted_until = bin_index + self._reach_bins
                self._waiting = [(b, q if q & _INVENTED else q | REMEMBERS) for b, q in self._waiting]
            elif bin_index <= self._tainted_until:
                quality |= REMEMBERS
            self._run_bins += 1
            self._done_bin = bin_index
            self._waiting.append((bin_index, quality))
            z = self._network.step(row)
            if z is not None:
                self._emit(z)

    def _emit(self, z: np.ndarray) -> None:
        bin_index, quality = self._waiting.pop(0)
        self._out.append((self._times.time_s((bin_index + 0.5) * self._samples_a_bin), quality, z))

    def _finish_network(self) -> None:
        for z in self._network.finish():
            self._emit(z)

    def _end_run(self) -> None:
        """Let out what chain and network still hold."""
        if self._stream is not None:
            self._run(self._stream.flush())
        self._finish_network()

    def _interrupt(self) -> None:
        """End the run; the next sample starts another."""
        if self._stream is not None:
            self._end_run()
            self.counters.resets += 1
            self._start_anew()

    def _start_anew(self) -> None:
        self._stream = None
        self._network.reset()
        self._flags: dict[int, int] = {}
        self._waiting: list[tuple[int, int]] = []
        self._masked = np.zeros(self.n_channels, bool)
        self._run_bins, self._next_bin, self._tainted_until = 0, 0, -1

    def _new_stream(self) -> ChainStream:
        """Return a chain whose first sample is the one with the present index; the bins stay on their grid."""
        first_bin = int(np.floor(self._index / self._samples_a_bin + _EDGE))
        self._first_index, self._first_bin, self._next_bin = self._index, first_bin, first_bin
        return self._chain.with_clock(
            rate_hz=self.rate_hz,
            start_s=self._index / self.rate_hz,
            grid_start_s=first_bin * self.bin_width_ms / 1000,
        ).stream()

    def _decoded(self, start_s: float) -> Decoded:
        z = np.array([z for _, _, z in self._out], np.float32).reshape(-1, self._network.dim)
        times_s = np.array([t for t, _, _ in self._out], np.float64)
        values = self._smoothing.push(times_s, self.readout.predict(z))
        n_bins, latency_ms = len(z), (time.perf_counter() - start_s) * 1000
        self.counters.bins += n_bins
        if latency_ms > self.bin_width_ms * max(n_bins, 1):
            self.counters.late_bins += n_bins
        return Decoded(
            bin_time_s=times_s,
            values=values,
            quality=np.array([q for _, q, _ in self._out], np.uint8),
            latency_ms=latency_ms,
            z=z,
            features=np.array(self._features, np.float64).reshape(-1, len(self._chain.feature_names)),
        )
