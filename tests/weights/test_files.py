"""Files of others: what they hold is named, what they state is compared, what they do not state is
not taken for granted.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
import yaml
from safetensors.torch import save_file

from tests.made.networks import weights_of
from ubr.downstream.detector import faster_rcnn
from ubr.downstream.files import save_detector
from ubr.weights import InputSpec, TransferError, Weights, export, start
from ubr.weights.files import record_beside

SMALL = "timm/test_resnet"
HALF = InputSpec(mean=(0.5,) * 3, std=(0.5,) * 3)
"""The scale of timm's weights of the networks that it has for tests."""


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(timm.create_model("test_resnet", num_classes=0).state_dict())


@pytest.fixture(scope="module")
def made() -> Weights:
    return weights_of(SMALL, seed=5)


def holds(path: Path, tensors: dict[str, torch.Tensor], **more: Any) -> bool:
    found = start(SMALL, str(path), **more).body.state_dict()
    return all(torch.equal(found[name], tensors[name]) for name in found)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_scale__of_a_bare_file_is_compared_with_its_librarys_weights(
    ending: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"bare{ending}"
    torch.save(state, path) if ending == ".pth" else save_file(state, path)
    with pytest.raises(
        ValueError,
        match=r"bare.*: does not state its scale; if it is timm's: its first "
        r"convolution was trained on inputs of -1.00..1.00 and would get -2.12..2.64; .*"
        r"set `assume_scale`",
    ):
        start(SMALL, str(path), inputs=InputSpec())
    right = start(SMALL, str(path), inputs=HALF)
    assert right.origin["scale"] == "not stated by the file, taken to be that of timm's weights"
    assert right.origin["first_convolution_saw"] == [-1.0, 1.0]
    assumed = start(SMALL, str(path), inputs=InputSpec(), assume_scale=True)
    assert assumed.origin["scale"].endswith("assumed to be that of the contract")
    assert holds(path, state, inputs=HALF)


def test_scale__that_the_librarys_weights_do_not_agree_on_has_to_be_assumed(tmp_path: Path) -> None:
    """torchvision's VGG-16 is there on two scales, timm's tf_efficientnet_b0 as well."""
    torch.save(torchvision.models.vgg16().features.state_dict(prefix="features."), tmp_path / "v")
    with pytest.raises(ValueError, match=r"torchvision's weights of vgg16 have mean .* or mean"):
        start("vgg16", str(tmp_path / "v"), inputs=InputSpec())
    assert start("vgg16", str(tmp_path / "v"), inputs=InputSpec(), assume_scale=True)
    torch.save(timm.create_model("tf_efficientnet_b0").state_dict(), tmp_path / "e")
    with pytest.raises(ValueError, match=r"have mean \[0.485.* or mean \[0.5.*set `assume_scale`"):
        start("timm/tf_efficientnet_b0", str(tmp_path / "e"), inputs=InputSpec())
    model = timm.create_model("test_mambaout")
    torch.save(model.state_dict(), tmp_path / "m")
    with pytest.raises(ValueError, match="timm has no weights of timm/test_mambaout to compare"):
        start("timm/test_mambaout", str(tmp_path / "m"), inputs=InputSpec())


@pytest.mark.parametrize(
    ("mean", "std", "saw"),
    [
        ([103.53, 116.28, 123.675], [1.0, 1.0, 1.0], r"-123.67..151.47"),
        ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5], r"-1.00..1.00"),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], r"-1.00..1.00"),
    ],
)
@pytest.mark.parametrize("ending", [".pkl", ".pth"])
def test_scale__in_a_file_of_detectron2(
    ending: str, mean: list[float], std: list[float], saw: str, tmp_path: Path,
    state: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    tensors = {f"backbone.body.{n}": t for n, t in state.items()}
    tensors |= {
        "pixel_mean": torch.tensor(mean)[:, None, None],
        "pixel_std": torch.tensor(std)[:, None, None],
    }
    path = tmp_path / f"model{ending}"
    if ending == ".pth":
        torch.save({"model": tensors, "iteration": 9}, path)
    else:
        arrays = {n: t.numpy() for n, t in tensors.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "x"}))
    for more in ({}, {"assume_scale": True}):  # what is stated is not overruled
        with pytest.raises(ValueError, match=rf"model.*trained on inputs of {saw} and would get"):
            start(SMALL, str(path), inputs=InputSpec(), **more)  # type: ignore[arg-type]
    unit = 255 if max(mean) > 2 else 1
    right = InputSpec(mean=tuple(v / unit for v in mean), std=tuple(v / unit for v in std))  # type: ignore[arg-type]
    assert holds(path, state, inputs=right)


