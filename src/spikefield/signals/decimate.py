"""Bring a fast signal to a lower rate: an anti-alias low-pass, then one sample of several, on the measured clock."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from spikefield.errors import InputError
from spikefield.signals import filters
from spikefield.signals.filters import Form, anti_alias_sos, check_form
from spikefield.signals.stages import CausalFilter, Columns, Rows, Stage, State, ZeroPhaseFilter
from spikefield.signals.steps import Clock, FittedStep, Nothing, Signal, StepConfig, Training

_SAMPLES_A_BIN = 3


@dataclass(frozen=True)
class DecimateConfig(StepConfig):
    """Divide the rate by the whole number that comes nearest to `to_hz`; null leaves at least three samples a bin."""

    step: ClassVar[str] = "decimate"
    to_hz: float | None = None
    form: Form = "causal"

    def __post_init__(self) -> None:
        check_form(self.form)
        if self.to_hz is not None and not self.to_hz > 0:
            raise InputError(f"`to_hz` must be a positive number, got {self.to_hz}. Give a rate below the recording's.")

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Choose the factor and design the filter."""
        if self.to_hz is None:
            factor = math.floor(signal.rate_hz / (_SAMPLES_A_BIN * training.clock.bin_rate_hz))
        else:
            factor = round(signal.rate_hz / self.to_hz)
        if factor < 2:
            return Nothing(label=f"no decimation: {signal.rate_hz:g} Hz is slow enough")
        sos = anti_alias_sos(signal.rate_hz / factor, rate_hz=signal.rate_hz, form=self.form)
        return DecimateStep(factor=factor, form=self.form, sos=sos)


@dataclass(frozen=True, eq=False)
class DecimateStep(FittedStep):
    """Anti-alias filter (sections, 6) and whole factor."""

    kind = "decimate"
    factor: int
    form: Form
    sos: Float[np.ndarray, "sections 6"]

    def output(self, signal: Signal) -> Signal:
        """Return the signal at the lower rate."""
        return replace(signal, rate_hz=signal.rate_hz / self.factor)

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return the running form."""
        return _Decimator(self, len(signal.columns))

    def describe(self) -> str:
        """Return factor and form."""
        return f"{self.form.replace('_', '-')} anti-alias low-pass, then one sample of {self.factor}"

    def response(self, frequencies_hz: np.ndarray, signal: Signal, clock: Clock) -> np.ndarray:
        """Return the filter's gain and phase (frequency,)."""
        return filters.response(self.sos, frequencies_hz, rate_hz=signal.rate_hz, form=self.form)

    def reach_s(self, signal: Signal) -> float:
        """Return the filter's reach."""
        return filters.reach_s(self.sos, rate_hz=signal.rate_hz, form=self.form)


class _Decimator(Stage):
    """Keeps every n-th sample of the stream; a kept sample is missing if any since the last kept one is."""

    def __init__(self, step: DecimateStep, n_columns: int) -> None:
        super().__init__(n_columns)
        self._factor = step.factor
        self._filter = (CausalFilter if step.form == "causal" else ZeroPhaseFilter)(step.sos, n_columns)
        self._until_kept = 0
        self._missing = False

    def push(self, rows: Rows) -> Rows:
        return self._keep(self._filter.push(rows))

    def flush(self) -> Rows:
        return self._keep(self._filter.flush())

    def set_bad(self, bad: Columns) -> Columns:
        return self._filter.set_bad(bad)

    def state(self) -> State:
        return {**self._filter.state(), "until_kept": np.array(self._until_kept), "missing": np.array(self._missing)}

    def restore(self, state: State) -> None:
        self._filter.restore(state)
        self._until_kept, self._missing = int(state["until_kept"]), bool(state["missing"])

    def _keep(self, rows: Rows) -> Rows:
        places = np.arange(self._until_kept, len(rows), self._factor)
        missing_so_far = np.concatenate([[0], np.cumsum(np.isnan(rows[:, 0]))]) + self._missing
        before = np.concatenate([[0], missing_so_far[places + 1]])
        kept = rows[places]
        kept[before[1:] > before[:-1]] = np.nan
        self._until_kept += len(places) * self._factor - len(rows)
        self._missing = bool(missing_so_far[-1] > before[-1])
        return kept
