"""`spikefield reproduce`: the paper's experiments and what it left open, each a series of variants with one table.

YAML of variants, folder of prepared sessions -> OUT/<variant>/ as `spikefield experiment` leaves it, OUT/results.csv,
OUT/tables, OUT/figures
"""

import csv
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

import spikefield.files as files
from spikefield.config import ExperimentConfig
from spikefield.errors import InputError
from spikefield.experiments import outputs
from spikefield.experiments.corpus import read_corpus
from spikefield.experiments.experiment import run_experiment
from spikefield.experiments.measures import MEASURES
from spikefield.experiments.scoring import COLUMNS
from spikefield.experiments.series import Run, Series, Sessions, read_series, runs_of
from spikefield.experiments.workspace import content_key
from spikefield.recordings import session as layout

log = logging.getLogger("spikefield")


def reproduce(
    name: str,
    data: Path,
    *,
    out: Path,
    config: ExperimentConfig,
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    held_out: list[str] | None = None,
    protocol: str = "blocked",
    only: list[str] | None = None,
    reuse: list[Path] | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
) -> None:
    """Run one of the paper's experiments, or one of those it left open; what is finished is not run again.

    Args:
        name: of the paper: alignment, ablations, decoding, generalization, multisession, size, or orderings for all
            that it ranks; left open by it: minutes, lag, losses, layers, teachers, new-session, reading, drift or
            honest; or a YAML file of that form.
        data: folder of prepared sessions.
        out: folder for everything that comes out.
        seeds: one run a seed of every variant.
        held_out: ids of the sessions that pretraining does not see; by default the last quarter of the paired ones.
        protocol: blocked, or paper for the published split, which leaks; every table says so.
        only: names of the variants to run; by default all.
        reuse: results of other runs on the same data; what they trained and scored already is copied.
        workers: how many models train side by side, each on one core; by default one a core, and one on a GPU.
        ray_address: a running Ray cluster to use instead of this machine's cores.
    """
    split = replace(config.binning.split, protocol=protocol)
    config = replace(config, binning=replace(config.binning, split=split))
    run_series(
        read_series(name),
        data,
        out,
        config=config,
        seeds=seeds,
        held_out=held_out,
        only=only,
        reuse=reuse or (),
        workers=workers,
        ray_address=ray_address,
    )
    from spikefield.report.comparison import format_series

    print(format_series(pd.read_csv(out / "tables" / "summary.csv", keep_default_na=False, na_values=[""])))
    print(f"tables: {out / 'tables'}")


def run_series(
    series: Series,
    data: Path,
    out: Path,
    *,
    config: ExperimentConfig,
    seeds: Sequence[int],
    held_out: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    reuse: Sequence[Path] = (),
    workers: int | None = None,
    ray_address: str | None = None,
    progress: bool = True,
) -> Path:
    """Run every variant, then write the merged results, tables and figures of all that is finished; return the results.

    Raises:
        InputError: the data cannot be used, or `out` holds another series.
    """
    if unknown := [name for name in only or () if name not in series.variants]:
        raise InputError(f"`only` must be of {', '.join(series.variants)}, got {unknown[0]!r}. Name some of them.")
    runs = runs_of(series, sessions_in(data, held_out), config)
    if left_out := [name for name in series.variants if name not in {run.variant for run in runs}]:
        log.info("left out, for want of sessions: %s", ", ".join(left_out))
    if not runs:
        raise InputError(f"{data}: has too few sessions for any variant of {series.name}. Add recordings.")
    _claim(out, series, config)
    folders = [out / run.folder for run in runs]
    folders += [marker.parent for other in reuse for marker in sorted(other.glob("**/experiment.json"))]
    wanted = [run for run in runs if only is None or run.variant in only]
    for i, run in enumerate(wanted):
        log.info("%s, run %d of %d: %s", series.name, i + 1, len(wanted), run.folder)
        run_experiment(
            data,
            out / run.folder,
            config=run.config,
            seeds=seeds,
            distill_on=run.distill_on,
            study=run.study,
            reuse=folders,
            command=" ".join(["spikefield", *sys.argv[1:]]),
            workers=workers,
            ray_address=ray_address,
            progress=progress,
        )
    return _write(series, out, data, [run for run in runs if (out / run.folder / "results.csv").is_file()], seeds)


