"""Take the mains out: 50 or 60 Hz and harmonics, each only if it stands out from its neighbours in training time."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from spikefield.errors import InputError
from spikefield.signals.filters import Form, check_form, notch_sos
from spikefield.signals.stages import runs
from spikefield.signals.steps import FittedStep, Nothing, Signal, SosStep, StepConfig, Training

MAINS_HZ = (50.0, 60.0)

_PIECE_S = 4.0
_MOST_PIECES = 64
_HIGHEST_SHARE_OF_RATE = 0.48


@dataclass(frozen=True)
class NotchConfig(StepConfig):
    """A notch at the mains and its harmonics.

    Attributes:
        mains_hz: 50 or 60 takes that and every harmonic out; null looks in training time and takes out what it finds.
        quality: frequency / width of a notch at half power.
        form: causal or zero_phase.
    """

    step: ClassVar[str] = "notch"
    mains_hz: float | None = None
    quality: float = 30.0
    form: Form = "causal"

    def __post_init__(self) -> None:
        check_form(self.form)
        if self.mains_hz is not None and self.mains_hz not in MAINS_HZ:
            raise InputError(
                f"`mains_hz` must be 50, 60 or null (detect it), got {self.mains_hz}. Set null where you do not know."
            )
        if not 1 <= self.quality <= 200:
            raise InputError(
                f"`quality` must be from 1 to 200, got {self.quality}. Give 30 to take out 2 Hz around 60 Hz."
            )

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Choose the frequencies and design the notches."""
        found = self._frequencies_hz(signal, training)
        if not found:
            return Nothing(label="no notch: no mains found in training time")
        label = f"notch at {', '.join(f'{f:g}' for f in found)} Hz"
        return SosStep(label=label, form=self.form, sos=notch_sos(found, quality=self.quality, rate_hz=signal.rate_hz))

    def _frequencies_hz(self, signal: Signal, training: Training) -> list[float]:
        if self.mains_hz is not None:
            return _harmonics_hz(self.mains_hz, signal.rate_hz)
        rows = training.rows()
        within = training.mask(len(rows), signal)
        mains_hz = detect_mains_hz(rows, signal.rate_hz, within=within)
        if mains_hz is None:
            return []
        candidates = _harmonics_hz(mains_hz, signal.rate_hz)
        contrast, needed = _contrast(rows, signal.rate_hz, candidates, within)
        return [f for f, c in zip(candidates, contrast, strict=True) if c > needed]


def detect_mains_hz(
    values: Float[np.ndarray, "samples channels"],
    rate_hz: float,
    *,
    within: Bool[np.ndarray, " samples"] | None = None,
) -> float | None:
    """Return 50 or 60 if a narrow peak there stands out from its neighbours in any channel, else None.

    Values are (samples, channels). The peak is the highest power within 0.5 Hz; its neighbours are the median power 2
    to 5 Hz away on both sides. The shorter the recording, the higher the peak must stand.
    """
    within = np.ones(len(values), bool) if within is None else within
    candidates = [f for f in MAINS_HZ if f < _HIGHEST_SHARE_OF_RATE * rate_hz]
    if not candidates:
        return None
    contrast, needed = _contrast(values, rate_hz, candidates, within)
    best = int(np.argmax(contrast))
    return candidates[best] if contrast[best] > needed else None


def _harmonics_hz(mains_hz: float, rate_hz: float) -> list[float]:
    return [mains_hz * k for k in range(1, int(_HIGHEST_SHARE_OF_RATE * rate_hz / mains_hz) + 1)]


def _contrast(
    values: np.ndarray, rate_hz: float, candidates_hz: list[float], within: np.ndarray
) -> tuple[list[float], float]:
    """Return peak power over neighbouring power at each frequency, in the worst channel, and what chance may reach."""
    n_piece = round(_PIECE_S * rate_hz)
    starts = _piece_starts(values, within, n_piece)
    if not len(starts):
        return [0.0] * len(candidates_hz), np.inf
    frequencies_hz, power = _mean_power(values, starts, n_piece, rate_hz)
    ratios = []
    for f in candidates_hz:
        away = np.abs(frequencies_hz - f)
        neighbours = np.median(power[(away >= 2) & (away <= 5)], axis=0)
        peak = power[away <= 0.5].max(axis=0)
        ratios.append(float(np.max(np.divide(peak, neighbours, out=np.zeros_like(peak), where=neighbours > 0))))
    return ratios, 3 + 16 / len(starts)


def _piece_starts(values: np.ndarray, within: np.ndarray, n_piece: int) -> np.ndarray:
    """Return the starts of unbroken training pieces, spread evenly when there are many."""
    usable = within & np.isfinite(values).all(axis=1)
    gaps = np.where(usable, 0.0, np.nan)[:, None]
    starts = [
        start
        for piece, is_gap in runs(gaps)
        if not is_gap
        for start in range(piece.start, piece.stop - n_piece + 1, n_piece)
    ]
    chosen = np.linspace(0, len(starts) - 1, min(len(starts), _MOST_PIECES)).round().astype(int)
    return np.array(starts, int)[chosen]


def _mean_power(values: np.ndarray, starts: np.ndarray, n_piece: int, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    taper = np.hanning(n_piece)[:, None]
    power = np.zeros((n_piece // 2 + 1, values.shape[1]))
    for start in starts:
        piece = np.asarray(values[start : start + n_piece], np.float64)
        power += np.abs(np.fft.rfft((piece - piece.mean(axis=0)) * taper, axis=0)) ** 2
    return np.fft.rfftfreq(n_piece, 1 / rate_hz), power / len(starts)
