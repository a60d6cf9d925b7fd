"""Split a session into contiguous blocks of time, with a guard gap at every border so that nothing leaks.

The session's valid time is cut into blocks of equal length; each block is wholly training, validation or test time.
A border that would fall inside a trial moves to the trial's edge. Where two neighbouring blocks differ in kind, bins
nearer to the border than the guard belong to none (method, section 9).

The published protocol, which leaks, is there for comparison alone: pieces of 10 s are shuffled, 80/10/10 %, without any
guard; scores are of validation and test time together, statistics of all time. What comes of it says so.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from spikefield.errors import InputError

PROTOCOLS = ("blocked", "paper")
_KINDS = ("train", "valid", "test")
_PIECE_S = 10.0
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class SplitConfig:
    """Which blocks of time are held out. `guard_s` is added to the reach of the signal chain.

    `protocol` paper is the published split, which leaks and heeds none of the other fields.
    """

    n_blocks: int = 10
    valid_blocks: tuple[int, ...] = (0,)
    test_blocks: tuple[int, ...] = (2, 5, 8)
    guard_s: float = 0.5
    protocol: str = "blocked"

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise InputError(
                f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {self.protocol!r}. Choose one of them."
            )
        held_out = [*self.valid_blocks, *self.test_blocks]
        if len(set(held_out)) != len(held_out) or not all(0 <= b < self.n_blocks for b in held_out):
            raise InputError(
                f"`valid_blocks` and `test_blocks` must be different numbers below n_blocks={self.n_blocks}, "
                f"got {self.valid_blocks} and {self.test_blocks}. "
                "Name other blocks."
            )
        if not self.valid_blocks or not self.test_blocks or len(held_out) >= self.n_blocks:
            raise InputError(
                "`valid_blocks`, `test_blocks` and the training blocks must each be at least one block, "
                f"got {len(self.valid_blocks)}, {len(self.test_blocks)} and {self.n_blocks - len(held_out)}. "
                "Move a block to where none is left."
            )
        if self.guard_s < 0:
            raise InputError(
                f"`guard_s` must be 0 or more seconds, got {self.guard_s}. Give 0 for no guard beyond the filters'."
            )


@dataclass(frozen=True)
class Split:
    """Kind of every bin of a session's grid. Masks are (bin,)."""

    train: Bool[np.ndarray, "bin"]
    valid: Bool[np.ndarray, "bin"]
    test: Bool[np.ndarray, "bin"]
    guard_bins: int
    leaks: bool = False

    def kind(self, name: str) -> Bool[np.ndarray, "bin"]:
        """Return the mask (bin,) of 'train', 'valid' or 'test'.

        Raises:
            InputError: another name.
        """
        if name not in _KINDS:
            raise InputError(f"`name` must be one of {_KINDS}, got {name!r}. Choose one of them.")
        return getattr(self, name)

    @property
    def fitted(self) -> Bool[np.ndarray, "bin"]:
        """The bins, a mask (bin,), that statistics are fitted on: training time, and all time where the split leaks."""
        return self.train | self.valid | self.test if self.leaks else self.train

    def to_dict(self, *, bin_width_ms: float, start_s: float) -> dict[str, Any]:
        """Return the split as intervals in seconds, to be saved with a result."""

        def seconds(mask: Bool[np.ndarray, "bin"]) -> list[list[float]]:
            return [[round(start_s + b * bin_width_ms / 1000, 6) for b in run] for run in runs(mask)]

        kinds = {name: seconds(self.kind(name)) for name in _KINDS}
        return {"bin_width_ms": bin_width_ms, "guard_bins": self.guard_bins, "leaks": self.leaks, **kinds}


