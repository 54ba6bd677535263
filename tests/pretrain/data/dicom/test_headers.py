"""Headers: what is no CT slice, whose it is, and that no identity leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ubr.pretrain.data import find

from ....made.dicom import Made, expected, write
from ....made.scans import cut


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"},
            "MR Image Storage, not CT",
        ),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "Modality": "SR"},
            "Comprehensive SR Storage, not CT",
        ),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "Modality": "RTSTRUCT"},
            "RT Structure Set Storage, not CT",
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary Capture Image Storage, not CT"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"},
            "Grayscale Softcopy Presentation State Storage, not CT",
        ),
        ({"SOPClassUID": "1.2.3.4.5"}, "private object, not CT"),
        ({"PixelData": None}, "no pixel data"),
        ({"PixelSpacing": None}, "no usable PixelSpacing"),
        ({"PixelSpacing": [0.0, 1.0]}, "PixelSpacing 0, 1 is not positive"),
        ({"SamplesPerPixel": 3}, "a colour image, not CT"),
    ],
)
def test_what_is_no_ct_slice_is_left_out_and_the_rest_goes_on(
    tmp_path: Path, tags: dict[str, Any], reason: str
) -> None:
    made = Made()
    write(
        tmp_path,
        [*made.datasets(), Made(series=made.series).dataset(0, **tags), Made().dataset(1, **tags)],
    )
    series, left = find.find_series([tmp_path])
    assert [o.reason for o in left] == [reason, reason]
    np.testing.assert_array_equal(find.read_volume(series[0]).hu, expected())


def test_patient_is_id_and_issuer_or_the_study(tmp_path: Path) -> None:
    made = [Made(), Made(), Made()]
    write(
        tmp_path,
        made[0].datasets(IssuerOfPatientID="A")
        + made[1].datasets(IssuerOfPatientID="B")
        + made[2].datasets(PatientID=""),
    )
    patients = {s.uid: s.patient for s in find.find_series([tmp_path])[0]}
    assert patients == {
        made[0].series: "SECRET-ID|A",
        made[1].series: "SECRET-ID|B",
        made[2].series: made[2].study,
    }


def test_no_identity_in_warnings_and_reasons(tmp_path: Path) -> None:
    made = Made()
    datasets = [
        *made.datasets(),
        made.dataset(3),
        Made().dataset(0, PixelData=None),
        Made().dataset(0, SOPClassUID="1.2.3.4.5"),
    ]
    paths = write(tmp_path, datasets)
    cut(paths[7], 0.8)
    cut(paths[-1], 0.3)
    series, left = find.find_series([tmp_path])
    texts = [o.reason for o in left] + [w for s in series for w in find.read_volume(s).warnings]
    assert len(texts) >= 4
    for secret in ("Secret", "SECRET", "1970", made.series, made.study, str(tmp_path), "IM0"):
        assert not [text for text in texts if secret in text]
