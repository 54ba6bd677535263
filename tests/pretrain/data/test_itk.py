"""NRRD and MetaImage: direction from the header, one clear reason for a refusal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ubr.pretrain.data import find

from ...made.dicom import X, Y, Z, expected
from ...made.scans import refusal


def itk_image(axes: tuple[int, ...] = (0, 1, 2)) -> Any:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.ascontiguousarray(expected()))
    image.SetSpacing((4.0, 4.0, 5.0))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    image.SetOrigin((X[0], Y[0], Z[0]))
    return sitk.PermuteAxes(image, axes)


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.nhdr", "ct.mha", "ct.mhd"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_itk_files_in_any_order_of_axes(tmp_path: Path, name: str, axes: tuple[int, ...]) -> None:
    import SimpleITK

    SimpleITK.WriteImage(itk_image(axes), str(tmp_path / name))
    series, left = find.find_series([tmp_path])
    assert left == []  # the data file beside a .mhd or .nhdr belongs to it
    volume = find.read_volume(series[0])
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == pytest.approx((5, 4, 4))
    assert volume.warnings == ()


def test_the_uid_of_a_detached_header_covers_its_data(tmp_path: Path) -> None:
    import SimpleITK

    for folder, image in (("a", itk_image()), ("b", itk_image() + 1)):
        (tmp_path / folder).mkdir()
        SimpleITK.WriteImage(image, str(tmp_path / folder / "ct.mhd"), useCompression=False)
    assert len({s.uid for s in find.find_series([tmp_path])[0]}) == 2


def test_itk_files_without_direction_are_refused(tmp_path: Path) -> None:
    raw = expected().tobytes()
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 40 30 20\nElementSpacing = 4 4 "
        "5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(header.encode() + raw)
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 40 30 20\nspacings: 4 4 5\nendian: "
        "little\nencoding: raw\n\n"
    )
    (tmp_path / "b.nrrd").write_bytes(header.encode() + raw)
    assert (
        refusal(tmp_path / "a.mha")
        == "the header does not say how the image lies in the patient (no TransformMatrix)"
    )
    assert (
        refusal(tmp_path / "b.nrrd")
        == "the header does not say how the image lies in the patient (no space directions)"
    )


def test_itk_refusals(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = itk_image()
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(tmp_path / "four.nrrd"))
    sitk.WriteImage(sitk.Compose([image, image]), str(tmp_path / "vector.mha"))
    sitk.WriteImage(image, str(tmp_path / "cut.mha"))
    cut = tmp_path / "cut.mha"
    cut.write_bytes(cut.read_bytes()[:2000])
    assert refusal(tmp_path / "four.nrrd") == "4-D: 2 volumes; give one 3-D volume a file"
    assert refusal(tmp_path / "vector.mha") == "2 values a voxel, not one"
    assert refusal(cut) == "damaged or truncated file, or not what its ending says"


def test_without_simpleitk_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ct.mha").write_bytes(b"TransformMatrix")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert (
        refusal(tmp_path / "ct.mha")
        == 'reading NRRD and MetaImage needs SimpleITK: pip install "ubr-pretrain[itk]"'
    )
