"""DeepLesion as a torch data set: images and targets as torchvision's detectors take them.

An image is windowed but not normalised (`InputSpec.to_image`), since detectors subtract mean and
std themselves. Of the contract only the intensity counts here: its size and field are the
pretraining's geometry, a detector's is the `View`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ubr.pretrain.data.deeplesion.images import IMAGES, slice_path
from ubr.pretrain.data.deeplesion.table import KeySlice, read_table
from ubr.weights import InputSpec

from .augmentation import Augmentation
from .geometry import prepare
from .slices import View, key_volume

LESION = 1
"""The label of every box.

0 is background to torchvision, and would train as such without an error.
"""


class DeepLesion(Dataset[tuple[Tensor, dict[str, Any]]]):
    """Key slices of one split with their lesions.

    An item is (image, target). image: float32 `[3, H, W]`, windowed, before mean and std. target:

        boxes     float32 [n, 4]: x1, y1, x2, y2 in the image, cut at its edges (a few official
                  boxes reach beyond their slice)
        labels    int64 [n]: 1, lesion
        image_id  int64: the key slice's index in `read_table` for this split and `keep_noisy`
        geometry  `geometry.Geometry`: from the slice to the image and back
        key       `KeySlice`: with the boxes as annotated

    Args:
        folder: in DeepLesion's layout.
        split: "train", "val" or "test".
        inputs: the intensity that the detector's weights expect.
        view: neighbours, pixel size, largest side. Three channels are three slices, each windowed
            by itself.
        augment: random views; none for validation.
        keep_noisy: keep boxes that are marked as possibly noisy.
        unreadable: what to do about an image that cannot be read. "stop": raise. "skip": return the
            next one instead, and list it in `unreadable_names`; files that are absent from the
            start are left out at once. An evaluation must stop, or it counts some images twice.
        share: share of the images, drawn by `seed`, at least one image; for studies with few
            labels. A smaller share is contained in a larger one with the same seed.
        seed: see share.

    Raises:
        ValueError: the share is outside 0..1, the table cannot be read, the contract or a trunk's
            three channels cannot hold the view, or files are absent.
    """

    def __init__(
        self,
        folder: Path | str,
        split: str,
        inputs: InputSpec,
        *,
        view: View | None = None,
        augment: Augmentation | None = None,
        keep_noisy: bool = False,
        unreadable: Literal["stop", "skip"] = "stop",
        share: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.view = view = view or View()
        if view.channels > 3:
            raise ValueError(
                f"a trunk takes three channels, got view.channels {view.channels}; choose 1 or 3"
            )
        if view.channels > 1 and inputs.channels == "folded":
            raise ValueError(
                "weights with channels 'folded' hold one slice, got view.channels 3; choose 1, "
                "or weights that are not folded"
            )
        if unreadable not in ("stop", "skip"):
            raise ValueError(f"unreadable must be 'stop' or 'skip', got {unreadable!r}")
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share:g}")
        self.folder, self.split = Path(folder), split
        self.images = self.folder / IMAGES
        self.inputs, self.augment, self.unreadable = inputs, augment, unreadable
        keys = read_table(Path(folder), split=split, keep_noisy=keep_noisy)
        self._places = list(range(len(keys)))
        if share < 1:
            drawn = np.random.default_rng([seed, 9]).permutation(len(keys))[
                : max(1, round(share * len(keys)))
            ]
            self._places = sorted(drawn.tolist())
            keys = [keys[i] for i in self._places]
        present = [slice_path(self.images, k.folder, k.index).is_file() for k in keys]
        absent = tuple(k.name for k, here in zip(keys, present, strict=True) if not here)
        if absent and (unreadable == "stop" or len(absent) == len(keys)):
            raise ValueError(
                f"{len(absent)} of {len(keys)} images of split {split} are absent from {IMAGES}, "
                f"the first is {absent[0]}.png; "
                "download their archives, or set unreadable='skip'"
            )
        self._absent = absent
        self._items = [
            (i, k) for i, (k, here) in enumerate(zip(keys, present, strict=True)) if here
        ]
        # In shared memory, so that loader workers report.
        self._damaged = torch.zeros(len(self._items), dtype=torch.bool)
        self._damaged.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def keys(self) -> list[KeySlice]:
        """The key slice of each item."""
        return [k for _, k in self._items]

    @property
    def unreadable_names(self) -> tuple[str, ...]:
        """Images that a worker failed to read, and those that are absent."""
        return self._absent + tuple(
            self._items[i][1].name for i in self._damaged.nonzero()[:, 0].tolist()
        )

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Any]]:
        return self.at(i, 0)

    def at(self, i: int, epoch: int) -> tuple[Tensor, dict[str, Any]]:
        """Item i in the random view of an epoch."""
        first = range(len(self))[i]
        for step in range(len(self)):
            item = (first + step) % len(self)
            try:
                return self._load(item, epoch)
            except ValueError:
                self._damaged[item] = True
                if self.unreadable == "stop":
                    raise
        raise ValueError(
            f"none of the {len(self)} images can be read, the first is "
            f"{self._items[first][1].name}.png; check the folder"
        )

    def _load(self, item: int, epoch: int) -> tuple[Tensor, dict[str, Any]]:
        number, key = self._items[item]  # among those drawn: a share has views of its own
        change = self.augment.draw(epoch, number) if self.augment else None
        hu, _ = key_volume(self.images, key, self.view)
        edges = [b.edges for b in key.boxes]
        hu, boxes, geometry = prepare(
            hu, edges, key.spacing_mm, change.of_view(self.view) if change else self.view
        )
        if change:
            hu = change.of_hu(hu)
            if change.flip:
                hu, geometry = hu[:, :, ::-1].copy(), geometry.flip()
                boxes = geometry.to_image(edges)
        # In float32, as they are trained on: there a sliver has no area.
        boxes = boxes.clip(0, np.tile(geometry.size_px, 2)).astype(np.float32)
        if (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError(
                f"{key.name}.png has a box outside the image; correct or remove its rows in the "
                "table"
            )
        target = {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.full((len(boxes),), LESION, dtype=torch.int64),
            "image_id": torch.tensor(self._places[number]),
            "geometry": geometry,
            "key": key,
        }
        return to_image(torch.from_numpy(hu), self.inputs), target


def to_image(hu: Tensor, inputs: InputSpec) -> Tensor:
    """A slice `[1, H, W]`, or three, in HU -> the image `[3, H, W]` before mean and std."""
    channels = inputs.to_image(hu)
    # Windowing is the contract's. It makes three equal channels of a slice; of neighbours each
    # gives its own.
    return (channels[0] if len(channels) == 1 else channels[:, 0]).contiguous()


def collate(
    batch: Iterable[tuple[Tensor, dict[str, Any]]],
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Images differ in size, so a batch is a list of images and a list of targets."""
    images, targets = zip(*batch, strict=True)
    return list(images), list(targets)
