"""Exports:

they open in plain libraries, come back bit for bit, say what they expect, and are never half
written.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import yaml

from tests.made.networks import BACKBONES, kept, weights_of
from ubr.weights import (
    InputSpec,
    Regressor,
    TransferError,
    Weights,
    export,
    files,
    fold,
    load,
    start,
)
from ubr.weights.exports import to_onnx
from ubr.weights.inputs import reference_slice
from ubr.weights.layouts import layouts_of

Exported = Callable[[str, str], tuple[Path, str]]
ENDINGS = {"torchvision": ".pth", "timm": "", "detectron2": ".pkl", "onnx": ".onnx"}
PAIRS = [(name, library) for name in BACKBONES for library in layouts_of(name, ["x"])]
SHOWN = [(name, library) for name, library in PAIRS if library != "detectron2"]
"""detectron2 is not installed."""


def file_of(path: Path) -> Path:
    """The file that holds an export's tensors."""
    return path / "model.safetensors" if path.is_dir() else path


def damaged(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of an export, whatever its form, and nothing else.

    The file is a new one: another link to the old one keeps what it held.
    """
    file = file_of(path)
    if file.suffix == ".pkl":
        with file.open("rb") as f:
            whole = pickle.load(f)
        tensors = {n: torch.from_numpy(a) for n, a in whole["model"].items()}
        change(tensors)
        whole["model"] = {n: t.numpy() for n, t in tensors.items()}
        file.unlink()
        file.write_bytes(pickle.dumps(whole))
    else:
        tensors = dict(
            safetensors.torch.load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, weights_only=True)
        )
        change(tensors)
        file.unlink()
        if file.suffix == ".safetensors":
            safetensors.torch.save_file(tensors, file)
        else:
            torch.save(tensors, file)


def _set(tensors: dict[str, torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    name = next(n for n, t in tensors.items() if t.ndim == 4 and t.shape[0] != t.shape[1])
    tensors[name] = change(tensors[name].clone()).contiguous()


def _renamed(tensors: dict[str, torch.Tensor]) -> None:
    name = next(n for n, t in tensors.items() if t.ndim == 4)
    tensors["kernel." + name] = tensors.pop(name)


def _dropped(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(n for n, t in tensors.items() if t.ndim == 4)]


SABOTAGE: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
    "altered": lambda t: _set(t, lambda x: x.add_(1e-6)),
    "at random": lambda t: _set(t, torch.randn_like),
    "cast": lambda t: _set(t, torch.Tensor.half),
    "transposed": lambda t: _set(t, lambda x: x.transpose(0, 1)),
    "dropped": _dropped,
    "renamed": _renamed,
    "scaled": lambda t: _set(t, lambda x: x.mul_(255)),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """Exports a network on first use: library and name -> the path, and the snippet.

    Nothing there may be changed; `linked` gives a copy.
    """
    root = tmp_path_factory.mktemp("exported")

    @cache
    def export_of(name: str, library: Any) -> tuple[Path, str]:
        path = root / name / library / f"x{ENDINGS[library]}"
        return path, export(kept(name), path, to=library)

    yield export_of
    shutil.rmtree(root)  # more than a gigabyte


def linked(made: Path, folder: Path) -> Path:
    """An export under its name in another folder, in links: `damaged` replaces what it changes."""
    for path in (made, *made.parent.glob(f"{made.name}.*")):
        copy: Any = partial(shutil.copytree, copy_function=os.link) if path.is_dir() else os.link
        copy(path, folder / path.name)
    return folder / made.name


@pytest.mark.parametrize(("name", "library"), PAIRS)
def test_export__comes_back_bit_for_bit(name: str, library: str, exported: Exported) -> None:
    """Every network in every layout."""
    weights, path = kept(name), file_of(exported(name, library)[0])
    back = start(name, str(path), inputs=weights.inputs)
    state = back.body.state_dict()
    assert set(state) == set(weights.trunk) and all(
        torch.equal(state[n], t) for n, t in weights.trunk.items()
    )
    assert back.origin == {"source": "an export of this project", "sha256": weights.sha256()}


SMALL = "timm/efficientnet_b0"
"""The smallest network that every library has."""


@pytest.mark.parametrize("library", ["torchvision", "timm", "detectron2"])
def test_export__is_refused_when_altered_or_under_another_contract(
    library: str, exported: Exported, tmp_path: Path
) -> None:
    made, _ = exported(SMALL, library)
    other = dataclasses.replace(kept(SMALL).inputs, window_hu=(-1000, 1000))
    with pytest.raises(ValueError, match="trained with window_hu, channels, mean, std"):
        start(SMALL, str(file_of(made)), inputs=other)
    for how, change in SABOTAGE.items():
        (tmp_path / how).mkdir()
        path = linked(made, tmp_path / how)
        damaged(path, change)
        with pytest.raises(ValueError, match="its tensors do not match its record"):
            files.read_foreign(file_of(path))
    assert files.read_foreign(file_of(made))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("cast", "of another dtype"),
        ("transposed", "of another shape"),
        ("dropped", "missing"),
        ("renamed", "missing"),
    ],
)
@pytest.mark.parametrize("name", ["vgg16", "timm/resnet18"])
def test_start__of_a_file_without_its_record_still_refuses_what_does_not_fit(
    name: str, how: str, reason: str, exported: Exported, tmp_path: Path
) -> None:
    path = linked(exported(name, "torchvision")[0], tmp_path)
    (tmp_path / "x.pth.inputs.json").unlink()
    damaged(path, SABOTAGE[how])
    with pytest.raises(TransferError, match=reason):
        start(name, str(path))


def in_plain_python(code: str, folder: Path) -> None:
    """Run in an interpreter that has nothing of this project and no internet."""
    check = "\nimport sys; assert not any(m.split('.')[0] == 'ubr' for m in sys.modules)"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, cwd=folder, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]


def the_map(name: str, library: str) -> str:
    """Python by which a user of a library takes the backbone's map from its model."""
    if library == "timm":
        which = -2 if name in ("vgg16", "vgg16_bn") else -1
        return (
            f"model.forward_intermediates(x, output_fmt='NCHW', intermediates_only=True)[{which}]"
        )
    if name in ("vgg16", "vgg16_bn", "alexnet", "timm/efficientnet_b0"):
        return "model.features[:-1](x)"
    if name == "timm/regnety_004":
        return "model.trunk_output(model.stem(x))"
    return (
        "model.features(x)"
        if name == "timm/convnext_tiny"
        else "torch.nn.Sequential(*list(model.children())[:-2])(x)"
    )


@pytest.fixture(scope="module")
def maps(
    exported: Exported, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], torch.Tensor]:
    """For each network and library the map that the snippet's model gives of the reference slice.

    The snippets are run as printed, the slice is made an image by their own recipe, and the maps
    come back in files. One interpreter runs all, because each takes seconds to import torch.
    """
    root = tmp_path_factory.mktemp("snippets")
    for name, library in SHOWN:
        weights, folder = kept(name), root / name / library
        mean, std = (
            f"torch.tensor({v}).view(3, 1, 1)" for v in (weights.inputs.mean, weights.inputs.std)
        )
        folder.mkdir(parents=True)
        np.save(folder / "hu.npy", reference_slice(weights.inputs)[0].numpy())
        snippet = exported(name, library)[1]
        image = re.search(r"# From a slice hu \[H, W\]: +(image = .*)", snippet)
        assert image is not None
        code = [
            snippet,
            "import numpy as np",
            f"hu = torch.from_numpy(np.load({str(folder / 'hu.npy')!r})).float()",
            image[1],
            "model.eval()",
            f"x = ((image - {mean}) / {std})[None]",
            f"np.save({str(folder / 'map.npy')!r}, {the_map(name, library)}.detach().numpy())",
        ]
        (folder / "snippet.py").write_text("\n".join(code))
    run_all = "import pathlib, runpy\nfor path in pathlib.Path().rglob('snippet.py'):\n"
    in_plain_python(run_all + "    runpy.run_path(str(path))", root)
    return {pair: torch.from_numpy(np.load(root.joinpath(*pair, "map.npy"))) for pair in SHOWN}


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "library"), SHOWN)
def test_export__snippets_work_in_plain_python_and_give_the_trunks_map(
    name: str, library: str, maps: dict[tuple[str, str], torch.Tensor]
) -> None:
    weights = kept(name)
    with torch.no_grad():
        expected = weights.build()(weights.inputs.to_input(reference_slice(weights.inputs)))
    found = maps[name, library]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["timm/resnet18", "vgg16"])
