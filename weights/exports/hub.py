"""What the Hugging Face hub reads beside tensors: the metadata at the top of a card, and a licence.

The fields are those of https://github.com/huggingface/hub-docs/blob/main/modelcard.md. What the
provenance does not state is left out.
"""

from __future__ import annotations

import math
import re
from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..artifact import Weights
from ..provenance import HeldOut

TASK = "image-feature-extraction"
TAGS = ("timm", "medical", "ct", "body-part-regression")
KNOWN = frozenset(
    {
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "isc", "zlib"),
        *("cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "unlicense", "wtfpl"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0"),
        *("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0"),
        *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-2.1"),
        *("lgpl-3.0", "mpl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "artistic-2.0", "bsl-1.0"),
    }
)
"""Licences that the hub knows, by its names for them. It takes any other as "other"."""
_METRICS = {
    "r": ("pearsonr", "mean Pearson r of score with position"),
    "ordered": ("ordered_pairs", "share of slice pairs in the right order"),
    "error_mm": ("error_mm", "distance from lines of one common slope, mm"),
}
"""Qualities of held-out series in the provenance: the hub's type and a name for each."""


def front_matter(weights: Weights) -> str:
    """The metadata at the top of a card, as YAML between two lines of dashes."""
    made = weights.made()
    name = f"ubr-{weights.backbone.rpartition('/')[2]}"
    results = _results(made.held_out or HeldOut())
    about = ModelCardData(
        library_name="timm",
        **_license(weights.license),
        base_model=_base_model(made.start.source if made.start else ""),
        pipeline_tag=TASK,
        tags=list(TAGS),
        model_name=name if results else None,
        eval_results=results or None,
    )
    return f"---\n{about.to_yaml()}\n---\n"


def license_text(license: str) -> str:
    """The text of a LICENSE file: whole for Apache-2.0, else the licence's name and its address."""
    if license == "unstated":
        return (
            "No licence is stated for these weights. Ask whoever made them before you use them or "
            "pass them on.\n"
        )
    known = _known(license)
    if known == "apache-2.0":
        return files(__package__).joinpath("licenses/apache-2.0.txt").read_text(encoding="utf-8")
    where = f"Its text: https://choosealicense.com/licenses/{known}/\n" if known else ""
    if known and known.startswith("cc"):
        where = f"Its text: {_creative_commons(known)}\n"
    return f"These weights are licensed under: {license}\n{where}"


def _license(license: str) -> dict[str, Any]:
    if license == "unstated":
        return {"license": "unknown"}
    if known := _known(license):
        return {"license": known}
    name = re.sub(r"[^a-z0-9.]+", "-", license.lower()).strip("-")
    return {"license": "other", "license_name": name or "unnamed", "license_link": "LICENSE"}


def _known(license: str) -> str | None:
    """The hub's name of a licence: "CC BY 4.0" is "cc-by-4.0"."""
    name = re.sub(r"[\s_]+", "-", license.strip().lower())
    return name if name in KNOWN else None


def _creative_commons(known: str) -> str:
    """The address of a Creative Commons licence's text."""
    if known == "cc0-1.0":
        return "https://creativecommons.org/publicdomain/zero/1.0/legalcode"
    terms, _, version = known.removeprefix("cc-").rpartition("-")
    return f"https://creativecommons.org/licenses/{terms}/{version}/legalcode"


def _base_model(source: str) -> str | None:
    """The hub's id of what a training began with, if the provenance names a model of timm's."""
    found = re.fullmatch(r"timm ([\w.-]+)", source)
    return f"timm/{found[1]}" if found else None


def _results(held_out: HeldOut) -> list[EvalResult]:
    """The qualities of held-out series, none of which needs a label."""
    if held_out.series is None:
        return []
    return [
        EvalResult(
            task_type=TASK,
            task_name="Position of axial CT slices in the body",
            dataset_type="held-out-ct",
            dataset_name=f"{held_out.series} CT series held out of the training",
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for key, (kind, name) in _METRICS.items()
        if (value := getattr(held_out, key)) is not None and math.isfinite(value)
    ]
