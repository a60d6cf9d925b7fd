"""A newcomer's path: each command prints the next, from a folder of `.npz` to the report."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import spikefield.next_step as next_step
import tiny
from spikefield import cli
from spikefield.config import PRESETS
from spikefield.errors import InputError
from spikefield.experiments.init import init
from spikefield.experiments.starting_point import look

QUICK = """
transformer: {dim: 16, n_layers: 1, n_heads: 2}
autoencoding: {predictor: {dim: 8, n_layers: 1, n_heads: 2}}
pretraining: {epochs: 1, min_steps: 0}
distilling: {epochs: 1, min_steps: 0}
workers: 1
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_npz(folder, *seeds, **shape):
    folder.mkdir()
    for seed in seeds:
        np.savez(folder / f"day{seed}.npz", **tiny.arrays(seed, **shape))
    return folder


def parse(file):
    return cli.parser_of("experiment").parse_args(["--config", str(file)])


def run(command, capsys):
    """Run a command line and return what it printed."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(shlex.split(command, comments=True)[1:])
    printed = capsys.readouterr()
    assert stopped.value.code == 0, printed.err
    return printed.out


def told(text):
    return re.findall("^next: (.*)$", text, flags=re.MULTILINE)


def test_the_printed_commands_lead_to_the_report(here, capsys):
    write_npz(here / "my recordings", 0)
    command, seen = "spikefield init 'my recordings'", []
    while not (here / "results" / "report.html").exists():
        seen.append(command.split()[1])
        assert len(seen) < 5, seen  # `make install`, which prints the first of them, is the fifth
        (command,) = told(run(command, capsys))
        if seen == ["init"]:
            with (here / "experiment.yaml").open("a") as file:
                file.write(QUICK)
    assert seen == ["init", "prepare", "validate", "experiment"]
    assert command.startswith("spikefield audit results")
    run(command, capsys)


def test_make_install_prints_the_first_of_them():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^\t@echo 'next: \$\(BIN\)/spikefield init ", makefile, flags=re.MULTILINE)


def test_who_prepares_first_is_led_through_init(here, capsys):
    write_npz(here / "raw", 0)
    (validate,) = told(run("spikefield prepare raw --out prepared", capsys))
    (first,) = told(run(validate, capsys))
    assert (validate, first) == ("spikefield validate prepared", "spikefield init prepared")
    (experiment,) = told(run(first, capsys))
    assert experiment == "spikefield experiment --config experiment.yaml"
    assert told(run(validate, capsys)) == [experiment]


def test_the_file_says_what_was_asked_for(here):
    tiny.write(here, tiny.session(0), tiny.session(1, without=("spike",)))
    init(here, preset="compact", seeds=[3, 4], out=here / "mine.yaml")
    values = parse(here / "mine.yaml")
    assert (values.data, str(values.out)) == (here, "results")
    assert (values.preset, values.seeds, values.distill_on) == ("compact", [3, 4], ["s0"])


def test_every_line_behind_a_hash_is_accepted_too(here):
    tiny.write(here, tiny.session(0))
    init(here)
    text = (here / "experiment.yaml").read_text(encoding="utf-8")
    changed = re.sub(r"^# (\w+: )", r"\1", text, flags=re.MULTILINE)
    assert changed != text
    (here / "changed.yaml").write_text(changed, encoding="utf-8")
    assert parse(here / "changed.yaml").causal and not parse(here / "experiment.yaml").causal


def test_a_written_file_is_never_overwritten(here):
    tiny.write(here, tiny.session(0))
    (here / "experiment.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"`out` experiment.yaml exists"):
        init(here)
    assert (here / "experiment.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"preset": "huge"}, "`preset` must be one of"),
        ({"behavior": ["tail"]}, "`behavior` must be chosen before preparing, got 'tail'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(here, given, words):
    tiny.write(here, tiny.session(0))
    with pytest.raises(InputError, match=words):
        init(here, **given)
    assert not (here / "experiment.yaml").exists()


@pytest.mark.parametrize(("lacking", "words"), [("lfp", "both spikes and field potential"), ("behavior", "behaviour")])
def test_a_folder_that_no_experiment_can_use_is_refused(here, lacking, words):
    tiny.write(here, tiny.session(0, without=(lacking,)))
    with pytest.raises(InputError, match=f"no session holds {words}"):
        look(here)


def test_behaviour_of_recordings_is_chosen_by_name(here, capsys):
    write_npz(here / "raw", 0)
    (name,) = look(here / "raw").behavior
    init(here / "raw", behavior=[name])
    assert told(capsys.readouterr().out) == [f"spikefield prepare {here / 'raw'} --out prepared --behavior {name}"]
    with pytest.raises(InputError, match=f"`behavior` must be of {name}, got 'tail'"):
        init(here / "raw", behavior=["tail"], out=here / "other.yaml")


def test_a_recording_that_cannot_be_read_is_left_out(here, caplog):
    write_npz(here / "raw", 0)
    (here / "raw" / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    with caplog.at_level("INFO"):
        assert look(here / "raw").facts[0].endswith("1 recording(s), not prepared yet")
    assert "broken.npz" in caplog.text
    (here / "raw" / "day0.npz").unlink()
    with pytest.raises(InputError, match=r"broken.npz"):
        look(here / "raw")


def test_at_a_terminal_what_no_flag_says_is_asked_until_it_is_understood(here, monkeypatch, capsys):
    tiny.write(here, tiny.session(0))
    answers = iter(["huge", "compact", "one", "5 6"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    init(here)
    values = parse(here / "experiment.yaml")
    assert (values.preset, values.seeds) == ("compact", [5, 6])
    said = capsys.readouterr().out
    assert "`preset` must be one of" in said and "`seeds` must be whole numbers, got 'one'" in said


def test_at_a_terminal_enter_takes_the_default(here, monkeypatch):
    tiny.write(here, tiny.session(0))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "")
    init(here)
    assert (parse(here / "experiment.yaml").preset, parse(here / "experiment.yaml").seeds) == ("quick", [0])


def test_every_preset_is_described(here):
    tiny.write(here, tiny.session(0))
    init(here)
    text = (here / "experiment.yaml").read_text(encoding="utf-8")
    assert all(re.search(rf"^#   {name} +\S+", text, flags=re.MULTILINE) for name in PRESETS)


def test_a_command_is_printed_as_the_shell_finds_it(here, monkeypatch):
    program = here / "spikefield"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert next_step.next_command("init", "a b") == f"{program} init 'a b'"
    monkeypatch.setenv("PATH", str(here))
    assert next_step.next_command("init", "a b") == "spikefield init 'a b'"