def test_timm__folder_makes_a_classifier_and_a_feature_model(name: str, exported: Exported) -> None:
    """Uses that a timm user has for a folder:

    fine-tuning with another head, features of several stages, the file as a checkpoint.
    """
    weights = kept(name)
    folder, _ = exported(name, "timm")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=3)
    own = model.state_dict()
    assert all(torch.equal(own[n], t) for n, t in weights.trunk.items())
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    features = timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True)
    assert len(features(torch.zeros(1, 3, 64, 64))) >= 5
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64] and config["ubr"]["inputs"][
        "window_hu"
    ] == [-200.0, 300.0]
    card = (folder / "README.md").read_text()
    assert (
        card.startswith("---\nlibrary_name: timm\nlicense: cc0-1.0\n") and weights.sha256() in card
    )
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "LICENSE",
    }


def test_timm__a_damaged_folder_does_not_load_in_part(exported: Exported, tmp_path: Path) -> None:
    damaged(linked(exported(SMALL, "timm")[0], tmp_path), SABOTAGE["dropped"])
    with pytest.raises(RuntimeError, match="Missing key"):
        timm.create_model(f"local-dir:{tmp_path / 'x'}", pretrained=True)


def test_torchvision__contract_lies_beside_in_its_own_terms(exported: Exported) -> None:
    weights = kept(SMALL)
    path, _ = exported(SMALL, "torchvision")
    contract = json.loads(path.with_name("x.pth.inputs.json").read_text())
    assert contract["image_mean"] == [0.485, 0.456, 0.406] and contract["image_std"] == [
        0.229,
        0.224,
        0.225,
    ]
    hu = reference_slice(weights.inputs)
    made: dict[str, Any] = {"torch": torch, "hu": hu[0].float()}
    exec(contract["image"], made)
    torch.testing.assert_close(made["image"], weights.inputs.to_image(hu)[0])


