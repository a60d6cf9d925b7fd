"""The trained models of a finished experiment, for what is measured after it."""

from pathlib import Path
from typing import Any

import spikefield.artifact as artifact
from spikefield.artifact import Model


def models_of(out: Path, *names: str) -> list[Model]:
    """Return the models of these names, all seeds."""
    found = [artifact.load(path) for path in sorted((out / "models").glob("[!.]*"))]
    return [model for model in found if model.name in names]


def students(out: Path) -> list[Model]:
    """Return the distilled students, all seeds."""
    return models_of(out, "distilled")


def row(model: Model, session_id: str, metric: str, value: float, n_test: int, *, name: str = "") -> dict[str, Any]:
    """Return a row of `results.csv` on a model, or on a way of using it that has a `name` of its own."""
    return {
        "model": name or model.name,
        "regime": model.lineage.get("regime", "unsupervised"),
        "trained_on": ";".join(model.trained_on),
        "session": session_id,
        "seed": model.seed,
        "metric": metric,
        "value": round(float(value), 6),
        "n_test": n_test,
    }
