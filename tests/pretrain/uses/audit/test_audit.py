"""An audit of files whose truth is known: rows, summary, page, resumption, and no identity."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.made.browser import in_browser
from tests.made.dicom import Made, write
from tests.made.scores import scored_by_darkness
from ubr.pretrain.cli import main
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.reading.context import MM_PER_UNIT
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.scores import adding
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.uses.audit import page as pages
from ubr.pretrain.uses.audit.audit import Audited
from ubr.pretrain.uses.audit.rows import Copies, Known, judged
from ubr.pretrain.uses.audit.tables import read_rows

from .conftest import STUDIES, audit_of

FILES = {"audit.csv", "audit.parquet", "audit.html", "summary.txt", "scores"}


@pytest.fixture(scope="module")
def rows(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """The rows by the names of the series, from an audit that kept paths."""
    out = tmp_path_factory.mktemp("named") / "a"
    with scored_by_darkness():
        audit_of(archive, out, with_paths=True)
    return {Path(str(row["path"])).relative_to(archive).parts[0]: row for row in read_rows(out)}


def test_audit__has_a_row_for_each_series(rows: dict[str, dict[str, object]]) -> None:
    assert rows.keys() == {*STUDIES, "b.nii.gz"}
    assert len({row["series"] for row in rows.values()}) == len(rows)
    assert len({row["study"] for name, row in rows.items() if name != "b.nii.gz"}) == 1
    assert rows["b.nii.gz"]["study"] == ""


def test_audit__compares_what_is_stated_with_what_is_seen(
    rows: dict[str, dict[str, object]],
) -> None:
    said = {
        name: (row["stated"], row["stated_kind"], row["agreement"]) for name, row in rows.items()
    }
    # The body shows 22 mm of chest, 50 mm of abdomen and 22 mm of pelvis.
    assert said["sound"] == ("abdomen", "part", "yes")
    assert said["missing"] == ("head", "part", "unknown")  # the regions do not know heads
    assert said["copy"][:2] == ("abdomen", "organ")
    assert said["reversed"][0] == "chest" and rows["reversed"]["stated_by"] == "description"
    assert said["b.nii.gz"] == ("", "", "not stated")
    sound = rows["sound"]
    assert [sound[f"{part}_mm"] for part in ("chest", "abdomen", "pelvis")] == [22.5, 50.0, 22.5]
    assert rows["reversed"]["abdomen_mm"] == 50.0


def test_audit__judges_slices(rows: dict[str, dict[str, object]]) -> None:
    said = {
        name: (row["complete"], row["missing"], row["missing_at"]) for name, row in rows.items()
    }
    assert said["sound"] == ("complete", 0, "")
    assert said["missing"] == ("missing", 2, "2 after 7")
    assert said["b.nii.gz"][0] == "unknown"
    assert {name for name, row in rows.items() if row["direction"] == "reversed"} == {"reversed"}
    assert rows["sound"]["numbered"] == "head to feet" and rows["sound"]["kernel"] == "soft"
    assert (rows["sound"]["spacing_mm"], rows["sound"]["extent_mm"]) == (5.0, 95.0)
    assert rows["missing"]["step_max_mm"] == 15.0 and not rows["missing"]["uneven"]


def test_audit__finds_copies_and_what_is_not_ct(rows: dict[str, dict[str, object]]) -> None:
    alike = {
        name: row["series"] for name, row in rows.items() if name in ("sound", "copy", "b.nii.gz")
    }
    first = min(map(str, alike.values()))
    for name, key in alike.items():
        assert rows[name]["copy_of"] == ("" if key == first else first)
    assert rows["magnetic"]["ct"] == "no" and "MR Image Storage" in str(rows["magnetic"]["reason"])
    assert rows["magnetic"]["slices"] is None
    assert {row["ct"] for name, row in rows.items() if name != "magnetic"} == {"yes"}


def test_audit__csv_and_parquet_hold_the_same(audited: Audited) -> None:
    typed = list(read_rows(audited.folder))
    with (audited.folder / "audit.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    assert [list(row) for row in typed] == [list(row) for row in texts]
    for row, text in zip(typed, texts, strict=True):
        assert {k: "" if v is None else str(v) for k, v in row.items()} == text


def test_audit__summary_counts_the_rows(audited: Audited) -> None:
    text = (audited.folder / "summary.txt").read_text()
    assert text.startswith("5 series of CT of 2 studies\n        1  other series are not CT")
    assert "2   40 %  are copies of another series" in text
    assert text.index("are complete") < text.index("Other faults") < text.index("are copies")
    assert "2  slices are missing in total" in text and "Look first at" in text
    seen = [part for row in read_rows(audited.folder) for part in str(row["seen"]).split("; ")]
    assert seen.count("abdomen")
    assert f"{seen.count('abdomen'):9}  {20 * seen.count('abdomen'):3} %  abdomen" in text
    values = audited.summary.values()
    assert values["series"] == 5 and values["slices_missing"] == 2
    assert values["direction"] == {"head to feet": 4, "reversed": 1}
    assert values["other_files"] == {"not DICOM, NIfTI, NRRD, MetaImage or PNG": 1}


def test_audit__without_ct_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no scan")
    with pytest.raises(ValueError, match="no CT series could be scored: not DICOM, NIfTI"):
        audit_of(tmp_path / "texts", tmp_path / "out")
    assert not [*tmp_path.glob("out/private/*")] and not (tmp_path / "out" / "private").exists()


def test_audit__page_holds_every_series_with_its_picture(audited: Audited) -> None:
    text = (audited.folder / "audit.html").read_text()
    found = re.search(r'id="data">(.*?)</script>', text, re.S)
    assert found
    data = json.loads(found[1])
    assert data["parts"] == ["chest", "abdomen", "pelvis"]
    assert len(data["series"]) == 5
    for one in data["series"]:
        assert one["picture"].startswith("data:image/webp;base64,")
        assert [part for part, _, _ in one["bands"]][
            :: -1 if one["direction"] == "reversed" else 1
        ] == [
            "chest",
            "abdomen",
            "pelvis",
        ]
    assert not re.search(r'(src|href)="(?!data:)', text)  # nothing is loaded


def test_audit__most_urgent_series_are_kept_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST", 3)
    kept = pages.PageRows()
    usual = {
        "direction": "",
        "complete": "",
        "ct": "yes",
        "copy_of": "",
        "findings": "",
        "uneven": 0,
    }
    for k in range(20):
        kept.add({**usual, "series": str(k), "agreement": "no" if k in (2, 9, 17) else "yes"}, [])
    assert [one["series"] for one in kept.shown()] == ["2", "9", "17"] and kept.series == 20


def test_audit__nothing_in_it_identifies_anybody(audited: Audited, archive: Path) -> None:
    assert {path.name for path in audited.folder.iterdir()} == FILES
    content = b"".join(path.read_bytes() for path in audited.folder.rglob("*") if path.is_file())
    for secret in ("Secret", "SECRET-ID", "Doe", "DOE", "19700101", archive.name, "sound"):
        assert secret.encode() not in content
    assert archive.name not in audited.table()


def test_audit__resumes_with_the_same_rows(
    audited: Audited, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        pass

    keep, kept = adding._keep, []

    def stopping(*args: object, **more: object) -> None:
        if len(kept) == 2:
            raise Stop
        kept.append(args[1])
        keep(*args, **more)  # type: ignore[arg-type]

    with scored_by_darkness():
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(adding, "_keep", stopping)
            audit_of(archive, tmp_path / "a")
        assert {path.name for path in (tmp_path / "a").iterdir()} == {"scores", "private"}
        assert (tmp_path / "a/private").stat().st_mode & 0o777 == 0o700
        for _ in range(2):
            audit_of(archive, tmp_path / "a")
            for name in ("audit.csv", "audit.parquet", "audit.html", "summary.txt"):
                assert (tmp_path / "a" / name).read_bytes() == (audited.folder / name).read_bytes()


def test_audit__reads_some_slices_and_says_the_same_of_positions(
    archive: Path, tmp_path: Path
) -> None:
    with scored_by_darkness():
        few = audit_of(archive, tmp_path / "few", every_mm=20.0)
    assert few.summary.values()["slices_missing"] == 2
    assert few.summary.values()["complete"] == {"complete": 3, "missing": 1, "unknown": 1}


def test_audit__of_two_phases_that_are_counted_together_nothing_is_missing(tmp_path: Path) -> None:
    made = Made()
    for phase in (1, 2):
        tags = {"TemporalPositionIdentifier": phase, "ImagesInAcquisition": 40}
        write(tmp_path / "series", made.datasets(**tags))
    with scored_by_darkness():
        found = audit_of(tmp_path / "series", tmp_path / "a")
    said = [(row["complete"], row["missing"]) for row in read_rows(found.folder)]
    assert said == [("complete", 0)] * 2


def test_audit__of_a_store_lacks_what_headers_state(archive: Path, tmp_path: Path) -> None:
    ingest([archive], tmp_path / "store", workers=1)
    with scored_by_darkness():
        found = audit_of(tmp_path / "store", tmp_path / "a")
    rows = list(read_rows(found.folder))
    # The copies have been left out of the store.
    assert {row["agreement"] for row in rows} == {"not stated"} and len(rows) == 3
    assert sorted(str(row["complete"]) for row in rows) == ["complete", "complete", "missing"]
    assert {row["study"] for row in rows} == {""}


def test_audit__another_folder_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=r"holds 'notes.txt' and is not an audit; give a new `out`"
    ):
        audit_of(archive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_read_rows__another_folder_and_a_damaged_table(audited: Audited, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder that audit wrote"):
        list(read_rows(tmp_path))
    content = (audited.folder / "audit.parquet").read_bytes()
    (tmp_path / "audit.parquet").write_bytes(content[:300] + b"x" + content[301:])
    with pytest.raises(ValueError, match="is damaged"):
        list(read_rows(tmp_path))


def test_judged__regions_that_read_positions_are_given_positions() -> None:
    z = np.arange(60) * 5.0
    levels = tuple(Level(mm / MM_PER_UNIT, 0.1, 2, (), ()) for mm in (450.0, 600.0))
    regions = Regions("a" * 64, ("chest", "abdomen", "pelvis"), levels, {}, axis="position")
    # Scores are off by 100 mm, and positions say so.
    one = SeriesScores("a", ((z + 500) / 50).astype(np.float32), z, (), "", position_mm=z + 400)
    row, bands = judged(one, Known(), regions, 1 / 50)
    assert [row[f"{part}_mm"] for part in regions.parts] == [47.5, 150.0, 97.5]
    assert [part for part, *_ in bands] == ["chest", "abdomen", "pelvis"]


def test_copies__the_same_scores_and_positions() -> None:
    rng = np.random.default_rng(0)
    scores = np.cumsum(rng.random(40)).astype(np.float32)
    z = np.arange(40) * 2.0
    again = Copies()
    for key, s, at in (
        ("b", scores, z),
        ("a", scores + np.float32(1e-4), z),
        ("c", scores + np.float32(0.02), z),  # the same patient, scanned again
        ("d", scores, z * 1.1),
        ("e", scores[:-1], z[:-1]),
    ):
        again.add(SeriesScores(key, s, at, (), ""))
    assert dict(again.found()) == {"b": "a"}


def test_cli__audit_names_its_options_in_refusals(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(archive), "--out", str(tmp_path / "a"), "--weights", "absent"]) == 2
    assert "ubr-pretrain audit: " in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.heavy
def test_page__is_sorted_and_filtered_in_a_browser(audited: Audited, tmp_path: Path) -> None:
    page = Path(shutil.copy(audited.folder / "audit.html", tmp_path))
    shown = in_browser(page)
    assert "5 of 5 series" in shown and shown.count('class="band"') == 15
    few = in_browser(
        page,
        "const of = document.querySelector('[data-of=complete]');"
        "of.value = 'missing'; of.dispatchEvent(new Event('change'));"
        "document.querySelector('.key').click();",
    )
    assert "1 of 5 series" in few and "2 after 7" in few and few.count('class="edge"') == 3
