"""How alike teacher and field models are on test time: the quantities of Table 1, as rows of results.

models of a finished experiment, its sessions -> linear CKA, retrieval accuracy and its chance level
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import spikefield.artifact as artifact
from spikefield.artifact import Model
from spikefield.evaluation import alignment as measures
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import fit
from spikefield.experiments.corpus import Corpus
from spikefield.windows.binned import BinnedSession

_MOST_BINS = 2000


def alignment_rows(out: Path, corpus: Corpus) -> list[dict[str, Any]]:
    """Compare every field model with the teacher of its seed, on the sessions with spikes and field that both know."""
    models = [artifact.load(path) for path in sorted((out / "models").glob("[!.]*"))]
    teachers = [m for m in models if m.name == "teacher"]
    found = []
    for session in corpus.having("spikes", "lfp"):
        for teacher in (t for t in teachers if session.session_id in t.encoder.space.rows):
            guide = embed(teacher.encoder, session, window_bins=teacher.window_bins)
            students = [m for m in models if m.encoder.config.modality == "lfp" and m.seed == teacher.seed]
            for model in (m for m in students if session.session_id in m.encoder.space.rows):
                z = embed(model.encoder, session, window_bins=model.window_bins)
                found += _rows(model, session, measured(session, z, guide))
    return found


def measured(
    session: BinnedSession, z: Float[np.ndarray, "bin dim"], guide: Float[np.ndarray, "bin teacher_dim"]
) -> dict[str, float]:
    """Return the measures of z (bin, dim) on test bins, at most 2000 of them, evenly spread.

    Retrieval is asked of z mapped onto the teacher's space by the readout that every model gets, fitted on training
    time, so that models which were never aligned are asked the same question.
    """
    bins = np.flatnonzero(session.split.test & np.isfinite(z).all(1) & np.isfinite(guide).all(1))
    bins = bins[np.linspace(0, len(bins) - 1, min(_MOST_BINS, len(bins))).astype(int)]
    names = tuple(f"z{i}" for i in range(guide.shape[1]))
    towards = BinnedSession(**{**vars(session), "behavior": guide.astype(np.float64), "behavior_names": names})
    mapped = fit(towards, z).predict(z[bins])
    found = measures.retrieval(mapped.astype(np.float64), guide[bins].astype(np.float64))
    return {
        "cka": measures.linear_cka(z[bins], guide[bins]),
        "cka_debiased": measures.debiased_cka(z[bins], guide[bins]),
        "retrieval": found.accuracy,
        "retrieval_chance": found.chance,
    }


def _rows(model: Model, session: BinnedSession, values: dict[str, float]) -> list[dict[str, Any]]:
    fixed = {
        "model": model.name,
        "regime": model.lineage.get("regime", "unsupervised"),
        "trained_on": ";".join(model.trained_on),
        "session": session.session_id,
        "seed": model.seed,
        "n_test": min(int(session.split.test.sum()), _MOST_BINS),
    }
    return [fixed | {"metric": name, "value": round(value, 6)} for name, value in values.items()]
