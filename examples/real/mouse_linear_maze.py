"""Mouse hippocampus in a maze with trials (Cao, Varga & Chen 2021): 2 mice, 3 sessions, 64 field channels.

    python examples/real/mouse_linear_maze.py SOURCE_DIR OUT_DIR

Time within the trial alone predicts position here: read every score as its excess over the trial-permuted null.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save

BIN_S = 0.1


def both(content: dict, name: str) -> np.ndarray:
    """Join the correct and the error trials of a variable."""
    return np.concatenate([np.asarray(cell) for cell in content[name].ravel()])


def main(source: Path, out: Path) -> None:
    """Write one session a file; every trial is an interval, in the order in which the trials were run."""
    for path in sorted(source.glob("mouse*_Features_data.mat")):
        content = loadmat(path)
        trial = both(content, "TrNm").ravel()
        order = np.argsort(trial, kind="stable")
        trial = trial[order]
        theta = both(content, "dLFPTheta_amp")[order] * np.exp(1j * both(content, "dLFPTheta_phase")[order])
        field = np.concatenate([np.log(both(content, "FPAuhf")[order]), theta.real, theta.imag], axis=1)
        edges = np.concatenate([[0], np.flatnonzero(np.diff(trial)) + 1, [len(trial)]]) * BIN_S
        trials_s = np.stack([edges[:-1], edges[1:]], axis=1)
        name = path.name.removesuffix("_Features_data.mat").replace("_session", "-")
        session = from_arrays(
            session=name,
            subject=name.split("-")[0],
            spike_counts=both(content, "Spike")[order],
            bin_width_ms=1000 * BIN_S,
            lfp=field,
            lfp_rate_hz=1 / BIN_S,
            channel_ids=[f"{kind}{i:02d}" for kind in ("uhf", "theta_re", "theta_im") for i in range(64)],
            behavior=both(content, "post")[order],
            behavior_rate_hz=1 / BIN_S,
            behavior_names=["position"],
            intervals_s=trials_s,
            trials_s=trials_s,
            source={"reader": Path(__file__).name, "caution": "time within the trial alone predicts position"},
        )
        save(session, out / f"{name}.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
