"""What neo leaves out of a BrainVision header: resolution and unit of floats, and the BIDS tables beside the file."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikefield.errors import InputError
from spikefield.recordings.readers import guard

_VOLTS = {"": 1e-6, "v": 1.0, "mv": 1e-3, "uv": 1e-6, "µv": 1e-6, "μv": 1e-6, "nv": 1e-9}
_BYTES = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
_FIELD_TYPES = {"EEG", "ECOG", "SEEG", "DBS", "LFP"}


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One channel of the header: volts of one stored number, None where its unit is not a voltage."""

    name: str
    volts: float | None
    is_field: bool
    place_um: tuple[float, float]


def check_encoding(path: Path) -> None:
    """Refuse a header or marker file that is not UTF-8, the only encoding that neo reads.

    Raises:
        InputError: says where the other encoding shows.
    """
    for file in (path, path.with_suffix(".vmrk")):
        try:
            if file.is_file():
                file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{file}: must be UTF-8, got byte {error.object[error.start]:#04x} at {error.start}. Save the text as "
                "UTF-8 and set Codepage=UTF-8 in it."
            ) from error


def channels(path: Path) -> list[Channel]:
    """Return the channels of a header, by BIDS tables where they lie beside it.

    Raises:
        InputError: a channel line is missing or its resolution is not a number.
    """
    text = path.read_text(encoding="utf-8-sig")
    count = re.search(r"^NumberOfChannels\s*=\s*(\d+)\s*$", text, re.MULTILINE)
    lines = dict(re.findall(r"^Ch(\d+)\s*=\s*(.*?)\s*$", text, re.MULTILINE | re.IGNORECASE))
    if not count or [str(i + 1) for i in range(int(count[1]))] != list(lines)[: int(count[1])]:
        raise InputError(
            f"{path}: [Channel Infos] must name NumberOfChannels channels, got {len(lines)}. Export again."
        )
    _check_length(path, text, int(count[1]))
    kinds = {row["name"]: row.get("type", "") for row in _table(path, "_channels.tsv")}
    places = {row["name"]: _place(row) for row in _table(path, "_electrodes.tsv")}
    return [_channel(path, line, kinds, places) for line in lines.values()]


def _check_length(path: Path, text: str, count: int) -> None:
    """Refuse a binary that ends inside a sample; no header says how many samples there should be."""
    named = re.search(r"^DataFile\s*=\s*(.*?)\s*$", text, re.MULTILINE)
    size = next((n for kind, n in _BYTES.items() if kind in text), 0)
    binary = path.parent / (named[1].replace("$b", path.stem) if named else "")
    if size and binary.is_file() and binary.stat().st_size % (size * count):
        raise InputError(
            f"{binary}: must hold {count} channels of {size} bytes a sample, got {binary.stat().st_size} bytes, which "
            "is no multiple. Copy it again: it is truncated."
        )


def _channel(path: Path, line: str, kinds: dict[str, str], places: dict[str, tuple[float, float]]) -> Channel:
    name, _, resolution, unit, *_ = [*line.split(","), "", "", ""]
    name = name.replace("\\1", ",")
    try:
        scale = float(resolution or 1)
    except ValueError as error:
        raise InputError(
            f"{path}: resolution of {name} must be a number, got {resolution!r}. Export it again."
        ) from error
    volts = _VOLTS.get(unit.strip().lower())
    is_field = kinds[name].upper() in _FIELD_TYPES if name in kinds else volts is not None
    return Channel(
        name=name,
        volts=None if volts is None else scale * volts,
        is_field=is_field and volts is not None,
        place_um=places.get(name, (np.nan, np.nan)),
    )


def tables(path: Path) -> list[Path]:
    """Return the BIDS tables that describe a header's channels and electrodes, and lie beside it."""
    run = path.stem.rsplit("_", 1)[0]
    session = "_".join(part for part in run.split("_") if part.startswith(("sub-", "ses-")))
    found = [path.parent / f"{run}_channels.tsv", *sorted(path.parent.glob(f"{session}*_electrodes.tsv"))]
    return [p for p in found if session and p.is_file()][:2]


def _table(path: Path, ending: str) -> list[dict[str, str]]:
    for table in tables(path):
        if table.name.endswith(ending):
            with guard.readable(table, "BIDS table"), table.open(encoding="utf-8-sig", newline="") as file:
                return [row for row in csv.DictReader(file, delimiter="\t") if row.get("name")]
    return []


def _place(row: dict[str, str]) -> tuple[float, float]:
    """Return x and y of an electrode, metres to µm; BIDS writes n/a where unknown."""
    try:
        return float(row["x"]) * 1e6, float(row["y"]) * 1e6
    except (KeyError, TypeError, ValueError):
        return float("nan"), float("nan")
