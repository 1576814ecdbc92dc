"""The box head's classification loss, and the weights of the four losses of training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mammodet.datasets.coco import CATEGORY_NAMES
from mammodet.datasets.errors import InputError

CLASSES = len(CATEGORY_NAMES) + 1  # 0 background, 1 benign, 2 malignant


@dataclass(frozen=True)
class LossConfig:
    """What the detector is trained on. The defaults are torchvision's losses.

    Args:
        classification: loss of the class of a region: "cross_entropy", or "focal" (Lin et al. 2017), which
            counts regions that are classified well already less.
        gamma: exponent of the focal loss; 0 is cross entropy.
        class_weights: factor on the loss of a region by its true class, of background, benign and malignant
            (the alpha of Lin et al. 2017); for either loss; null means 1 for all.
        weight_classifier: factor on the loss of the class of a region.
        weight_box_reg: factor on the loss of the place of a region.
        weight_objectness: factor on the loss of the proposals' scores.
        weight_rpn_box_reg: factor on the loss of the proposals' places.
        hard_negative_share: of the background regions that the box head is trained on in an image, at most
            this share are hard negatives.
    """

    classification: Literal["cross_entropy", "focal"] = "cross_entropy"
    gamma: float = 2.0
    class_weights: tuple[float, ...] | None = None
    weight_classifier: float = 1.0
    weight_box_reg: float = 1.0
    weight_objectness: float = 1.0
    weight_rpn_box_reg: float = 1.0
    hard_negative_share: float = 0.5

    def __post_init__(self) -> None:
        if self.classification not in ("cross_entropy", "focal"):
            remedy = "choose cross_entropy or focal"
            raise InputError(
                "unknown choice", field="loss.classification", value=self.classification, remedy=remedy
            )
        for name in ("gamma", *(name for name in vars(self) if name.startswith("weight_"))):
            value = getattr(self, name)
            if not 0 <= value < math.inf:  # false for NaN too
                raise InputError("must be a number from 0", field=f"loss.{name}", value=value)
        weights = self.class_weights
        if weights is not None and not (
            len(weights) == CLASSES and all(0 < one < math.inf for one in weights)
        ):
            raise InputError(
                f"must be {CLASSES} numbers above 0",
                field="loss.class_weights",
                value=weights,
                remedy="give the weights of background, benign and malignant, or null",
            )
        if not 0 <= self.hard_negative_share <= 1:
            raise InputError(
                "must be 0 to 1", field="loss.hard_negative_share", value=self.hard_negative_share
            )


def classification_loss(logits: Tensor, labels: Tensor, config: LossConfig) -> Tensor:
    """Return the mean over regions of the loss of their class, a float32 scalar; NaN without any region.

    Parameters
    ----------
    logits:
        [N, C], class 0 is background.
    labels:
        int64 [N], 0 to C - 1.
    config:
        Without ``class_weights``, "cross_entropy" is torchvision's, bit for bit.
    """
    alpha = None if config.class_weights is None else logits.new_tensor(config.class_weights)
    return focal_loss(logits, labels, config.gamma if config.classification == "focal" else 0.0, alpha)


def focal_loss(logits: Tensor, labels: Tensor, gamma: float, alpha: Tensor | None = None) -> Tensor:
    """Return the softmax focal loss (Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 5).

    The mean over all N regions of ``-alpha[y] * (1 - p[y]) ** gamma * log(p[y])``, where p is the softmax of
    a region's logits and y its label. The sum is divided by N, as torchvision's cross entropy in the box head
    is: N is the number of regions sampled. It is not divided by the number of positives, as Lin et al. do,
    who take every anchor; nor by the sum of the weights, as torch's weighted cross entropy does, by which a
    normal image, all background, would count as much whatever the weight of background.

    Parameters
    ----------
    logits:
        [N, C] with C of 2 or more, of any float dtype; computed in float32.
    labels:
        int64 [N], 0 to C - 1.
    gamma:
        0 or more. With 0 and without ``alpha`` the result equals ``F.cross_entropy``, bit for bit.
    alpha:
        [C], the weight of each class; None means 1.

    Returns
    -------
    Tensor
        float32 scalar; NaN when N is 0, as ``F.cross_entropy``.
    """
    logp = F.log_softmax(logits.float(), dim=1)  # [N, C]
    factor = torch.ones_like(labels, dtype=torch.float32)
    if gamma > 0:
        # log(1 - p[y]) from the other classes: 1 - p[y] itself would be lost to rounding where p[y] is near
        # 1, and its power has no finite slope at 0 for gamma below 1.
        own = F.one_hot(labels, logp.shape[1]).bool()
        factor = torch.exp(gamma * logp.masked_fill(own, -math.inf).logsumexp(dim=1))
    if alpha is not None:
        factor = factor * alpha.float()[labels]
    return F.nll_loss(logp * factor[:, None], labels)


def weigh_losses(losses: Mapping[str, Tensor], config: LossConfig) -> dict[str, Tensor]:
    """Return the losses of torchvision's Faster R-CNN, ``loss_NAME``, times ``weight_NAME``."""
    return {
        name: value * getattr(config, f"weight_{name.removeprefix('loss_')}")
        for name, value in losses.items()
    }
