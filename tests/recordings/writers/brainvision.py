"""BrainVision triples (header, markers, binary), with the BIDS tables that may lie beside them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

_HEADER = """Brain Vision Data Exchange Header File Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile={stem}.eeg
MarkerFile={stem}.vmrk
DataFormat=BINARY
DataOrientation={orientation}
NumberOfChannels={channels}
SamplingInterval={interval_us}

[Binary Infos]
BinaryFormat={binary}

[Channel Infos]
{lines}
"""
_MARKERS = """Brain Vision Data Exchange Marker File, Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile={stem}.eeg

[Marker Infos]
Mk1=New Segment,,1,1,0
"""
RESOLUTION_UV = 0.1
FULL_SCALE = 10_000


def write(
    folder: Path,
    *,
    floats: bool = False,
    vectorized: bool = False,
    bids: bool = True,
    samples: int = 4000,
    rate_hz: float = 1000.0,
    stem: str = "sub-01_ses-A_task-grip_run-0_ieeg",
    planted: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[Path, np.ndarray]:
    """Write 3 field channels, `planted` by time where given, and a grip force.

    Return the header's path and what is stored, (samples, channels).
    """
    names = ["LFP_0", "LFP_1", "ECOG_0", "GRIP"]
    stored = np.random.default_rng(seed).integers(-3000, 3000, (samples, len(names)))
    if planted is not None:
        stored[:, :3] = np.rint(FULL_SCALE * planted(np.arange(samples) / rate_hz))
    stored = stored.astype("<f4") / 4 if floats else stored.astype("<i2")
    path = folder / f"{stem}.vhdr"
    header = _HEADER.format(
        stem=stem,
        orientation="VECTORIZED" if vectorized else "MULTIPLEXED",
        channels=len(names),
        interval_us=1e6 / rate_hz,
        binary="IEEE_FLOAT_32" if floats else "INT_16",
        lines="\n".join(f"Ch{i + 1}={name},,{RESOLUTION_UV},µV" for i, name in enumerate(names)),
    )
    path.write_text(header, encoding="utf-8")
    path.with_suffix(".vmrk").write_text(_MARKERS.format(stem=stem), encoding="utf-8")
    path.with_suffix(".eeg").write_bytes((stored.T if vectorized else stored).tobytes())
    if bids:
        kinds = ["DBS", "DBS", "ECOG", "MISC"]
        rows = "".join(f"{name}\t{kind}\tµV\n" for name, kind in zip(names, kinds, strict=True))
        run = stem.removesuffix("_ieeg")
        (folder / f"{run}_channels.tsv").write_text("\ufeffname\ttype\tunits\n" + rows, encoding="utf-8")
        places = "".join(f"{name}\t{0.001 * i}\t{0.002 * i}\t0\n" for i, name in enumerate(names[:3]))
        (folder / "sub-01_ses-A_space-mni_electrodes.tsv").write_text(
            "name\tx\ty\tz\n" + places + "GRIP\tn/a\tn/a\tn/a\n", encoding="utf-8"
        )
    return path, stored
