"""Decode bin by bin with onnxruntime and numpy alone: `python decode_onnx_live.py step.onnx bins.npz decoded.csv`.

bins.npz as for decode_onnx.py. The caches start at zero and belong to one unbroken stretch; the graph hands back only
what is new, and it is written into the ring here.
"""

import json
import sys

import numpy as np
import onnxruntime

model_path, bins_path, out_path = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
model = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
about = model.get_modelmeta().custom_metadata_map
patches, ring_bins, ahead = (int(about[key]) for key in ("patches", "ring_bins", "look_ahead_bins"))
outputs = [output.name for output in model.get_outputs()]
caches = {i.name: np.zeros(i.shape, np.float32) for i in model.get_inputs() if i.name not in ("lfp", "position")}


def decode(lfp: np.ndarray, position: int) -> np.ndarray:
    """Take the standardised features of the next bin; return the behaviour of the bin `ahead` bins before it."""
    given = {"lfp": lfp[None].astype(np.float32), "position": np.array([position]), **caches}
    found = dict(zip(outputs, model.run(None, given), strict=True))
    for name, cache in caches.items():
        if f"next_{name}" in found:
            caches[name] = found[f"next_{name}"]
            continue
        first = (position if name.endswith("_0") else position - ahead) % ring_bins * patches
        slots = slice(first, first + patches)
        cache[(..., slots) if name.startswith("key") else (slice(None), slots)] = found[f"new_{name}"]
    return found["behavior"][0]


bins = np.load(bins_path)["lfp"]
if (standard := json.loads(about["standardisation"])) is not None:
    bins = (bins - standard["center"]) / standard["scale"]
rows = [decode(row, position) for position, row in enumerate(bins)][ahead:]
np.savetxt(out_path, rows, delimiter=",", header=",".join(json.loads(about["behavior"])), comments="")
print(f"{len(rows)} bins of {about['bin_width_ms']} ms, session {about['session_id']}: {out_path}")
