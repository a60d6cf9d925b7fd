"""What is read: R² of a student and of ridge by cutoff and band of the field, by lag, by channels read, dead or lost.

students of a finished experiment, the sessions they were distilled on -> rows `r2@what=number`

below_hz          the field low-passed inside each stretch, readout fitted anew (at the file's own rate: `ridge-bands`)
band_hz           one band alone, its wave and log power (`evaluation.bleed`)
lag_ms            one lag alone: the field so much after the behaviour
n_channels        the first channels of a random order, the rest silent; mean of two orders
dead_percent      channels that fall silent after the readout was fitted
without_channel   R² lost when one channel falls silent after the readout was fitted
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import signal

from spikefield.artifact import Model
from spikefield.errors import InputError
from spikefield.evaluation.baselines import Reach, wiener, with_reach
from spikefield.evaluation.bleed import check_bleed
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import fit, score
from spikefield.experiments.corpus import Corpus
from spikefield.experiments.models import row, students
from spikefield.recordings import session as layout
from spikefield.windows.binned import BinnedSession

CUTOFFS_HZ = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
LAGS_MS = (-400, -300, -200, -100, 0, 100, 200, 300, 400)
DEAD_PERCENT = (0, 10, 25, 50, 75)
_FEWEST_CHANNELS = 4
_ORDERS = 2
_KINDS = ("train", "valid", "test")
Field = Float[np.ndarray, "bin channel"]


@dataclass(frozen=True, eq=False)
class Reader:
    """Something that reads the field: what it makes of it, (bin, feature), and the lags that its readout sees."""

    name: str
    features: Callable[[Field], np.ndarray]
    lags: tuple[int, ...] = (0,)

    def r2(self, session: BinnedSession, field: Field, *, lags: tuple[int, ...] | None = None) -> float:
        """Return R² of a field with a readout of its own."""
        features, lags = self.features(field), self.lags if lags is None else lags
        return score(session, features, fit(session, features, lags=lags), lags=lags).mean_r2


def reading_rows(out: Path, corpus: Corpus) -> list[dict[str, Any]]:
    """Measure every student and ridge on the sessions that it was distilled on."""
    found = []
    for student in students(out):
        for session in (s for s in corpus.having("lfp", "behavior") if s.session_id in student.trained_on):
            for reader in _readers(student, session):
                for metric, value in _measured(reader, session):
                    found.append(row(student, session.session_id, metric, value, _n_test(session), name=reader.name))
            for metric, value in _bands(corpus, session.session_id):
                found.append(row(student, session.session_id, metric, value, _n_test(session), name="ridge-bands"))
    return found


def _readers(student: Model, session: BinnedSession) -> list[Reader]:
    def represented(field: Field) -> np.ndarray:
        shown = replace(session, lfp=field.astype(np.float32))
        return embed(student.encoder, shown, window_bins=student.window_bins)

    chosen = wiener(session, session.require("lfp"))
    reach = Reach(chosen.lags, chosen.width_bins)
    ridge = Reader("ridge-lfp", lambda field: with_reach(session, field, reach), reach.lags)
    return [Reader("distilled", represented), ridge]


def _measured(reader: Reader, session: BinnedSession) -> Iterator[tuple[str, float]]:
    field = session.require("lfp")
    for cutoff_hz in (c for c in CUTOFFS_HZ if c < 450 / session.bin_width_ms):
        yield f"r2@below_hz={cutoff_hz:g}", reader.r2(session, low_passed(session, cutoff_hz=cutoff_hz))
    features = reader.features(field)
    for lag_ms in LAGS_MS:
        lags = (round(lag_ms / session.bin_width_ms),)
        alone = _kept(reader, features)
        yield f"r2@lag_ms={lag_ms}", alone.r2(session, field, lags=lags)
    yield from _by_count(reader, session)
    yield from _by_loss(reader, session, features)


def _kept(reader: Reader, features: np.ndarray) -> Reader:
    """Return the reader with its features of the whole field worked out once."""
    return Reader(reader.name, lambda _: features)


def low_passed(session: BinnedSession, *, cutoff_hz: float) -> Field:
    """Return the field low-passed without delay inside each stretch, so that nothing crosses a split; NaN elsewhere."""
    field = session.require("lfp")
    sections = signal.butter(4, cutoff_hz, fs=1000 / session.bin_width_ms, output="sos")
    passed = np.full(field.shape, np.nan, np.float32)
    for start, end in (stretch for kind in _KINDS for stretch in session.stretches(kind)):
        pad = min(end - start - 1, 3 * round(1000 / session.bin_width_ms / cutoff_hz))
        passed[start:end] = signal.sosfiltfilt(sections, field[start:end], axis=0, padlen=pad)
    return passed


def silenced(field: Field, channels: Int[np.ndarray, "silent"]) -> Field:
    """Return the field with the channels of these numbers (silent,) at 0, their mean."""
    silent = np.array(field)
    silent[:, channels] = 0.0
    return silent


def _by_count(reader: Reader, session: BinnedSession) -> Iterator[tuple[str, float]]:
    field = session.require("lfp")
    n = field.shape[1]
    counts = [c for c in (_FEWEST_CHANNELS * 2**i for i in range(10)) if c < n]
    for count in [*counts, n]:
        orders = [np.random.default_rng(i).permutation(n) for i in range(1 if count == n else _ORDERS)]
        yield (
            f"r2@n_channels={count}",
            float(np.mean([reader.r2(session, silenced(field, order[count:])) for order in orders])),
        )


def _by_loss(reader: Reader, session: BinnedSession, features: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield R² with the readout of the whole field when channels fall silent in test time."""
    field, readout = session.require("lfp"), fit(session, features, lags=reader.lags)
    n, order = field.shape[1], np.random.default_rng(0).permutation(field.shape[1])

    def without(channels: np.ndarray) -> float:
        return score(session, reader.features(silenced(field, channels)), readout, lags=reader.lags).mean_r2

    for percent in DEAD_PERCENT:
        yield f"r2@dead_percent={percent}", without(order[: round(n * percent / 100)])
    whole = without(order[:0])
    for channel in range(n):
        yield f"r2@without_channel={channel}", whole - without(np.array([channel]))


def _bands(corpus: Corpus, session_id: str) -> Iterator[tuple[str, float]]:
    """Yield R² by cutoff and band of the recording at its own rate, where that allows it."""
    for path in layout.session_paths(corpus.folder):
        with layout.load(path) as data:
            if str(data.session.id) != session_id:
                continue
            try:
                cutoffs = check_bleed(data).cutoffs
            except InputError:
                cutoffs = ()
    for cutoff in cutoffs:
        yield f"r2@below_hz={cutoff.high_hz:g}", cutoff.r2_below
        yield f"r2@band_hz={cutoff.low_hz:g}", cutoff.r2_band


def _n_test(session: BinnedSession) -> int:
    return int(session.split.test.sum())
