"""Mirror images at test time, and fuse what was found in them.

The boxes of all mirror images are fused by weighted boxes fusion (Solovyev, Wang and Gabruseva, Image and
Vision Computing 107, 2021): edges are means weighted by score, where suppression would keep those of the best
box alone. The score is the mean over all mirror images, also over those in
which there was no such box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

Flips = Literal["none", "horizontal", "all"]


@dataclass(frozen=True)
class Flip:
    """Mirror left and right, top and bottom, both, or neither."""

    horizontal: bool
    vertical: bool

    def pixels(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels [H, W] mirrored, as a view."""
        return pixels[:: -1 if self.vertical else 1, :: -1 if self.horizontal else 1]

    def boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Return boxes [N, 4] of an image of ``height`` x ``width`` pixels mirrored, and back as well."""
        x1, y1, x2, y2 = boxes.unbind(dim=1)
        if self.horizontal:
            x1, x2 = width - x2, width - x1
        if self.vertical:
            y1, y2 = height - y2, height - y1
        return torch.stack([x1, y1, x2, y2], dim=1)


FLIPS: dict[Flips, tuple[Flip, ...]] = {
    "none": (Flip(False, False),),
    "horizontal": (Flip(False, False), Flip(True, False)),
    "all": (Flip(False, False), Flip(True, False), Flip(False, True), Flip(True, True)),
}


@dataclass
class _Lesion:
    """Boxes that are taken for the same lesion; ``box`` is their mean, weighted by score."""

    label: int
    box: Tensor
    weight: float
    runs: set[int] = field(default_factory=set)

    def add(self, box: Tensor, score: float, run: int) -> None:
        total = self.weight + score
        # A score of 0 has no weight; the box then stays where it is.
        self.box = self.box if total == 0 else (self.box * self.weight + box * score) / total
        self.weight = total
        self.runs.add(run)


def fuse_runs(outputs: Sequence[dict[str, Tensor]], iou_threshold: float) -> dict[str, Tensor]:
    """Fuse what several runs over one image found.

    From the best score down, a box joins the fused box of its class that it overlaps most, by an IoU above
    ``iou_threshold``, and that has no box of the same run yet; otherwise it starts another one.

    Parameters
    ----------
    outputs:
        Of each run, all in the same frame: ``boxes`` [N, 4], ``labels`` [N], ``scores`` [N] in 0 to 1.
    iou_threshold:
        The detector's own for suppression: what it takes for one lesion in one run, it does in several.

    Returns
    -------
    dict
        ``boxes``, ``labels`` and ``scores``, by falling score. A score is the sum of those of the runs
        divided by the number of all runs: it stays in 0 to 1, and a box of one run in four counts a quarter.
    """
    found = [
        (score, run, label, box)
        for run, output in enumerate(outputs)
        for score, label, box in zip(
            output["scores"].tolist(), output["labels"].tolist(), output["boxes"].double(), strict=True
        )
    ]
    lesions: list[_Lesion] = []
    for score, run, label, box in sorted(found, key=lambda one: -one[0]):
        open_to_it = [one for one in lesions if one.label == label and run not in one.runs]
        if open_to_it:
            overlap, best = box_iou(box[None], torch.stack([one.box for one in open_to_it]))[0].max(dim=0)
            if overlap > iou_threshold:
                open_to_it[int(best)].add(box, score, run)
                continue
        lesions.append(_Lesion(label, box, score, {run}))
    lesions.sort(key=lambda one: -one.weight)
    return {
        "boxes": torch.stack([one.box for one in lesions]).float() if lesions else torch.zeros(0, 4),
        "labels": torch.tensor([one.label for one in lesions], dtype=torch.int64),
        "scores": torch.tensor([one.weight for one in lesions]) / len(outputs),
    }
