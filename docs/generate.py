"""Write the pages that the code itself holds: every public module, every command's flags, the configuration's tree.

`conf.py` calls `write` before Sphinx reads; what is written lies in `docs/generated` and is not kept in git.
"""

import ast
import contextlib
import importlib
import io
import os
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jupytext

import spikefield
from spikefield import cli
from spikefield.config import PRESETS, ExperimentConfig, load_preset, preset_path

_ALONE = "spikefield"  # the modules that lie beside the packages


def write(docs: Path) -> None:
    """Write all generated pages under `docs/generated`."""
    out = docs / "generated"
    _keep(out / "commands.md", commands_page())
    _keep(out / "configuration.md", configuration_page())
    _keep(out / "benchmarks.md", benchmarks_table(docs.parent))
    for name, text in api_pages().items():
        _keep(out / "api" / f"{name}.rst", text)
    for script in sorted((docs.parent / "examples" / "tutorials").glob("*.py")):
        _keep(out / "tutorials" / f"{script.stem}.md", tutorial_page(script))


def _keep(path: Path, text: str) -> None:
    """Write a page unless it is there as it is, so that a second build has little to do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def tutorial_page(script: Path) -> str:
    """Return a percent script as Markdown."""
    notebook = jupytext.read(script)
    notebook.metadata = {"jupytext": {"notebook_metadata_filter": "-all"}}
    return jupytext.writes(notebook, fmt="md:markdown")


def public_modules() -> dict[str, bool]:
    """Return the names of all modules without a leading underscore, and whether each is a package."""
    found = pkgutil.walk_packages(spikefield.__path__, "spikefield.")
    kept = {m.name: m.ispkg for m in found if not any(part.startswith("_") for part in m.name.split("."))}
    return dict(sorted(kept.items()))


def api_pages() -> dict[str, str]:
    """Return one page a package, and one for the modules beside the packages."""
    pages: dict[str, list[str]] = {_ALONE: []}
    for name, is_package in public_modules().items():
        pages.setdefault(name if is_package else name.rpartition(".")[0], []).append(name)
    return {page: _api_page(page, names) for page, names in pages.items()}


def _api_page(page: str, modules: list[str]) -> str:
    parts = [f"{page}\n{'=' * len(page)}\n\n.. automodule:: {page}\n   :no-members:\n"]
    parts += [
        f"{name}\n{'-' * len(name)}\n\n.. automodule:: {name}\n   :members:\n" for name in modules if name != page
    ]
    return "\n".join(parts)


def commands_page() -> str:
    """Return the help of every command, as the command prints it."""
    parts = [_block(_printed())]
    for name, (module, _) in cli.COMMANDS.items():
        about = getattr(importlib.import_module(module), name).__doc__.split("\n", 1)[0]
        parts.append(f"## {name}\n\n{about}\n\n{_block(_printed(name))}")
    return "\n".join(parts)


def _printed(*command: str) -> str:
    text = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            cli.main([*command, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return text.getvalue()


def _block(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def configuration_page() -> str:
    """Return every field of the configuration with its type, its default and its value in each preset."""
    presets = {name: dict(_leaves(ExperimentConfig, load_preset(name))) for name in PRESETS}
    head = ["flag", "type", *PRESETS]
    rows = [
        [f"`--{name}`", f"`{kind}`", *(_value(presets[preset].get(name, (None, "–"))[1]) for preset in PRESETS)]
        for name, (kind, _) in presets[PRESETS[0]].items()
    ]
    table = "\n".join(_row(cells) for cells in (head, ["---"] * len(head), *rows))
    files = "\n".join(f"### {p}\n\n{_block(preset_path(p).read_text(), 'yaml')}" for p in PRESETS)
    return f"{table}\n\n## What the fields mean\n\n{_meanings()}\n## The presets as they are\n\n{files}"


def _meanings() -> str:
    return "\n".join(
        f"### {kind.__name__}\n\n```{{eval-rst}}\n.. autoclass:: {kind.__module__}.{kind.__name__}\n"
        "   :no-index:\n   :no-members:\n```\n"
        for kind in dict.fromkeys(_classes(ExperimentConfig))
    )


def _classes(kind: type) -> Iterator[type]:
    yield kind
    for hint in get_type_hints(kind).values():
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and is_dataclass(part):
                yield from _classes(part)


def _leaves(kind: type, value: Any, prefix: str = "") -> Iterator[tuple[str, tuple[str, Any]]]:
    """Yield (flag, (type, value)) of every field, those of nested dataclasses by their dotted names."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        held = getattr(value, one.name)
        if is_dataclass(held):
            yield from _leaves(type(held), held, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, (_type_name(hints[one.name]), held)


def _type_name(hint: Any) -> str:
    """Return a type as it is written, without its modules; alternatives joined by "or", since `|` ends a cell."""
    name = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", name).replace(" | ", " or ")


def _value(held: Any) -> str:
    return f"`{held:g}`" if isinstance(held, float) else f"`{held}`" if held != "–" else "–"


def benchmarks_table(root: Path) -> str:
    """Return every target of the Makefile that runs a benchmark, with what its script and its comment say."""
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    found = re.findall(r"((?:^# .*\n)*)^([\w-]+): install\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    rows = [
        [f"`make {target}`", f"[`{script}`](../{script})", _first_line(root / script), _comment(comment)]
        for comment, target, recipe in found
        for script in re.findall(r"benchmarks/\w+\.py", recipe)
    ]
    head = ["command", "script", "what it does", "how long"]
    return "\n".join(_row(cells) for cells in (head, ["---"] * len(head), *rows)) + "\n"


def _first_line(script: Path) -> str:
    return (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").split("\n", 1)[0]


def _comment(text: str) -> str:
    return " ".join(line.removeprefix("# ") for line in text.splitlines())


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
