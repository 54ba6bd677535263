"""The starts of a detector that can be had: weights that are given, and those made from a seed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.common.comparison import ORDER
from ubr.downstream import starting_weights
from ubr.weights import InputSpec, Weights, load

SEED = "{seed}"
"""What stands for the seed in the name of a file."""
ASSUMED = " (scale assumed)"
"""Ends the name of a start whose file does not state the scale that it was trained on."""


@dataclass(frozen=True)
class Starts:
    """The starts that can be had.

    Attributes:
        names: in the order in which they are tried.
        given: weights by the name of their start; those of a random start are made from a seed.
        per_seed: the starts whose pretraining has the seed of the detector.
    """

    names: Sequence[str]
    given: Mapping[str, Weights]
    per_seed: frozenset[str] = frozenset()

    @property
    def backbone(self) -> str:
        """Of all starts."""
        return self.given["ubr"].backbone

    @property
    def inputs(self) -> InputSpec:
        """Of all starts."""
        return self.given["ubr"].inputs

    def given_weights(self, name: str) -> Weights | None:
        """The weights of a start, if it is not made from a seed."""
        return self.given.get(name.split(",")[0])

    def weights(self, name: str, seed: int) -> Weights:
        """The weights of a start."""
        given = self.given_weights(name)
        return given or starting_weights(self.backbone, name, self.inputs, seed)


def find_starts(options: argparse.Namespace, seed: int) -> Starts:
    """Load the weights that are given for a seed, and look for ImageNet's.

    Exits if weights cannot be loaded, were trained from another start, or differ in backbone or
    intensity.
    """
    files = {"ubr": options.ubr, "imagenet+ubr": options.imagenet_ubr}
    try:
        given = {name: load(file.replace(SEED, str(seed))) for name, file in files.items() if file}
    except ValueError as error:
        raise SystemExit(str(error)) from None
    per_seed = frozenset(name for name, file in files.items() if file and SEED in file)
    for name, weights in given.items():
        _check_start(name, weights, given["ubr"])
    names = ["random", "ubr"]
    if "imagenet" in (options.only or ORDER):
        try:
            given["imagenet"] = starting_weights(
                given["ubr"].backbone, options.imagenet, given["ubr"].inputs
            )
            names.append("imagenet")
        except ValueError as error:
            print(f"without ImageNet: {error}")
    names += ["imagenet+ubr"] if options.imagenet_ubr else []
    others = [_of_file(text, given["ubr"], options.assume_scale) for text in options.start]
    given |= others
    names += [name for name, _ in others]
    names += ["ubr, position", "ubr, shuffled position"] if options.position else []
    by_name = {name.removesuffix(ASSUMED): name for name in names}
    if missing := set(options.only or ()) - set(by_name):
        raise SystemExit(
            f"--only {', '.join(sorted(missing))}: not among the starts that can be had here: "
            f"{', '.join(by_name)}"
        )
    return Starts([by_name[name] for name in options.only or by_name], given, per_seed)


def start_columns(starts: Starts, name: str) -> dict[str, object]:
    """The columns of rows that describe a start."""
    weights = starts.given_weights(name)
    return {
        "start": name,
        "weights": weights.sha256()[:12] if weights else "",
        "pretraining": pretraining(weights, name.split(",")[0] in starts.per_seed)
        if weights and "ubr" in name
        else "",
        "intensity": " ".join(map(str, starts.inputs.intensity())),
        "backbone": starts.backbone,
    }


def pretraining(weights: Weights, per_seed: bool) -> str:
    """What distinguishes UBR trainings, apart from their start: input, length, rate, seed, data.

    Where each detector has a pretraining of its own, the seed is the detector's.
    """
    about = weights.provenance
    data = about.get("data", {})
    near = (
        f" and neighbours at {weights.inputs.neighbours_mm:g} mm"
        if weights.inputs.neighbours_mm
        else ""
    )
    seed = "the detector's seed" if per_seed else f"seed {about.get('seed', '?')}"
    rate = f" at {about['recipe']['lr']:g}" if "recipe" in about else ""
    length = f"{about.get('steps', '?')} steps{rate}, {seed}"
    return (
        f"{weights.inputs.size_px} px{near}, {length}, {data.get('series', '?')} series "
        f"{str(data.get('fingerprint', '?'))[:12]}"
    )


def _of_file(text: str, ubr: Weights, assume_scale: bool) -> tuple[str, Weights]:
    """The start called NAME from a FILE with a trunk of the same network, given NAME=FILE.

    The name says where the scale that the file was trained on is not known.

    Exits if the file is none, or does not fit.
    """
    name, _, file = text.partition("=")
    if not name or not file or name in ORDER:
        raise SystemExit(f"--start is NAME=FILE, with a NAME unlike {', '.join(ORDER)}; got {text}")
    try:
        weights = starting_weights(ubr.backbone, file, ubr.inputs, assume_scale=assume_scale)
    except ValueError as error:
        raise SystemExit(f"--start {name}: {error}") from None
    scale = str(weights.provenance["start"].get("scale", ""))
    return name + ASSUMED * ("assumed" in scale), weights


def _check_start(name: str, weights: Weights, ubr: Weights) -> None:
    source = str(weights.provenance.get("start", {}).get("source", "unknown"))
    wanted = "imagenet" if "+" in name else "random"
    option = f"--{name.replace('+', '-')}"
    if source.startswith("random") != (wanted == "random") or source == "unknown":
        raise SystemExit(
            f"{option} was trained from the start {source!r}, not {wanted}; give other weights"
        )
    ours, theirs = ((w.backbone, w.inputs.intensity()) for w in (ubr, weights))
    if ours != theirs:
        raise SystemExit(
            f"{option} has the backbone and intensity {theirs}, --ubr {ours}; train both alike"
        )
