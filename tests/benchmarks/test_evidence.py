"""Tables and figures are functions of rows.

Missing rows, or rows that do not belong together, are reported in one line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import evidence
from benchmarks.common import figures, tables
from benchmarks.common import rows as result_rows

ABOUT = {
    "date": "2026-01-01",
    "commit": "abc",
    "config": "c0",
    "seed": "0",
    "machine": "m",
    "versions": "v",
    "data": "phantom",
}
ABOUT |= {"data_sha256": "d", "recipe": "small", "start": "random"}


def method(name: str, accuracy: float, **more: str) -> dict[str, str]:
    measured = {
        "accuracy": f"{accuracy}",
        "low": f"{accuracy - 0.02}",
        "high": f"{accuracy + 0.02}",
        "labelled": "2",
        "pairs": "",
        "backbone": "n",
    }
    return {**ABOUT, "method": name, **measured, **more}


def sampled(m: int, distance: float, accuracy: float) -> dict[str, str]:
    return {
        **ABOUT,
        "config": f"{m} {distance}",
        "m": f"{m}",
        "distance": f"{distance}",
        "accuracy": f"{accuracy}",
    }


def curve_rows() -> list[dict[str, str]]:
    """Of one body, whose scan with ascites bends."""
    rows = []
    for ascites in (False, True):
        for i in range(172):
            score = i / 20 - 4 + (3.0 if ascites and 100 < i < 110 else 0.0)
            rows.append(
                {
                    **ABOUT,
                    "body": "70000",
                    "ascites": f"{ascites}",
                    "r": "0.98" if ascites else "0.999",
                    "slice": f"{i}",
                }
            )
            rows[-1] |= {"z_mm": f"{3.75 * i}", "part": "chest", "score": f"{score}"}
    return rows


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path / "results")
    return tmp_path


def test_table1__is_the_mean_over_seeds_beside_the_papers() -> None:
    rows = [
        method("supervised", 0.9),
        method("supervised", 0.94, seed="1"),
        method("UBR, two labelled volumes", 0.8),
    ]
    lines = tables.table1(rows)
    assert lines[0] == [
        "supervised",
        "2",
        "",
        "n",
        "92.0 (90.0 to 94.0)",
        "90.0 to 94.0",
        "2",
        "98.84",
    ]
    assert lines[1][4:] == ["80.0", "78.0 to 82.0", "1", "95.99"] and len(lines) == 2


def test_table1__a_training_that_diverged_is_shown_as_such() -> None:
    lost = {"accuracy": "", "low": "", "high": ""}
    (line,) = tables.table1([{**method("supervised", 0.9), **lost}])
    assert line[4:] == ["1 diverged", "", "1", "98.84"]
    (line,) = tables.table1(
        [method("supervised", 0.9), {**method("supervised", 0.9, seed="1"), **lost}]
    )
    assert line[4:] == ["90.0; 1 diverged", "88.0 to 92.0", "2", "98.84"]


def test_table1__rows_of_other_pairs_are_a_line_of_their_own() -> None:
    """Numbers with two labelled volumes compare only where the pairs are the same."""
    ours = "UBR with the paper's losses, two labelled volumes"
    rows = [method("UBR, two labelled volumes", 0.9, pairs=pairs) for pairs in ("20", "5")]
    lines = tables.table1([*rows, method(ours, 0.8, pairs="5")])
    assert [(line[0], line[2], line[4]) for line in lines] == [
        ("UBR, two labelled volumes", "20", "90.0"),
        ("UBR, two labelled volumes", "5", "90.0"),
        (ours, "5", "80.0"),
    ]


def test_ablation__is_compared_with_no_change_seed_by_seed() -> None:
    rows = [
        method("none", 0.9, r="0.99"),
        method("none", 0.8, r="0.97", seed="1"),
        method("no crops", 0.85, r="0.9"),
    ]
    lines = tables.ablation(rows)
    assert lines == [
        ["none", "85.0", "", "0.9800", "2"],
        ["no crops", "85.0", "-5.0", "0.9000", "1"],
    ]


def test_together__rows_that_do_not_belong_together_are_refused() -> None:
    for other in ({"config": "c1"}, {"config": "c1", "seed": "1"}):
        with pytest.raises(
            ValueError, match=r"belong to one line have the configurations c0, c1; move one away"
        ):
            tables.table1([method("supervised", 0.9), method("supervised", 0.94, **other)])
    with pytest.raises(ValueError, match=r"several data_sha256 \(d, e\); choose one"):
        tables.table1([method("supervised", 0.9), method("pooled", 0.94, data_sha256="e")])
    with pytest.raises(ValueError, match="no rows of sampling"):
        figures.fig3b([])


def test_fig3b__lines_are_means_over_seeds() -> None:
    rows = [
        sampled(2, 0.0, 0.5),
        sampled(4, 0.0, 0.7),
        sampled(4, 1.0, 0.8),
        {**sampled(4, 1.0, 0.9), "seed": "1"},
    ]
    with_distance, without, *_ = [
        line for line in figures.fig3b(rows).axes[0].lines if line.get_linestyle() == "-"
    ]
    assert (with_distance.get_xdata().tolist(), with_distance.get_ydata().tolist()) == (
        [4],
        pytest.approx([85]),
    )
    assert (without.get_xdata().tolist(), without.get_ydata().tolist()) == (
        [2, 4],
        pytest.approx([50, 70]),
    )


def test_fig3a__is_of_one_training() -> None:
    """Scores of another seed begin elsewhere: added, they would blur the parts."""
    rows = [{**ABOUT, "part": "chest", "from": "0.0", "to": "0.5", "slices": "3"}]
    rows += [{**ABOUT, "seed": "1", "part": "chest", "from": "0.0", "to": "0.5", "slices": "4"}]
    assert [bar.get_height() for bar in figures.fig3a(rows).axes[0].patches] == [3]


def test_fig3c__a_panel_for_each_experiment_ubr_training_and_share() -> None:
    about = {**ABOUT, "steps": "400", "backbone": "b", "intensity": "i", "pretraining": ""}
    ubr = {"start": "ubr", "pretraining": "64 px, 900 steps"}
    rows = [
        {**about, "start": "random", "share": share, "step": "100", "val_recall5": "0.3"}
        for share in ("0.05", "1.0")
    ]
    rows += [{**rows[0], **ubr}, {**rows[1], **ubr, "pretraining": "128 px"}]
    rows += [{**row, "seed": "1", "val_recall5": "0.5"} for row in rows if row["start"] == "random"]
    rows += [
        {**row, "steps": "800", "config": "longer"}
        for row in rows
        if row["pretraining"] != "128 px"
    ]
    axes = figures.fig3c(rows).axes
    titles = [panel.get_title() for panel in axes if panel.get_visible()]
    assert titles == [
        "100 % of the labels\nphantom, 400 steps, UBR of 128 px",
        "5 % of the labels\nphantom, 400 steps, UBR of 64 px",
        "5 % of the labels\nphantom, 800 steps, UBR of 64 px",
    ]
    random, trained = axes[1].lines
    assert random.get_ydata().tolist() == pytest.approx(
        [40]
    ) and trained.get_ydata().tolist() == pytest.approx([30])
    named = {text.get_text(): text.xy[1] for text in axes[1].texts}
    assert named["random, 2 seeds"] == pytest.approx(40) and named["ubr, 1 seed"] < 37


def test_fig3c__names_of_curves_that_end_together_stand_apart() -> None:
    about = {**ABOUT, "steps": "400", "backbone": "b", "intensity": "i", "pretraining": ""}
    rows = [
        {**about, "start": start, "share": share, "step": "400", "val_recall5": "0.3"}
        for start in ("random", "imagenet")
        for share in ("0.05", "1.0")
    ]
    for panel in figures.fig3c(rows).axes:
        heights = [text.xy[1] for text in panel.texts]
        assert len(heights) == 2 and heights[1] - heights[0] > 0.07 * panel.get_ylim()[1]


def test_fig4__shows_the_slice_that_lies_off_the_line() -> None:
    figure = figures.fig4(curve_rows())
    (marked,) = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert 100 < marked.get_xdata()[0] / 3.75 < 110
    assert len(figure.axes[2].images) == 1 and np.asarray(
        figure.axes[2].images[0].get_array()
    ).shape == (128, 128)


def test_page__draws_what_has_rows_and_names_the_commands_of_the_rest(results: Path) -> None:
    result_rows.append("table1", [method("supervised", 0.9)])
    result_rows.append("sampling", [sampled(4, 1.0, 0.8)])
    result_rows.append("curves", curve_rows())
    evidence.main(["--out", str(results / "out")])
    page = (results / "out" / "evidence.html").read_text()
    assert {path.name for path in (results / "out").glob("*.png")} == {
        "fig2.png",
        "fig3b.png",
        "fig4.png",
    }
    assert page.count("data:image/png;base64") == 3 and "98.84" in page
    assert (
        "no rows of phantom with recipe small in results/histogram.csv; make them with: python "
        "-m benchmarks.table1" in page
    )
    assert "make them with: python -m benchmarks.starts" in page


def test_page__data_are_shown_each_by_itself(results: Path) -> None:
    on_ct = {"data": "ct", "data_sha256": "e"}
    result_rows.append("table1", [method("supervised", 0.9), method("supervised", 0.7, **on_ct)])
    result_rows.append("sampling", [sampled(4, 1.0, 0.8), {**sampled(4, 1.0, 0.6), **on_ct}])
    evidence.main(["--out", str(results / "all")])
    page = (results / "all" / "evidence.html").read_text()
    assert (
        "<td>90.0</td>" in page
        and "<td>70.0</td>" in page
        and page.count("<h3>ct, recipe small</h3>") == 2
    )
    assert {path.name for path in (results / "all").glob("*.png")} == {"fig3b.png", "fig3b-ct.png"}
    result_rows.append(
        "sampling", [{**sampled(4, 1.0, 0.7), **on_ct, "recipe": "default, 30 steps"}]
    )
    evidence.main(["--out", str(results / "two"), "--only", "fig3b", "--data", "ct"])
    assert {path.name for path in (results / "two").glob("*.png")} == {
        "fig3b-ct.png",
        "fig3b-ct-default-30-steps.png",
    }
    evidence.main(["--out", str(results / "ct"), "--data", "ct"])
    page = (results / "ct" / "evidence.html").read_text()
    assert "<td>90.0</td>" not in page and "<td>70.0</td>" in page


def test_page__a_figure_without_rows_is_one_line(results: Path) -> None:
    with pytest.raises(
        SystemExit,
        match=r"no rows of phantom with recipe paper in results/sampling\.csv; make them with: "
        r"python -m",
    ):
        evidence.main(["--out", str(results / "out"), "--only", "fig3b", "--recipe", "paper"])
