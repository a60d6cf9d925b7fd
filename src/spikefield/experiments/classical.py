"""The decoders a lab would use instead, as rows of a series: each tuned on training time with the same effort.

sessions that a variant's student was distilled on -> Kalman, boosted trees, GRU, ridge on band power -> R² on test time
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikefield.errors import InputError
from spikefield.evaluation.classical import CLASSICAL
from spikefield.experiments import scoring
from spikefield.experiments.corpus import Corpus
from spikefield.experiments.models import students
from spikefield.recordings import session as layout
from spikefield.windows.binned import BinnedSession, bin_session

log = logging.getLogger("spikefield")

_SCORED_ALREADY = ("ridge-spikes", "ridge-lfp")
_POWER = "ridge-power"


def classical_rows(out: Path, corpus: Corpus) -> list[dict[str, Any]]:
    """Score every decoder on the sessions that students of this experiment were distilled on."""
    on = dict.fromkeys(session_id for student in students(out) for session_id in student.trained_on)
    found = []
    for session in (s for s in corpus.having("behavior") if s.session_id in on):
        for name in (name for name in CLASSICAL if name not in _SCORED_ALREADY):
            try:
                found += _rows(_with_power(corpus, session) if name == _POWER else session, name)
            except InputError as error:
                log.info("%s of %s left out: %s", name, session.session_id, error)
    return found


def _rows(session: BinnedSession, name: str) -> list[dict[str, Any]]:
    decoded = CLASSICAL[name](session)
    on = session.session_id
    return scoring.rows(decoded, model=name, regime="classical", trained_on=(on,), session_id=on, seed=0)


def _with_power(corpus: Corpus, session: BinnedSession) -> BinnedSession:
    """Return the session with the power of bands in place of the wave, split with the guards that this needs."""
    for path in layout.session_paths(corpus.folder):
        with layout.load(path) as data:
            if str(data.session.id) == session.session_id:
                return bin_session(data, config=replace(corpus.binning, chain="band_power"))
    raise InputError(f"{corpus.folder}: session {session.session_id!r} is gone. Put it back.")
