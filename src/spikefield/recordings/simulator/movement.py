"""The hand: self-paced minimum-jerk reaches to random targets, with holds and rests between them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from spikefield.recordings.simulator.config import SimulatorConfig


@dataclass(frozen=True)
class Movement:
    """Hand and target (time, 2) on the kinematic grid, from 0 s; `reaches_s` are start and end of each reach."""

    position_cm: Float[np.ndarray, "time 2"]
    velocity_cm_s: Float[np.ndarray, "time 2"]
    target_cm: Float[np.ndarray, "time 2"]
    reaches_s: Float[np.ndarray, "reach 2"]

    @property
    def speed_cm_s(self) -> Float[np.ndarray, " time"]:
        """Return the hand's speed (time,) in cm/s."""
        return np.linalg.norm(self.velocity_cm_s, axis=1)


def move(config: SimulatorConfig, *, samples: int, generator: Generator) -> Movement:
    """Draw reaches one after the other until `samples` of the kinematic grid are filled."""
    times_s = np.arange(samples) / config.kinematics_rate_hz
    position, velocity, shown = np.empty((samples, 2)), np.zeros((samples, 2)), np.empty((samples, 2))
    hand = np.zeros(2)
    position[:], shown[:] = hand, hand
    now_s, reaches_s = 0.0, []
    while now_s < times_s[-1]:
        target = _next_target(config, hand, generator)
        cue_s = now_s + _rest_s(config, generator)
        start_s = cue_s + generator.uniform(*config.reaction_s)
        end_s = start_s + _reach_s(config, float(np.linalg.norm(target - hand)), generator)
        shown[times_s >= cue_s] = target
        part = slice(*np.searchsorted(times_s, [start_s, end_s]))
        path, slope = minimum_jerk((times_s[part] - start_s) / (end_s - start_s))
        position[part] = hand + path[:, None] * (target - hand)
        velocity[part] = slope[:, None] * (target - hand) / (end_s - start_s)
        position[part.stop :] = target
        reaches_s.append((start_s, end_s))
        hand, now_s = target, end_s
    return Movement(position, velocity, shown, np.array(reaches_s))


def minimum_jerk(fraction: Float[np.ndarray, " time"]) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """Return share of the way and its slope (time,) at a fraction of the reach's duration (Flash & Hogan 1985)."""
    path = fraction**3 * (10 - 15 * fraction + 6 * fraction**2)
    return path, 30 * fraction**2 * (1 - fraction) ** 2


def _next_target(config: SimulatorConfig, hand: np.ndarray, generator: Generator) -> np.ndarray:
    while True:
        target = generator.uniform(-0.5, 0.5, 2) * config.workspace_cm
        if np.linalg.norm(target - hand) >= config.reach_min_cm:
            return target


def _rest_s(config: SimulatorConfig, generator: Generator) -> float:
    if generator.random() < config.pause_probability:
        return generator.uniform(*config.pause_s)
    return config.hold_s + generator.exponential(config.hold_more_s)


def _reach_s(config: SimulatorConfig, distance_cm: float, generator: Generator) -> float:
    jitter = generator.uniform(-config.reach_jitter, config.reach_jitter)
    return (config.reach_base_s + config.reach_per_cm_s * distance_cm) * (1 + jitter)
