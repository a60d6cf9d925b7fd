"""A Kalman filter as a lab would use it: behaviour is the state, the channels observe it (Wu et al. 2006).

    b_t = A [b_(t-1) … b_(t-order)] + w,  w ~ N(0, W)      y_t = C [b_t … b_(t-order+1)] + q,  q ~ N(0, Q)

All of A, W, C and Q come from least squares on training bins; decoding is causal but for the chosen shift of the
channels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num
from sklearn.covariance import ledoit_wolf

from spikefield.errors import InputError
from spikefield.evaluation.lags import Stretches, bins_of, lagged
from spikefield.evaluation.tuning import Predict


@dataclass(frozen=True, eq=False)
class Kalman:
    """A fitted filter. `inform` (state, channel) is CᵀQ⁻¹, `precision` CᵀQ⁻¹C: what a bin says of the state."""

    step: Float[np.ndarray, "state state"]
    step_noise: Float[np.ndarray, "state state"]
    start: Float[np.ndarray, "state state"]
    inform: Float[np.ndarray, "state channel"]
    precision: Float[np.ndarray, "state state"]
    channel_mean: Float[np.ndarray, "channel"]
    behavior_mean: Float[np.ndarray, "dim"]

    def filter(self, channels: Num[np.ndarray, "bin channel"]) -> Float[np.ndarray, "bin dim"]:
        """Decode one unbroken stretch (bin, channel) to behaviour (bin, dim), beginning from the training mean."""
        told = (channels - self.channel_mean) @ self.inform.T
        mean, covariance = np.zeros(len(self.step)), self.start
        states = np.empty((len(channels), len(self.step)))
        for t, information in enumerate(told):
            if t:
                mean, covariance = self.step @ mean, self.step @ covariance @ self.step.T + self.step_noise
            covariance = np.linalg.solve(np.eye(len(mean)) + covariance @ self.precision, covariance)
            mean = mean + covariance @ (information - self.precision @ mean)
            states[t] = mean
        return states[:, : len(self.behavior_mean)] + self.behavior_mean


def fit_kalman(
    channels: Num[np.ndarray, "bin channel"],
    behavior: Float[np.ndarray, "bin dim"],
    stretches: Stretches,
    *,
    order: int,
    shift_bins: int,
) -> Predict:
    """Fit on stretches of channels (bin, channel); return what decodes others and sees `shift_bins` ahead."""
    observed = lagged(channels, stretches, (shift_bins,)).astype(np.float64)
    states, followed = _states(behavior, stretches, order)
    filter_ = _fit(observed, states, followed, order)

    def predict(stretches: Stretches) -> Float[np.ndarray, "bin dim"]:
        return np.concatenate([filter_.filter(lagged(channels, [stretch], (shift_bins,))) for stretch in stretches])

    return predict


def _states(behavior: np.ndarray, stretches: Stretches, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return [b_t … b_(t-order+1)] of every bin, NaN where the stretch has not begun, and whether t + 1 follows t."""
    behavior = behavior[bins_of(stretches)]
    offset = np.concatenate([np.arange(end - start) for start, end in stretches])
    index = np.arange(len(behavior))
    columns = [np.where((offset >= lag)[:, None], behavior[np.maximum(index - lag, 0)], np.nan) for lag in range(order)]
    return np.concatenate(columns, axis=1), np.append(offset[1:] > 0, False)


def _fit(observed: np.ndarray, states: np.ndarray, followed: np.ndarray, order: int) -> Kalman:
    n_dims = states.shape[1] // order
    known = np.all(np.isfinite(states), axis=1)
    pairs = np.flatnonzero(known[:-1] & known[1:] & followed[:-1])
    if len(pairs) < 2 * states.shape[1]:
        raise InputError(
            f"`behavior` must be measured in at least {2 * states.shape[1]} pairs of neighbouring training bins for a "
            f"Kalman filter, got {len(pairs)}. Use another decoder for this session."
        )
    behavior_mean, channel_mean = states[known, :n_dims].mean(0), observed[known].mean(0)
    states, observed = states - np.tile(behavior_mean, order), observed - channel_mean
    move = np.linalg.lstsq(states[pairs], states[pairs + 1, :n_dims], rcond=None)[0].T
    step = np.eye(len(states[0]), k=-n_dims)
    step[:n_dims] = move
    noise = np.zeros_like(step)
    noise[:n_dims, :n_dims] = _covariance(states[pairs + 1, :n_dims] - states[pairs] @ move.T)
    observe = np.linalg.lstsq(states[known], observed[known], rcond=None)[0].T
    observation_noise = ledoit_wolf(observed[known] - states[known] @ observe.T, assume_centered=True)[0]
    inform = np.linalg.solve(observation_noise + 1e-9 * np.trace(observation_noise) * np.eye(len(observe)), observe).T
    start = _covariance(states[known])
    return Kalman(step, noise, start, inform, inform @ observe, channel_mean, behavior_mean)


def _covariance(residuals: np.ndarray) -> np.ndarray:
    return residuals.T @ residuals / len(residuals)
