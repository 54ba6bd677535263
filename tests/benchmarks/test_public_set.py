"""The public training set: what a query takes from an index, how it is drawn, what is written."""

from __future__ import annotations

import csv
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import public_set
from benchmarks.common.idc import Query, Series, is_held_out, pick, search

CC = "https://creativecommons.org/licenses/by/4.0/"


def row(uid: str, **change: object) -> dict[str, object]:
    """A row of the index that fits every default of the query."""
    return {
        "SeriesInstanceUID": uid,
        "StudyInstanceUID": f"study of {uid}",
        "PatientID": f"patient of {uid}",
        "collection_id": "people",
        "BodyPartExamined": "CHESTABDPELVIS",
        "SeriesDescription": "Body_3_0_CE",
        "license_short_name": "CC BY 4.0",
        "source_DOI": "10.1/abc",
        "instanceCount": 100,
        "series_size_MB": 50.0,
        "crdc_series_uuid": f"uuid-{uid}",
        "series_aws_url": f"s3://bucket/uuid-{uid}/*",
        "Modality": "CT",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "analysis_result_id": None,
        "series_revised_idc_version": 7,
        **change,
    }


def collection(name: str, species: str, locations: str, doi: str) -> dict[str, object]:
    source = {
        "source_doi": doi,
        "citation": f"Doe, J., &amp; Roe, R.\n<i>{name}</i>.",
        "license": {"license_url": CC},
    }
    return {
        "collection_id": name,
        "species": species,
        "tumor_locations": locations,
        "sources": [source],
    }


