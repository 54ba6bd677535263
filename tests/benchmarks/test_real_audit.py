"""The audit of real CT: what its truth is made of."""

from __future__ import annotations

import pytest

from benchmarks import real_audit

ROW = {"region": "chest-abdomen", "slices": "50", "spacing_mm": "1x1x8.0"}
NONE = dict.fromkeys(real_audit.LANDMARKS, "")


def test_lengths__lie_between_the_landmarks() -> None:
    row = ROW | NONE | {"lung_apex": "5", "liver_dome": "30"}
    assert real_audit.lengths_mm(row) == {"chest": 200.0, "abdomen": 160.0, "pelvis": 0.0}


def test_lengths__without_a_border_are_of_the_one_part() -> None:
    row = ROW | NONE | {"region": "upper abdomen"}
    assert real_audit.lengths_mm(row) == {"chest": 0.0, "abdomen": 400.0, "pelvis": 0.0}
    with pytest.raises(ValueError, match="too many values"):
        real_audit.lengths_mm(ROW | NONE)
