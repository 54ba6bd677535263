"""The structure of the code: which room imports which, how long things are, what stays light.

The rules are functions of source text, so that a test can show for each of them that it fails where
it should.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = ("weights", "pretrain", "downstream")
PACKAGES = (*INSTALLED, "benchmarks")
HEAVY = (
    *("torch", "torchvision", "timm", "lightning", "detectron2", "scipy", "sklearn", "matplotlib"),
    *("pyarrow", "pandas", "pydicom", "nibabel", "SimpleITK", "blosc2", "distributed", "PIL"),
)

FLOOR = {"weights", "weights.common"}
READERS = FLOOR | {"pretrain.data", "pretrain.reading"}
METHOD = READERS | {"pretrain.phantom", "pretrain.scores", "pretrain.uses", "pretrain"}
HOUSE: Mapping[str, set[str]] = {
    "weights.common": set(),
    "weights": {"weights.common"},
    "pretrain.data": FLOOR,
    "pretrain.reading": FLOOR,
    "pretrain.phantom": FLOOR | {"pretrain.data"},
    "pretrain.scores": READERS,
    "pretrain.uses": READERS | {"pretrain.scores"},
    "pretrain.uses.demo": METHOD,
    "pretrain": METHOD | {"pretrain.uses.demo"},
    "downstream": READERS,
    "benchmarks": METHOD | {"pretrain.uses.demo", "downstream"},
}
"""Each room and the rooms that it may import. A module is in the room with the longest name."""

MAX_FILE, MAX_FUNCTION, MAX_COLUMNS = 350, 70, 100
LONGER: frozenset[str] = frozenset()
"""What may be longer, as "path" or "path::function". DECISIONS.md gives the reason for each."""


@cache
def modules() -> dict[str, Path]:
    """The modules of all packages by name, without the namespace `ubr`."""
    found = {}
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(module: str, source: str, known: Mapping[str, Path]) -> set[str]:
    """Modules that a module imports: on top, in functions, for type checkers, by a lazy table.

    Modules of `known` are named without the namespace. A package imported without its namespace
    gets "bare" before its name.
    """
    package = module
    if module in known and known[module].name != "__init__.py":
        package = module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(["ubr", *above, *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOMES":
            names |= {f"ubr.{package}.{home}" for home in ast.literal_eval(node.value).values()}
    return {_resolved(name, known) for name in names} - {module}


def _resolved(name: str, known: Mapping[str, Path]) -> str:
    """The module that holds a dotted name."""
    ours = name.removeprefix("ubr.")
    if ours == name and ours.split(".")[0] in INSTALLED:
        return f"bare {ours.split('.')[0]}"
    while ours and ours not in known:
        ours = ours.rpartition(".")[0]
    return ours or name


def room(module: str) -> str:
    """The room of a module, or the first part of its name if it is in none."""
    while module not in HOUSE and "." in module:
        module = module.rpartition(".")[0]
    return module


@cache
def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imported(name, path.read_text(), known) for name, path in known.items()}


def wrong_arrows(imports: Mapping[str, set[str]]) -> list[str]:
    """Imports from a room that the importing room must not know."""
    pairs = [(module, other) for module, others in imports.items() for other in others]
    ours = (*PACKAGES, "tests", *(f"bare {package}" for package in INSTALLED))
    return sorted(
        f"{module} -> {other}"
        for module, other in pairs
        if other.split(".")[0] in ours and room(other) not in HOUSE[room(module)] | {room(module)}
    )


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """The modules of one import circle, empty if there is none."""
    try:
        TopologicalSorter({module: imports[module] & set(imports) for module in imports}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def too_long(path: str, source: str) -> list[str]:
    """A file and functions in it that are longer than the limits and not in `LONGER`."""
    lines = {path: len(source.splitlines())} if len(source.splitlines()) > MAX_FILE else {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION:
                lines[f"{path}::{node.name}"] = length
    return [f"{what}: {length} lines" for what, length in lines.items() if what not in LONGER]


def too_wide(path: str, text: str) -> list[str]:
    """Lines with more columns than the limit.

    Addresses do not count, nor do comments for the linter and the type checker. In Markdown, tables
    and code blocks may be wider.
    """
    fenced, found = False, []
    for number, line in enumerate(text.splitlines(), 1):
        shown = re.sub(r"https?://\S+", "", line)
        if path.endswith(".md"):
            if re.match(r"\s*(```|~~~)", line):
                fenced = not fenced
            if fenced or line.lstrip().startswith("|"):
                continue
            shown = re.sub(r'\]\([^)]*\)|(src|href)="[^"]*"', "", shown)
        else:
            shown = re.sub(r"\s*# (type: ignore|noqa|fmt:).*$", "", shown)
        if len(shown) > MAX_COLUMNS:
            found.append(f"{path}:{number}: {len(shown)} columns")
    return found


def tracked(*patterns: str) -> Iterator[tuple[str, str]]:
    """Path and text of the files under version control."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", *patterns], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for path in filter(None, listing.stdout.split("\0")):
        if (ROOT / path).is_file():  # it may be deleted and not yet committed
            yield path, (ROOT / path).read_text()


