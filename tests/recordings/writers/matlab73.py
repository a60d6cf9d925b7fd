"""HDF5 the way MATLAB 7.3 writes it: a header block, arrays turned round, cells and text behind references."""

from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan 01 00:00:00 2026 HDF5 schema 1.00 ."


@contextmanager
def create(path: Path):
    with h5py.File(path, "w", userblock_size=512) as file:
        yield file
    with path.open("r+b") as raw:
        raw.write(_HEADER.ljust(124) + b"\x00\x02IM")


def put(group: h5py.Group, name: str, matrix, **options) -> h5py.Dataset:
    """Write a MATLAB matrix (rows, columns), which lies turned round in the file."""
    values = np.atleast_2d(np.asarray(matrix)).T
    found = group.create_dataset(name, data=values, **options)
    found.attrs["MATLAB_class"] = np.bytes_("double" if values.dtype.kind == "f" else values.dtype.name)
    return found


def put_text(group: h5py.Group, name: str, text: str) -> h5py.Dataset:
    found = group.create_dataset(name, data=np.array([[ord(c)] for c in text], np.uint16))
    found.attrs["MATLAB_class"] = np.bytes_("char")
    return found


def put_empty(group: h5py.Group, name: str) -> h5py.Dataset:
    """Write an empty matrix: its size, (0, 0), with an attribute that says so."""
    found = group.create_dataset(name, data=np.zeros(2, np.uint64))
    found.attrs["MATLAB_empty"] = np.uint8(1)
    return found


def put_cells(group: h5py.Group, name: str, refs: np.ndarray) -> h5py.Dataset:
    """Write an array of references, as it lies in the file."""
    found = group.create_dataset(name, shape=refs.shape, dtype=h5py.ref_dtype)
    for index in np.ndindex(refs.shape):
        found[index] = refs[index]
    return found
