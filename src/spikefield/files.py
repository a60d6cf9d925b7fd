"""Files appear whole or not at all: write beside the target, then rename; hashes tell whether a file changed."""

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from spikefield.errors import InputError

_PLACE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_LEFT_BEHIND_S = 3600.0
_ATTEMPTS = 20


@contextmanager
def whole(path: str | Path, *, unless: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` on success and vanishes on failure.

    Works for a file or a folder. An existing file is replaced in one step; a folder is moved aside first, or stays, and
    the new one is dropped, where `unless()` says that another writer has put the wanted one there.

    Raises:
        InputError: the disk is full, read-only or not writable.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{_PLACE}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        with _disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            yield temporary
            _replace(temporary, path, unless)
    except BaseException:
        _remove(temporary)
        raise


def check_writable(path: str | Path) -> None:
    """Try whether `path` can be written, before the work whose result shall lie there.

    Raises:
        InputError: the disk is full, read-only or not writable.
    """
    path = Path(path)
    trial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise InputError(
            f"cannot write {path}: {os.strerror(error.errno)}. Free or choose another folder and run again."
        ) from error


_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),  # full or broken
    *(errno.EROFS, errno.EACCES, errno.EPERM),  # not ours to write
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),  # something is in the way, or the name itself
}


def _replace(temporary: Path, path: Path, unless: Callable[[], bool]) -> None:
    if temporary.is_dir():
        _replace_folder(temporary, path, unless)
        return
    if temporary.is_file():
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    temporary.replace(path)


def _replace_folder(temporary: Path, path: Path, unless: Callable[[], bool]) -> None:
    """Put a folder in its place; of several writers at once the last one's stays, whole."""
    aside = None
    for attempt in range(_ATTEMPTS):
        try:
            temporary.replace(path)
            break
        except OSError as error:
            taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
            if not taken or attempt == _ATTEMPTS - 1:
                if aside is not None and not path.exists():
                    aside.replace(path)
                raise
        if unless():
            _remove(temporary)
            break
        if aside is not None:
            _remove(aside)  # another writer was faster
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
        with suppress(FileNotFoundError):  # another writer has just moved it aside
            path.replace(aside)
    if aside is not None:
        _remove(aside)


def _sweep(path: Path) -> None:
    """Remove what processes of this machine that were killed had begun to write here, an hour later."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{_PLACE}-*.part"):
        number = left.name.removesuffix(".part").split("-")[-2]
        with suppress(OSError):
            old = time.time() - left.stat().st_mtime > _LEFT_BEHIND_S
            if old and number.isdigit() and not psutil.pid_exists(int(number)):
                _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist. Give the path of an existing file.") from error
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON ({error}). Restore it from its source.") from error


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
