"""What the checks look at: the streams of a prepared session as plain arrays; the field potential stays on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float
from torch_brain.data import Data

from spikefield.preparation.field_statistics import FieldStatistics, measure
from spikefield.recordings import session as layout

_PIECE_S = 4.0
_LEAST_PIECE_SAMPLES = 64
_MOST_PIECES = 32
_BLOCK_SAMPLES = 1 << 15
_TOUCHING_S = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Spikes:
    """Spikes as times and units (spike,), or as counts (bin, unit) on a grid from `start_s`; the other is None."""

    unit_ids: tuple[str, ...]
    times_s: np.ndarray | None = None
    unit_index: np.ndarray | None = None
    counts: np.ndarray | None = None
    bin_width_s: float = 0.0
    start_s: float = 0.0

    def events(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return time, unit and number of spikes, (event,) each; counts stand in the middle of their bin."""
        if self.times_s is not None and self.unit_index is not None:
            return self.times_s, self.unit_index, np.ones(len(self.times_s))
        assert self.counts is not None
        bins, units = np.nonzero(self.counts)
        return self.start_s + (bins + 0.5) * self.bin_width_s, units, self.counts[bins, units].astype(np.float64)

    def train_s(self, unit: int) -> Float[np.ndarray, " spikes"]:
        """Return the spike times (spikes,) of one unit in seconds; only where spikes are times."""
        assert self.times_s is not None
        assert self.unit_index is not None
        return self.times_s[self.unit_index == unit]


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """The field potential: (sample, channel) on disk or in memory, and the stretches of them that lie in valid time."""

    signal: np.ndarray | h5py.Dataset
    rate_hz: float
    start_s: float
    channel_ids: tuple[str, ...]
    positions_um: np.ndarray | None
    stretches: tuple[tuple[int, int], ...]

    @cached_property
    def pieces(self) -> Float[np.ndarray, "piece sample channel"]:
        """At most 32 equal pieces (piece, sample, channel), of 4 s where stretches allow, spread over valid time."""
        longest = max((stop - first for first, stop in self.stretches), default=0)
        n = min(max(round(_PIECE_S * self.rate_hz), _LEAST_PIECE_SAMPLES), longest)
        if n < 2:
            return np.empty((0, 0, len(self.channel_ids)), np.float32)
        starts = np.array([s for first, stop in self.stretches for s in range(first, stop - n + 1, n)])
        chosen = np.linspace(0, len(starts) - 1, min(len(starts), _MOST_PIECES)).round().astype(int)
        return np.stack([np.asarray(self.signal[s : s + n], np.float32) for s in starts[chosen]])

    @cached_property
    def statistics(self) -> FieldStatistics:
        """What the pieces have in common; only where there are any."""
        return measure(self.pieces, self.rate_hz)

    def blocks(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield all of valid time: the time of a block's first sample and its (samples, channels)."""
        for first, stop in self.stretches:
            for start in range(first, stop, _BLOCK_SAMPLES):
                block = self.signal[start : min(start + _BLOCK_SAMPLES, stop)]
                yield self.start_s + start / self.rate_hz, np.asarray(block, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Behavior:
    """Behaviour (sample, dim) in its own unit: one row a time stamp."""

    values: Float[np.ndarray, "sample dim"]
    times_s: Float[np.ndarray, " sample"]
    step_s: float
    names: tuple[str, ...]
    periods: Float[np.ndarray, " dim"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """A prepared session as the checks see it; valid time and trials are (interval, 2) and (trial, 2)."""

    session_id: str
    subject_id: str
    intervals_s: Float[np.ndarray, "interval 2"]
    trials_s: Float[np.ndarray, "trial 2"] | None
    spikes: Spikes | None
    field: Field | None
    behavior: Behavior | None
    provenance: dict[str, Any]

    @property
    def valid_s(self) -> float:
        """Seconds of valid time, gaps left out."""
        return float(np.sum(self.intervals_s[:, 1] - self.intervals_s[:, 0]))

    @property
    def gaps_s(self) -> list[tuple[float, float]]:
        """Start and end of what lies between stretches; stretches that touch leave none."""
        between = zip(self.intervals_s[:-1, 1].tolist(), self.intervals_s[1:, 0].tolist(), strict=True)
        return [(end, start) for end, start in between if start - end > _TOUCHING_S]

    def inside(self, times_s: Float[np.ndarray, " time"]) -> Bool[np.ndarray, " time"]:
        """Return (time,), for each time whether it is valid."""
        index = np.searchsorted(self.intervals_s[:, 0], times_s, side="right") - 1
        return (index >= 0) & (times_s < self.intervals_s[np.clip(index, 0, None), 1])

    def elapsed_s(self, times_s: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """Return how much valid time in seconds has passed at each time (time,)."""
        lengths = self.intervals_s[:, 1] - self.intervals_s[:, 0]
        passed = np.concatenate([[0.0], np.cumsum(lengths)])
        return np.interp(times_s, self.intervals_s.ravel(), np.column_stack([passed[:-1], passed[1:]]).ravel())


def read_contents(session: Data) -> Contents:
    """Take a prepared session apart; spikes and behaviour are read, the field potential is not."""
    intervals_s = np.column_stack(layout.valid_intervals_s(session)).astype(np.float64)
    trials = np.column_stack([session.trials.start, session.trials.end]) if "trials" in session else None
    return Contents(
        session_id=str(session.session.id),
        subject_id=str(session.subject.id),
        intervals_s=intervals_s,
        trials_s=trials,
        spikes=_spikes(session) if layout.has_spikes(session) else None,
        field=_field(session, intervals_s) if layout.has_lfp(session) else None,
        behavior=_behavior(session) if layout.has_behavior(session) else None,
        provenance=layout.provenance(session),
    )


def _spikes(session: Data) -> Spikes:
    ids = tuple(map(str, session.units.id))
    if "spikes" in session:
        times, units = np.asarray(session.spikes.timestamps), np.asarray(session.spikes.unit_index)
        return Spikes(unit_ids=ids, times_s=times, unit_index=units)
    series = session.spike_counts
    start_s = float(np.asarray(series.domain.start)[0])
    return Spikes(
        unit_ids=ids, counts=np.asarray(series.counts), bin_width_s=1 / float(series.sampling_rate), start_s=start_s
    )


def _field(session: Data, intervals_s: np.ndarray) -> Field:
    signal = session.lfp.__dict__["signal"]  # torch_brain's documented way to an array that is not to be loaded
    rate_hz, start_s = float(session.lfp.sampling_rate), float(np.asarray(session.lfp.domain.start)[0])
    table = session.channels
    places = np.column_stack([table.x_um, table.y_um]) if "x_um" in table.keys() else None  # noqa: SIM118
    edges = np.ceil((intervals_s - start_s) * rate_hz - 0.5 - 1e-6).astype(int).clip(0, len(signal))
    return Field(
        signal=signal,
        rate_hz=rate_hz,
        start_s=start_s,
        channel_ids=tuple(map(str, table.id)),
        positions_um=places,
        stretches=tuple((int(a), int(b)) for a, b in edges if b > a),
    )


def _behavior(session: Data) -> Behavior:
    values, times = np.asarray(session.behavior.values, np.float64), layout.timestamps_s(session.behavior)
    dims = session.behavior_dims
    return Behavior(
        values=values.reshape(len(times), -1),
        times_s=times.astype(np.float64),
        step_s=float(np.median(np.diff(times))) if len(times) > 1 else 1.0,
        names=tuple(map(str, dims.name)),
        periods=np.asarray(dims.period, np.float64),
    )
