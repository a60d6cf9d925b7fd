"""`spikefield audit`: whether a finished experiment may be believed, re-checked from its folder and its data.

output folder, data -> one line a check: what was looked at, and what leaks or does not fit
"""

import json as to_json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikefield.errors import InputError
from spikefield.experiments import audit_files, audit_numbers, audit_time
from spikefield.experiments.finished import Finished, read_finished

_SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One check: what holds if it passes, and what was found against it."""

    name: str
    holds: str
    found: tuple[str, ...]

    @property
    def line(self) -> str:
        """The check in one line."""
        if not self.found:
            return f"ok    {self.name}: {self.holds}"
        more = f"; and {len(self.found) - _SHOWN} more" if len(self.found) > _SHOWN else ""
        return f"LEAK  {self.name}: {'; '.join(self.found[:_SHOWN])}{more}"


CHECKS: dict[str, tuple[str, Callable[[Finished], list[str]]]] = {
    "protocol": ("blocked, as declared", audit_time.protocol),
    "splits": ("those of the data and the configuration, the same in every model", audit_time.splits),
    "guards": (
        "no sample is shared between kinds within the reach of filters and windows, guard added",
        audit_time.guards,
    ),
    "statistics": ("refitting them on training time gives the same", audit_time.statistics),
    "readouts": ("refitting them, penalty and all, with test time erased gives the same", audit_numbers.readouts),
    "scores": ("results.csv holds what the models and baselines scored, no more and no less", audit_numbers.scores),
    "nulls": ("near zero, or declared as trial-permuted", audit_numbers.nulls),
    "seeds": ("every model has every seed", audit_numbers.seeds),
    "data": ("unchanged, and what every model was trained on", audit_files.data),
    "files": ("unchanged since the experiment", audit_files.unchanged),
}


def run_audit(out: Path, *, data: Path | None = None) -> list[Check]:
    """Check a finished experiment.

    Raises:
        InputError: not a finished experiment, or its data cannot be found.
    """
    finished = read_finished(out, data=data)
    return [Check(name, holds, tuple(look(finished))) for name, (holds, look) in CHECKS.items()]


def audit(out: Path, *, data: Path | None = None, json: bool = False) -> int:
    """Re-check a finished experiment for leaks, in one line a check; exit status 1 where one is found.

    Args:
        out: the experiment's folder, or that of a series.
        data: folder of its prepared sessions, where they have moved.
        json: print JSON instead.
    """
    audits = {folder: run_audit(folder, data=data) for folder in _experiments(out)}
    leaks = any(check.found for checks in audits.values() for check in checks)
    if json:
        told = [_told(folder, checks) for folder, checks in audits.items()]
        print(to_json.dumps(told[0] if _experiments(out) == [out] else {"leaks": leaks, "runs": told}, indent=2))
    for folder, checks in () if json else audits.items():
        print("\n".join([*([] if folder == out else [f"{folder.name}:"]), *(check.line for check in checks)]))
    return int(leaks)


def _experiments(out: Path) -> list[Path]:
    """Return the folder itself, or the finished runs of a series."""
    if not (out / "series.json").is_file():
        return [out]
    if not (runs := sorted(path.parent for path in out.glob("[!.]*/run.json"))):
        raise InputError(f"{out}: holds a series of which no run is finished. Run `spikefield reproduce` to its end.")
    return runs


def _told(folder: Path, checks: Sequence[Check]) -> dict[str, Any]:
    listed = [{"check": c.name, "passed": not c.found, "holds": c.holds, "found": list(c.found)} for c in checks]
    return {"out": str(folder), "leaks": any(c.found for c in checks), "checks": listed}


__all__ = ["Check", "audit", "run_audit"]
