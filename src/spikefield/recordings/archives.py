"""Public data sets by name: where each lives, and the files that its archive lists, with sizes and hashes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from spikefield.errors import InputError

_TIMEOUT_S = (10, 60)
_MAX_PAGES = 200
_HASHES = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a data set; `digest` is `algorithm:hex` where the archive states one."""

    name: str
    size: int
    digest: str | None
    url: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if not self.name or path.is_absolute() or ".." in path.parts or "\\" in self.name or "\0" in self.name:
            raise InputError(
                f"{self.url}: a file must not be called {self.name!r}, which leaves its folder. Fetch it by hand there."
            )
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size <= 0:
            raise InputError(
                f"{self.url}: the size of {self.name} must be a positive whole number, got {self.size!r}. "
                "Fetch the files by hand there."
            )


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A public data set: its page, its archive's way to list files, and what a user should know beforehand."""

    page: str
    listing: Callable[[str], list[RemoteFile]]
    about: str


def available(dataset: str, *, page: str | None = None) -> list[RemoteFile]:
    """Return the files of a data set, as its archive lists them.

    Args:
        dataset: name of the data set.
        page: another page of the same archive, such as the record of one session's broadband.

    Raises:
        InputError: no such data set, or its archive cannot be reached or answers nonsense.
    """
    if dataset == "flint":
        raise InputError("`dataset` flint needs a login at its archive, so it is not fetched. See docs/flint.md.")
    if dataset not in DATASETS:
        raise InputError(f"`dataset` must be one of {', '.join(DATASETS)}, got {dataset!r}. Name one of them.")
    chosen = DATASETS[dataset]
    page = page or chosen.page
    try:
        files = chosen.listing(page)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{page}: the archive's list of files lacks {error}. Fetch the files by hand there."
        ) from error
    if not files:
        raise InputError(f"{page}: the archive lists no files. Look at the page, and fetch them by hand there.")
    return sorted(files, key=lambda file: file.name)


def _json(url: str) -> Any:
    requests = requests_or_refuse()
    try:
        response = requests.get(url, timeout=_TIMEOUT_S, headers={"Accept": "application/json"})
        response.raise_for_status()
        return response.json()
    except (requests.RequestException, ValueError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise InputError(f"{url}: the archive does not answer ({what}). Check the network and try again.") from error


def requests_or_refuse() -> Any:
    """Return the `requests` package.

    Raises:
        InputError: it is not installed.
    """
    try:
        import requests
    except ImportError as error:
        raise InputError("downloads need pooch. Install it with: pip install 'spikefield[download]'") from error
    return requests


def _host(page: str) -> str:
    parts = urlsplit(page)
    return f"{parts.scheme}://{parts.netloc}"


def _digest(kind: str, value: str | None) -> str | None:
    """Return `algorithm:hex` for an algorithm that is known here, None otherwise."""
    name = kind.lower().replace("-", "")
    return f"{name}:{value.lower()}" if value and len(value) == _HASHES.get(name) else None


def _zenodo(page: str) -> list[RemoteFile]:
    record = page.rstrip("/").rsplit("/", 1)[-1]
    listed = _json(f"{_host(page)}/api/records/{record}")["files"]
    return [
        RemoteFile(
            name=item["key"],
            size=item["size"],
            digest=_digest(*item["checksum"].split(":", 1)),
            url=item["links"]["self"],
        )
        for item in listed
    ]


def _dryad(page: str) -> list[RemoteFile]:
    doi = page[page.index("doi:") :]
    root = _host(page)
    version = _json(f"{root}/api/v2/datasets/{quote(doi, safe='')}")["_links"]["stash:version"]["href"]
    items = _pages(f"{urljoin(root, version)}/files?per_page=100", root)
    return [
        RemoteFile(
            name=item["path"],
            size=item["size"],
            digest=_digest(item.get("digestType") or "", item.get("digest")),
            url=urljoin(root, item["_links"]["stash:download"]["href"]),
        )
        for page_items in items
        for item in page_items["_embedded"]["stash:files"]
    ]


def _pages(url: str, root: str) -> Iterator[Any]:
    """Yield the pages of a Dryad listing; a page that was seen ends it."""
    seen: set[str] = set()
    while url not in seen and len(seen) < _MAX_PAGES:
        seen.add(url)
        content = _json(url)
        yield content
        url = urljoin(root, content.get("_links", {}).get("next", {}).get("href", url))


def _dandi(page: str) -> list[RemoteFile]:
    parts = urlsplit(page)
    host = parts.netloc if parts.hostname in ("localhost", "127.0.0.1") else f"api.{parts.netloc}"
    root = f"{parts.scheme}://{host}/api"
    name = parts.path.strip("/").split("/")[1]
    published = _json(f"{root}/dandisets/{name}/").get("most_recent_published_version")
    version = published["version"] if published else "draft"
    url: str | None = f"{root}/dandisets/{name}/versions/{version}/assets/?page_size=100&metadata=true"
    found: dict[str, RemoteFile] = {}
    for _ in range(_MAX_PAGES):
        content = _json(url) if url else {"results": [], "next": None}
        url = content["next"]
        found |= {item["path"]: _asset(item, root) for item in content["results"]}
    return list(found.values())


def _asset(item: dict[str, Any], root: str) -> RemoteFile:
    stated = (item.get("metadata") or {}).get("digest") or {}
    return RemoteFile(
        name=item["path"],
        size=item["size"],
        digest=_digest("sha256", stated.get("dandi:sha2-256")),
        url=f"{root}/assets/{item['asset_id']}/download/",
    )


DATASETS = {
    "makin": DataSet(
        page="https://zenodo.org/records/3854034",
        listing=_zenodo,
        about="O'Doherty, Cardoso, Makin & Sabes (10.5281/zenodo.583331), CC BY 4.0; broadband: one record a session",
    ),
    "gallego": DataSet(
        page="https://datadryad.org/dataset/doi:10.5061/dryad.xd2547dkt",
        listing=_dryad,
        about="Gallego-Carracedo, Perich, Chowdhury, Miller & Gallego 2022 (10.5061/dryad.xd2547dkt), CC0",
    ),
    "perich": DataSet(
        page="https://dandiarchive.org/dandiset/000688",
        listing=_dandi,
        about="Perich & Miller 2018 (DANDI 000688): spikes and movement, no field potential",
    ),
}
