"""The page of a scores folder: what stands on it, in a file and in a browser."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import urllib.parse
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.made.browser import in_browser
from tests.made.scores import scored_by_darkness, weights
from tests.made.toys import toy_store
from ubr.pretrain.data.overviews import OVERVIEW_MM
from ubr.pretrain.data.store import Store
from ubr.pretrain.data.tables import table_writer
from ubr.pretrain.scores.read import read_curves
from ubr.pretrain.scores.scoring import score
from ubr.pretrain.uses.calibration import calibrate
from ubr.pretrain.uses.labels import read_labels
from ubr.pretrain.uses.report.contents import POINTS
from ubr.pretrain.uses.report.page import report
from ubr.pretrain.uses.report.thumbnails import MOST_OF_FINDINGS, Thumbnails
from ubr.weights.common.pages import webp_uri

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
        {
            "series": k,
            "slices": slices,
            "pearson_r": 1.0,
            "score_per_mm": 0.3333,
            "paper_rule": False,
            "findings": "gap" if findings and k == keys[0] else "",
            "warnings": "",
        }
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
        sum(len(f["pictures"]) for f in data_of(many)["series"][0]["findings"]) == MOST_OF_FINDINGS
    )


def test_bad_input__is_said_in_one_line(tmp_path: Path, store: Store) -> None:
    scores = write_scores(tmp_path / "scores", ["a" * 16])
    with pytest.raises(ValueError, match=r"end in \.html, got 'r.pdf'"):
        report(scores, tmp_path / "r.pdf")
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        report(tmp_path, tmp_path / "r.html")
    with pytest.raises(ValueError, match="holds none of the scored series"):
        report(scores, tmp_path / "r.html", store=store.path)
    header, _ = (scores / "series.csv").read_text().splitlines()
    (scores / "series.csv").write_text(f"{header}\n")
    with pytest.raises(ValueError, match="hold different series"):
        report(scores, tmp_path / "r.html")
    (scores / "slices.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        report(scores, tmp_path / "r.html")
    assert not list(tmp_path.glob("*.html"))


def saved(dom: str) -> str:
    """The labels.csv that the page offers."""
    found = re.search(r'href="data:text/csv;charset=utf-8,([^"]*)"', dom)
    assert found
    return urllib.parse.unquote(html.unescape(found[1]))


def test_browser__draws_rows_curves_and_histogram(tmp_path: Path) -> None:
    page = report(
        write_scores(tmp_path / "scores", ["a" * 16, "b" * 16], part=True), tmp_path / "r.html"
    )
    dom = in_browser(page)
    assert (
        dom.count('class="key"') == 2 and dom.count('class="curve"') == 2 and "2 of 2 series" in dom
    )
    assert (
        dom.count('class="kind">gap') == 1
        and 'aria-sort="ascending"' in dom
        and dom.count("<rect") > 30
    )


USE = """
const key = [...document.querySelectorAll(".key")].find(k => k.textContent === "%s");
key.click();
function fill(values) {
  for (const [id, value] of Object.entries(values)) {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event("change"));
  }
}
function click(index) {  // at a slice of the curve, found by the axis' ticks
  const box = document.querySelector("svg.large").getBoundingClientRect();
  const ticks = [...document.querySelectorAll("svg.large .tick line")];
  const at = ticks.filter(t => t.getAttribute("x1") === t.getAttribute("x2"));
  const names = at.map(t => Number(t.nextSibling.textContent));
  const [x0, x1] = [at[0], at.at(-1)].map(t => Number(t.getAttribute("x1")));
  const x = x0 + Z[index] / names.at(-1) * (x1 - x0);
  document.querySelector("svg.large").dispatchEvent(new MouseEvent("click",
    { bubbles: true, clientX: box.left + x, clientY: box.top + 50 }));
}
"""


def test_browser__clicks_on_curve_and_slices_give_labels_that_calibrate_takes(
    tmp_path: Path, store: Store
) -> None:
    keys = sorted(row.key for row in store.rows())
    scores = write_scores(tmp_path / "scores", keys)
    page = report(scores, tmp_path / "r.html", store=store.path)
    script = f"const Z = {[3 * i for i in range(30)]};" + USE % keys[1]
    script += """