@pytest.mark.parametrize("package", PACKAGES)
def test_imports__follow_the_arrows(package: str) -> None:
    imports = graph()
    assert not wrong_arrows({m: o for m, o in imports.items() if m.split(".")[0] == package})


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("weights.artifact", "from ubr.pretrain import losses", "pretrain.losses"),
        ("weights.artifact", "def f():\n    import ubr.downstream.cli", "downstream.cli"),
        ("weights.common.disk", "from ..inputs import InputSpec", "weights.inputs"),
        ("pretrain.cli", "import weights", "bare weights"),
        ("pretrain.cli", "from ubr.downstream import evaluation", "downstream.evaluation"),
        ("pretrain.cli", "from benchmarks import table1", "benchmarks.table1"),
        ("pretrain.cli", "import tests.made.toys", "tests.made.toys"),
        ("pretrain.data", "from ..scores.scoring import score", "pretrain.scores.scoring"),
        ("pretrain.data.volume", "from .. import training", "pretrain.training"),
        ("pretrain.reading.curve", "from ..data import volume", "pretrain.data.volume"),
        ("pretrain.scores.scoring", "from ..uses import cropping", "pretrain.uses.cropping"),
        ("pretrain.uses.cropping", "from ..training import fit", "pretrain.training"),
        ("downstream.cli", "from ubr.pretrain.scores import scoring", "pretrain.scores.scoring"),
        ("downstream.cli", "from ubr.pretrain import Store", "pretrain"),
        (
            "weights.inputs",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ubr.pretrain.cli",
            "pretrain.cli",
        ),
    ],
)
def test_imports__the_check_of_arrows_can_fail(module: str, source: str, wrong: str) -> None:
    assert wrong_arrows({module: imported(module, source, modules())}) == [f"{module} -> {wrong}"]


def test_imports__the_check_of_arrows_accepts_what_the_house_allows() -> None:
    known = modules()
    for module, source in {
        "pretrain.training": "import os\nfrom ubr.weights import load\nfrom .data import store",
        "downstream.dataset": "from ubr.pretrain.data.store import Store\nimport torch",
        "benchmarks.table1": "from benchmarks import figures\nfrom ubr import downstream, pretrain",
    }.items():
        assert not wrong_arrows({module: imported(module, source, known)})


def test_imports__make_no_circle() -> None:
    assert circle(graph()) == []


@pytest.mark.parametrize(
    "closing",
    [
        "from .transfer import verify",
        "def f():\n    from .transfer import verify",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import transfer",
        "from ubr.weights import verify",
    ],
)
def test_imports__the_check_of_circles_can_fail(closing: str) -> None:
    known, imports = modules(), graph()
    source = known["weights.artifact"].read_text() + f"\n{closing}\n"
    found = circle({**imports, "weights.artifact": imported("weights.artifact", source, known)})
    assert "weights.artifact" in found


def test_lengths__of_files_and_functions_are_within_the_limits() -> None:
    patterns = [f"{package}/*.py" for package in PACKAGES]
    found = [line for path, text in tracked(*patterns) for line in too_long(path, text)]
    assert not found, "\n".join(found)


