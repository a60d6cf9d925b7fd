"""Which reader a file is for: the first that knows it by its structure, or the one that the user names."""

from collections.abc import Sequence
from pathlib import Path

from spikefield.errors import InputError
from spikefield.recordings.inspection import Inspection
from spikefield.recordings.readers import axona, brainset, flint, guard, hdf5, indy, mat5, npz, nwb, trialdata, vendor
from spikefield.recordings.readers.reader import Reader

READERS: dict[str, Reader] = {
    module.READER.name: module.READER for module in (indy, trialdata, nwb, brainset, flint, npz, axona, vendor)
}


_SUFFIXES = {".mat", ".nwb", ".h5", ".hdf5", ".npz", *vendor.SUFFIXES}


def find_reader(path: str | Path, name: str | None = None) -> Reader:
    """Return the reader called `name`, or the one that knows the file.

    Raises:
        InputError: no such reader, no such file, or no reader knows it; the message lists the readers.
    """
    path = Path(path)
    if name is not None:
        if name not in READERS:
            raise InputError(f"`reader` must be one of {', '.join(READERS)}, got {name!r}. Name one of them.")
        return READERS[name]
    if not guard.address(path):
        guard.check_file(path)
    for reader in READERS.values():
        if reader.matches(path):
            return reader
    raise InputError(
        f"{path}: {_what(path)}, which no reader knows ({', '.join(READERS)}). Put its arrays into a .npz with the "
        "argument names of `from_arrays`, and prepare that."
    )


def inspect_file(path: str | Path, name: str | None = None) -> Inspection:
    """Return what a file holds, without loading its data.

    Raises:
        InputError: no reader knows the file, or it is damaged.
    """
    return find_reader(path, name).inspect(Path(path))


def sources(folder: str | Path) -> list[Path]:
    """Return one path for each recording of a folder: files that belong to another one's recording are left out.

    A file that is called like a recording but that no reader knows is kept, so that reading it says what is wrong.

    Raises:
        InputError: no such folder, or it holds nothing that a reader knows.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give the folder that holds the recordings.")
    found: list[Path] = []
    taken: set[Path] = set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        reader = next((r for r in READERS.values() if r.matches(path)), None)
        if path in taken or (reader is None and path.suffix.lower() not in _SUFFIXES):
            continue
        files = reader.files(path) if reader else (path,)
        found.append(files[0])
        taken.update(files)
    if not found:
        raise InputError(f"{folder}: holds no file that a reader knows ({', '.join(READERS)}). Check the folder.")
    return found


def _what(path: Path) -> str:
    """Say what a file looks like that no reader knows."""
    if hdf5.is_hdf5(path):
        with hdf5.opened(path, "HDF5 file") as file:
            return f"is HDF5 with {_some(list(file))} at its root"
    if mat5.is_mat5(path):
        mat5.check_whole(path)
        return f"is MATLAB v5 with {_some(sorted(mat5.names(path)))}"
    return f"starts with {guard.head(path, 16)!r}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "nothing"
