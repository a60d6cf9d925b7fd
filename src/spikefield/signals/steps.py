"""What the steps of the signal chain have in common: a config that is fitted on training time, and what it becomes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Complex, Float

from spikefield.errors import InputError
from spikefield.signals import filters
from spikefield.signals.binning import bin_index
from spikefield.signals.filters import Form
from spikefield.signals.stages import CausalFilter, Stage, ZeroPhaseFilter

_SAME_RATE = 1e-6


@dataclass(frozen=True)
class Clock:
    """Where the samples and the bins lie in time; `rate_hz` is the measured rate of the recording."""

    rate_hz: float
    start_s: float
    bin_width_ms: float
    grid_start_s: float
    n_bins: int

    def __post_init__(self) -> None:
        for name in ("rate_hz", "bin_width_ms"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(
                    f"`{name}` must be a positive number, got {getattr(self, name)}. "
                    "Check the recording's rate and the bins."
                )
        for name in ("start_s", "grid_start_s"):
            if not np.isfinite(getattr(self, name)):
                raise InputError(
                    f"`{name}` must be finite seconds, got {getattr(self, name)}. Check the session's clock."
                )
        if self.n_bins < 1:
            raise InputError(f"`n_bins` must be at least 1, got {self.n_bins}. Is the recording shorter than a bin?")

    @property
    def bin_rate_hz(self) -> float:
        """Bins a second."""
        return 1000 / self.bin_width_ms

    @property
    def on_grid(self) -> bool:
        """True where the samples come once a bin."""
        return abs(self.rate_hz / self.bin_rate_hz - 1) < _SAME_RATE


@dataclass(frozen=True)
class Signal:
    """What flows between two steps."""

    rate_hz: float
    columns: tuple[str, ...]
    on_bins: bool = False


@dataclass(frozen=True)
class Training:
    """What a step may learn from: its own input (samples, columns) in training time, made only when asked for."""

    rows: Callable[[], Float[np.ndarray, "samples columns"]]
    within: Bool[np.ndarray, " bins"]
    clock: Clock

    def mask(self, n_rows: int, signal: Signal) -> Bool[np.ndarray, " samples"]:
        """Return (samples,), for each row of the step's input whether it lies in a training bin."""
        if signal.on_bins:
            return self.within[:n_rows]
        times_s = self.clock.start_s + np.arange(n_rows) / signal.rate_hz
        index = bin_index(times_s, start_s=self.clock.grid_start_s, bin_width_ms=self.clock.bin_width_ms)
        inside = (index >= 0) & (index < len(self.within))
        return inside & self.within[np.clip(index, 0, len(self.within) - 1)]


class FittedStep(ABC):
    """One step with everything it needs to run; a frozen dataclass of plain values and arrays."""

    kind: ClassVar[str]

    @abstractmethod
    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return a running form of the step, at its start."""

    @abstractmethod
    def describe(self) -> str:
        """Return one line for a person."""

    def output(self, signal: Signal) -> Signal:
        """Return what leaves the step when `signal` enters."""
        return signal

    def response(
        self, frequencies_hz: Float[np.ndarray, " frequencies"], signal: Signal, clock: Clock
    ) -> Complex[np.ndarray, " frequencies"]:
        """Return gain and phase (frequencies,) of the step, complex; 1 where it is not a filter."""
        return np.ones(len(frequencies_hz), complex)

    def reach_s(self, signal: Signal) -> float:
        """Return how far around a sample the step looks."""
        return 0.0

    def envelope_delay_ms(self, signal: Signal) -> float:
        """Return how late a power is that the step takes; 0 for a step that takes none."""
        return 0.0


class StepConfig(ABC):
    """What a user chooses of a step; a frozen dataclass, checked at birth."""

    step: ClassVar[str]
    place: ClassVar[str] = "samples"

    @abstractmethod
    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Return the step for this signal, its statistics from training time only."""


@dataclass(frozen=True, eq=False)
class SosStep(FittedStep):
    """Any filter of the chain: second-order sections (sections, 6), causal or zero-phase."""

    kind = "sos"
    label: str
    form: Form
    sos: Float[np.ndarray, "sections 6"]

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return the running filter."""
        make = CausalFilter if self.form == "causal" else ZeroPhaseFilter
        return make(self.sos, len(signal.columns))

    def describe(self) -> str:
        """Return label and form."""
        return f"{self.form.replace('_', '-')} {self.label}"

    def response(self, frequencies_hz: np.ndarray, signal: Signal, clock: Clock) -> np.ndarray:
        """Return the filter's gain and phase (frequency,)."""
        return filters.response(self.sos, frequencies_hz, rate_hz=signal.rate_hz, form=self.form)

    def reach_s(self, signal: Signal) -> float:
        """Return the reach of the impulse response."""
        return filters.reach_s(self.sos, rate_hz=signal.rate_hz, form=self.form)

    def joined(self, following: "SosStep") -> "SosStep":
        """Return this filter and the next of the same form as one cascade."""
        return replace(self, sos=np.vstack([self.sos, following.sos]))


@dataclass(frozen=True, eq=False)
class Nothing(FittedStep):
    """A step that turned out not to be needed, and why."""

    kind = "nothing"
    label: str

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Never called: the chain leaves the step out."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return why."""
        return self.label
