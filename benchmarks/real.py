"""Run the whole experiment on the real recordings in a folder, three seeds each, and print every score.

    python benchmarks/real.py DATA --out OUT [--only rat mouse open-field monkey]

DATA is the folder that holds `cao2021_hpc`, `axona_r1838` and `contdata95_m1`; without it, one line says so.
"""

import argparse
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from spikefield.config import load_preset, spike_encoder
from spikefield.evaluation.baselines import ridge_spikes
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import Decoded, decode
from spikefield.experiments.corpus import read_corpus
from spikefield.training.stages import RunConfig, pretrain

EXAMPLES = Path(__file__).parent.parent / "examples" / "real"
RECORDINGS = {
    "rat": ("rat_circular_track.py", "cao2021_hpc/rat"),
    "monkey": ("monkey_center_out.py", "contdata95_m1"),
    "mouse": ("mouse_linear_maze.py", "cao2021_hpc/mouse"),
    "open-field": ("rat_open_field.py", "axona_r1838"),
}
SEEDS = ("0", "1", "2")


def main() -> None:
    """Prepare, run and summarise each recording."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(RECORDINGS), default=list(RECORDINGS))
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: {arguments.data} is not here")
        return
    for name in arguments.only:
        start = time.perf_counter()
        script, folder = RECORDINGS[name]
        recordings = arguments.out / name / "recordings"
        runpy.run_path(str(EXAMPLES / script))["main"](arguments.data / folder, recordings)
        run(name, recordings, arguments.out / name / "experiment")
        print(f"{name}: {time.perf_counter() - start:.0f} s\n", flush=True)


def run(name: str, recordings: Path, out: Path) -> None:
    """Run the experiment, or for spikes alone the teacher beside its lagged ridge."""
    if name == "monkey":
        teach(recordings)
        return
    spikefield = str(Path(sys.executable).parent / "spikefield")
    subprocess.run([spikefield, "experiment", str(recordings), "--out", str(out), "--seeds", *SEEDS], check=True)
    results = pd.read_csv(out / "results.csv", keep_default_na=False)
    scores = results[results.metric.str.startswith("r2")]
    print(scores.pivot_table(index=["session", "model"], columns="metric", values="value").round(3).to_string())


def teach(recordings: Path) -> None:
    """Pretrain a spike teacher for every seed and score it beside lagged ridge on the same split."""
    config = load_preset("quick")
    corpus = read_corpus(recordings, config=config)
    sessions = corpus.having("spikes")
    for session in sessions:
        ridge = ridge_spikes(session)
        tell("ridge-spikes", ridge)
    for seed in map(int, SEEDS):
        run = RunConfig(config.pretraining, corpus.window_bins, seed, f"teacher (seed {seed})")
        teacher, _ = pretrain(
            sessions, encoder=spike_encoder(config, sessions), autoencoding=config.autoencoding, run=run
        )
        for session in sessions:
            decoded = decode(session, embed(teacher.encoder, session, window_bins=corpus.window_bins))
            tell(f"teacher seed {seed}", decoded)


def tell(name: str, decoded: Decoded) -> None:
    """Print the mean score and each dimension's."""
    each = dict(zip(decoded.names, decoded.r2.round(3).tolist(), strict=True))
    print(f"{name}: R² {decoded.mean_r2:.3f} {each}", flush=True)


if __name__ == "__main__":
    main()
