"""Run every series that asks what the paper left open, on simulated recordings and on the rat on the track.

    python benchmarks/findings.py DATA --out OUT [--seeds 0 1 2] [--only lag drift ...] [--on simulator rat] [--plan]

DATA is the folder that holds `cao2021_hpc`; without it the rat is left out, and one line says so. Before anything is
trained it prints how long the training of each series takes here, from a few steps of each network; `--plan` stops
there. A run that was stopped goes on. `--config FILE` changes the preset.
"""

import argparse
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from spikefield.config import ExperimentConfig, load_preset
from spikefield.experiments.commands import simulate
from spikefield.experiments.corpus import read_corpus
from spikefield.experiments.fanout import default_workers
from spikefield.experiments.planning import Work, plan_stages
from spikefield.experiments.reproduce import sessions_in
from spikefield.experiments.series import Run, read_series, runs_of

RAT = Path(__file__).parent.parent / "examples" / "real" / "rat_circular_track.py"
SERIES = ("minutes", "lag", "losses", "layers", "teachers", "new-session", "reading", "drift", "honest")
ONE_SESSION = ("minutes", "lag", "losses", "layers", "teachers", "reading", "honest")


@dataclass(frozen=True)
class Job:
    """One series on one folder of prepared sessions."""

    series: str
    recordings: Path
    out: Path


def main() -> None:
    """Make the recordings, say how long it takes, run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    parser.add_argument("--only", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--on", nargs="+", choices=["simulator", "rat"], default=["simulator", "rat"])
    parser.add_argument("--config", type=Path, nargs="*", default=[])
    parser.add_argument("--minutes", type=float, default=5.0, help="length of a simulated session")
    parser.add_argument("--plan", action="store_true", help="say how long it takes, and stop")
    asked = parser.parse_args()
    found = jobs(asked.data, asked.out, only=asked.only, on=asked.on, minutes=asked.minutes)
    tell(found, load_preset("quick", *asked.config), n_seeds=len(asked.seeds))
    for job in [] if asked.plan else found:
        run(job, seeds=asked.seeds, changes=asked.config)


def jobs(data: Path, out: Path, *, only: list[str], on: list[str], minutes: float) -> list[Job]:
    """Return what is to be run, its recordings made."""
    found = []
    if "simulator" in on:
        corpora = {"sim": {"sessions": 6}, "months": {"sessions": 8, "months": True}, "arrays": {"subjects": 2}}
        wanted = {name: "months" if name == "drift" else "arrays" if name == "new-session" else "sim" for name in only}
        for name in [name for name in corpora if name in wanted.values()]:
            if not (out / name).exists():
                simulate(out=out / name, minutes=minutes, **({"sessions": 6} | corpora[name]))
        found += [Job(name, out / wanted[name], out / f"{name}-simulator") for name in only]
    if "rat" in on:
        if not (data / "cao2021_hpc" / "rat").is_dir():
            print(f"the rat is left out: {data / 'cao2021_hpc' / 'rat'} is not here")
            return found
        if not (out / "rat").exists():
            runpy.run_path(str(RAT))["main"](data / "cao2021_hpc" / "rat", out / "rat")
        found += [Job(name, out / "rat", out / f"{name}-rat") for name in only if name in ONE_SESSION]
    return found


def tell(found: list[Job], config: ExperimentConfig, *, n_seeds: int) -> None:
    """Print how long the training of each job takes on this machine, unless it is finished."""
    total, workers = 0.0, default_workers()
    plans = {job.recordings: _minutes_of_stages(job.recordings, config) for job in found}
    for job in found:
        minutes = series_minutes(job, plans[job.recordings], config) * n_seeds / workers
        total += minutes
        print(f"{job.out.name:<22} about {minutes:6.1f} minutes of training", flush=True)
    print(
        f"{'all':<22} about {total:6.1f} minutes, {n_seeds} seed(s), {workers} at a time; reports and measures beside"
    )


def _minutes_of_stages(recordings: Path, config: ExperimentConfig) -> dict[str, float]:
    corpus = read_corpus(recordings, config=config)
    work = Work(corpus.sessions, corpus.window_bins, len(corpus.sessions))
    return {stage.name: stage.runs * stage.minutes for stage in plan_stages(work, config)}


def series_minutes(job: Job, stages: dict[str, float], config: ExperimentConfig) -> float:
    """Return the minutes of one seed: a student a run, everything else once where runs share it."""
    runs = runs_of(read_series(job.series), sessions_in(job.recordings, None), config)
    own = stages.get("distilled", 0.0) * len(runs)
    for name in ("teacher", "ms-lfp", "ss-lfp"):
        different = {_shared(run): run for run in runs if name in run.study.models}
        count = sum(_weight(run, config) * (_teachers(run) if name == "teacher" else 1) for run in different.values())
        own += stages.get(name, 0.0) * count
    return own


def _shared(run: Run) -> str:
    config = run.config
    return str((run.study.pretrain_on, config.pretraining, config.transformer, config.binning, _teachers(run)))


def _teachers(run: Run) -> int:
    return run.config.distillation.n_teachers


def _weight(run: Run, config: ExperimentConfig) -> float:
    """Return how much longer than the preset a run pretrains."""
    return run.config.pretraining.epochs / config.pretraining.epochs


def run(job: Job, *, seeds: list[str], changes: list[Path]) -> None:
    """Run one series as the command line does."""
    spikefield = str(Path(sys.executable).parent / "spikefield")
    command = [spikefield, "reproduce", job.series, str(job.recordings), "--out", str(job.out), "--seeds", *seeds]
    subprocess.run([*command, *(part for path in changes for part in ("--config", str(path)))], check=True)


if __name__ == "__main__":
    main()
