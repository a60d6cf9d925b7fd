"""Every block of the pages: `bash` and `python` run, `console` says why it does not and its flags exist, YAML loads.

README and the page on the rig have tests of their own, which run what is theirs to the end.
"""

import functools
import importlib
import re
import shutil
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

import tiny
from markdown_pages import ROOT, blocks, commands, pages
from spikefield import artifact, cli
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.readers import READERS
from spikefield.recordings.session import save
from spikefield.windows.binned import BinningConfig, bin_session

REASON = "# not run here: "
LANGUAGES = {"bash", "console", "python", "yaml", "toml", "json", "text", ""}
ELSEWHERE = {"README.md", "docs/rig.md"}
SHORTER = {"SimulatorConfig(n_sessions=2)": "SimulatorConfig(n_sessions=2, session_s=20.0)"}
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in pages()}


def having(*languages):
    return [name for name, text in TEXTS.items() if any(blocks(text, one) for one in languages)]


def student(session):
    """Return a causal student with random weights that knows one session."""
    torch.manual_seed(0)
    size = TransformerConfig(dim=16, n_layers=1, n_heads=2, causal=True, attention_bins=5)
    encoder = Encoder(EncoderConfig("lfp", 6, transformer=size))
    binned = bin_session(session, config=BinningConfig(bin_width_ms=tiny.BIN_MS))
    encoder.add_session("monday", 6)
    network = Student(encoder, DistillationConfig(), n_channels=6, teacher_dim=16).eval()
    model = artifact.Model("student", network, ("monday",), tiny.BIN_MS, window_bins=40, seed=0)
    model.remember(binned)
    model.readouts["monday"] = {"weights": np.ones((16, 2)), "intercept": np.zeros(2)}
    model.readouts["monday"] |= {"penalty": np.ones(2), "inner_r2": np.ones(2)}
    return model


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder as the pages take it for granted: own arrays, prepared sessions, a student."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("raw", "prepared", "student"):
        (folder / name).mkdir()
    for seed, day in enumerate(("monday", "tuesday")):
        given = tiny.arrays(seed, seconds=40.0) | {"session": day}
        save(from_arrays(**given), folder / "prepared" / f"{day}.h5")
    np.savez(folder / "raw" / "monday.npz", **tiny.arrays(0, seconds=40.0) | {"session": "monday"})
    artifact.save(student(from_arrays(**tiny.arrays(0, seconds=40.0) | {"session": "monday"})), folder / "student")
    return folder


@pytest.fixture
def at_the_desk(desk, page, tmp_path, monkeypatch):
    """Start at a copy of the desk; a page that prepares sessions finds none."""
    shutil.copytree(desk, tmp_path, dirs_exist_ok=True)
    if "spikefield prepare" in "".join(blocks(TEXTS[page], "bash")):
        shutil.rmtree(tmp_path / "prepared")
    monkeypatch.chdir(tmp_path)
    jaxtyping.config.update("jaxtyping_disable", True)
    kept = dict(READERS)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
    READERS.clear()
    READERS.update(kept)


def run(line, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(line[1:])
    assert stopped.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", sorted({*having("bash", "python")} - {*ELSEWHERE, "docs/start.md"}))
def test_blocks_run_from_top_to_bottom(page, at_the_desk, capsys):
    names = {}
    for language, block in re.findall(r"^```(bash|python)\n(.*?)^```", TEXTS[page], flags=re.DOTALL | re.MULTILINE):
        if language == "python":
            for long, short in SHORTER.items():
                block = block.replace(long, short)
            exec(compile(block, page, "exec", dont_inherit=True), names)
        for line in commands(block) if language == "bash" else []:
            run(line, capsys)


def test_the_start_says_what_the_readme_says():
    (first,) = blocks(TEXTS["docs/start.md"], "bash")
    told = [line for block in blocks(TEXTS["README.md"], "bash") for line in commands(block)]
    assert commands(first) and [line for line in commands(first) if line not in told] == []


@pytest.fixture
def parsed(monkeypatch):
    """Let every command return when its flags are understood, and list the commands."""
    seen = []

    def stub(name, function):
        @functools.wraps(function)
        def note(*_, **__):
            seen.append(name)

        return note

    for name, (module, _) in cli.COMMANDS.items():
        found = importlib.import_module(module)
        monkeypatch.setattr(found, name, stub(name, getattr(found, name)))
    return seen


@pytest.mark.parametrize("page", having("bash", "console"))
def test_every_command_line_is_understood(page, parsed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("preset: compact\n")
    told = [line for one in ("bash", "console") for block in blocks(TEXTS[page], one) for line in commands(block)]
    for line in told:
        run(line, capsys)
    assert parsed == [line[1] for line in told]


@pytest.mark.parametrize("page", having("console"))
def test_what_does_not_run_says_why(page):
    assert [block for block in blocks(TEXTS[page], "console") if not block.startswith(REASON)] == []


def test_every_block_has_a_language_with_a_test():
    found = {name for text in TEXTS.values() for name in re.findall(r"^```(\w*)\n", text, flags=re.MULTILINE)}
    assert found <= LANGUAGES
    indented = re.compile(r"^ {4,}spikefield ", flags=re.MULTILINE)
    assert [name for name, text in TEXTS.items() if indented.search(text)] == []


@pytest.mark.parametrize("page", having("yaml"))
def test_yaml_is_a_configuration(page, parsed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks(TEXTS[page], "yaml"):
        Path("mine.yaml").write_text(block)
        run(["spikefield", "experiment", "data", "--out", "out", "--config", "mine.yaml"], capsys)


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    told = {
        target for text in TEXTS.values() for target in re.findall(r"(?:^|`)make ([\w-]+)", text, flags=re.MULTILINE)
    }
    assert {"docs", "figures", "bench-sim"} <= told
    assert [target for target in told if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


def test_every_command_in_the_prose_exists():
    told = {name for text in TEXTS.values() for name in re.findall(r"`spikefield ([a-z]+)", text)}
    assert len(told) > 12 and told <= set(cli.COMMANDS)
