"""What a prepared session can be used for: the checks' findings as a verdict, in words, for JSON and for the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikefield.errors import InputError
from spikefield.preparation.checks import run_checks
from spikefield.preparation.contents import Contents, read_contents
from spikefield.preparation.finding import Finding, Severity, counted
from spikefield.recordings import session as layout
from spikefield.recordings.readers.guard import readable

USES = {
    "teacher": ("spikes",),
    "student": ("spikes", "lfp"),
    "inference": ("lfp",),
    "scoring": ("behavior",),
}
"""What each use needs of a session."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found in one file; `contents` is None where the file could not be read."""

    path: Path
    contents: Contents | None
    findings: tuple[Finding, ...]

    @property
    def session_id(self) -> str:
        """The session's name, or the file's where it could not be read."""
        return self.contents.session_id if self.contents else self.path.name

    @property
    def uses(self) -> dict[str, bool]:
        """Tell for each use whether the session serves for it."""
        sound = self._sound_streams()
        return {use: set(needs) <= sound for use, needs in USES.items()}

    @property
    def usable(self) -> bool:
        """Tell whether a model can be trained or run on it."""
        return self.uses["teacher"] or self.uses["inference"]

    def _sound_streams(self) -> set[str]:
        if self.contents is None:
            return set()
        there = {"spikes": self.contents.spikes, "lfp": self.contents.field, "behavior": self.contents.behavior}
        broken = {finding.stream for finding in self.findings if finding.severity == "problem"}
        return set() if "session" in broken else {n for n, s in there.items() if s is not None} - broken

    def of(self, *severities: Severity) -> list[Finding]:
        """Return the findings of these severities."""
        return [finding for finding in self.findings if finding.severity in severities]

    def facts(self) -> dict[str, Any]:
        """Return minutes, units, channels, dims, trials and gaps; None where there is no such thing."""
        c = self.contents
        if c is None:
            return {}
        return {
            "minutes": round(c.valid_s / 60, 2),
            "units": len(c.spikes.unit_ids) if c.spikes else None,
            "channels": len(c.field.channel_ids) if c.field else None,
            "lfp_rate_hz": round(c.field.rate_hz, 3) if c.field else None,
            "behavior": list(c.behavior.names) if c.behavior else None,
            "trials": None if c.trials_s is None else len(c.trials_s),
            "gaps": len(c.gaps_s),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "session": self.session_id,
            "subject": self.contents.subject_id if self.contents else None,
            "file": self.path.name,
            **self.facts(),
            "uses": self.uses,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def judge_file(path: Path) -> Verdict:
    """Open a prepared session, run every check and keep whatever is wrong with the file as a finding."""
    try:
        session = layout.load(path)
        with readable(path, "prepared session", "Prepare its source again."):
            contents = read_contents(session)
            return Verdict(path=path, contents=contents, findings=tuple(run_checks(contents)))
    except InputError as error:
        what, _, remedy = str(error).rpartition(". ")
        finding = Finding(
            severity="problem",
            stream="session",
            what=(what or remedy).removeprefix(f"{path}: "),
            remedy=remedy if what else "Prepare its source again.",
            check="file",
        )
        return Verdict(path=path, contents=None, findings=(finding,))


def headline(verdict: Verdict) -> str:
    """Return one line: name, minutes, what is in it, what it is good for."""
    facts = verdict.facts()
    if not facts:
        return f"{verdict.session_id}: cannot be used"
    parts = [f"{facts['minutes']:.1f} min"]
    parts += [f"{facts['units']} units"] if facts["units"] is not None else ["no spikes"]
    field = (
        f"{facts['channels']} channels at {facts['lfp_rate_hz']:g} Hz" if facts["channels"] else "no field potential"
    )
    parts += [field, ", ".join(facts["behavior"]) if facts["behavior"] else "no behaviour"]
    parts += [counted(facts["trials"], "trial")] if facts["trials"] is not None else []
    parts += [counted(facts["gaps"], "gap")] if facts["gaps"] else []
    good_for = [use for use, possible in verdict.uses.items() if possible]
    return f"{verdict.session_id}: {'; '.join(parts)}. Use for: {', '.join(good_for) or 'nothing'}"


def as_text(verdicts: Sequence[Verdict], together: Sequence[Finding]) -> str:
    """Return all verdicts for the terminal."""
    lines: list[str] = []
    for verdict in verdicts:
        lines += [headline(verdict), *(f"  {finding.line()}" for finding in verdict.findings), ""]
    if together:
        lines += ["all sessions together", *(f"  {finding.line()}" for finding in together), ""]
    usable = sum(verdict.usable for verdict in verdicts)
    return "\n".join([*lines, f"{usable} of {len(verdicts)} sessions can be used"])
