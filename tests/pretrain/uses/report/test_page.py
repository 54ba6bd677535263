"""The page of a scores folder: what stands on it, in a file and in a browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.made.toys import toy_store
from ubr.pretrain.data.store import Store
from ubr.pretrain.uses.report.contents import POINTS
from ubr.pretrain.uses.report.page import report
from ubr.pretrain.uses.report.thumbnails import MOST_THUMBNAILS

REASON = "</script><b>leaves & the line</b>"


def write_scores(
    folder: Path, keys: list[str], *, slices: int = 30, findings: int = 1, part: bool = False
) -> Path:
    """Straight curves; the first series has findings."""
    folder.mkdir(parents=True)
    n = len(keys)
    columns: dict[str, Any] = {
        "series": np.repeat(keys, slices),
        "index": np.tile(np.arange(slices, dtype=np.int32), n),
        "z_mm": np.tile(np.arange(slices) * 3.0, n),
        "score": np.tile(np.arange(slices, dtype=np.float32), n),
    }
    if part:
        columns["part"] = np.tile(np.where(np.arange(slices) < slices // 2, "chest", "abdomen"), n)
    pq.write_table(
        pa.table(columns, metadata={"ubr": '{"weights_sha256": "ab"}'}), folder / "slices.parquet"
    )
    rows = [
        {"series": k, "slices": slices, "pearson_r": 1.0, "score_per_mm": 0.3333, "warnings": ""}
        for k in keys
    ]
    faults = [
        {
            "series": keys[0],
            "kind": "gap",
            "first": i % 9,
            "last": i % 9 + 8,
            "confidence": 0.9,
            "reason": REASON,
        }
        for i in range(findings)
    ]
    for name, table in (("series.csv", rows), ("findings.csv", faults)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    return folder


def data_of(page: Path) -> dict[str, Any]:
    """What the page's table and pictures are made of."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    assert found
    return dict(json.loads(found[1]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy_store(tmp_path_factory.mktemp("report") / "store", volumes=3)


def test_page__holds_every_series_with_its_findings_and_needs_no_internet(tmp_path: Path) -> None:
    keys = [f"{i:016x}" for i in range(1000)]
    page = report(write_scores(tmp_path / "scores", keys, slices=300), tmp_path / "r.html")
    data = data_of(page)
    assert [one["key"] for one in data["series"]] == keys and all(
        len(one["curve"]) == POINTS for one in data["series"]
    )
    assert (
        data["series"][0]["findings"][0]["reason"] == REASON and data["series"][1]["findings"] == []
    )
    assert sum(data["histogram"]["counts"][0]) > 0.98 * 300 * 1000
    text = page.read_text()
    assert (
        page.stat().st_size < 3e6
        and not re.search(r'(src|href)="(?!data:)', text)
        and "url(" not in text
        and "import" not in text
    )


def test_page__parts_are_ordered_and_counted(tmp_path: Path) -> None:
    data = data_of(
        report(
            write_scores(tmp_path / "scores", ["a" * 16, "b" * 16], part=True), tmp_path / "r.html"
        )
    )
    assert data["parts"] == ["chest", "abdomen"]
    chest, abdomen = (np.array(counts) for counts in data["histogram"]["counts"])
    assert chest[:30].sum() > 25 and abdomen[:30].sum() == chest[30:].sum() == 0


def test_page__shows_slices_of_findings_and_at_equal_scores(tmp_path: Path, store: Store) -> None:
    keys = sorted(row.key for row in store.rows())
    page = report(write_scores(tmp_path / "scores", keys), tmp_path / "r.html", store=store.path)
    shown = data_of(page)["series"][0]["findings"][0]["pictures"]
    assert [index for index, _ in shown] == [0, 4, 8] and all(
        picture.startswith("data:image/webp;base64,") for _, picture in shown
    )
    assert page.read_text().count('<img src="data:image/webp') == 7 * 3  # levels x series
    many = report(
        write_scores(tmp_path / "many", keys, findings=250),
        tmp_path / "many.html",
        store=store.path,
    )
    assert (
        sum(len(f["pictures"]) for f in data_of(many)["series"][0]["findings"]) == MOST_THUMBNAILS
    )


def test_bad_input__is_said_in_one_line(tmp_path: Path, store: Store) -> None:
    scores = write_scores(tmp_path / "scores", ["a" * 16])
    with pytest.raises(ValueError, match=r"end in \.html, got 'r.pdf'"):
        report(scores, tmp_path / "r.pdf")
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        report(tmp_path, tmp_path / "r.html")
    with pytest.raises(ValueError, match="holds none of the scored series"):
        report(scores, tmp_path / "r.html", store=store.path)
    (scores / "series.csv").write_text("series,pearson_r\n")
    with pytest.raises(ValueError, match="hold different series"):
        report(scores, tmp_path / "r.html")
    (scores / "slices.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        report(scores, tmp_path / "r.html")
    assert not list(tmp_path.glob("*.html"))


def test_browser__draws_rows_curves_and_histogram(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome on this machine")
    page = report(
        write_scores(tmp_path / "scores", ["a" * 16, "b" * 16], part=True), tmp_path / "r.html"
    )
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        page.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert (
        dom.count('class="key"') == 2 and dom.count('class="curve"') == 2 and "2 of 2 series" in dom
    )
    assert (
        dom.count('class="kind">gap') == 1
        and 'aria-sort="ascending"' in dom
        and dom.count("<rect") > 30
    )


def test_page__series_without_a_correlation_or_of_another_length_in_the_store(
    tmp_path: Path, store: Store
) -> None:
    key = store.rows()[0].key
    scores = write_scores(tmp_path / "scores", [key], slices=12)
    table = (scores / "series.csv").read_text().replace(",1.0,", ",nan,")
    (scores / "series.csv").write_text(table)
    assert "median r none" in report(scores, tmp_path / "r.html").read_text()
    with pytest.raises(ValueError, match="the store holds none of the scored series"):
        report(scores, tmp_path / "r.html", store=store.path)