def test_detectron2__cfg_fragment_says_what_detectron2_must_know(exported: Exported) -> None:
    for name, backbone, sizes in (
        ("timm/resnet18", "build_resnet_fpn_backbone", [[16], [24], [32], [48], [96]]),
        ("vgg16", "ubr/vgg16", [[16, 24, 32, 48, 96]]),
    ):
        path, _ = exported(name, "detectron2")
        text = path.with_name("x.yaml").read_text()
        cfg = yaml.safe_load(text)
        model = cfg["MODEL"]
        assert model["BACKBONE"]["NAME"] == backbone and model["ANCHOR_GENERATOR"]["SIZES"] == sizes
        np.testing.assert_allclose(model["PIXEL_MEAN"], [123.675, 116.28, 103.53])
        np.testing.assert_allclose(model["PIXEL_STD"], [58.395, 57.12, 57.375])
        assert (
            cfg["INPUT"]["FORMAT"] == "RGB"
            and model["WEIGHTS"] == "x.pkl"
            and str(path.parent) not in text
        )
        with path.open("rb") as file:
            whole = pickle.load(file)
        assert set(whole) == {"model", "__author__", "ubr"}
        assert all(
            isinstance(a, np.ndarray) and n.startswith("backbone.")
            for n, a in whole["model"].items()
        )
    assert cfg["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == 1 and "RESNETS" not in cfg["MODEL"]


@pytest.mark.parametrize("name", BACKBONES)
def test_fold__raw_hu_give_the_same_features_up_to_the_border(name: str) -> None:
    weights = kept(name)
    folded = fold(weights)
    i, j = weights.inputs, folded.inputs
    assert (j.channels, j.mean, j.std, j.window_hu) == ("folded", (0, 0, 0), (1, 1, 1), i.window_hu)
    hu = torch.randint(
        -1024, 1500, (2, i.size_px, i.size_px), generator=torch.Generator().manual_seed(2)
    ).short()
    x = j.to_input(hu)
    assert (
        torch.equal(x[:, 0], hu.float().clamp(*i.window_hu))
        and not x[:, 1].any()
        and (x[:, 2] == 1).all()
    )
    with torch.no_grad():
        expected, found = weights.build()(i.to_input(hu)), folded.build()(x)
        copied = folded.build()(hu.float().clamp(*i.window_hu)[:, None].expand(-1, 3, -1, -1))
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5 * scale)
    assert (copied - expected).abs().max() > 0.01 * scale  # another channel rule is another thing


