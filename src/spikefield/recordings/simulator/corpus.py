"""Sessions of a corpus, one at a time: shared state map, subjects' arrays, drifting loadings, fresh units."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.random import Generator, SeedSequence, default_rng
from torch_brain.data import Data

from spikefield.errors import InputError
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.simulator.array import Array, Loadings, draw_array, draw_loadings, drift
from spikefield.recordings.simulator.config import SimulatorConfig
from spikefield.recordings.simulator.cortex import draw_axes, lead_samples, run_state
from spikefield.recordings.simulator.lfp import record_field
from spikefield.recordings.simulator.movement import move
from spikefield.recordings.simulator.spikes import Units, draw_spikes, draw_units, faded, firing_rates_hz

_DEFAULT = SimulatorConfig()
_BRAIN, _ARRAY, _LOADINGS, _UNITS, _TAKE = range(5)


@dataclass(frozen=True)
class SimulatedSession:
    """A session as arrays, with the truth behind it.

    `arrays` are the keyword arguments of `recordings.from_arrays`: hand velocity in cm/s, field in microvolts.
    `state` (time, state) is the true cortical state on the grid of `behavior`, 100 Hz.
    """

    session: str
    subject: str
    arrays: dict[str, Any]
    state: Float[np.ndarray, "time state"]
    reaches_s: Float[np.ndarray, "reach 2"]
    units: Units
    array: Array
    loadings: Loadings

    def to_data(self) -> Data:
        """Return the prepared session."""
        return from_arrays(**self.arrays)


@dataclass(frozen=True)
class Simulation:
    """A whole corpus in memory."""

    config: SimulatorConfig
    seed: int
    sessions: tuple[SimulatedSession, ...]


def simulate(config: SimulatorConfig = _DEFAULT, *, seed: int = 0) -> Simulation:
    """Return a corpus, about 60 MB a session of five minutes; the same seed gives the same corpus.

    Example:
        >>> corpus = simulate(SimulatorConfig(n_sessions=2, session_s=10.0), seed=1)
        >>> [session.session for session in corpus.sessions]
        ['sim-a-01', 'sim-a-02']
    """
    return Simulation(config, seed, tuple(simulate_sessions(config, seed=seed)))


def simulate_sessions(config: SimulatorConfig = _DEFAULT, *, seed: int = 0) -> Iterator[SimulatedSession]:
    """Yield the sessions of a corpus one by one."""
    for index in range(config.n_sessions):
        yield simulate_session(config, index=index, seed=seed)


def simulate_session(
    config: SimulatorConfig = _DEFAULT, *, index: int, seed: int = 0, take: int = 0
) -> SimulatedSession:
    """Return session `index` of a corpus, which does not depend on how many there are.

    Another `take` is more time of the same session: same units and loadings, other movements and noise.

    Raises:
        InputError: `seed`, `index` or `take` is negative.
    """
    for name, value in {"seed": seed, "index": index, "take": take}.items():
        if value < 0:
            raise InputError(f"`{name}` must be 0 or more, got {value}. Count from 0.")
    subject, number = index % config.n_subjects, index // config.n_subjects
    array, loadings = _implant(config, subject=subject, number=number, seed=seed)
    units = _units(config, n_channels=len(array.positions_um), index=index, seed=seed)
    arrays, state, reaches_s = _record(
        config, draw_axes(config, _generator(seed, _BRAIN)), units, array, loadings, key=(seed, _TAKE, index, take)
    )
    letter = chr(ord("a") + subject)
    names = {"session": f"sim-{letter}-{number + 1:02d}", "subject": f"sim-{letter}"}
    constants = {name: value for name, value in asdict(config).items() if value is not None}
    made = {"seed": seed, "index": index, "take": take, "config": constants}
    source = {"reader": "simulator", "lfp_unit": "microvolt", "behavior_unit": "cm/s", **made}
    return SimulatedSession(
        **names,
        arrays={**names, **arrays, "source": source},
        state=state,
        reaches_s=reaches_s,
        units=units,
        array=array,
        loadings=loadings,
    )


def _record(
    config: SimulatorConfig, axes: np.ndarray, units: Units, array: Array, loadings: Loadings, *, key: tuple[int, ...]
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Let the hand move and record it: arrays for `from_arrays`, the state, and the reaches that were completed."""
    hand_rng, state_rng, spike_rng, field_rng = (_generator(*key, part) for part in range(4))
    samples = round(config.session_s * config.kinematics_rate_hz)
    movement = move(config, samples=samples + lead_samples(config), generator=hand_rng)
    state = run_state(config, movement, axes, generator=state_rng)
    rates_hz = firing_rates_hz(config, state, units)
    spike_times_s, spike_units = draw_spikes(rates_hz, rate_hz=config.kinematics_rate_hz, generator=spike_rng)
    field_uv = record_field(
        config,
        state=state,
        speed_cm_s=movement.speed_cm_s[:samples],
        spike_times_s=spike_times_s,
        spike_units=spike_units,
        units=units,
        array=array,
        loadings=loadings,
        generator=field_rng,
    )
    arrays = {
        "spike_times": spike_times_s,
        "spike_units": spike_units,
        "lfp": field_uv,
        "lfp_rate_hz": config.lfp_rate_hz,
        "behavior": movement.velocity_cm_s[:samples],
        "behavior_rate_hz": config.kinematics_rate_hz,
        "behavior_names": ["vx", "vy"],
        "channel_positions_um": array.positions_um,
    }
    return arrays, state, movement.reaches_s[movement.reaches_s[:, 1] <= config.session_s]


def _units(config: SimulatorConfig, *, n_channels: int, index: int, seed: int) -> Units:
    """Return a session's units: its own, or what is left of those of the subject's first session."""
    if config.unit_keep is None:
        return draw_units(config, n_channels=n_channels, generator=_generator(seed, _UNITS, index))
    subject, number = index % config.n_subjects, index // config.n_subjects
    units = draw_units(config, n_channels=n_channels, generator=_generator(seed, _UNITS, subject))
    for step in range(1, number + 1):
        generator = _generator(seed, _UNITS, subject, step)
        units = faded(units, keep=config.unit_keep, generator=generator)
    return units


def _implant(config: SimulatorConfig, *, subject: int, number: int, seed: int) -> tuple[Array, Loadings]:
    """Return a subject's array and its loadings in the subject's session `number`, drifted there step by step."""
    n_channels = config.n_channels[subject % len(config.n_channels)]
    array = draw_array(config, n_channels=n_channels, generator=_generator(seed, _ARRAY, subject))
    loadings = draw_loadings(config, array, generator=_generator(seed, _LOADINGS, subject, 0))
    for step in range(1, number + 1):
        fresh = draw_loadings(config, array, generator=_generator(seed, _LOADINGS, subject, step))
        loadings = drift(config, loadings, fresh)
    return array, loadings


def _generator(seed: int, *key: int) -> Generator:
    return default_rng(SeedSequence(seed, spawn_key=key))
