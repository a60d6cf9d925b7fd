"""Files of a public data set arrive whole: checksummed by pooch, resumed by ranges of bytes where a fetch broke off."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikefield.errors import InputError
from spikefield.recordings.archives import RemoteFile, available, requests_or_refuse

_PIECE = 1 << 16
_TIMEOUT_S = (10, 60)
_FRUITLESS = 4
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
Progress = Callable[[str, int, int], None]


def fetch(
    dataset: str,
    names: Sequence[str],
    folder: str | Path,
    *,
    page: str | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Fetch files of a public data set into a folder and return their paths; what is there whole is not fetched again.

    Args:
        dataset: `makin`, `perich` or `gallego`.
        names: files to fetch, as the archive calls them (see `archives.available`); none for all.
        folder: where to; a file appears there when it is whole and its checksum fits.
        page: another page of the same archive, such as the record of one session's broadband.
        progress: called with a file's name, the bytes there are, and the bytes there will be.

    Raises:
        InputError: unknown data set or name, no space, the archive refuses, breaks off again and again, or sends bytes
            that are not the file's. The same call later goes on where this one stopped.
    """
    folder = Path(folder)
    files = _pick(available(dataset, page=page), names)
    _check_space(files, folder)
    return [_fetch_one(file, folder, progress) for file in files]


def _pick(files: list[RemoteFile], names: Sequence[str]) -> list[RemoteFile]:
    by_name = {file.name: file for file in files}
    if unknown := [name for name in names if name not in by_name]:
        some = ", ".join(list(by_name)[:8])
        raise InputError(f"`names`: the archive has no file {unknown[0]!r}. Name some of its {len(by_name)}: {some}, …")
    return [by_name[name] for name in names] if names else files


def _check_space(files: list[RemoteFile], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}). Choose another folder.") from error
    needed = sum(file.size - _there(folder / file.name) - _there(_part(folder / file.name)) for file in files)
    if needed > free:
        raise InputError(f"{folder}: needs {needed / 1e9:.2f} GB, but {free / 1e9:.2f} GB are free. Make room.")


def _there(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _fetch_one(file: RemoteFile, folder: Path, progress: Progress | None) -> Path:
    path = folder / file.name
    resumed = _there(_part(path)) > 0
    try:
        return _retrieve(file, path, progress)
    except _ChecksumError:
        if not resumed:
            raise
        return _retrieve(file, path, progress)  # what was left of an earlier fetch may be what was wrong


class _ChecksumError(InputError):
    """The bytes that came are not those of the file."""


def _retrieve(file: RemoteFile, path: Path, progress: Progress | None) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise InputError("downloads need pooch. Install it with: pip install 'spikefield[download]'") from error
    pooch.get_logger().setLevel("ERROR")
    if _there(path) != file.size:
        path.unlink(missing_ok=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        downloader: Any = _Resuming(size=file.size, part=_part(path), name=file.name, progress=progress)
        pooch.retrieve(file.url, known_hash=file.digest, fname=path.name, path=path.parent, downloader=downloader)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}). Make room and run again.") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise _ChecksumError(
            f"{path}: what came does not fit the checksum {file.digest} that the archive states; it was thrown away. "
            "Run the same command again."
        ) from error
    return path


@dataclass(frozen=True, kw_only=True)
class _Resuming:
    """Downloader for pooch that collects a file in `part` over any number of broken connections and runs."""

    size: int
    part: Path
    name: str
    progress: Progress | None

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        fruitless = 0
        while (have := _there(self.part)) < self.size:
            self._collect(url, have)
            fruitless = 0 if _there(self.part) > have else fruitless + 1
            if fruitless >= _FRUITLESS:
                raise InputError(
                    f"{url}: broke off at {have} of {self.size} bytes, {fruitless} times in a row; what came is "
                    "kept. Run the same command again later to go on."
                )
            time.sleep(0.1 * (2**fruitless - 1))
        if have > self.size:
            self.part.unlink()
            raise InputError(
                f"{url}: sends more than the {self.size} bytes that the archive states. "
                "Run the same command again, or look at the archive's page."
            )
        self.part.replace(output_file)

    def _collect(self, url: str, have: int) -> None:
        """Append what one connection brings, at most one piece beyond the stated size."""
        requests = requests_or_refuse()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
                if not self._brings_bytes(response, url):
                    return
                goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
                if have and not (response.status_code == 206 and goes_on):
                    have = 0
                with self.part.open("ab" if have else "wb") as file:
                    for piece in response.iter_content(_PIECE):
                        have += file.write(piece)
                        if self.progress:
                            self.progress(self.name, have, self.size)
                        if have > self.size:
                            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            return

    def _brings_bytes(self, response: Any, url: str) -> bool:
        """Tell whether a response carries the file; False where it is worth asking again."""
        status = response.status_code
        if status == 416:  # the archive's file ends before what is here
            self.part.unlink(missing_ok=True)
        if status == 416 or status in _AGAIN:
            return False
        if status >= 400:
            raise InputError(
                f"{url}: the archive refuses (HTTP {status} {response.reason}). Open its page and fetch {self.name} by "
                f"hand into {self.part.parent}."
            )
        return True