click(7);  // without a name nothing is marked
fill({ landmark: 'dome, "left"' });
click(7);
click(11);  // moves it
fill({ landmark: "crest" });
document.querySelector(".opened .slice[data-slice='20']").click();
fill({ what: "border", above: "chest", below: "abdomen" });
click(14);
"""
    dom = in_browser(page, script)
    assert dom.count("<li>") and "3 marked" in dom
    text = saved(dom)
    assert text.splitlines()[0] == "series,index,part,landmark"
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    (one,) = read_labels(labels, read_curves(scores)[0])
    assert one.series == keys[1]
    assert one.landmarks == {'dome, "left"': 11, "crest": 20}
    assert one.parts == {i: "chest" if i < 14 else "abdomen" for i in range(30)}
    made = calibrate(scores, labels, tmp_path / "regions.json").regions
    assert made.parts == ("chest", "abdomen") and made.thresholds.tolist() == [13.5]


def test_browser__slices_that_two_borders_name_differently_or_not_at_all_get_no_label(
    tmp_path: Path,
) -> None:
    key = "a" * 16
    page = report(write_scores(tmp_path / "scores", [key]), tmp_path / "r.html")
    script = f"const Z = {[3 * i for i in range(30)]};" + USE % key
    script += """
fill({ what: "border", above: "", below: "chest" }); click(4);
fill({ above: "chest", below: "" }); click(10);
fill({ above: "", below: "pelvis" }); click(12);
fill({ above: "abdomen", below: "" }); click(25);
"""
    dom = in_browser(page, script)
    assert saved(dom) == f"series,index,part,landmark\n{key},4-9,chest,\n"
    assert (
        f"Slices 12 to 24 of {key} get no label: one border calls them pelvis, the other abdomen."
        in dom
    )


def test_browser__a_click_finds_the_slice_where_positions_are_uneven(tmp_path: Path) -> None:
    key, z_mm = "a" * 16, [*range(0, 45, 3), *range(100, 145, 3)]
    scores = write_scores(tmp_path / "scores", [key])
    table = pq.read_table(scores / "slices.parquet")
    pq.write_table(
        table.set_column(2, "z_mm", pa.array(np.array(z_mm, float))), scores / "slices.parquet"
    )
    page = report(scores, tmp_path / "r.html")
    assert data_of(page)["series"][0]["z"] == z_mm
    script = f"const Z = {z_mm};" + USE % key
    script += "fill({ landmark: 'above' }); click(14); fill({ landmark: 'below' }); click(15);"
    expected = f"series,index,part,landmark\n{key},14,,above\n{key},15,,below\n"
    assert saved(in_browser(page, script)) == expected


def test_browser__paths_are_shown_on_request(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores", ["a" * 16, "b" * 16])
    page = report(scores, tmp_path / "without.html")
    assert 'id="paths"' not in page.read_text()
    lines = (scores / "series.csv").read_text().splitlines()
    lines = [lines[0] + ",path", *(f"{line},/scans/miller.nii" for line in lines[1:])]
    (scores / "series.csv").write_text("\n".join(lines) + "\n")
    page = report(scores, tmp_path / "r.html")
    assert "holds the paths of the scans" in page.read_text()
    count = """
const shown = () => [...document.querySelectorAll(".path")].filter(p => p.offsetHeight).length;
const before = shown();
document.getElementById("paths").click();
document.title = before + " then " + shown();
"""
    assert "<title>0 then 2</title>" in in_browser(page, count)


def test_browser__narrow_screens_show_every_column(tmp_path: Path) -> None:
    page = report(
        write_scores(tmp_path / "scores", ["a" * 16, "b" * 16], part=True), tmp_path / "r.html"
    )
    measure = """
const right = [...document.querySelectorAll("#rows td")].map(td => td.getBoundingClientRect());
const inside = right.filter(box => box.width > 0 && box.right <= innerWidth).length;
const names = [...document.querySelectorAll("#rows td")].map(td => td.dataset.label);
document.title = innerWidth + " px: " + inside + " of " + names.length + ", "
  + document.documentElement.scrollWidth;
