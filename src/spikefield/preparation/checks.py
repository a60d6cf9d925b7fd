"""Run every check over a prepared session; each is a small function in the file of its stream."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from spikefield.preparation.behavior_checks import BEHAVIOR_CHECKS
from spikefield.preparation.clock_check import CLOCK_CHECKS
from spikefield.preparation.contents import Contents
from spikefield.preparation.field_checks import FIELD_CHECKS
from spikefield.preparation.finding import Finding, gravest_first
from spikefield.preparation.session_checks import SESSION_CHECKS
from spikefield.preparation.spike_checks import SPIKE_CHECKS

Check = Callable[[Contents], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (*SESSION_CHECKS, *SPIKE_CHECKS, *FIELD_CHECKS, *BEHAVIOR_CHECKS, *CLOCK_CHECKS)


def run_checks(contents: Contents) -> list[Finding]:
    """Return what all checks find, the gravest first."""
    found = [
        replace(finding, check=getattr(check, "__name__", "").removeprefix("check_"))
        for check in CHECKS
        for finding in check(contents)
    ]
    return gravest_first(found)
