"""Axona unit-mode files (`.set .eeg .pos .N .cut`): one header line a setting, then binary between two marks.

neo's Axona reader takes continuous `.bin` recordings only, which unit-mode sessions do not have: it opens their `.set`
and finds neither signals nor spikes. So these files are read here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikefield.errors import InputError
from spikefield.recordings.inspection import Inspection, Series
from spikefield.recordings.raw import RawSession, SeriesChoice, chosen
from spikefield.recordings.readers import guard
from spikefield.recordings.readers.reader import Reader

_LAYOUT = "Axona unit-mode files"
_START, _END = b"data_start", b"\r\ndata_end"
_LOST = 1023
_BEHAVIOR = {"position": (0, 1), "position2": (2, 3)}
_PROPOSED = {"lfp": ("eeg",), "units": ("sorted",), "behavior": ("position",)}


@dataclass(frozen=True, kw_only=True)
class _File:
    """Header settings and binary content of one file."""

    path: Path
    settings: dict[str, str]
    content: bytes

    def number(self, key: str) -> float:
        """Return a setting as a positive number, its unit cut off.

        Raises:
            InputError: missing or not a positive number.
        """
        match = re.match(r"\s*(\d+(?:\.\d+)?)", self.settings.get(key, ""))
        if not match or float(match[1]) <= 0:
            raise InputError(
                f"{self.path}: {key}: must be a positive number, got "
                f"{self.settings.get(key)!r}. Copy it again: it is truncated or damaged."
            )
        return float(match[1])

    def records(self, dtype: np.dtype, count: int) -> np.ndarray:
        """Return the content as `count` records.

        Raises:
            InputError: the content is not that long.
        """
        if len(self.content) != count * dtype.itemsize:
            raise InputError(
                f"{self.path}: the header promises {count} records of {dtype.itemsize} bytes, got "
                f"{len(self.content)} bytes. Copy it again: it is truncated or damaged."
            )
        return np.frombuffer(self.content, dtype)


def _stem(path: Path) -> str:
    return re.sub(r"_\d+$", "", path.stem) if path.suffix == ".cut" else path.stem


def _siblings(path: Path, pattern: str) -> list[Path]:
    """Return the files of the recording whose suffix fits, in order of the number in it."""
    found = [p for p in path.parent.glob(f"{_stem(path)}.*") if re.fullmatch(pattern, p.suffix) and p.is_file()]
    return sorted(found, key=lambda p: (int(re.sub(r"\D", "", p.suffix) or 1), p.suffix))


def _matches(path: Path) -> bool:
    if not re.fullmatch(r"\.(set|pos|e[eg][gf]\d*|cut|\d+)", path.suffix):
        return False
    start = guard.head(path, 64)
    return start.startswith((b"trial_date", b"n_clusters"))


def _check_layout(path: Path) -> None:
    guard.check_file(path)
    if not _matches(path):
        raise InputError(f"{path}: is not of {_LAYOUT}: it starts with {guard.head(path, 16)!r}. Name another reader.")


def _files(path: Path) -> tuple[Path, ...]:
    found = _siblings(path, r"\.(set|eeg\d*|egf\d*|pos|\d+)")
    cuts = sorted(path.parent.glob(f"{_stem(path)}_*.cut"))
    setting = [p for p in found if p.suffix == ".set"]
    return (*setting, *[p for p in found if p not in setting], *cuts)


def _open(path: Path) -> _File:
    guard.check_file(path)
    with guard.readable(path, _LAYOUT):
        raw = path.read_bytes()
    start, end = raw.find(_START), raw.rfind(_END)
    if path.suffix != ".set" and not 0 <= start < end:
        raise InputError(f"{path}: must hold binary between data_start and data_end; it is truncated. Copy it again.")
    head = raw[:start] if start >= 0 else raw
    lines = (line.partition(" ") for line in head.decode("cp1252", "replace").splitlines())
    content = raw[start + len(_START) : end] if path.suffix != ".set" else b""
    return _File(path=path, settings={key: value.strip() for key, _, value in lines if key}, content=content)


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    _check_layout(path)
    eegs, egfs = _siblings(path, r"\.eeg\d*"), _siblings(path, r"\.egf\d*")
    offered = [name for name, found in (("eeg", eegs), ("egf", egfs)) if found]
    lfp = chosen(path, "lfp", choice.lfp, offered, offered[:1])
    units = chosen(path, "unit", choice.units, ["sorted", "unsorted"], _PROPOSED["units"])
    tracked = list(_BEHAVIOR) if _siblings(path, r"\.pos") else []
    moved = chosen(path, "behavior", choice.behavior, tracked, [n for n in tracked if n in _PROPOSED["behavior"]])
    if len(lfp) > 1:
        raise InputError(f"{path}: takes one field potential, got {', '.join(lfp)}. Name one of them.")
    notes: list[str] = []
    arrays = _field_potential(path, eegs if lfp == ("eeg",) else egfs, notes) if lfp else {}
    arrays |= _position(_siblings(path, r"\.pos")[0], moved) if moved else {}
    left_out: dict[str, Any] = {}
    arrays |= _spikes(path, units, _end_s(arrays), left_out) if units else {}
    session = guard.safe_name(_stem(path))
    origin = guard.source("axona", _files(path), notes, left_out)
    yield RawSession(path=path, arrays=arrays | {"session": session, "subject": _subject(path), "source": origin})


def _subject(path: Path) -> str:
    settings = _siblings(path, r"\.set")
    return guard.safe_name(_open(settings[0]).settings.get("comments", "") if settings else "") or "subject"


def _end_s(arrays: dict[str, Any]) -> float:
    if "lfp" in arrays:
        return len(arrays["lfp"]) / arrays["lfp_rate_hz"]
    return len(arrays["behavior"]) / arrays["behavior_rate_hz"] if "behavior" in arrays else np.inf


def _field_potential(path: Path, paths: list[Path], notes: list[str]) -> dict[str, Any]:
    opened = [_open(p) for p in paths]
    signals = [_samples(file) for file in opened]
    shapes = {(len(signal), file.number("sample_rate")) for file, signal in zip(opened, signals, strict=True)}
    if len(shapes) > 1:
        raise InputError(f"{path}: all channels must have one length and rate, got {sorted(shapes)}. Copy them again.")
    volts = [_volts(path, p.suffix) for p in paths]
    if None in volts:
        notes.append("no .set beside it: the field potential is in parts of full scale")
    gains = np.array([1.0 if None in volts else v for v in volts], np.float64)
    return {
        "lfp": (np.column_stack(signals) * gains).astype(np.float32),
        "lfp_rate_hz": shapes.pop()[1],
        "channel_ids": [p.suffix[1:] if p.suffix[-1].isdigit() else f"{p.suffix[1:]}1" for p in paths],
    }


def _samples(file: _File) -> np.ndarray:
    size = int(file.number("bytes_per_sample"))
    kind = "EGF" if file.path.suffix.startswith(".egf") else "EEG"
    if size not in (1, 2):
        raise InputError(f"{file.path}: bytes_per_sample: must be 1 or 2, got {size}. Copy the file again.")
    counts = file.records(np.dtype("i1" if size == 1 else "<i2"), int(file.number(f"num_{kind}_samples")))
    return counts / float(1 << (8 * size - 1))


def _volts(path: Path, suffix: str) -> float | None:
    """Return the volts of full scale, the converter's range over the gain; None where there is no `.set`."""
    number = int(re.sub(r"\D", "", suffix) or 1)
    settings = [_open(p) for p in _siblings(path, r"\.set")]
    if not settings:
        return None
    channel = int(settings[0].number(f"EEG_ch_{number}"))
    return settings[0].number("ADC_fullscale_mv") / 1000 / settings[0].number(f"gain_ch_{channel - 1}")


