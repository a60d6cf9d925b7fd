"""The Markdown pages of the repository: their code blocks, the commands in them, their links and anchors."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """Return every page that is kept in git by its place: the root's and those of docs, without what is generated."""
    kept = (p for p in DOCS.rglob("*.md") if "generated" not in p.relative_to(DOCS).parts)
    return sorted([*ROOT.glob("*.md"), *kept])


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return [block for name, block in _FENCE.findall(text) if name == language]


def commands(block: str, program: str = "spikefield") -> list[list[str]]:
    """Return the command lines of a block that start a program, without comments and where their output goes."""
    whole = [re.split(r" [>|] ", line)[0] for line in block.replace("\\\n", " ").splitlines()]
    lines = [shlex.split(line, comments=True) for line in whole]
    return [line[line.index(program) :] for line in lines if program in line]


def links(text: str) -> list[str]:
    """Return the targets of all links and pictures outside code."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as they are made from them on the site and by code hosts."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
