"""The units of a session: how each reads the cortical state, and Poisson spike times from it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator

from spikefield.recordings.simulator.config import SimulatorConfig


@dataclass(frozen=True)
class Units:
    """Tuning (unit, state), rate ∝ softplus(1 + weights · state(t - lag)); a unit's mean rate; its electrode."""

    weights: Float[np.ndarray, "unit state"]
    lag_s: Float[np.ndarray, " unit"]
    mean_rate_hz: Float[np.ndarray, " unit"]
    electrode: Int[np.ndarray, " unit"]


def draw_units(config: SimulatorConfig, *, n_channels: int, generator: Generator) -> Units:
    """Draw the units of a session; they share nothing with those of another."""
    count = int(generator.integers(config.n_units[0], config.n_units[1] + 1))
    direction = generator.standard_normal((count, config.n_state))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return Units(
        weights=direction * generator.uniform(*config.depth, size=(count, 1)) * np.sqrt(config.n_state),
        lag_s=generator.uniform(-config.unit_lag_max_s, config.unit_lag_max_s, count),
        mean_rate_hz=np.exp(generator.uniform(np.log(config.rate_hz[0]), np.log(config.rate_hz[1]), count)),
        electrode=generator.integers(n_channels, size=count),
    )


def faded(units: Units, *, keep: float, generator: Generator) -> Units:
    """Return the units that are still heard a session later, each with probability `keep`; one at least."""
    drawn = generator.random(len(units.electrode))
    heard = (drawn < keep) | (drawn == drawn.min())
    return Units(units.weights[heard], units.lag_s[heard], units.mean_rate_hz[heard], units.electrode[heard])


def firing_rates_hz(
    config: SimulatorConfig, state: Float[np.ndarray, "time state"], units: Units
) -> Float[np.ndarray, "time unit"]:
    """Return each unit's rate (time, unit) in Hz on the kinematic grid, none above `rate_max_hz`."""
    drive = state @ units.weights.T
    grid = np.arange(len(state))
    shift = units.lag_s * config.kinematics_rate_hz
    lagged = np.column_stack([np.interp(grid - s, grid, column) for s, column in zip(shift, drive.T, strict=True)])
    relative = np.logaddexp(0.0, 1.0 + lagged)
    rates = relative / relative.mean(axis=0) * units.mean_rate_hz
    return np.minimum(rates, config.rate_max_hz)


def draw_spikes(
    rates_hz: Float[np.ndarray, "time unit"], *, rate_hz: float, generator: Generator
) -> tuple[Float[np.ndarray, " spike"], Int[np.ndarray, " spike"]]:
    """Draw Poisson spikes of rates that hold within each grid step; return times in s, sorted, and units, (spike,)."""
    counts = generator.poisson(rates_hz / rate_hz)
    step, unit = np.nonzero(counts)
    repeats = counts[step, unit]
    step, unit = np.repeat(step, repeats), np.repeat(unit, repeats)
    times_s = (step + generator.random(len(step))) / rate_hz
    order = np.argsort(times_s)
    return times_s[order], unit[order]
