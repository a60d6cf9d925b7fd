"""Fit or follow a readout at the rig, from labelled bins, and smooth what it decodes.

    readout = RecursiveReadout(decoder.readout, penalty=...)     or .blank(n_features, n_dims, penalty=...)
    readout.update(decoded.z, behavior)                      any number of bins at a time, in any pieces
    decoder.readout = readout.current()

Recursive least squares: after any number of updates the weights are those of ridge on all bins so far (for a readout
that went before, of ridge towards it), at the cost of one bin at a time. `KalmanSmoother` filters the decoded values
forward in time, as a random walk seen through the readout's error; it looks at no future. Since
neighbouring bins err alike, taking all of the error for noise smooths too much; how much of it is noise is fitted too.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spikefield.deploy.readout import LinearReadout
from spikefield.errors import InputError

_FEWEST_BINS = 20
_NOISE_SHARES = (*(2.0**-halvings for halvings in range(11)), 0.0)  # the last smooths nothing


class RecursiveReadout:
    """Ridge that learns bin by bin.

    Args:
        start: the readout that holds before the first bin.
        penalty: how much each weight is held to it, as a sum of squares of its feature; one number, or one a feature.
        memory_bins: None to remember all bins alike; otherwise older bins count less, by e after so many bins.

    Raises:
        InputError: numbers that cannot be.
    """

    def __init__(
        self, start: LinearReadout, *, penalty: float | Float[np.ndarray, " feature"], memory_bins: float | None = None
    ) -> None:
        penalties = np.broadcast_to(np.asarray(penalty, np.float64), len(start.weights))
        if not (np.isfinite(penalties) & (penalties > 0)).all():
            raise InputError(f"`penalty` must be positive, got {penalty}. Leave it out for the default.")
        if memory_bins is not None and not memory_bins > 1:
            raise InputError(
                f"`memory_bins` must be more than 1 bin, or None for all, got {memory_bins}. "
                "Give about a minute of bins."
            )
        self._weights = np.vstack([start.weights, start.intercept]).astype(np.float64)
        intercept = penalties.mean() * 1e-6  # hardly held: the mean may drift
        self._inverse = np.diag(1 / np.append(penalties, intercept))
        self._keep = 1.0 if memory_bins is None else float(np.exp(-1 / memory_bins))
        self.n_bins = 0

    @classmethod
    def blank(
        cls, n_features: int, n_dims: int, *, penalty: float, memory_bins: float | None = None
    ) -> "RecursiveReadout":
        """Return one that knows nothing yet: its weights are 0."""
        return cls(
            LinearReadout(np.zeros((n_features, n_dims)), np.zeros(n_dims)), penalty=penalty, memory_bins=memory_bins
        )

    def update(self, z: Float[np.ndarray, "bin feature"], behavior: Float[np.ndarray, "bin dim"]) -> None:
        """Learn from z (bin, feature) and the known behaviour (bin, dim); a bin with NaN in it teaches nothing.

        Raises:
            InputError: shapes that differ from the readout's.
        """
        n_features, n_dims = len(self._weights) - 1, self._weights.shape[1]
        if z.shape[1] != n_features or behavior.shape != (len(z), n_dims):
            raise InputError(
                f"`z` and `behavior` must be (bin, {n_features}) and (bin, {n_dims}), got {z.shape} and "
                f"{behavior.shape}. Give the bins of one decoder."
            )
        for features, wanted in zip(np.asarray(z, np.float64), behavior, strict=True):
            if np.isfinite(features).all() and np.isfinite(wanted).all():
                self._learn(np.append(features, 1.0), wanted)

    def current(self) -> LinearReadout:
        """Return the readout as it is now.

        Raises:
            InputError: too few bins have been learned from.
        """
        if self.n_bins < _FEWEST_BINS:
            raise InputError(
                f"a readout needs at least {_FEWEST_BINS} labelled bins, got {self.n_bins}. Record some more."
            )
        return LinearReadout(self._weights[:-1].copy(), self._weights[-1].copy())

    def _learn(self, features: Float[np.ndarray, " feature"], wanted: Float[np.ndarray, " dim"]) -> None:
        """Rank-one update of the inverse (Sherman and Morrison) and of the weights."""
        seen = self._inverse @ features
        gain = seen / (self._keep + features @ seen)
        self._weights += np.outer(gain, wanted - features @ self._weights)
        self._inverse = (self._inverse - np.outer(gain, seen)) / self._keep
        self._inverse = (self._inverse + self._inverse.T) / 2
        self.n_bins += 1


@dataclass(frozen=True, eq=False)
class KalmanSmoother:
    """Filter decoded values: truth is an autoregressive walk, and the readout shows it with noise.

    `step` (dim, dim) takes one bin's values to the next; `step_noise` is what it misses, `readout_noise` what the
    readout adds from one bin to the next.
    """

    step: Float[np.ndarray, "dim dim"]
    step_noise: Float[np.ndarray, "dim dim"]
    readout_noise: Float[np.ndarray, "dim dim"]
    mean: Float[np.ndarray, " dim"]

    @classmethod
    def fit(cls, decoded: Float[np.ndarray, "bin dim"], behavior: Float[np.ndarray, "bin dim"]) -> "KalmanSmoother":
        """Fit on decoded and known behaviour (bin, dim) of bins in a row, other ones than the readout was fitted on.

        The noise of the readout is the share of its error with which the filter comes closest to these bins.

        Raises:
            InputError: shapes differ, or too few bins.
        """
        if decoded.shape != behavior.shape:
            raise InputError(
                f"`decoded` and `behavior` must be the same bins, got {decoded.shape} and {behavior.shape}. "
                "Give both bin for bin."
            )
        known = np.isfinite(np.hstack([behavior, decoded])).all(axis=1).astype(bool, copy=False)
        pairs = known[1:] & known[:-1]
        if pairs.sum() < _FEWEST_BINS:
            raise InputError(
                f"`behavior` must be known in at least {_FEWEST_BINS} pairs of bins, got {pairs.sum()}. "
                "Record some more."
            )
        mean = behavior[known].mean(axis=0)
        before, after = behavior[:-1][pairs] - mean, behavior[1:][pairs] - mean
        step = np.linalg.lstsq(before, after, rcond=None)[0].T
        missed, error = after - before @ step.T, decoded[known] - behavior[known]
        error_covariance = _covariance(error)
        tried = [cls(step, _covariance(missed), share * error_covariance, mean) for share in _NOISE_SHARES]
        scale = np.maximum(behavior[known].var(axis=0), 1e-30)
        return min(tried, key=lambda s: (np.square(s.start().push(decoded) - behavior)[known] / scale).sum())

    def start(self) -> "KalmanState":
        """Return a running filter that knows nothing yet."""
        return KalmanState(self)


class KalmanState:
    """A smoother that runs: `push` decoded values as they come."""

    def __init__(self, smoother: KalmanSmoother) -> None:
        self._smoother = smoother
        self.reset()

    def reset(self) -> None:
        """Forget the past, as after a gap."""
        self._value = np.zeros(len(self._smoother.mean))
        self._spread: np.ndarray | None = None

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is remembered."""
        return {"value": self._value.copy()} | ({} if self._spread is None else {"spread": self._spread.copy()})

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state`."""
        self._value, self._spread = state["value"].copy(), state["spread"].copy() if "spread" in state else None

    def push(self, decoded: Float[np.ndarray, "bin dim"]) -> Float[np.ndarray, "bin dim"]:
        """Return the smoothed values (bin, dim) of the next bins; a bin with NaN in it is only predicted."""
        return np.array([self._next(row) for row in decoded], np.float64).reshape(decoded.shape)

    def _next(self, row: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " dim"]:
        model, seen = self._smoother, row - self._smoother.mean
        if self._spread is None:
            if np.isfinite(seen).all():
                self._value, self._spread = seen, model.readout_noise
            return row
        value = model.step @ self._value
        spread = model.step @ self._spread @ model.step.T + model.step_noise
        if np.isfinite(seen).all():
            gain = np.linalg.solve(spread + model.readout_noise, spread).T
            value, spread = value + gain @ (seen - value), spread - gain @ spread
        self._value, self._spread = value, spread
        return value + model.mean


class Smoothing:
    """The filter of a live stream, begun anew where bins are missing; without a smoother, nothing changes."""

    def __init__(self, smoother: KalmanSmoother | None, *, longest_step_s: float) -> None:
        self._filter = None if smoother is None else smoother.start()
        self._longest_step_s = longest_step_s
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._last_s = -np.inf

    def push(
        self, times_s: Float[np.ndarray, " bin"], values: Float[np.ndarray, "bin dim"]
    ) -> Float[np.ndarray, "bin dim"]:
        """Return the smoothed values (bin, dim) of the next bins, whose centres are `times_s`."""
        if self._filter is None:
            return values
        smoothed = np.array(values, np.float64)
        for i, time_s in enumerate(times_s.tolist()):
            if time_s - self._last_s > self._longest_step_s:
                self._filter.reset()
            self._last_s = time_s
            smoothed[i : i + 1] = self._filter.push(smoothed[i : i + 1])
        return smoothed

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is remembered."""
        return {"last_s": np.array(self._last_s)} | ({} if self._filter is None else self._filter.state())

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state`."""
        self._last_s = float(state["last_s"])
        if self._filter is not None:
            self._filter.restore(state)


def _covariance(errors: Float[np.ndarray, "bin dim"]) -> Float[np.ndarray, "dim dim"]:
    """Return the second moment about 0, never quite singular."""
    moment = errors.T @ errors / len(errors)
    return moment + np.eye(len(moment)) * (1e-9 * np.trace(moment) / len(moment) + 1e-30)
