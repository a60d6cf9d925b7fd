"""Kill a pretrain + distil run at random moments (`kill -9`), run it again each time, and compare it with a whole one.

Every process is a fork that has everything imported, so that a kill falls into reading, training, scoring or writing.
Last line: JSON with what was killed where, and whether the losses and weights are those of the undisturbed run.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

import spikefield.artifact as artifact
import spikefield.experiments.commands as commands
import spikefield.training.progress as progress
from spikefield.config import ExperimentConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.autoencoding import AutoencodingConfig
from spikefield.training.optimiser import OptimiserConfig

MODELS = ("teacher", "student")


def config(epochs: int) -> ExperimentConfig:
    """Return a tiny pretraining and distillation."""
    size = TransformerConfig(dim=16, n_layers=1, n_heads=2)
    pace = OptimiserConfig(epochs=epochs, batch_windows=8, warmup_epochs=0.5)
    return ExperimentConfig(
        window_s=1.0,
        spike_patch=8,
        transformer=size,
        autoencoding=AutoencodingConfig(predictor=TransformerConfig(dim=8, n_layers=1, n_heads=2)),
        pretraining=pace,
        distilling=pace,
    )


def work(data: Path, out: Path, epochs: int, every_s: float) -> None:
    """Pretrain and distil what is not there yet, as a user who repeats his commands."""
    torch.set_num_threads(1)
    progress.CHECKPOINT_EVERY_S = every_s
    os.dup2(os.open(out.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    if not (out / "teacher").exists():
        commands.pretrain(data, out=out / "teacher", config=config(epochs))
    if not (out / "student").exists():
        commands.distill(data, out=out / "student", teacher=out / "teacher", config=config(epochs))


def kill_again_and_again(
    data: Path, out: Path, *, kills: int, seed: int, epochs: int, every_s: float, whole_s: float
) -> Counter[str]:
    """Run, kill after a random time, run again; return how many kills fell into which part of the work."""
    fork, rng, found = multiprocessing.get_context("fork"), random.Random(seed), Counter()
    while sum(found.values()) < kills:
        process = fork.Process(target=work, args=(data, out, epochs, every_s))
        process.start()
        process.join(rng.uniform(0.05, 0.6 * whole_s))
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            found["teacher" if not (out / "teacher").exists() else "student"] += 1
        process.join()
        if process.exitcode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"a run ended with {process.exitcode}: {(out.parent / 'log.txt').read_text()[-2000:]}")
        if (out / "student").exists() and sum(found.values()) < kills:  # done: the next kills fall into a new run
            out.rename(out.with_name(f"{out.name}-{sum(found.values())}"))
    run_whole(data, out, epochs, every_s)
    return found


def run_whole(data: Path, out: Path, epochs: int, every_s: float = 60.0) -> float:
    """Run in one go and return the seconds."""
    start = time.perf_counter()
    process = multiprocessing.get_context("fork").Process(target=work, args=(data, out, epochs, every_s))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError((out.parent / "log.txt").read_text()[-2000:])
    return time.perf_counter() - start


def alike(out: Path, other: Path) -> bool:
    """Tell whether two runs have the same losses and weights, bit for bit."""
    for name in MODELS:
        curves = [(folder / name / "curve.json").read_text() for folder in (out, other)]
        hashes = [artifact.weights_hash(artifact.load(folder / name).network) for folder in (out, other)]
        if len(set(curves)) + len(set(hashes)) != 2:
            return False
    return True


def measure(folder: Path, *, kills: int, seed: int, epochs: int, sessions: int, minutes: float) -> dict[str, object]:
    """Compare a run that was killed again and again with an undisturbed one."""
    data, every_s = folder / "data", 0.1
    if not data.exists():
        commands.simulate(out=data, sessions=sessions, minutes=minutes, seed=seed)
    whole_s = run_whole(data, folder / "whole", epochs)
    often_s = run_whole(data, folder / "often", epochs, every_s)
    killed = kill_again_and_again(
        data, folder / "killed", kills=kills, seed=seed, epochs=epochs, every_s=every_s, whole_s=whole_s
    )
    runs = sorted(folder.glob("killed*"))
    left = [str(p.relative_to(folder)) for p in (folder / "killed").iterdir() if p.name.endswith(".checkpoint")]
    return {
        "kills": sum(killed.values()),
        "in": dict(killed),
        "runs": len(runs),
        "equal": all(alike(folder / "whole", run) for run in [*runs, folder / "often"]),
        "left_behind": left,
        "resumed": (folder / "log.txt").read_text().count("going on after"),
        "whole_s": round(whole_s, 2),
        "checkpoint_every_0.1_s_s": round(often_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(
            json.dumps(
                measure(Path(folder), kills=given.kills, seed=given.seed, epochs=given.epochs, sessions=2, minutes=1.0)
            )
        )


if __name__ == "__main__":
    main()