def blocked_split(
    segment: Int[np.ndarray, "bin"],
    *,
    config: SplitConfig,
    bin_width_ms: float,
    reach_s: float,
    session_id: str,
    trial: Int[np.ndarray, "bin"] | None = None,
) -> Split:
    """Split the bins of a session into blocks of time.

    Args:
        segment: (bin,), which interval of valid time each bin lies in, -1 in a gap.
        trial: which trial each bin lies in, -1 between trials; None where the task has no trials.
        bin_width_ms: width of a bin.
        reach_s: the longest reach of the signal chain; the guard is this plus `config.guard_s`.
        session_id: for the error.

    Raises:
        InputError: too little data for every kind to keep a second of time.
    """
    block = _blocks(segment, trial, config.n_blocks)
    kind_of_block = np.zeros(config.n_blocks, int)
    kind_of_block[list(config.valid_blocks)] = 1
    kind_of_block[list(config.test_blocks)] = 2
    kind = np.where(block >= 0, kind_of_block[block], -1)
    guard = int(np.ceil((config.guard_s + reach_s) * 1000 / bin_width_ms - 1e-9))
    inside = kind >= 0
    for border in _borders(kind):
        inside[max(0, border - guard) : border + guard] = False
    split = Split(*(inside & (kind == k) for k in range(3)), guard_bins=guard)
    _check_enough(split, bin_width_ms, session_id)
    return split


def shuffled_split(segment: Int[np.ndarray, "bin"], *, bin_width_ms: float, session_id: str) -> Split:
    """Split the bins of a session as published: shuffled pieces without a guard, of which a fifth is scored. It leaks.

    `segment` (bin,) says which interval of valid time each bin lies in, -1 in a gap.

    Raises:
        InputError: too little data for every kind to keep a second of time.
    """
    length = round(_PIECE_S * 1000 / bin_width_ms)
    pieces = [
        (first, min(first + length, end))
        for start, end in runs(segment >= 0, segment)
        for first in range(start, end, length)
    ]
    order = np.random.default_rng(0).permutation(len(pieces))
    n_held = max(1, round(_HELD_OUT_SHARE * len(pieces)))
    valid, test, train = (np.zeros(len(segment), bool) for _ in _KINDS)
    for rank, piece in enumerate(order):
        kind = valid if rank < n_held else test if rank < 2 * n_held else train
        kind[slice(*pieces[piece])] = True
    split = Split(train, valid, valid | test, guard_bins=0, leaks=True)
    _check_enough(split, bin_width_ms, session_id)
    return split


def runs(mask: Bool[np.ndarray, "bin"], segment: Int[np.ndarray, "bin"] | None = None) -> list[tuple[int, int]]:
    """Return the [start, end) of every stretch of true bins of a mask (bin,); a change of `segment` ends a stretch."""
    label = np.where(mask, 0 if segment is None else segment, -1)
    edges = np.flatnonzero(np.diff(np.concatenate([[-1], label, [-1]])))
    starts, ends = edges[:-1], edges[1:]
    return [(int(s), int(e)) for s, e in zip(starts, ends, strict=True) if label[s] >= 0]


def _blocks(
    segment: Int[np.ndarray, "bin"], trial: Int[np.ndarray, "bin"] | None, n_blocks: int
) -> Int[np.ndarray, "bin"]:
    """Number the blocks of equal valid time; segments and trials much shorter than a block are never cut."""
    valid = segment >= 0
    n_valid = int(valid.sum())
    rank = np.cumsum(valid) - 1
    block = np.where(valid, np.minimum(rank * n_blocks // max(n_valid, 1), n_blocks - 1), -1)
    uncut = runs(valid, segment) + ([] if trial is None else runs(valid, trial))
    for start, end in uncut:
        if end - start < n_valid / n_blocks / 2:
            block[start:end] = block[(start + end) // 2]
    return block


def _borders(kind: Int[np.ndarray, "bin"]) -> list[int]:
    """Return the bins at which the kind differs from that of the last valid bin before."""
    valid = np.flatnonzero(kind >= 0)
    change = np.flatnonzero(np.diff(kind[valid]))
    return [int(b) for i in change for b in {valid[i] + 1, valid[i + 1]}]


def _check_enough(split: Split, bin_width_ms: float, session_id: str) -> None:
    for name in _KINDS:
        seconds = split.kind(name).sum() * bin_width_ms / 1000
        if seconds < 1:
            raise InputError(
                f"{session_id}: too little data for a split: {seconds:.2f} s of {name} time are left after guards of "
                f"{split.guard_bins * bin_width_ms / 1000:.2f} s, at least 1 s is needed. "
                "Bring a longer recording or lower `n_blocks`."
            )


def config_to_dict(config: SplitConfig) -> dict[str, Any]:
    """Return the configuration as plain values."""
    return asdict(config)
