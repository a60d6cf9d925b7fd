"""Both ends of a live decoder as the model keeps them: a session's signal chain, and its linear readout."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spikefield.artifact import Model
from spikefield.errors import InputError
from spikefield.signals.chain import FittedChain


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """values = z @ weights + intercept, with weights (feature, dim)."""

    weights: Float[np.ndarray, "feature dim"]
    intercept: Float[np.ndarray, " dim"]

    def predict(self, z: Float[np.ndarray, "bin feature"]) -> Float[np.ndarray, "bin dim"]:
        """Return the decoded behaviour (bin, dim), in the unit it was trained in."""
        return z @ self.weights + self.intercept


def readout_of_session(model: Model, session_id: str) -> tuple[LinearReadout, tuple[str, ...]]:
    """Return the readout that the model keeps for a session, and the names of what it decodes.

    Raises:
        InputError: there is none.
    """
    if session_id not in model.readouts:
        known = ", ".join(sorted(model.readouts)) or "none"
        raise InputError(
            f"session {session_id!r} has no readout in model {model.name!r}, which has those of {known}. "
            "Name one of these with `readout_of`, or fit one from labelled data (`spikefield.deploy.adaptation`)."
        )
    arrays = model.readouts[session_id]
    names = tuple(model.sessions[session_id]["behavior"])
    return LinearReadout(np.asarray(arrays["weights"]), np.asarray(arrays["intercept"])), names


def chain_of_session(model: Model, session_id: str) -> FittedChain:
    """Return the fitted signal chain that the model keeps for a session.

    Raises:
        InputError: there is none.
    """
    if session_id not in model.chains:
        known = ", ".join(sorted(model.chains)) or "none"
        raise InputError(
            f"`session_id` {session_id!r} has no signal chain in the model, which knows {known}. Name one of these."
        )
    return model.chains[session_id]
