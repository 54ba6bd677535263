"""`ubr-pretrain`: the list of its verbs, which are in `verbs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ubr.weights.common import commandline
from ubr.weights.common.commandline import Verb

from .verbs import audit, data, dicomweb, scores, training, weights

FIRST, USES, SERVER, WEIGHTS = "First steps", "Use scores", "DICOMweb", "Weights"

VERBS = {
    "demo": Verb(data.demo, "run every step on synthetic CT, in minutes", FIRST, resumes=True),
    "phantom": Verb(
        data.phantom, "write synthetic CT series with known body position", FIRST, resumes=True
    ),
    "ingest": Verb(data.ingest, "read CT series of any format into a store", FIRST, resumes=True),
    "fit": Verb(
        training.fit, "train a body-part regressor on a store, without labels", FIRST, resumes=True
    ),
    "score": Verb(scores.score, "score every slice of a store or of scans", FIRST, resumes=True),
    "calibrate": Verb(
        scores.calibrate, "learn body parts and landmarks from a few labelled volumes", USES
    ),
    "audit": Verb(
        audit.audit, "report what each series of an archive states and shows", USES, resumes=True
    ),
    "select": Verb(
        audit.select, "choose the best series of each study for a range of the body", USES
    ),
    "report": Verb(
        scores.report, "write one page for a browser: findings, curves, histogram, slices", USES
    ),
    "montage": Verb(scores.montage, "draw slices with their indices, to label them", USES),
    "crop": Verb(scores.crop, "cut a scan to the slices between two levels", USES),
    "level": Verb(scores.level, "find the level of a slice in other exams", USES),
    "annotate": Verb(
        scores.annotate,
        "write parts and landmarks as DICOM reports",
        USES,
        resumes=True,
    ),
    "fetch": Verb(
        dicomweb.fetch, "fetch CT series from a DICOMweb server into a folder", SERVER, resumes=True
    ),
    "watch": Verb(
        dicomweb.watch, "report on each CT series of a DICOMweb server", SERVER, resumes=True
    ),
    "export": Verb(
        weights.export, "write the weights for torchvision, timm, detectron2 or ONNX", WEIGHTS
    ),
    "inspect": Verb(weights.inspect, "describe a weights file or a store", WEIGHTS),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. Returns the exit status."""
    return commandline.main(
        "ubr-pretrain",
        "Unsupervised body-part regression: pretraining on unlabelled CT.",
        VERBS,
        argv,
    )


if __name__ == "__main__":  # how DDP starts its other processes
    sys.exit(main())
