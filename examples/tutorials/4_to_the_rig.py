# %% [markdown]
"""
# To the rig in ten steps

From a recording to behaviour decoded live, on one machine, with small settings and simulated days. The steps are those
of the page "From training to the rig in ten steps", which has the commands; here the same functions are called from
Python.
"""

# %%
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

import spikefield
from spikefield.config import load_preset
from spikefield.deploy.adapted import load_adapted
from spikefield.deploy.channel_map import match_channels
from spikefield.deploy.commands import adapt, export, stream
from spikefield.deploy.sources import open_file
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.deploy.threads import one_thread
from spikefield.experiments.commands import distill, evaluate, pretrain
from spikefield.preparation.commands import validate
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.recordings.simulator import SimulatorConfig, simulate_session

WORK = Path("out/tutorials/to-the-rig")
MONDAY, TUESDAY = (WORK / day / f"{day}.h5" for day in ("monday", "tuesday"))
shutil.rmtree(WORK, ignore_errors=True)

# %% [markdown]
"""
## 1. Prepare

`spikefield prepare` makes prepared sessions of files; simulated ones are prepared as they come. Monday is for training.
Tuesday is the day at the rig: same electrodes, other movements, and loadings that have drifted a little.
"""

# %%
config = SimulatorConfig(session_s=120.0, n_channels=(16,), n_units=(30, 30), lfp_rate_hz=250.0, movement_uv=40.0)
for index, path in enumerate((MONDAY, TUESDAY)):
    save(from_arrays(**simulate_session(config, index=index).arrays | {"session": path.stem}), path)
validate(WORK / "monday")

# %% [markdown]
"""
## 2. Train

A teacher from the spikes, then a student that sees no future (`causal: true`). The settings are small so that this page
runs in a minute or two; a real run takes a preset as it is.
"""

# %%
SMALL = """
transformer: {dim: 32, n_layers: 2, n_heads: 4}
autoencoding: {predictor: {dim: 32, n_layers: 1, n_heads: 4}}
pretraining: {epochs: 15, min_steps: 0}
distilling: {epochs: 25, min_steps: 0}
"""
(WORK / "small.yaml").write_text(SMALL)
(WORK / "causal.yaml").write_text(f"{SMALL}causal: true\n")
whole, causal = (load_preset("quick", WORK / f"{name}.yaml") for name in ("small", "causal"))

pretrain(WORK / "monday", out=WORK / "teacher", config=whole)
distill(WORK / "monday", out=WORK / "student", teacher=WORK / "teacher", config=causal)

# %% [markdown]
"""
## 3. Score

On test time, and beside it a student that has the whole window before its eyes: the difference is the price of
causality, as far as one seed can tell.
"""

# %%
distill(WORK / "monday", out=WORK / "looks-ahead", teacher=WORK / "teacher", config=whole)
for student, settings in (("student", causal), ("looks-ahead", whole)):
    print(student)
    evaluate(WORK / student, WORK / "monday", out=WORK / f"{student}.csv", config=settings)

# %% [markdown]
"""
## 4. Rehearse

The recording stands in for the rig, as fast as it decodes (`speed=0`). What is decoded goes into a CSV file; the folder
`rehearsal` keeps a record of the run. Its R² is over test time alone, since the student learnt from the rest. Compare
it with step 3: what is decoded live is what is decoded offline.
"""

# %%
stream(
    WORK / "student",
    source="file",
    input=str(MONDAY),
    speed=0.0,
    sink="csv",
    output=str(WORK / "rehearsal.csv"),
    record=WORK / "rehearsal",
)
print(pd.read_csv(WORK / "rehearsal.csv").tail(3).to_string(index=False))
rehearsed = json.loads((WORK / "rehearsal" / "run.json").read_text())["r2"]
print(f"R² {np.mean(list(rehearsed.values())):.3f}", {name: round(value, 3) for name, value in rehearsed.items()})

# %% [markdown]
"""
## 5. Install at the rig

`pip install 'spikefield[stream]'` and the folder `student`, which holds all that decoding needs. No training data, no
GPU. A loop of your own decodes on one thread.
"""

# %%
print(*sorted(path.name for path in (WORK / "student").iterdir()), sep="\n")
one_thread()
model = spikefield.load(WORK / "student")

# %% [markdown]
"""
## 6. Match the channels

Number, names and order must be those of the training. Otherwise a file says which is which; a channel of the model that
it leaves out counts as bad. Here the last channel has broken.
"""

# %%
decoder = StreamingDecoder(model, "monday", bad="interpolate", on_gap="bridge", max_bridge_ms=50.0)
rows = [f"{channel},{channel},1.0\n" for channel in decoder.channel_ids[:-1]]
(WORK / "map.csv").write_text("".join(["source,model,scale\n", *rows]))
source = open_file(TUESDAY, speed=0.0)
channels = match_channels(source, decoder.channel_ids, WORK / "map.csv")
decoder.set_bad_channels(channels.missing)
print("missing:", *channels.missing)

# %% [markdown]
"""
## 7. Choose the policies

They were given to the decoder above: channels beside a bad one stand in for it, and gaps of up to 50 ms are bridged. No
policy invents a number silently: `quality` of a bin adds up 1 for bridged samples, 2 for bad channels, 4 for too little
past, 8 for a bin before with 1 or 2.

## 8. Run it

`spikefield stream` does it from Lab Streaming Layer or ZeroMQ. Here is the loop itself, on the first half minute of
Tuesday, with ten samples (40 ms) lost on the way.
"""

# %%
decoded, lost = [], range(2000, 2010)
for _ in range(10_000):
    block = source.read(timeout_s=0.0)
    if block is None or block.times_s[0] > 30:
        break
    kept = ~np.isin(np.round(block.times_s * source.rate_hz), lost)
    decoded.append(decoder.push(channels.apply(block.samples[kept]), block.times_s[kept]))
quality = np.concatenate([part.quality for part in decoded])
print({int(flags): int(count) for flags, count in zip(*np.unique(quality, return_counts=True), strict=True)})
print("dropped samples:", decoder.counters.dropped_samples, "bridged ms:", decoder.counters.bridged_ms)

# %% [markdown]
"""
Every bin carries 2, for the broken channel; those that the gap touches carry 1 as well, and the first ones 4.

## 9. Adapt the readout

A few minutes of the new day with known behaviour: they go through the live decoder, the linear readout is updated, and
a Kalman filter is fitted to what it decodes. The line tells whether that is better, on time that the fit has not seen.
The folder `student` stays as it is.
"""

# %%
adapt(WORK / "student", TUESDAY, out=WORK / "tuesday.safetensors")
adapted = load_adapted(WORK / "tuesday.safetensors", model, "monday")
decoder = StreamingDecoder(model, "monday", readout=adapted.readout, smoother=adapted.smoother)

# %% [markdown]
"""
## 10. Read the record

`run.json` holds latency, losses, events, versions and the hash of the weights. Here is what the rehearsal left.
"""

# %%
run = json.loads((WORK / "rehearsal" / "run.json").read_text())
print({name: run[name] for name in ("ended", "bins", "flagged_bins", "skipped_samples")})
print("latency in ms:", {name: round(value, 2) for name, value in run["latency_ms"].items()})

# %% [markdown]
"""
## Without this package

ONNX files, each compared with the network before it is written, decode with onnxruntime and numpy alone:
`examples/decode_onnx_live.py` shows how.
"""

# %%
export(WORK / "student", out=WORK / "onnx")
