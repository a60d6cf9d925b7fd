"""The last steps before the network: a logarithm for amplitudes and powers, then the z-score."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from spikefield.errors import InputError
from spikefield.signals.stages import Rows, Stage
from spikefield.signals.standardize import Standardizer
from spikefield.signals.steps import Clock, FittedStep, Signal, StepConfig, Training


@dataclass(frozen=True)
class LogConfig(StepConfig):
    """Natural logarithm of amplitudes or powers; values below a column's smallest in training time count as that."""

    step: ClassVar[str] = "log"
    place: ClassVar[str] = "bins"

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Find each column's floor in training time.

        Raises:
            InputError: a column holds values of 0 or less.
        """
        rows = training.rows()
        rows = rows[training.mask(len(rows), signal)]
        rows = rows[np.isfinite(rows[:, 0])]
        floor = np.min(np.where(rows > 0, rows, np.inf), axis=0, initial=np.inf)
        if (rows < 0).any() or not np.isfinite(floor).all():
            name = signal.columns[int(np.argmax((rows < 0).any(axis=0) | ~np.isfinite(floor)))]
            raise InputError(f"step log needs amplitudes or powers, got values of 0 or less in {name}. Leave it out.")
        return LogStep(floor=floor)


@dataclass(frozen=True, eq=False)
class LogStep(FittedStep):
    """log(max(x, floor)), floor (columns,) in the columns' units."""

    kind = "log"
    floor: Float[np.ndarray, " columns"]

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return the running form."""
        return _Log(self.floor)

    def describe(self) -> str:
        """Name the step."""
        return "natural logarithm"


class _Log(Stage):
    def __init__(self, floor: np.ndarray) -> None:
        super().__init__(len(floor))
        self._floor = floor

    def push(self, rows: Rows) -> Rows:
        return np.log(np.maximum(rows, self._floor))


@dataclass(frozen=True)
class ZScoreConfig(StepConfig):
    """Zero mean and unit spread in training time; robust uses the median and the median absolute deviation."""

    step: ClassVar[str] = "zscore"
    place: ClassVar[str] = "bins"
    robust: bool = False

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Fit on training bins."""
        rows = training.rows()
        within = training.mask(len(rows), signal)
        fitted = Standardizer.fit(rows, within=within, robust=self.robust, names=signal.columns)
        return ZScoreStep(center=fitted.center, scale=fitted.scale, robust=self.robust)


@dataclass(frozen=True, eq=False)
class ZScoreStep(FittedStep):
    """(x - center) / scale, both (columns,) in the columns' units."""

    kind = "zscore"
    center: Float[np.ndarray, " columns"]
    scale: Float[np.ndarray, " columns"]
    robust: bool

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return the running form."""
        return _ZScore(self.center, self.scale)

    def describe(self) -> str:
        """Name the statistics."""
        return "z-score by median and MAD of training time" if self.robust else "z-score by training time"


class _ZScore(Stage):
    def __init__(self, center: np.ndarray, scale: np.ndarray) -> None:
        super().__init__(len(center))
        self._center, self._factor = center, 1 / scale

    def push(self, rows: Rows) -> Rows:
        return (rows - self._center) * self._factor
