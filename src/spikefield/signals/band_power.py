"""Local motor potential and band power: the slow wave itself, and the square of each band, ready for the bins' mean.

Feature of band (low, high), after the mean over a bin: mean(x_band²) for low > 0; mean(x) for low = 0 (the LMP).
Columns run over the bands of the first channel, then of the second, as in the published feature tables.
"""

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from spikefield.errors import InputError
from spikefield.signals import filters
from spikefield.signals.filters import Form, band_pass_sos, check_form
from spikefield.signals.stages import CausalFilter, Columns, Rows, Stage, State, ZeroPhaseFilter
from spikefield.signals.steps import Clock, FittedStep, Signal, StepConfig, Training

_PAPER_EDGES_HZ = (0.5, 4.0, 8.0, 12.0, 25.0, 50.0, 100.0, 200.0, 400.0)
PAPER_BANDS_HZ = ((0.0, 0.0), *itertools.pairwise(_PAPER_EDGES_HZ))
_HIGHEST_SHARE_OF_RATE = 0.45


@dataclass(frozen=True)
class BandPowerConfig(StepConfig):
    """Bands to square; (0, 0) is the local motor potential. Bands above the signal's own reach are left out and named.

    Attributes:
        bands_hz: pairs of edges.
        order: order of each edge.
        form: causal or zero_phase.
    """

    step: ClassVar[str] = "band_power"
    bands_hz: tuple[tuple[float, float], ...] = PAPER_BANDS_HZ
    order: int = 2
    form: Form = "causal"

    def __post_init__(self) -> None:
        check_form(self.form)
        bands = tuple((float(low), float(high)) for low, high in self.bands_hz)
        object.__setattr__(self, "bands_hz", bands)
        wrong = [b for b in bands if b != (0.0, 0.0) and not 0 < b[0] < b[1]]
        if wrong or not bands or len(set(bands)) != len(bands):
            raise InputError(
                f"`bands_hz` must be different pairs with 0 < low < high, or (0, 0) for the LMP, got {wrong or bands}. "
                "Mend that pair."
            )

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Design a filter a band.

        Raises:
            InputError: no band lies below half the rate.
        """
        kept = tuple(b for b in self.bands_hz if b[1] <= _HIGHEST_SHARE_OF_RATE * signal.rate_hz)
        left_out = tuple(b for b in self.bands_hz if b not in kept)
        if not kept:
            raise InputError(
                f"`bands_hz` all lie above what {signal.rate_hz:g} Hz can hold, got {self.bands_hz}. "
                "Lower them, or leave the step out."
            )
        designed = [
            band_pass_sos(low, high, order=self.order, rate_hz=signal.rate_hz)
            for low, high in kept
            if (low, high) != (0.0, 0.0)
        ]
        sos = np.stack(designed) if designed else np.empty((0, 0, 6))
        return BandPowerStep(bands_hz=kept, left_out_hz=left_out, form=self.form, sos=sos)


@dataclass(frozen=True, eq=False)
class BandPowerStep(FittedStep):
    """One filter a band of positive frequency (bands, sections, 6), in the order of `bands_hz`."""

    kind = "band_power"
    bands_hz: tuple[tuple[float, float], ...]
    left_out_hz: tuple[tuple[float, float], ...]
    form: Form
    sos: Float[np.ndarray, "bands sections 6"]

    def output(self, signal: Signal) -> Signal:
        """Return one column a channel and band."""
        names = [_name(band) for band in self.bands_hz]
        return replace(signal, columns=tuple(f"{channel}/{name}" for channel in signal.columns for name in names))

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return the running form."""
        return _BandPower(self, len(signal.columns))

    def describe(self) -> str:
        """Name the bands, and those left out."""
        text = f"{self.form.replace('_', '-')} {', '.join(_name(band) for band in self.bands_hz)}, squared"
        return text + (
            f"; left out above the signal's reach: {', '.join(map(_name, self.left_out_hz))}" * bool(self.left_out_hz)
        )

    def reach_s(self, signal: Signal) -> float:
        """Return the reach of the slowest band."""
        return max((filters.reach_s(sos, rate_hz=signal.rate_hz, form=self.form) for sos in self.sos), default=0.0)

    def envelope_delay_ms(self, signal: Signal) -> float:
        """Return the group delay of the slowest band, at its centre."""
        centers_hz = [np.sqrt(low * high) for low, high in self.bands_hz if high > 0]
        delays_ms = [
            filters.group_delay_ms(sos, center * 0.99, center * 1.01, rate_hz=signal.rate_hz, form=self.form)
            for sos, center in zip(self.sos, centers_hz, strict=True)
        ]
        return max(delays_ms, default=0.0)


class _BandPower(Stage):
    """One filter a band side by side; rows leave when every band has them."""

    def __init__(self, step: BandPowerStep, n_columns: int) -> None:
        super().__init__(n_columns * len(step.bands_hz))
        self._is_power = np.array([band != (0.0, 0.0) for band in step.bands_hz])
        make = CausalFilter if step.form == "causal" else ZeroPhaseFilter
        self._filters = [make(sos, n_columns) for sos in step.sos]
        self._waiting = [np.empty((0, n_columns)) for _ in step.bands_hz]
        self._n_channels = n_columns

    def push(self, rows: Rows) -> Rows:
        powers = iter(np.square(band.push(rows)) for band in self._filters)
        return self._side_by_side([next(powers) if power else rows for power in self._is_power])

    def flush(self) -> Rows:
        powers = iter(np.square(band.flush()) for band in self._filters)
        return self._side_by_side([next(powers) if p else np.empty((0, self._n_channels)) for p in self._is_power])

    def set_bad(self, bad: Columns) -> Columns:
        for band in self._filters:
            band.set_bad(bad)
        return np.repeat(bad, len(self._is_power))

    def state(self) -> State:
        states = {f"band{i}.{k}": v for i, band in enumerate(self._filters) for k, v in band.state().items()}
        return states | {f"waiting{i}": rows.copy() for i, rows in enumerate(self._waiting)}

    def restore(self, state: State) -> None:
        for i, band in enumerate(self._filters):
            prefix = f"band{i}."
            band.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._waiting = [state[f"waiting{i}"].copy() for i in range(len(self._waiting))]

    def _side_by_side(self, bands: list[Rows]) -> Rows:
        self._waiting = [np.concatenate(pair) for pair in zip(self._waiting, bands, strict=True)]
        ready = min(map(len, self._waiting))
        together = np.stack([rows[:ready] for rows in self._waiting], axis=2)
        self._waiting = [rows[ready:].copy() for rows in self._waiting]
        return together.reshape(ready, self.n_columns)


def _name(band: tuple[float, float]) -> str:
    return "lmp" if band == (0.0, 0.0) else f"{band[0]:g}-{band[1]:g}Hz"
