"""Bring a source's channels to those that the model learned: by name, or by a file that says which is which.

    source,model,scale          a CSV with this first line; `scale` may be left out
    EEG 1,c0,2.5e-7             model's unit for one of the source's: volts of a count
    EEG 3,c1,2.5e-7

A channel of the model that no line names is missing: it comes as NaN and is treated as a bad channel, by policy.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from spikefield.deploy.sources import Source
from spikefield.errors import InputError


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """For every channel of the model (channel,) its column in the source (-1: missing) and its scale."""

    column: Int[np.ndarray, " channel"]
    scale: Float[np.ndarray, " channel"]
    missing: tuple[str, ...]

    def apply(self, samples: Shaped[np.ndarray, "sample source_channel"]) -> Shaped[np.ndarray, "sample channel"]:
        """Return the model's channels (sample, channel) in its unit, NaN where one is missing."""
        if self.is_identity:
            return samples
        mapped = samples[:, self.column]
        if (self.scale != 1).any():
            mapped = mapped * self.scale
        return np.where(self.column >= 0, mapped, np.nan) if self.missing else mapped

    @property
    def is_identity(self) -> bool:
        """True if nothing has to be done."""
        return bool((self.column == np.arange(len(self.column))).all() and (self.scale == 1).all())


def match_channels(
    source: Source, channel_ids: tuple[str, ...], path: Path | None = None, *, scale: float = 1.0
) -> ChannelMap:
    """Match a source to the model's channels; `scale` is the model's unit for one of the source's.

    Raises:
        InputError: number, names or order differ and no map says how they belong together, or the map does not fit.
    """
    if not np.isfinite(scale) or scale == 0:
        raise InputError(
            f"`scale` must be a number other than 0, got {scale}. Give 1 to leave the samples as they are."
        )
    matched = _by_file(path, source, channel_ids) if path else _by_name(source, channel_ids)
    return replace(matched, scale=matched.scale * scale)


def _by_name(source: Source, channel_ids: tuple[str, ...]) -> ChannelMap:
    remedy = "Say which channel is which with --channel-map FILE (lines of source,model,scale)."
    n = len(channel_ids)
    if source.n_channels != n:
        raise InputError(f"{source.name} must send the model's {n} channels, got {source.n_channels}. {remedy}")
    if source.channel_ids is not None and source.channel_ids != channel_ids:
        if set(source.channel_ids) == set(channel_ids):
            raise InputError(f"{source.name} sends the model's {n} channels in another order. {remedy}")
        first = next(i for i, (a, b) in enumerate(zip(source.channel_ids, channel_ids, strict=True)) if a != b)
        raise InputError(
            f"{source.name} must send the model's channels, but channel {first + 1} is "
            f"{source.channel_ids[first]!r} instead of {channel_ids[first]!r}. {remedy}"
        )
    return ChannelMap(np.arange(n), np.ones(n), ())


def _by_file(path: Path, source: Source, channel_ids: tuple[str, ...]) -> ChannelMap:
    column, scale = np.full(len(channel_ids), -1), np.ones(len(channel_ids))
    source_ids = source.channel_ids or tuple(str(i) for i in range(source.n_channels))
    rows = _rows(path)
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        theirs, ours = (row.get(key) or "" for key in ("source", "model"))
        if ours not in channel_ids:
            raise InputError(
                f"{where}: the model has no channel {ours!r}; it has {_some(channel_ids)}. Name one of these."
            )
        if theirs not in source_ids:
            raise InputError(
                f"{where}: {source.name} has no channel {theirs!r}; it has {_some(source_ids)}. Name one of these."
            )
        place = channel_ids.index(ours)
        if column[place] >= 0:
            raise InputError(f"{where}: channel {ours!r} of the model stands here a second time. Remove one line.")
        column[place], scale[place] = source_ids.index(theirs), _scale(row.get("scale"), where)
    if (column < 0).all():
        raise InputError(f"{path}: names no channel. Write one line a channel below `source,model,scale`.")
    missing = tuple(c for c, found in zip(channel_ids, column >= 0, strict=True) if not found)
    return ChannelMap(column, scale, missing)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows, found = list(reader), reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: not a readable CSV ({' '.join(str(error).split())[:100]}). "
            "Write one line a channel below `source,model,scale`."
        ) from error
    if not {"source", "model"} <= set(found) or not set(found) <= {"source", "model", "scale"}:
        raise InputError(
            f"{path}: its first line must be source,model or source,model,scale, got {','.join(found)!r}. "
            "Write that line first."
        )
    return rows


def _scale(text: str | None, where: str) -> float:
    if text is None or not text.strip():
        return 1.0
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value) or value == 0:
        raise InputError(
            f"{where}: `scale` must be a number other than 0, got {text!r}. Write 1 to leave the samples as they are."
        )
    return value


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
