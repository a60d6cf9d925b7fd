"""What a person sees in the terminal while a model decodes, on standard error, so that lines may go out beside it."""

import logging
import sys
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from spikefield.deploy.live import Status

_SHOWN_EVENTS = 3


class View:
    """A page that is drawn anew whenever it is told the status; what is logged meanwhile stands above it."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._redirected: list[tuple[logging.StreamHandler, Any]] = []
        self._live = RichLive(console=console or Console(stderr=True), auto_refresh=False)

    def __enter__(self) -> "View":
        self._live.start()  # from here on, what goes to sys.stderr is drawn above the page
        plain = (h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler)
        self._redirected = [(handler, handler.setStream(sys.stderr)) for handler in plain]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handler, before in self._redirected:
            if before is not None:
                handler.setStream(before)
        self._live.stop()

    def __call__(self, status: Status) -> None:
        """Draw."""
        self._live.update(page(self._title, status), refresh=True)


def page(title: str, status: Status) -> Group:
    """Return the page: decoded against true, then the state of stream and signal."""
    events = [Text(f"{event.seconds:8.1f} s  {event.what}", style="yellow") for event in status.events[-_SHOWN_EVENTS:]]
    return Group(Text(title, style="bold"), _decoded(status), _state(status), *events)


def _decoded(status: Status) -> Table:
    table = Table("", "decoded", *(["true", "R², last bins", "R², test time"] if status.true else []))
    for name in status.names:
        cells = [name, f"{status.decoded.get(name, float('nan')):9.3f}"]
        if status.true:
            found = (status.true, status.recent_r2, status.r2)
            cells += [f"{values[name]:9.3f}" if name in values else "–" for values in found]
        table.add_row(*cells)
    return table


def _state(status: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    latency, counters, signal = status.latency_ms, status.counters, status.signal
    table.add_row("time", f"{status.seconds:.0f} s, {status.bins} bins, {status.flagged_bins} of them flagged")
    table.add_row("latency", " · ".join(f"{name} {value:.2f} ms" for name, value in latency.items()))
    table.add_row("samples", _losses(status))
    table.add_row("jitter", f"{counters.get('clock_jitter_ms', 0):.3f} ms")
    if signal:
        text = " · ".join(f"{signal[name]} {name}" for name in ("absent", "flat", "noisy", "drifted"))
        table.add_row("signal", f"of {signal['n_features']} features {text}")
        if signal["alarm"]:
            table.add_row("", Text("DRIFT: the signal is not what the model learned", style="bold red"))
    if status.stalled:
        table.add_row("", Text("STALLED: no samples come", style="bold red"))
    return table


def _losses(status: Status) -> str:
    counters = status.counters
    parts = {
        "dropped": counters.get("dropped_samples", 0),
        "skipped": status.skipped_samples,
        "bad": counters.get("bad_samples", 0),
        "resets": counters.get("resets", 0),
        "bins late": counters.get("late_bins", 0),
        "bins lost by the sink": status.sink_dropped_bins,
    }
    return " · ".join(f"{value:g} {name}" for name, value in parts.items())
