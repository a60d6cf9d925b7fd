# %% [markdown]
"""
# A real recording

Rat hippocampus on a circular track (Cao, Varga & Chen 2021, *Cell Reports Methods* 1:100101): 77 units, 128 channels,
four and a half minutes of running. The file is the source data of that paper; put it into a folder and name the folder
in `SPIKEFIELD_DATA`. Without it this page says so and ends.
"""

# %%
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from spikefield.config import load_preset
from spikefield.experiments.experiment import run_experiment
from spikefield.preparation.commands import validate
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.report.reading import read_experiment
from spikefield.report.tables import format_summary
from spikefield.report.verdict import judge

DATA = Path(os.environ.get("SPIKEFIELD_DATA", "../shared/data"))
RECORDING = DATA / "cao2021_hpc" / "rat" / "ratA_Figure2_source_data_wake.mat"
WORK = Path("out/tutorials/real-recording")
if not RECORDING.is_file():
    print(f"skipped: {RECORDING} is not here; set SPIKEFIELD_DATA to the folder that holds cao2021_hpc")
    sys.exit()
shutil.rmtree(WORK, ignore_errors=True)

# %% [markdown]
"""
## What is in the file

Everything is on bins of 100 ms: spike counts, the amplitude of the field above 300 Hz on each channel, and the place
on the track, from 0 to 1.
"""

# %%
content = loadmat(RECORDING)
for name in ("Spikes", "FPAuhf", "Position"):
    print(name, content[name].shape)

# %% [markdown]
"""
## Three things to get right

**Circular behaviour.** Just before and just after the start of the track the raw value jumps from 1 to 0.
`behavior_period` says that the two are one place; its cosine and sine are decoded.

**Joins.** The rows are running periods, one after the other, with the rests cut out. Where the rat moves further
within a bin than it can run, two periods were joined; each becomes an interval of its own, and no window crosses a
join.

**What the field is.** The amplitude above 300 Hz is a multi-unit signal, not a slow field potential. The session
remembers that as a caution, and the report repeats it beside every score.
"""

# %%
position = content["Position"].ravel()
step = (np.diff(position) + 0.5) % 1 - 0.5
edges_s = 0.1 * np.concatenate([[0], np.flatnonzero(np.abs(step) > 0.06) + 1, [len(position)]])
session = from_arrays(
    session="rat-a",
    subject="rat-a",
    spike_counts=content["Spikes"],
    bin_width_ms=100.0,
    lfp=np.log(content["FPAuhf"]),
    lfp_rate_hz=10.0,
    behavior=position[:, None],
    behavior_rate_hz=10.0,
    behavior_names=["position"],
    behavior_period=[1.0],
    intervals_s=np.stack([edges_s[:-1], edges_s[1:]], axis=1),
    source={"caution": "the field is the amplitude above 300 Hz, a multi-unit signal, not low-frequency LFP"},
)
save(session, WORK / "recordings" / "rat-a.h5")
print(len(edges_s) - 1, "running periods")

# %%
validate(WORK / "recordings")

# %% [markdown]
"""
## Train and score

The preset `quick` with half its width, one layer less and fewer epochs, and one seed. For a result take the preset as
it is, and three seeds: `make bench-real` does that, and the README has its table.
"""

# %%
SMALL = """
transformer: {dim: 32, n_layers: 2, n_heads: 4}
autoencoding: {predictor: {dim: 32, n_layers: 1, n_heads: 4}}
pretraining: {epochs: 30, min_steps: 200}
distilling: {epochs: 30, min_steps: 200}
"""
(WORK / "small.yaml").write_text(SMALL)
run_experiment(
    WORK / "recordings",
    WORK / "results",
    config=load_preset("quick", WORK / "small.yaml"),
    seeds=[0],
    command="spikefield experiment recordings --out results --config small.yaml",
    workers=1,
    progress=False,
)
found = read_experiment(WORK / "results")
verdict = judge(found.results, found.run)
print(verdict.sentence)
for caution in verdict.cautions:
    print("caution:", caution.text)

# %%
print(format_summary(found.results))

# %% [markdown]
"""
One seed names no winner, whichever model comes first here. And four and a half minutes of one rat are one recording:
the interval that three seeds would give says how far training varies, not how far rats do.
"""
