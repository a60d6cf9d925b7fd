"""The commands of the page on the rig run one after another as they stand there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from exportable import model as make

import spikefield
import tiny
from spikefield import cli
from spikefield.deploy.adaptation import RecursiveReadout
from spikefield.deploy.live import LiveConfig
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.deploy.zeromq import _header

PAGE = (Path(__file__).parent.parent.parent / "docs" / "rig.md").read_text(encoding="utf-8")
TINY = """
window_s: 1.0
transformer: {dim: 16, n_layers: 1, n_heads: 2}
autoencoding: {predictor: {dim: 8, n_layers: 1, n_heads: 2}}
pretraining: {epochs: 1, min_steps: 0}
distilling: {epochs: 1, min_steps: 0}
"""
LEARNS = {"pretrain", "distill", "evaluate"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.usefixtures("unchecked")
def test_commands_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    given = {k: v for k, v in tiny.arrays(0, seconds=26.0).items() if k not in ("session", "subject")}
    np.savez("raw/monday.npz", **given)
    Path("tiny.yaml").write_text(TINY)
    commands = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    assert [c[1] for c in commands] == [
        "prepare",
        "validate",
        "pretrain",
        "distill",
        "evaluate",
        "stream",
        "adapt",
        "stream",
        "export",
    ]
    for command in commands:
        flags = ["--config", "tiny.yaml"] if command[1] in LEARNS else []
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command[1:], *flags])
        assert stopped.value.code == 0, capsys.readouterr().err
    assert len(Path("rehearsal.csv").read_text().splitlines()) == 1 + 26 * 50
    assert Path("rehearsal/run.json").is_file() and Path("onnx/step.onnx").is_file()


def test_flags_and_messages_are_as_written(capsys):
    with pytest.raises(SystemExit):
        cli.main(["stream", "--help"])
    offered = capsys.readouterr().out
    for block in blocks("console"):
        for flag in re.findall(r"--[\w-]+", block):
            assert flag.replace("-", "_").replace("__", "--") in offered
    for flag in re.findall(r"`(--[\w-]+)(?: \w+`, )?`", PAGE):
        assert flag.replace("-", "_").replace("__", "--") in offered + "--look_ahead_bins --int8"
    assert LiveConfig(on_trouble="end").stall_s > 0
    for message in blocks("json"):
        assert _header(message.encode(), "page")["shape"] == [10, 96]


def test_the_loop_of_one_s_own_runs(monkeypatch):
    model = make(causal=True, attention_bins=5)
    lfp = np.asarray(tiny.session(0).lfp.signal)[:100]
    monkeypatch.setattr(spikefield, "load", lambda folder: model, raising=False)
    names = {"spikefield": spikefield, "StreamingDecoder": StreamingDecoder, "RecursiveReadout": RecursiveReadout}
    given = {"samples": lfp, "times_s": np.arange(100) / 50, "behavior": np.ones((100, 2))}
    (block,) = blocks("python")
    before = model.readouts["s0"]["weights"].copy()
    exec(compile(block.replace('"monday"', '"s0"'), "rig.md", "exec"), names | given)
    np.testing.assert_array_equal(model.readouts["s0"]["weights"], before)
