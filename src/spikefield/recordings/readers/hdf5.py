"""HDF5 with its guards: named fields of the right type and shape, sizes that fit the file, MATLAB 7.3 text."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikefield.errors import InputError
from spikefield.recordings.readers import guard

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_KINDS = {"f": "floats", "i": "integers", "u": "integers", "O": "references", "S": "text", "U": "text", "b": "booleans"}
_MAX_DEFLATE_RATIO = 1100
_CHUNK_CACHE_BYTES = 32 << 20


def is_hdf5(path: Path) -> bool:
    """Tell whether a file carries the HDF5 signature, at the start or after a block of 512, 1024 or 2048 bytes."""
    start = guard.head(path, 2056)
    return any(start[offset : offset + 8] == SIGNATURE for offset in (0, 512, 1024, 2048))


@contextmanager
def opened(path: Path, layout: str) -> Iterator[h5py.File]:
    """Open a file for reading; whatever goes wrong until it is closed becomes one line.

    Raises:
        InputError: no such file, not HDF5, truncated, or damaged.
    """
    guard.check_file(path)
    if not is_hdf5(path):
        raise InputError(f"{path}: is not HDF5, but {_looks_like(path)}; expected a {layout}. Check how it was saved.")
    with (
        guard.readable(path, layout),
        h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES, rdcc_nslots=10007) as file,
    ):
        yield file


def peek(path: Path) -> dict[str, str]:
    """Return the names at the root with their kind, Dataset or Group; {} where the file is not readable HDF5."""
    if not path.is_file() or not is_hdf5(path):
        return {}
    try:
        with h5py.File(path, "r") as file:
            return {str(name): "Group" if isinstance(item, h5py.Group) else "Dataset" for name, item in file.items()}
    except Exception:  # a damaged file matches no reader; opening it for reading says what is wrong
        return {}


def dataset(group: h5py.Group, name: str, *, kinds: str = "fiu", ndim: Sequence[int] = (1, 2)) -> h5py.Dataset:
    """Return a dataset after checking that it is there, of the right type, and no larger than its file can hold.

    Raises:
        InputError: names file, field, what was expected and what came.
    """
    where = f"{group.file.filename}: {name_of(group).rstrip('/')}/{name}"
    found = group.get(name)
    if found is None:
        there = ", ".join(map(str, list(group)[:12])) or "nothing"
        raise InputError(f"{where}: missing; {group.name} holds {there}. Check that the file is of this layout.")
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{where}: must be a dataset, got a group. Check that the file is of this layout.")
    if found.dtype.kind not in kinds:
        expected = " or ".join(dict.fromkeys(_KINDS[k] for k in kinds))
        raise InputError(f"{where}: must hold {expected}, got {found.dtype}. Check how it was exported.")
    if found.ndim not in ndim or found.size == 0:
        dims = " or ".join(str(n) for n in ndim)
        raise InputError(
            f"{where}: must have {dims} axes and not be empty, got shape {found.shape}. Check how it was exported."
        )
    check_header(found)
    return found


def check_header(found: h5py.Dataset) -> None:
    """Refuse a declared size that no compression of the file's bytes could hold, and numbers of no standard type.

    Raises:
        InputError: says which.
    """
    where = f"{found.file.filename}: {found.name}"
    limit = Path(found.file.filename).stat().st_size * _MAX_DEFLATE_RATIO
    if found.shape is None:
        raise InputError(f"{where}: holds nothing, not even a shape. Fetch the file again.")
    if found.dtype.kind != "O" and math.prod(found.shape) * found.dtype.itemsize > limit:
        raise InputError(f"{where}: declares shape {found.shape}, more than the file can hold. Fetch the file again.")
    if found.dtype.kind in "fiu" and not h5py.h5t.py_create(found.dtype, logical=True).equal(found.id.get_type()):
        raise InputError(f"{where}: its numbers are of no standard type, though nearest {found.dtype}. Fetch it again.")


def check_chunks(found: h5py.Dataset) -> None:
    """Refuse a chunked dataset that lacks chunks, or has one whose filters were skipped though it is not whole.

    HDF5 would fill the former with zeros without a word, and read the latter beyond its end.

    Raises:
        InputError: says how many chunks are there.
    """
    if not found.chunks or not found.size:
        return
    expected = math.prod(-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
    nbytes = math.prod(found.chunks) * found.dtype.itemsize
    filtered = found.id.get_create_plist().get_nfilters() > 0 or found.dtype.kind == "O"  # texts differ in size
    sizes: list[bool] = []
    found.id.chunk_iter(lambda chunk: sizes.append((filtered and not chunk.filter_mask) or chunk.size == nbytes))
    if len(sizes) != expected or not all(sizes):
        raise InputError(
            f"{found.file.filename}: {found.name}: {sum(sizes)} of {expected} chunks are whole. "
            "Fetch the file again: it is half-written or damaged."
        )


def whole(data: Any) -> Any:
    """Return the data of a parser after checking header and chunks, where they are a dataset of a file on disk.

    Raises:
        InputError: as `check_header` and `check_chunks`.
    """
    if isinstance(data, h5py.Dataset):
        if Path(data.file.filename).is_file():
            check_header(data)
        check_chunks(data)
    return data


def check_all(file: h5py.File) -> None:
    """Check header and chunks of every dataset of a file.

    Raises:
        InputError: as `check_header` and `check_chunks`.
    """

    def visit(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            check_header(item)
            check_chunks(item)

    file.visititems(visit)


def name_of(item: h5py.Group | h5py.Dataset) -> str:
    """Return the path of an item inside its file."""
    return str(item.name)


def content(found: h5py.Dataset) -> np.ndarray:
    """Return a whole dataset (axis, …) after checking its header and chunks.

    Raises:
        InputError: the declared shape does not fit the file, or the file is half-written.
    """
    check_header(found)
    check_chunks(found)
    return np.asarray(found[()])


def vector(group: h5py.Group, name: str) -> np.ndarray:
    """Return a (1, n), (n, 1) or (n,) dataset as n float64.

    Raises:
        InputError: missing, of the wrong type, or not a vector.
    """
    found = dataset(group, name)
    if found.ndim == 2 and 1 not in found.shape:
        raise InputError(
            f"{group.file.filename}: {found.name}: must be (1, n), got shape {found.shape}. Check how it was exported."
        )
    return content(found).astype(np.float64).ravel()


def rows(group: h5py.Group, name: str, samples: int, widths: Sequence[int]) -> np.ndarray:
    """Return a dataset as (samples, width), whichever way round it lies in the file.

    Raises:
        InputError: neither way round fits.
    """
    found = dataset(group, name, ndim=(2,))
    for shape, turned in ((found.shape[::-1], True), (found.shape, False)):
        if shape[0] == samples and shape[1] in widths:
            values = content(found).astype(np.float64)
            return np.ascontiguousarray(values.T) if turned else values
    expected = " or ".join(f"({width}, {samples})" for width in widths)
    raise InputError(
        f"{group.file.filename}: {found.name}: must be {expected}, got shape {found.shape}. Check how it was exported."
    )


def text(value: object) -> str:
    """Return HDF5 text: bytes, str, or an array of MATLAB's uint16 characters."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iu" and value.size <= 4096:
            return "".join(chr(int(c)) for c in value.ravel())
        return text(value.ravel()[0]) if value.size else ""
    return str(value)


def texts(found: h5py.Dataset) -> list[str]:
    """Return a dataset of text as a list."""
    return [text(value) for value in content(found).ravel()]


def _looks_like(path: Path) -> str:
    start = guard.head(path, 128)
    if start.startswith(b"MATLAB 5.0"):
        return "MATLAB v5 (save it with -v7.3)"
    return f"a file that starts with {start[:16]!r}"
