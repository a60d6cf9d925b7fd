"""Rat hippocampus on a circular track (Cao, Varga & Chen 2021): 77 units, 128 channels of > 300 Hz amplitude.

    python examples/real/rat_circular_track.py SOURCE_DIR OUT_DIR

The amplitude of the band above 300 Hz is a generalised multi-unit signal, not a low-frequency field potential.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save

BIN_S = 0.1
FASTEST_STEP = 0.06  # track lengths in one bin; a longer step is where two running periods were joined


def main(source: Path, out: Path) -> None:
    """Write the rat's session; each running period is an interval, so no window crosses a join."""
    content = loadmat(source / "ratA_Figure2_source_data_wake.mat")
    position = content["Position"].ravel()
    step = (np.diff(position) + 0.5) % 1 - 0.5
    joins = np.flatnonzero(np.abs(step) > FASTEST_STEP) + 1
    edges = np.concatenate([[0], joins, [len(position)]]) * BIN_S
    session = from_arrays(
        session="rat-a",
        subject="rat-a",
        spike_counts=content["Spikes"],
        bin_width_ms=1000 * BIN_S,
        lfp=np.log(content["FPAuhf"]),
        lfp_rate_hz=1 / BIN_S,
        behavior=position[:, None],
        behavior_rate_hz=1 / BIN_S,
        behavior_names=["position"],
        behavior_period=[1.0],
        intervals_s=np.stack([edges[:-1], edges[1:]], axis=1),
        source={
            "reader": Path(__file__).name,
            "caution": "the field is the amplitude above 300 Hz, a multi-unit signal, not low-frequency LFP",
        },
    )
    save(session, out / "rat-a.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
