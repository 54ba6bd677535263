"""What a detector is shown of a scan, and where its boxes come to lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.made.deeplesion import row, write_slice, write_table
from tests.made.detectors import INPUTS, Bright
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.prediction.boxes import joined
from ubr.downstream.prediction.looking import BATCH, Looker
from ubr.downstream.slices import View, scan_slice
from ubr.pretrain.data.volume import Volume


def volume_of(hu: np.ndarray[tuple[int, int, int], np.dtype[np.int16]], step_mm: float) -> Volume:
    return Volume(hu, (step_mm, 0.7, 0.9), np.arange(len(hu)) * step_mm)


@pytest.mark.parametrize("view", [View(), View(channels=3, distance_mm=3.0, mm_per_px=1.1)])
def test_look__shows_what_training_shows_of_the_same_slices(view: View, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hu = np.full((9, 90, 80), -1000, np.int16)
    hu[:, 20:70, 15:66] = rng.integers(-100, 400, (9, 50, 51))
    for z, plane in enumerate(hu, 1):
        write_slice(tmp_path, f"000001_01_01/{z:03d}", plane)
    keys = (1, 2, 5, 9)
    write_table(
        tmp_path,
        [
            row(
                f"000001_01_01_{z:03d}.png",
                Bounding_boxes="31, 31, 41, 41",
                Spacing_mm_px_="0.9, 0.7, 2.5",
                Image_size="80, 90",
                Slice_range="1, 9",
                Possibly_noisy="0",
                Train_Val_Test="1",
            )
            for z in keys
        ],
    )
    data = DeepLesion(tmp_path, "train", INPUTS, view=view)
    detector = Bright()
    list(Looker(detector, INPUTS, view).look(volume_of(hu, 2.5), range(9), 0.0))
    shown = [image for images in detector.seen for image in images]
    assert [len(images) for images in detector.seen] == [BATCH, BATCH, 1] and len(shown) == 9
    for i, z in enumerate(keys):
        assert torch.equal(shown[z - 1], data[i][0])


def test_scan_slice__neighbours_lie_at_distances_in_mm_where_steps_differ() -> None:
    """HU that grow evenly along z tell where a channel lies."""
    z_mm = np.array([0.0, 1.0, 5.0, 6.5, 12.0])
    hu = np.broadcast_to((10 * z_mm)[:, None, None], (5, 2, 2)).round().astype(np.int16)
    view = View(channels=5, distance_mm=2.0)
    for index, wanted in ((2, [10, 30, 50, 70, 90]), (0, [0, 0, 0, 20, 40])):
        assert scan_slice(hu, z_mm, index, view)[:, 0, 0] == pytest.approx(wanted)
    assert scan_slice(hu, z_mm, 4, view)[:, 1, 1] == pytest.approx([80, 100, 120, 120, 120])


@pytest.mark.parametrize("mm_per_px", [0.45, 0.9, 1.8])
def test_look__boxes_come_back_to_the_pixels_of_the_slice(mm_per_px: float) -> None:
    hu = np.full((6, 100, 90), -1000, np.int16)
    hu[:, 15:90, 12:80] = 40
    hu[2:4, 40:60, 20:52] = 900
    hu[3, 70:76, 60:66] = 1000
    looker = Looker(Bright(), INPUTS, View(mm_per_px=mm_per_px))
    boxes = joined(list(looker.look(volume_of(hu, 5.0), range(6), 0.5)))
    assert boxes.index.tolist() == [2, 3, 3] and (np.diff(boxes.scores[1:]) < 0).all()
    small = mm_per_px / 0.7
    large = boxes.edges[np.ptp(boxes.edges[:, ::2], axis=1) > 20]
    assert len(large) == 2 and np.abs(large - [20, 40, 52, 60]).max() <= small
    assert not len(joined(list(looker.look(volume_of(hu, 5.0), [0, 1, 5], 0.5))))
    assert not len(joined(list(looker.look(volume_of(hu, 5.0), range(6), 0.999))))
