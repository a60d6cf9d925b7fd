"""Put a prepared session on one grid of bins: spike counts, field potential and behaviour side by side.

Recordings lie above (`recordings`, cleaned by `signals`); windows and batches are cut from what this module returns.
The split comes first, because every statistic below (unit rates, channel means) is fitted on training time only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch_brain.data import Data

from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.signals import binning
from spikefield.signals.chain import FittedChain, fit_chain
from spikefield.signals.chain_config import ChainConfig, chain_of
from spikefield.windows.splits import Split, SplitConfig, blocked_split, runs, shuffled_split


@dataclass(frozen=True)
class BinningConfig:
    """How sessions become bins. `None` follows the recordings: see `choose_bin_width_ms`.

    `chain` names a preset of the signal chain, or holds the steps of one's own (`ChainConfig.from_dict`).
    """

    bin_width_ms: float | None = None
    min_unit_rate_hz: float = 0.0
    chain: str | dict[str, Any] = "bins"
    split: SplitConfig = field(default_factory=SplitConfig)

    def __post_init__(self) -> None:
        if self.bin_width_ms is not None and not 2 <= self.bin_width_ms <= 100:
            raise InputError(
                f"`bin_width_ms` must be 2 to 100 ms, got {self.bin_width_ms}. Leave it out to follow the recordings."
            )
        chain_of(self.chain)
        if self.min_unit_rate_hz < 0:
            raise InputError(
                f"`min_unit_rate_hz` must be 0 or more, got {self.min_unit_rate_hz}. "
                "Give 0 to keep every unit that fires."
            )


@dataclass(frozen=True, eq=False)
class BinnedSession:
    """One session on its grid: (bin, unit), (bin, channel), (bin, dim); absent modalities are None.

    `segment` is -1 in gaps; nothing may cross its borders. Behaviour is in its own unit.
    """

    session_id: str
    subject_id: str
    bin_width_ms: float
    start_s: float
    segment: Int[np.ndarray, "bin"]
    split: Split
    counts: Int[np.ndarray, "bin unit"] | None
    lfp: Float[np.ndarray, "bin channel"] | None
    behavior: Float[np.ndarray, "bin dim"] | None
    unit_ids: tuple[str, ...]
    channel_ids: tuple[str, ...]
    behavior_names: tuple[str, ...]
    chain: FittedChain | None
    has_trials: bool

    @property
    def n_bins(self) -> int:
        """Number of bins of the grid, gaps included."""
        return len(self.segment)

    @property
    def time_s(self) -> Float[np.ndarray, "bin"]:
        """Centre of every bin (bin,) in seconds."""
        return self.start_s + (np.arange(self.n_bins) + 0.5) * self.bin_width_ms / 1000

    def require(self, modality: str) -> Float[np.ndarray, "bin channel"] | Int[np.ndarray, "bin unit"]:
        """Return the binned 'spikes' (bin, unit), 'lfp' (bin, channel) or 'behavior' (bin, dim).

        Raises:
            InputError: the session does not hold it.
        """
        found = {"spikes": self.counts, "lfp": self.lfp, "behavior": self.behavior}.get(modality)
        if found is None:
            raise InputError(
                f"session {self.session_id!r} has no {modality}, which this stage needs. "
                "Leave the session out of this stage, or prepare it with that stream."
            )
        return found

    def stretches(self, kind: str) -> list[tuple[int, int]]:
        """Return the [start, end) bins of every unbroken stretch of 'train', 'valid' or 'test' time."""
        return runs(self.split.kind(kind), self.segment)


def choose_bin_width_ms(
    sessions: Sequence[Data], *, preferred_ms: float, asked_ms: float | None = None
) -> tuple[float, str]:
    """Return one bin width for all sessions, and a line that says why.

    Counts that come on a grid keep it, and a field potential slower than the bins sets its own rate, unless the width
    that was asked for is a whole number of those bins.

    Raises:
        InputError: two sessions come on different grids.
    """
    wanted_ms = preferred_ms if asked_ms is None else asked_ms
    fixed: dict[float, str] = {}
    for session in sessions:
        for name in ("spike_counts", "lfp"):
            if name not in session:
                continue
            width = 1000 / float(getattr(session, name).sampling_rate)
            if name == "spike_counts" or width > wanted_ms:
                fixed.setdefault(round(width, 6), f"{name} of {session.session.id}")
    if not fixed or (asked_ms is not None and all(_divides(own, asked_ms) for own in fixed)):
        return wanted_ms, f"bins of {wanted_ms:g} ms ({'the default' if asked_ms is None else 'as asked'})"
    width = max(fixed)
    if odd := [own for own in fixed if not _divides(own, width)]:
        raise InputError(
            f"sessions must share a bin width, got {odd[0]:g} ms ({fixed[odd[0]]}) and {width:g} ms ({fixed[width]}). "
            "Analyse them apart, or prepare them on one grid."
        )
    return width, f"bins of {width:g} ms (the grid of {fixed[width]})"


def _divides(own_ms: float, width_ms: float) -> bool:
    parts = width_ms / own_ms
    return round(parts) >= 1 and abs(parts - round(parts)) <= 1e-6


def bin_session(session: Data, *, config: BinningConfig) -> BinnedSession:
    """Put a prepared session on its grid, split it, and fit the signal chain on its training time.

    Raises:
        InputError: too little data for the split, or a grid that does not fit the bin width.
    """
    if config.bin_width_ms is None:
        raise InputError("`bin_width_ms` must be set before a session is binned, got None. Use `choose_bin_width_ms`.")
    width = config.bin_width_ms
    session_id = str(session.session.id)
    starts, ends = layout.valid_intervals_s(session)
    start_s, n_bins = float(starts[0]), binning.n_bins(float(ends[-1] - starts[0]), width)
    grid = _Grid(start_s, n_bins, width)
    segment = _segments(starts, ends, grid)
    split, chain = _split_and_chain(session, grid, segment, config)
    counts, unit_ids = _counts(session, grid, split, config.min_unit_rate_hz)
    lfp = chain.apply(np.asarray(session.lfp.signal)) if chain else None
    behavior, names = _behavior(session, grid)
    return BinnedSession(
        session_id=session_id,
        subject_id=str(session.subject.id),
        bin_width_ms=width,
        start_s=start_s,
        segment=np.where(_complete(lfp, n_bins), segment, -1),
        split=split,
        counts=counts,
        lfp=lfp,
        behavior=behavior,
        unit_ids=unit_ids,
        channel_ids=chain.feature_names if chain else (),
        behavior_names=names,
        chain=chain,
        has_trials="trials" in session,
    )


@dataclass(frozen=True)
class _Grid:
    start_s: float
    n_bins: int
    width_ms: float


def _segments(starts_s: np.ndarray, ends_s: np.ndarray, grid: _Grid) -> Int[np.ndarray, "bin"]:
    """Give each bin the number of the interval that holds it whole, else -1."""
    segment = np.full(grid.n_bins, -1)
    first, last = ((edges - grid.start_s) * 1000 / grid.width_ms for edges in (starts_s, ends_s))
    for i, (start, end) in enumerate(zip(first, last, strict=True)):
        segment[max(int(np.ceil(start - 1e-6)), 0) : max(int(np.floor(end + 1e-6)), 0)] = i
    return segment


def _split_and_chain(
    session: Data, grid: _Grid, segment: Int[np.ndarray, "bin"], config: BinningConfig
) -> tuple[Split, FittedChain | None]:
    """Split the bins and fit the signal chain on training time; widen the guards until they hold the chain's reach."""
    if config.split.protocol == "paper":
        split = shuffled_split(segment, bin_width_ms=grid.width_ms, session_id=str(session.session.id))
        chain = _fit(session, grid, split.fitted, chain_of(config.chain)) if layout.has_lfp(session) else None
        return split, chain
    trial = None
    if "trials" in session:
        trial = _segments(np.asarray(session.trials.start), np.asarray(session.trials.end), grid)
    reach_s = 0.0
    while True:
        split = blocked_split(
            segment,
            config=config.split,
            bin_width_ms=grid.width_ms,
            reach_s=reach_s,
            session_id=str(session.session.id),
            trial=trial,
        )
        if not layout.has_lfp(session):
            return split, None
        chain = _fit(session, grid, split.train, chain_of(config.chain))
        if chain.reach_s <= reach_s:
            return split, chain
        reach_s = chain.reach_s


