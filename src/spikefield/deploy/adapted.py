"""A readout fitted to the day at the rig: from minutes of labelled recording to one small file beside the model folder.

    spikefield adapt MODEL tuesday.h5 --out tuesday.safetensors
    spikefield stream MODEL --readout tuesday.safetensors --smooth true ...

The recording runs through the live decoder; bins without a flag update the model's readout by recursive least squares,
and tell how a Kalman filter should smooth what is decoded. The file says which model and recording it came from.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.deploy.adaptation import KalmanSmoother, RecursiveReadout
from spikefield.deploy.readout import LinearReadout
from spikefield.errors import InputError

FORMAT_VERSION = 1
_FORMAT = "spikefield-readout"
_CERTAINTIES_S = (3.0, 30.0, 300.0, 3000.0, 1e6)  # how much recording the old readout is worth; the last keeps it
_FEWEST_BINS = 300
_READOUT = ("weights", "intercept")
_SMOOTHER = ("step", "step_noise", "readout_noise", "mean")


@dataclass(frozen=True, eq=False)
class Adapted:
    """A readout, the smoother that suits it, and what is known of both.

    `before_r2` and `after_r2` are those of the old and the new readout on the last third of the recording, which
    neither the fit behind `after_r2` nor the choice of its penalty has seen; the readout kept is fitted on all of it.
    `smoothed_r2` is that of the smoother, which was fitted on the second third.
    """

    readout: LinearReadout
    smoother: KalmanSmoother
    behavior_names: tuple[str, ...]
    about: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        arrays = {k: getattr(self.readout, k) for k in _READOUT} | {k: getattr(self.smoother, k) for k in _SMOOTHER}
        said = {"format": _FORMAT, "format_version": FORMAT_VERSION, "behavior": self.behavior_names, **self.about}
        plain = {name: np.ascontiguousarray(array, np.float64) for name, array in arrays.items()}
        with files.whole(path) as temporary:
            temporary.write_bytes(safetensors.numpy.save(plain, {k: json.dumps(v) for k, v in said.items()}))


def load_adapted(path: Path, model: Model, session_id: str) -> Adapted:
    """Read a file of `Adapted.save` for the model and session that it was fitted with.

    Raises:
        InputError: not such a file, of a newer format, or of another model or session.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            said = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        why = " ".join(str(error).split())[:100]
        raise InputError(f"`readout` {path}: not a readout file ({why}). Make one with `spikefield adapt`.") from error
    version = said.pop("format_version", None)
    if said.pop("format", None) != _FORMAT or set(arrays) != {*_READOUT, *_SMOOTHER}:
        raise InputError(f"`readout` {path}: not a readout file. Make one with `spikefield adapt`.")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise InputError(
            f"`readout` {path}: `format_version` must be 1, got {version!r}. Update spikefield to read it."
        )
    if (said.get("model_weights"), said.get("session")) != (artifact.weights_hash(model.network), session_id):
        raise InputError(
            f"`readout` {path} was fitted for session {said.get('session')!r} of model {said.get('model')!r}, not for "
            f"session {session_id!r} of this model {model.name!r}. Run `spikefield adapt` with this one."
        )
    readout = LinearReadout(*(arrays[name] for name in _READOUT))
    return Adapted(readout, KalmanSmoother(*(arrays[n] for n in _SMOOTHER)), tuple(said.pop("behavior")), said)


def adapt_readout(
    start: LinearReadout,
    z: Float[np.ndarray, "bin feature"],
    behavior: Float[np.ndarray, "bin dim"],
    *,
    names: tuple[str, ...],
    bin_width_ms: float,
) -> Adapted:
    """Update a readout on z (bin, feature) and known behaviour (bin, dim), in order of time, and fit a smoother.

    Raises:
        InputError: too few bins.
    """
    known = np.isfinite(behavior).all(axis=1) & np.isfinite(z).all(axis=1)
    if known.sum() < _FEWEST_BINS:
        raise InputError(
            f"the recording must hold at least {_FEWEST_BINS * bin_width_ms / 1000:g} s of good bins with behaviour, "
            f"got {known.sum() * bin_width_ms / 1000:g} s. Record some minutes."
        )
    z, behavior = np.asarray(z[known], np.float64), behavior[known]
    first, second, third = np.array_split(np.arange(len(z)), 3)
    held = np.maximum(z.var(axis=0), 1e-12) * 1000 / bin_width_ms

    def fitted(bins: np.ndarray, certainty_s: float) -> LinearReadout:
        recursive = RecursiveReadout(start, penalty=certainty_s * held)
        recursive.update(z[bins], behavior[bins])
        return recursive.current()

    def r2(readout: LinearReadout, bins: np.ndarray) -> float:
        return _r2(behavior[bins], readout.predict(z[bins]))

    early = {c: fitted(first, c) for c in _CERTAINTIES_S}
    certainty_s = max(_CERTAINTIES_S, key=lambda c: r2(early[c], second))
    smoother = KalmanSmoother.fit(early[certainty_s].predict(z[second]), behavior[second])
    checked = fitted(np.r_[first, second], certainty_s)
    smoothed = smoother.start().push(checked.predict(z[third]))
    about = {
        "bins": len(z),
        "certainty_s": certainty_s,
        "before_r2": round(r2(start, third), 4),
        "after_r2": round(r2(checked, third), 4),
        "smoothed_r2": round(_r2(behavior[third], smoothed), 4),
    }
    return Adapted(fitted(np.arange(len(z)), certainty_s), smoother, names, about)


def _r2(true: Float[np.ndarray, "bin dim"], decoded: Float[np.ndarray, "bin dim"]) -> float:
    """Return the mean R² over dims that change."""
    spread, error = np.square(true - true.mean(axis=0)).sum(axis=0), np.square(true - decoded).sum(axis=0)
    return float(np.mean(1 - error[spread > 0] / spread[spread > 0]))
