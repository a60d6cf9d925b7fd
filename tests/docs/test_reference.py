"""The reference holds every public name, and each says what it is: shapes of arrays, what raises, in its docstring."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from markdown_pages import DOCS, ROOT
from spikefield import artifact, cli
from spikefield.experiments import outputs, scoring

SOURCE = ROOT / "src" / "spikefield"
ARRAY = re.compile(r"\b(?:ndarray|Tensor|ArrayLike)\b")
SHAPED = re.compile(r"\w+\[(?:np\.ndarray|Tensor)(?: \| (?:np\.ndarray|Tensor))*, '[^']*'\]")
NAMED = re.compile(r"\b(?:dict|Mapping)\[str, (?:np\.ndarray|Tensor)\]")
IN_SIGNATURE = re.compile(r"\w+\[[^\]']*, '([^']*)'\]")
SHAPE_IN_WORDS = re.compile(r"\([\w ]+,[\w ,…|]*\)|\bscalar\b")
COMMANDS = {module.rpartition(".")[2] for module, _ in cli.COMMANDS.values()}


@dataclass(frozen=True)
class Name:
    """A public class, function or method, and what stands around it."""

    place: str
    node: ast.ClassDef | ast.FunctionDef
    doc: str


def public(body: list[ast.stmt], place: str) -> Iterator[Name]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            here = f"{place}.{node.name}"
            yield Name(here, node, ast.get_docstring(node) or "")
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, here)


def modules() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if not p.name.startswith("_") or p.name == "__init__.py")


NAMES = [
    name
    for path in modules()
    for name in public(ast.parse(path.read_text()).body, ".".join(path.relative_to(SOURCE).with_suffix("").parts))
]
FUNCTIONS = [name for name in NAMES if isinstance(name.node, ast.FunctionDef)]


def annotations(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    """Return the types of a class's public fields, or of a function's arguments and of what it returns."""
    if isinstance(node, ast.ClassDef):
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
        return [ast.unparse(one.annotation) for one in fields if not ast.unparse(one.target).startswith("_")]
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [ast.unparse(a) for a in (*(one.annotation for one in given), node.returns) if a is not None]


def without_shape(name: Name) -> list[str]:
    """Return the annotations of arrays without a shape, there or in words; those in a dict are told by their names."""
    bare = [NAMED.sub("", SHAPED.sub("", text)) for text in annotations(name.node)]
    return [text for text in bare if ARRAY.search(text) and not SHAPE_IN_WORDS.search(name.doc)]


def in_words(axes: str) -> str:
    """Return a shape of a signature as docstrings write it: (bin, dim), (bin,), scalar; no star."""
    words = [axis.removeprefix("*") for axis in axes.split() if axis != "..."]
    return f"({', '.join(words)}{',' * (len(words) == 1)})" if words else "scalar"


def untold(name: Name) -> list[str]:
    """Return the shapes of a signature where its docstring says none of them, or another."""
    axes = [found for text in annotations(name.node) for found in IN_SIGNATURE.findall(text)]
    written = [in_words(found) for found in axes if "_" not in found.split()]
    return written if not any(shape in name.doc for shape in written) else []


def raises_input_error(node: ast.AST) -> bool:
    """Tell whether a function's own body raises InputError; what it defines inside counts as its own."""
    raised = [n.exc for n in ast.walk(node) if isinstance(n, ast.Raise) and n.exc is not None]
    return any("InputError" in ast.unparse(error) for error in raised)


def test_there_is_something_to_look_at():
    assert len(NAMES) > 500


def test_every_module_says_its_place():
    assert [p.name for p in modules() if not ast.get_docstring(ast.parse(p.read_text()))] == []


def test_every_public_name_has_a_docstring():
    assert [name.place for name in NAMES if not name.doc] == []


def test_every_array_has_a_shape():
    assert [name.place for name in NAMES if without_shape(name)] == []


def test_every_docstring_says_a_shape_of_its_signature():
    assert [(name.place, shapes) for name in NAMES if (shapes := untold(name))] == []


