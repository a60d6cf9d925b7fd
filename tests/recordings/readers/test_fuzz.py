"""Flipped and cut bytes in every layout: one line, or a session equal to the truth in what it kept; see bad-files.md.

A flipped byte can be told only where the file carries a checksum. There (compressed HDF5 chunks, compressed MATLAB v5,
zip) and for every cut, what is kept must be equal; elsewhere the reader must only not crash, hang, or ramble.
"""

from dataclasses import dataclass
from pathlib import Path

import fuzz_worker
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from writers import axona, brainset, brainvision, flint, indy, nwb2, trialdata

from spikefield.recordings.readers import SeriesChoice

OWN_FAULTS = ("AttributeError", "NameError", "TypeCheckError", "AssertionError", "NotImplementedError")
NWB = SeriesChoice(lfp=("LFP",), units=("units",), behavior=("cursor_vel",))


@dataclass
class Layout:
    """A file to damage, the path that stands for its recording, and where checksums guard its bytes."""

    reader: str
    target: Path
    path: Path
    guarded: list[tuple[int, int]]
    choice: SeriesChoice = SeriesChoice()
    cuts_show: bool = True
    examples: int = 12


def compressed_chunks(path: Path) -> list[tuple[int, int]]:
    """Where the compressed chunks of an HDF5 file lie."""
    found: list[tuple[int, int]] = []

    def visit(_, item):
        if isinstance(item, h5py.Dataset) and item.chunks and item.compression:
            base = item.file.userblock_size
            item.id.chunk_iter(lambda c: found.append((c.byte_offset + base, c.byte_offset + base + c.size)))

    with h5py.File(path) as file:
        file.visititems(visit)
    raw = path.read_bytes()
    return [(a, b) for a, b in found if raw[a : a + 1] == b"\x78"]  # where zlib's header is


def make_indy(folder):
    path = folder / "indy_1_01.mat"
    indy.write_mat(path, seconds=0.4, channels=2, rows=3)
    return Layout("indy", path, path, [])


def make_broadband(folder):
    path = folder / "indy_1_01.nwb"
    indy.write_nwb(path, seconds=0.05, names=("M1 001", "M1 002"))
    return Layout("indy", path, path, compressed_chunks(path), examples=16)


def make_flint(folder):
    path = folder / "Flint_2012_e1.mat"
    flint.write(path, bins=(20, 15), gaps_s=(0.5,), neurons=3)
    return Layout("flint", path, path, [(128, path.stat().st_size)], examples=16)


def make_flint_plain(folder):
    path = folder / "Flint_2012_e1.mat"
    flint.write(path, bins=(20, 15), gaps_s=(0.5,), neurons=3, compressed=False)
    return Layout("flint", path, path, [], examples=20)


def make_trialdata(folder):
    path = folder / "Chewie_CO_20150313.mat"
    trialdata.write(path, bins=(40, 30), units=3, electrodes=(1,))
    return Layout("trialdata", path, path, compressed_chunks(path), examples=16)


def make_nwb(folder):
    path = folder / "sub-C.nwb"
    nwb2.write(path, seconds=0.6, raw=False)
    return Layout("nwb", path, path, [], choice=NWB, examples=6)


def make_brainset(folder):
    path = folder / "c.h5"
    brainset.write(path, seconds=2.0)
    return Layout("brainset", path, path, [])


def make_npz(folder):
    path = folder / "own.npz"
    np.savez_compressed(path, lfp=np.random.default_rng(0).normal(size=(200, 2)), lfp_rate_hz=100.0)
    return Layout("npz", path, path, [(0, path.stat().st_size)])


def make_axona(folder, suffix):
    path, _ = axona.write(folder, seconds=1)
    target = folder / "rec1_5.cut" if suffix == ".cut" else path.with_suffix(suffix)
    return Layout("axona", target, path, [], cuts_show=suffix != ".cut", examples=8)


def make_brainvision(folder, suffix):
    path, _ = brainvision.write(folder, samples=200)
    return Layout("vendor", path.with_suffix(suffix), path, [], cuts_show=False, examples=8)


MAKERS = {
    "indy": make_indy,
    "broadband": make_broadband,
    "flint": make_flint,
    "flint, not compressed": make_flint_plain,
    "trialdata": make_trialdata,
    "nwb": make_nwb,
    "brainset": make_brainset,
    "npz": make_npz,
    "axona eeg": lambda folder: make_axona(folder, ".eeg"),
    "axona tetrode": lambda folder: make_axona(folder, ".5"),
    "axona cut": lambda folder: make_axona(folder, ".cut"),
    "brainvision header": lambda folder: make_brainvision(folder, ".vhdr"),
    "brainvision binary": lambda folder: make_brainvision(folder, ".eeg"),
}


@pytest.fixture(scope="module")
def worker():
    found = fuzz_worker.Worker()
    yield found
    found.close()


def same(kept: list[dict], truth: list[dict]) -> bool:
    """Whether everything kept is as in the truth; something may be missing."""
    if len(kept) != len(truth):
        return False
    return all(
        key in planted and np.shape(value) == np.shape(planted[key]) and np.all(equal(value, planted[key]))
        for one, planted in zip(kept, truth, strict=True)
        for key, value in one.items()
    )


def equal(a, b) -> np.ndarray:
    a, b = np.asarray(a), np.asarray(b)
    return (a == b) | ((a != a) & (b != b))


@pytest.mark.parametrize("layout", MAKERS)
def test_damage_is_one_line_or_nothing(layout, worker, tmp_path):
    case = MAKERS[layout](tmp_path)
    whole = case.target.read_bytes()
    outcome, truth = worker.read(case.path, case.reader, case.choice)
    assert outcome == "session", truth

    @settings(
        max_examples=case.examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        cut=st.booleans(),
        places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3),
        byte=st.integers(1, 255),
    )
    def damage(cut, places, byte):
        flipped = [int(place * len(whole)) for place in places]
        raw = bytearray(whole)
        for i in flipped:
            raw[i] ^= byte
        case.target.write_bytes(whole[: flipped[0]] if cut else bytes(raw))
        outcome, found = worker.read(case.path, case.reader, case.choice)
        assert outcome in ("session", "refused"), f"{outcome}: {found}"
        if outcome == "refused":
            assert "\n" not in found and len(found) < 1000 and str(case.path.parent) in found
            assert not any(fault in found for fault in OWN_FAULTS), found
        elif (cut and case.cuts_show) or all(any(a <= i < b for a, b in case.guarded) for i in flipped):
            assert same(found, truth)

    damage()
    case.target.write_bytes(whole)
