"""Decode behaviour with onnxruntime and numpy alone: `python decode_onnx.py window.onnx bins.npz decoded.csv`.

bins.npz holds `lfp` (bin, channel): the bins of one unbroken stretch as they enter the standardisation, channels in the
order of the file's `channels`. The file says the rest itself.
"""

import json
import sys

import numpy as np
import onnxruntime

model_path, bins_path, out_path = sys.argv[1:]
model = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
about = model.get_modelmeta().custom_metadata_map
channels, window = json.loads(about["channels"]), int(about["window_bins"])

lfp = np.load(bins_path)["lfp"]
if lfp.shape[1:] != (len(channels),):
    sys.exit(f"{bins_path}: `lfp` must be (bin, {len(channels)} channels), got {lfp.shape}.")
if (standard := json.loads(about["standardisation"])) is not None:
    lfp = (lfp - standard["center"]) / standard["scale"]
lfp = lfp.astype(np.float32)

whole = len(lfp) // window * window  # whole windows as one batch, then what is left as a shorter one
batches = [lfp[:whole].reshape(-1, window, len(channels)), lfp[None, whole:]]
decoded = [model.run(["behavior"], {"lfp": batch})[0] for batch in batches if batch.size]
rows = np.concatenate([d.reshape(-1, d.shape[-1]) for d in decoded])

np.savetxt(out_path, rows, delimiter=",", header=",".join(json.loads(about["behavior"])), comments="")
print(f"{len(rows)} bins of {about['bin_width_ms']} ms, session {about['session_id']}: {out_path}")
