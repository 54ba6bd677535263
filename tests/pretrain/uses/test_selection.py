"""The best series of a study: what it shows, its faults, kernel and steps; and its files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.made.dicom import Made, write
from tests.made.scores import regions, scored_by_darkness, weights
from ubr.pretrain.cli import main
from ubr.pretrain.data import dicom
from ubr.pretrain.data.find import find_series
from ubr.pretrain.data.scans import unread_scan
from ubr.pretrain.uses.audit.audit import audit
from ubr.pretrain.uses.audit.tables import write_tables
from ubr.pretrain.uses.selected_files import write_selection
from ubr.pretrain.uses.selection import Chosen, select

PARTS = ("chest", "abdomen", "pelvis")


def row(series: str, **values: Any) -> dict[str, object]:
    """A sound series that shows all of abdomen and pelvis, and some of the chest."""
    usual: dict[str, object] = {
        **{"series": series, "study": "s", "ct": "yes", "direction": "head to feet"},
        **{"complete": "complete", "missing": 0, "findings": "", "copy_of": "", "twice": 0},
        **{"kernel": "soft", "uneven": False, "spacing_mm": 3.0, "thickness_mm": 3.0},
        **{"tilt_deg": None, "chest_mm": 60.0, "chest_top": "no", "chest_bottom": "yes"},
        **{"abdomen_mm": 240.0, "abdomen_top": "yes", "abdomen_bottom": "yes"},
        **{"pelvis_mm": 220.0, "pelvis_top": "yes", "pelvis_bottom": "yes"},
        **{"thigh_mm": 40.0, "thigh_top": "yes", "thigh_bottom": ""},
    }
    return {**usual, **values}


def best(tmp_path: Path, *rows: dict[str, object], **options: Any) -> Chosen:
    folder = tmp_path / str(len([*tmp_path.iterdir()]))
    folder.mkdir()
    kinds = {"missing": int, "twice": int, "uneven": bool}
    columns = {
        name: kinds.get(name, float if name.endswith(("_mm", "_deg")) else str) for name in rows[0]
    }
    write_tables(rows, columns, folder / "audit.csv", folder / "audit.parquet")
    (chosen,) = select(folder, want="abdomen and pelvis", **options).chosen
    return chosen


CUT = {"pelvis_bottom": "no", "thigh_mm": 0.0}
SHORT = {**CUT, "pelvis_mm": 100.0}
NEAR = {"pelvis_bottom": "unsure", "thigh_mm": 2.0}
"""It ends 2 mm beyond the pelvis, by scores that err by more."""


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({**CUT, "pelvis_mm": 180.0, "spacing_mm": 1.0}, "shows 50 mm less"),
        # 12 mm are within the error of scores, with the margin of 10 mm they are not.
        ({**CUT, "pelvis_mm": 208.0, "spacing_mm": 1.0}, "shows 22 mm less"),
        (NEAR, "an end is uncertain"),
        ({**CUT, "pelvis_mm": 215.0}, "an end is uncertain"),
        ({"complete": "missing", "missing": 4, "spacing_mm": 1.0}, "4 slices missing"),
        ({"direction": "reversed", "spacing_mm": 1.0}, "reversed"),
        ({"findings": "abnormal; glued", "spacing_mm": 1.0}, "glued"),
        ({"uneven": True, "spacing_mm": 1.0}, "uneven steps"),
        ({"spacing_mm": 3.1}, "steps of 3.10 mm"),
        ({"twice": 2}, "slices twice"),
        ({"findings": "abnormal"}, "abnormal"),
        ({"copy_of": "b"}, "a copy"),
        ({"thickness_mm": 5.0}, "slices of 5.00 mm"),
        ({}, "alike"),
    ],
)
def test_select__the_better_of_two(tmp_path: Path, worse: dict[str, Any], why: str) -> None:
    # The keys are such that order alone would take the worse one, but where they are alike.
    good, bad = ("b", "a") if worse else ("a", "b")
    for rows in ((row(good), row(bad, **worse)), (row(bad, **worse), row(good))):
        chosen = best(tmp_path, *rows)
        assert (chosen.series, chosen.runner_up, chosen.runner_up_reason) == (good, bad, why)
        assert chosen.covers == "yes"
        assert chosen.reason.startswith("shows all of it, even steps")


def test_select__an_end_within_the_error_of_scores_comes_after_faults_and_steps(
    tmp_path: Path,
) -> None:
    for better in ({}, {"spacing_mm": 1.0}):
        near = row("b", **NEAR, **better)
        worse = {} if better else {"uneven": True, "spacing_mm": 2.5}
        chosen = best(tmp_path, near, row("a", **worse))
        assert (chosen.series, chosen.covers) == ("b", "unsure")
    assert best(tmp_path, row("b", **NEAR), row("a", direction="reversed")).series == "b"


def test_select__what_lies_between_two_ends_inside_has_no_length_to_compare(
    tmp_path: Path,
) -> None:
    longer = {"abdomen_mm": 280.0, "spacing_mm": 1.0}  # by an error of scores
    for fault in ({"direction": "reversed"}, {"complete": "missing", "missing": 3}):
        assert best(tmp_path, row("a", **longer, **fault), row("b")).series == "b"
    # Where an end lies outside, less of the range is shown indeed.
    short = row("b", **{**CUT, "pelvis_mm": 210.0})
    assert best(tmp_path, row("a", **longer), short).series == "a"


def test_select__a_range_at_the_end_of_what_the_regions_know_is_told_by_its_length(
    tmp_path: Path,
) -> None:
    outermost = {"thigh_bottom": "", "thigh_mm": 90.0, "spacing_mm": 1.0}
    folder = tmp_path / "thigh"
    folder.mkdir()
    rows = [row("a", **outermost), row("b", thigh_mm=140.0)]
    columns = {name: float if name.endswith(("_mm", "_deg")) else str for name in rows[0]}
    columns |= {"missing": int, "twice": int, "uneven": bool}
    write_tables(rows, columns, folder / "audit.csv", folder / "audit.parquet")
    (chosen,) = select(folder, want="thigh").chosen
    assert (chosen.series, chosen.runner_up_reason) == ("b", "shows 50 mm less")


def test_select__a_finer_series_with_another_kernel_only_where_none_is_asked_for(
    tmp_path: Path,
) -> None:
    rows = row("a", kernel="sharp", spacing_mm=1.0), row("b"), row("c", kernel="")
    assert best(tmp_path, *rows).series == "a"
    chosen = best(tmp_path, *rows, kernel="soft")
    assert (chosen.series, chosen.runner_up) == ("b", "c")
    assert chosen.runner_up_reason == "unknown kernel"
    assert best(tmp_path, *rows, kernel="sharp").series == "a"


def test_select__a_part_of_the_range_only_if_asked_for(tmp_path: Path) -> None:
    short = row("a", **SHORT)
    chosen = best(tmp_path, short)
    assert (chosen.series, chosen.covers) == ("", "partly")
    assert chosen.reason == (
        "no series shows all of abdomen and pelvis; a shows 340 mm of it; use `partial` to choose "
        "it"
    )
    chosen = best(tmp_path, short, partial=True)
    assert (chosen.series, chosen.covers) == ("a", "partly")
    nothing = row("a", abdomen_mm=0.0, pelvis_mm=0.0, pelvis_bottom="")
    assert best(tmp_path, nothing, partial=True).series == ""


def test_select__series_without_a_study_stand_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    rows = [row("a", study=""), row("b", study=""), row("c"), row("d", ct="no")]
    kinds = {"missing": int, "twice": int, "uneven": bool}
    columns = {
        name: kinds.get(name, float if name.endswith(("_mm", "_deg")) else str) for name in rows[0]
    }
    write_tables(rows, columns, folder / "audit.csv", folder / "audit.parquet")
    found = select(folder, want="Becken")
    assert found.want == ("pelvis",)
    assert [(one.study, one.series) for one in found.chosen] == [("", "a"), ("", "b"), ("s", "c")]
    said = (
        "3 of 3 studies show pelvis (2 of the 3 are series without a study); "
        "left out 1 series that may not be CT"
    )
    assert found.table().splitlines()[0] == said
    with pytest.raises(ValueError, match=r"want names head, which .* they know chest, .*, thigh"):
        select(folder, want="head to pelvis")
    for words, wrong in (
        ("knee", "knee"),
        ("chest and pelvsi", "pelvsi"),
        ("knee to pelvis", "knee"),
    ):
        with pytest.raises(
            ValueError, match=f"want must name body parts, got '{wrong}'; allowed: head, n"
        ):
            select(folder, want=words)
    with pytest.raises(ValueError, match="keeps no paths, which links need; audit again"):
        select(folder, want="chest", out=tmp_path / "out", form="links")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two series of one study in one folder, the second in every second slice, and their audit."""
    root = tmp_path_factory.mktemp("files")
    made = Made()
    write(root / "scans", made.datasets())
    coarse = Made(made.corners[::2], study=made.study)
    write(root / "scans" / "more", coarse.datasets())
    for path in (root / "scans" / "more").iterdir():
        path.rename(root / "scans" / f"more-{path.name}")
    given = weights()
    with scored_by_darkness():
        audit(
            [root / "scans"],
            root / "audit",
            weights=given,
            regions=regions(given),
            every_mm=0.5,
            workers=0,
            with_paths=True,
            progress=False,
        )
    return root / "scans", root / "audit"


