"""What an installed package must do: `smoke.py all` from import to a report, `smoke.py EXTRA` what an extra adds."""

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

EXTRAS = {
    "vendor": ("neo", "mne", "spikefield.recordings.readers.vendor"),
    "nwb": ("pynwb", "fsspec", "aiohttp", "spikefield.recordings.readers.nwb"),
    "download": ("pooch", "spikefield.recordings.download"),
    "stream": ("mne_lsl.lsl", "zmq", "spikefield.deploy.lsl", "spikefield.deploy.zeromq"),
    "export": ("onnx", "onnxruntime", "spikefield.deploy.export"),
    "hub": ("huggingface_hub", "spikefield.hub"),
    "docs": ("jupytext", "sphinx", "myst_parser", "furo"),
    "dev": ("pytest", "xdist", "hypothesis", "beartype", "build"),
}
TINY = """
transformer: {dim: 16, n_layers: 1, n_heads: 2}
autoencoding: {predictor: {dim: 8, n_layers: 1, n_heads: 2}}
pretraining: {epochs: 1, min_steps: 0}
distilling: {epochs: 1, min_steps: 0}
"""


def everything() -> None:
    """Import, help, doctor, a simulated recording, and an experiment on it, from Python."""
    for flag in ("--version", "--help"):
        subprocess.run(["spikefield", flag], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["spikefield", "doctor"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        print(f"report of {experiment(Path(folder)).stat().st_size} bytes")


def experiment(folder: Path) -> Path:
    """Simulate a minute and return the report of the smallest experiment on it."""
    from spikefield.config import load_preset
    from spikefield.experiments.commands import simulate
    from spikefield.experiments.experiment import run_experiment

    simulate(out=folder / "recordings", sessions=1, minutes=1.0)
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    config = load_preset("quick", folder / "tiny.yaml")
    return run_experiment(folder / "recordings", folder / "out", config=config, workers=1, progress=False)


if __name__ == "__main__":
    if sys.argv[1] == "all":
        everything()
    else:
        for name in EXTRAS[sys.argv[1]]:
            importlib.import_module(name)
    print(f"smoke {sys.argv[1]}: good")
