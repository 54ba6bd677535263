"""From a few labelled volumes to regions: what is learned, what is held out, and the refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from ubr.pretrain.cli import main
from ubr.pretrain.reading.regions import Regions
from ubr.pretrain.scores.read import read_curves
from ubr.pretrain.uses.calibration import calibrate
from ubr.pretrain.uses.labels import read_labels

SHA = "c" * 64
N = 60
Z = 5.0 * np.arange(N)
HEADER = "series,index,part,landmark\n"
ONE = """\
one,0-19,chest,
one,20-39,abdomen,
one,40-59,pelvis,
one,20,,liver_dome
one,40,,iliac_crest
"""
TWO = """\
two,0-24,chest,
two,25-44,abdomen,
two,45-59,pelvis,
two,25,,liver_dome
two,45,,iliac_crest
"""
THREE = "three,0-9,chest,\nthree,10-29,abdomen,\nthree,30-59,pelvis,\nthree,10,,liver_dome\n"


def write_scores(
    folder: Path,
    curves: dict[str, NDArray[np.float64]],
    positions: dict[str, NDArray[np.float64]] | None = None,
) -> Path:
    """As `score` writes them, but with rows in any order."""
    folder.mkdir()
    names = ["series", "index", "z_mm", "score", *(["position_mm"] if positions else [])]
    rows = [
        (key, i, 5.0 * i, s, *([float(positions[key][i])] if positions else []))
        for key, scores in curves.items()
        for i, s in enumerate(scores)
    ]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    table = pa.table(columns, metadata={"ubr": json.dumps({"weights_sha256": SHA})})
    pq.write_table(table, folder / "slices.parquet")
    return folder


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Straight curves in mm / 10, such that a part has the same scores in each, two slices that
    have almost none, and a flat curve.
    """
    curves = {
        "one": Z / 10,
        "two": Z / 10 - 2.5,
        "three": Z / 10 + 5,
        "four": Z / 10,
        "short": Z[:2] / 10,
        "flat": np.ones(N),
    }
    return write_scores(tmp_path / "scores", curves)


