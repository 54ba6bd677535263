"""The page of findings: pictures, boxes and places where they are, and nothing held in memory."""

from __future__ import annotations

import base64
import io
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ubr.downstream.prediction import page
from ubr.downstream.prediction.boxes import Boxes
from ubr.downstream.prediction.drawing import around, drawn, pictures
from ubr.downstream.prediction.linking import link
from ubr.downstream.prediction.page import Ranking, write_page
from ubr.downstream.prediction.tables import SeriesFindings
from ubr.pretrain.data.volume import Volume

SETTINGS = {"detector_sha256": "d" * 64, "min_score": 0.3, "top": None}
STEP, ROW, COLUMN = 5.0, 0.8, 1.25


def volume(around_hu: int = 40) -> Volume:
    """A slice of 100 mm by 80 mm; a bright block at columns 20..40, rows 30..50, slices 4..8."""
    hu = np.full((20, 100, 80), around_hu, np.int16)
    hu[4:8, 30:50, 20:40] = 900
    return Volume(hu, (STEP, ROW, COLUMN), np.arange(20) * STEP)


def series(key: str = "a" * 16, scan: Volume | None = None, **changes: Any) -> SeriesFindings:
    scan = scan or volume()
    index = np.array([4, 5, 6, 7, 15], np.int32)
    edges = np.array([[20.0, 30, 40, 50]] * 4 + [[60.0, 5, 70, 12]])
    boxes = Boxes(index, edges, np.array([0.5, 0.6, 0.9, 0.7, 0.4]))
    slices = list(range(20))
    findings = link(boxes, scan.z_mm, scan.spacing_mm, slices)
    kept = pictures(scan, boxes, findings)
    return SeriesFindings(
        key,
        boxes,
        findings,
        scan.z_mm,
        slices,
        (100, 80),
        scan.spacing_mm,
        None,
        (),
        "/secret/DOE^JANE",
        pictures=drawn(kept),
        windows_hu=kept["windows"].tolist(),
        **changes,
    )


def written(path: Path, *some: SeriesFindings, left_out: int = 0) -> str:
    ranking = Ranking()
    by_key = {one.key: one for one in ranking.over(some)}
    write_page(path, (by_key[key] for key in ranking.shown()), ranking, left_out, SETTINGS)
    return path.read_text("utf-8")


def grey(webp: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(webp)).convert("L"))


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.split()]


def svgs(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def rects(svg: ElementTree.Element) -> list[list[float]]:
    names = ("x", "y", "width", "height")
    return [[float(one.get(name) or "nan") for name in names] for one in svg.iter("rect")]


def test_page__boxes_lie_on_what_is_bright(tmp_path: Path) -> None:
    overview, large, near, *others = svgs(written(tmp_path / "a.html", series()))
    assert len(others) == 2  # the other finding's
    for svg in (large, near):
        x0, y0, width, height = numbers(svg.get("viewBox") or "")
        ((x, y, w, h),) = rects(svg)
        assert [x, y, w, h] == [20 * COLUMN, 30 * ROW, 20 * COLUMN, 20 * ROW]
        image = svg.find("image")
        assert image is not None and svg.get("width")
        pixels = grey(base64.b64decode((image.get("href") or "").partition(",")[2]))
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(width / height, rel=0.03)
        bright = np.argwhere(pixels > 240)
        mm = np.array([height, width]) / pixels.shape
        found = [*(bright.min(0) * mm + (y0, x0)), *((bright.max(0) + 1) * mm + (y0, x0))]
        assert found == pytest.approx([y, x, y + h, x + w], abs=2)
    (first, second) = rects(overview)
    assert first == pytest.approx([25, 4 * STEP - STEP / 2, 25, 4 * STEP])
    # One slice of 5 mm is widened to what can be seen, around its middle.
    assert second == pytest.approx([75, 15 * STEP - 4, 12.5, 8])
    assert numbers(overview.get("viewBox") or "") == pytest.approx([0, -2, 100, 100])


def test_page__a_finding_in_lung_is_shown_in_the_lungs_window() -> None:
    soft, lung = series(), series(scan=volume(-850))
    assert soft.windows_hu[0] == [-160, 240] and lung.windows_hu[0] == [-1350, 150]
    corner = grey(lung.pictures["near_1"])[0, 0], grey(soft.pictures["near_1"])[0, 0]
    assert corner == (pytest.approx(255 * 500 / 1500, abs=4), pytest.approx(255 / 2, abs=4))


@pytest.mark.parametrize(
    ("edges", "wanted"),
    [
        ([20.0, 30.0, 40.0, 50.0], (0, 0, 62, 90)),  # the square of 80 mm leaves the slice
        ([0.0, 0.0, 2.0, 2.0], (0, 0, 33, 51)),
        ([0.0, 0.0, 80.0, 100.0], (0, 0, 80, 100)),
    ],
)
def test_around__is_a_square_in_mm_within_the_slice(
    edges: list[float], wanted: tuple[int, ...]
) -> None:
    assert around(np.array(edges), (STEP, ROW, COLUMN), (100, 80)) == wanted


def test_page__shows_the_series_with_the_surest_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST", 2)
    sure, none, unsure = series("a"), series("b"), series("c")
    none = replace(none, findings=[])
    unsure = replace(unsure, findings=[unsure.findings[1]])
    text = written(tmp_path / "a.html", unsure, none, sure, left_out=3)
    assert re.findall(r'<h2 id="(.)"', text) == ["a", "c"]
    assert "3 findings in\n3 series" in text and "3 sources could not be read" in text
    assert "The page shows the 2 series with the surest findings" in text


def test_page__names_no_source_and_says_where_in_the_body(tmp_path: Path) -> None:
    one = series(where={"part": np.array(["<chest>"] * 20), "position": np.linspace(0, 1, 20)})
    text = written(tmp_path / "a.html", one)
    assert "JANE" not in text and "secret" not in text
    assert "<dd>&lt;chest&gt;</dd>" in text and "<dt>position</dt><dd>0.3158</dd>" in text
    assert not re.search(r'(href|src)="(?!#|data:)|url\(|@import|<script', text)


def test_page__of_a_series_without_pictures_or_findings(tmp_path: Path) -> None:
    bare = replace(series("b"), pictures={}, windows_hu=[], findings=[])
    text = written(tmp_path / "a.html", bare)
    assert "0 findings in\n1 series" in text and "<svg" not in text


def test_page__is_not_held_in_memory(tmp_path: Path) -> None:
    one = series()
    mb = 1_000_000

    def many() -> Iterator[SeriesFindings]:
        for number in range(40):
            fat = {name: webp + bytes(mb) for name, webp in one.pictures.items()}
            yield replace(one, key=str(number), pictures=fat)

    tracemalloc.start()
    write_page(tmp_path / "a.html", many(), Ranking(), 0, SETTINGS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "a.html").stat().st_size > 200 * mb and peak < 60 * mb
