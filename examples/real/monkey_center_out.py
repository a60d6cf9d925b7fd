"""Monkey motor cortex, 1 164 centre-out trials (`contdata95_m1`): 95 units, hand position and velocity, no field.

python examples/real/monkey_center_out.py SOURCE_DIR OUT_DIR
"""

import sys
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save

BIN_S = 0.1


def main(source: Path, out: Path) -> None:
    """Write one spikes-only session; trials are concatenated, and a row at rest begins one."""
    content = loadmat(source / "contdata95_first_1164_trials.mat")
    kinematics = content["X"]
    first = np.flatnonzero((kinematics[:, 2:] == 0).all(axis=1))
    edges = np.concatenate([first, [len(kinematics)]]) * BIN_S
    trials_s = np.stack([edges[:-1], edges[1:]], axis=1)
    session = from_arrays(
        session="contdata95",
        subject="monkey-m1",
        spike_counts=content["Y"],
        bin_width_ms=1000 * BIN_S,
        behavior=kinematics,
        behavior_rate_hz=1 / BIN_S,
        behavior_names=["px", "py", "vx", "vy"],
        intervals_s=trials_s,
        trials_s=trials_s,
        source={"reader": Path(__file__).name},
    )
    save(session, out / "contdata95.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