@pytest.mark.parametrize(
    ("axes", "doc", "told"),
    [
        ("bin dim", "Return z (bin, dim).", True),
        ("bin dim", "Return z.", False),
        ("bin dim", "Return z (dim, bin).", False),
        (" unit", "Return the rate (unit,) in Hz.", True),
        ("", "Return the loss, a scalar.", True),
    ],
)
def test_a_shape_that_is_not_told_would_be_found(axes, doc, told):
    source = f'def f() -> Float[np.ndarray, "{axes}"]:\n    """{doc}"""'
    (name,) = public(ast.parse(source).body, "here")
    assert (untold(name) == []) is told


def test_what_raises_says_so():
    silent = [n.place for n in FUNCTIONS if raises_input_error(n.node) and "Raises:" not in n.doc]
    assert silent == []


@pytest.mark.parametrize(
    ("source", "shaped", "silent"),
    [
        ('def f(x: np.ndarray) -> None:\n    """Do."""', False, False),
        ('def f(x: np.ndarray) -> None:\n    """Do with x (bin, dim)."""', True, False),
        ('def f(x: Float[np.ndarray, "bin"]) -> None:\n    """Do."""', True, False),
        ('def f(x: dict[str, np.ndarray]) -> None:\n    """Do."""\n    raise InputError("x")', True, True),
    ],
)
def test_what_lacks_would_be_found(source, shaped, silent):
    (name,) = public(ast.parse(source).body, "here")
    assert (without_shape(name) == []) is shaped
    assert raises_input_error(name.node) is silent


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_module_is_in_the_reference(generate):
    pages = generate.api_pages()
    told = re.findall(r"^\.\. automodule:: ([\w.]+)$", "\n".join(pages.values()), flags=re.MULTILINE)
    ours = {".".join(("spikefield", *p.relative_to(SOURCE).with_suffix("").parts)) for p in modules()}
    assert {name.removesuffix(".__init__") for name in ours} == set(told)
    assert len(told) == len(set(told))


def test_every_command_is_in_the_reference(generate):
    page = generate.commands_page()
    assert [name for name in cli.COMMANDS if f"\n## {name}\n" not in page] == []
    assert "--seeds SEEDS" in page


def test_every_field_of_the_configuration_is_in_the_reference(generate):
    page = generate.configuration_page()
    for flag in ("--window_s", "--transformer.dim", "--binning.split.guard_s", "--hardware.precision"):
        assert f"| `{flag}` |" in page
    assert "spikefield.training.optimiser.OptimiserConfig" in page


def test_every_benchmark_is_told(generate):
    table = generate.benchmarks_table(ROOT)
    run = re.findall(r"benchmarks/\w+\.py", (ROOT / "Makefile").read_text())
    assert len(run) > 8 and [script for script in run if script not in table] == []


def first_column(page: str) -> set[str]:
    text = (DOCS / "reference" / page).read_text(encoding="utf-8")
    cells = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def keys_of(module, function: str) -> set[str]:
    """Return the keys of the dict that a function writes down."""
    tree = ast.parse(Path(module.__file__).read_text())
    (found,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    (said,) = [n.value for n in ast.walk(found) if isinstance(n, ast.Return) and isinstance(n.value, ast.Dict)]
    return {key.value for key in said.keys if isinstance(key, ast.Constant)}


def test_the_results_contract_is_that_of_the_code():
    told = first_column("results.md")
    assert set(scoring.COLUMNS) | set(outputs._CURVE_COLUMNS) <= told
    assert keys_of(outputs, "_run") <= told


def test_the_artifact_format_is_that_of_the_code():
    told = first_column("artifact.md")
    assert {*artifact._FILES, "config.json", "files", "sha256"} <= told
    assert keys_of(artifact, "_config") <= told


def test_every_tutorial_becomes_a_page(generate):
    scripts = sorted((ROOT / "examples" / "tutorials").glob("*.py"))
    assert scripts
    for script in scripts:
        page = generate.tutorial_page(script)
        assert page.startswith("# ") and "```python\n" in page
