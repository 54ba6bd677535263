"""A path that is not there: said in the same words by all verbs, before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GIVEN = {
    "pretrain": [
        "score nowhere . --out made",
        "score released . nowhere --out made",
        "score nowhere.onnx . --out made",
        "score released . --regions nowhere --out made",
        "audit . nowhere --out made",
        "audit . --weights nowhere --out made",
        "annotate . nowhere --out made",
        "annotate . --weights nowhere --out made",
        "crop nowhere --from 1 --to 2 --out made.nii.gz",
        "crop . --weights nowhere --from 1 --to 2 --out made.nii.gz",
        "export nowhere --to timm --out made",
        "inspect nowhere",
        "ingest nowhere --store made",
        "montage nowhere --out made",
        "report nowhere --out made.html",
        "level nowhere --series a --index 1",
        "calibrate nowhere labels.csv --out made.json",
        "select nowhere --want abdomen",
    ],
    "downstream": [
        "predict nowhere . --out made",
        "predict . nowhere --out made",
        "predict . . --body nowhere --out made",
        "plant nowhere --out made",
    ],
}
CODE = """
import sys
from ubr.{package}.cli import main
for line in sys.stdin:
    assert main(line.split()) == 2, line
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("package", GIVEN)
def test_missing_paths__are_told_first_and_in_the_same_words(package: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(package=package)],
        input="\n".join(GIVEN[package]),
        env={"PYTHONPATH": str(ROOT.parent), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = [line.partition(": ")[2] for line in done.stderr.splitlines()]
    names = [next(w for w in line.split() if "nowhere" in w) for line in GIVEN[package]]
    assert said == [f"{name} does not exist; give an existing file or folder" for name in names]
    assert not list(tmp_path.iterdir())
