"""A new session without spikes: ways to use a student there, and what can be said beforehand, without labels.

students of a finished experiment, sessions they never saw -> rows `r2_refitted`, `r2_carried`, `shift`, a model a way

as it is              the learned space embedding, channels in their order (where their number is that learned)
by position           the same, each learned electrode read from the nearest one of the new array
space tuned           by position, then the space embedding alone learns to rebuild the new field
all tuned             by position, then the whole student does

`r2_refitted` is with a readout fitted on the new session's labels, `r2_carried` with that of the session distilled on:
no label of the new one is used. `shift` is how far the representation's distribution in the new session's training time
lies from the old one's (`frechet_shift`), known before any label.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from spikefield.artifact import Model
from spikefield.evaluation.alignment import frechet_shift
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import decode, score
from spikefield.evaluation.ridge import Readout
from spikefield.experiments.corpus import Corpus
from spikefield.experiments.models import row, students
from spikefield.objectives.distillation import Student
from spikefield.recordings import session as layout
from spikefield.training.loop import HardwareConfig
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.stages import RunConfig, tune_on_field
from spikefield.windows.binned import BinnedSession

TUNING = OptimiserConfig(epochs=20, min_steps=200, warmup_epochs=1.0, peak_learning_rate=5e-4, weight_decay=0.0)
Positions = Float[np.ndarray, "channel 2"]


def new_session_rows(out: Path, corpus: Corpus) -> list[dict[str, Any]]:
    """Try every way of using every student on the sessions with field and behaviour that it was not distilled on."""
    found = []
    for student in students(out):
        (learned,) = corpus.named(student.trained_on[:1], argument="session")
        for session in (s for s in corpus.having("lfp", "behavior") if s.session_id not in student.trained_on):
            for name, metric, value in _tried(student, learned, session, corpus):
                n_test = int(session.split.test.sum())
                found.append(row(student, session.session_id, metric, value, n_test, name=name))
    return found


def _tried(
    student: Model, learned: BinnedSession, session: BinnedSession, corpus: Corpus
) -> Iterator[tuple[str, str, float]]:
    for name, network, shown in _ways(student, learned, session, corpus):
        used = replace(student, network=network)
        for metric, value in _scores(used, learned, shown).items():
            yield name, metric, value


def _ways(
    student: Model, learned: BinnedSession, session: BinnedSession, corpus: Corpus
) -> Iterator[tuple[str, Student, BinnedSession]]:
    """Yield (way, network, the session as the network sees it)."""
    if session.require("lfp").shape[1] == learned.require("lfp").shape[1]:
        yield "as it is", _with_session(student, learned, session), session
    places = [positions_um(corpus, s) for s in (learned, session)]
    if places[0] is None or places[1] is None:
        return
    mapped = replace(session, lfp=session.require("lfp")[:, nearest(places[0], places[1])])
    yield "by position", _with_session(student, learned, mapped), mapped
    for name, what in (("space tuned", "space"), ("all tuned", "all")):
        network = _with_session(student, learned, mapped)
        hardware = HardwareConfig(accelerator="cpu")
        run = RunConfig(TUNING, student.window_bins, student.seed, name, hardware, progress=False)
        tune_on_field(network, mapped, what=what, run=run)
        yield name, network, mapped


def _scores(used: Model, learned: BinnedSession, session: BinnedSession) -> dict[str, float]:
    old, new = (embed(used.encoder, s, window_bins=used.window_bins) for s in (learned, session))
    readout = Readout.from_arrays(used.readouts[learned.session_id])
    return {
        "r2_refitted": decode(session, new).mean_r2,
        "r2_carried": score(session, new, readout).mean_r2,
        "shift": frechet_shift(old[_known(learned, old)], new[_known(session, new)]),
    }


def _known(session: BinnedSession, z: np.ndarray) -> np.ndarray:
    return session.split.train & np.isfinite(z).all(1)


def _with_session(student: Model, learned: BinnedSession, session: BinnedSession) -> Student:
    """Return a copy of the student in which the new session has rows of its own, equal to the learned ones."""
    network = copy.deepcopy(student.network)
    assert isinstance(network, Student)
    space = network.encoder.space
    space.rows.pop(session.session_id, None)
    first, count = space.rows_of(learned.session_id)
    space.add_session(session.session_id, count)
    own, _ = space.rows_of(session.session_id)
    space.table.data[own : own + count] = space.table.data[first : first + count]
    return network


def positions_um(corpus: Corpus, session: BinnedSession) -> Positions | None:
    """Return the place of each channel of a binned session, None where the recording does not say."""
    for path in layout.session_paths(corpus.folder):
        with layout.load(path) as data:
            if str(data.session.id) != session.session_id or "x_um" not in data.channels.keys():  # noqa: SIM118
                continue
            table = data.channels
            named = {str(i): (x, y) for i, x, y in zip(table.id.astype(str), table.x_um, table.y_um, strict=True)}
            if set(session.channel_ids) <= set(named):
                return np.array([named[c] for c in session.channel_ids], np.float64)
    return None


def nearest(learned: Positions, new: Float[np.ndarray, "new_channel 2"]) -> Int[np.ndarray, "channel"]:
    """Return for each learned electrode (channel,) the index of the nearest new one, arrays laid centre on centre."""
    first, second = learned - learned.mean(0), new - new.mean(0)
    return np.square(first[:, None] - second[None]).sum(-1).argmin(1)
