"""Broadband becomes a field potential of about 1 kHz and, where nobody sorted, threshold crossings, chunk by chunk."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from spikefield.errors import InputError
from spikefield.recordings.raw import Broadband
from spikefield.signals.extraction import LfpExtractor
from spikefield.signals.sample_clock import SampleClock
from spikefield.signals.spikes import ThresholdConfig, detect_spikes, estimate_noise

LFP_RATE_HZ = 1000.0
_CHUNK_SAMPLES = 1 << 15
_FEWEST_LEVELS = 32


@dataclass(frozen=True)
class Extracted:
    """Arguments for `from_arrays`, where they hold (stretch, 2), and what was seen of the converter's limits."""

    arrays: dict[str, Any]
    intervals_s: Float[np.ndarray, "stretch 2"]
    clipped: dict[str, float]
    live: Bool[np.ndarray, " channel"]


def extract(stretches: Sequence[Broadband], scratch: Path) -> Extracted:
    """Return the field potential of stretches in order of time; it lies in the file `scratch`, not in memory.

    Raises:
        InputError: the stretches differ in their channels, or a file is damaged.
    """
    clock = clock_of(stretches)
    extractor = LfpExtractor(clock, to_hz=min(LFP_RATE_HZ, clock.rate_hz))
    limits = _Limits()
    lfp = _on_disk(scratch, (extractor.n_samples, len(stretches[0].channel_ids)))
    given = 0
    for chunk in _chunks(stretches):
        limits.see(chunk)
        rows = extractor.push(chunk)
        lfp[given : given + len(rows)] = rows * stretches[0].conversion_v.astype(np.float32)
        given += len(rows)
    extractor.flush()
    arrays = {
        "lfp": np.asarray(lfp),
        "lfp_rate_hz": extractor.rate_hz,
        "lfp_start_s": extractor.start_s,
        "channel_ids": stretches[0].channel_ids,
        "channel_positions_um": stretches[0].positions_um,
    }
    clipped = {n: float(s) for n, s in zip(stretches[0].channel_ids, limits.share(), strict=True) if s > 0}
    return Extracted(arrays, _sampled_s(clock, extractor), clipped, limits.live())


def crossings(stretches: Sequence[Broadband], live: Bool[np.ndarray, " channel"]) -> dict[str, Any]:
    """Return threshold crossings where `live` (channel,) as arguments for `from_arrays`; the files are read twice.

    Raises:
        InputError: the broadband is too slow to hold spikes.
    """
    clock, config = clock_of(stretches), ThresholdConfig()
    upright = np.sign(stretches[0].conversion_v[live])
    blocks = lambda: (chunk[:, live] * upright for chunk in _chunks(stretches))  # noqa: E731
    noise = estimate_noise(blocks(), clock, config=config)
    times_s, channel = detect_spikes(blocks(), clock, noise=noise, config=config)
    ids = [name for name, kept in zip(stretches[0].channel_ids, live, strict=True) if kept]
    return {"spike_times": times_s, "spike_units": channel, "unit_ids": [f"{name}/crossings" for name in ids]}


def clock_of(stretches: Sequence[Broadband]) -> SampleClock:
    """Return one clock for all stretches, each at the regular sample nearest to its start.

    Raises:
        InputError: the stretches differ in their channels or overlap.
    """
    head = stretches[0]
    for stretch in stretches:
        if stretch.channel_ids != head.channel_ids:
            raise InputError(f"{stretch.name}: its channels differ from those before. Prepare the parts one by one.")
    try:
        return SampleClock.of_stretches(
            rate_hz=head.rate_hz,
            starts_s=[stretch.start_s for stretch in stretches],
            n_samples=[stretch.n_samples for stretch in stretches],
        )
    except InputError as error:
        raise InputError(f"{head.name}: {error}") from error


def _on_disk(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return an array in a file whose room on disk is reserved: a full disk must raise here, not kill a write later."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])
    return np.memmap(path, np.float32, "r+" if path.stat().st_size else "w+", shape=shape)


def _chunks(stretches: Sequence[Broadband]) -> Iterator[np.ndarray]:
    for stretch in stretches:
        yield from stretch.chunks(_CHUNK_SAMPLES)


def _sampled_s(clock: SampleClock, extractor: LfpExtractor) -> Float[np.ndarray, "stretch 2"]:
    """Return where the field potential has samples: from the first to after the last of every run."""
    factor = round(clock.rate_hz / extractor.rate_hz)
    edges = [(-(-r.first_index // factor), -(-(r.first_index + r.n_samples) // factor)) for r in clock.runs]
    inside = np.array([edge for edge in edges if edge[1] > edge[0]], np.float64)
    return extractor.start_s + inside / extractor.rate_hz


@dataclass
class _Limits:
    """Counts, a channel, the samples at its highest and lowest value, in one pass."""

    samples: int = 0
    tops: list[np.ndarray] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)

    def see(self, chunk: np.ndarray) -> None:
        for side, values in enumerate((chunk.max(axis=0), chunk.min(axis=0))):
            if len(self.tops) <= side:
                self.tops.append(values)
                self.counts.append(np.zeros(chunk.shape[1], int))
            beyond = values > self.tops[side] if side == 0 else values < self.tops[side]
            self.tops[side] = np.where(beyond, values, self.tops[side])
            self.counts[side][beyond] = 0
            reached = np.flatnonzero(values == self.tops[side])
            self.counts[side][reached] += (chunk[:, reached] == values[reached]).sum(axis=0)
        self.samples += len(chunk)

    def share(self) -> Float[np.ndarray, " channel"]:
        """Return the share of samples at the limits; 0 where they were reached twice at most, or levels are few."""
        count = np.maximum(*self.counts)
        levels = self.tops[0].astype(np.float64) - self.tops[1]
        coarse = (levels < _FEWEST_LEVELS) & (self.tops[0].dtype.kind == "i")
        return np.where((count > 2) & self.live() & ~coarse, count / max(self.samples, 1), 0.0)

    def live(self) -> Bool[np.ndarray, " channel"]:
        """Mark channels that move at all."""
        return self.tops[0] > self.tops[1]
