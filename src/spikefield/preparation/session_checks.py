"""Is there enough time, unbroken and trial by trial, and what will later stages need? Do sessions agree?"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import psutil

from spikefield.preparation.contents import Contents
from spikefield.preparation.finding import Finding, Severity, counted, some, spans

_LEAST_S, _SHORT_S = 10.0, 60.0
_SHORT_STRETCH_S, _SHORT_SHARE = 1.0, 0.5
_LEAST_FILLED = 0.5
_SHORT_TRIAL_S = 0.2
_FIELD_COPIES, _BASE_BYTES = 3, 5e8
_BIN_S, _UNITS_A_TOKEN, _EPOCHS, _TOKENS_PER_CORE_S = 0.02, 64, 60, 25_000
_SIZE_RATIO = 30.0


def check_streams(contents: Contents) -> Iterator[Finding]:
    """A session needs spikes or a field potential."""
    if contents.spikes is None and contents.field is None:
        what = "there are neither spikes nor a field potential"
        yield _finding("problem", what, "", "Prepare the recording's neural data with it.")


def check_length(contents: Contents) -> Iterator[Finding]:
    """Enough valid time to split into training, validation and test."""
    if contents.valid_s < _LEAST_S:
        yield _finding("problem", f"only {contents.valid_s:.1f} s are valid", "", "No split fits. Record longer.")
    elif contents.valid_s < _SHORT_S:
        what = f"only {contents.valid_s:.0f} s are valid: scores will be loose"
        yield _finding("warning", what, "", "Pretrain on longer sessions, or record longer.")


def check_gaps(contents: Contents) -> Iterator[Finding]:
    """Gaps are kept as gaps; many short stretches leave little for windows."""
    lengths = contents.intervals_s[:, 1] - contents.intervals_s[:, 0]
    if len(lengths) < 2:
        return
    gaps, filled = contents.gaps_s, contents.valid_s / (contents.intervals_s[-1, 1] - contents.intervals_s[0, 0])
    parts = []
    if gaps:
        missing_s = sum(b - a for a, b in gaps)
        parts.append(f"{counted(len(gaps), 'gap')}, {missing_s:.2f} s or {100 * (1 - filled):.1f} % of the session")
    if seams := len(lengths) - 1 - len(gaps):
        parts.append(f"{counted(seams, 'seam')} where stretches touch that were not recorded in one go")
    if (short := (lengths < _SHORT_STRETCH_S).mean()) > _SHORT_SHARE:
        parts.append(f"{100 * short:.0f} % of the stretches are shorter than {_SHORT_STRETCH_S:g} s")
    grave = filled < _LEAST_FILLED or short > _SHORT_SHARE
    remedy = "Check `intervals_s`: windows never cross a gap." if grave else "Windows and filters never cross them."
    yield _finding("warning" if grave else "note", "; ".join(parts), spans(gaps), remedy)


def check_trials(contents: Contents) -> Iterator[Finding]:
    """How many trials there are, and those that are too short or lie outside valid time."""
    if contents.trials_s is None:
        return
    lengths = contents.trials_s[:, 1] - contents.trials_s[:, 0]
    what = f"{counted(len(lengths), 'trial')} of {np.median(lengths):.2f} s (median)"
    yield _finding("note", what, "", "Splits keep trials whole; the null permutes them.")
    if (short := lengths < _SHORT_TRIAL_S).mean() > 0.1:
        what = f"{counted(int(short.sum()), 'trial')} shorter than {_SHORT_TRIAL_S:g} s"
        yield _finding("warning", what, "", "Are `trials_s` in seconds?")
    outside = ~contents.inside(contents.trials_s.mean(axis=1))
    if outside.mean() > 0.1:
        what = f"{counted(int(outside.sum()), 'trial')} outside valid time"
        yield _finding("warning", what, some(list(map(str, np.flatnonzero(outside)))), "Check `trials_s`.")


def check_needs(contents: Contents) -> Iterator[Finding]:
    """Memory and time that later stages will take, roughly."""
    size = 0 if contents.field is None else 4 * int(np.prod(contents.field.signal.shape))
    memory = _FIELD_COPIES * size + _BASE_BYTES
    free = psutil.virtual_memory().available
    what = f"later stages need about {memory / 1e9:.1f} GB of memory for it"
    if contents.spikes is not None:
        bins = contents.valid_s / max(_BIN_S, contents.spikes.bin_width_s)
        tokens = bins * -(-len(contents.spikes.unit_ids) // _UNITS_A_TOKEN)
        minutes = tokens * _EPOCHS / _TOKENS_PER_CORE_S / (os.cpu_count() or 1) / 60
        what += f"; the quick teacher takes about {max(minutes, 0.1):.1f} minutes on this machine's processors"
    severity: Severity = "warning" if memory > free else "note"
    remedy = (
        "Close other programs or use a larger machine." if severity == "warning" else f"{free / 1e9:.0f} GB are free."
    )
    yield _finding(severity, what, "", remedy)


SESSION_CHECKS = (check_streams, check_length, check_gaps, check_trials, check_needs)


def check_agreement(sessions: Sequence[Contents]) -> Iterator[Finding]:
    """Sessions of one folder that are not in one unit, or carry one id."""
    ids = [contents.session_id for contents in sessions]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        yield Finding(
            severity="problem",
            stream="session",
            what="session ids must differ",
            names=tuple(twice),
            remedy="Prepare one of them under another name.",
        )
    sizes: dict[str, dict[str, float]] = {}
    for contents in sessions:
        if contents.field is not None and contents.field.pieces.size:
            sizes.setdefault("field potential", {})[contents.session_id] = float(
                np.median(contents.field.statistics.std)
            )
        if contents.behavior is not None:
            for name, column in zip(contents.behavior.names, contents.behavior.values.T, strict=True):
                sizes.setdefault(name, {})[contents.session_id] = float(np.nanstd(column)) if column.size else 0.0
    for name, by_session in sizes.items():
        moving = {session: size for session, size in by_session.items() if size > 0}
        least, most = min(moving, key=moving.__getitem__, default=""), max(moving, key=moving.__getitem__, default="")
        if moving and moving[most] > _SIZE_RATIO * moving[least]:
            what = f"{name} is {moving[most] / moving[least]:.3g} times as large in {most} as in {least}"
            yield _finding("warning", what, "", "Bring all sessions to one unit.")


def _finding(severity: Severity, what: str, where: str, remedy: str) -> Finding:
    return Finding(severity=severity, stream="session", what=what, where=where, remedy=remedy)
