"""One student over months: R² of every later session, with a readout fitted anew and with that of the first session.

models of a finished experiment, sessions in order of time -> rows `r2@refitted_month=k`, `r2@carried_month=k`

Beside the student stand the teacher and `ms-lfp`, which both have learned from all months, and lagged ridge. A session
of another array than the first is left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spikefield.artifact import Model
from spikefield.evaluation.baselines import Reach, wiener, with_reach
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import score
from spikefield.evaluation.ridge import Readout
from spikefield.experiments.corpus import Corpus
from spikefield.experiments.models import models_of, row, students
from spikefield.windows.binned import BinnedSession

_MODELS = ("teacher", "distilled", "ms-lfp")


def drift_rows(out: Path, corpus: Corpus) -> list[dict[str, Any]]:
    """Score every model over the sessions of the subject whose first session the student was distilled on."""
    found = []
    for student in students(out):
        (first,) = corpus.named(student.trained_on[:1], argument="session")
        months = [s for s in corpus.having("behavior", "lfp") if s.channel_ids == first.channel_ids]
        months = months[months.index(first) :]
        for model in (m for m in models_of(out, *_MODELS) if m.seed == student.seed):
            for session_id, metric, value, n_test in _scores(model, first, months):
                found.append(row(model, session_id, metric, value, n_test))
        for session_id, metric, value, n_test in _ridge_scores(first, months):
            found.append(row(student, session_id, metric, value, n_test, name="ridge-lfp"))
    return found


def _scores(
    model: Model, first: BinnedSession, months: Sequence[BinnedSession]
) -> Iterator[tuple[str, str, float, int]]:
    """Yield (session, metric, value, test bins) for a network."""
    for month, session in enumerate(months):
        if session.session_id not in model.readouts or first.session_id not in model.readouts:
            continue
        z = embed(model.encoder, session, window_bins=model.window_bins)
        for name, of in (("refitted", session), ("carried", first)):
            decoded = score(session, z, Readout.from_arrays(model.readouts[of.session_id]))
            yield session.session_id, f"r2@{name}_month={month}", decoded.mean_r2, decoded.n_test


def _ridge_scores(first: BinnedSession, months: Sequence[BinnedSession]) -> Iterator[tuple[str, str, float, int]]:
    """Yield the same for lagged ridge on the field."""
    learned = wiener(first, first.require("lfp"))
    assert learned.readout is not None
    for month, session in enumerate(months):
        fitted = wiener(session, session.require("lfp"))
        yield session.session_id, f"r2@refitted_month={month}", fitted.mean_r2, fitted.n_test
        features = with_reach(session, session.require("lfp"), Reach(learned.lags, learned.width_bins))
        carried = score(session, features, learned.readout, lags=learned.lags)
        yield session.session_id, f"r2@carried_month={month}", carried.mean_r2, carried.n_test