@pytest.mark.parametrize("to", ["torchvision", "timm"])
def test_export__away_from_what_lies_beside_it_still_states_its_contract(
    to: Any, tmp_path: Path
) -> None:
    """Its window says that it is the export's own contract, which no library knows."""
    weights = weights_of("timm/resnet18")
    out = tmp_path / ("r.pth" if to == "torchvision" else "r")
    export(weights, out, to=to)
    file = out if to == "torchvision" else out / "model.safetensors"
    moved = file.rename(tmp_path / f"moved{file.suffix}")
    assert not record_beside(moved).exists() and not moved.with_name("config.json").exists()
    with pytest.raises(ValueError, match=r"trained with window_hu, channels, mean, std .*-200"):
        start("timm/resnet18", str(moved), inputs=InputSpec())
    net = start("timm/resnet18", str(moved), inputs=weights.inputs)
    assert net.origin == {"source": "an export of this project", "sha256": weights.sha256()}
    loaded = torchvision.models.resnet18()
    if to == "torchvision":  # and torchvision opens it as before
        loaded.load_state_dict(torch.load(moved, weights_only=True), strict=False)
        assert torch.equal(loaded.conv1.weight, weights.trunk["conv1.weight"])


def test_export__of_another_network_with_the_same_tensors_is_no_start(tmp_path: Path) -> None:
    """tf_efficientnet_b0 pads otherwise and has another epsilon than efficientnet_b0."""
    weights = weights_of("timm/efficientnet_b0")
    export(weights, tmp_path / "t", to="timm")
    export(weights, tmp_path / "d.pkl", to="detectron2")
    export(weights, tmp_path / "v.pth", to="torchvision")
    for file in ("t/model.safetensors", "d.pkl", "v.pth"):
        with pytest.raises(
            ValueError,
            match=rf"{Path(file).name}: holds timm/efficientnet_b0, but the recipe's backbone is "
            r"timm/tf_efficientnet_b0; use backbone='timm/efficientnet_b0'",
        ):
            start("timm/tf_efficientnet_b0", str(tmp_path / file))
        assert start("timm/efficientnet_b0", str(tmp_path / file), inputs=weights.inputs)


