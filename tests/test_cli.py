"""The command line: flags from signatures, one line on standard error and status 2 for a mistake, never a traceback."""

import signal
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

import spikefield.cli as cli
import tiny
from spikefield.config import ExperimentConfig
from spikefield.errors import DroppedDataWarning, InputError


@pytest.fixture(autouse=True)
def keep_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


@pytest.fixture
def run(capsys):
    """Run a command line and return its status, what it printed and what it complained of."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(map(str, arguments)))
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return run


@pytest.fixture
def command(monkeypatch):
    """Register a function as the command `try` and return what it was called with."""

    def register(function):
        module = types.ModuleType("tried")
        module.__dict__["try"] = function
        monkeypatch.setitem(sys.modules, "tried", module)
        monkeypatch.setitem(cli.COMMANDS, "try", ("tried", "a trial"))

    return register


def refused(result, *words):
    status, out, err = result
    assert status == 2 and out == ""
    assert err.startswith("spikefield: ") and err.count("\n") == 1 and "Traceback" not in err
    for word in words:
        assert word in err


def test_a_mistake_is_one_line_and_status_2(run, command):
    def complain(*, out: Path) -> None:
        raise InputError(f"`out` {out} is\n  no good. Choose another.")

    command(complain)
    refused(run("try", "--out", "x"), "spikefield: `out` x is no good. Choose another.\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "/nowhere/x"),
            "/nowhere/x: No such file or directory. Check",
        ),
        (OSError(28, "No space left on device"), "a file: No space left on device. Check the path"),
    ],
)
def test_an_error_of_the_disk_is_one_line(run, command, error, words):
    def fail() -> None:
        raise error

    command(fail)
    refused(run("try"), words)


def test_our_own_mistakes_keep_their_traceback(command):
    def fail() -> None:
        raise ZeroDivisionError

    command(fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["try"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["disstill"], ["`command` must be one of init, demo, simulate", "got 'disstill'"]),
        (["--verbose"], ["`command` must be one of", "got '--verbose'"]),
        (["simulate"], ["arguments are required: out", "See `spikefield simulate --help`"]),
        (["simulate", "--out", "x", "--minuts", "3"], ["--minuts"]),
        (["simulate", "--out", "x", "--minutes", "three"], ["minutes", "three"]),
        (["simulate", "--out", "x", "--sessions", "2.5"], ["sessions", "2.5"]),
        (["simulate", "--out", "x", "--minutes", "-1"], ["session_s"]),
        (["simulate", "--out"], ["expected one argument"]),
        (["prepare", "--out", "x"], ["source"]),
        (["prepare", "nowhere.npz", "--out", "x"], ["nowhere.npz: no such file"]),
        (["prepare", "a.npz", "--out", "x", "--spikes", "all"], ["spikes", "all"]),
        (["validate", "nowhere"], ["nowhere: no such folder"]),
        (["inspect", "nowhere.mat"], ["nowhere.mat: no such file"]),
        (["download", "atlantis"], ["atlantis", "makin"]),
        (["experiment", "nowhere", "--out", "x"], ["nowhere"]),
        (["experiment", "d", "--out", "x", "--preset", "huge"], ["`preset` must be one of", "huge"]),
        (["experiment", "d", "--out", "x", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["experiment", "d", "--out", "x", "--transformer.dim", "big"], ["dim", "big"]),
        (["report", "nowhere"], ["nowhere"]),
    ],
)
def test_what_cannot_be_is_refused(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), *words)


def test_dashes_and_underscores_are_the_same(run, command):
    seen = []

    def note(data: Path, *, distill_on: list[str] | None = None, n_bins: int = 3) -> None:
        seen.append((data, distill_on, n_bins))

    command(note)
    assert run("try", "a-b_c", "--distill-on", "x-1", "y-2", "--n-bins=4")[0] == 0
    assert run("try", "a-b_c", "--distill_on", "x-1", "y-2", "--n_bins", "4")[0] == 0
    assert run("try", "a-b_c")[0] == 0
    assert seen == [(Path("a-b_c"), ["x-1", "y-2"], 4)] * 2 + [(Path("a-b_c"), None, 3)]


@pytest.fixture
def configured(command):
    seen = []

    def note(*, config: ExperimentConfig, seed: int = 0) -> None:
        seen.append((config, seed))

    command(note)
    return seen


def test_a_preset_a_file_and_flags_each_win_over_the_one_before(run, configured, tmp_path):
    (tmp_path / "mine.yaml").write_text("spike_patch: 7\nlfp_patch: 5\nseed: 3\npretraining: {epochs: 4}\n")
    for arguments in (
        [],
        ["--preset", "paper"],
        ["--config", tmp_path / "mine.yaml"],
        ["--preset", "paper", "--config", tmp_path / "mine.yaml", "--lfp-patch", "9", "--pretraining.epochs", "6"],
    ):
        status, _, err = run("try", *arguments)
        assert status == 0, err
    (quick, _), (paper, _), (mine, seed), (all_three, _) = configured
    assert (mine.spike_patch, mine.lfp_patch, seed, mine.pretraining.epochs) == (7, 5, 3, 4)
    assert mine.transformer == quick.transformer != paper.transformer == all_three.transformer
    assert (all_three.spike_patch, all_three.lfp_patch, all_three.pretraining.epochs) == (7, 9, 6)


def test_a_file_may_name_its_preset(run, configured, tmp_path):
    (tmp_path / "mine.yaml").write_text("preset: paper\nlfp_patch: 5\n")
    assert run("try", "--config", tmp_path / "mine.yaml")[0] == 0
    assert run("try", "--preset", "paper", "--lfp-patch", "5")[0] == 0
    assert configured[0] == configured[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour: red\n", ["colour"]),
        ("transformer: {dim: big}\n", ["dim", "big"]),
        ("window_s: -1.0\n", ["`window_s` must be a positive number"]),
        ("preset: huge\n", ["`preset` must be one of", "huge"]),
        ("a: [\n", ["mine.yaml: not readable YAML"]),
        ("- 1\n", []),
        ("\x00", ["mine.yaml: not readable YAML"]),
    ],
)
def test_a_bad_config_file_is_one_line(run, configured, tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    refused(run("try", "--config", tmp_path / "mine.yaml"), *words)
    assert configured == []


def test_an_interruption_is_one_line(run, command):
    def stop() -> None:
        raise KeyboardInterrupt

    command(stop)
    status, _, err = run("try")
    assert (status, err) == (130, "spikefield: interrupted; run the same command again to continue\n")


WAIT = """
import signal, sys, time, types
import spikefield.cli as cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it

