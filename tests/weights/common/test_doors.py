"""Whatever a file holds, it is read, or refused in one line that names it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import FiniteFloat

from ubr.weights.common import doors
from ubr.weights.common.shapes import Shape, difference


class Made(Shape):
    steps: int
    names: list[str] = []  # noqa: RUF012
    start: dict[str, FiniteFloat] | None = None


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"steps": 3, "names": ["a"], "start": {"lr": 1}, "more": object}, ""),
        ({"steps": "3"}, "steps must be a valid integer, got '3'"),
        ({"steps": 3.0}, "steps must be a valid integer, got 3.0"),
        ({"steps": True}, "steps must be a valid integer, got True"),
        ({"names": []}, "steps is missing"),
        (7, "it must be a table, got 7"),
        ({"steps": 1, "names": "abc"}, "names must be a valid list, got 'abc'"),
        ({"steps": 1, "names": ["a", 3]}, "names.1 must be a valid string, got 3"),
        ({"steps": 1, "start": {"lr": float("inf")}}, "start.lr must be a finite number, got inf"),
        ({"steps": 1, "start": 5}, "start must be a table, got 5"),
    ],
)
def test_check__names_the_first_value_of_another_kind(values: Any, wrong: str) -> None:
    assert difference(values, Made) == wrong
    if wrong:
        with pytest.raises(ValueError) as raised:
            doors.check(values, Made, "a.json", "do that")
        assert str(raised.value) == f"a.json: {wrong}; do that"
    else:
        assert doors.check(values, Made, "a.json", "do that") is values


def test_check__shortens_what_it_shows() -> None:
    assert len(difference({"steps": "x" * 10**6}, Made)) < 120
    assert difference({"steps": 1, "start": {"lr": 10**400}}, Made).startswith("start.lr")


def unfolding(levels: int = 12) -> str:
    """YAML whose anchors unfold to 9 ** levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


YAML: Mapping[str, tuple[str, str]] = {
    "anchors": (unfolding(), "*a0 refers to another value; write that out"),
    "an anchor of itself": ("&a [*a]", "*a refers to another value"),
    "deep": ("[" * 100_000, "nested too deep"),
    "deep lists": ("- " * 100_000, "nested too deep"),
    "a tag of Python": ("a: !!python/object/apply:os.system [id]", "could not determine a constr"),
    "a module of Python": ("a: !!python/name:os.system", "could not determine a constructor"),
    "no date": ("2024-13-45", "month must be in 1..12"),
    "no number": ("!!float ''", "string index out of range"),
    "digits": ("1" * 5000, "Exceeds the limit"),
    "no text": ("\x00", "unacceptable character"),
    "no key": ("? [a]\n: 1", "unhashable key"),
    "large": ("a" * (1 << 20) + "a", "bytes of YAML; at most 1,048,576 are read"),
    "no table": ("[1]", "must be a table"),
}


@pytest.mark.parametrize("case", YAML)
def test_read_yaml__refuses_in_one_line_and_at_once(case: str, tmp_path: Path) -> None:
    text, reason = YAML[case]
    (tmp_path / "config.yaml").write_text(text)
    begun = time.process_time()
    with pytest.raises(ValueError) as raised:
        doors.read_yaml(tmp_path / "config.yaml", dict[str, Any], "mend it")
    assert time.process_time() - begun < 10
    said = str(raised.value)
    assert said.startswith(str(tmp_path / "config.yaml")) and said.endswith("; mend it")
    assert reason in said and "\n" not in said and len(said) < 400


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "is not JSON (nested too deep)"),
        ('{"a":' * 100_000, "is not JSON (nested too deep)"),
        ("{", "is not JSON (Expecting"),
        ("1" * 5000, "is not JSON (Exceeds the limit"),
        ("", "is not JSON"),
        ("[]", "must be a table"),
        (b"\xff\xfe{}", "cannot be read (not UTF-8 text)"),
    ],
)
def test_read_json__refuses_in_one_line(text: str | bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as raised:
        doors.read_json(path, dict[str, Any], "mend it")
    assert reason in str(raised.value) and str(path) in str(raised.value)


def test_read_json__what_fits_is_read_as_it_is(tmp_path: Path) -> None:
    values = {"steps": 3, "x": [0.1, 1e300, None, "é"], "start": {"lr": 1}}
    for start in ("", "\ufeff"):
        (tmp_path / "a.json").write_text(start + json.dumps(values))
        assert doors.read_json(tmp_path / "a.json", Made, "mend it") == values
    with pytest.raises(ValueError, match="No such file"):
        doors.read_json(tmp_path / "b.json", Made, "mend it")
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match="Is a directory"):
        doors.read_json(tmp_path / "c", Made, "mend it")


COLUMNS = {"series": str, "slices": int, "r": float, "z_mm": doors.number_or_none}
SOUND = "series,slices,r,z_mm,more\na,3,nan,,x\nb,4,0.5,1.5,\n"


@pytest.mark.parametrize("written", [SOUND, "\ufeff" + SOUND, SOUND.replace("\n", "\r\n")])
def test_read_rows__of_a_table_or_of_what_a_spreadsheet_made_of_it(
    written: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(written.encode())
    found = list(doors.read_rows(tmp_path / "a.csv", COLUMNS, "mend it"))
    assert [number for number, _ in found] == [2, 3]
    assert found[1][1] == {"series": "b", "slices": "4", "r": "0.5", "z_mm": "1.5", "more": ""}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (SOUND.replace(",", ";"), "a.csv: its columns are not separated by commas; mend it"),
        (SOUND.replace(",", "\t"), "a.csv: its columns are not separated by commas; mend it"),
        (SOUND.replace("r,", "q,"), "a.csv: no column r; mend it"),
        ("", "a.csv: no column series; mend it"),
        (SOUND.replace("4,", "4.5,"), "a.csv line 3: slices must be a whole number, got '4.5'"),
        (SOUND.replace("0.5", "good"), "a.csv line 3: r must be a number, got 'good'; mend it"),
        (SOUND.replace("1.5", "x"), "line 3: z_mm must be a number or empty, got 'x'; mend it"),
        (SOUND + "c,5", "a.csv line 4: r must be a number, got ''; mend it"),
        (SOUND + "c,5,1,2", "a.csv line 4: it must have 5 columns, like the first line; mend it"),
        (SOUND + "c,5,1,2,3,4", "a.csv line 4: it must have 5 columns"),
        (SOUND + f"{'c' * 200_000},5,1,2,3", "a.csv: cannot be read (Error); mend it"),
    ],
)
def test_read_rows__refuses_with_file_and_line(written: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(written)
    with pytest.raises(ValueError) as raised:
        list(doors.read_rows(tmp_path / "a.csv", COLUMNS, "mend it"))
    assert reason in str(raised.value)
