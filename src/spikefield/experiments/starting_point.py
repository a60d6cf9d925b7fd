"""What a folder offers to a first experiment, and the commented configuration file that starts it."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from spikefield.config import PRESETS, preset_path
from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.recordings.inspection import Inspection
from spikefield.recordings.readers import inspect_file, sources

log = logging.getLogger("spikefield")

PREPARED = Path("prepared")
"""Where recordings that are not prepared yet will be."""

_RESULTS = "results"
_SHOWN = 8
_CHANGES = (
    ("causal: true", "a student that sees no future, for live decoding"),
    ("binning: {bin_width_ms: 20.0, chain: band_power}", "wider bins; another signal chain (`spikefield chain`)"),
    ("pretraining: {epochs: 20, min_steps: 0}", "shorter or longer training of teacher and autoencoders"),
    ("distilling: {epochs: 20, min_steps: 0}", "of the student"),
    ("workers: 2", "how many models train side by side"),
)


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """What lies in a folder.

    Attributes:
        data: folder of the prepared sessions, or where they will be.
        prepared: whether they are there.
        facts: what was found, in lines for the reader.
        paired: ids of the sessions with spikes and field; unknown, and so none, before they are prepared.
        behavior: names of the series of behaviour.
    """

    data: Path
    prepared: bool
    facts: tuple[str, ...]
    paired: tuple[str, ...]
    behavior: tuple[str, ...]


def look(data: Path) -> StartingPoint:
    """Look at a folder of recordings or of prepared sessions, or at one recording, without loading it.

    Raises:
        InputError: nothing to start from is there, or no experiment can be made of it.
    """
    paths = [path for path in sorted(data.glob("*.h5")) if _is_prepared(path)]
    return _prepared(data, paths) if paths else _raw(data)


def _is_prepared(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return "layout_version" in file.attrs
    except OSError:
        return False


def _prepared(data: Path, paths: Sequence[Path]) -> StartingPoint:
    paired, spikes, field, behavior, minutes = [], 0, 0, [], 0.0
    for path in paths:
        with layout.load(path) as session:
            has = layout.has_spikes(session), layout.has_lfp(session)
            spikes, field = spikes + has[0], field + has[1]
            paired += [str(session.session.id)] if all(has) else []
            behavior += list(map(str, session.behavior_dims.name)) if layout.has_behavior(session) else []
            starts, ends = layout.valid_intervals_s(session)
            minutes += float((ends - starts).sum()) / 60
    names = tuple(dict.fromkeys(behavior))
    if not paired or not names:
        lack = "both spikes and field potential" if not paired else "behaviour"
        raise InputError(
            f"{data}: no session holds {lack}, so no whole experiment can run. Add one that does, or see "
            "`spikefield pretrain --help` for what needs less."
        )
    facts = (
        f"{data}: {len(paths)} prepared session(s), {minutes:.1f} minutes",
        f"with spikes {spikes}, with field potential {field}, with both {len(paired)}; behaviour: {_some(names)}",
    )
    return StartingPoint(data=data, prepared=True, facts=facts, paired=tuple(paired), behavior=names)


def _raw(data: Path) -> StartingPoint:
    """Inspect every recording; one that cannot be read is named with its reason and left out."""
    inspections, errors = [], []
    for path in sources(data) if data.is_dir() else [data]:
        try:
            inspections.append(inspect_file(path))
        except InputError as error:
            errors.append(error)
            log.info("%s", error)
    if not inspections:
        raise errors[0]
    names = tuple(dict.fromkeys(s.name for i in inspections for s in i.series if s.kind == "behaviour"))
    facts = (f"{data}: {len(inspections)} recording(s), not prepared yet", *map(_line, inspections[:_SHOWN]))
    return StartingPoint(data=PREPARED, prepared=False, facts=facts, paired=(), behavior=names)


def _line(inspection: Inspection) -> str:
    kinds = dict.fromkeys(series.kind for series in inspection.series)
    return f"  {inspection.path.name}: {', '.join(kinds)} (reader {inspection.reader})"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else "")


def as_yaml(found: StartingPoint, *, preset: str, seeds: Sequence[int], file: Path) -> str:
    """Return the text of the configuration file: what is set, and what is most often changed, behind a #."""
    lines = [
        f"# spikefield experiment --config {file.name}",
        "#",
        *(f"# {fact}" for fact in found.facts),
        "# Paths start at the folder in which the command runs. A flag of the command wins over a line of this file.",
        "",
        f"data: {_text(found.data)}  # prepared sessions",
        f"out: {_text(_RESULTS)}  # everything that comes out; a run that was cut short goes on from it",
        f"seeds: {list(seeds)}  # one run a seed; three or more show how far results vary",
        _distill_on(found.paired),
        "",
        "# Sizes and training:",
        *(f"#   {name:<11}  {_about(name)}" for name in PRESETS),
        f"preset: {preset}",
        "",
        "# Take away the # to change what the preset says; `spikefield experiment --help` lists all there is.",
        *(f"# {line}  # {about}" for line, about in _CHANGES),
    ]
    return "\n".join(lines) + "\n"


def _distill_on(paired: Sequence[str]) -> str:
    if not paired:
        return "# distill_on: [ID]  # sessions that the student learns from; by default the first with spikes and field"
    return f"distill_on: [{_text(paired[0])}]  # what the student learns from, one or more of: {_some(paired)}"


def _about(preset: str) -> str:
    """Return the first line of a preset's file, which says what it is for."""
    with preset_path(preset).open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip()


def _text(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)