@pytest.mark.parametrize("form", ["links", "copies"])
def test_select__links_or_copies_are_of_the_chosen_series_alone(
    audited: tuple[Path, Path], tmp_path: Path, form: str
) -> None:
    scans, folder = audited
    words = ["select", str(folder), "--want", "abdomen", "--as", form]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    (series,), _ = find_series([tmp_path / "out"])
    assert len(series.files) == 20  # the finer one's
    assert all(Path(file).is_symlink() == (form == "links") for file in series.files)
    with (tmp_path / "out" / "selection.csv").open(newline="") as file:
        (chosen,) = csv.DictReader(file)
    assert chosen["series"] == unread_scan(series).key and chosen["runner_up"]
    assert chosen["runner_up_reason"] == "steps of 10.00 mm"
    names = {path.name for path in (tmp_path / "out").rglob("*.dcm")}
    assert names == {f"{k:05d}.dcm" for k in range(1, 21)}
    assert main([*words, "--out", str(tmp_path / "out")]) == 2  # it exists
    assert scans.is_dir()


def test_select__series_of_one_folder_are_found_in_one_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for corners in ((0, 20), (0, 10), (10, 20)):
        write(tmp_path / "flat", Made(Made().corners[slice(*corners)]).datasets())
    found, _ = find_series([tmp_path / "flat"])
    files = {unread_scan(one).key: len(one.files) for one in found}
    chosen = [Chosen("s", key, "yes", "", "", "", str(tmp_path / "flat")) for key in files]
    read, read_header = list[str](), dicom.read_header

    def counted(path: str) -> Any:
        read.append(path)
        return read_header(path)

    monkeypatch.setattr(dicom, "read_header", counted)
    write_selection(tmp_path / "out", chosen, "links")
    assert sorted(read) == sorted(map(str, (tmp_path / "flat").iterdir()))
    placed = {one.name: len([*one.iterdir()]) for one in (tmp_path / "out" / "s").iterdir()}
    assert placed == files and sorted(files.values()) == [10, 10, 20]


def test_select__files_that_have_gone_are_told(
    audited: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, folder = audited
    words = ["select", str(folder), "--want", "abdomen", "--as", "copies"]
    scans.rename(scans.with_name("elsewhere"))
    try:
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
    finally:
        scans.with_name("elsewhere").rename(scans)
    assert "is no longer where it was audited; audit again" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_select__without_out_the_choice_is_printed(
    audited: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", str(audited[1]), "--want", "abdomen"]) == 0
    first, line = capsys.readouterr().out.splitlines()
    assert first == "1 of 1 studies show abdomen"
    assert "shows all of it, even steps of 5.00 mm" in line and "; then " in line
    assert main(["select", str(audited[1]), "--want", "abdomen", "--as", "links"]) == 2
    assert "--as links needs a folder; give --out" in capsys.readouterr().err