def _counts(
    session: Data, grid: _Grid, split: Split, min_rate_hz: float
) -> tuple[Int[np.ndarray, "bin unit"] | None, tuple[str, ...]]:
    if not layout.has_spikes(session):
        return None, ()
    ids = np.asarray(session.units.id).astype(str)
    if "spikes" in session:
        counts = binning.bin_spikes(
            np.asarray(session.spikes.timestamps),
            np.asarray(session.spikes.unit_index),
            n_units=len(ids),
            n_bins=grid.n_bins,
            start_s=grid.start_s,
            bin_width_ms=grid.width_ms,
        )
    else:
        counts = _regrid(session, grid)
    rate_hz = counts[split.fitted].mean(axis=0) * 1000 / grid.width_ms
    keep = (rate_hz > 0) & (rate_hz >= min_rate_hz)
    if not keep.any():
        raise InputError(
            f"{session.session.id}: no unit fires at {min_rate_hz:g} Hz or more in training time. "
            "Lower `min_unit_rate_hz`, or leave the session out."
        )
    return counts[:, keep].astype(np.int32), tuple(str(i) for i in ids[keep])


def _regrid(session: Data, grid: _Grid) -> Int[np.ndarray, "bin unit"]:
    """Sum counts that come on a finer grid into the session's bins."""
    counts = np.asarray(session.spike_counts.counts)
    factor = grid.width_ms * float(session.spike_counts.sampling_rate) / 1000
    first = grid.start_s * float(session.spike_counts.sampling_rate)
    if abs(factor - round(factor)) > 1e-6 or abs(first - round(first)) > 1e-6:
        raise InputError(
            f"{session.session.id}: `bin_width_ms` must be a multiple of the counts' own "
            f"{grid.width_ms / factor:g} ms bins and start on one, got {grid.width_ms:g} ms from {grid.start_s:g} s. "
            "Set `bin_width_ms` to such a multiple."
        )
    k, first = round(factor), round(first)
    padded = np.zeros((grid.n_bins * k, counts.shape[1]), np.int64)
    piece = counts[first : first + grid.n_bins * k]
    padded[: len(piece)] = piece
    return padded.reshape(grid.n_bins, k, -1).sum(axis=1)


