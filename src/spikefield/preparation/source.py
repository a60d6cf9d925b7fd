"""One source, from its files to checked sessions in a folder: what runs beside others on a machine or a cluster."""

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spikefield.errors import DroppedDataWarning, InputError
from spikefield.preparation.broadband import crossings, extract
from spikefield.preparation.recipe import PrepareConfig, place_of, source_key
from spikefield.preparation.verdict import headline, judge_file
from spikefield.recordings import session as layout
from spikefield.recordings.clock import common, inside
from spikefield.recordings.raw import RawSession
from spikefield.recordings.readers import find_reader
from spikefield.recordings.readers.guard import one_line


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one source: staged sessions, lines to tell, data left out; or why it failed."""

    source: Path
    state: Literal["prepared", "failed"]
    staged: tuple[Path, ...] = ()
    lines: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0


def prepare_source(path: Path, staging: Path, config: PrepareConfig) -> Outcome:
    """Write the sessions of a source into a folder of its own under `staging`, and check them.

    Never raises but for an interruption: one bad recording must not stop the others.
    """
    start = time.perf_counter()
    dropped: list[str] = []
    try:
        key = source_key(path, config)
        folder = staging / place_of(path)
        folder.mkdir(parents=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DroppedDataWarning)
            staged = tuple(_write(path, folder, config, key))
        dropped = [str(w.message) for w in caught if issubclass(w.category, DroppedDataWarning)]
        lines = tuple(line for written in staged for line in _short_check(written))
    except InputError as error:
        return Outcome(source=path, state="failed", error=_about(path, str(error)))
    except OSError as error:
        where = error.filename or staging.parent
        why = f"{where}: {error.strerror or one_line(error)}. Check rights and room on the disk, and run again."
        return Outcome(source=path, state="failed", error=_about(path, why))
    except Exception as error:
        return Outcome(source=path, state="failed", error=f"{path}: {one_line(error)}. Please report this.")
    seconds = time.perf_counter() - start
    return Outcome(source=path, state="prepared", staged=staged, lines=lines, dropped=tuple(dropped), seconds=seconds)


def _about(path: Path, message: str) -> str:
    message = " ".join(message.split())
    return message if path.name in message else f"{path}: {message}"


def _write(path: Path, folder: Path, config: PrepareConfig, key: str) -> Iterator[Path]:
    """Write each session; the one before the last is only known to be so when the next has been read."""
    mark = {"key": key, "place": place_of(path)}
    waiting: RawSession | None = None
    index = 0
    for raw in find_reader(path, config.reader).read(path, config.series):
        if waiting is not None:
            yield _save(waiting, folder, config, {**mark, "index": index, "last": False})
            index += 1
        waiting = raw
    if waiting is None:
        raise InputError(f"{path}: holds no session. Look into it with `spikefield inspect`.")
    yield _save(waiting, folder, config, {**mark, "index": index, "last": True})


def _save(raw: RawSession, folder: Path, config: PrepareConfig, mark: Mapping[str, Any]) -> Path:
    source = dict(raw.arrays.get("source", {}))
    added: dict[str, Any] = {}
    scratch = folder / ".lfp"
    prepared = dict(mark)
    if raw.broadband:
        added = _from_broadband(raw, scratch, config, source, prepared)
    elif config.spikes == "crossings":
        raise InputError(f"{raw.path}: holds no broadband, so nothing can cross a threshold. Take `--spikes file`.")
    target = folder / f"{raw.id}.h5"
    if target.exists():
        raise InputError(f"{raw.path}: holds two sessions named {raw.id!r}. Prepare them from files of their own.")
    layout.save(raw.build({**added, "source": {**source, "prepared": prepared}}), target)
    scratch.unlink(missing_ok=True)
    return target


def _from_broadband(
    raw: RawSession, scratch: Path, config: PrepareConfig, source: dict[str, Any], prepared: dict[str, Any]
) -> dict[str, Any]:
    """Return the field potential, the valid time that it leaves, and the spikes inside it."""
    extracted = extract(raw.broadband, scratch)
    prepared["clipped"] = extracted.clipped
    source["lfp_unit"] = "V"
    rates = f"{raw.broadband[0].rate_hz:.6g} to {extracted.arrays['lfp_rate_hz']:.6g} Hz"
    source["notes"] = [*source.get("notes", []), f"field potential: {rates} by a symmetric low-pass"]
    given = np.asarray(raw.arrays.get("intervals_s", extracted.intervals_s), np.float64)
    valid = common(given, extracted.intervals_s)
    if not len(valid):
        raise InputError(f"{raw.path}: the field potential lies outside valid time. Do its files belong together?")
    spikes = {name: raw.arrays[name] for name in ("spike_times", "spike_units") if name in raw.arrays}
    if config.spikes == "crossings":
        spikes = crossings(raw.broadband, extracted.live)
        source["notes"] += ["spikes: threshold crossings of the broadband, noise estimated over all of it"]
    return {**extracted.arrays, **_inside(spikes, valid, source), "intervals_s": valid}


def _inside(spikes: dict[str, Any], valid: np.ndarray, source: dict[str, Any]) -> dict[str, Any]:
    """Return the spikes in valid time; how many were left out is remembered."""
    if not spikes:
        return {}
    keep = inside(np.asarray(spikes["spike_times"], np.float64), valid)
    if not keep.all():
        source["left_out"] = {**source.get("left_out", {}), "spikes outside valid time": int((~keep).sum())}
    return {**spikes, **{name: np.asarray(spikes[name])[keep] for name in ("spike_times", "spike_units")}}


def _short_check(path: Path) -> Iterator[str]:
    verdict = judge_file(path)
    yield headline(verdict)
    yield from (f"  {finding.line()}" for finding in verdict.of("problem", "warning"))
