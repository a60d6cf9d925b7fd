"""What a file holds, told before anything is read: series, clocks, units, gaps, electrodes, trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["spikes", "field potential", "behaviour", "trials"]
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series of a file. `name` is what a user may call it by; `channels` counts units, dims or trials too."""

    name: str
    kind: Kind
    channels: int
    samples: int | None = None
    rate_hz: float | None = None
    unit: str = ""
    start_s: float | None = None
    end_s: float | None = None
    gaps_s: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Electrode:
    """One row of the electrode table."""

    id: str
    x_um: float
    y_um: float


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a file holds; `chosen` says which series the reader would take unless told otherwise."""

    path: Path
    reader: str
    layout: str
    sessions: tuple[str, ...]
    series: tuple[Series, ...]
    electrodes: tuple[Electrode, ...] = ()
    chosen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def format_inspection(inspection: Inspection) -> str:
    """Return the inspection as plain text: a table of the series, then electrodes and notes."""
    lines = [
        f"{inspection.path}",
        f"  reader    {inspection.reader} ({inspection.layout})",
        f"  sessions  {len(inspection.sessions)}: {_some(inspection.sessions)}",
        "",
        *_table(_HEAD, [_row(series) for series in inspection.series]),
    ]
    gaps = [f"  {s.name}: {start:.3f} to {end:.3f} s" for s in inspection.series for start, end in s.gaps_s[:_SHOWN]]
    lines += ["", "gaps", *gaps] if gaps else []
    if inspection.electrodes:
        places = [f"{e.id} ({e.x_um:.0f}, {e.y_um:.0f})" for e in inspection.electrodes]
        lines += ["", f"electrodes (µm)  {len(places)}: {_some(places)}"]
    lines += ["", f"chosen    {', '.join(inspection.chosen)}"] if inspection.chosen else []
    lines += [f"note      {note}" for note in inspection.notes]
    return "\n".join(lines) + "\n"


_HEAD = ("series", "kind", "channels", "samples", "rate (Hz)", "unit", "start (s)", "duration (s)", "gaps")


def _row(series: Series) -> tuple[str, ...]:
    start, end = series.start_s, series.end_s
    return (
        series.name,
        series.kind,
        str(series.channels),
        "-" if series.samples is None else str(series.samples),
        "-" if series.rate_hz is None else f"{series.rate_hz:.10g}",
        series.unit or "-",
        "-" if start is None else f"{start:.3f}",
        "-" if start is None or end is None else f"{end - start:.3f}",
        str(len(series.gaps_s)),
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, ["-" * width for width in widths], *rows]
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else "")
