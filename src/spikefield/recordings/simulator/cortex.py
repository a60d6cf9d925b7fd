"""The cortical state: few dimensions, driven by the movement to come, with a life of their own."""

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from scipy.signal import lfilter

from spikefield.recordings.simulator.config import SimulatorConfig
from spikefield.recordings.simulator.movement import Movement
from spikefield.recordings.simulator.noise import coloured_noise

N_DRIVERS = 7


def draw_axes(config: SimulatorConfig, generator: Generator) -> Float[np.ndarray, "state state"]:
    """Draw orthonormal axes of the state (state, state), one a row: first those of the drivers, then the private."""
    return np.linalg.qr(generator.standard_normal((config.n_state, config.n_state)))[0].T


def run_state(
    config: SimulatorConfig, movement: Movement, axes: Float[np.ndarray, "state state"], *, generator: Generator
) -> Float[np.ndarray, "time state"]:
    """Return the state (time, state), x_t = axesᵀ [low-pass(drivers)_(t + lead) + private_t], `lead_s` shorter."""
    lead = lead_samples(config)
    smooth = _lowpass(drivers(config, movement), config.state_tau_s * config.kinematics_rate_hz)[lead:]
    along = coloured_noise(
        generator,
        rows=config.n_state,
        samples=len(smooth),
        rate_hz=config.kinematics_rate_hz,
        exponent=config.private_exponent,
        knee_hz=config.private_hz,
    ).T.astype(np.float64)
    along[:, :N_DRIVERS] *= config.private_shared_std
    along[:, N_DRIVERS:] *= config.private_own_std
    along[:, :N_DRIVERS] += smooth
    return along @ axes


def drivers(config: SimulatorConfig, movement: Movement) -> Float[np.ndarray, "time 7"]:
    """Return position, velocity, speed and position error (target - hand) as (time, 7), each about of size one."""
    speed = movement.speed_cm_s[:, None] / config.speed_scale_cm_s - config.speed_offset
    return np.hstack(
        [
            movement.position_cm / config.position_scale_cm,
            movement.velocity_cm_s / config.velocity_scale_cm_s,
            speed,
            (movement.target_cm - movement.position_cm) / config.error_scale_cm,
        ]
    )


def lead_samples(config: SimulatorConfig) -> int:
    """Return how many samples of the kinematic grid the state runs ahead of the hand."""
    return round(config.lead_s * config.kinematics_rate_hz)


def _lowpass(series: Float[np.ndarray, "time dim"], tau_samples: float) -> Float[np.ndarray, "time dim"]:
    keep = np.exp(-1 / tau_samples)
    smooth, _ = lfilter([1 - keep], [1, -keep], series, axis=0, zi=keep * series[:1])
    return smooth
