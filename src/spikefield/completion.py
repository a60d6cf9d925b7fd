"""`spikefield completion`: all commands and flags as a script for the shell, made once, so that TAB imports nothing."""

from typing import Any, Literal

from spikefield import cli


def completion(shell: Literal["bash", "zsh", "tcsh"]) -> None:
    """Print a script that lets the shell complete commands and flags.

    Args:
        shell: bash, zsh or tcsh.
    """
    print(_everything().get_completion_script(f"shtab-{shell}"))


def _everything() -> Any:
    """Return one parser that holds the parsers of all commands."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="spikefield")
    commands = parser.add_subcommands()
    for name, (_, about) in cli.COMMANDS.items():
        commands.add_subcommand(name, cli.parser_of(name), help=about)
    return parser


__all__ = ["completion"]