@pytest.mark.parametrize("name", ["timm/efficientnet_b0", "timm/convnext_tiny"])
def test_fold__of_weights_from_a_file_whose_tensors_are_in_another_order(
    name: str, tmp_path: Path
) -> None:
    kept(name).save(tmp_path / "w.safetensors")
    read = load(tmp_path / "w.safetensors")
    assert list(read.trunk) != list(kept(name).trunk)
    assert fold(read).inputs.channels == "folded"


def test_fold__scores_the_same_saves_and_goes_into_detectors(tmp_path: Path) -> None:
    weights = kept("timm/resnet18")
    folded = fold(weights)
    folded.save(tmp_path / "w.safetensors")
    grid = reference_slice(weights.inputs)
    with torch.no_grad():
        one, other = (
            Regressor.from_weights(w).eval().score(grid)
            for w in (weights, load(tmp_path / "w.safetensors"))
        )
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    export(weights, tmp_path / "x.pkl", to="detectron2", fold=True)
    cfg = yaml.safe_load((tmp_path / "x.yaml").read_text())
    assert cfg["MODEL"]["PIXEL_MEAN"] == [0, 0, 0] and cfg["MODEL"]["PIXEL_STD"] == [1, 1, 1]
    with pytest.raises(ValueError, match="trained with window_hu, channels"):
        start("timm/resnet18", str(tmp_path / "x.pkl"), inputs=weights.inputs)
    with pytest.raises(ValueError, match="already folded"):
        fold(folded)


def test_fold__refuses_where_the_features_would_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ubr.weights.folding.TOLERANCE", 1e-12)
    with pytest.raises(TransferError, match="the features differ by"):
        fold(kept("timm/resnet18"))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name", ["vgg16", "timm/test_resnet", "timm/test_efficientnet", "timm/test_vit"]
)
def test_onnx__scores_as_pytorch_does_for_any_number_of_slices(
    name: str, exported: Exported, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    weights = kept(name)
    path, snippet = exported(name, "onnx")
    assert [p.name for p in path.parent.iterdir()] == ["x.onnx"]
    regressor, side = Regressor.from_weights(weights).eval(), weights.inputs.size_px
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 2, 9):
        hu = torch.randint(-1024, 1500, (n, side, side), generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            expected = regressor.score(hu)
        (found,) = session.run(["score"], {"hu": hu.numpy().astype(np.float32)})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["ubr"])["inputs"] == json.loads(
        json.dumps(weights.inputs.to_dict())
    )
    in_plain_python(snippet + "\nassert scores.shape == (5,)", tmp_path)


def with_neighbours(name: str) -> Weights:
    weights = kept(name)
    return dataclasses.replace(
        weights, inputs=dataclasses.replace(weights.inputs, neighbours_mm=2.5)
    )