def labels(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_read_curves__are_the_curves_in_order_with_their_weights(scores: Path) -> None:
    curves, sha = read_curves(scores)
    assert sha == SHA and set(curves) == {"one", "two", "three", "four", "short", "flat"}
    assert np.array_equal(curves["two"].scores, Z / 10 - 2.5) and np.array_equal(
        curves["two"].z_mm, Z
    )


def test_labels__ranges_spaces_and_a_byte_order_mark_are_read(scores: Path, tmp_path: Path) -> None:
    curves, _ = read_curves(scores)
    text = "\ufeffseries, index, part, landmark\none , 3 - 5 , chest,\n\none,9,chest,carina\n"
    (found,) = read_labels(labels(tmp_path, text), curves)
    assert found.parts == {3: "chest", 4: "chest", 5: "chest", 9: "chest"} and found.landmarks == {
        "carina": 9
    }
    (found,) = read_labels(labels(tmp_path, "index,series,part\n7,two,neck\n"), curves)
    assert found.parts == {7: "neck"}


def test_calibrate__two_volumes_give_the_thresholds_between_their_parts(
    scores: Path, tmp_path: Path
) -> None:
    done = calibrate(
        scores,
        labels(tmp_path, HEADER + TWO + ONE),
        tmp_path / "r.json",
        scale=("liver_dome", "iliac_crest"),
    )
    found = Regions.load(tmp_path / "r.json")
    assert found == done.regions and found.weights_sha256 == SHA
    assert found.parts == ("chest", "abdomen", "pelvis")
    assert 9.5 < found.thresholds[0] <= 10 and 19.5 < found.thresholds[1] <= 20
    assert (
        found.landmarks["liver_dome"].score == pytest.approx(10)
        and found.landmarks["iliac_crest"].volumes == 2
    )
    assert found.borders[0].residuals_mm == pytest.approx([0, 0], abs=1e-9)
    assert found.columns(np.array([10.0, 15.0]))["position"] == pytest.approx([0, 50])
    assert (done.accuracy, done.held_out) == (1.0, None)
    assert "100.0 % of the labelled slices" in done.table() and "leave one out" not in done.table()


def test_calibrate__volumes_are_judged_by_the_others(scores: Path, tmp_path: Path) -> None:
    moved = THREE.replace("0-9,", "0-14,").replace(
        "10-29", "15-29"
    )  # this volume's border lies five slices lower than its scores say
    done = calibrate(
        scores,
        labels(tmp_path, HEADER + ONE + TWO + moved + ONE.replace("one", "four")),
        tmp_path / "r.json",
    )
    assert done.held_out_volumes == 4 and done.held_out == pytest.approx(1 - 5 / 240)
    assert done.regions.borders[0].volumes == 4 and sorted(
        done.regions.borders[0].residuals_mm
    ) == pytest.approx([0, 0, 0, 25], abs=1e-9)
    assert "(leave one out, 4 volumes)" in done.table()


def test_calibrate__a_border_that_one_volume_shows_has_no_residual(
    scores: Path, tmp_path: Path
) -> None:
    text = HEADER + "one,0-19,chest,\none,20-39,abdomen,\ntwo,30-44,abdomen,\ntwo,45-59,pelvis,\n"
    found = calibrate(scores, labels(tmp_path, text), tmp_path / "r.json").regions
    assert [(b.volumes, b.residuals_mm) for b in found.borders] == [(1, ()), (1, ())]


@pytest.mark.parametrize("unlabelled", [1, 2, 7])
def test_calibrate__a_border_lies_anywhere_among_unlabelled_slices(
    unlabelled: int, scores: Path, tmp_path: Path
) -> None:
    rows = [
        f"{key},0-{first - 1},chest,\n{key},{first + unlabelled}-59,abdomen,\n"
        for key, first in (("one", 20), ("two", 25), ("three", 10))
    ]
    (border,) = calibrate(
        scores, labels(tmp_path, HEADER + "".join(rows)), tmp_path / "r.json"
    ).regions.borders
    assert border.volumes == 3 and border.std == pytest.approx(0)
    # the last slice above scores 9.5, the first one below 10 + unlabelled / 2; the threshold is in
    # the middle, and the border may lie half of the unlabelled slices above or below it
    assert border.score == pytest.approx((9.5 + 10 + unlabelled / 2) / 2)
    assert min(border.residuals_mm) >= 5 * unlabelled / 2 - 1e-9
    assert max(border.residuals_mm) <= 5 * (unlabelled / 2 + 1)


def test_calibrate__a_part_between_two_others_leaves_them_no_border(
    scores: Path, tmp_path: Path
) -> None:
    text = HEADER + ONE + "two,0-20,chest,\ntwo,50-59,pelvis,\n"
    borders = calibrate(scores, labels(tmp_path, text), tmp_path / "r.json").regions.borders
    assert [border.volumes for border in borders] == [1, 1]


def test_calibrate__landmarks_alone_suffice(scores: Path, tmp_path: Path) -> None:
    done = calibrate(
        scores,
        labels(tmp_path, "series,index,landmark\none,20,carina\ntwo,25,carina\n"),
        tmp_path / "r.json",
    )
    assert (
        done.regions.parts == ()
        and done.regions.landmarks["carina"].score == pytest.approx(10)
        and done.accuracy is None
    )


def test_calibrate__parts_are_ordered_as_given_or_by_median_score(
    scores: Path, tmp_path: Path
) -> None:
    path = labels(tmp_path, HEADER + "one,40,zebra,\none,3,yak,\ntwo,30,apple,\n")
    assert calibrate(scores, path, tmp_path / "r.json").regions.parts == ("yak", "apple", "zebra")
    with pytest.raises(
        ValueError,
        match="has yak at slice 3 above zebra at slice 40, against the order apple, zebra, yak",
    ):
        calibrate(scores, path, tmp_path / "s.json", parts=("apple", "zebra", "yak"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"has the columns \[\]"),
        ("series,index\none,3\n", "it needs series, index, and part, landmark or both"),
        (HEADER, "has no label"),
        (
            HEADER + "oen,3,chest,\n",
            "line 2: no series 'oen' among the 6 scored ones; nearest: one",
        ),
        (HEADER + ONE + "one,60,pelvis,\n", "line 7: series one has slices 0 to 59, got index 60"),
        (HEADER + "one,9-3,chest,\n", "slices 0 to 59, got index 9-3"),
        (HEADER + "one,-1,chest,\n", "index must be a slice or a range such as 12-57, got '-1'"),
        (HEADER + "one,3.5,chest,\n", "got '3.5'"),
        (HEADER + "one,3,,\n", "neither a part nor a landmark"),
        (
            HEADER + ONE + "two,3,=cmd|' /C calc'!A0,\n",
            r"line 7: .=cmd.* cannot name a part or land",
        ),
        (
            HEADER + ONE + "two,3,,@SUM(A1)\n",
            "line 7: '@SUM.* the first none of = . - @, with which",
        ),
        (
            HEADER + ONE + "one,19-21,abdomen,\n",
            "line 7: slice 19 of series one is labelled chest and abdomen",
        ),
        (
            HEADER + ONE + TWO + "one,21,,liver_dome\n",
            "line 12: series one has liver_dome twice, at slices 20 and 21",
        ),
        (HEADER + "one,3-5,,liver_dome\n", "the landmark liver_dome needs one slice"),
        (HEADER + "short,0,chest,\n", "series short has 2 slices; a labelled one needs at least 3"),
        (
            HEADER + "flat,0-9,chest,\nflat,10-20,abdomen,\n",
            "volumes have the same score, so",
        ),
        (
            HEADER + "one,0-9,abdomen,\none,10-19,chest,\none,20-39,abdomen,\n",
            "a volume has abdomen at slice 9 above chest|correct the labels",
        ),
        (HEADER + "one,0-19,chest,\ntwo,0-9,chest,\n", "only the part chest is labelled"),
    ],
)
def test_calibrate__wrong_labels_are_one_line_and_write_nothing(
    text: str, reason: str, scores: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        calibrate(scores, labels(tmp_path, text), tmp_path / "r.json")
    assert "\n" not in str(refusal.value) and not (tmp_path / "r.json").exists()


def test_calibrate__wrong_options_are_one_line(scores: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, HEADER + ONE + TWO)
    for options, reason in (
        (
            {"parts": ("neck", "chest", "abdomen", "pelvis")},
            "no labelled slice of neck; add a volume that shows it",
        ),
        ({"parts": ("chest", "abdomen")}, r"labels \['pelvis'\] are not among the parts"),
        ({"parts": ("chest", "abdomen", "abdomen", "pelvis")}, "parts must differ"),
        (
            {"scale": ("liver_dome", "nose")},
            "the scale needs two landmarks, 'nose' is none; there are: iliac_crest, liver_dome",
        ),
        ({"scale": ("liver_dome", "liver_dome")}, "have the same score"),
    ):
        with pytest.raises(ValueError, match=reason):
            calibrate(scores, path, tmp_path / "r.json", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "r.json").exists()
    (tmp_path / "there.json").write_text("mine")
    with pytest.raises(ValueError, match=r"there\.json exists"):
        calibrate(scores, path, tmp_path / "there.json")


def test_calibrate__what_is_not_scores_or_labels_is_named(scores: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, HEADER + ONE)
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        calibrate(tmp_path, path, tmp_path / "r.json")
    pq.write_table(
        pa.table({"series": ["one"], "index": [0], "z_mm": [0.0], "score": [1.0]}),
        tmp_path / "slices.parquet",
    )
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        calibrate(tmp_path, path, tmp_path / "r.json")  # names no weights
    with pytest.raises(ValueError, match="does not exist"):
        calibrate(scores, tmp_path / "none.csv", tmp_path / "r.json")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read"):
        calibrate(scores, path, tmp_path / "r.json")


def test_calibrate__features_tell_parts_where_asked_for(scores: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="parts by features need scikit-learn (the extra labels)")
    text = labels(tmp_path, HEADER + ONE + TWO + THREE)
    with pytest.raises(
        ValueError, match=r"has no features\.npy; score with `features` into a new folder"
    ):
        calibrate(scores, text, tmp_path / "none.json", features=True)
    curves, _ = read_curves(scores)
    rng = np.random.default_rng(0)
    features = {
        key: rng.normal(0, 0.1, (len(curve.scores), 512)).astype(np.float32)
        for key, curve in curves.items()
    }
    for key, part in (("one", 20), ("two", 25), ("three", 10)):
        features[key][part:, :50] += 1
        features[key][part + 20 :, 50:100] += 1
    np.save(scores / "features.npy", np.concatenate([features[key] for key in curves]))
    found = calibrate(scores, text, tmp_path / "regions.json", features=True)
    assert found.by_features is not None and found.held_out is not None and found.by_features > 0.98
    assert "% by a classifier on the other volumes' features" in found.table()
    assert Regions.load(tmp_path / "regions.json").classifier is not None
    np.save(scores / "features.npy", features["one"])
    with pytest.raises(
        ValueError, match=r"features\.npy has 60 rows, slices\.parquet 302; score again"
    ):
        calibrate(scores, text, tmp_path / "other.json", features=True)
    landmark = labels(tmp_path, HEADER + "one,20,,liver_dome\n")
    with pytest.raises(ValueError, match="the labels name none; label parts"):
        calibrate(scores, landmark, tmp_path / "other.json", features=True)


def test_pairs__are_how_far_apart_volumes_see_a_landmark(scores: Path, tmp_path: Path) -> None:
    text = labels(
        tmp_path,
        HEADER + "one,20,,liver_dome\ntwo,25,,liver_dome\nfour,23,,liver_dome\nthree,8,,carina\n",
    )
    found = calibrate(scores, text, tmp_path / "regions.json").regions.pairs_mm
    # one and two are at their landmarks where they score 10; four, the same curve as one, has it
    # three slices further down
    assert found == pytest.approx([0, 0, 15, 15, 15, 15], abs=2.6)
    assert Regions.load(tmp_path / "regions.json").pairs_mm == found


# Labels and scores that contradict each other


def landmark_rows(**places: tuple[int, int]) -> str:
    """The slices of `upper` and `lower` in each series."""
    return HEADER + "".join(
        f"{key},{upper},,upper\n{key},{lower},,lower\n" for key, (upper, lower) in places.items()
    )


@pytest.mark.parametrize(
    ("places", "curves", "scale", "reason"),
    [
        (
            {"one": (20, 40), "two": (25, 45)},
            (1.0, 1.0),
            ("lower", "upper"),
            "lower is labelled below upper in 2 labelled volumes; give `scale` as upper lower",
        ),
        (
            {"one": (20, 40), "two": (45, 25)},
            (1.0, 1.0),
            ("upper", "lower"),
            "the labels contradict each other: upper lies below lower in 1 labelled volume and "
            "above it in 1; correct them",
        ),
        (
            {"one": (20, 22), "two": (25, 28)},
            (1.0, 1.0),
            ("upper", "lower"),
            "are labelled 12 mm apart; a `scale` needs landmarks at least 30 mm apart",
        ),
        (
            {"one": (20, 40), "two": (25, 45)},
            (-1.0, -1.0),
            ("upper", "lower"),
            "the scores put upper and lower -100 mm apart.* the labels put them 100 mm apart in 2 "
            "labelled volumes, so the weights are at fault",
        ),
        (
            {"one": (20, 40), "two": (20, 40), "three": (20, 40)},
            (1.0, -1.0, -1.0),
            ("upper", "lower"),
            "so the scores are at fault: those of series two fall towards the feet",
        ),
    ],
)
def test_scale__that_makes_no_sense_is_refused_with_whose_fault_it_is(
    places: dict[str, tuple[int, int]],
    curves: tuple[float, ...],
    scale: tuple[str, str],
    reason: str,
    tmp_path: Path,
) -> None:
    folder = write_scores(
        tmp_path / "s", {key: sign * Z / 10 for key, sign in zip(places, curves, strict=True)}
    )
    with pytest.raises(ValueError, match=reason) as refusal:
        calibrate(folder, labels(tmp_path, landmark_rows(**places)), tmp_path / "r", scale=scale)
    assert "\n" not in str(refusal.value) and not (tmp_path / "r").exists()


def test_scale__landmarks_that_the_scores_do_not_set_apart(tmp_path: Path) -> None:
    flat = Z / 10 + np.where((Z > 95) & (Z < 205), 10 - Z / 10, 0)  # 10 from slice 20 to 40
    flat += 1e-4 * np.arange(N)
    folder = write_scores(tmp_path / "s", {"one": flat, "two": flat})
    path = labels(tmp_path, landmark_rows(one=(20, 39), two=(21, 40)))
    with pytest.raises(ValueError, match=r"0 mm apart.* 95 mm apart .* the weights are at fault"):
        calibrate(folder, path, tmp_path / "r.json", scale=("upper", "lower"))
    alone = labels(tmp_path, HEADER + "one,21,,upper\ntwo,39,,lower\n")
    with pytest.raises(ValueError, match="no labelled volume shows both, so whether"):
        calibrate(folder, alone, tmp_path / "r.json", scale=("upper", "lower"))


def test_scale__positions_are_0_and_100_at_the_labels(scores: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, landmark_rows(one=(20, 27), two=(25, 32)))  # 35 mm apart suffice
    found = calibrate(scores, path, tmp_path / "r.json", scale=("upper", "lower")).regions
    assert found.columns(np.array([10.0, 13.5]))["position"] == pytest.approx([0, 100])


@pytest.mark.parametrize(
    ("curves", "text", "reason"),
    [
        (  # the volumes by themselves are clear, and place the parts differently
            {"one": Z / 10, "two": Z / 10},
            "one,0-9,chest,\none,10-14,abdomen,\none,15-59,pelvis,\n"
            "two,0-44,chest,\ntwo,45-49,abdomen,\ntwo,50-59,pelvis,\n",
            "do not separate abdomen from .* the volumes are labelled differently: correct the "
            "labels",
        ),
        (  # the scores do not rise where the abdomen begins
            {"one": np.where((Z >= 50) & (Z < 150), 5, Z / 10)},
            "one,0-15,chest,\none,16-20,abdomen,\none,30-59,pelvis,\n",
            "do not separate abdomen from chest: of 5 slices labelled abdomen, 5 are classified as "
            "chest, 0 as abdomen; the weights are at fault, not the labels",
        ),
        (
            {"one": np.minimum(Z, 100) / 10, "two": np.minimum(Z, 100) / 10},
            "one,0-19,chest,\none,20-29,abdomen,\ntwo,0-19,chest,\ntwo,30-59,pelvis,\n",
            "do not separate abdomen from pelvis.* no labelled volume shows both",
        ),
    ],
)
def test_parts__that_the_scores_would_drop_are_refused_with_whose_fault_it_is(
    curves: dict[str, NDArray[np.float64]], text: str, reason: str, tmp_path: Path
) -> None:
    folder = write_scores(tmp_path / "s", curves)
    options = {"parts": ("chest", "abdomen", "pelvis")}
    with pytest.raises(ValueError, match=reason) as refusal:
        calibrate(folder, labels(tmp_path, HEADER + text), tmp_path / "r", **options)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value) and not (tmp_path / "r").exists()