def test_timm_folder__of_another_network_with_the_same_tensors_is_no_start(tmp_path: Path) -> None:
    save_file(timm.create_model("efficientnet_b0").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "efficientnet_b0"}))
    with pytest.raises(ValueError, match="holds timm/efficientnet_b0, but the recipe's backbone"):
        start("timm/tf_efficientnet_b0", str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("known_by", ["the file", "config.yaml beside it"])
def test_detector__of_this_project_states_its_contract(
    known_by: str, made: Weights, tmp_path: Path
) -> None:
    detector, _ = faster_rcnn(made)
    about = {"backbone": made.backbone, "inputs": made.inputs.to_dict()}
    if known_by == "the file":
        save_detector(detector, tmp_path / "best.pth", {"step": 3, "start": about})
    else:
        save_detector(detector, tmp_path / "best.pth", {"step": 3, "recall5": 0.4})
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"start": about, "recipe": {}}))
    path = str(tmp_path / "best.pth")
    other = dataclasses.replace(made.inputs, window_hu=(-1000.0, 1000.0))
    with pytest.raises(ValueError, match=r"trained with window_hu, channels, mean, std .*-200"):
        start(SMALL, path, inputs=other)
    with pytest.raises(ValueError, match="holds timm/test_resnet, but the recipe's backbone is"):
        start("alexnet", path)
    net = start(SMALL, path, inputs=made.inputs)
    assert net.origin["source"] == "a checkpoint of this project"
    assert torch.equal(net.body.state_dict()["conv1.0.weight"], made.trunk["conv1.0.weight"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{bad", r"config.json is not JSON .*correct it or move it away"),
        ('{"ubr": 3}', r"the record of its export, in it or beside it, is damaged"),
        ('{"ubr": {"inputs": {}}}', r"is damaged: backbone is missing; export"),
        (
            f'{{"mean": [0, 0, 0], "std": [1, 1, 1{"0" * 400}]}}',
            r"config.json: its mean .* must be",
        ),
        ('{"mean": [0.5], "std": [0.5]}', r"config.json: its mean \[0.5\] and std \[0.5\] must"),
        ('{"pretrained_cfg": {"mean": 1, "std": 2}}', r"config.json: its mean 1 and std 2 must be"),
        ('{"mean": [0.5, 0.5, 0.5], "std": [0, 1, 1]}', r"three numbers each, std positive"),
    ],
)
def test_config__that_is_damaged_is_named(
    text: str, reason: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        start(SMALL, str(tmp_path / "model.safetensors"), inputs=HALF)


@pytest.mark.parametrize(
    "text", ["[]", "7", '{"pretrained_cfg": null}', '{"model_type": "bert", "architectures": []}']
)
def test_config__of_another_program_says_nothing(
    text: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    assert holds(tmp_path / "model.safetensors", state, inputs=HALF)


def test_config__timms_earlier_form_states_the_scale_at_the_top(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "model.safetensors")
    about = {"architecture": "test_resnet", "mean": [0.485, 0.456, 0.406]}
    (tmp_path / "config.json").write_text(json.dumps(about | {"std": [0.229, 0.224, 0.225]}))
    net = start(SMALL, str(tmp_path / "model.safetensors"), inputs=InputSpec())
    assert net.origin["first_convolution_saw"] == [-2.118, 2.64] and "scale" not in net.origin


@pytest.mark.parametrize(
    ("holder", "prefix"),
    [
        ("_orig_mod.{}", "_orig_mod."),
        ("model.{}", "model."),
        ("encoder_q.backbone.{}", "encoder_q.backbone."),
        ("module._orig_mod.{}", "module._orig_mod."),
    ],
)
def test_prefix__that_is_not_usual_is_offered(
    holder: str, prefix: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {holder.format(n): t for n, t in state.items()}}, path)
    with pytest.raises(
        TransferError,
        match=rf"x.pth: holds timm/test_resnet at '{prefix}'; .* as `start_prefix`",
    ):
        start(SMALL, str(path))
    assert holds(path, state, start_prefix=prefix)
    assert holds(path, state, start_prefix=prefix.removesuffix("."))


def test_trunks__more_than_one_are_named_and_none_is_picked(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    other = {n: t + 1 for n, t in state.items()}
    dino = {"student": {f"module.backbone.{n}": t for n, t in other.items()}, "epoch": 3}
    torch.save({**dino, "teacher": {f"backbone.{n}": t for n, t in state.items()}}, tmp_path / "d")
    with pytest.raises(
        TransferError,
        match=r"holds 2 trunks of timm/test_resnet, at 'student.module.backbone.' and "
        r"'teacher.backbone.'; give one of them as `start_prefix`",
    ):
        start(SMALL, str(tmp_path / "d"))
    assert holds(tmp_path / "d", state, start_prefix="teacher.backbone.")
    assert holds(tmp_path / "d", other, start_prefix="student.module.backbone.")
    ema = {"state_dict": other, "state_dict_ema": state, "optimizer": {"state": {0: {}}}}
    torch.save(ema, tmp_path / "e")
    with pytest.raises(TransferError, match=r"holds 2 trunks .*at '' and 'state_dict_ema.'"):
        start(SMALL, str(tmp_path / "e"))
    assert holds(tmp_path / "e", state, start_prefix="state_dict_ema")
    assert holds(tmp_path / "e", other, start_prefix="")
    flat = {f"net.{n}": t for n, t in other.items()} | {f"ema.{n}": t for n, t in state.items()}
    save_file(flat, tmp_path / "f.safetensors")
    with pytest.raises(TransferError, match=r"holds 2 trunks .*at 'ema.' and 'net.'"):
        start(SMALL, str(tmp_path / "f.safetensors"))


def test_refusals__say_what_the_file_holds_and_name_it(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(torchvision.models.alexnet().state_dict(), tmp_path / "a.pth")
    with pytest.raises(
        TransferError,
        match=r"a.pth: holds no tensor of timm/test_resnet; it holds 16 tensors: 'features' 10, "
        r"'classifier' 6; give",
    ):
        start(SMALL, str(tmp_path / "a.pth"))
    torch.save(dict(list(state.items())[1:]), tmp_path / "cut.pth")
    with pytest.raises(TransferError, match=r"cut.pth: incomplete transfer"):
        start(SMALL, str(tmp_path / "cut.pth"))
    with pytest.raises(ValueError, match=r"start 'https://a.b/x.pth' is a URL; download"):
        start(SMALL, "https://a.b/x.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"empty.pth: not a state dict"):
        start(SMALL, str(tmp_path / "empty.pth"))


def test_features_only__a_state_dict_of_it_is_a_start(tmp_path: Path) -> None:
    model = timm.create_model("test_convnext", features_only=True)
    torch.save(model.state_dict(), tmp_path / "f.pth")
    net = start("timm/test_convnext", str(tmp_path / "f.pth"), inputs=HALF)
    assert torch.equal(net.body.state_dict()["stem.0.weight"], model.stem_0.weight)


class Wide:
    """Pickled, it is an array of 10^10 numbers, none of which is in the file."""

    def __reduce__(self) -> Any:
        reconstruct = np.zeros(1).__reduce__()[0]
        return reconstruct, (np.ndarray, (10**10,), b"f")


def forged(path: Path, state: dict[str, torch.Tensor], record: object) -> None:
    """A file as `export` writes it, with another record."""
    stored = OrderedDict(state)
    stored._metadata = record  # type: ignore[attr-defined]
    torch.save(stored, path)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"ubr_export": 5}, r"is damaged: it must be a table, got 5; export the weights again"),
        ({"ubr_export": {"backbone": 5}}, "is damaged: backbone must be a valid string, got 5"),
        (
            {
                "ubr_export": {
                    **dict.fromkeys(("backbone", "weights_sha256", "tensors_sha256"), "a"),
                    "inputs": [1],
                }
            },
            "is damaged: inputs must be a table",
        ),
    ],
)
def test_record__that_was_forged_is_one_line(
    record: object, reason: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    forged(tmp_path / "x.pth", state, record)
    with pytest.raises(ValueError, match=rf"x\.pth.*{reason}"):
        start(SMALL, str(tmp_path / "x.pth"), inputs=HALF)


def test_record__that_is_none_of_ours_is_passed_over(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    forged(tmp_path / "x.pth", state, 5)
    assert holds(tmp_path / "x.pth", state, inputs=HALF)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[" * 100_000),
        ("config.json", '{"mean": 1, "std": {"a": 1}}'),
        ("x.pth.inputs.json", '{"backbone": 1}'),
        ("x.pth.inputs.json", "[1, 2]"),
        ("config.yaml", "[" * 100_000),
        ("config.yaml", "a: &a [x]\nb: [*a, *a]"),
        ("config.yaml", "recipe: {backbone: 5, inputs: 3}"),
    ],
)
def test_beside__whatever_lies_there_is_one_line(
    name: str, content: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    path = tmp_path / ("model.safetensors" if name == "config.json" else "x.pth")
    if name == "config.json":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "pytorch-lightning_version": "2.6.6"}, path)
    with pytest.raises(ValueError) as raised:
        start(SMALL, str(path), inputs=HALF)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "loaded",
    [5, {"model": 5}, {"model": {"w": Wide()}}, {"model": {"w": np.array(["a"])}}, {"model": {}}],
)
def test_detectron2__what_is_no_checkpoint_of_arrays(loaded: object, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(loaded, protocol=4))
    with pytest.raises(ValueError, match=r"x\.pkl: not a (detectron2 checkpoint|state dict)"):
        start(SMALL, str(tmp_path / "x.pkl"), inputs=HALF)
