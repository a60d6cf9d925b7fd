"""The measured clock of a sampled series: rate and start of every stretch without a gap, from all its time stamps."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from spikefield.errors import InputError

_MAX_GAPS = 1000
_GAP_PERIODS = 1.5


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Samples `first` to `first + count`, evenly spaced from `start_s`."""

    first: int
    count: int
    start_s: float


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Measured rate and the stretches without a gap."""

    rate_hz: float
    stretches: tuple[Stretch, ...]

    def end_s(self, stretch: Stretch) -> float:
        """Time just after the last sample of a stretch."""
        return stretch.start_s + stretch.count / self.rate_hz

    @property
    def gaps_s(self) -> tuple[tuple[float, float], ...]:
        """End and start of the stretches on both sides of every gap."""
        return tuple((self.end_s(before), after.start_s) for before, after in itertools.pairwise(self.stretches))


@dataclass
class _Sums:
    """Running sums of one stretch: sample index i and the residual r of its time from the nominal clock."""

    first: int
    start_s: float
    count: int = 0
    r: float = 0.0
    ir: float = 0.0

    def add(self, times: np.ndarray, period_s: float) -> None:
        index = np.arange(self.count, self.count + len(times), dtype=np.float64)
        residual = times - self.start_s - index * period_s
        self.count += len(times)
        self.r += float(residual.sum())
        self.ir += float(index @ residual)

    @property
    def middle(self) -> float:
        return (self.count - 1) / 2

    @property
    def moment_ir(self) -> float:
        return self.ir - self.middle * self.r

    @property
    def moment_ii(self) -> float:
        return self.count * (self.count**2 - 1) / 12

    def stretch(self, extra_period_s: float) -> Stretch:
        intercept = self.r / self.count - extra_period_s * self.middle
        return Stretch(first=self.first, count=self.count, start_s=self.start_s + intercept)


def measure(blocks: Iterable[np.ndarray], name: str) -> Clock:
    """Fit one rate, and a start for each stretch, to time stamps (s) that come in blocks (sample,).

    A step of more than 1.5 sample periods begins a new stretch.

    Raises:
        InputError: fewer than two stamps, a stamp that is not finite or not after the one before, or no even clock.
    """
    sums: list[_Sums] = []
    period_s, last, index = 0.0, None, 0
    for block in blocks:
        times = np.asarray(block, np.float64)
        steps = np.diff(times, prepend=times[:1] if last is None else last)
        _check_steps(times, steps, index, name)
        if not period_s and steps.any():
            period_s = float(np.median(steps[steps > 0]))
        breaks = np.flatnonzero(steps > _GAP_PERIODS * period_s) if period_s else np.array([], int)
        for piece, start in zip(np.split(times, breaks), [0, *breaks.tolist()], strict=True):
            if not sums or (start in breaks and len(piece)):
                sums.append(_Sums(first=index + start, start_s=float(piece[0])))
            sums[-1].add(piece, period_s)
        if len(sums) > _MAX_GAPS:
            raise InputError(f"{name}: steps unevenly ({len(sums)} gaps by sample {index}). Mend the clock first.")
        last, index = times[-1], index + len(times)
    if index < 2:
        raise InputError(f"{name}: needs at least two time stamps, got {index}. Fetch the file again.")
    extra = sum(s.moment_ir for s in sums) / max(sum(s.moment_ii for s in sums), 1.0)
    return Clock(rate_hz=1 / (period_s + extra), stretches=tuple(s.stretch(extra) for s in sums))


def _check_steps(times: np.ndarray, steps: np.ndarray, index: int, name: str) -> None:
    if (bad := np.flatnonzero(~np.isfinite(times))).size:
        raise InputError(f"{name}: must be finite seconds, got {times[bad[0]]} at sample {index + bad[0]}. Mend it.")
    late = steps <= 0
    late[0] &= index > 0
    if (bad := np.flatnonzero(late)).size:
        now = times[bad[0]]
        raise InputError(
            f"{name}: must increase, got {now - steps[bad[0]]:.6f} then {now:.6f} s at sample {index + bad[0]}. "
            "Sort the samples or mend the clock."
        )


def check_increasing(times: np.ndarray, name: str) -> None:
    """Refuse time stamps (sample,) that are not finite or not after the one before.

    Raises:
        InputError: says where.
    """
    if len(times):
        _check_steps(times, np.diff(times, prepend=times[:1]), 0, name)


def check_even(times: np.ndarray, step_s: float, tolerance_s: float, name: str) -> None:
    """Refuse a clock of times (sample,) whose steps leave `step_s` ± `tolerance_s`.

    Raises:
        InputError: says where the clock stands still, runs back or jumps.
    """
    steps = np.diff(times)
    if len(times) < 2 or not np.isfinite(times).all():
        raise InputError(
            f"{name}: must hold two or more finite times (s), got {len(times)} with NaN or too few. "
            "Mend the clock, or leave the series out."
        )
    if (bad := np.flatnonzero(np.abs(steps - step_s) > tolerance_s)).size:
        i = bad[0]
        raise InputError(
            f"{name}: must step by {step_s:g} ± {tolerance_s:g} s, got {steps[i]:.6f} s at sample {i + 1} "
            f"({times[i]:.6f} s). Cut the recording there, or mend the clock."
        )


def common(a: Float[np.ndarray, "some 2"], b: Float[np.ndarray, "others 2"]) -> Float[np.ndarray, "both 2"]:
    """Return the intervals (both, 2) that lie in both of two ordered lists of intervals, in their unit."""
    spans = [(max(s, u), min(e, v)) for s, e in a for u, v in b]
    return np.array([span for span in spans if span[1] > span[0]], np.float64).reshape(-1, 2)


def inside(
    times: Float[np.ndarray, " times"], intervals_s: Float[np.ndarray, "intervals 2"]
) -> Bool[np.ndarray, " times"]:
    """Return (times,), for each time whether it lies in one of the ordered, half-open intervals."""
    index = np.searchsorted(intervals_s[:, 0], times, side="right") - 1
    return (index >= 0) & (times < intervals_s[np.clip(index, 0, None), 1])


def disjoint(spans: Float[np.ndarray, "trials 2"]) -> Float[np.ndarray, "kept 2"]:
    """Return the trials (kept, 2) that last, in order, each cut where the next one starts."""
    spans = spans[np.isfinite(spans).all(axis=1)]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    spans[:, 1] = np.minimum(spans[:, 1], np.append(spans[1:, 0], np.inf))
    return spans[spans[:, 1] > spans[:, 0]]