@pytest.mark.heavy
def test_onnx__takes_three_slices_where_the_contract_has_neighbours(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    weights = with_neighbours("timm/test_resnet")
    snippet = export(weights, tmp_path / "x.onnx", to="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    side = weights.inputs.size_px
    hu = torch.randint(-1024, 1500, (5, 3, side, side), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = Regressor.from_weights(weights).eval().score(hu)
    (found,) = session.run(["score"], {"hu": hu.numpy().astype(np.float32)})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    in_plain_python(snippet + "\nassert scores.shape == (5,)", tmp_path)


def test_exports__say_that_three_slices_make_an_image(tmp_path: Path) -> None:
    weights = with_neighbours("timm/resnet18")
    weights.save(tmp_path / "w.safetensors")
    assert load(tmp_path / "w.safetensors").inputs.neighbours_mm == 2.5
    told = export(weights, tmp_path / "x.pth", to="torchvision")
    line = re.search(
        r"# From hu \[3, H, W\], a slice between those 2.5 mm above and below: +(image = .*)", told
    )
    assert line
    hu = torch.randint(-1024, 1500, (3, 8, 8)).float()
    made: dict[str, torch.Tensor] = {}
    exec(line[1], {"torch": torch, "hu": hu}, made)
    torch.testing.assert_close(made["image"], weights.inputs.to_image(hu[None])[0])
    with pytest.raises(ValueError, match="takes three slices"):
        fold(weights)


@pytest.fixture(scope="module")
def small() -> Weights:
    return weights_of("timm/test_resnet")


@pytest.fixture(scope="module")
def conversions() -> list[Any]:
    return []


@pytest.fixture
def converted_once(conversions: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch convert the network `small` once for all tests of what comes after it."""
    convert = torch.onnx.export

    def once(*given: Any, **options: Any) -> Any:
        conversions[:] = conversions or [convert(*given, **options)]
        return conversions[0]

    monkeypatch.setattr(torch.onnx, "export", once)


def test_onnx__refusals(
    small: Weights, converted_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="without the head that scores"):
        export(dataclasses.replace(small, head={}), tmp_path / "x.onnx", to="onnx")
    with pytest.raises(ValueError, match="takes HU unchanged; `fold` is for the other"):
        export(small, tmp_path / "x.onnx", to="onnx", fold=True)
    monkeypatch.setattr(to_onnx, "PARITY", 0.0)
    with pytest.raises(TransferError, match="scores under onnxruntime differ"):
        export(small, tmp_path / "x.onnx", to="onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ValueError, match=r'exporting to ONNX needs onnxruntime: pip install "ubr-pretrain\[onnx'
    ):
        export(small, tmp_path / "x.onnx", to="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "to", "reason"),
    [
        (
            "x.pth",
            "torchvision",
            "backbone timm/test_resnet has no layout 'torchvision'; it has: timm, detectron2, onnx",
        ),
        ("x.bin", "detectron2", "the name of this export must end with .pkl"),
        ("x.pkl", "onnx", "the name of this export must end with .onnx"),
        ("x.pkl", "caffe", "unknown target 'caffe'; allowed: torchvision, timm, detectron2, onnx"),
    ],
)
def test_export__refuses_and_writes_nothing(
    small: Weights, out: str, to: Any, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        export(small, tmp_path / out, to=to)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "to"), [("a/b/x.pkl", "detectron2"), ("a/timm", "timm"), ("x.onnx", "onnx")]
)
def test_export__makes_folders_and_tells_where_from_anywhere(
    small: Weights,
    out: str,
    to: Any,
    converted_once: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    monkeypatch.chdir(tmp_path)
    snippet = export(small, out, to=to)
    assert (tmp_path / out).exists() and str(tmp_path / out) in snippet


def test_export__replaces_an_export_only_when_told_and_nothing_else_ever(
    small: Weights, tmp_path: Path
) -> None:
    folder, file = tmp_path / "folder", tmp_path / "x.pkl"
    export(small, folder, to="timm")
    export(small, file, to="detectron2")
    for path, to in ((folder, "timm"), (file, "detectron2")):
        with pytest.raises(ValueError, match="exists; give another path, or set `overwrite`"):
            export(small, path, to=to)  # type: ignore[arg-type]
        export(small, path, to=to, overwrite=True)  # type: ignore[arg-type]
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds files that no export wrote and will not be"):
        export(small, folder, to="timm", overwrite=True)
    assert (folder / "thesis.tex").read_text() == "years of work"
    with pytest.raises(ValueError, match="is a file and will not be replaced"):
        export(small, file, to="timm", overwrite=True)
    (tmp_path / "y.yaml").write_text("mine")  # what goes beside would replace this
    with pytest.raises(ValueError, match=r"y.yaml exists"):
        export(small, tmp_path / "y.pkl", to="detectron2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "x.pkl", "x.yaml", "y.yaml"]


def test_export__removes_what_a_killed_one_left(small: Weights, tmp_path: Path) -> None:
    code = (
        "import os, sys; from ubr.weights.common import disk\n"
        "with disk.whole(sys.argv[1]) as part:\n"
        "    part.mkdir(); (part / 'model.safetensors').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)"
    )
    folder = tmp_path / "folder"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert len(list(tmp_path.iterdir())) == 1 and not folder.exists()
    export(small, folder, to="timm")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("to", ["timm", "detectron2"])
def test_export__that_fails_leaves_nothing_and_keeps_what_was_there(
    small: Weights, to: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"x{ENDINGS[to]}"
    export(small, path, to=to)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    some = dataclasses.replace(small, trunk=dict(list(small.trunk.items())[1:]))
    with pytest.raises(TransferError):
        export(some, path, to=to, overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


def test_files__a_pickle_that_would_execute_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for ending in (".pkl", ".pth"):
        path = tmp_path / f"evil{ending}"
        path.write_bytes(pickle.dumps({"model": {"w": Evil()}, "__author__": "x"}))
        with pytest.raises(ValueError, match="without executing code"):
            files.read_foreign(path)
    assert not (tmp_path / "executed").exists()


def test_files__what_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="not a state dict, which maps names to tensors"):
        files.read_foreign(tmp_path / "list.pth")
    torch.save({"w": torch.tensor([float("nan")])}, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match="tensor 'w' holds NaN"):
        files.read_foreign(tmp_path / "nan.pth")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"blobs": {}}))
    with pytest.raises(ValueError, match="not a detectron2 checkpoint of arrays only"):
        files.read_foreign(tmp_path / "x.pkl")


def test_preparation__of_windows_on_either_side_of_zero() -> None:
    from ubr.weights.exports.common import preparation

    hu = torch.tensor([[-500.0, 10.0], [50.0, 900.0]])
    for window in ((-175.0, 275.0), (0.0, 80.0), (20.0, 120.0)):
        spec = InputSpec(window_hu=window)
        made: dict[str, Any] = {"torch": torch, "hu": hu}
        exec(preparation(spec, 255), made)
        torch.testing.assert_close(made["image"], spec.to_image(hu[None])[0] * 255)


def test_onnx__holds_nothing_of_the_machine(exported: Exported) -> None:
    onnx = pytest.importorskip("onnx")
    path, _ = exported("timm/test_resnet", "onnx")
    content = path.read_bytes()
    roots = {
        str(Path(torch.__path__[0]).parent),
        str(Path(files.__file__).parents[1]),
        "site-packages",
    }
    assert [root for root in roots if root.encode() in content] == []
    assert b".py" not in content
    (kept_,) = onnx.load(path).metadata_props
    assert kept_.key == "ubr" and json.loads(kept_.value)["backbone"] == "timm/test_resnet"


@pytest.mark.parametrize("library", ["torchvision", "timm", "detectron2", "onnx"])
def test_export__a_full_disk_is_one_line_and_leaves_nothing(
    library: Literal["torchvision", "timm", "detectron2", "onnx"],
    small: Weights,
    converted_once: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As each library meets it: PyTorch raises an error of its own, the others the system's."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def torchs(values: Any, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos 4 vs 2")

    monkeypatch.setattr(torch, "save", torchs)
    monkeypatch.setattr(safetensors.torch, "save", full)
    monkeypatch.setattr(pickle, "dump", full)
    monkeypatch.setattr(Path, "write_bytes", full)  # ONNX
    with pytest.raises(
        OSError, match=r"because the disk is full; make room|No space left on device"
    ):
        weights = small if library == "onnx" else kept(SMALL)
        export(weights, tmp_path / f"x{ENDINGS[library]}", to=library)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "to"), [("x.pkl", "detectron2"), ("x.pth", "torchvision")])
def test_export__interrupted_before_its_own_file_stood_is_finished(
    name: str, to: Any, tmp_path: Path
) -> None:
    weights = kept(SMALL)
    export(weights, tmp_path / name, to=to)
    expected = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(expected) == 2
    (tmp_path / name).unlink()
    export(weights, tmp_path / name, to=to)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected
    (beside,) = (path for path in tmp_path.iterdir() if path.name != name)
    (tmp_path / name).unlink()
    beside.write_text("mine")
    with pytest.raises(ValueError, match=f"{beside.name} exists; give another path, or set"):
        export(weights, tmp_path / name, to=to)
    assert beside.read_text() == "mine" and list(tmp_path.iterdir()) == [beside]
