"""The figures show the numbers and boxes they are given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ubr.downstream.pictures import (
    COLOURS,
    FALSE,
    HIT,
    TRUTH,
    draw_detections,
    froc_curve,
    recall_curves,
)

NAN = math.nan


def rendered(page: Figure) -> Figure:
    """Lay out and draw the page, as saving does; fails where something cannot be drawn."""
    page.canvas.draw()
    return page


def test_recall_curves__a_labelled_line_and_its_band_each_in_percent() -> None:
    page = rendered(
        recall_curves(
            {
                "Random": [(2500, 0.1, 0.05, 0.2), (5000, 0.2, 0.15, 0.3)],
                "UBR": [(2500, 0.4, NAN, NAN)],
            }
        )
    )
    axes = page.axes[0]
    random, ubr = axes.get_lines()
    np.testing.assert_allclose(np.asarray(random.get_xydata()), [[2500, 10], [5000, 20]])
    np.testing.assert_allclose(np.asarray(ubr.get_xydata()), [[2500, 40]])
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert band[:, 1].min() == pytest.approx(5) and band[:, 1].max() == pytest.approx(30)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Random", "UBR"]
    assert random.get_color() != ubr.get_color() and random.get_marker() != ubr.get_marker()
    assert "5 best" in axes.get_ylabel()


def test_recall_curves__more_labels_than_colours_and_none() -> None:
    many = {str(i): [(1.0, i / 10, NAN, NAN)] for i in range(len(COLOURS) + 1)}
    assert len(rendered(recall_curves(many)).axes[0].get_lines()) == len(COLOURS) + 1
    assert rendered(recall_curves({})).axes[0].get_legend() is None


def test_froc_curve__the_usual_rates_are_evenly_spaced_ticks() -> None:
    page = rendered(froc_curve({"3 slices": [(0.5, 0.57, 0.55, 0.59), (16, 0.89, 0.87, 0.9)]}))
    axes = page.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "1", "2", "4", "8", "16"]
    at = axes.transData.transform([(0.5, 0), (1, 0), (8, 0), (16, 0)])[:, 0]
    assert at[1] - at[0] == pytest.approx(at[3] - at[2])
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [57, 89])


def boxes_of(page: Figure) -> list[tuple[str, float, float]]:
    return [
        (to_hex(p.get_edgecolor()).upper(), *p.get_xy())
        for p in page.axes[0].patches
        if isinstance(p, Rectangle)
    ]


def test_drawn__lesions_hits_and_false_positives_in_their_colours_with_scores() -> None:
    lesions = [[10, 10, 30, 30], [40, 40, 50, 50]]
    found = [[11, 10, 30, 30], [0, 0, 8, 8], [10, 10, 30, 31]]
    page = rendered(draw_detections(np.zeros((64, 80)), lesions, found, [0.9, 0.25, 0.8], k=2))
    assert sorted(boxes_of(page)) == sorted(
        [(TRUTH, 10, 10), (TRUTH, 40, 40), (HIT, 11, 10), (FALSE, 10, 10)]
    )
    assert sorted(text.get_text() for text in page.axes[0].texts) == [
        "0.80",
        "0.90",
    ]  # the third is beyond k
    legend = page.legends[0]
    assert legend.get_title().get_text() == "the 2 best of 3 detections"
    assert [text.get_text() for text in legend.get_texts()] == [
        "lesion: 1 of 2 found",
        "finds a lesion (IoU > 0.5): 1",
        "false positive: 1",
    ]


def test_drawn__pixels_lie_where_the_boxes_say() -> None:
    """Pixel (0, 0) covers 0..1, so a box around a bright patch is its outline."""
    page = draw_detections(np.zeros((64, 80)), np.zeros((0, 4)), np.zeros((0, 4)), [])
    assert page.axes[0].images[0].get_extent() == [0, 80, 64, 0]


def test_drawn__numbers_stay_on_the_slice() -> None:
    corners = [[0, 0, 20, 20], [44, 44, 64, 64]]
    for lesions in (np.zeros((0, 4)), corners):
        page = rendered(draw_detections(np.zeros((64, 64)), lesions, corners, [0.5, 0.4]))
        frame = page.axes[0].get_window_extent()
        for text in page.axes[0].texts:
            extent = text.get_window_extent()
            assert frame.y0 <= extent.y0 and extent.y1 <= frame.y1


def test_drawn__nothing_to_draw() -> None:
    page = rendered(draw_detections(np.zeros((8, 8)), np.zeros((0, 4)), np.zeros((0, 4)), []))
    assert boxes_of(page) == [] and len(page.legends) == 1


def test_drawn__refuses_channels() -> None:
    with pytest.raises(ValueError, match=r"image has shape \[3, 8, 8\], expected \[H, W\]"):
        draw_detections(np.zeros((3, 8, 8)), np.zeros((0, 4)), np.zeros((0, 4)), [])
