"""What a series may measure beside R²: by name, a function of a finished experiment's folder and its sessions.

folder of a variant, binned sessions -> rows of `results.csv`, kept as NAME.json in that folder
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikefield.experiments.alignment import alignment_rows
from spikefield.experiments.classical import classical_rows
from spikefield.experiments.corpus import Corpus
from spikefield.experiments.drift import drift_rows
from spikefield.experiments.new_session import new_session_rows
from spikefield.experiments.reading import reading_rows

MEASURES: dict[str, Callable[[Path, Corpus], list[dict[str, Any]]]] = {
    "alignment": alignment_rows,
    "classical": classical_rows,
    "drift": drift_rows,
    "new-session": new_session_rows,
    "reading": reading_rows,
}
