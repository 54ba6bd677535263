"""The distribution ubr-score: without torch, of the same modules, with the toolkit's scores."""

from __future__ import annotations

import csv
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from ubr.pretrain.scores.alone import Scorer
from ubr.pretrain.scores.alone import score as score_alone
from ubr.pretrain.scores.scoring import score
from ubr.weights import export

from .made.dicom import Made, write
from .made.exported import onnx_file
from .made.networks import weights_of
from .made.scans import cut, save_volume
from .made.scores import scored_by_darkness, weights

ROOT = Path(__file__).parents[1]
SETUP = ROOT / "scorer" / "setup.py"
MODULES: dict[str, str] = runpy.run_path(str(SETUP))["MODULES"]
HIDDEN = """
import socket, sys
from tests.made.hidden import TOOLKIT, hide
hide(TOOLKIT)

def refused(*_):
    raise AssertionError("a call of the network")

socket.socket.connect = socket.getaddrinfo = refused
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ubr_score` as it is installed, of links."""
    root = tmp_path_factory.mktemp("site")
    (root / "ubr_score").mkdir()
    (root / "ubr_score" / "__init__.py").symlink_to(SETUP.parent / "ubr_score" / "__init__.py")
    for package, names in MODULES.items():
        place = Path(*package.split("."))
        (root / "ubr_score" / place).mkdir(parents=True, exist_ok=True)
        for name in names.split():
            (root / "ubr_score" / place / f"{name}.py").symlink_to(ROOT / place / f"{name}.py")
    return root


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM series, one with a gap, a NIfTI file, one that is cut, and a text."""
    root = tmp_path_factory.mktemp("scans")
    write(root / "whole", Made().datasets())
    write(root / "gap", (all_of := Made().datasets())[:12] + all_of[15:])
    save_volume(root / "a.nii.gz")
    save_volume(root / "b.nii.gz")
    cut(root / "b.nii.gz", 0.6)
    (root / "note.txt").write_text("no scan")
    return root


def run(site: Path, code: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that sees of this project only the scorer."""
    return subprocess.run(
        [sys.executable, "-c", HIDDEN + code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
    )


COMMAND = """
from ubr_score.pretrain.scores.command import main
status = main(sys.argv[1:])
assert not {name for name in TOOLKIT if name in sys.modules}
sys.exit(status)
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_modules__all_import_where_the_toolkits_packages_are_not_installed(site: Path) -> None:
    names = [
        f"ubr_score.{package}" + ("" if name == "__init__" else f".{name}")
        for package, listed in MODULES.items()
        for name in listed.split()
    ]
    code = f"import importlib\nfor name in {names}: importlib.import_module(name)\nprint('all')"
    done = run(site, code)
    assert done.stdout == "all\n", done.stderr


def test_modules__name_each_other_relatively() -> None:
    paths = [
        ROOT / package.replace(".", "/") / f"{name}.py"
        for package, listed in MODULES.items()
        for name in listed.split()
    ]
    assert len(paths) > 80
    absolute = [
        path for path in paths if re.search(r"(?m)^\s*(from|import) ubr\b", path.read_text())
    ]
    assert not absolute


def test_modules__hiding_can_fail(site: Path) -> None:
    done = run(site, "import torch")
    assert "No module named 'torch'" in done.stderr
    done = run(site, "import ubr.weights")
    assert "No module named 'ubr" in done.stderr


def test_command__writes_the_toolkits_tables(site: Path, scans: Path, tmp_path: Path) -> None:
    onnx = onnx_file(tmp_path / "w.onnx")
    with scored_by_darkness():
        score(weights(), [scans], tmp_path / "toolkit", workers=0, progress=False)
    done = run(site, COMMAND, scans, "--weights", onnx, "--out", tmp_path / "alone", "--workers=0")
    assert done.returncode == 0, done.stderr
    assert "computed by ONNX Runtime" in done.stdout
    for name in ("left_out.csv", "findings.csv"):
        assert rows(tmp_path / "alone" / name) == rows(tmp_path / "toolkit" / name)
    left_out = [row["reason"] for row in rows(tmp_path / "alone" / "left_out.csv")]
    assert len(left_out) == 2 and any("truncated" in one for one in left_out)
    with scored_by_darkness():
        score_alone([scans], tmp_path / "text", weights=weights(), workers=0, progress=False)
    for found, expected in zip(
        rows(tmp_path / "alone" / "slices.csv"), rows(tmp_path / "text" / "slices.csv"), strict=True
    ):
        assert (found["series"], found["index"]) == (expected["series"], expected["index"])
        assert float(found["score"]) == pytest.approx(float(expected["score"]), abs=1e-4)
    of = [row["warnings"] for row in rows(tmp_path / "alone" / "series.csv")]
    assert of == [row["warnings"] for row in rows(tmp_path / "toolkit" / "series.csv")]
    assert any("gap" in one for one in of)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--weights", "bare.onnx"], "has no input contract"),
        (["--weights", "w.safetensors"], "reading weights needs PyTorch, which is not installed"),
        (["--weights", "w.onnx", "--regions", "no.json"], "no.json does not exist"),
        (["--weights", "w.onnx", "--runtime", "openvino"], r'needs openvino: pip install "ubr-sc'),
        (["--weights", "w.onnx", "--workers", "-1"], "--workers must be at least 0, got -1"),
        (["--wieghts", "w.onnx"], "unknown option --wieghts; nearest: --weights"),
    ],
)
def test_command__says_in_one_line_what_is_wrong(
    words: list[str], reason: str, site: Path, scans: Path, tmp_path: Path
) -> None:
    onnx_file(tmp_path / "bare.onnx", None)
    onnx_file(tmp_path / "w.onnx")
    (tmp_path / "w.safetensors").touch()
    given = [str(tmp_path / word) if "." in word else word for word in words]
    done = run(site, COMMAND, scans, "--out", tmp_path / "out", *given)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search(reason, done.stderr) and done.stderr.startswith("ubr-score: ")
    assert not (tmp_path / "out").exists()


def test_command__refuses_a_store(site: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text("{}")
    words = ("--weights", onnx_file(tmp_path / "w.onnx"), "--out", tmp_path / "out")
    done = run(site, COMMAND, tmp_path / "store", *words)
    assert (done.returncode, done.stderr) == (
        2,
        "ubr-score: a store is scored by ubr-pretrain score; give scans\n",
    )


def test_scorer__reads_in_memory_what_the_tables_hold(scans: Path, tmp_path: Path) -> None:
    onnx = onnx_file(tmp_path / "w.onnx")
    score_alone([scans / "a.nii.gz"], tmp_path / "out", weights=onnx, workers=0, progress=False)
    (summary,) = rows(tmp_path / "out" / "series.csv")
    slices = rows(tmp_path / "out" / "slices.csv")
    scorer = Scorer(onnx)
    for _ in range(2):
        reading = scorer.read(scans / "a.nii.gz")
        assert {k: str(v) for k, v in reading.summary.items()} == {**summary, "series": ""}
        for name in ("z_mm", "score"):
            column = [float(row[name]) for row in slices]
            np.testing.assert_allclose(reading.slices[name], column, rtol=1e-6)
    with pytest.raises(ValueError, match="does not exist"):
        Scorer(tmp_path / "none.onnx")


def requirements(path: Path) -> dict[str, str]:
    """What a setup.py names: package -> version."""
    lines = re.findall(r'"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?(>=[\d.]+)(?:,<\d+)?"', path.read_text())
    return dict(lines)


def test_setup__agrees_with_the_toolkits() -> None:
    ours, theirs = requirements(SETUP), requirements(ROOT / "setup.py")
    assert {name: theirs.get(name) for name in ours if name != "docstring_parser"} == {
        name: version for name, version in ours.items() if name != "docstring_parser"
    }
    versions = [re.findall(r'version="([^"]+)"', p.read_text()) for p in (SETUP, ROOT / "setup.py")]
    assert versions[0] == versions[1] and len(versions[0]) == 1
    assert not set(ours) & {"torch", "timm", "lightning", "torchvision", "scipy", "pyarrow"}


@pytest.mark.heavy
def test_wheel__holds_the_listed_modules_and_the_released_weights(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", tmp_path, "-b", tmp_path / "b"],
        cwd=SETUP.parent,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert all(name.startswith("ubr_score/") for name in names)
    expected = {
        f"ubr_score/{package.replace('.', '/')}/{name}.py"
        for package, listed in MODULES.items()
        for name in listed.split()
    }
    assert {name for name in names if name.endswith(".py")} == expected | {"ubr_score/__init__.py"}
    released = {path.stem for path in (ROOT / "weights" / "packaged").glob("*.safetensors")}
    packed = {Path(name).stem for name in names if name.endswith(".onnx")}
    assert packed <= released and bool(packed) == bool(released)


@pytest.mark.heavy
def test_command__of_exported_weights_gives_their_scores(
    site: Path, scans: Path, tmp_path: Path
) -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module)
    made = weights_of("timm/test_efficientnet")
    export(made, tmp_path / "w.onnx", to="onnx")
    score_alone([scans], tmp_path / "torch", weights=made, workers=0, progress=False)
    out = tmp_path / "alone"
    done = run(site, COMMAND, scans, "--weights", tmp_path / "w.onnx", "--out", out, "--workers=1")
    assert done.returncode == 0, done.stderr
    found, expected = (rows(folder / "slices.csv") for folder in (out, tmp_path / "torch"))
    assert [float(row["score"]) for row in found] == pytest.approx(
        [float(row["score"]) for row in expected], abs=1e-4
    )
