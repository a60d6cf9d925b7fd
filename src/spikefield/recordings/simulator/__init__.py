"""A corpus with a known ceiling, made where no recording is at hand: reaches, a cortical state, spikes and field.

Data flow: `movement` → `cortex` (the state) → `spikes` and `lfp` → `corpus` (sessions) → `recordings.from_arrays`.
"""

from spikefield.recordings.simulator.ceiling import ceiling_r2
from spikefield.recordings.simulator.config import MONTHLY, SimulatorConfig
from spikefield.recordings.simulator.corpus import (
    SimulatedSession,
    Simulation,
    simulate,
    simulate_session,
    simulate_sessions,
)

__all__ = [
    "MONTHLY",
    "SimulatedSession",
    "Simulation",
    "SimulatorConfig",
    "ceiling_r2",
    "simulate",
    "simulate_session",
    "simulate_sessions",
]
