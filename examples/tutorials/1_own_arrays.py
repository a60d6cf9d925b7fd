# %% [markdown]
"""
# Own arrays to a report

Spikes, field potential and behaviour as numpy arrays: yours or, as here, two days of two minutes made up on the spot.
At the end stands a report. Small settings keep it within a minute or two; what they cost is said below.
"""

# %%
import shutil
from pathlib import Path

import numpy as np

from spikefield.config import load_preset
from spikefield.experiments.experiment import run_experiment
from spikefield.preparation.commands import validate
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.report.reading import read_experiment
from spikefield.report.tables import format_summary
from spikefield.report.verdict import judge

WORK = Path("out/tutorials/own-arrays")
shutil.rmtree(WORK, ignore_errors=True)

# %% [markdown]
"""
## 1. The arrays

Put your own in the place of these lines. What is needed, all on one clock that starts at 0 s:

| array | shape | unit |
|---|---|---|
| `spike_times` | (spikes,) | seconds |
| `spike_units` | (spikes,) | whole number: which unit fired |
| `lfp` | (samples, channels) | any, the same for all channels |
| `behavior` | (samples, dims) | any; NaN where it was not measured |

Here a hand moves smoothly in two dimensions. Twenty units fire more for some directions than for others, and sixteen
channels carry the same movement under noise of their own.
"""


# %%
def make_day(seed: int, *, seconds: int = 120, rate_hz: int = 100) -> dict:
    """Make up one day of the same animal: what the units and channels prefer is the same on every day."""
    animal, day = np.random.default_rng(0), np.random.default_rng([1, seed])
    n_samples = seconds * rate_hz
    slow = np.hanning(rate_hz // 2)
    hand = np.stack([np.convolve(row, slow, "same") for row in day.standard_normal((2, n_samples))], axis=1)
    hand *= 10 / hand.std()
    rate = 5 * np.exp(hand / 10 @ animal.standard_normal((2, 20)) * 0.7)
    sample, unit = np.nonzero(day.poisson(rate / rate_hz))
    noise = 60 * day.standard_normal((n_samples, 16))
    return {
        "spike_times": (sample + day.uniform(0, 1, len(sample))) / rate_hz,
        "spike_units": unit,
        "lfp": hand @ animal.standard_normal((2, 16)) + noise,
        "lfp_rate_hz": rate_hz,
        "behavior": hand,
        "behavior_rate_hz": rate_hz,
        "behavior_names": ["vx", "vy"],
    }


# %% [markdown]
"""
## 2. Prepared sessions

`from_arrays` checks shapes, rates and times and says what is wrong with them; `save` writes one HDF5 file a session.
Sessions of one `subject` share their channels.
"""

# %%
for seed, day in enumerate(("monday", "tuesday")):
    session = from_arrays(session=day, subject="rat1", **make_day(seed))
    print(save(session, WORK / "recordings" / f"{day}.h5").name)

# %% [markdown]
"""
On the command line the same arrays, saved with `np.savez`, go through `spikefield prepare monday.npz tuesday.npz --out
recordings`.

## 3. What each session can be used for

Problems make a stream unusable, warnings ask for a look, notes are good to know. `validation.html` shows the same with
four pictures a session.
"""

# %%
validate(WORK / "recordings", out=WORK)

# %% [markdown]
"""
## 4. Everything trained and scored

A spike teacher learns from both days, a student learns on Monday's field what the teacher sees in Monday's spikes,
and both are read out beside lagged ridge, field autoencoders without a teacher, and a null.

These settings are far too small for a result: one layer, a few epochs, one seed. Leave the file out and you have the
preset `quick`, minutes on two cores, and give it three seeds:
`spikefield experiment recordings --out results --preset quick --seeds 0 1 2`.
"""

# %%
SMALL = """
transformer: {dim: 32, n_layers: 1, n_heads: 4}
autoencoding: {predictor: {dim: 32, n_layers: 1, n_heads: 4}}
pretraining: {epochs: 15, min_steps: 0}
distilling: {epochs: 25, min_steps: 0}
"""
(WORK / "small.yaml").write_text(SMALL)
report = run_experiment(
    WORK / "recordings",
    WORK / "results",
    config=load_preset("quick", WORK / "small.yaml"),
    seeds=[0],
    command="spikefield experiment recordings --out results --config small.yaml",
    workers=1,
    progress=False,
)

# %% [markdown]
"""
## 5. The report

The page opens with one sentence, which is this one. With one seed it names no winner: another seed may turn the order
round. The table below it holds the mean R² of every model on time that none of them saw.
"""

# %%
found = read_experiment(WORK / "results")
print(judge(found.results, found.run).sentence)
print()
print(format_summary(found.results))

# %% [markdown]
"""
Open the page in a browser: it is one file and needs no network. How to read it is the third tutorial.
"""

# %%
print(report)