def sessions_in(data: Path, held_out: Sequence[str] | None) -> Sessions:
    """Return which sessions there are; held out is, unless said, the last quarter of those with spikes and field.

    Raises:
        InputError: no session holds both spikes and field.
    """
    every, paired, minutes = [], [], {}
    for path in layout.session_paths(data):
        with layout.load(path) as session:
            every.append(str(session.session.id))
            if layout.has_spikes(session) and layout.has_lfp(session):
                paired.append(every[-1])
                starts_s, ends_s = layout.valid_intervals_s(session)
                minutes[every[-1]] = float((ends_s - starts_s).sum()) / 60
    if not paired:
        raise InputError(f"{data}: no session holds both spikes and lfp, so no student can be distilled. Add one.")
    chosen = paired[-max(1, len(paired) // 4) :] if held_out is None else held_out
    return Sessions(tuple(every), tuple(paired), tuple(chosen), minutes)


def _claim(out: Path, series: Series, config: ExperimentConfig) -> None:
    """Mark the folder as this series'; its variants' folders are each claimed by their own experiment."""
    marker, protocol = out / "series.json", config.binning.split.protocol
    held = files.read_json(marker) if marker.exists() else None
    if held is not None and (held["series"], held["protocol"]) != (series.name, protocol):
        raise InputError(f"`out` {out} holds {held['series']} ({held['protocol']}). Choose another folder.")
    if held is None and out.exists() and any(out.iterdir()):
        raise InputError(f"`out` {out} is not empty and holds no series. Choose another folder.")
    files.write_json(marker, {"series": series.name, "protocol": protocol, "figures": series.figures})


def _write(series: Series, out: Path, data: Path, runs: Sequence[Run], seeds: Sequence[int]) -> Path:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        told = {"variant": run.variant, "protocol": _told(run)}
        rows |= {tuple(row.items()): row for row in [told | r for r in _rows(series, out / run.folder, data, run)]}
    results = out / "results.csv"
    outputs.write_table(results, ("variant", *COLUMNS, "protocol"), list(rows.values()))
    leaks = any(run.config.binning.split.protocol != "blocked" for run in runs)
    files.write_json(
        out / "run.json",
        {"series": series.name, "figures": series.figures, "leaks": leaks, "seeds": list(seeds)}
        | {"protocol": runs[0].config.binning.split.protocol, "against": series.against}
        | {"drawing": series.drawing and asdict(series.drawing), "runs": [_described(run) for run in runs]},
    )
    from spikefield.report.comparison import write_comparison
    from spikefield.report.findings import write_finding

    write_comparison(out, title=f"{series.name} ({series.figures})", against=series.against, leaks=leaks)
    if (figure := write_finding(out)) is not None:
        log.info("figure: %s", figure)
    return results


def _told(run: Run) -> str:
    protocol = run.config.binning.split.protocol
    return protocol if protocol == "blocked" else f"{protocol} (LEAKS)"


def _described(run: Run) -> dict[str, Any]:
    at = run.at if run.at is not None and math.isfinite(run.at) else None
    named = {"variant": run.variant, "folder": run.folder, "study": asdict(run.study), "on": run.distill_on}
    return named | {"at": at, "line": run.line}


def _rows(series: Series, folder: Path, data: Path, run: Run) -> list[dict[str, Any]]:
    """Return the rows of a finished experiment and of what is measured beside, once for the same results."""
    text = (folder / "results.csv").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = list(csv.DictReader(text.splitlines()))
    key = content_key(text)
    for measure in series.measures:
        path = folder / f"{measure}.json"
        held = files.read_json(path) if path.exists() else {}
        if not isinstance(held, dict) or held.get("of") != key:
            log.info("measuring %s of %s", measure, run.folder)
            held = {"of": key, "rows": MEASURES[measure](folder, read_corpus(data, config=run.config))}
            files.write_json(path, held)
        rows += [{k: str(v) for k, v in row.items()} for row in held["rows"]]
    return rows


__all__ = ["reproduce", "run_series", "sessions_in"]
