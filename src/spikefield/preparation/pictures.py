"""Four looks at a prepared session for the validation page: traces, spectra, spikes with behaviour, channel map."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from spikefield.preparation.contents import Contents, Field
from spikefield.preparation.drawing import BLUE, GRID, INK, MUTED, ORANGE, to_svg
from spikefield.preparation.finding import some

_TRACES, _TRACE_S, _MOST_POINTS = 8, 2.0, 600
_RASTER_S, _MOST_UNITS, _MOST_DIMS = 10.0, 120, 3
_LABELS = 16
_LABEL_ROOM = 0.07
_WIDE_UM = 10_000.0
_TICKS_HZ = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
_NOTHING_DB = -2900


@dataclass(frozen=True)
class Picture:
    """One drawing of the page with its caption."""

    drawing: Markup
    caption: str


def draw_pictures(contents: Contents, *, marked: set[str], name: str) -> list[Picture]:
    """Return the pictures that a session allows; channels in `marked` stand out."""
    found = []
    if contents.field is not None and contents.field.pieces.size:
        found += [_traces(contents.field, marked, name), _spectra(contents.field, marked, name)]
    if contents.spikes is not None:
        found.append(_raster(contents, name))
    if contents.field is not None and contents.field.positions_um is not None and contents.field.pieces.size:
        found.append(_channel_map(contents.field, marked, name))
    return found


def _picture(draw: Callable[[Axes], None], caption: str, *, height_in: float, name: str) -> Picture:
    return Picture(to_svg(draw, height_in=height_in, name=name, alt=caption), caption)


def _traces(field: Field, marked: set[str], name: str) -> Picture:
    first, stop = max(field.stretches, key=lambda stretch: stretch[1] - stretch[0])
    middle = (first + stop) // 2
    shown = slice(middle, min(middle + max(round(_TRACE_S * field.rate_hz), 20), stop))
    channels = np.linspace(0, len(field.channel_ids) - 1, min(len(field.channel_ids), _TRACES)).round().astype(int)
    rows = np.asarray(field.signal[shown], np.float64)[:, channels]
    rows = (rows - rows.mean(axis=0))[:: max(len(rows) // _MOST_POINTS, 1)]
    apart = 4 * float(np.median(rows.std(axis=0))) or 1.0
    start_s = field.start_s + middle / field.rate_hz
    time_s = start_s + np.linspace(0, (shown.stop - shown.start) / field.rate_hz, len(rows))

    def draw(axes: Axes) -> None:
        for i, channel in enumerate(channels):
            color = ORANGE if field.channel_ids[channel] in marked else INK
            axes.plot(time_s, np.clip(rows[:, i], -2 * apart, 2 * apart) - i * apart, color=color, linewidth=0.7)
        axes.set_yticks([-i * apart for i in range(len(channels))], [_short(field.channel_ids[c]) for c in channels])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel("time (s)")

    names = some([field.channel_ids[c] for c in channels])
    caption = f"Field potential of {names} from {start_s:.1f} s, lines {apart:.3g} apart in the file's unit."
    return _picture(draw, caption, height_in=2.9, name=f"{name}-traces")


def _spectra(field: Field, marked: set[str], name: str) -> Picture:
    frequency_hz, power = field.statistics.frequency_hz, field.statistics.power
    seen = frequency_hz > 0
    frequency_hz, power_db = frequency_hz[seen], 10 * np.log10(np.maximum(power[seen], 1e-300))
    low, middle, high = np.quantile(power_db, (0.1, 0.5, 0.9), axis=1)
    odd = [i for i, channel in enumerate(field.channel_ids) if channel in marked and power_db[:, i].max() > _NOTHING_DB]
    decades = [f for f in _TICKS_HZ if frequency_hz[0] <= f <= frequency_hz[-1]]

    def draw(axes: Axes) -> None:
        axes.fill_between(frequency_hz, low, high, color=BLUE, alpha=0.25, linewidth=0)
        axes.plot(frequency_hz, middle, color=BLUE, linewidth=1.1)
        for i in odd[:_TRACES]:
            axes.plot(frequency_hz, power_db[:, i], color=ORANGE, linewidth=0.7)
        axes.set(xscale="log", xlabel="frequency (Hz)", ylabel="power density (dB of unit²/Hz)")
        axes.set_xticks(decades, [f"{f:g}" for f in decades])
        axes.set_xticks([], minor=True)
        axes.grid(color=GRID, linewidth=0.6)
        axes.tick_params(which="both", length=0)

    caption = "Power spectrum: median channel, and the range of 8 in 10."
    if odd:
        caption += f" Orange: {some([field.channel_ids[i] for i in odd[:_TRACES]])}."
    return _picture(draw, caption, height_in=2.9, name=f"{name}-spectra")


def _raster(contents: Contents, name: str) -> Picture:
    assert contents.spikes is not None
    longest = int(np.argmax(contents.intervals_s[:, 1] - contents.intervals_s[:, 0]))
    start_s, end_s = contents.intervals_s[longest]
    start_s = float(start_s + max((end_s - start_s - _RASTER_S) / 2, 0))
    end_s = min(float(end_s), start_s + _RASTER_S)
    times, units, _ = contents.spikes.events()
    shown = (times >= start_s) & (times < end_s) & (units < _MOST_UNITS)
    times, units = times[shown], units[shown]
    n_units = min(len(contents.spikes.unit_ids), _MOST_UNITS)

    def draw(axes: Axes) -> None:
        x = np.column_stack([times, times, np.full(len(times), np.nan)]).ravel()
        y = np.column_stack([units - 0.4, units + 0.4, units]).ravel()
        axes.plot(x, y, color=INK, linewidth=0.5)
        _draw_behavior(axes, contents, start_s, end_s, n_units)
        axes.set(xlim=(start_s, end_s), xlabel="time (s)", ylabel="unit")
        axes.set_yticks([0, n_units - 1] if n_units > 1 else [0])
        axes.tick_params(length=0)

    caption = f"Spikes of {n_units} units"
    if contents.behavior is not None:
        caption += f"; above them, in blue: {some(contents.behavior.names[:_MOST_DIMS])}, scaled"
    return _picture(draw, f"{caption}.", height_in=2.9, name=f"{name}-raster")


def _draw_behavior(axes: Axes, contents: Contents, start_s: float, end_s: float, n_units: int) -> None:
    if contents.behavior is None:
        return
    behavior = contents.behavior
    shown = np.flatnonzero((behavior.times_s >= start_s) & (behavior.times_s < end_s))
    shown = shown[:: max(len(shown) // _MOST_POINTS, 1)]
    height = max(n_units * 0.15, 1.0)
    for i, column in enumerate(behavior.values.T[:_MOST_DIMS]):
        values = column[shown]
        if not np.isfinite(values).any():
            continue
        span = float(np.nanmax(values) - np.nanmin(values)) or 1.0
        level = n_units + i * 1.2 * height
        axes.plot(behavior.times_s[shown], level + height * (values - np.nanmin(values)) / span, color=BLUE, lw=0.9)


def _channel_map(field: Field, marked: set[str], name: str) -> Picture:
    assert field.positions_um is not None
    size = field.statistics.rms
    wide = float(np.ptp(field.positions_um, axis=0).max()) > _WIDE_UM
    x, y = field.positions_um.T / (1000 if wide else 1)
    unit = "mm" if wide else "µm"
    odd = np.array([channel in marked for channel in field.channel_ids])

    def draw(axes: Axes) -> None:
        drawn = axes.scatter(x, y, c=np.log10(np.maximum(size, 1e-30)), s=34, cmap="viridis", edgecolors=MUTED, lw=0.6)
        axes.scatter(x[odd], y[odd], s=90, facecolors="none", edgecolors=ORANGE, linewidths=1.3)
        if len(x) <= _LABELS:
            for i in _apart(x, y):
                label = _short(field.channel_ids[i])
                axes.annotate(label, (x[i], y[i]), (4, 4), textcoords="offset points", color=MUTED, size=8)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})")
        axes.tick_params(length=0)
        axes.margins(0.08)
        bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.05, aspect=25)
        bar.set_label("log10 of rms", color=MUTED)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)

    caption = "Channel map, coloured by size."
    if odd.any():
        caption += " Circled: channels that a check names."
    return _picture(draw, caption, height_in=2.9, name=f"{name}-map")


def _apart(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Return the channels whose names have room: none so near to one before it that the two would overlap."""
    room = _LABEL_ROOM * max(float(np.ptp(x)), float(np.ptp(y)))
    named: list[int] = []
    for i in range(len(x)):
        if all(abs(y[i] - y[j]) > room or abs(x[i] - x[j]) > 4 * room for j in named):
            named.append(i)
    return named


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"