def test_lengths__the_check_can_fail() -> None:
    function = "def f():\n" + "    x = 1\n" * MAX_FUNCTION
    assert too_long("a.py", function) == ["a.py::f: 71 lines"]
    assert too_long("a.py", f"class A:\n{re.sub('(?m)^', '    ', function)}") == [
        "a.py::f: 71 lines"
    ]
    assert too_long("a.py", "x = 1\n" * 351) == ["a.py: 351 lines"]
    assert not too_long("a.py", function.removesuffix("    x = 1\n") + "x = 1\n" * 280)


def unfounded(exceptions: frozenset[str], decisions: str) -> set[str]:
    """Exceptions whose path the decisions do not name."""
    return {what for what in exceptions if what.partition("::")[0] not in decisions}


def test_lengths__each_exception_is_explained_in_the_decisions() -> None:
    assert not unfounded(LONGER, (ROOT / "DECISIONS.md").read_text())
    assert unfounded(frozenset({"a/b.py::f"}), "Why a/c.py is long.") == {"a/b.py::f"}


def test_lengths__each_exception_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    excepted = LONGER
    monkeypatch.setattr(sys.modules[__name__], "LONGER", frozenset())
    files = {what.partition("::")[0] for what in excepted}
    found = [line for path in files for line in too_long(path, (ROOT / path).read_text())]
    assert {line.rpartition(": ")[0] for line in found} >= excepted


def test_columns__of_code_and_prose_are_within_the_limit() -> None:
    found = [line for path, text in tracked("*.py", "*.md") for line in too_wide(path, text)]
    assert not found, "\n".join(found)


def test_columns__the_check_can_fail() -> None:
    wide = "x" * 101
    assert too_wide("a.py", f"{'x' * 100}\n{wide}") == ["a.py:2: 101 columns"]
    assert too_wide("a.md", f"```\n{wide}\n```\n{wide}") == ["a.md:4: 101 columns"]
    assert too_wide("a.md", f"[{wide}](b)") and too_wide("a.py", f"| {wide} |")
    address = f"https://example.org/{wide}"
    assert not too_wide("a.md", f"| {wide} |\n[b]({wide})\n![b]({wide})\n{address}")
    assert not too_wide("a.py", f"# {address}\nx = 1  # type: ignore[{wide}]")


def loaded(code: str) -> set[str]:
    """Heavy modules in a fresh interpreter after `code`."""
    listing = f"{code}\nimport sys; print('loaded:', *[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, cwd=ROOT.parent, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_light_imports__load_nothing_heavy() -> None:
    assert loaded("import ubr.weights, ubr.pretrain, ubr.downstream") == set()
    assert loaded("from ubr.pretrain.cli import main; main(['--help'])") == set()
    assert loaded("from ubr.downstream.cli import main; main(['--help'])") == set()


EVERY_VERB_WITH = """
from contextlib import suppress
from ubr.downstream import cli as detect
from ubr.pretrain import cli as pretrain

for cli in (pretrain, detect):
    for verb in cli.VERBS:
        with suppress(SystemExit):
            cli.main([verb, "{word}"])
            raise AssertionError(verb)
"""


@pytest.mark.parametrize("word", ["--help", "--no-such-option"])
def test_light_imports__no_verb_loads_anything_heavy_to_read_its_options(word: str) -> None:
    assert loaded(EVERY_VERB_WITH.format(word=word)) == set()


def test_light_imports__the_check_can_fail() -> None:
    assert "pydicom" in loaded("import pydicom")
    assert loaded("import sys; sys.modules['torch'] = sys") == {"torch"}


def test_root__is_a_namespace() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert "[build-system]" in (ROOT / "pyproject.toml").read_text()


def test_detectron2_plugin__without_detectron2_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.delitem(sys.modules, "ubr.downstream.d2", raising=False)
    with pytest.raises(ImportError, match="needs detectron2, which is installed from its source"):
        import_module("ubr.downstream.d2")


@pytest.mark.parametrize("package", ["weights", "pretrain", "downstream"])
def test_public_names__are_where_the_packages_say(package: str) -> None:
    module = import_module(f"ubr.{package}")
    assert len(module.__all__) > 3 and all(
        getattr(module, name).__name__ == name for name in module.__all__ if name[0].islower()
    )
