"""Every command and code block of the README runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest

import markdown_pages
from markdown_pages import blocks
from spikefield import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
MAKEFILE = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
TINY = "pretraining: {epochs: 1, min_steps: 0}\ndistilling: {epochs: 1, min_steps: 0}\n"


def commands(program: str) -> list[list[str]]:
    return [line for block in blocks(README, "bash") for line in markdown_pages.commands(block, program)]


def arrays(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    hand = np.cumsum(rng.standard_normal((6000, 2)), axis=0) / 30
    return {
        "spike_times": np.sort(rng.uniform(0, 60, 4000)),
        "spike_units": rng.integers(0, 8, 4000),
        "lfp": rng.standard_normal((6000, 8)) + hand[:, [0] * 4 + [1] * 4],
        "lfp_rate_hz": 100.0,
        "behavior": hand,
        "behavior_rate_hz": 100.0,
        "behavior_names": np.array(["vx", "vy"]),
    }


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), {})
    assert list(tmp_path.rglob("*.h5"))


def test_spikefield_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed, day in enumerate(("monday", "tuesday")):
        np.savez(tmp_path / f"{day}.npz", **arrays(seed))
    (tmp_path / "tiny.yaml").write_text(TINY)
    found = commands("spikefield")
    assert {command[1] for command in found} >= {"prepare", "validate", "experiment"}
    for command in found:
        training = ["--config", "tiny.yaml", "--workers", "1"] if command[1] == "experiment" else []
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command[1:], *training])
        assert stopped.value.code == 0, capsys.readouterr().err
    assert (tmp_path / "results" / "report.html").is_file()


def test_make_targets_exist():
    targets = {command[1] for command in commands("make")}
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE) for target in targets)
