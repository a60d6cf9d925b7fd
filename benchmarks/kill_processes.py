"""Kill both processes of one training at random moments (`kill -9`), run it again, and compare it with a whole one.

    python benchmarks/kill_processes.py [--kills 5]

A tiny pretraining on two processes of this machine (gloo). Last line: JSON with the number of kills and whether
weights, readouts and losses are those of the undisturbed run, byte for byte.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import spikefield.training.progress as progress
from spikefield.cli import main as spikefield
from spikefield.experiments.commands import simulate

CHECKPOINT_EVERY_S = 0.5
TINY = {
    "--window_s": 1.0,
    "--spike_patch": 8,
    "--transformer.dim": 16,
    "--transformer.n_layers": 1,
    "--transformer.n_heads": 2,
    "--autoencoding.predictor.dim": 8,
    "--autoencoding.predictor.n_heads": 2,
    "--autoencoding.predictor.n_layers": 1,
    "--pretraining.epochs": 60,
    "--pretraining.min_steps": 0,
    "--hardware.accelerator": "cpu",
    "--hardware.devices": 2,
}
COMPARED = ("weights.safetensors", "readouts.safetensors", "curve.json")
_ONE_OF_SEVERAL = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def start(data: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the training in a group of its own; the first process starts the second."""
    environment = {k: v for k, v in os.environ.items() if k not in _ONE_OF_SEVERAL}
    command = [sys.executable, __file__, "--worker", "pretrain", str(data), "--out", str(out)]
    command += [str(part) for flag in TINY.items() for part in flag]
    with (out.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command,
            env=environment | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def kill_again_and_again(data: Path, out: Path, *, kills: int, whole_s: float) -> int:
    """Kill all processes of a run after a random time, as often as asked while it lasts, and return how often."""
    rng, killed = random.Random(0), 0
    while not out.exists():
        process = start(data, out)
        try:
            status = process.wait(timeout=rng.uniform(0.4, 0.6) * whole_s if killed < kills else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            continue
        if status:
            raise RuntimeError((out.parent / "log.txt").read_text()[-2000:])
    return killed


def measure(folder: Path, *, kills: int) -> dict[str, object]:
    """Compare a run whose processes were killed with an undisturbed one."""
    data = folder / "data"
    simulate(out=data, sessions=2, minutes=1.0)
    began_s = time.perf_counter()
    if start(data, folder / "whole").wait():
        raise RuntimeError((folder / "log.txt").read_text()[-2000:])
    whole_s = time.perf_counter() - began_s
    killed = kill_again_and_again(data, folder / "killed", kills=kills, whole_s=whole_s)
    equal = all((folder / "whole" / n).read_bytes() == (folder / "killed" / n).read_bytes() for n in COMPARED)
    resumed = (folder / "log.txt").read_text().count("going on after")
    return {"processes": 2, "kills": killed, "resumed": resumed, "equal": equal, "whole_s": round(whole_s, 2)}


def main() -> None:
    """Measure, or be one of the processes that are killed."""
    if sys.argv[1:2] == ["--worker"]:
        progress.CHECKPOINT_EVERY_S = CHECKPOINT_EVERY_S
        spikefield(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=5)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), kills=parser.parse_args().kills)))


if __name__ == "__main__":
    main()
