"""A clean simulated session, and ways to spoil it."""

from functools import cache
from typing import Any

import numpy as np

from spikefield.preparation.checks import CHECKS
from spikefield.preparation.contents import Contents, read_contents
from spikefield.preparation.finding import Finding
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.simulator import SimulatorConfig, simulate_session

SECONDS = 90.0


@cache
def _clean() -> dict[str, Any]:
    config = SimulatorConfig(session_s=SECONDS, n_channels=(16,), n_units=(30, 30))
    return simulate_session(config, index=0).arrays


def clean() -> dict[str, Any]:
    """Return fresh arguments of `from_arrays`; the caller may change the arrays."""
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in _clean().items()}


def contents_of(arrays: dict[str, Any]) -> Contents:
    return read_contents(from_arrays(**arrays))


def findings(arrays: dict[str, Any], check: str) -> list[Finding]:
    """Return what one of the checks finds, by its name."""
    (run,) = [c for c in CHECKS if c.__name__ == f"check_{check}"]
    return list(run(contents_of(arrays)))


def warned(arrays: dict[str, Any], check: str) -> Finding:
    """Return the one warning or problem of a check."""
    (found,) = [f for f in findings(arrays, check) if f.severity != "note"]
    assert found.remedy and found.what and not found.what.endswith(".")
    return found


def stamped(arrays: dict[str, Any], *, late_s: float = 0.0, stretched: float = 1.0) -> dict[str, Any]:
    """Return the session with the behaviour's clock spoilt."""
    n = len(arrays["behavior"])
    times = np.arange(n) / arrays.pop("behavior_rate_hz") * stretched + late_s
    return {**arrays, "behavior_times_s": times}
