"""One file a format: what a laboratory or an archive wrote becomes arrays on one clock."""

from spikefield.recordings.inspection import Inspection, format_inspection
from spikefield.recordings.raw import Broadband, RawSession, SeriesChoice
from spikefield.recordings.readers.reader import Reader
from spikefield.recordings.readers.registry import READERS, find_reader, inspect_file, sources

__all__ = [
    "READERS",
    "Broadband",
    "Inspection",
    "RawSession",
    "Reader",
    "SeriesChoice",
    "find_reader",
    "format_inspection",
    "inspect_file",
    "sources",
]
