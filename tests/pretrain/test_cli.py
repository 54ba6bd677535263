"""The command line in-process: help, mistakes, and the verbs end to end on a toy store."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.made.toys import toy_store, toy_volume
from ubr.downstream.cli import main as detect
from ubr.pretrain.cli import VERBS, main
from ubr.weights import load


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy store, a finished run and two NIfTI files, made by the verbs themselves."""
    root = tmp_path_factory.mktemp("world")
    toy_store(root / "store")
    assert main(["fit", str(root / "store"), "--out", str(root / "run"), *TINY]) == 0
    (root / "scans").mkdir()
    for seed in (50, 51):
        volume = toy_volume(seed)
        ras = np.transpose(
            volume.hu[::-1, ::-1, ::-1], (2, 1, 0)
        )  # x to the right, y anterior, z superior last
        affine = np.diag([volume.spacing_mm[2], volume.spacing_mm[1], volume.spacing_mm[0], 1.0])
        nibabel.save(
            nibabel.Nifti1Image(np.ascontiguousarray(ras), affine),
            root / "scans" / f"{seed}.nii.gz",
        )
    return root


TINY = [
    "--backbone",
    "timm/test_resnet",
    "--inputs.size-px=32",
    "--g",
    "4",
    "--m",
    "4",
    "--steps",
    "6",
    "--accelerator",
    "cpu",
]


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a mistake is answered with."""
    capsys.readouterr()
    assert main(argv) == 2
    err = capsys.readouterr().err.strip()
    lines = [line for line in err.splitlines() if line.startswith("ubr-pretrain")]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


def test_help__lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0 and main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  {verb} ", shown, re.M) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help__every_option_of_a_verb_is_explained(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    entries = re.findall(
        r"^  (?:-h, )?(--?[\w.-]+|[A-Z_]+)(.*(?:\n {20,}\S.*)*)", shown.split("\n\n", 1)[1], re.M
    )
    takes = r"^ \S+(?=\s)|\(default:.*|\(required\)|\s|[A-Z_.\[\]]"
    bare = [name for name, text in entries if len(re.sub(takes, "", text, flags=re.S)) < 5]
    assert entries and not bare
    assert not [name for name, _ in entries if "_" in name and name.startswith("-")]


def test_help__of_a_verb_with_many_options_is_in_groups(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verb in VERBS:
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 100
        groups = re.findall(r"^(\w[^:\n]*):\n((?:  .*\n?)+)", shown.split("\n\n", 1)[1], re.M)
        counts = {title: len(re.findall(r"^  -", text, re.M)) for title, text in groups}
        if sum(counts.values()) > 9:  # --help is one of them
            assert len(counts) > 2 and "Most used" in counts
            assert set(re.findall(r"--[\w-]+", groups[-1][1].split("YAML")[0])) <= {
                "--help",
                "--print-config",
            }


def test_mistakes__unknown_verb_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown verb 'train'; allowed: demo, phantom, ingest" in refused(["train"], capsys)
    with pytest.raises(SystemExit) as stop:
        main(["ingest", "x", "--store", "y", "--wrokers", "3"])
    assert stop.value.code == 2
    assert "--wrokers" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_mistakes__of_every_verb_are_one_line(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--nonsense", "3"])
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert not shown.out and shown.err.count("\n") == 1
    assert re.match(rf"ubr-pretrain {verb}: (missing: |unknown option --nonsense)", shown.err)


def test_fit__dry_says_what_it_would_do_and_writes_nothing(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(world / "store"), "--out", str(world / "dry"), "--dry", *TINY]) == 0
    shown = capsys.readouterr().out
    assert (
        "train on 11 series of 11 patients (330 slices), hold out 1 series of 1" in shown
        and "6 steps of 4 x 4 slices" in shown
    )
    found = re.search(
        r"^estimated from a few steps: \d+ s without validation \(([\d.e+-]+) s per step\), memory "
        r"about [\d.]+ GB, disk about [\d.]+ GB \(\d.* GB free\)$",
        shown,
        re.M,
    )
    assert found and float(found[1]) > 0.001  # no upper limit: machines are busy at times
    assert not (world / "dry").exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--backbone", "timm/resnet19"], "unknown backbone 'timm/resnet19'; nearest: timm/resnet"),
        (["--inputs.size-px", "16", "--backbone", "alexnet"], "alexnet cannot take slices of 16"),
        (["--start", "nowhere.pth"], "unknown start 'nowhere.pth'"),
        (["--start", "README"], "README"),  # exists, and is no weights file
        (["--device", "mps"], "--device 'mps' is not available; this machine has cpu"),
        (["--place", "gpu", "--device", "cpu"], "--place 'gpu' needs a GPU, but the run is on cpu"),
        (["--devices", "5"], "5 processes cannot share g = 4 volumes per step; lower --devices"),
        (["--out", "store"], "store is not empty and holds no run; give a new --out"),
        (["--out", "README"], "README is not empty and holds no run; give a new --out"),
        (["--out", "README/run"], "is not a folder that can be written to; give another"),
        (["--out", "run"], "run holds another run (different recipe.steps); give a new --out"),
    ],
)
def test_fit__dry_refuses_what_cannot_run_as_the_run_does(
    more: list[str],
    reason: str,
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(world)
    (world / "README").write_text("of the scans")
    argv = ["fit", "store", "--out", "new", *TINY, "--steps", "7", *more]
    lines = [refused([*argv, *dry], capsys) for dry in (["--dry"], [])]
    assert reason in lines[0] and lines[0] == lines[1]
    assert not (world / "new").exists()


def test_fit__dry_knows_a_finished_run_and_one_that_was_stopped(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["fit", str(world / "store"), *TINY, "--dry"]
    assert main([*argv, "--out", str(world / "run")]) == 0
    assert "already finished; nothing would be trained" in capsys.readouterr().out
    shutil.copytree(world / "run", tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").unlink()
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    assert "would resume from step 6 of 6; estimated from" in capsys.readouterr().out


def test_fit__takes_the_config_of_a_run(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same recipe makes the same run, which is finished."""
    config = str(world / "run" / "config.yaml")
    argv = ["fit", str(world / "store"), "--out", str(world / "run"), "--config", config]
    assert main(argv) == 0
    assert "already finished; nothing was trained" in capsys.readouterr().out
    assert "different recipe.seed" in refused([*argv, "--seed", "9"], capsys)


