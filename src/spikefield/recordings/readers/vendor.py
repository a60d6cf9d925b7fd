"""Files of acquisition systems through neo (an extra): signals stay on disk and are read in chunks."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.inspection import Electrode, Inspection, Series
from spikefield.recordings.raw import Broadband, RawSession, SeriesChoice, chosen, intervals
from spikefield.recordings.readers import brainvision, guard
from spikefield.recordings.readers.reader import Reader

_LAYOUT = "file of an acquisition system, read by neo"
_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "nV": 1e-9}
_BLOCK = 1 << 18


@dataclass(frozen=True)
class _System:
    """How neo is called for one suffix, and what the file starts with."""

    rawio: str
    starts: tuple[bytes, ...] = ()
    by_folder: bool = False


_BLACKROCK = _System("BlackrockRawIO", (b"NEURAL", b"BRSMP", b"BREVENTS"))
_INTAN = _System("IntanRawIO", (b"\x02\x27\x91\xc6", b"\xac\x27\x91\xd6"))
_SYSTEMS = {
    **{f".ns{i}": _BLACKROCK for i in range(1, 7)},
    ".nev": _BLACKROCK,
    ".plx": _System("PlexonRawIO", (b"PLEX",)),
    ".ncs": _System("NeuralynxRawIO", (b"######## Neuralynx",), by_folder=True),
    ".oebin": _System("OpenEphysBinaryRawIO", (b"{",), by_folder=True),
    ".continuous": _System("OpenEphysRawIO", (b"header.",), by_folder=True),
    ".meta": _System("SpikeGLXRawIO", by_folder=True),
    ".rhd": _INTAN,
    ".rhs": _INTAN,
    ".vhdr": _System("BrainVisionRawIO", (b"Brain Vision", b"BrainVision", b"\xef\xbb\xbfBrain")),
    ".edf": _System("EDFRawIO", (b"0       ",)),
    ".smr": _System("Spike2RawIO"),
    ".rec": _System("SpikeGadgetsRawIO", (b"<?xml", b"<Configuration")),
}


SUFFIXES = frozenset(_SYSTEMS)


@dataclass(frozen=True, kw_only=True)
class _Channel:
    """One signal channel: its stream, its place in it, and volts of one count (None where it is not a voltage)."""

    name: str
    stream: int
    index: int
    volts: float | None
    offset: float
    is_field: bool
    place_um: tuple[float, float] = (np.nan, np.nan)


def _matches(path: Path) -> bool:
    system = _SYSTEMS.get(path.suffix.lower())
    return (
        system is not None and path.is_file() and (not system.starts or guard.head(path, 32).startswith(system.starts))
    )


def _files(path: Path) -> tuple[Path, ...]:
    if _SYSTEMS[path.suffix.lower()].by_folder:
        others = sorted(p for p in path.parent.rglob("*") if p.is_file() and p != path)
    else:
        others = sorted(p for p in path.parent.glob(f"{path.stem}.*") if p.is_file() and p != path)
        others += brainvision.tables(path)
    return (path, *others)


def _parse(path: Path) -> Any:
    """Return neo's reader with its header parsed."""
    try:
        import neo.rawio
    except ImportError as error:
        raise InputError(f"{path}: needs neo. Install it with: pip install 'spikefield[vendor]'") from error
    guard.check_file(path)
    if path.suffix.lower() not in _SYSTEMS:
        raise InputError(f"{path}: no system is known for {path.suffix!r}. Give a file of {', '.join(_SYSTEMS)}.")
    if path.suffix.lower() == ".vhdr":
        brainvision.check_encoding(path)
    system = _SYSTEMS[path.suffix.lower()]
    with guard.readable(path, _LAYOUT, "Check that all files of the recording lie beside it, whole."):
        rawio = getattr(neo.rawio, system.rawio)
        with guard.quiet():
            reader = rawio(dirname=str(path.parent)) if system.by_folder else rawio(filename=str(path))
            reader.parse_header()
        return reader


def _streams(reader: Any) -> list[str]:
    return [str(name) for name in reader.header["signal_streams"]["name"]]


def _channels(path: Path, reader: Any) -> list[_Channel]:
    header, found = reader.header["signal_channels"], []
    extra = brainvision.channels(path) if path.suffix.lower() == ".vhdr" else None
    for stream, stream_id in enumerate(reader.header["signal_streams"]["id"]):
        for index, row in enumerate(header[header["stream_id"] == stream_id]):
            volts, gain = _VOLTS.get(str(row["units"])), float(row["gain"])
            channel = _Channel(
                name=str(row["name"]),
                stream=stream,
                index=index,
                volts=None if volts is None or gain == 0 else gain * volts,
                offset=0.0 if gain == 0 else float(row["offset"]) / gain,
                is_field=volts is not None and gain != 0,
            )
            found.append(channel if extra is None else _described(channel, extra[index]))
    return found


