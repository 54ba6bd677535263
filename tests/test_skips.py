"""A run that demands so fails for skips whose reason is not on the list, and says which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"
TESTS = """
import pytest

def test_runs(): pass

@pytest.mark.skipif(True, reason="no such program")
def test_program(): pass

@pytest.mark.xfail
def test_known(): assert False
"""


def run(folder: Path, *lines: str, workers: int = 0) -> tuple[int, str]:
    """The exit status and output of a run with these lines in its list."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "skips.txt").write_text("\n".join(lines))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--skips",
        "skips.txt",
        "-p",
        "no:cacheprovider",
        f"-n{workers}",
    ]
    done = subprocess.run([*command, "."], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        (["# about", "no such"], 0, "accepted  test_one.py::test_program: no such program"),
        (["# about", ""], 1, "NOT ACCEPTED  test_one.py::test_program: no such program"),
        (["# no such program"], 1, "1 skipped, 1 not accepted"),
    ],
)
def test_skip__is_accepted_by_a_part_of_its_reason(
    tmp_path: Path, lines: list[str], status: int, said: str
) -> None:
    (tmp_path / "test_one.py").write_text(TESTS)
    returned, shown = run(tmp_path, *lines)
    assert returned == status and said in shown


@pytest.mark.parametrize("workers", [0, 2])
def test_skip__of_a_whole_file_and_in_a_fixture_count(tmp_path: Path, workers: int) -> None:
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('no_such_module')")
    fixture = "@pytest.fixture\ndef data(): pytest.skip('no data')"
    (tmp_path / "test_data.py").write_text(f"import pytest\n{fixture}\ndef test_it(data): pass")
    returned, shown = run(tmp_path, "no data", workers=workers)
    # With nothing but skips pytest itself says that no test ran where a file is all there is.
    assert returned == 1 and "accepted  test_data.py::test_it: no data" in shown
    assert "NOT ACCEPTED  test_file.py: could not import 'no_such_module'" in shown
    assert "2 skipped, 1 not accepted" in shown


def test_list__holds_only_what_a_machine_cannot_install_by_itself() -> None:
    lines = (CONFTEST.parent / "skips.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "detectron2 is not installed",
        "no real CT beside the checkout",
        "no real DeepLesion beside the checkout",
        "no right to make a network of its own, in which Orthanc would run",
    ]
