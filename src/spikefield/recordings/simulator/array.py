"""A subject's electrodes on the ten by ten grid, and how a session's channels see each source of the field."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from spikefield.recordings.simulator.config import SimulatorConfig
from spikefield.recordings.simulator.noise import smooth_pattern

_SIDE = 10
_CORNERS = (0, _SIDE - 1, _SIDE * (_SIDE - 1), _SIDE * _SIDE - 1)


@dataclass(frozen=True)
class Array:
    """A subject's electrodes: their places (channel, 2), and the axis along which beta waves travel."""

    positions_um: Float[np.ndarray, "channel 2"]
    wave_axis_rad: float


@dataclass(frozen=True)
class Loadings:
    """How a session's channels see the sources, (state, channel) and so on: one row a source. Drifts with sessions."""

    state: Float[np.ndarray, "state channel"]
    nuisance: Float[np.ndarray, "source channel"]
    line: Float[np.ndarray, "2 channel"]
    gain: Float[np.ndarray, " channel"]


def draw_array(config: SimulatorConfig, *, n_channels: int, generator: Generator) -> Array:
    """Draw which electrodes of the ten by ten grid record, and the axis of the waves."""
    grid = np.setdiff1d(np.arange(_SIDE * _SIDE), _CORNERS)
    chosen = np.sort(generator.permutation(grid)[:n_channels])
    places = np.column_stack([chosen % _SIDE, chosen // _SIDE]) * config.pitch_um
    return Array(places.astype(np.float64), float(generator.uniform(0, np.pi)))


def draw_loadings(config: SimulatorConfig, array: Array, *, generator: Generator) -> Loadings:
    """Draw loadings afresh."""

    def pattern(rows: int, length_um: float) -> np.ndarray:
        return smooth_pattern(generator, array.positions_um, rows=rows, length_um=length_um)

    return Loadings(
        state=pattern(config.n_state, config.movement_length_um),
        nuisance=pattern(config.nuisance_sources, config.nuisance_length_um),
        line=pattern(2, config.nuisance_length_um),
        gain=generator.standard_normal(len(array.positions_um)),
    )


def drift(config: SimulatorConfig, before: Loadings, fresh: Loadings) -> Loadings:
    """Return the next session's loadings: `loading_keep` of those before, the rest fresh, at equal variance."""
    keep = config.loading_keep
    renew = np.sqrt(1 - keep**2)
    return Loadings(
        state=keep * before.state + renew * fresh.state,
        nuisance=keep * before.nuisance + renew * fresh.nuisance,
        line=keep * before.line + renew * fresh.line,
        gain=keep * before.gain + renew * fresh.gain,
    )
