"""Fit readouts and score a trained model on sessions: rows of `results.csv` out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikefield.artifact import Model
from spikefield.evaluation import baselines
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import Decoded, fit, score
from spikefield.evaluation.ridge import Readout
from spikefield.windows.binned import BinnedSession

COLUMNS = ("model", "regime", "trained_on", "session", "seed", "metric", "value", "n_test")


def score_model(model: Model, sessions: Sequence[BinnedSession]) -> None:
    """Fit a readout on every session with behaviour and keep it, and its score on test time, in the model."""
    for session in sessions:
        model.remember(session)
        if session.behavior is None:
            continue
        z = embed(model.encoder, session, window_bins=model.window_bins)
        readout = fit(session, z)
        model.readouts[session.session_id] = readout.to_arrays()
        labels: dict[str, Any] = {
            "model": model.name,
            "regime": model.lineage.get("regime", "unsupervised"),
            "trained_on": model.trained_on,
            "session_id": session.session_id,
            "seed": model.seed,
        }
        decoded = score(session, z, readout)
        model.scores += rows(decoded, **labels)
        if session.has_trials:
            model.scores += excess_row(decoded, baselines.null(session, z, seed=model.seed), **labels)


def score_baselines(session: BinnedSession, seeds: Sequence[int]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Score lagged ridge on whatever the session holds; return the rows, and what was predicted in test time.

    The null, one for every seed, is that of the field's ridge, or of the spikes' where there is no field.
    """
    labels: dict[str, Any] = {
        "regime": "linear",
        "trained_on": (session.session_id,),
        "session_id": session.session_id,
    }
    found: list[dict[str, Any]] = []
    chance: list[dict[str, Any]] = []
    predicted: dict[str, np.ndarray] = {}
    channels = {"ridge-spikes": session.counts, "ridge-lfp": session.lfp}
    for name, values in channels.items():
        if values is None:
            continue
        decoded = baselines.wiener(session, values)
        predicted[f"pred_{name}"] = decoded.predicted
        found += rows(decoded, model=name, seed=seeds[0], **labels)
        nulls = [baselines.wiener_null(session, values, decoded, seed=seed) for seed in seeds]
        if session.has_trials:
            found += excess_row(decoded, nulls[0], model=name, seed=seeds[0], **labels)
        chance = [
            row for s, null in zip(seeds, nulls, strict=True) for row in rows(null, model="null", seed=s, **labels)
        ]
    return found + chance, predicted


def rows(
    decoded: Decoded | baselines.Null,
    *,
    model: str,
    regime: str,
    trained_on: Sequence[str],
    session_id: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Return one row for the mean R² and one for every behaviour dimension."""
    values = {"r2": decoded.mean_r2} | {f"r2:{n}": float(v) for n, v in zip(decoded.names, decoded.r2, strict=True)}
    fixed = {
        "model": model,
        "regime": regime,
        "trained_on": ";".join(trained_on),
        "session": session_id,
        "seed": seed,
    }
    return [fixed | {"metric": k, "value": round(float(v), 6), "n_test": decoded.n_test} for k, v in values.items()]


def excess_row(decoded: Decoded, chance: baselines.Null, **labels: Any) -> list[dict[str, Any]]:
    """Return the row that says how far the mean R² lies above what time within the trial alone gives."""
    mean = rows(decoded, **labels)[0]
    return [mean | {"metric": "r2_excess", "value": round(decoded.mean_r2 - chance.mean_r2, 6)}]


def predictions(model: Model, session: BinnedSession) -> tuple[np.ndarray, Decoded]:
    """Return the representation (bin, dim) and the decoded test time, with the model's own readout."""
    z = embed(model.encoder, session, window_bins=model.window_bins)
    return z, score(session, z, Readout.from_arrays(model.readouts[session.session_id]))
