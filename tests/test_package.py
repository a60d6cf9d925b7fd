"""What goes into the wheel and the source archive, and what they say of themselves."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = "import sys; from setuptools import build_meta; out = sys.argv[1]; build_meta.build_{}(out)"
MADE = ("__pycache__", "*.egg-info", "*.pyc", ".*")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with wheel and source archive, built from a copy so that nothing appears in the tree."""
    copy, out = tmp_path_factory.mktemp("copy") / "tree", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns(*MADE))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for kind in ("wheel", "sdist"):
        subprocess.run([sys.executable, "-c", BUILD.format(kind), str(out)], cwd=copy, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def of_package():
    """Every file of the package as it lies in the tree, under its name in the wheel."""
    source = ROOT / "src"
    files = [p for p in (source / "spikefield").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    return {p.relative_to(source).as_posix() for p in files if not p.name.startswith(".")}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    inside = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert inside == of_package()
    assert {"spikefield/py.typed", "spikefield/configs/quick.yaml", "spikefield/report/page.html.jinja"} <= inside


def test_the_source_archive_builds_the_same(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in of_package()} | {"pyproject.toml", "README.md", "LICENSE"} <= inside


def test_what_it_says_of_itself(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    told = Parser().parsestr(wheel.read(name).decode())
    assert told["Version"] == PROJECT["version"] and told["Requires-Python"] == ">=3.11"
    assert told["License-Expression"] == "Apache-2.0" and "Typing :: Typed" in told.get_all("Classifier", [])
    extras = {"vendor", "nwb", "download", "stream", "export", "hub", "docs", "dev"}
    assert set(told.get_all("Provides-Extra", [])) == extras
    (entry,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "spikefield = spikefield.cli:main" in wheel.read(entry).decode()


def pinned(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)


def lower_bounds():
    extras = [wanted for extra, wanted in PROJECT["optional-dependencies"].items() if extra != "dev"]
    for requirement in chain(PROJECT["dependencies"], *extras):
        found = re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
        assert found, f"{requirement} has no lower bound"
        yield found[1].lower().replace("_", "-"), found[2]


def test_the_oldest_versions_tried_are_those_allowed():
    allowed = dict(lower_bounds()) | {"torch": pinned("constraints.txt")["torch"]}
    assert pinned("constraints-oldest.txt") == allowed


def test_every_extra_has_a_smoke():
    smoke = (ROOT / ".ci" / "smoke.py").read_text(encoding="utf-8")
    assert all(f'    "{extra}": (' in smoke for extra in PROJECT["optional-dependencies"])


def test_the_version_is_said_alike_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(PROJECT['version'])}$", citation, flags=re.MULTILINE)