def test_parts__scores_that_fall_contradict_labels_that_agree(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "s", {"one": -Z / 10, "two": -Z / 10})
    with pytest.raises(
        ValueError,
        match="against the order pelvis, abdomen, chest of their scores; this order is labelled in "
        "2 labelled volumes: if that is right, the weights are at fault",
    ):
        calibrate(folder, labels(tmp_path, HEADER + ONE + TWO), tmp_path / "r.json")


def test_calibrate__reads_positions_where_there_are_some_or_scores_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curves = {"one": Z / 10, "two": Z / 10 - 2.5, "three": Z / 10 + 5}
    # In units of the score, what a line says of each: 0.3 more than its slices do.
    positions = {key: 50 * (curve + 0.3) for key, curve in curves.items()}
    folder = write_scores(tmp_path / "both", curves, positions)
    plain = write_scores(tmp_path / "plain", curves)
    text = labels(tmp_path, HEADER + ONE + TWO + THREE)
    found = calibrate(folder, text, tmp_path / "position.json").regions
    assert found.axis == "position" and Regions.load(tmp_path / "position.json") == found
    asked = calibrate(folder, text, tmp_path / "score.json", axis="score").regions
    assert asked.axis == "score"
    without = calibrate(plain, text, tmp_path / "plain.json").regions
    assert without == asked
    bent = {key: mm + 20 * np.sin(Z / 20) for key, mm in positions.items()}
    other = write_scores(tmp_path / "bent", curves, bent)
    by_scores = calibrate(other, text, tmp_path / "bent.json").by_scores
    assert by_scores == asked.levels() != found.levels()
    for name, level in found.levels().items():
        assert level.score == pytest.approx(asked.levels()[name].score + 0.3)
        assert level.residuals_mm == pytest.approx(asked.levels()[name].residuals_mm)
    assert found.pairs_mm == pytest.approx(asked.pairs_mm)
    with pytest.raises(ValueError, match="these scores have no positions"):
        calibrate(plain, text, tmp_path / "no.json", axis="position")
    with pytest.raises(ValueError, match="axis must be one of score, position, null, got 'mm'"):
        calibrate(folder, text, tmp_path / "no.json", axis="mm")  # type: ignore[arg-type]
    command = ["calibrate", str(folder), str(text), "--out"]
    assert main([*command, str(tmp_path / "a.json")]) == 0
    told = capsys.readouterr().out
    assert "calibrated on 3 volumes, by positions" in told and "at mm" in told
    assert "median mm  by scores" in told
    dome = next(line.split() for line in told.splitlines() if line.startswith("liver_dome"))
    assert float(dome[1]) == round(50 * found.landmarks["liver_dome"].score)
    assert main([*command, str(tmp_path / "b.json"), "--axis", "score"]) == 0
    told = capsys.readouterr().out
    assert "calibrated on 3 volumes, by scores" in told and "by scores  coverage" not in told
    assert Regions.load(tmp_path / "b.json") == asked
