"""How well a detector finds lesions: recall at k, FROC and COCO's AP, with intervals by patients.

Every tool counts differently. This one counts as follows:

* A box is (x1, y1, x2, y2), its area (x2 - x1)(y2 - y1), without the pixel that some published
  evaluations of DeepLesion add.
* Detections are matched one to one, in order of score: a detection takes the lesion that it
  overlaps best among those still free, or none. A second detection of the same lesion is a false
  positive. (Published FROCs of DeepLesion let one detection find several lesions and count a second
  detection neither as hit nor as false positive, which gives higher numbers.)
* A lesion is found where the IoU is greater than 0.5, as in the paper (section 3.2). COCO's AP
  alone takes IoU >= the threshold.
* Equal scores keep the order in which the detector gave them, images the order of the list.
* An image without a lesion adds only its false positives. Where there is no lesion at all, a share
  of lesions is NaN.

A metric is prepared once, as `Recall(k=5).on(results)`. Lesions are matched there; the result is a
function of how many times each image counts. The bootstrap then calls it a thousand times, at the
price of a few sums.
"""

from .ap import AveragePrecision, CocoAp, coco_ap
from .bootstrap import Interval, by_group, interval, intervals, paired_bootstrap
from .froc import FPS, Sensitivity, sensitivity_at
from .matching import ImageResult, Metric, matched
from .recall import SIZES, TYPES, OtherRecalls, Recall, recall_at
from .summary import report

__all__ = [
    "FPS",
    "SIZES",
    "TYPES",
    "AveragePrecision",
    "CocoAp",
    "ImageResult",
    "Interval",
    "Metric",
    "OtherRecalls",
    "Recall",
    "Sensitivity",
    "by_group",
    "coco_ap",
    "interval",
    "intervals",
    "matched",
    "paired_bootstrap",
    "recall_at",
    "report",
    "sensitivity_at",
]