def wait() -> None:
    print("ready", flush=True)
    time.sleep(60)

sys.modules["waiting"] = module = types.ModuleType("waiting")
module.wait = wait
cli.COMMANDS["wait"] = ("waiting", "")
cli.main(["wait"])
"""


def test_ctrl_c_leaves_no_traceback():
    with subprocess.Popen(
        [sys.executable, "-c", WAIT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "spikefield: interrupted; run the same command again to continue\n"


HEAVY = {
    *("torch", "torch_brain", "lightning", "ray", "sklearn", "matplotlib", "pandas"),
    *("numpy", "scipy", "h5py", "jsonargparse"),
}


def test_an_import_is_quick():
    show = "import sys; import spikefield; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_help_is_quick():
    show = "import sys; from spikefield.cli import main; main(['--help']); main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    *_, version, modules = done.stdout.splitlines()
    assert version[0].isdigit()
    assert not HEAVY & set(modules.split())
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", [*cli.COMMANDS])
def test_every_command_explains_its_flags(run, name):
    status, out, err = run(name, "--help")
    assert status == 0 and err == ""
    assert out.startswith(f"usage: spikefield {name}")


def test_without_a_command_the_help_is_shown(capsys):
    cli.main([])
    assert capsys.readouterr().out.startswith("usage: spikefield COMMAND")


def test_dropped_data_is_told_and_other_warnings_are_not(run, command):
    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("s0: silent units were left out: a", DroppedDataWarning, stacklevel=1)
            warnings.warn("something inside", UserWarning, stacklevel=1)

    command(warn)
    assert run("try") == (0, "", "warning: s0: silent units were left out: a\n")


def test_a_user_s_first_steps(run, tmp_path):
    arrays = tiny.arrays(0, seconds=30.0)
    np.savez(tmp_path / "monday.npz", **arrays)
    status, out, _ = run("inspect", tmp_path / "monday.npz")
    assert status == 0 and "lfp" in out and "spike_times" in out
    assert run("prepare", tmp_path / "monday.npz", "--out", tmp_path / "prepared")[0] == 0
    status, out, _ = run("validate", tmp_path / "prepared", "--out", tmp_path / "checked")
    assert status == 0 and "1 of 1 sessions can be used" in out
    assert {p.name for p in (tmp_path / "checked").iterdir()} == {"validation.html", "validation.json"}
