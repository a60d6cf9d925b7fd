"""MATLAB v5 through scipy, after a check that the file is whole: struct arrays as lists of records."""

import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io

from spikefield.errors import InputError
from spikefield.recordings.readers import guard, hdf5

_HEADER_BYTES, _PIECE, _MAX_DEPTH = 128, 1 << 20, 32
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, 16, 17, 18}


def is_mat5(path: Path) -> bool:
    """Tell whether a file carries the header of MATLAB v5 (v6 and v7 included)."""
    start = guard.head(path, _HEADER_BYTES)
    return len(start) == _HEADER_BYTES and start[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def names(path: Path) -> set[str]:
    """Return the names of the variables; empty where the file is not readable MATLAB v5."""
    if not is_mat5(path):
        return set()
    try:
        return {name for name, _, _ in scipy.io.whosmat(str(path))}
    except Exception:  # a damaged file matches no reader; opening it for reading says what is wrong
        return set()


def load(path: Path, name: str, layout: str) -> np.ndarray:
    """Return one variable (rows, columns) of a whole file.

    Raises:
        InputError: another format, truncated, damaged, or the variable is missing.
    """
    guard.check_file(path)
    if not is_mat5(path):
        what = "HDF5 (MATLAB 7.3; save it with -v7)" if hdf5.is_hdf5(path) else f"{guard.head(path, 16)!r}"
        raise InputError(f"{path}: is not MATLAB v5, but starts as {what}; expected {layout}. Check how it was saved.")
    with guard.readable(path, layout):
        check_whole(path)
        with guard.quiet():
            content = scipy.io.loadmat(str(path), variable_names=[name])
    if name not in content:
        there = ", ".join(sorted(names(path))) or "nothing"
        raise InputError(f"{path}: {name}: missing; the file holds {there}. Check that it is {layout}.")
    return content[name]


def check_whole(path: Path) -> None:
    """Walk the elements of a file: lengths that fit, types that exist, and checksums where it is compressed.

    scipy stops inflating when it has what it needs, before the checksum, and crashes on a type that does not exist.

    Raises:
        InputError: an element reaches beyond the file, is of no type, or does not inflate.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        order = "<" if raw[126:128] == b"IM" else ">"
        place = _HEADER_BYTES
        while place < len(raw):
            kind, start, end = _tag(raw, place, len(raw), order, path)
            if kind == _COMPRESSED:
                _check_inflates(raw, start, end, path)
            elif kind == _MATRIX:
                _check_children(raw, start, end, order, path)
            place = end


def _tag(raw: mmap.mmap, place: int, limit: int, order: str, path: Path) -> tuple[int, int, int]:
    """Return type, start and end of the element at `place`, which must end by `limit`; padding left to the caller."""
    kind, count = struct.unpack(f"{order}II", raw[place : place + 8]) if place + 8 <= limit else (0, limit)
    if kind >> 16:  # an element of at most four bytes, its length beside its type
        return kind & 0xFFFF, place + 4, place + 4 + min(kind >> 16, 4)
    if place + 8 + count > limit:
        raise InputError(
            f"{path}: truncated: the element at byte {place} needs {count} bytes, but {max(limit - place - 8, 0)} are "
            "left. Fetch the file again."
        )
    return kind, place + 8, place + 8 + count


def _check_children(raw: mmap.mmap, start: int, end: int, order: str, path: Path, depth: int = 0) -> None:
    """Check the elements inside a matrix, those of cells and structs in turn."""
    place = start
    while place < end:
        kind, inner, stop = _tag(raw, place, end, order, path)
        if kind not in _TYPES or depth > _MAX_DEPTH:
            raise InputError(f"{path}: damaged at byte {place}: no element has type {kind}. Fetch the file again.")
        if kind == _MATRIX:
            _check_children(raw, inner, stop, order, path, depth + 1)
        place += 8 if inner == place + 4 else 8 + (stop - inner + 7) // 8 * 8


def _check_inflates(raw: mmap.mmap, start: int, end: int, path: Path) -> None:
    inflate = zlib.decompressobj()
    try:
        for place in range(start, end, _PIECE):
            piece = raw[place : min(place + _PIECE, end)]
            while piece:
                inflate.decompress(piece, _PIECE)
                piece = inflate.unconsumed_tail
    except zlib.error as error:
        raise InputError(f"{path}: damaged after byte {start} ({error}). Fetch the file again.") from error
    if not inflate.eof:
        raise InputError(f"{path}: the element at byte {start} ends early. Fetch the file again.")


def records(value: np.ndarray, where: str) -> list[np.void]:
    """Return a struct array (rows, columns), or a cell array of structs, as a list of records.

    Raises:
        InputError: neither a struct nor cells of them.
    """
    return list(_walk(np.asarray(value), where))


def _walk(value: np.ndarray, where: str, depth: int = 0) -> Iterator[np.void]:
    if value.dtype.names:
        yield from value.ravel()
    elif value.dtype == object and depth < 4:
        for item in value.ravel():
            yield from _walk(np.asarray(item), where, depth + 1)
    elif value.size:
        raise InputError(
            f"{where}: must be a struct array, got {value.dtype} of shape {value.shape}. Check how it was saved."
        )


def field(record: np.void, name: str, where: str) -> np.ndarray:
    """Return a field (rows, columns) of a record.

    Raises:
        InputError: the field is missing; the message lists what is there.
    """
    there = record.dtype.names or ()
    if name not in there:
        raise InputError(f"{where}.{name}: missing; the struct holds {', '.join(there)}. Check the file's layout.")
    return np.asarray(record[name])


def numbers(record: np.void, name: str, where: str, *, columns: int | None = None) -> np.ndarray:
    """Return a numeric field as float64: a vector (n,), or a matrix (rows, columns) of at least `columns` columns.

    Raises:
        InputError: missing, not numbers, or of another shape.
    """
    value = field(record, name, where)
    if value.dtype.kind not in "fiub":
        raise InputError(f"{where}.{name}: must hold numbers, got {value.dtype}. Check how it was saved.")
    if columns is None:
        if value.size not in (0, max(value.shape, default=0)):
            raise InputError(f"{where}.{name}: must be a vector, got shape {value.shape}. Check how it was saved.")
        return value.astype(np.float64).ravel()
    if value.ndim != 2 or value.shape[1] < columns:
        raise InputError(
            f"{where}.{name}: must be (samples, {columns} or more), got shape {value.shape}. Check how it was saved."
        )
    return value.astype(np.float64)
