"""A model travels by folder and by hub, and what is not there is said in one line; no test reaches the network."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import spikefield
import spikefield.artifact as artifact
from spikefield.artifact import Model
from spikefield.errors import InputError

OLD = Path(__file__).parent / "artifacts" / "format-1"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Replace the hub by a folder."""
    import huggingface_hub

    class Api:
        def __init__(self, token):
            assert token == "secret"

        def create_repo(self, repo_id, **_):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, folder_path, **_):
            for path in Path(folder_path).iterdir():
                (tmp_path / repo_id).mkdir(parents=True, exist_ok=True)
                (tmp_path / repo_id / path.name).write_bytes(path.read_bytes())
            return SimpleNamespace(commit_url=f"hub/{repo_id}/1")

    def download(repo_id, **_):
        if not (tmp_path / repo_id).is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError("not\nthere")
        return str(tmp_path / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)


def same(first, second):
    assert artifact.weights_hash(first.network) == artifact.weights_hash(second.network)
    assert (first.sessions, first.chain, first.lineage) == (second.sessions, second.chain, second.lineage)


def test_saved_and_read_again(tmp_path):
    model = spikefield.load(OLD)
    assert model.save_pretrained(tmp_path / "model") is None
    same(Model.from_pretrained(tmp_path / "model"), model)
    with pytest.raises(InputError, match="holds something already"):
        model.save_pretrained(tmp_path / "model")


def test_pushed_and_fetched(hub, tmp_path):
    model = spikefield.load(OLD)
    assert model.push_to_hub("lab/model", token="secret") == "hub/lab/model/1"
    same(Model.from_pretrained("lab/model"), model)
    assert model.save_pretrained(tmp_path / "two", repo_id="lab/two", push_to_hub=True, token="secret")
    same(Model.from_pretrained("lab/two"), model)


def test_what_is_not_there_is_refused(hub):
    with pytest.raises(InputError, match=r"'lab/none' is neither a folder nor reachable on the hub \(not there\)"):
        Model.from_pretrained("lab/none")


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'spikefield\[hub\]'"):
        Model.from_pretrained("lab/none")


def test_importing_the_package_loads_nothing_and_the_rig_no_training():
    code = (
        "import sys, spikefield; assert 'numpy' not in sys.modules; import spikefield.deploy.streaming; "
        "assert not {'lightning', 'sklearn', 'matplotlib', 'ray', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = spikefield.nothing
