"""How a source becomes prepared sessions, and the key that tells whether it has to be done again."""

import hashlib
import importlib.metadata
import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import spikefield.files as files
from spikefield.errors import InputError
from spikefield.preparation.broadband import LFP_RATE_HZ
from spikefield.recordings import session as layout
from spikefield.recordings.raw import SeriesChoice
from spikefield.recordings.readers import find_reader, sources
from spikefield.recordings.readers.guard import address

SPIKES = ("file", "crossings")


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What to take from a source.

    Attributes:
        reader: a reader's name; None finds it by the file's structure.
        series: which series are field potential, units and behaviour.
        spikes: those of the file, or threshold crossings of its broadband.
    """

    reader: str | None = None
    series: SeriesChoice = SeriesChoice()
    spikes: Literal["file", "crossings"] = "file"

    def __post_init__(self) -> None:
        if self.spikes not in SPIKES:
            raise InputError(f"`spikes` must be one of {', '.join(SPIKES)}, got {self.spikes!r}. Choose one of them.")


def source_key(path: Path, config: PrepareConfig) -> str:
    """Return a hash of the content of all files of a recording, the configuration and this program's version."""
    recording = find_reader(path, config.reader).files(path)
    told = {
        "files": {p.name: address(p) or files.sha256(p) for p in recording},
        "config": asdict(config),
        "lfp_rate_hz": LFP_RATE_HZ,
        "version": importlib.metadata.version("spikefield"),
        "layout": layout.LAYOUT_VERSION,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def place_of(path: Path) -> str:
    """Return a short hash of where a source lies, so that two sources of one name are told apart."""
    return hashlib.sha256((address(path) or str(path.resolve())).encode()).hexdigest()[:16]


def marks(path: Path) -> dict[str, Any]:
    """Return what `prepare` left in a session's provenance, {} for a file that it did not write."""
    try:
        return layout.provenance(layout.load(path)).get("prepared", {})
    except (InputError, AttributeError, ValueError):
        return {}


def unchanged(sources: Sequence[Path], config: PrepareConfig, *, out: Path) -> list[Path]:
    """Return the sources all of whose sessions lie in `out`, made from the same content in the same way."""
    if not (done := finished(out)):
        return []
    with ThreadPoolExecutor() as pool:
        keys = pool.map(lambda path: _key_or_none(path, config), sources)
        return [path for path, key in zip(sources, keys, strict=True) if key in done]


def _key_or_none(path: Path, config: PrepareConfig) -> str | None:
    """Return the key, None where reading the source will have to say what is wrong with it."""
    try:
        return source_key(path, config)
    except (InputError, OSError):
        return None


def finished(out: Path) -> set[str]:
    """Return the keys of the sources all of whose sessions lie in `out`."""
    found: dict[str, dict[int, bool]] = defaultdict(dict)
    for path in sorted(out.glob("*.h5")) if out.is_dir() else []:
        if mark := marks(path):
            found[mark["key"]][mark["index"]] = mark["last"]
    return {key for key, last in found.items() if [last.get(i) for i in range(len(last))] == _all_but_last(len(last))}


def _all_but_last(count: int) -> list[bool]:
    return [*[False] * (count - 1), True]


def list_sources(given: Sequence[Path], *, out: Path, reader: str | None = None) -> list[Path]:
    """Return one path for each recording in files and folders, in order and once; what lies in `out` is left out.

    Files of one recording count once. A file that no reader knows is kept, so that reading it says so.

    Raises:
        InputError: a folder holds nothing that a reader knows.
    """
    found: dict[str, Path] = {}
    for path in given:
        for recording in sources(path) if path.is_dir() else [_first_file(path, reader)]:
            inside = not address(recording) and recording.resolve().is_relative_to(out.resolve())
            if not (inside and path.is_dir()):
                found.setdefault(place_of(recording), recording)
    if not found:
        raise InputError(f"`source` holds nothing but what lies in {out}. Give the folder of the recordings.")
    return list(found.values())


def _first_file(path: Path, reader: str | None) -> Path:
    """Return the file that names the recording which a file belongs to."""
    try:
        return find_reader(path, reader).files(path)[0]
    except (InputError, OSError, KeyError):
        return path
