"""Read what an experiment left in its folder; whatever may be absent comes back as None or empty, never as a guess."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import spikefield.files as files
from spikefield.errors import InputError
from spikefield.report.tables import STUDENT, check_results, tested_on

CURVE_COLUMNS = ("model", "seed", "epoch", "train_loss", "valid_loss", "r2")


@dataclass(frozen=True)
class Experiment:
    """The output folder of an experiment, read."""

    folder: Path
    results: pd.DataFrame
    run: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    curves: pd.DataFrame | None

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """The sessions as `run.json` describes them."""
        return list(self.run.get("data", {}).get("sessions", []))

    def shown_session(self, kind: str) -> str | None:
        """Choose the session to draw from `kind` (predictions | representations): the student's own, else the first."""
        present = {path.stem for path in (self.folder / kind).glob("*.npz")}
        student = self.results[self.results["model"] == STUDENT]
        own = student.loc[tested_on(student) == "own", "session"]
        order = [*own, *(s["session"] for s in self.sessions), *sorted(present)]
        return next((session for session in order if session in present), None)

    def arrays(self, kind: str, session: str) -> dict[str, np.ndarray]:
        """Return the arrays of `OUT/<kind>/<session>.npz`.

        Raises:
            InputError: the file is not a whole `.npz` of plain arrays.
        """
        path = self.folder / kind / f"{session}.npz"
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:
            raise InputError(f"{path}: not a readable .npz ({_one_line(error)}). Run the experiment again.") from error


def read_experiment(out: Path) -> Experiment:
    """Read `results.csv`, `run.json`, `splits/` and `curves.csv` of an experiment's folder.

    Raises:
        InputError: the folder holds no results, or a file in it cannot be read.
    """
    if not (out / "results.csv").is_file():
        raise InputError(f"{out}: holds no results.csv. Run `spikefield experiment DIR --out {out}` first.")
    curves = _table(out / "curves.csv") if (out / "curves.csv").is_file() else None
    if curves is not None and (missing := [c for c in CURVE_COLUMNS if c not in curves.columns]):
        raise InputError(
            f"{out / 'curves.csv'}: must have the columns {', '.join(CURVE_COLUMNS)}, but {missing[0]!r} is missing. "
            "Run the experiment again."
        )
    splits = {path.stem: files.read_json(path) for path in sorted((out / "splits").glob("*.json"))}
    results = check_results(_table(out / "results.csv"))
    if results.empty:
        raise InputError(f"{out / 'results.csv'}: holds no score. Run `spikefield experiment` to its end first.")
    return Experiment(out, results, files.read_json(out / "run.json"), splits, curves)


def _table(path: Path) -> pd.DataFrame:
    text = {column: str for column in ("model", "regime", "trained_on", "session", "metric")}
    try:
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": ["", "nan", "NaN"]} | _EMPTY)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable table ({_one_line(error)}). Run the experiment again.") from error


_EMPTY = {column: ["", "nan", "NaN"] for column in ("seed", "n_test", "epoch", "train_loss", "valid_loss", "r2")}


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
