"""The arrows of the architecture, held by reading the imports; and what a light import must not
load.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"pretrain", "weights", "downstream", "benchmarks"}
MAY_IMPORT = {
    "weights": {"weights"},
    "pretrain": {"pretrain", "weights"},
    "downstream": {"downstream", "weights", "pretrain.data", "pretrain.reading"},
}
HEAVY = ("pydicom", "detectron2", "lightning", "matplotlib", "pandas")


def imported(source: str) -> set[str]:
    """Absolute module names that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_arrows(package: str, source: str) -> set[str]:
    """Imports of a source in `package` that the architecture forbids:

    a sibling, or a package under its bare name.
    """
    parts = [name.split(".") for name in imported(source)]
    allowed = MAY_IMPORT.get(package, PACKAGES)
    siblings = {
        p[1]
        for p in parts
        if p[0] == "ubr" and len(p) > 1 and not {p[1], ".".join(p[1:3])} & allowed
    }
    return siblings | {f"bare {p[0]}" for p in parts if p[0] in PACKAGES}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports__follow_the_arrows(package: str) -> None:
    wrong = {
        str(path): arrows
        for path in (ROOT / package).rglob("*.py")
        if (arrows := wrong_arrows(package, path.read_text()))
    }
    assert not wrong


def test_imports__the_check_can_fail() -> None:
    assert wrong_arrows("weights", "from ubr.pretrain import losses") == {"pretrain"}
    assert wrong_arrows("pretrain", "import ubr.downstream.detector") == {"downstream"}
    assert wrong_arrows("downstream", "from ubr.pretrain import losses") == {"pretrain"}
    assert wrong_arrows("downstream", "from ubr.pretrain.data.volume import Volume") == set()
    assert wrong_arrows("pretrain", "import weights") == {"bare weights"}
    assert (
        wrong_arrows("pretrain", "from ubr.weights import load\nfrom .data import store") == set()
    )


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


def test_light_imports__the_check_can_fail() -> None:
    assert loaded("import pydicom") == {"pydicom"}


def test_root__is_a_namespace() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert "[build-system]" in (ROOT / "pyproject.toml").read_text()


def test_detectron2_plugin__without_detectron2_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['detectron2'] = None\nfrom ubr.downstream import d2"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent
    )
    assert (
        done.returncode == 1
        and "needs detectron2, which is installed from its source" in done.stderr
    )


@pytest.mark.parametrize("package", ["weights", "pretrain", "downstream"])
def test_public_names__are_where_the_packages_say(package: str) -> None:
    module = import_module(f"ubr.{package}")
    assert len(module.__all__) > 3 and all(
        getattr(module, name).__name__ == name for name in module.__all__ if name[0].islower()
    )
