"""Write `messages.md`: every error and warning that the code can raise, with its cause and its cure.

The texts are read from the source, so that the page cannot say what the code does not: `make messages`.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

_PAGE = Path(__file__).with_name("messages.md")
_SOURCE = Path(__file__).parents[1] / "src" / "spikefield"
_SENTENCE = re.compile(r"(?<=[.?…]) (?=[A-Z‹])")
_ABOUT = re.compile(
    r"^((?:`[^`]+`(?:, | and )?)+|‹…›(?=:)|[^:,`]*?‹\w+›(?:[./]\w+|\.‹\w+›)*(?:: [\w./\[\]]+(?=:))?):? (.*)$"
)
_HEAD = """# Messages

Every error is one line: the argument or file, the rule, what came, and what to do. The command line prints it after
`spikefield:` and ends with exit status 2; in Python it is a `spikefield.errors.InputError`. A word in ‹› stands for
what the message names: a path, a value, a list of names. This page is made from the code by `make messages`.
"""
_WARNINGS = """Nothing stops; a line on standard error says what was done instead, and what to look at. With
`stream --on-trouble end`, trouble of the source or the sink ends the run.
"""
_ROOMS = {
    "": "Command line, configuration, model folders",
    "recordings": "Reading recordings (`recordings`)",
    "preparation": "Preparing and validating (`preparation`)",
    "signals": "Signal chain (`signals`)",
    "windows": "Bins, splits and windows (`windows`)",
    "models": "Networks (`models`)",
    "objectives": "Losses (`objectives`)",
    "training": "Training (`training`)",
    "evaluation": "Scores and baselines (`evaluation`)",
    "deploy": "Live decoding and export (`deploy`)",
    "experiments": "Experiments (`experiments`)",
    "report": "Report (`report`)",
}


@dataclass(frozen=True)
class Message:
    """One text of the source; `kind` is error or warning, `room` the package, "" for the modules beside them."""

    kind: str
    room: str
    file: str
    line: int
    text: str

    @property
    def sentences(self) -> list[str]:
        """The text, sentence by sentence."""
        return _SENTENCE.split(self.text)

    @property
    def passes_on(self) -> bool:
        """Whether the text is another message, after the name of what it is about."""
        return re.fullmatch(r"(.{0,60}: )?‹(error|text|refusal|refused|failed|…)›", self.text) is not None

    @property
    def cure(self) -> str:
        """The last sentence, which says what to do; "" where there is only one."""
        return self.sentences[-1] if len(self.sentences) > 1 else ""

    @property
    def cause(self) -> str:
        """All before the cure."""
        return self.text.removesuffix(self.cure).strip()


def messages(source: Path = _SOURCE) -> list[Message]:
    """Return every error and warning of the package, in the order of its files."""
    found = []
    for path in sorted(source.rglob("*.py")):
        file = path.relative_to(source)
        room = file.parts[0] if len(file.parts) > 1 else ""
        for kind, line, text in _calls(ast.parse(path.read_text(encoding="utf-8"))):
            found.append(Message(kind, room, file.as_posix(), line, text))
    return sorted(found, key=lambda message: (message.file, message.line))


def _calls(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and (kind := _kind(node.func)):
            yield kind, node.lineno, _text(node.args[0])


def _kind(function: ast.expr) -> str:
    called = ast.unparse(function)
    if called.endswith("InputError"):
        return "error"
    return "warning" if called.endswith((".warn", ".warning", "._trouble")) else ""


def _text(node: ast.expr) -> str:
    """Return a text of the source, with a word in ‹› for each value that is put in when it is raised."""
    if isinstance(node, ast.Constant):
        return str(node.value).replace("%s", "‹…›")
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"‹{_word(node.value)}›"
    return f"‹{_word(node)}›"


def _word(node: ast.expr) -> str:
    """Return a name for a value: the last name in its expression, or three dots."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower()
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_").lower()
    if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name | ast.Attribute):
        return _word(node.args[0])
    if isinstance(node, ast.Subscript):
        return str(node.slice.value) if _is_text(node.slice) else _word(node.value)
    return "…"


def _is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def page() -> str:
    """Return the page's text."""
    found = messages()
    parts = [_HEAD]
    for room, title in _ROOMS.items():
        errors = [m for m in found if m.room == room and m.kind == "error" and not m.passes_on]
        if errors:
            parts += [f"\n## {title}\n", _table(errors)]
    parts += ["\n## Warnings\n", _WARNINGS, _table([m for m in found if m.kind == "warning" and not m.passes_on])]
    return "\n".join(parts).rstrip() + "\n"


def _table(rows: list[Message]) -> str:
    """Return a table of messages, each once, in order of what they are about."""
    lines = sorted({f"| {about} | {cause} | {cure} |" for about, cause, cure in map(_row, rows)}, key=str.lower)
    return "\n".join(["| about | cause | cure |", "|---|---|---|", *lines])


def _row(message: Message) -> tuple[str, str, str]:
    split = _ABOUT.match(message.cause)
    about, cause = split.groups() if split else ("", message.cause)
    return tuple(text.replace("|", "\\|").replace("<", "&lt;").strip() for text in (about, cause, message.cure))


if __name__ == "__main__":
    _PAGE.write_text(page(), encoding="utf-8")
