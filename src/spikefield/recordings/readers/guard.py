"""Bad files become one line: what the parsers underneath raise is caught here, beside the checks they do not make."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import spikefield.files as files
from spikefield.errors import InputError

_FETCH_AGAIN = "Fetch or export the file again."


@contextmanager
def readable(path: str | Path, layout: str, remedy: str = _FETCH_AGAIN) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into one line that names the file and the layout.

    Parsers of foreign bytes raise anything from OSError to RecursionError, hence the wide net; the cause is chained.

    Raises:
        InputError: in the place of whatever the parser raised.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: declares more data than this machine's memory holds. {remedy}") from error
    except Exception as error:
        raise InputError(f"{path}: not a readable {layout} ({one_line(error)}). {remedy}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence a parser's warnings about what the readers check themselves; never around a `yield`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def one_line(error: BaseException) -> str:
    """Return an error as at most 160 characters of one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def check_file(path: Path) -> None:
    """Refuse what cannot be a recording: a missing or empty file, a page of text, a pointer, nothing but zeros.

    Raises:
        InputError: says which of these it is.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from error
    if not head:
        raise InputError(f"{path}: is empty (0 bytes). {_FETCH_AGAIN}")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: is a pointer to a large file, not the file. Fetch its content first.")
    if re.match(rb"\s*<(!doctype html|html|\?xml version[^>]*>\s*<error)", head, re.IGNORECASE):
        raise InputError(f"{path}: is a web page, not a recording. Log in to the archive and download the file again.")
    if not head.strip(b"\0"):
        raise InputError(f"{path}: starts with {len(head)} zero bytes, as half-downloaded files do. {_FETCH_AGAIN}")


def head(path: Path, size: int) -> bytes:
    """Return the first bytes of a file, b"" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def address(path: Path) -> str | None:
    """Return the address that a path stands for (`Path` folds its two slashes into one), None for a path on disk."""
    match = re.fullmatch(r"(https?|s3|gs):/+(.+)", path.as_posix())
    return f"{match[1]}://{match[2]}" if match else None


def safe_name(text: str) -> str:
    """Return a session or subject name made of letters, digits, '-', '_' and '.'."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in text).lstrip(".")
    return name or "unnamed"


def source(reader: str, paths: tuple[Path, ...], notes: list[str], left_out: dict[str, Any]) -> dict[str, Any]:
    """Return what a session remembers of its origin: reader, files with hashes, choices made, what was left out."""
    return {
        "reader": reader,
        "files": {path.name: address(path) or files.sha256(path) for path in paths},
        "notes": list(notes),
        "left_out": {what: which for what, which in left_out.items() if which},
    }
