"""What an experiment leaves behind, kept stable: results.csv, splits, curves, predictions, run.json, the report."""

import csv
import io
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.experiments import scoring
from spikefield.experiments.study import SINGLE
from spikefield.experiments.workspace import Workspace
from spikefield.report.page import write_report
from spikefield.windows.binned import BinnedSession

if TYPE_CHECKING:
    from spikefield.experiments.runner import Experiment

_CURVE_COLUMNS = ("model", "seed", "epoch", "train_loss", "valid_loss", "r2")
_MAPPED = ("teacher", "distilled", "ms-lfp")
_MAP_POINTS = 1500


def write_splits(out: Path, sessions: Sequence[BinnedSession]) -> None:
    """Write `splits/<session>.json`, in seconds of the recording's clock."""
    for session in sessions:
        split = session.split.to_dict(bin_width_ms=session.bin_width_ms, start_s=session.start_s)
        files.write_json(out / "splits" / f"{session.session_id}.json", {"session": session.session_id} | split)


def write_outputs(
    workspace: Workspace,
    experiment: "Experiment",
    *,
    stages: Sequence[Path],
    ceiling_r2: dict[str, float] | None,
    command: str,
) -> Path:
    """Write every table, the arrays behind the figures and the report; return the report's path."""
    out = workspace.out
    models = [path for path in stages if path.parent.name == "models"]
    loaded = [artifact.load(path) for path in models]
    linear = [path for path in stages if path.parent.name == "baselines"]
    baselines = [row for path in linear for row in files.read_json(path / "scores.json")]
    write_table(out / "results.csv", scoring.COLUMNS, [row for m in loaded for row in m.scores] + baselines)
    write_table(out / "curves.csv", _CURVE_COLUMNS, _curves(models, loaded, experiment.distill_on[0]))
    shown = [m for m in loaded if m.seed == experiment.seeds[0] and m.name not in SINGLE]
    for session in experiment.corpus.sessions:
        if session.behavior is not None:
            known = {m.name: m for m in shown if session.session_id in m.readouts}
            _write_arrays(out, session, list(known.values()))
    files.write_json(out / "run.json", _run(workspace, experiment, ceiling_r2, command))
    return write_report(out)


def write_table(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def _curves(models: Sequence[Path], loaded: Sequence[Model], own: str) -> list[dict[str, Any]]:
    """Return the training curves; of the single-session autoencoders only that of the first distilled session."""
    return [
        {"model": model.name, "seed": model.seed} | record
        for path, model in zip(models, loaded, strict=True)
        if "from" not in model.lineage or model.lineage["regime"] == "supervised"
        if model.name not in SINGLE or model.trained_on[0] == own
        for record in files.read_json(path / "curve.json")
    ]


def _write_arrays(out: Path, session: BinnedSession, models: Sequence[Model]) -> None:
    """Write predictions of the test time and representations of some of its bins, for the figures."""
    behavior = session.require("behavior")
    predicted: dict[str, np.ndarray] = {}
    represented: dict[str, np.ndarray] = {}
    for model in models:
        z, decoded = scoring.predictions(model, session)
        bins = decoded.test_bins
        predicted |= {
            "time_s": session.time_s[bins],
            "true": behavior[bins],
            "names": np.array(session.behavior_names),
            f"pred_{model.name}": decoded.predicted,
        }
        if model.name in _MAPPED:
            shown = bins[np.linspace(0, len(bins) - 1, min(_MAP_POINTS, len(bins))).astype(int)]
            represented |= _colour(behavior[shown], session.behavior_names) | {f"z_{model.name}": z[shown]}
    if models:
        predicted |= read_npz(out / "baselines" / session.session_id / "predictions.npz")
        write_npz(out / "predictions" / f"{session.session_id}.npz", predicted)
        write_npz(out / "representations" / f"{session.session_id}.npz", represented)


def _colour(behavior: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return what the map is coloured by: the angle of a circular dim, else of the first two velocities or dims."""
    velocity = [i for i, name in enumerate(names) if name.startswith("v")]
    circular = [i for i, name in enumerate(names) if name.startswith(("cos(", "sin("))]
    columns = (circular or velocity or list(range(behavior.shape[1])))[:2]
    label = "angle" if circular else "movement direction" if velocity else "direction"
    first, second = behavior[:, columns[0]], behavior[:, columns[-1]]
    if len(columns) == 1:
        span = np.nanmax(first) - np.nanmin(first)
        angle = 2 * np.pi * (first - np.nanmin(first)) / (span or 1.0)
        return {"direction_rad": angle, "speed": np.ones(len(first)), "color_name": np.array(names[columns[0]])}
    angle = np.arctan2(first, second) if circular else np.arctan2(second, first)
    return {"direction_rad": angle, "speed": np.hypot(first, second), "color_name": np.array(label)}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read plain arrays."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays, whole or not at all."""
    with files.whole(path) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def _run(
    workspace: Workspace, experiment: "Experiment", ceiling_r2: dict[str, float] | None, command: str
) -> dict[str, Any]:
    stages = workspace.records()
    return {
        "spikefield": artifact.versions()["spikefield"],
        "command": command,
        "seeds": list(experiment.seeds),
        "protocol": experiment.config.binning.split.protocol,
        "leaks": any(session.split.leaks for session in experiment.corpus.sessions),
        "distill_on": list(experiment.distill_on),
        "data": {
            "folder": str(experiment.corpus.folder.resolve()),
            "sessions": [_describe(s, experiment) for s in experiment.corpus.sessions],
        },
        "chosen": list(experiment.corpus.chosen),
        "ceiling_r2": ceiling_r2,
        "hardware": hardware(),
        "versions": artifact.versions(),
        "stages": stages,
        "files": output_hashes(workspace.out),
    }


def output_hashes(out: Path) -> dict[str, str]:
    """Return the hash of every output that a score rests on; a model's `config.json` holds those of its files."""
    patterns = ("results.csv", "splits/*.json", "baselines/*/scores.json", "models/*/config.json")
    paths = [path for pattern in patterns for path in sorted(out.glob(pattern))]
    kept = [path.relative_to(out) for path in paths if not path.parent.name.startswith(".")]
    return {path.as_posix(): files.sha256(out / path) for path in kept}


def _describe(session: BinnedSession, experiment: "Experiment") -> dict[str, Any]:
    return {
        "session": session.session_id,
        "subject": session.subject_id,
        "minutes": round((session.segment >= 0).sum() * session.bin_width_ms / 60000, 2),
        "units": len(session.unit_ids),
        "channels": len(session.channel_ids),
        "behavior": list(session.behavior_names),
        "bin_width_ms": session.bin_width_ms,
        "window_s": experiment.corpus.window_bins * session.bin_width_ms / 1000,
        "caution": experiment.corpus.cautions.get(session.session_id),
    }


def hardware() -> dict[str, Any]:
    """Return what the run ran on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": gpu,
    }