def index(folder: Path, rows: list[dict[str, object]]) -> Path:
    """An index of the columns that are used, beside others."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([{**one, "StudyDate": "2001-01-01"} for one in rows])
    column = table.schema.get_field_index("analysis_result_id")
    table = table.set_column(
        column, "analysis_result_id", table["analysis_result_id"].cast(pa.string())
    )
    pq.write_table(table, folder / "idc_index.parquet")
    collections = [
        collection("people", "Human", "Lung", "10.1/ABC"),
        collection("mice", "Mouse", "Lung", "10.1/mice"),
        collection("plastic", "Human", "Liver Phantom", "10.1/plastic"),
    ]
    pq.write_table(pa.Table.from_pylist(collections), folder / "collections_index.parquet")
    return folder


def test_search__takes_what_fits_and_leaves_out_what_fails_in_one_respect(tmp_path: Path) -> None:
    good = [
        row("plain"),
        row("head", BodyPartExamined="HEAD"),
        row("least", instanceCount=30),
        row("most", instanceCount=700),
        row("unnamed", SeriesDescription=None),
        row("word", SeriesDescription="Corpus scouting 3.0"),
        row("older", license_short_name="CC BY 3.0"),
    ]
    bad = [
        row("a", Modality="MR"),
        row("b", SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        row("c", analysis_result_id="segmented"),
        row("d", BodyPartExamined="CHEST"),
        row("e", BodyPartExamined=None),
        row("f", license_short_name="CC BY-NC 4.0"),
        row("g", instanceCount=29),
        row("h", instanceCount=701),
        row("i", collection_id="mice"),
        row("j", collection_id="plastic"),
        row("k", SeriesDescription="Body_Cor-MIP_7_0"),
        row("l", SeriesDescription="Topogram 0.6"),
    ]
    found = search(index(tmp_path, good + bad), Query())
    assert {one.uid for one in found.series} == {str(one["SeriesInstanceUID"]) for one in good}
    assert {one.uid for one in found.series if one.group == "head"} == {"head"}
    assert found.release == 7 and {one.size for one in found.series} == {50_000_000}
    assert found.sources["10.1/abc"].citation == "Doe, J., & Roe, R. people."
    chest = search(tmp_path, Query(trunks=("CHEST",), heads=(), without=()))
    assert [one.uid for one in chest.series] == ["d"]


def series(group: str, patient: str, study: str, number: int) -> Series:
    uid = f"{group}-{patient}-{study}-{number}"
    return Series(
        group, "people", patient, study, uid, "PART", "CC BY 4.0", "", 100, 1, uid, "s3://b/u/*"
    )


def many(heads: int, trunks: int) -> list[Series]:
    """As many patients, each with two studies of two series."""
    return [
        series(group, f"{group}{patient}", study, number)
        for group, patients in (("head", heads), ("trunk", trunks))
        for patient in range(patients)
        for study in "ab"
        for number in range(2)
    ]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_pick__caps_each_patient_and_prefers_another_study(most: int) -> None:
    picked = pick(many(5, 9), Query(series=1000, per_patient=most))
    taken = Counter(one.patient for one in picked)
    assert len(taken) == 14 and set(taken.values()) == {most}
    if most == 2:
        assert len({(one.patient, one.study) for one in picked}) == 28


@pytest.mark.parametrize(
    ("heads", "trunks", "wanted", "expected"),
    [
        (20, 20, 10, (5, 5)),
        (20, 20, 11, (5, 6)),
        (3, 20, 20, (6, 14)),
        (20, 3, 20, (14, 6)),
        (2, 3, 100, (4, 6)),
        (0, 20, 7, (0, 7)),
        (20, 0, 7, (7, 0)),
    ],
)
def test_pick__is_half_heads_and_one_half_fills_the_other(
    heads: int, trunks: int, wanted: int, expected: tuple[int, int]
) -> None:
    picked = pick(many(heads, trunks), Query(series=wanted))
    groups = Counter(one.group for one in picked)
    assert (groups["head"], groups["trunk"]) == expected


def test_pick__a_second_series_comes_after_every_patient_has_one() -> None:
    taken = Counter(one.patient for one in pick(many(0, 20), Query(series=25)))
    assert sorted(taken.values()) == [1] * 15 + [2] * 5


def test_pick__depends_on_the_seed_and_not_on_the_order_of_the_index() -> None:
    all_of_them, query = many(20, 20), Query(series=12)
    shuffled = random.Random(1).sample(all_of_them, len(all_of_them))
    picked = pick(all_of_them, query)
    assert pick(shuffled, query) == picked
    assert pick(all_of_them, replace(query, seed=1)) != picked


def test_held_out__is_a_share_by_patient_that_grows_and_keeps_its_members() -> None:
    patients = [f"P{number}" for number in range(2000)]
    tenth = {name for name in patients if is_held_out(name, 0.1)}
    third = {name for name in patients if is_held_out(name, 1 / 3)}
    assert 150 < len(tenth) < 250 and tenth < third  # 200, a deviation of 13
    assert not any(is_held_out(name, 0) for name in patients)
    assert all(is_held_out(name, 1) for name in patients)
    query = Query(series=1000, held_out_share=0.5)
    kept = {one.patient for one in pick(many(0, 40), query, ["trunk3"])}
    assert kept == {f"trunk{n}" for n in range(40) if n != 3 and not is_held_out(f"trunk{n}", 0.5)}
    assert kept == {one.patient for one in pick(many(0, 40), replace(query, seed=9), ["trunk3"])}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    rows = [
        row("t1", PatientID="A", series_size_MB=12.5),
        row("t2", PatientID="B", source_DOI=None),
        row("t3", PatientID="C", instanceCount=300, series_size_MB=187.5),
        row("h1", PatientID="B", BodyPartExamined="NECK", license_short_name="CC BY 3.0"),
    ]
    return index(tmp_path / "index", rows)


def run(*words: object) -> None:
    public_set.main([str(word) for word in words])


def test_program__writes_what_it_picked_and_prints_how_to_fetch_it(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "listed.txt"
    listed.write_text("# ours\nA\n\nnobody\n")
    out = tmp_path / "a set"
    run("--index", made, "--out", out, "--held-out", listed, "--mbit", "10")
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1].startswith(
        f"idc download '{out}/manifest.s5cmd' --download-dir DICOM"
    )
    with (out / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(one["series_uid"], one["patient"], one["group"]) for one in rows] == [
        ("h1", "B", "head"),
        ("t2", "B", "trunk"),
        ("t3", "C", "trunk"),
    ]
    assert [int(one["bytes"]) for one in rows] == [50_000_000, 50_000_000, 187_500_000]
    assert rows[0]["license"] == "CC BY 3.0" and rows[0]["crdc_series_uuid"] == "uuid-h1"
    assert (out / "manifest.s5cmd").read_text().splitlines() == [
        f"cp s3://bucket/uuid-{uid}/* ." for uid in ("h1", "t2", "t3")
    ]
    assert (out / "held_out.txt").read_text().splitlines()[1:] == ["A"]
    cited = (out / "citations.md").read_text()
    assert f"**people**, CC BY 4.0 ({CC}); 1 series of 1 patients. Doe, J., & Roe, R." in cited
    assert "The index names no source." in cited
    summary = (out / "summary.md").read_text()
    assert summary in shown
    assert "held out: 1 patients that fit, 1 of the 2 on the list" in summary
    assert "| picked | 3 | 2 | 500 | 0.3 |" in summary and "--series 2 balances" in summary
    assert "download: 0.1 hours at 10 Mbit/s" in summary  # 287.5 MB of 8 bits: 230 s
    assert "No training on this set was run" in summary
    # default: 9,000 steps of 8 x 6 slices, 432,000 in all, of 500.
    assert "`fit --recipe default`" in summary and "it sees a slice 864.0 times" in summary


def test_program__the_same_query_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("--index", made, "--out", tmp_path / name)
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1] and set(contents[0]) == public_set.FILES


def test_program__replaces_only_its_own_files_and_only_when_told(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    run("--index", made, "--dry")
    run("--index", made, "--out", out, "--dry")
    assert not out.exists() and "picked" in capsys.readouterr().out
    run("--index", made, "--out", out)
    before = (out / "manifest.csv").read_bytes()
    assert "set --overwrite" in refused(capsys, "--index", made, "--out", out, "--heads")
    assert (out / "manifest.csv").read_bytes() == before
    run("--index", made, "--out", out, "--heads", "--overwrite")
    assert (out / "manifest.csv").read_bytes() != before
    (out / "mine.txt").touch()
    said = refused(capsys, "--index", made, "--out", out, "--overwrite")
    assert "holds other files" in said and (out / "mine.txt").exists()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What is said, on one line, to a call that is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(*words)
    shown = capsys.readouterr()
    assert ended.value.code == 2 and not shown.out and shown.err.count("\n") == 1
    return shown.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--out is missing; give a folder, or --dry to write nothing"),
        ("--dry --trunks CHESTABDPELVI", "'CHESTABDPELVI'; nearest: CHESTABDPELVIS"),
        ("--dry --licenses CC-BY", "--licenses: the index has no CT with 'CC-BY'; nearest: CC BY"),
        ("--dry --heads HEAD --trunks HEAD", "'HEAD' is in --trunks and in --heads"),
        ("--dry --heads --trunks", "--trunks and --heads are both empty"),
        ("--dry --slices 5 2", "--slices must be the fewest and the most, at least 1, got 5 and 2"),
        ("--dry --series 0", "--series must be at least 1, got 0"),
        ("--dry --per-patient 0", "--per-patient must be at least 1, got 0"),
        ("--dry --seed x", "argument --seed: invalid int value: 'x'"),
        ("--dry --mbit nan", "--mbit must be above 0, got nan"),
        ("--dry --held-out-share 1.5", "--held-out-share must be in 0..1, got 1.5"),
        ("--dry --held-out-share 1", "no series fits, of 4 before patients were held out"),
        ("--dry --held-out no/file", "--held-out 'no/file' is not a readable text file"),
        ("--dry --index no/folder", "no readable idc_index.parquet"),
    ],
)
def test_program__says_a_mistake_on_one_line(
    made: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "--index", made, *words.split())


@pytest.mark.parametrize("spoil", ["column", "content", "collections"])
def test_program__says_what_is_wrong_with_an_index(
    made: Path, spoil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made / "idc_index.parquet"
    spoils: dict[str, tuple[Callable[[], object], str]] = {
        "column": (
            lambda: pq.write_table(pq.read_table(path).drop(["source_DOI"]), path),
            "idc_index.parquet of the index has no column source_DOI",
        ),
        "content": (lambda: path.write_bytes(b"PAR1"), "no readable idc_index.parquet"),
        "collections": (
            (made / "collections_index.parquet").unlink,
            "no readable collections_index.parquet",
        ),
    }
    spoiled, said = spoils[spoil]
    spoiled()
    assert said in refused(capsys, "--index", made, "--dry")


def test_program__says_how_to_install_the_index(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "idc_index_data", None)
    assert 'pip install "ubr-pretrain[idc]"' in refused(capsys, "--dry")
