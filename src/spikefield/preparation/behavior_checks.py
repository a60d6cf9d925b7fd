"""Can behaviour be scored? Frozen or lost tracking, jumps, circles that nobody declared, what trials alone predict."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from spikefield.preparation.contents import Behavior, Contents
from spikefield.preparation.finding import Finding, Severity, counted, spans

_FROZEN_S, _FROZEN_SAMPLES = 10.0, 50
_MISSING_SHARE = 0.2
_JUMP_SIZES, _USUAL_QUANTILE = 50.0, 0.99
_MOST_STD, _LEAST_STD = 1e6, 1e-6
_CIRCLE_JUMP, _CIRCLE_JUMPS, _CIRCLE_STEP = 0.8, 3, 0.1
_HOLE_STEPS = 5.0
_TRIAL_BIN_S, _FEWEST_TRIALS, _TIME_R2 = 0.05, 10, 0.2


def check_frozen(contents: Contents) -> Iterator[Finding]:
    """Dims that never change, and stretches in which nothing changes at all."""
    if contents.behavior is None:
        return
    behavior = contents.behavior
    constant = [n for n, column in zip(behavior.names, behavior.values.T, strict=True) if _is_constant(column)]
    if constant:
        severity: Severity = "problem" if len(constant) == len(behavior.names) else "warning"
        yield _finding(severity, "behaviour that never changes cannot be scored", constant, "Leave it out.")
    still = (np.diff(behavior.values, axis=0) == 0).all(axis=1)
    least = max(round(_FROZEN_S / behavior.step_s), _FROZEN_SAMPLES)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    frozen = [
        (float(behavior.times_s[a]), float(behavior.times_s[b]))
        for a, b in edges.reshape(-1, 2)
        if b - a >= least and behavior.times_s[b] - behavior.times_s[a] < 2 * (b - a) * behavior.step_s
    ]
    if frozen and len(constant) < len(behavior.names):
        what = f"behaviour does not change at all for {sum(b - a for a, b in frozen):.1f} s"
        yield _finding("warning", what, (), "If tracking froze there, set it to NaN.", where=spans(frozen))


def _is_constant(column: Float[np.ndarray, " sample"]) -> bool:
    known = column[np.isfinite(column)]
    return known.size == 0 or bool((known == known[0]).all())


def check_missing(contents: Contents) -> Iterator[Finding]:
    """Samples that are NaN, holes in the time stamps, valid time without behaviour."""
    if contents.behavior is None:
        return
    behavior = contents.behavior
    valid = contents.inside(behavior.times_s)
    if not valid.any():
        what = "no sample of behaviour lies in valid time"
        yield _finding("problem", what, (), "Check its clock: all streams share one, in seconds.")
        return
    missing = np.isnan(behavior.values[valid]).mean(axis=0)
    if (bad := missing > _MISSING_SHARE).any():
        names = [n for n, mark in zip(behavior.names, bad, strict=True) if mark]
        what = f"behaviour is NaN for up to {100 * missing.max():.0f} % of the time, which is not scored"
        yield _finding("warning", what, names, "Check that the reader's dims are those that were tracked.")
    covered_s = min(valid.sum() * behavior.step_s, contents.valid_s)
    if covered_s < (1 - _MISSING_SHARE) * contents.valid_s:
        what = f"behaviour covers {covered_s:.0f} of {contents.valid_s:.0f} s of valid time"
        remedy = "Only that time can be scored. Do the files belong together?"
        yield _finding("warning", what, (), remedy, where=_holes(contents))


def _holes(contents: Contents) -> str:
    """Return the longest stretches of valid time without a sample of behaviour."""
    assert contents.behavior is not None
    times, found = contents.behavior.times_s, []
    for start, end in contents.intervals_s:
        edges = np.concatenate([[start], times[(times >= start) & (times < end)], [end]])
        wide = np.flatnonzero(np.diff(edges) > _HOLE_STEPS * contents.behavior.step_s)
        found += [(float(edges[i]), float(edges[i + 1])) for i in wide]
    return spans(sorted(found, key=lambda hole: hole[0] - hole[1]))


def check_behavior_size(contents: Contents) -> Iterator[Finding]:
    """Values of an unlikely size, and single jumps far beyond the usual step."""
    if contents.behavior is None:
        return
    behavior = contents.behavior
    for name, column, period in zip(behavior.names, behavior.values.T, behavior.periods, strict=True):
        known = column[np.isfinite(column)]
        if len(known) < 2 or _is_constant(column):
            continue
        if not _LEAST_STD <= known.std() <= _MOST_STD:
            what = f"a standard deviation of {known.std():.3g} is no behaviour in a usual unit"
            yield _finding("warning", what, [name], "Check its unit and how it was read.")
        steps = np.abs(np.diff(known))
        usual = np.quantile(steps, _USUAL_QUANTILE)
        jumps = int((steps > _JUMP_SIZES * usual).sum())
        if usual > 0 and jumps and np.isnan(period):
            what = f"{counted(jumps, 'jump')} over {_JUMP_SIZES:g} times the usual largest step"
            yield _finding("warning", what, [name], "Lost tracking? Set these samples to NaN.")


def check_circles(contents: Contents) -> Iterator[Finding]:
    """Dims that go round: undeclared, their R² means nothing; declared, they must fit their period."""
    if contents.behavior is None:
        return
    behavior = contents.behavior
    for name, column, period in zip(behavior.names, behavior.values.T, behavior.periods, strict=True):
        known = column[np.isfinite(column)]
        if len(known) < 2 or _is_constant(column):
            continue
        reach, steps = float(np.ptp(known)), np.abs(np.diff(known))
        if np.isfinite(period) and reach > 1.01 * period:
            what = f"values reach over {reach:.3g}, more than the declared period {period:.3g}"
            yield _finding("warning", what, [name], "State `behavior_period` in the dim's own unit.")
        wraps = int((steps > _CIRCLE_JUMP * reach).sum())
        smooth = np.quantile(steps[steps <= _CIRCLE_JUMP * reach], _USUAL_QUANTILE) < _CIRCLE_STEP * reach
        if np.isnan(period) and wraps >= _CIRCLE_JUMPS and smooth:
            what = f"it jumps {wraps} times from one end of its range to the other, as an angle does"
            yield _finding(
                "warning", what, [name], "If it goes round, give `behavior_period`: it is scored as cos, sin."
            )


def check_time_in_trial(contents: Contents) -> Iterator[Finding]:
    """How much of behaviour the time since the trial began predicts, without any recording."""
    if contents.behavior is None or contents.trials_s is None or len(contents.trials_s) < _FEWEST_TRIALS:
        return
    r2 = _r2_of_time_in_trial(contents.behavior, contents.trials_s)
    if (high := r2 > _TIME_R2).any():
        names = [f"{n} {v:.2f}" for n, v, mark in zip(contents.behavior.names, r2, high, strict=True) if mark]
        yield _finding(
            "warning",
            f"the time since a trial began predicts behaviour, R² up to {np.nanmax(r2):.2f}, without any recording",
            names,
            "Judge scores by their excess over the trial-permuted null.",
        )


def _r2_of_time_in_trial(behavior: Behavior, trials_s: Float[np.ndarray, "trial 2"]) -> Float[np.ndarray, " dim"]:
    """Average odd trials over time in trial and predict even ones, and the other way round."""
    trial = np.searchsorted(trials_s[:, 0], behavior.times_s, side="right") - 1
    inside = (trial >= 0) & (behavior.times_s < trials_s[np.clip(trial, 0, None), 1])
    inside &= np.isfinite(behavior.values).all(axis=1)
    trial, values = trial[inside], behavior.values[inside]
    if len(values) < 2:
        return np.zeros(behavior.values.shape[1])
    bins = ((behavior.times_s[inside] - trials_s[trial, 0]) / max(_TRIAL_BIN_S, behavior.step_s) + 1e-6).astype(int)
    left, total = np.zeros((2, values.shape[1]))
    for learn in (trial % 2 == 0, trial % 2 == 1):
        number = np.bincount(bins[learn], minlength=bins.max() + 1)
        sums = np.stack([np.bincount(bins[learn], column[learn], bins.max() + 1) for column in values.T], axis=1)
        test = ~learn & (number[bins] > 0)
        left += ((values[test] - sums[bins[test]] / number[bins[test], None]) ** 2).sum(axis=0)
        total += ((values[test] - values[test].mean(axis=0)) ** 2).sum(axis=0) if test.any() else 0
    return 1 - np.divide(left, total, out=np.ones(len(left)), where=total > 0)


def _finding(severity: Severity, what: str, names: Sequence[str], remedy: str, *, where: str = "") -> Finding:
    return Finding(severity=severity, stream="behavior", what=what, names=tuple(names), where=where, remedy=remedy)


BEHAVIOR_CHECKS = (check_frozen, check_missing, check_behavior_size, check_circles, check_time_in_trial)