def _position(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the tracked lights in cm, NaN where the camera lost them."""
    file = _open(path)
    record = np.dtype([("frame", ">u4"), ("place", ">u2", (8,))])
    places = file.records(record, int(file.number("num_pos_samples")))["place"].astype(np.float64)
    places[places == _LOST] = np.nan
    columns = [column for name in names for column in _BEHAVIOR[name]]
    return {
        "behavior": places[:, columns] * 100 / file.number("pixels_per_metre"),
        "behavior_rate_hz": file.number("sample_rate"),
        "behavior_names": [f"{name}_{axis}" for name in names for axis in "xy"],
    }


def _spikes(path: Path, units: tuple[str, ...], end_s: float, left_out: dict[str, Any]) -> dict[str, Any]:
    times, names = [], []
    for tetrode in _siblings(path, r"\.\d+"):
        spikes_s, clusters = _tetrode(tetrode)
        late = (spikes_s < 0) | (spikes_s >= end_s)
        left_out["spikes after the recording's end"] = left_out.get("spikes after the recording's end", 0) + int(
            late.sum()
        )
        for cluster in np.unique(clusters):
            if ("unsorted" if cluster == 0 else "sorted") in units:
                times.append(spikes_s[(clusters == cluster) & ~late])
                names.append(f"t{tetrode.suffix[1:]}c{cluster:02d}")
    if not sum(map(len, times)):
        return {}
    counts = [len(t) for t in times]
    return {
        "spike_times": np.concatenate(times),
        "spike_units": np.repeat(np.arange(len(times)), counts),
        "unit_ids": names,
    }


def _tetrode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return spike times (s) of a tetrode and the cluster of each, 0 where there is no `.cut`."""
    file = _open(path)
    count, channels = int(file.number("num_spikes")), int(file.number("num_chans"))
    snippet = np.dtype([("time", ">u4"), ("wave", "i1", (int(file.number("samples_per_spike")),))])
    spikes = file.records(np.dtype((snippet, (channels,))), count).reshape(count, channels)
    times = spikes["time"][:, 0] / file.number("timebase")
    cut = path.with_name(f"{_stem(path)}_{path.suffix[1:]}.cut")
    return times, _clusters(cut, count) if cut.is_file() else np.zeros(count, int)


def _clusters(path: Path, count: int) -> np.ndarray:
    with guard.readable(path, _LAYOUT):
        _, mark, tail = path.read_text("cp1252").partition("Exact_cut_for:")
        numbers = np.array(tail.partition("\n")[2].split(), dtype=int) if mark else np.empty(0, int)
    if len(numbers) != count:
        raise InputError(
            f"{path}: must give the cluster of each of {count} spikes, got {len(numbers)}. "
            "Copy it again, or give the cut of this recording."
        )
    return numbers


def _inspect(path: Path) -> Inspection:
    _check_layout(path)
    rows: list[Series] = []
    for kind in ("eeg", "egf"):
        for file in map(_open, _siblings(path, rf"\.{kind}\d*")[:1]):
            samples, rate = len(_samples(file)), file.number("sample_rate")
            span: dict[str, Any] = {"samples": samples, "rate_hz": rate, "start_s": 0.0, "end_s": samples / rate}
            channels = len(_siblings(path, rf"\.{kind}\d*"))
            rows.append(Series(name=kind, kind="field potential", channels=channels, unit="V", **span))
    clusters = [_tetrode(p)[1] for p in _siblings(path, r"\.\d+")]
    sorted_units = sum(len(np.unique(c[c > 0])) for c in clusters)
    rows.append(Series(name="sorted", kind="spikes", channels=sorted_units, unit="s"))
    rows.append(Series(name="unsorted", kind="spikes", channels=len(clusters), unit="s"))
    for file in map(_open, _siblings(path, r"\.pos")):
        samples, rate = int(file.number("num_pos_samples")), file.number("sample_rate")
        span = {"samples": samples, "rate_hz": rate, "start_s": 0.0, "end_s": samples / rate}
        rows += [Series(name=n, kind="behaviour", channels=2, unit="cm", **span) for n in _BEHAVIOR]
    proposed = {name for names in _PROPOSED.values() for name in names}
    return Inspection(
        path=path,
        reader="axona",
        layout=_LAYOUT,
        sessions=(guard.safe_name(_stem(path)),),
        series=tuple(rows),
        chosen=tuple(r.name for r in rows if r.name in proposed),
    )


READER = Reader(name="axona", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=_files)
