"""`ubr-detect`: the list of its verbs, which are in `verbs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ubr.weights.common import commandline
from ubr.weights.common.commandline import Verb

from .verbs import data, evaluation, prediction, training

DATA, DETECTOR = "Data", "Detector"

VERBS = {
    "check": Verb(data.check, "check a folder in DeepLesion's layout before training", DATA),
    "plant": Verb(
        data.plant, "plant known lesions in CT volumes, in DeepLesion's layout", DATA, resumes=True
    ),
    "train": Verb(
        training.train,
        "train a Faster R-CNN from random, UBR or ImageNet weights",
        DETECTOR,
        resumes=True,
    ),
    "evaluate": Verb(
        evaluation.evaluate, "evaluate a trained detector, with intervals and pictures", DETECTOR
    ),
    "predict": Verb(
        prediction.predict,
        "look for lesions in scans with a trained detector",
        DETECTOR,
        resumes=True,
    ),
    "export": Verb(
        prediction.export, "write a trained detector as ONNX or for torchvision", DETECTOR
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. Returns the exit status."""
    return commandline.main(
        "ubr-detect",
        "Lesion detection on DeepLesion and similar data, from transferred weights.",
        VERBS,
        argv,
    )


if __name__ == "__main__":  # how DDP starts its other processes
    sys.exit(main())
