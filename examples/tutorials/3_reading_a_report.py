# %% [markdown]
"""
# Reading a report, also where distillation does not help

A report opens with one sentence. Here are two experiments whose sentence is *no*, for two different reasons, and how
to tell them apart from the tables. Where the answer is yes, the sentence begins with "Use distilled".
"""

# %%
import shutil
from pathlib import Path

from spikefield.config import load_preset
from spikefield.experiments.experiment import run_experiment
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.recordings.simulator import SimulatorConfig, simulate_session
from spikefield.report.reading import Experiment, read_experiment
from spikefield.report.tables import format_summary
from spikefield.report.verdict import judge

WORK = Path("out/tutorials/reading-a-report")
shutil.rmtree(WORK, ignore_errors=True)

# %% [markdown]
"""
## Two recordings

Both are simulated, two minutes long, thirty units and sixteen channels. In the first, spikes and field come from the
same moments. In the second the field is that of *other* minutes of the same session: same channels, same noise, same
sort of movement, but nothing of it belongs to the spikes and the behaviour beside it. A cable in the wrong socket or
two clocks that were never aligned do the same to a real recording.
"""

# %%
CONFIG = SimulatorConfig(session_s=120.0, n_channels=(16,), n_units=(30, 30), lfp_rate_hz=250.0, movement_uv=40.0)
same_moments = simulate_session(CONFIG, index=0).arrays
other_moments = same_moments | {"lfp": simulate_session(CONFIG, index=0, take=1).arrays["lfp"]}

# %% [markdown]
"""
## Three seeds each, small settings

An experiment trains the networks once a seed; fewer than three seeds never make a verdict. The settings are small so
that this page runs in a minute or two; a real run takes a preset as it is.
"""

# %%
SMALL = """
transformer: {dim: 32, n_layers: 1, n_heads: 4}
autoencoding: {predictor: {dim: 32, n_layers: 1, n_heads: 4}}
pretraining: {epochs: 12, min_steps: 0}
distilling: {epochs: 20, min_steps: 0}
"""


def run(name: str, arrays: dict) -> Experiment:
    """Run the whole experiment on one recording and return what its report is made of."""
    save(from_arrays(**arrays), WORK / name / "recordings" / f"{name}.h5")
    (WORK / "small.yaml").write_text(SMALL)
    run_experiment(
        WORK / name / "recordings",
        WORK / name / "results",
        config=load_preset("quick", WORK / "small.yaml"),
        seeds=[0, 1, 2],
        command=f"spikefield experiment recordings --out results --config small.yaml --seeds 0 1 2  # {name}",
        workers=1,
        progress=False,
    )
    return read_experiment(WORK / name / "results")


# %% [markdown]
"""
## No, because the field knows nothing
"""

# %%
unpaired = run("other-moments", other_moments)
print(judge(unpaired.results, unpaired.run).sentence)

# %%
print(format_summary(unpaired.results))

# %% [markdown]
"""
Read the table from below.

1. **null**: the same decoding, asked for behaviour that was shifted in time. It is what chance gives, here about zero.
2. **ridge-spikes** is far above it: the behaviour is there and the spikes carry it.
3. **ridge-lfp**, **ms-lfp** and **distilled** are level with the null. A linear decoder of the field finds nothing, so
   there is nothing that a teacher could have taught.

More epochs will not mend this. Look at clocks and cables first: `spikefield validate` compares the clocks of the
streams where both carry movement.

## No, because a simple decoder is better
"""

# %%
paired = run("same-moments", same_moments)
verdict = judge(paired.results, paired.run)
print(verdict.sentence)

# %%
print(format_summary(paired.results))

# %% [markdown]
"""
Now **ridge-lfp** is far above the null: the field carries the behaviour. The student reads it too, and less well. The
report says which model to use instead, and means it: lagged ridge on the field costs nothing to train.

Two rows say what to try. **teacher** is far below **ridge-spikes**: in its few epochs it has learnt little of what is
in the spikes, and has little to teach. And **ms-lfp**, the same network on the field without any teacher, is beside the
student: what the student reads it may have found alone. Longer recordings, more of them, and the preset's epochs come
first.

## What a difference is

The sentence rests on comparisons: student minus rival, paired by seed and session, with a 95 % interval over the
seeds. "Higher" or "lower" is said only where that interval leaves zero out and all sessions agree.
"""

# %%
for comparison in verdict.comparisons:
    gap = comparison.difference
    print(f"distilled - {comparison.rival}: {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}], {comparison.finding}")

# %% [markdown]
"""
The interval is over seeds: it says how far the number moves when training is repeated, not how far it would move
with another animal or on another day.

## Cautions

What must be known before a number is believed stands in a box under the sentence and in few words at every table: a
split that leaks, a single seed, a null above zero, a trap of the recording itself. With one seed of the same results:
"""

# %%
one_seed = paired.results[paired.results["seed"] == 0]
verdict = judge(one_seed, paired.run)
print(verdict.sentence)
for caution in verdict.cautions:
    print("caution:", caution.text)

# %% [markdown]
"""
Trials have a trap of their own: where the time within a trial alone predicts behaviour, a smooth representation scores
without knowing anything else. There the report judges by each model's excess over its own null, trials permuted, and
says so in its first sentence. The page on experiments tells of three such sessions, on which the student had the
highest R² and not the highest excess: distillation did not help there.
"""