def test_device__is_one_option_of_every_verb_that_computes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = set()
    for command, verb in (
        *((main, verb) for verb in ("fit", "score", "audit")),
        *((detect, verb) for verb in ("train", "evaluate", "predict")),
    ):
        with pytest.raises(SystemExit):
            command([verb, "--help"])
        shown = capsys.readouterr().out
        told |= set(re.findall(r"(?s)  --device [^\n]*\n.*?(?=\n  --|\n\n)", shown))
        assert "--accelerator" not in shown
        for spelling in ("--device", "--accelerator"):
            with pytest.raises(SystemExit):
                command([verb, spelling, "cpu"])
            assert f"{verb}: missing: " in capsys.readouterr().err  # not: unknown option
        words = [verb, "a", *["b"] * (verb in ("score", "evaluate", "predict"))]
        assert command([*words, "--out", "o", "--device", "xpu"]) == 2
        must = "--device must be one of auto, cpu, cuda, cuda:N, mps, got 'xpu'"
        assert must in capsys.readouterr().err
    (told,) = told
    told = " ".join(told.split())
    assert "--device auto|cpu|cuda|cuda:N|mps" in told and "(default: auto)" in told


@pytest.mark.parametrize(("command", "verb"), [(main, "fit"), (detect, "train")])
def test_off__is_null_in_help_and_errors(
    command: Callable[[list[str]], int], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command([verb, "--help"])
    shown = capsys.readouterr().out
    assert re.search(
        r"--clip-norm NUMBER\|null +largest gradient norm; null for no clipping", shown
    )
    with pytest.raises(SystemExit):
        command([verb, "a", "--out", "b", "--clip-norm", "none"])
    assert "--clip-norm must be a number or null, got none" in capsys.readouterr().err


def test_fit__recipe_gives_the_defaults_and_options_change_them(world: Path) -> None:
    config = yaml.safe_load((world / "run" / "config.yaml").read_text())["recipe"]
    assert (
        config["g"],
        config["m"],
        config["inputs"]["size_px"],
        config["order_scale"],
        config["unit"],
    ) == (4, 4, 32, 2.0, "mm")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            ["--recipe", "papper"],
            "unknown recipe 'papper'; allowed: default, lite, large, paper, paper_clipped, ",
        ),
        (["--backbone", "timm/resnet19"], "unknown backbone 'timm/resnet19'; nearest: timm/resnet"),
        (["--g", "40"], "11 series are left to train on, fewer than g = 40 per step"),
        (["--m", "1"], "--m must be in 2..256, got 1"),
        (["--steps", "0"], "--steps must be in 1"),
        (["--holdout", "2"], "--holdout must be in 0..1"),
        (
            ["--holdout", "[1234567890123456]"],
            "--holdout must be a number or a list [TEXT,...] with numbers in quotes, as '[\"1\"]', "
            "got 1234567890123456;",
        ),
        (
            ["--start-prefix", "x."],
            "--start-prefix 'x.' is for starts from a file, and 'random' is",
        ),
        (["--augment.crop-area", "0"], "--augment.crop-area must be in 0.05..1, got 0"),
        (["--inputs.window-hu", "[100, 0]"], "--inputs.window-hu must be (low, high)"),
        (["--start", "nowhere.pth"], "unknown start 'nowhere.pth'"),
        (["--place", "gpu"], "--place 'gpu' needs a GPU"),
    ],
)
def test_fit__mistakes_are_one_line_and_leave_no_run(
    more: list[str], reason: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        line = refused(
            ["fit", str(world / "store"), "--out", str(tmp_path / "run"), *TINY, *more], capsys
        )
    except SystemExit as stop:  # refused while the options were read
        assert stop.code == 2
        line = " ".join(capsys.readouterr().err.split())
    assert reason in line
    assert not (tmp_path / "run").exists()


def test_fit__no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["fit", str(tmp_path), "--out", str(tmp_path / "run")], capsys)
    assert "is not a store" in line and "ubr-pretrain ingest" in line


