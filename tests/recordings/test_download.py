"""Downloads from a server on loopback that breaks off, lies about length, corrupts bytes or refuses."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import pytest

from spikefield.errors import InputError
from spikefield.recordings import download
from spikefield.recordings.archives import DATASETS, RemoteFile, available
from spikefield.recordings.download import fetch

pytest.importorskip("pooch")
CONTENT = np.random.default_rng(0).bytes(300_000)
KEPT = 2 * 65536  # whole pieces of the half that comes before a connection breaks
SMALL = b"small file\n" * 50


class Archive:
    """Answers as Zenodo, Dryad and DANDI do; `faults` change how a file is sent, one a connection, then none."""

    def __init__(self):
        self.files = {"indy_1_01.mat": CONTENT, "loco_1_01.mat": SMALL}
        self.faults: list[str] = []
        self.requests: list[tuple[str, str | None]] = []
        self.digest = True
        self.sizes: dict[str, int] = {}

    def listing(self, path: str) -> object | None:
        entries = [(n, self.sizes.get(n, len(c)), c) for n, c in self.files.items()]
        if path.startswith("/api/records/3854034"):
            return {"files": [self._zenodo(*entry) for entry in entries]}
        if path.startswith("/api/v2/datasets/"):
            assert unquote(path.rsplit("/", 1)[-1]) == "doi:10.5061/dryad.xd2547dkt"
            return {"_links": {"stash:version": {"href": "/api/v2/versions/7"}}}
        if path.startswith("/api/v2/versions/7/files"):
            index = int(path.rsplit("page=", 1)[-1]) - 1 if "&page=" in path else 0
            following = {"next": {"href": "/api/v2/versions/7/files?per_page=100&page=2"}} if index == 0 else {}
            return {"_links": following, "_embedded": {"stash:files": [self._dryad(*entries[index])]}}
        if path == "/api/dandisets/000688/":
            return {"most_recent_published_version": {"version": "0.250122.1735"}}
        if path.startswith("/api/dandisets/000688/versions/0.250122.1735/assets/"):
            return {"next": None, "results": [self._dandi(*entry) for entry in entries]}
        return None

    def _zenodo(self, name, size, content):
        checksum = f"md5:{hashlib.md5(content).hexdigest()}" if self.digest else "none:"
        return {"key": name, "size": size, "checksum": checksum, "links": {"self": f"{self.root}/file/{name}"}}

    def _dryad(self, name, size, content):
        links = {"stash:download": {"href": f"/file/{name}"}}
        return {
            "path": name,
            "size": size,
            "digest": hashlib.sha256(content).hexdigest(),
            "digestType": "sha-256",
            "_links": links,
        }

    def _dandi(self, name, size, content):
        digest = {"dandi:sha2-256": hashlib.sha256(content).hexdigest()}
        return {"asset_id": name, "path": f"sub-C/{name}", "size": size, "metadata": {"digest": digest}}


class _Handler(BaseHTTPRequestHandler):
    archive: Archive

    def log_message(self, *_):
        pass

    def do_GET(self):
        archive = self.archive
        listed = archive.listing(self.path)
        if listed is not None:
            return self._send(json.dumps(listed).encode())
        name = next((n for n in archive.files if n in self.path), None)
        if name is None:
            return self.send_error(404)
        archive.requests.append((name, self.headers.get("Range")))
        return self._file(archive.files[name], archive.faults.pop(0) if archive.faults else "")

    def _send(self, content, status=200, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def _file(self, content, fault):
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if fault == "ignores ranges":
            start = 0
        if fault.isdigit():
            return self.send_error(int(fault))
        part = content[start:]
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        if fault == "corrupts":
            part = part[:1000] + bytes([part[1000] ^ 1]) + part[1001:]
        if fault == "says more":
            headers["Content-Length"] = str(len(part) + 500)
        if fault == "says less":
            headers["Content-Length"] = str(len(part) // 2)
        if fault == "sends more":
            part += b"more"
        if fault == "breaks off":
            headers["Content-Length"], part = str(len(part)), part[: len(part) // 2]
        if fault == "sends nothing":
            headers["Content-Length"], part = str(len(part)), b""
        self._send(part, 206 if start else 200, headers)
        return None


@pytest.fixture
def archive(monkeypatch):
    found = Archive()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"archive": found}))
    found.root = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def page(archive, dataset="makin"):
    return archive.root + DATASETS[dataset].page.split("/", 3)[3].join(["/", ""])


def whole(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("dataset", "prefix"), [("makin", ""), ("gallego", ""), ("perich", "sub-C/")])
def test_every_archive_is_listed_and_fetched(archive, tmp_path, dataset, prefix):
    assert [f.name for f in available(dataset, page=page(archive, dataset))] == [
        f"{prefix}indy_1_01.mat",
        f"{prefix}loco_1_01.mat",
    ]
    seen = []
    paths = fetch(dataset, [], tmp_path, page=page(archive, dataset), progress=lambda *a: seen.append(a))
    assert [p.read_bytes() for p in paths] == [CONTENT, SMALL]
    assert whole(tmp_path) == {f"{prefix}indy_1_01.mat", f"{prefix}loco_1_01.mat"}
    assert seen[-1] == (f"{prefix}loco_1_01.mat", len(SMALL), len(SMALL))
    asked = len(archive.requests)
    fetch(dataset, [], tmp_path, page=page(archive, dataset))
    assert len(archive.requests) == asked


@pytest.mark.parametrize(
    "faults",
    [
        ["breaks off"],
        ["breaks off", "breaks off", "breaks off"],
        ["says more"],
        ["says less"],
        ["503", "breaks off", "429"],
        ["sends nothing", "sends nothing", "breaks off", "sends nothing"],
        ["breaks off", "ignores ranges"],
    ],
)
def test_faults_that_pass_are_overcome(archive, tmp_path, faults):
    archive.faults = list(faults)
    (path,) = fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert path.read_bytes() == CONTENT and whole(tmp_path) == {"indy_1_01.mat"}


def test_what_came_is_asked_for_only_once(archive, tmp_path):
    archive.faults = ["breaks off"]
    fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert archive.requests == [("indy_1_01.mat", None), ("indy_1_01.mat", f"bytes={KEPT}-")]


def test_a_later_run_goes_on(archive, tmp_path):
    archive.faults = ["breaks off", *["sends nothing"] * 4]
    with pytest.raises(InputError, match="broke off at 131072 of 300000 bytes, 4 times in a row"):
        fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert whole(tmp_path) == {".indy_1_01.mat.part"}
    archive.requests.clear()
    (path,) = fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert path.read_bytes() == CONTENT
    assert archive.requests == [("indy_1_01.mat", f"bytes={KEPT}-")]


def test_corrupt_bytes_never_become_a_file(archive, tmp_path):
    archive.faults = ["corrupts"]
    with pytest.raises(InputError, match=r"does not fit the checksum md5:[0-9a-f]{32}") as caught:
        fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert "\n" not in str(caught.value) and whole(tmp_path) == set()
    archive.faults = ["breaks off", *["sends nothing"] * 4]
    with pytest.raises(InputError, match="broke off"):
        fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    (part,) = tmp_path.iterdir()
    part.write_bytes(b"x" * 100 + part.read_bytes()[100:])
    (path,) = fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_that_is_there_is_fetched_again(archive, tmp_path):
    for old in (CONTENT[:-5], b"y" + CONTENT[1:]):
        (tmp_path / "indy_1_01.mat").write_bytes(old)
        (path,) = fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
        assert path.read_bytes() == CONTENT


def test_lengths_that_the_archive_states_wrongly(archive, tmp_path):
    archive.faults = ["sends more"]
    with pytest.raises(InputError, match="sends more than the 300000 bytes"):
        fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    archive.sizes = {"indy_1_01.mat": len(CONTENT) + 10}
    with pytest.raises(InputError, match=r"broke off at \d+ of 300010 bytes"):
        fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert "indy_1_01.mat" not in whole(tmp_path)


def test_without_a_stated_checksum_the_size_decides(archive, tmp_path):
    archive.digest = False
    assert available("makin", page=page(archive))[0].digest is None
    (tmp_path / "indy_1_01.mat").write_bytes(CONTENT[:99])
    (path,) = fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, f: fetch("flint", [], f), r"needs a login .* docs/flint\.md"),
        (lambda a, f: fetch("mekin", [], f), "must be one of makin, gallego, perich, got 'mekin'"),
        (lambda a, f: fetch("makin", ["x.mat"], f, page=page(a)), "no file 'x.mat'. Name some of its 2: indy_1_01.mat"),
        (lambda a, f: fetch("makin", [], f, page=a.root + "/records/404"), "the archive does not answer"),
        (lambda a, f: fetch("makin", [], f, page="http://127.0.0.1:1/records/1"), "the archive does not answer"),
        (lambda a, f: fetch("makin", [], f / "there" / "no", page=page(a)), "cannot be written"),
    ],
)
def test_mistakes_are_one_line(archive, tmp_path, call, message):
    (tmp_path / "there").write_text("a file, not a folder")
    with pytest.raises(InputError, match=message) as caught:
        call(archive, tmp_path)
    assert "\n" not in str(caught.value) and whole(tmp_path) == {"there"}


def test_refusals_name_the_page_and_full_disks_the_need(archive, tmp_path, monkeypatch):
    archive.faults = ["403"]
    with pytest.raises(InputError, match=r"refuses \(HTTP 403 Forbidden\)\. Open its page"):
        fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(InputError, match=r"needs 0\.00 GB, but 0\.00 GB are free"):
        fetch("makin", ["indy_1_01.mat"], tmp_path, page=page(archive))


@pytest.mark.parametrize("name", ["../evil.mat", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_names_cannot_leave_the_folder(name):
    with pytest.raises(InputError, match="must not be called"):
        RemoteFile(name=name, size=1, digest=None, url="http://127.0.0.1/x")


@pytest.mark.parametrize("size", [0, -1, "12", None, True])
def test_sizes_must_be_sizes(size):
    with pytest.raises(Exception, match="size"):
        RemoteFile(name="a", size=size, digest=None, url="http://127.0.0.1/x")


def test_missing_pooch_names_the_extra(archive, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=r"pip install 'spikefield\[download\]'"):
        fetch("makin", [], tmp_path, page=page(archive))