def _described(channel: _Channel, by: brainvision.Channel) -> _Channel:
    """Return the channel as its own header and BIDS tables describe it; neo takes floats for µV as they are."""
    return _Channel(
        name=by.name,
        stream=channel.stream,
        index=channel.index,
        volts=by.volts,
        offset=0.0,
        is_field=by.is_field,
        place_um=by.place_um,
    )


def _propose(reader: Any, channels: list[_Channel]) -> list[str]:
    """Propose the stream with most voltage channels; among equals the slower one, which is the field potential's."""
    sizes = {i: sum(c.is_field for c in channels if c.stream == i) for i in range(len(_streams(reader)))}
    best = [i for i, size in sizes.items() if size and size == max(sizes.values())]
    return [_streams(reader)[min(best, key=reader.get_signal_sampling_rate)]] if best else []


def _propose_behavior(path: Path, channels: list[_Channel]) -> list[str]:
    """Return the channels that a BrainVision recording's tables say are no field potential; elsewhere none."""
    return [c.name for c in channels if not c.is_field] if path.suffix.lower() == ".vhdr" else []


def _select(path: Path, reader: Any, channels: list[_Channel], lfp: tuple[str, ...]) -> list[_Channel]:
    """Return the channels that the chosen streams or channel names stand for, all of one stream."""
    streams = _streams(reader)
    taken = [c for c in channels if c.name in lfp or (streams[c.stream] in lfp and c.is_field)]
    if len({c.stream for c in taken}) > 1 or len({c.name for c in taken}) != len(taken):
        raise InputError(
            f"{path}: the field potential must be different channels of one stream, got {', '.join(lfp)}. "
            "Name channels of one stream."
        )
    if lacking := [c.name for c in taken if c.volts is None]:
        raise InputError(f"{path}: channel {lacking[0]}: must be a voltage with a gain, but is not. Leave it out.")
    return taken


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    reader = _parse(path)
    with guard.readable(path, _LAYOUT):
        channels = _channels(path, reader)
        names = [c.name for c in channels]
        lfp = chosen(path, "lfp", choice.lfp, [*_streams(reader), *names], _propose(reader, channels))
        behavior = chosen(path, "behavior", choice.behavior, names, _propose_behavior(path, channels))
        tables = ["spikes"] if len(reader.header["spike_channels"]) else []
        units = chosen(path, "unit", choice.units, tables, tables)
        taken = [c for c in _select(path, reader, channels, lfp) if c.name not in behavior]
        broadband = _broadband(path, reader, taken) if taken else ()
        arrays = _behavior(path, reader, [c for c in channels if c.name in behavior]) if behavior else {}
        left_out: dict[str, Any] = {}
        if broadband:
            arrays["intervals_s"] = intervals(broadband)
        if units:
            arrays |= _spikes(reader, arrays.get("intervals_s", np.array([(-np.inf, np.inf)])), left_out)
    notes = [f"field potential: {', '.join(lfp) or 'none'}; behaviour: {', '.join(behavior) or 'none'}"]
    origin = guard.source("vendor", _files(path), notes, left_out)
    names = {"session": guard.safe_name(path.stem), "subject": _subject(path), "source": origin}
    yield RawSession(path=path, arrays=arrays | names, broadband=broadband)


def _subject(path: Path) -> str:
    parts = [part[4:] for part in path.stem.split("_") if part.startswith("sub-")]
    return guard.safe_name(parts[0]) if parts else "subject"


def _broadband(path: Path, reader: Any, taken: list[_Channel]) -> tuple[Broadband, ...]:
    """Return one stretch for each of neo's segments: acquisition was paused between them."""
    stream, rate = taken[0].stream, float(reader.get_signal_sampling_rate(taken[0].stream))
    places = np.array([c.place_um for c in taken])
    found = [
        Broadband(
            name=f"{path}: {_streams(reader)[stream]}",
            rate_hz=rate,
            start_s=float(reader.get_signal_t_start(0, segment, stream)),
            n_samples=int(reader.get_signal_size(0, segment, stream)),
            channel_ids=tuple(c.name for c in taken),
            positions_um=places if np.isfinite(places).all() else None,
            conversion_v=np.array([c.volts for c in taken], np.float64),
            stream=partial(_stream, path, segment, taken),
        )
        for segment in range(reader.segment_count(0))
    ]
    for before, after in itertools.pairwise(found):
        if after.start_s < before.end_s - 1 / rate:
            raise InputError(
                f"{after.name}: a segment starts at {after.start_s:.3f} s, before the last one ends. "
                "Prepare the parts one by one."
            )
    return tuple(found)


def _stream(path: Path, segment: int, taken: list[_Channel], samples: int) -> Iterator[np.ndarray]:
    reader = _parse(path)
    stream, columns = taken[0].stream, [c.index for c in taken]
    offset = np.array([c.offset for c in taken])
    size = int(reader.get_signal_size(0, segment, stream))
    with guard.readable(path, _LAYOUT):
        for start in range(0, size, samples):
            block = _chunk(reader, segment, start, min(start + samples, size), stream, columns)
            plain = block.dtype == np.int16 and not offset.any()
            yield np.ascontiguousarray(block) if plain else (block + offset).astype(np.float32)


