"""The shell's completion script knows every command and flag, and bash takes it."""

import contextlib
import io
import re
import shutil
import subprocess

import pytest

from spikefield import cli
from spikefield.completion import completion


@pytest.fixture(scope="module")
def script():
    """The script for bash."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        completion("bash")
    return printed.getvalue()


def test_every_command_is_in_it(script):
    (names,) = re.findall(r"^_shtab_spikefield_subparsers=\((.*)\)$", script, flags=re.MULTILINE)
    assert set(names.split()) == set(cli.COMMANDS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["spikefield", "exp"], {"experiment", "export"}),
        (["spikefield", "experiment", "--distill_o"], {"--distill_on"}),
        (["spikefield", "prepare", "--spikes", "cro"], {"crossings"}),
    ],
)
def test_bash_completes(script, tmp_path, words, expected):
    complete = (
        f"{script}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}\n"
        '$(complete -p spikefield | sed "s/.*-F \\([^ ]*\\).*/\\1/")\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    (tmp_path / "complete.sh").write_text(complete)
    done = subprocess.run(["bash", tmp_path / "complete.sh"], capture_output=True, text=True, check=True)
    assert {line.strip() for line in done.stdout.splitlines()} == expected


def test_zsh_has_one_too(capsys):
    completion("zsh")
    assert capsys.readouterr().out.startswith("#compdef spikefield")
