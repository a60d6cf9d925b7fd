"""What every reader is: a name and four functions, so that a format is one file and one entry in the registry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spikefield.recordings.inspection import Inspection
from spikefield.recordings.raw import RawSession, SeriesChoice


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One format.

    Args:
        name: what a user calls it by.
        layout: one line that says which files it reads.
        matches: tells cheaply, by structure, whether a path is of this format; never raises.
        inspect: what the file holds, without loading the data.
        read: the recordings of the file, one after the other.
        files: all the files of the recording that the path belongs to, the path that names it first.
    """

    name: str
    layout: str
    matches: Callable[[Path], bool]
    inspect: Callable[[Path], Inspection]
    read: Callable[[Path, SeriesChoice], Iterator[RawSession]]
    files: Callable[[Path], tuple[Path, ...]]


def only_itself(path: Path) -> tuple[Path, ...]:
    """Return the one file of a recording that is a single file."""
    return (path,)