def _chunk(reader: Any, segment: int, start: int, stop: int, stream: int, columns: list[int]) -> np.ndarray:
    with guard.quiet():
        block = reader.get_analogsignal_chunk(
            block_index=0,
            seg_index=segment,
            i_start=start,
            i_stop=stop,
            stream_index=stream,
            channel_indexes=columns,
        )
    return np.asarray(block)


def _behavior(path: Path, reader: Any, taken: list[_Channel]) -> dict[str, Any]:
    if len({c.stream for c in taken}) > 1:
        raise InputError(
            f"{path}: behaviour must be channels of one stream, got {[c.name for c in taken]}. "
            "Name channels of one stream."
        )
    stream, columns = taken[0].stream, [c.index for c in taken]
    rate, values, times = float(reader.get_signal_sampling_rate(stream)), [], []
    for segment in range(reader.segment_count(0)):
        size = int(reader.get_signal_size(0, segment, stream))
        blocks = [
            _chunk(reader, segment, i, min(i + _BLOCK, size), stream, columns).astype(np.float64)
            for i in range(0, size, _BLOCK)
        ]
        values.append(np.vstack(blocks))
        times.append(float(reader.get_signal_t_start(0, segment, stream)) + np.arange(size) / rate)
    scale = np.array([c.volts or 1.0 for c in taken])
    return {
        "behavior": (np.vstack(values) + [c.offset for c in taken]) * scale,
        "behavior_times_s": np.concatenate(times),
        "behavior_names": [c.name for c in taken],
    }


def _spikes(reader: Any, valid: np.ndarray, left_out: dict[str, Any]) -> dict[str, Any]:
    header = reader.header["spike_channels"]
    times, units = [], []
    for unit in range(len(header)):
        for segment in range(reader.segment_count(0)):
            raw = reader.get_spike_timestamps(block_index=0, seg_index=segment, spike_channel_index=unit)
            seconds = np.asarray(reader.rescale_spike_timestamp(raw, dtype="float64"))
            keep = clock.inside(seconds, valid)
            left_out["spikes outside the field potential"] = left_out.get(
                "spikes outside the field potential", 0
            ) + int((~keep).sum())
            times.append(seconds[keep])
            units.append(np.full(int(keep.sum()), unit))
    if not sum(map(len, times)):
        return {}
    return {
        "spike_times": np.concatenate(times),
        "spike_units": np.concatenate(units),
        "unit_ids": [str(name) for name in header["id"]],
    }


def _inspect(path: Path) -> Inspection:
    reader = _parse(path)
    with guard.readable(path, _LAYOUT):
        channels = _channels(path, reader)
        rows = [row for stream in range(len(_streams(reader))) for row in _rows(reader, channels, stream)]
        if units := len(reader.header["spike_channels"]):
            rows.append(Series(name="spikes", kind="spikes", channels=units, unit="s"))
        places = [(c.name, *c.place_um) for c in channels if c.is_field and np.isfinite(c.place_um).all()]
    return Inspection(
        path=path,
        reader="vendor",
        layout=f"{_SYSTEMS[path.suffix.lower()].rawio} of neo",
        sessions=(guard.safe_name(path.stem),),
        series=tuple(rows),
        electrodes=tuple(Electrode(id=n, x_um=x, y_um=y) for n, x, y in places),
        chosen=(*_propose(reader, channels), *(["spikes"] if units else []), *_propose_behavior(path, channels)),
        notes=(f"channels: {', '.join(c.name for c in channels)}",),
    )


def _rows(reader: Any, channels: list[_Channel], stream: int) -> list[Series]:
    own = [c for c in channels if c.stream == stream]
    segments = range(reader.segment_count(0))
    rate = float(reader.get_signal_sampling_rate(stream))
    sizes = [int(reader.get_signal_size(0, s, stream)) for s in segments]
    starts = [float(reader.get_signal_t_start(0, s, stream)) for s in segments]
    ends = [start + size / rate for start, size in zip(starts, sizes, strict=True)]
    span: dict[str, Any] = {
        "samples": sum(sizes),
        "rate_hz": rate,
        "start_s": starts[0],
        "end_s": ends[-1],
        "gaps_s": tuple(zip(ends[:-1], starts[1:], strict=True)),
    }
    field, other = [c for c in own if c.is_field], [c for c in own if not c.is_field]
    found = [Series(name=_streams(reader)[stream], kind="field potential", channels=len(field), unit="V", **span)]
    return (found if field else []) + [Series(name=c.name, kind="behaviour", channels=1, **span) for c in other]


READER = Reader(name="vendor", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=_files)