def _fit(session: Data, grid: _Grid, within: Bool[np.ndarray, "bin"], config: ChainConfig) -> FittedChain:
    return fit_chain(
        config,
        np.asarray(session.lfp.signal),
        rate_hz=float(session.lfp.sampling_rate),
        start_s=float(session.lfp.domain.start[0]),
        channel_ids=tuple(str(c) for c in np.asarray(session.channels.id).astype(str)),
        bin_width_ms=grid.width_ms,
        grid_start_s=grid.start_s,
        n_bins=grid.n_bins,
        within=within,
    )


def _complete(lfp: Float[np.ndarray, "bin channel"] | None, n_bins: int) -> Bool[np.ndarray, "bin"]:
    return np.ones(n_bins, bool) if lfp is None else np.asarray(np.isfinite(lfp).all(axis=1))


def _behavior(session: Data, grid: _Grid) -> tuple[Float[np.ndarray, "bin dim"] | None, tuple[str, ...]]:
    """Average behaviour in bins; a circular dim becomes its cosine and sine first."""
    if not layout.has_behavior(session):
        return None, ()
    columns, names = layout.behavior_columns(session)
    binned = binning.bin_means(
        columns,
        layout.timestamps_s(session.behavior),
        n_bins=grid.n_bins,
        start_s=grid.start_s,
        bin_width_ms=grid.width_ms,
    )
    return binned, names
