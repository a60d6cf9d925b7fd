"""The line that ends each command of a newcomer's path: the command to type next, as this shell can run it."""

import shlex
import shutil
import sys
from pathlib import Path


def tell_next(*words: str | Path, after: str = "") -> None:
    """Print the next command, ready to be copied, with a word on what it does."""
    print(f"next: {next_command(*words)}{f'  # {after}' if after else ''}")


def next_command(*words: str | Path) -> str:
    """Return a command of spikefield with its words quoted for the shell."""
    return shlex.join([_program(), *map(str, words)])


def _program() -> str:
    """Return `spikefield`, or the path it was called by where the shell would not find it by name."""
    called = Path(sys.argv[0])
    if called.name != "spikefield":
        return "spikefield"
    known = shutil.which("spikefield")
    return "spikefield" if known and Path(known).resolve() == called.resolve() else str(called)
