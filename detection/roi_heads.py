"""The box head in training: a choice of classification loss, and hard negatives among its regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import box_iou

from mammodet.detection.losses import LossConfig, classification_loss

Samples = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]


class LesionRoIHeads(RoIHeads):
    """torchvision's box head with another loss of the class, and with hard negatives.

    Inference, parameters and their names are torchvision's. In training a target may hold ``hard_negatives``,
    float32 [M, 4] as ``[x1, y1, x2, y2]`` in the frame of its image: false positives of an earlier model.
    They are trained as background in every step (where there are more than fit, a random choice), in place
    of as many background regions drawn at random. Those that overlap a true box by the IoU from which a
    region is no background (0.5) are left out. The proposal network does not see them. With the default loss
    and without hard negatives all is torchvision's, bit for bit, random numbers included.
    """

    def __init__(self, *args: Any, loss: LossConfig | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss = loss or LossConfig()

    @classmethod
    def replacing(cls, heads: RoIHeads, loss: LossConfig) -> LesionRoIHeads:
        """Return heads with the modules and settings of torchvision's, which take no loss."""
        return cls(
            heads.box_roi_pool,
            heads.box_head,
            heads.box_predictor,
            heads.proposal_matcher.high_threshold,
            heads.proposal_matcher.low_threshold,
            heads.fg_bg_sampler.batch_size_per_image,
            heads.fg_bg_sampler.positive_fraction,
            heads.box_coder.weights,
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
            loss=loss,
        )

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections (none in training) and losses (none otherwise), as torchvision's.

        Parameters
        ----------
        features:
            Levels [B, C, h, w] by name.
        proposals:
            Of each image float32 [N, 4], ``[x1, y1, x2, y2]``.
        image_shapes:
            (height, width) of each image.
        targets:
            In training, checked by ``mammodet.detection.targets.check_targets``.
        """
        if not self.training:
            detections: tuple[list[dict[str, Tensor]], dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes, targets
            )
            return detections
        regions, _, labels, shifts = self.select_training_samples(proposals, targets)
        hidden = self.box_head(self.box_roi_pool(features, regions, image_shapes))
        logits, predicted_shifts = self.box_predictor(hidden)
        _, box_loss = fastrcnn_loss(logits, predicted_shifts, labels, shifts)
        class_loss = classification_loss(logits, torch.cat(labels), self.loss)
        return [], {"loss_classifier": class_loss, "loss_box_reg": box_loss}

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[dict[str, Tensor]] | None
    ) -> Samples:
        """Return per image regions [R, 4], matched true boxes [R], labels [R] and box shifts [R, 4].

        R is at most ``batch_size_per_image`` of the sampler, hard negatives included.
        """
        samples = super().select_training_samples(proposals, targets)
        own = zip(*samples, strict=True)  # image by image
        added = [self._add_hard(one, target) for one, target in zip(own, targets or (), strict=True)]
        regions, matched, labels, shifts = (list(part) for part in zip(*added, strict=True))
        return regions, matched, labels, shifts

    def _hard_negatives(self, target: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Return the hard negatives [M, 4] of a target that overlap no true box, as ``like`` is."""
        if "hard_negatives" not in target:
            return like[:0]
        hard = target["hard_negatives"].to(like)
        if not len(hard) or not len(target["boxes"]):
            return hard
        overlap = box_iou(target["boxes"].to(like), hard).amax(dim=0)
        return hard[overlap < self.proposal_matcher.low_threshold]

    def _add_hard(self, own: tuple[Tensor, ...], target: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the samples of an image with hard negatives for as many others as there is no room for."""
        hard = self._hard_negatives(target, own[0])
        if not len(hard):
            return own
        labels = own[2]
        size = self.fg_bg_sampler.batch_size_per_image
        lesions, others = torch.where(labels > 0)[0], torch.where(labels == 0)[0]
        room = size - len(lesions)
        hard = _draw(hard, int(self.loss.hard_negative_share * room))
        kept = torch.cat([lesions, _draw(others, room - len(hard))])
        # A negative has a matched box and shifts in torchvision too; nothing is learned from them.
        added = (hard, labels.new_zeros(len(hard)), labels.new_zeros(len(hard)), torch.zeros_like(hard))
        return tuple(torch.cat([part[kept], more.to(part)]) for part, more in zip(own, added, strict=True))


def _draw(rows: Tensor, limit: int) -> Tensor:
    """Return all rows, or ``limit`` of them at random."""
    if len(rows) <= limit:
        return rows
    return rows[torch.randperm(len(rows), device=rows.device)[:limit]]
