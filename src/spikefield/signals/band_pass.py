"""Keep a band of frequencies; and keep what the bins cannot hold from folding back into them."""

from dataclasses import dataclass
from typing import ClassVar

from spikefield.errors import InputError
from spikefield.signals.filters import Form, anti_alias_sos, band_pass_sos, check_form
from spikefield.signals.steps import FittedStep, Nothing, Signal, SosStep, StepConfig, Training

_WORTH_FILTERING = 0.9


@dataclass(frozen=True)
class BandPassConfig(StepConfig):
    """A Butterworth band-pass; one edge may be null. It may stand before or after the bins.

    Attributes:
        low_hz, high_hz: edges at half power (a quarter in zero-phase form).
        order: order of each edge.
        form: causal or zero_phase.
    """

    step: ClassVar[str] = "band_pass"
    place: ClassVar[str] = "anywhere"
    low_hz: float | None = None
    high_hz: float | None = None
    order: int = 4
    form: Form = "causal"

    def __post_init__(self) -> None:
        check_form(self.form)
        edges = [edge for edge in (self.low_hz, self.high_hz) if edge is not None]
        if not edges or min(edges) <= 0 or edges != sorted(set(edges)):
            raise InputError(
                f"`low_hz` and `high_hz` must be positive, in order and not both null, got {self.low_hz} and "
                f"{self.high_hz}. "
                "Give null for an open side."
            )
        if not 1 <= self.order <= 10:
            raise InputError(f"`order` must be from 1 to 10, got {self.order}. Leave it out for the default.")

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Design the filter for the signal's rate."""
        sos = band_pass_sos(self.low_hz, self.high_hz, order=self.order, rate_hz=signal.rate_hz)
        return SosStep(label=f"{self._band()}, Butterworth of order {self.order}", form=self.form, sos=sos)

    def _band(self) -> str:
        if self.low_hz is None:
            return f"low-pass at {self.high_hz:g} Hz"
        if self.high_hz is None:
            return f"high-pass at {self.low_hz:g} Hz"
        return f"band-pass {self.low_hz:g}–{self.high_hz:g} Hz"


@dataclass(frozen=True)
class AntiAliasConfig(StepConfig):
    """A Chebyshev low-pass that leaves 0.5 % or less of what lies above half the bin rate."""

    step: ClassVar[str] = "anti_alias"
    form: Form = "causal"

    def __post_init__(self) -> None:
        check_form(self.form)

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Design the filter for the bins."""
        bin_rate_hz = training.clock.bin_rate_hz
        if bin_rate_hz > _WORTH_FILTERING * signal.rate_hz:
            return Nothing(label=f"no anti-alias filter: bins of {bin_rate_hz:g} Hz hold all of {signal.rate_hz:g} Hz")
        sos = anti_alias_sos(bin_rate_hz, rate_hz=signal.rate_hz, form=self.form)
        return SosStep(label=f"anti-alias low-pass, nothing left from {bin_rate_hz / 2:g} Hz", form=self.form, sos=sos)