def test_fit__dry_gives_the_plan_as_json(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["fit", str(world / "store"), "--out", str(world / "dry"), "--json", *TINY]
    assert main([*argv, "--dry"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["train"] == {"series": 11, "patients": 11, "slices": 330}
    assert plan["held_out"]["series"] == 1
    (few,) = plan["notes"]
    assert few.startswith("only 11 series for a random start: use 100 or more")
    assert plan["recipe"]["steps"] == 6 and plan["recipe"]["inputs"]["size_px"] == 32
    assert "--json prints the plan of --dry; give both" in refused(argv, capsys)
    assert not (world / "dry").exists()


def test_fit__earlier_spellings_of_options_are_accepted(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["fit", str(world / "store"), "--out", str(world / "dry"), "--dry", *TINY]
    assert main([*argv, "--optimiser", "sgd", "--licence", "CC0", "--validate_every", "5"]) == 0
    assert "6 steps of 4 x 4 slices, sgd" in capsys.readouterr().out


def test_score__a_store_and_scans_give_a_row_a_slice(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(world / "run" / "weights.safetensors")
    assert (
        main(["score", weights, str(world / "store"), "--out", str(world / "s1"), "--workers", "0"])
        == 0
    )
    assert "scored        12 series, 360 slices" in capsys.readouterr().out
    assert (
        main(["score", weights, str(world / "scans"), "--out", str(world / "s2"), "--workers", "1"])
        == 0
    )
    table = pq.read_table(world / "s2" / "slices.parquet")
    columns = ["series", "index", "z_mm", "score", "position_mm", "interpolated"]
    assert table.column_names == columns and table.num_rows == 60
    expected = {"slices.parquet", "series.csv", "findings.csv", "left_out.csv", "settings.json"}
    assert {p.name for p in (world / "s2").iterdir()} == expected
    assert (world / "s2" / "findings.csv").read_text().splitlines()[
        0
    ] == "series,kind,first,last,confidence,reason"
    assert len((world / "s2" / "series.csv").read_text().splitlines()) == 3
    assert json.loads(table.schema.metadata[b"ubr"])["weights_sha256"]
    for file in (world / "s2").iterdir():
        assert b"50.nii" not in file.read_bytes()
    assert "is not empty" in refused(
        ["score", weights, str(world / "scans"), "--out", str(world / "run")], capsys
    )


def test_score__a_store_scores_like_the_scans_it_was_made_from(world: Path) -> None:
    weights = str(world / "run" / "weights.safetensors")
    assert (
        main(["ingest", str(world / "scans"), "--store", str(world / "again"), "--workers", "1"])
        == 0
    )
    assert (
        main(["score", weights, str(world / "again"), "--out", str(world / "s3"), "--workers", "0"])
        == 0
    )
    assert (
        main(["score", weights, str(world / "scans"), "--out", str(world / "s4"), "--workers", "0"])
        == 0
    )
    a, b = (
        pq.read_table(world / s / "slices.parquet").sort_by(
            [("series", "ascending"), ("index", "ascending")]
        )
        for s in ("s3", "s4")
    )
    assert a.equals(b)


def test_score__features_are_those_that_the_scores_are_made_of(world: Path, tmp_path: Path) -> None:
    score = [
        "score",
        str(world / "run" / "weights.safetensors"),
        str(world / "scans"),
        "--workers",
        "0",
    ]
    assert main([*score, "--out", str(tmp_path / "with"), "--features"]) == 0
    assert main([*score, "--out", str(tmp_path / "without")]) == 0
    one, other = (pq.read_table(tmp_path / name / "slices.parquet") for name in ("with", "without"))
    assert one.equals(other) and not (tmp_path / "without" / "features.npy").exists()
    features = np.load(tmp_path / "with" / "features.npy")
    head = load(world / "run" / "weights.safetensors").head
    scores = features @ head["fc7.weight"][0].numpy() + head["fc7.bias"].item()
    assert features.shape == (60, 512) and np.ptp(scores) > 0
    np.testing.assert_allclose(scores, one["score"].to_numpy(), rtol=1e-4, atol=1e-5)


def test_score__mistakes(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, out = str(world / "run" / "weights.safetensors"), str(tmp_path / "s")
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    assert "not a readable .safetensors file" in refused(
        ["score", str(tmp_path / "w.safetensors"), str(world / "scans"), "--out", out], capsys
    )
    assert "does not exist" in refused(
        ["score", str(tmp_path / "none"), str(world / "scans"), "--out", out], capsys
    )
    (tmp_path / "empty").mkdir()
    assert "could be scored" in refused(
        ["score", weights, str(tmp_path / "empty"), "--out", out], capsys
    )
    assert "nowhere" in refused(["score", weights, str(tmp_path / "nowhere"), "--out", out], capsys)
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "store.json").write_text('{"format": 99, "made_with": "ubr-pretrain 9"}')
    assert "store format 99" in refused(["score", weights, str(newer), "--out", out], capsys)
    assert not Path(out).exists()


def test_calibrate__labels_give_parts_positions_and_landmarks(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, scores, regions = (
        str(world / "run" / "weights.safetensors"),
        tmp_path / "scores",
        str(tmp_path / "regions.json"),
    )
    assert (
        main(["score", weights, str(world / "store"), "--out", str(scores), "--workers", "0"]) == 0
    )
    keys = pq.read_table(scores / "slices.parquet")["series"].unique().to_pylist()
    rows = [
        f"{key},0-9,chest,\n{key},10-29,abdomen,\n{key},3,,apex\n{key},25,,crest\n"
        for key in keys[:3]
    ]
    (tmp_path / "labels.csv").write_text("series,index,part,landmark\n" + "".join(rows))
    calibrate = ["calibrate", str(scores), str(tmp_path / "labels.csv"), "--out", regions]
    assert main([*calibrate, "--parts", "chest", "abdomen", "--scale", "apex", "crest"]) == 0
    shown = capsys.readouterr().out
    assert "calibrated on 3 volumes" in shown and re.search(r"^chest/abdomen .* 75 %$", shown, re.M)
    assert "exists; give a new --out" in refused(calibrate, capsys)

    read = ["score", weights, str(world / "scans"), "--workers", "0", "--regions", regions]
    assert main([*read, "--out", str(tmp_path / "with"), "--coverage", "0.75"]) == 0
    said = capsys.readouterr().out
    assert "no interval" not in said
    table = pq.read_table(tmp_path / "with" / "slices.parquet")
    columns = ["series", "index", "z_mm", "score", "position_mm", "interpolated"]
    columns += ["part", "position"]
    assert table.column_names == columns
    assert set(table["part"].to_pylist()) <= {"chest", "abdomen"}
    header, *series = csv.reader((tmp_path / "with" / "series.csv").open())
    assert header[-2:] == ["parts", "body_part_examined"] and all(
        row[-1] in {"CHEST", "ABDOMEN", "CHESTABDOMEN"} for row in series
    )
    shown = Counter(part for row in series for part in row[-2].split("; "))
    assert f"parts          2 series: {', '.join(f'{p} {n}' for p, n in shown.items())}" in said
    marks = list(csv.DictReader((tmp_path / "with" / "landmarks.csv").open()))
    assert len(marks) == 2 * 3 and {row["landmark"] for row in marks} == {
        "apex",
        "crest",
        "chest/abdomen",
    }
    assert all(float(row["low_mm"]) <= float(row["high_mm"]) for row in marks)
    assert all((row["z_mm"] == "") == (row["outside"] in {"superior", "inferior"}) for row in marks)

    assert main([*read, "--out", str(tmp_path / "few")]) == 0
    assert (
        "no interval at 90 % for apex, chest/abdomen, crest: fewer than 9 labelled volumes show"
        in _sorted_names(capsys)
    )


def _sorted_names(capsys: pytest.CaptureFixture[str]) -> str:
    """The note with its names in order: untrained scores may have them in any."""
    note = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("no interval")
    )
    start, names, end = re.fullmatch(
        r"(no interval at 90 % for )(.*?)(: "
        r".*)",
        note,
    ).groups()  # type: ignore[union-attr]
    return start + ", ".join(sorted(names.split(", "))) + end


def test_score__regions_of_other_weights_or_damaged_ones_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = [
        "score",
        str(world / "run" / "weights.safetensors"),
        str(world / "scans"),
        "--out",
        str(tmp_path / "s"),
    ]
    level = {"score": 0.0, "std": None, "volumes": 1, "without": [], "residuals_mm": []}
    other = {
        "format": 1,
        "weights_sha256": "f" * 64,
        "parts": [],
        "borders": [],
        "landmarks": {"apex": level},
        "scale": None,
    }
    (tmp_path / "other.json").write_text(json.dumps(other))
    (tmp_path / "cut.json").write_text(json.dumps(other)[:-9])
    assert "made with weights ffffffffffff" in refused(
        [*score, "--regions", str(tmp_path / "other.json")], capsys
    )
    assert "not a regions file" in refused(
        [*score, "--regions", str(tmp_path / "cut.json")], capsys
    )
    assert "does not exist" in refused([*score, "--regions", str(tmp_path / "none.json")], capsys)
    assert not (tmp_path / "s").exists()


def test_inspect__says_what_the_file_is_in_text_and_json(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(world / "run" / "weights.safetensors")
    assert main(["inspect", weights]) == 0
    text = capsys.readouterr().out
    assert main(["inspect", weights, "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["backbone"] == "timm/test_resnet" and about["exports_to"] == [
        "timm",
        "detectron2",
        "onnx",
    ]
    assert about["sha256"] in text and "window_hu: [-300.0, 400.0]" in text
    assert {"name", "kind", "shape"} <= about["tensors"][0].keys()
    numbers = sum(row["numbers"] for row in about["tensors"])
    assert f"{len(about['tensors'])} with {numbers:,} numbers; --json lists them" in text
    provenance = about["provenance"]
    assert provenance["start"] == {"source": "random", "initialisation": "timm's own", "seed": 0}
    assert (
        provenance["steps"] == 6
        and provenance["data"]["series"] == 11
        and re.fullmatch(r"[0-9a-f]{10}\+?", provenance["commit"] or "0" * 10)
    )


def test_fit__writes_a_card(world: Path) -> None:
    card = (world / "run" / "card.md").read_text()
    for part in (
        "## Intended use",
        "## Data",
        "## Limits",
        "timm/test_resnet",
        "HU -300..400",
        "11 series of 11 patients",
        "6 steps of 4 x 4",
    ):
        assert part in card


def test_export__writes_prints_and_refuses(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(world / "run" / "weights.safetensors")
    for to, name in (("timm", "folder"), ("detectron2", "x.pkl")):
        assert main(["export", weights, "--to", to, "--out", str(tmp_path / name)]) == 0
        assert str(tmp_path / name) in capsys.readouterr().out
        assert "exists" in refused(
            ["export", weights, "--to", to, "--out", str(tmp_path / name)], capsys
        )
        assert (
            main(
                [
                    "export",
                    weights,
                    "--to",
                    to,
                    "--out",
                    str(tmp_path / name),
                    "--overwrite",
                    "--fold",
                ]
            )
            == 0
        )
        assert "torch.ones_like(hu)" in capsys.readouterr().out if to == "timm" else True
    assert "has no layout 'torchvision'" in refused(
        ["export", weights, "--to", "torchvision", "--out", str(tmp_path / "t.pth")], capsys
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "x.pkl", "x.yaml"]


def test_fit__a_recipe_named_in_a_yaml_file_is_the_one_that_is_planned(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("recipe: reference_code\nstart: random\ng: 4\n")
    assert (
        main(
            [
                "fit",
                str(world / "store"),
                "--out",
                str(tmp_path / "run"),
                "--config",
                str(tmp_path / "mine.yaml"),
                "--dry",
            ]
        )
        == 0
    )
    assert "vgg16 from random start, 128 px, 10000 steps of 4 x 8 slices" in capsys.readouterr().out


def test_fit__a_run_that_diverges_says_so_and_leaves_no_weights(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = [
        "--optimizer",
        "sgd",
        "--lr",
        "10",
        "--schedule",
        "constant",
        "--clip-norm",
        "null",
        "--steps",
        "30",
        "--log-every",
        "5",
    ]
    line = refused(
        ["fit", str(world / "store"), "--out", str(tmp_path / "run"), *TINY, *wild], capsys
    )
    assert "lower --lr" in line
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_ingest__dry_and_a_list_of_patients_with_a_hole(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "ingest",
                str(world / "scans"),
                "--store",
                str(tmp_path / "dry"),
                "--workers",
                "1",
                "--dry",
            ]
        )
        == 0
    )
    assert (
        "would take          2 series" in capsys.readouterr().out
        and not (tmp_path / "dry").exists()
    )
    (tmp_path / "p.csv").write_text("file,patient\n50.nii.gz,\n")
    line = refused(
        [
            "ingest",
            str(world / "scans"),
            "--store",
            str(tmp_path / "s"),
            "--patients",
            str(tmp_path / "p.csv"),
        ],
        capsys,
    )
    assert "line 2 names no patient" in line


def test_ingest__json_names_no_path_that_the_text_would_not(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "scans" / "letter.txt").write_text("Dear colleague")
    argv = ["ingest", str(world / "scans"), "--store", str(tmp_path / "s"), "--workers", "1"]
    try:
        for more, taken in ((["--dry"], 0), ([], 2), ([], 0)):
            assert main([*argv, "--json", *more]) == 0
            shown = capsys.readouterr().out
            found = json.loads(shown)
            assert found["taken"]["series"] == taken and "letter" not in shown
            assert found["already_there"] == (2 if not taken and not more else 0)
            assert "nii" not in shown and len(found["would_take"]) == 2 * len(more)
            assert [set(one) for one in found["left_out"]] == [{"series", "reason"}]
        assert main([*argv, "--json", "--with-paths"]) == 0
        (left_out,) = json.loads(capsys.readouterr().out)["left_out"]
        assert left_out["path"].endswith("letter.txt")
    finally:
        (world / "scans" / "letter.txt").unlink()


def test_ingest__nothing_usable_is_a_mistake_not_a_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("Dear colleague")
    line = refused(
        ["ingest", str(tmp_path / "letters"), "--store", str(tmp_path / "s"), "--workers", "1"],
        capsys,
    )
    assert "1 were left out (most often: not DICOM" in line and not (tmp_path / "s").exists()


def test_recipe__a_start_from_a_file_is_recorded_by_content_not_path(tmp_path: Path) -> None:
    from ubr.pretrain.recipes import Recipe

    for name in ("secret-patient.pth", "elsewhere.pth"):
        (tmp_path / name).write_bytes(b"numbers")
    one, other = (
        Recipe(start=str(tmp_path / name)) for name in ("secret-patient.pth", "elsewhere.pth")
    )
    assert one.sha256() == other.sha256() and "secret" not in str(one.described())
    (tmp_path / "elsewhere.pth").write_bytes(b"other numbers")
    assert one.sha256() != other.sha256()


def test_recipe__what_is_not_said_of_a_start_does_not_change_its_digest() -> None:
    from ubr.pretrain.recipes import Recipe

    plain = Recipe()
    assert {"start_prefix", "assume_scale"}.isdisjoint(plain.described())
    for change in ({"start_prefix": "teacher"}, {"assume_scale": True}):
        said = Recipe(**change)  # type: ignore[arg-type]
        assert change.items() <= said.described().items() and said.sha256() != plain.sha256()


def test_fit__dry_opens_the_start(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import timm
    import torch

    run = ["fit", str(world / "store"), "--out", str(tmp_path / "run"), "--dry", *TINY]
    line = refused([*run, "--start", "none.pth"], capsys)
    assert "unknown start 'none.pth'; allowed: random" in line
    line = refused([*run, "--start", "https://a.b/c.pth"], capsys)
    assert "start 'https://a.b/c.pth' is a URL; download the file" in line
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    torch.save({"teacher": state, "student": state}, tmp_path / "x.pth")
    start = [*run, "--start", str(tmp_path / "x.pth")]
    assert "at 'student.' and 'teacher.'; give one of them as --start-prefix" in refused(
        start, capsys
    )
    start += ["--start-prefix", "teacher"]
    assert "set --assume-scale" in refused(start, capsys)
    configs = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    configs[0].write_text("assume_scale: true\n")
    configs[1].write_text("recipe:\n  assume_scale: true\n  steps: 2\n")
    assumed = "note: the start's scale is not stated by the file, assumed"
    for said in (["--assume-scale"], *(["--config", str(path)] for path in configs)):
        assert main([*start, *said]) == 0
        assert assumed in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