"""
    dom = in_browser(page, measure, "--window-size=500,900")
    found = re.search(r"<title>(\d+) px: (\d+) of (\d+), (\d+)</title>", dom)
    assert found
    wide, inside, cells, needed = map(int, found.groups())
    assert wide <= 500 and needed <= wide and inside == cells == 2 * 8


def test_page__says_how_many_are_below_the_papers_limit_and_of_which_weights(
    tmp_path: Path,
) -> None:
    scores = write_scores(tmp_path / "scores", ["a" * 16, "b" * 16, "c" * 16], findings=1)
    lines = (scores / "series.csv").read_text().splitlines()
    lines[2] = lines[2].replace(",1.0,", ",0.77,").replace("False", "True")
    (scores / "series.csv").write_text("\n".join(lines) + "\n")
    page = report(scores, tmp_path / "r.html")
    text = " ".join(page.read_text().split())
    assert "1 of 3 series have an r below 0.99" in text and "Weights ab." in text
    table = pq.read_table(scores / "slices.parquet")
    about = {"weights_sha256": "0123456789abcdef", "backbone": "timm/resnet18"}
    pq.write_table(
        table.replace_schema_metadata({"ubr": json.dumps(about)}), scores / "slices.parquet"
    )
    text = report(scores, page, overwrite=True).read_text()
    assert "Weights 0123456789ab, timm/resnet18." in text and "0123456789abc" not in text
    by_r = "document.querySelectorAll('#heads button')[3].click();"
    dom = in_browser(page, by_r + "document.querySelector('.key').click()")
    assert "r 0.7700 is below 0.99, where the paper suspects a fault" in dom
    assert dom.count(">below 0.99<") == 1 and "No fault was found" not in dom


def test_page__names_the_backbone_of_what_score_wrote(tmp_path: Path, store: Store) -> None:
    made = weights()
    with scored_by_darkness():
        score(made, [store.path], tmp_path / "scores", workers=0, progress=False)
    text = report(tmp_path / "scores", tmp_path / "r.html", store=store.path).read_text()
    assert f"Weights {made.sha256()[:12]}, timm/test_resnet." in text
    assert str(store.path) not in text and "/scans/" not in text


def test_page__curves_have_parts_landmarks_and_one_scale(tmp_path: Path) -> None:
    keys = ["a" * 16, "b" * 16]
    scores = write_scores(tmp_path / "scores", keys, part=True)
    (scores / "landmarks.csv").write_text(
        "series,landmark,z_mm,low_mm,high_mm,index,outside\n"
        f"{keys[0]},dome,33.0,30.5,40.0,11,\n{keys[0]},crest,60.0,,,20,\n"
        f"{keys[1]},dome,87.0,,,29,inferior\n{keys[1]},crest,,,,,\n"
    )
    data = data_of(report(scores, tmp_path / "r.html"))
    one, other = data["series"]
    assert one["runs"] == [[0, 14, 0], [15, 29, 1]] and data["parts"] == ["chest", "abdomen"]
    assert one["landmarks"] == [["dome", 33.0, 30.5, 40.0], ["crest", 60.0, None, None]]
    assert other["landmarks"] == []
    assert data["scale"]["extent"] == 87 and data["scale"]["low"] < 0.2 < 28.8
    assert data["scale"]["high"] > 28.8 and one["curve"][0] == [0, 0] and one["z"] is None
    dom = in_browser(
        tmp_path / "r.html", "document.querySelectorAll('.key').forEach(key => key.click())"
    )
    svg = re.findall(r'<svg class="large".*?</svg>', dom, re.DOTALL)
    ticks = [re.findall(r"<text[^>]*>(-?[\d.]+)</text>", one) for one in svg]
    assert len(svg) == 2 and ticks[0] == ticks[1] and {"0", "50"} <= set(ticks[0])
    assert all("mm below the first slice" in one and ">score<" in one for one in svg)
    assert [one.count('class="landmark"') for one in svg] == [2, 0]
    assert [one.count('class="part"') for one in svg] == [2, 2]


def test_page__shows_slices_of_every_series(tmp_path: Path, store: Store) -> None:
    keys = sorted(row.key for row in store.rows())
    page = report(write_scores(tmp_path / "scores", keys), tmp_path / "r.html", store=store.path)
    for one in data_of(page)["series"]:
        assert [index for index, _ in one["pictures"]] == list(range(30))
    many = Thumbnails(store, dict.fromkeys(keys, 30))
    many.spacing_mm |= {f"{i}": (3.0, 1.0, 1.0) for i in range(997)}
    shown = [index for index, _ in many.of_series(keys[0], 30)]
    assert shown == [0, 7, 14, 22, 29]


def test_page__shows_each_series_from_the_front(tmp_path: Path, store: Store) -> None:
    """From the store, or where the scores keep such pictures from these."""
    keys = sorted(row.key for row in store.rows())
    scores = write_scores(tmp_path / "scores", keys, part=True)
    assert all(not one["front"] for one in data_of(report(scores, tmp_path / "no.html"))["series"])
    series = data_of(report(scores, tmp_path / "r.html", store=store.path))["series"]
    for one, row in zip(series, sorted(store.rows(), key=lambda row: row.key), strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(one["front"].split(",")[1])))
        columns = store.read(row.key).shape[2]
        assert picture.width == pytest.approx(columns * row.spacing_mm[2] / OVERVIEW_MM, abs=1)
        assert picture.height == round(87 / OVERVIEW_MM) + 1
    dom = in_browser(tmp_path / "r.html", "document.querySelector('.key').click()")
    assert dom.count('class="overview"') == 3 and dom.count('class="overview large"') == 1
    # Two parts of each series and one finding, and again where the first is opened.
    assert dom.count('class="band"') == 2 * 4 and dom.count('class="band right"') == 2
    assert dom.count('class="glance"') == 3 * 3
    kept = pa.table({"series": keys[:2], "webp": [b"one", None]})
    with table_writer(scores / "overviews.parquet", kept.schema) as table:
        table.write_table(kept)
    fronts = [one["front"] for one in data_of(report(scores, tmp_path / "k.html"))["series"]]
    assert fronts == ["data:image/webp;base64,b25l", "", ""]


def test_browser__series_are_grouped_by_finding_until_another_column_sorts_them(
    tmp_path: Path,
) -> None:
    keys = [name * 16 for name in "abcde"]
    scores = write_scores(tmp_path / "scores", keys)
    lines = (scores / "series.csv").read_text().splitlines()
    for k, r in ((2, "0.8"), (3, "0.95"), (4, "0.9")):  # of b, c, d
        lines[k] = lines[k].replace(",1.0,", f",{r},").replace("False", "True")
    lines[2] = lines[2].replace("True,,", "True,reversed; gap,")
    lines[5] = lines[5].replace("False,,", "False,gap,")
    (scores / "series.csv").write_text("\n".join(lines) + "\n")
    found = (scores / "findings.csv").read_text()
    (scores / "findings.csv").write_text(
        f"{found}{keys[1]},reversed,0,29,0.9,up\n{keys[1]},gap,3,4,0.9,a\n{keys[4]},gap,3,4,0.9,a\n"
    )
    page = report(scores, tmp_path / "r.html")
    told = """
