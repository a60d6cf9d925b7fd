"""What a check has to say about a prepared session: how grave, about which stream, what, where and the remedy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["problem", "warning", "note"]
Stream = Literal["spikes", "lfp", "behavior", "session"]

SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding.

    Args:
        severity: a problem makes the stream unusable, a warning asks for a look, a note is good to know.
        stream: what it is about; a problem of the session makes all of it unusable.
        what: one sentence without a full stop.
        where: times or a place in words; "" for all.
        names: the channels, units or dims that it is about; none for all.
        remedy: what to do.
        check: the check that found it; set by the one who runs it.
    """

    severity: Severity
    stream: Stream
    what: str
    remedy: str
    where: str = ""
    names: tuple[str, ...] = ()
    check: str = ""

    @property
    def place(self) -> str:
        """Where it was found, in words: names first, no more than a few."""
        return "; ".join(part for part in (some(self.names), self.where) if part)

    def line(self) -> str:
        """Return the finding as one line of text."""
        place = f" ({self.place})" if self.place else ""
        return f"{self.severity}: {self.what}{place}. {self.remedy}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def gravest_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return problems, then warnings, then notes."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(map(str, names[:_SHOWN])) + (f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else "")


def spans(intervals_s: Sequence[tuple[float, float]]) -> str:
    """Return the first intervals as text, and how many more there are."""
    return some([f"{start:.2f} to {end:.2f} s" for start, end in intervals_s])


def counted(number: int, what: str) -> str:
    """Return a number with what it counts, in the plural where it is not one."""
    return f"{number} {what}{'' if number == 1 else 's'}"
