"""Find missing and repeated samples in the times that come with a live stream, before the signal chain sees them.

The stream is laid on a regular count of samples whose tie to the source's clock is followed slowly, so neither drift
nor jitter is taken for a gap. What is shorter than half a sample, or than six times the jitter, cannot be told from it.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spikefield.errors import InputError

_FOLLOW = 0.01
_JITTERS = 6.0
_HALF_SAMPLE = 0.5
_SAMPLES_TO_CHECK_RATE = 50
_SAME_RATE = 0.2


@dataclass(frozen=True)
class Piece:
    """Samples [first, end) of a push that follow each other, `missing` samples after those before; restart if None."""

    first: int
    end: int
    missing: int | None


class SampleTimes:
    """The tie between the count of samples and the source's clock, in samples and seconds."""

    def __init__(self, rate_hz: float, *, longest_jump_s: float) -> None:
        self._rate_hz = rate_hz
        self._longest_jump = longest_jump_s * rate_hz
        self.reset()

    def reset(self) -> None:
        """Forget the clock; the next sample starts a new count."""
        self.start_s = 0.0
        self._count = 0
        self._offset = 0.0
        self._variance = 0.0
        self._last = -math.inf
        self._steps: list[float] | None = []

    @property
    def jitter_ms(self) -> float:
        """How far times lie from regular ones: their standard deviation over the last hundred samples or so."""
        return math.sqrt(self._variance) / self._rate_hz * 1000

    def time_s(self, count: float) -> float:
        """Return the source's time of a place in the count of samples."""
        return self.start_s + (count + self._offset) / self._rate_hz

    def skip(self, n_samples: int) -> None:
        """Count samples that come without times."""
        self._count += n_samples
        self._last = max(self._last, self._count - 1 + self._offset)

    def cut(self, times_s: Float[np.ndarray, " sample"]) -> list[Piece]:
        """Return the unbroken pieces of a push with stamps (sample,); samples in no piece repeat earlier times.

        Raises:
            InputError: times that are not finite, or that belong to another rate.
        """
        if not np.isfinite(times_s).all():
            raise InputError("`times_s` must be finite seconds, got NaN or infinity. Mend the source's clock.")
        if self._last == -math.inf and len(times_s):
            self.start_s = float(times_s[0]) - self._count / self._rate_hz
        places = ((times_s - self.start_s) * self._rate_hz).tolist()
        if self._steps is not None:
            self._check_rate(places)
        return self._cut(places)

    def _cut(self, places: list[float]) -> list[Piece]:
        pieces: list[Piece] = []
        first, missing = 0, 0
        for i, place in enumerate(places):
            apart = place - self._count - self._offset
            tolerance = max(_HALF_SAMPLE, _JITTERS * math.sqrt(self._variance))
            if apart > tolerance or (place <= self._last and apart < -_HALF_SAMPLE):
                if i > first:
                    pieces.append(Piece(first, i, missing))
                first, missing = i, 0
                if apart > tolerance:
                    missing = round(apart)
                    self._count += missing
                    apart -= missing
                elif -apart <= self._longest_jump:
                    first = i + 1  # a sample that came before
                    continue
                else:
                    missing, self._offset, apart = None, self._offset + apart, 0.0
            self._offset += _FOLLOW * apart
            self._variance += _FOLLOW * (apart * apart - self._variance)
            self._last = place
            self._count += 1
        if len(places) > first:
            pieces.append(Piece(first, len(places), missing))
        return pieces

    def _check_rate(self, places: list[float]) -> None:
        """Compare the usual step between the first samples with the rate."""
        assert self._steps is not None
        self._steps += places
        if len(self._steps) < _SAMPLES_TO_CHECK_RATE:
            return
        step = float(np.median(np.diff(self._steps)))
        self._steps = None
        if step <= 0:
            raise InputError(
                "`times_s` must increase, got a sample at or before the last. Give each sample its time, or none."
            )
        if abs(step - 1) >= _SAME_RATE:
            raise InputError(
                f"`times_s` come at {self._rate_hz / step:.4g} Hz, but the model learned {self._rate_hz:.4g} Hz. "
                "Set the source to that rate, or resample it before."
            )

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is remembered, as plain arrays."""
        steps = np.array([] if self._steps is None else self._steps, np.float64)
        values = [self.start_s, self._count, self._offset, self._variance, self._last, self._steps is None]
        return {"clock": np.array(values, np.float64), "steps": steps}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state`."""
        self.start_s, count, self._offset, self._variance, self._last, checked = state["clock"].tolist()
        self._count = int(count)
        self._steps = None if checked else state["steps"].tolist()
