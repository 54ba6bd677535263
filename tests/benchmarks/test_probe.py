"""The probe: a shared body axis, readings on unseen patients, and the table of a small world."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks import probe
from benchmarks.common import probing
from benchmarks.common import rows as result_rows
from tests.made.lesions import lesion_world
from tests.made.networks import weights_of
from ubr.pretrain.phantom.files import phantoms


def test_axis__is_what_all_series_agree_on() -> None:
    one = {"lung_apex": 20.0, "liver_dome": 220.0}
    other = {"liver_dome": 50.0, "iliac_crest": 250.0}
    axis = probing.body_axis([one, other, {"iliac_crest": 7.0}])
    assert axis == pytest.approx({"lung_apex": 0.0, "liver_dome": 200.0, "iliac_crest": 400.0})
    z = np.array([0.0, 20.0, 120.0, 220.0, 240.0])
    np.testing.assert_allclose(probing.levels_mm(one, z, axis), [-20, 0, 100, 200, 220], atol=1e-6)
    stretched = {"lung_apex": 0.0, "liver_dome": 400.0}
    np.testing.assert_allclose(probing.levels_mm(stretched, np.array([200.0]), axis), [100])
    with pytest.raises(ValueError, match="no series shows two landmarks"):
        probing.body_axis([{"iliac_crest": 7.0}])


def test_folds__keep_patients_together() -> None:
    patients = [f"p{i % 7}" for i in range(70)]
    fold = probing.folds_of(patients)
    assert set(fold) == set(range(5))
    assert all(len(set(fold[np.array(patients) == name])) == 1 for name in set(patients))
    with pytest.raises(ValueError, match="1 patient; a reading is judged on others"):
        probing.folds_of(["p", "p"])


def test_readings__find_what_is_there_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{i % 10}" for i in range(400)]
    fold = probing.folds_of(patients)
    mm = rng.uniform(0, 600, 400)
    known = np.stack([mm, *rng.normal(size=(7, 400))], axis=1)
    noise = rng.normal(size=(400, 8))
    off = [np.median(abs(probing.read_levels(x, mm, fold) - mm)) for x in (known, noise)]
    assert off[0] < 1 and off[1] > 100
    part = np.array(["chest", "abdomen", "pelvis"])[(mm // 200).astype(int)]
    right = [(probing.read_parts(x, part, fold) == part).mean() for x in (known, noise)]
    assert right[0] > 0.85 and right[1] < 0.5
    lesion = mm > 300
    found = [probing.auc(lesion, probing.read_lesions(x, lesion, fold)) for x in (known, noise)]
    assert found[0] > 0.99 and 0.35 < found[1] < 0.65


def test_interval__draws_patients() -> None:
    values = np.repeat([0.0, 1.0, 0.0, 1.0], 50)
    patients = [f"p{i // 50}" for i in range(200)]
    value, low, high = probing.with_interval(lambda of: float(values[of].mean()), patients)
    assert (value, low, high) == (0.5, 0.0, 1.0)


@pytest.mark.heavy
def test_program__one_row_for_each_trunk_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path / "results")
    data = tmp_path / "ct"
    phantoms(data, n=6, seed=0, form="nifti", size_px=32)
    begins: dict[str, dict[str, str]] = {}
    with (data / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            begins.setdefault(row["file"], {}).setdefault(row["region"], row["slice"])
    names = {"lung_apex": "chest", "liver_dome": "abdomen", "iliac_crest": "pelvis"}
    with (data / "catalog.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "patient", "region", *names])
        writer.writeheader()
        for name, parts in begins.items():
            # A part that begins with the scan has no border in it.
            marks = {n: parts[p] for n, p in names.items() if parts.get(p, "0") != "0"}
            writer.writerow({"file": name, "patient": name, "region": "", **marks})
    weights_of("timm/test_resnet").save(tmp_path / "w.safetensors")
    words = ["random", f"ubr={tmp_path / 'w.safetensors'}", "--like", f"{tmp_path}/w.safetensors"]
    words += ["--data", str(data), "--work", str(tmp_path / "work")]
    words += ["--lesions", str(lesion_world(tmp_path / "lesions"))]
    for _ in range(2):
        probe.main(words)
    rows = result_rows.read("probe")
    assert [row["trunk"] for row in rows] == ["random", "ubr"]
    for row in rows:
        assert 0 < float(row["level_mm_low"]) <= float(row["level_mm"])
        assert float(row["level_mm"]) <= float(row["level_mm_high"]) < 1000
        assert 0 <= float(row["part_accuracy"]) <= 1
        assert float(row["lesion_auc"]) > 0.8  # bright squares
    shown = capsys.readouterr().out
    assert "skipped, probe.csv has it" in shown and "\nubr " in shown
    lines = [f"{name},{'test' if i < 5 else 'val'}" for i, name in enumerate(sorted(begins))]
    (tmp_path / "split.csv").write_text("\n".join(["file,split", *lines]))
    probe.main([*words, "--split", f"{tmp_path}/split.csv", "--seed", "1"])
    of_all, of_test = (result_rows.read("probe")[i] for i in (0, 2))
    assert (of_all["patients"], of_test["patients"]) == ("5", "4")  # one shows no landmark
    assert (of_all["seed"], of_test["seed"]) == ("0", "1")
    assert of_all["weights"] != of_test["weights"]
    assert int(of_all["patch_patients"]) > int(of_test["patch_patients"]) == 3
    with pytest.raises(SystemExit, match=r"none\.pth: "):
        probe.main(["none.pth", *words[2:]])