const shown = () => [...document.querySelectorAll("#rows tr")].map(row => row.className === "group"
  ? row.textContent : row.querySelector(".key").textContent[0]).join(" | ");
const heads = [...document.querySelectorAll("#heads button")];
const press = name => heads.find(head => head.textContent === name).click();
const first = shown();
press("findings");
const turned = shown();
press("r");
document.title = [first, turned, shown()].join(" / ");
"""
    title = re.search(r"<title>(.*?)</title>", in_browser(page, told))
    assert title
    groups = {
        "reversed: 1 series": "b",
        "gap: 2 series": "a | e",
        "no finding, r below 0.99: 2 series": "d | c",
    }
    in_order = [f"{name} | {of}" for name, of in groups.items()]
    assert title[1].split(" / ") == [
        " | ".join(in_order),
        " | ".join(in_order[::-1]),
        "b | d | c | a | e",
    ]


@pytest.mark.heavy
def test_page__of_a_thousand_series_with_pictures_is_small_and_opens(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{i:016x}" for i in range(1000)]
    scores = write_scores(tmp_path / "scores", keys, slices=300, part=True)
    rng = np.random.default_rng(0)

    class Noise:
        """Pictures as noisy as they may be, as many as there would be."""

        spacing_mm: ClassVar = dict.fromkeys(keys, (3.0, 2.0, 2.0))
        left = MOST_OF_FINDINGS
        of_series, of_finding = Thumbnails.of_series, Thumbnails.of_finding

        def of(self, _: str, indices: list[int]) -> list[tuple[int, str]]:
            return [(i, self.picture(96, 96)) for i in indices]

        def overview(self, _: str, __: Any) -> str:
            return self.picture(225, 100, noise=6)  # a pixel is the mean of a ray

        @cache  # noqa: B019
        def picture(self, *shape: int, noise: int = 30) -> str:
            stream = io.BytesIO()
            grey = rng.normal(128, noise, shape).clip(0, 255).astype(np.uint8)
            Image.fromarray(grey).save(stream, "webp", quality=60)
            return webp_uri(stream.getvalue())

    monkeypatch.setattr("ubr.pretrain.uses.report.page.Thumbnails", lambda *_: Noise())
    page = report(scores, tmp_path / "r.html", store=store.path)
    assert 5e6 < page.stat().st_size < 30e6
    assert "1000 of 1000 series" in in_browser(page)


def test_page__shows_positions_where_the_scores_have_them(tmp_path: Path, store: Store) -> None:
    keys = sorted(row.key for row in store.rows())
    scores = write_scores(tmp_path / "scores", keys)
    plain = report(scores, tmp_path / "plain.html", store=store.path).read_text()
    assert "Slices at equal scores" in plain and "<dt>position</dt>" not in plain
    table = pq.read_table(scores / "slices.parquet")
    # A line at equal positions, though scores of the second series are 10 higher everywhere.
    second = 10.0 * (np.array(table["series"]) == keys[1])
    mm = 50.0 * np.array(table["score"])
    table = table.set_column(3, "score", pa.array((mm / 50 + second).astype(np.float32)))
    table = table.append_column("position_mm", pa.array(mm))
    pq.write_table(table, scores / "slices.parquet")
    rows = (scores / "series.csv").read_text().splitlines()
    contexts = ["context", "series", "pieces", "slices"]
    joined = [f"{row},{context}\n" for row, context in zip(rows, contexts, strict=True)]
    (scores / "series.csv").write_text("".join(joined))
    page = report(scores, tmp_path / "r.html", store=store.path)
    text, data = page.read_text(), data_of(page)
    assert "Slices at equal positions" in text and "<dt>position</dt>" in text
    assert [one["context"] for one in data["series"]] == contexts[1:]
    assert data["series"][1]["curve"][3] == [3, 13.0, 150.0]
    level = re.search(r'class="level"><b>(\d+)</b>(.*?)</div></div>', text, re.DOTALL)
    assert level
    indices = {int(i) for i in re.findall(r'data-slice="(\d+)"', level[2])}
    assert len(indices) == 1 and abs(50 * indices.pop() - int(level[1])) <= 25
    hover = (
        "document.querySelectorAll('.key').forEach(key => key.click());"
        "document.querySelectorAll('svg.large').forEach(one => one.dispatchEvent(new MouseEvent("
        "'mousemove', { clientX: one.getBoundingClientRect().left + 50 })));"
    )
    dom = in_browser(page, hover)
    assert dom.count("slice 0, 0 mm, score 0.00, position 0 mm") == 2
    assert dom.count("slice 0, 0 mm, score 10.00, position 0 mm") == 1
    assert dom.count("a line for each intact stretch") == dom.count("no line fits the series") == 1


def test_report__makes_folders_and_replaces_only_when_told(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores", ["a" * 16])
    page = report(scores, tmp_path / "new" / "folder" / "r.html")
    page.write_text("mine")
    with pytest.raises(ValueError, match=r"r\.html exists; give another `out`, or set `overwrite`"):
        report(scores, page)
    assert page.read_text() == "mine"
    assert report(scores, page, overwrite=True).read_text().startswith("<!doctype html>")
    (tmp_path / "d.html").mkdir()
    with pytest.raises(ValueError, match=r"exists; give another `out`$"):
        report(scores, tmp_path / "d.html", overwrite=True)


def test_page__series_without_a_correlation_or_of_another_length_in_the_store(
    tmp_path: Path, store: Store
) -> None:
    key = store.rows()[0].key
    scores = write_scores(tmp_path / "scores", [key], slices=12)
    table = (scores / "series.csv").read_text().replace(",1.0,", ",nan,")
    (scores / "series.csv").write_text(table)
    assert "median r none" in report(scores, tmp_path / "r.html").read_text()
    with pytest.raises(ValueError, match="the store holds none of the scored series"):
        report(scores, tmp_path / "pictures.html", store=store.path)
