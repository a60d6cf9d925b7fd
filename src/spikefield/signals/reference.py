"""Measure each channel against the others: common average, common median, neighbour pairs, or not at all."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from spikefield.errors import InputError
from spikefield.signals.stages import Columns, Rows, Stage, State
from spikefield.signals.steps import Clock, FittedStep, Nothing, Signal, StepConfig, Training

ReferenceKind = Literal["average", "median", "bipolar", "none"]
KINDS = ("average", "median", "bipolar", "none")


@dataclass(frozen=True)
class ReferenceConfig(StepConfig):
    """What to subtract from each channel; bad channels are left out of it.

    Attributes:
        kind: average or median of all channels, bipolar (each channel minus the next), or none.
        fewest_channels: with fewer, an average or median would take out mostly the channel itself, and is left out.
        on_grid: reference also signals that come once a bin; these are often amplitudes, so not by default.
    """

    step: ClassVar[str] = "reference"
    kind: ReferenceKind = "average"
    fewest_channels: int = 8
    on_grid: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"`kind` must be one of {', '.join(KINDS)}, got {self.kind!r}. Choose one of them.")
        if self.fewest_channels < 2:
            raise InputError(
                f"`fewest_channels` must be at least 2, got {self.fewest_channels}. Leave it out for the default."
            )

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Return the reference for these channels.

        Raises:
            InputError: a bipolar reference of a single channel.
        """
        count = len(signal.columns)
        if self.kind == "none":
            return Nothing(label="no reference")
        if self.kind == "bipolar" and count < 2:
            raise InputError("`kind` bipolar needs at least 2 channels, got 1. Use none.")
        if self.kind != "bipolar" and count < self.fewest_channels:
            return Nothing(label=f"no common {self.kind}: {count} channels, at least {self.fewest_channels} needed")
        return ReferenceStep(reference=self.kind)


@dataclass(frozen=True)
class ReferenceStep(FittedStep):
    """A reference without memory."""

    kind = "reference"
    reference: str

    def output(self, signal: Signal) -> Signal:
        """Return the same columns, or one a pair."""
        if self.reference != "bipolar":
            return signal
        pairs = zip(signal.columns[:-1], signal.columns[1:], strict=True)
        return replace(signal, columns=tuple(f"{a}-{b}" for a, b in pairs))

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return the running form."""
        return {"average": _Average, "median": _Median, "bipolar": _Bipolar}[self.reference](len(signal.columns))

    def describe(self) -> str:
        """Name the reference."""
        return "bipolar reference" if self.reference == "bipolar" else f"common {self.reference} reference"


class _Average(Stage):
    """x - mean over good channels; bad columns are 0."""

    def __init__(self, n_columns: int) -> None:
        super().__init__(n_columns)
        self._learn(np.zeros(n_columns, bool))

    def push(self, rows: Rows) -> Rows:
        referenced = rows - (rows @ self._weights)[:, None]
        if self._some_bad:
            referenced *= self._good
        return referenced

    def set_bad(self, bad: Columns) -> Columns:
        self._learn(bad)
        return bad

    def state(self) -> State:
        return {"good": self._good.copy()}

    def restore(self, state: State) -> None:
        self._learn(state["good"] == 0)

    def _learn(self, bad: Columns) -> None:
        if bad.all():
            raise InputError("`bad` must leave at least one good channel, got all of them. Leave one out of the list.")
        self._good = (~bad).astype(np.float64)
        self._weights = self._good / self._good.sum()
        self._some_bad = bool(bad.any())


class _Median(_Average):
    """x - median over good channels; bad columns are 0."""

    def push(self, rows: Rows) -> Rows:
        good = rows[:, self._good > 0]
        missing = np.isnan(rows[:, 0])
        center = np.where(missing, np.nan, np.median(np.where(missing[:, None], 0.0, good), axis=1))
        return (rows - center[:, None]) * self._good


class _Bipolar(Stage):
    """Each channel minus the next; a pair with a bad channel is bad."""

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels - 1)

    def push(self, rows: Rows) -> Rows:
        return rows[:, :-1] - rows[:, 1:]

    def set_bad(self, bad: Columns) -> Columns:
        return bad[:-1] | bad[1:]
