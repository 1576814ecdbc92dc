"""A training step on fake tensors: sizes and lifetimes of all tensors, without content, nothing computed.

The network is the real one, at the real size, in forward and backward. What depends on content (which
proposals are left, which boxes match) is replaced by as many as the configuration allows at most.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torchvision.models.detection import FasterRCNN
from torchvision.ops import roi_align

from mammodet.datasets.errors import InputError
from mammodet.detection.checkpointing import checkpoint_activations
from mammodet.detection.memory_trace import TensorMemory
from mammodet.detection.model import DetectorConfig, build_detector

OPTIMIZER_COPIES = {"sgd": 1, "adam": 2, "adamw": 2}  # numbers kept for each trained weight


@dataclass(frozen=True)
class TrainingSetup:
    """What decides how much memory a training step takes.

    Args:
        config: of the detector; ``norm``, ``image_mean`` and ``image_std`` need not be resolved.
        height: of the largest image, or of the crop, in pixels.
        width: of the same.
        batch_size: images per step.
        precision: "fp32", or "bf16" by autocast.
        checkpointing: whether ``checkpoint_activations`` is on.
        optimizer: "sgd" (with momentum), "adam" or "adamw".
        ema: whether a running mean of the weights is kept.
        accumulate: batches whose gradients are added up before a step.
        boxes: most lesions of one image.
    """

    config: DetectorConfig
    height: int
    width: int
    batch_size: int = 1
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpointing: bool = False
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    ema: bool = False
    accumulate: int = 1
    boxes: int = 4

    def __post_init__(self) -> None:
        for name in ("height", "width", "batch_size", "accumulate", "boxes"):
            if getattr(self, name) < 1:
                raise InputError("must be 1 or more", field=name, value=getattr(self, name))
        for name, choices in (("precision", ("fp32", "bf16")), ("optimizer", tuple(OPTIMIZER_COPIES))):
            if getattr(self, name) not in choices:
                remedy = f"choose one of {', '.join(choices)}"
                raise InputError("unknown choice", field=name, value=getattr(self, name), remedy=remedy)


@dataclass(frozen=True)
class Rehearsal:
    """Bytes of tensors: those that training keeps all the time, and the most that were alive at once."""

    weights: int
    gradients: int
    optimizer: int
    ema: int
    peak: int


def rehearse(setup: TrainingSetup) -> Rehearsal:
    """Return what the tensors of a training step take, counted on fake tensors; a few seconds.

    The step is one that is not the first: the optimiser has its state, and the gradients of the step before
    are there until the backward pass starts (Lightning's order), or longer when gradients are accumulated.
    """
    lists: dict[str, Any] = {  # which a YAML file may have made
        name: tuple(getattr(setup.config, name)) for name in ("anchor_sizes", "anchor_ratios")
    }
    return _rehearsed(replace(setup, config=replace(setup.config, **lists)))


@lru_cache(maxsize=64)
def _rehearsed(setup: TrainingSetup) -> Rehearsal:
    model = _meta_detector(setup)
    collecting = gc.isenabled()
    gc.disable()  # a collection in between would make the count depend on what ran before
    try:
        with FakeTensorMode():
            _as_fake(model)
            return _count_step(model, setup)
    finally:
        if collecting:
            gc.enable()


def _meta_detector(setup: TrainingSetup) -> FasterRCNN:
    config = setup.config
    norm = "batch" if config.norm == "auto" else config.norm
    config = replace(config, norm=norm, image_mean=0.0, image_std=1.0)
    with torch.device("meta"):
        model = build_detector(config).to(memory_format=torch.channels_last).train()
    if setup.checkpointing:
        checkpoint_activations(model)
    return model


def _as_fake(model: FasterRCNN) -> None:
    """Make all tensors of a model fake ones of the CPU; ``Module.to`` cannot do that."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(_like(parameter), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _like(buffer)
    anchors = model.rpn.anchor_generator
    anchors.cell_anchors = [_like(one) for one in anchors.cell_anchors]


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")


def _count_step(model: FasterRCNN, setup: TrainingSetup) -> Rehearsal:
    _without_content(model)
    images = [torch.empty(1, setup.height, setup.width) for _ in range(setup.batch_size)]
    target = {"boxes": torch.empty(setup.boxes, 4), "labels": torch.ones(setup.boxes, dtype=torch.int64)}
    trained = [one for one in model.parameters() if one.requires_grad]
    kept = [*model.parameters(), *model.buffers()]
    weights = sum(one.nbytes for one in kept)
    gradients = sum(one.nbytes for one in trained)
    optimizer = gradients * OPTIMIZER_COPIES[setup.optimizer]
    ema = weights if setup.ema else 0
    memory = TensorMemory()
    memory.hold([*kept, *images])
    with memory:
        state = torch.empty(optimizer + ema, dtype=torch.uint8)
        for one in trained:
            one.grad = torch.empty_like(one)
        with torch.autocast("cpu", torch.bfloat16, enabled=setup.precision == "bf16"):
            loss = _loss(model, images, [target] * setup.batch_size)
        if setup.accumulate == 1:
            for one in trained:
                one.grad = None
        loss.backward()
        del state
    return Rehearsal(weights, gradients, optimizer, ema, memory.peak)


def _loss(model: FasterRCNN, images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
    """Do as ``GeneralizedRCNN.forward`` does, without its checks of content."""
    batch, _ = model.transform(images)  # with targets it would look into them
    features = model.backbone(batch.tensors)
    proposals, losses = model.rpn(batch, features, targets)
    _, more = model.roi_heads(features, proposals, batch.image_sizes, targets)
    return torch.stack([*losses.values(), *more.values()]).sum()


def _without_content(model: FasterRCNN) -> None:
    """Replace what depends on content by as much of it as there can be."""
    rpn, heads = model.rpn, model.roi_heads
    proposals = rpn.post_nms_top_n()
    regions = heads.fg_bg_sampler.batch_size_per_image

    def filter_proposals(boxes: Tensor, scores: Tensor, *_: Any) -> tuple[list[Tensor], list[Tensor]]:
        return [one.new_empty(proposals, 4) for one in boxes], [one.new_empty(proposals) for one in boxes]

    def assign(anchors: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        labels, matched = [], []
        for own, target in zip(anchors, targets, strict=True):
            quality = rpn.box_similarity(target["boxes"], own)
            values, indices = quality.max(dim=0)
            masks = [values < 0.3, values >= 0.3, indices.clone(), quality == quality.max(dim=1)[0][:, None]]
            matched.append(target["boxes"][indices.clamp(min=0)])
            labels.append((indices >= 0).to(torch.float32))
            del quality, values, indices, masks  # before the next image
        return labels, matched

    def proposal_loss(
        scores: Tensor, shifts: Tensor, labels: list[Tensor], wanted: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        sampled = scores.new_empty(rpn.fg_bg_sampler.batch_size_per_image * len(labels), dtype=torch.int64)
        flags, boxes = torch.cat(labels), torch.cat(wanted)
        box_loss = functional.smooth_l1_loss(shifts[sampled], boxes[sampled], beta=1 / 9)
        return functional.binary_cross_entropy_with_logits(
            scores.flatten()[sampled], flags[sampled]
        ), box_loss

    def box_heads(
        features: dict[str, Tensor], boxes: list[Tensor], *_: Any
    ) -> tuple[list[Any], dict[str, Tensor]]:
        levels = [features[name] for name in heads.box_roi_pool.featmap_names]
        logits, shifts = heads.box_predictor(heads.box_head(_pooled(levels, regions * len(boxes))))
        return [], {"class": logits.sum(), "box": shifts.sum()}

    rpn.filter_proposals, rpn.assign_targets_to_anchors, rpn.compute_loss = (
        filter_proposals,
        assign,
        proposal_loss,
    )
    heads.forward = box_heads


def _pooled(levels: list[Tensor], regions: int) -> Tensor:
    """Pool as ``MultiScaleRoIAlign`` does, as many regions from each level."""
    share = -(-regions // len(levels))
    result = levels[0].new_zeros(share * len(levels), levels[0].shape[1], 7, 7)
    for level in levels:
        rows = torch.empty(share, dtype=torch.int64)
        pooled = roi_align(level, torch.empty(share, 5), 7, 1.0, 2)
        result[rows] = pooled.to(result.dtype)
        del pooled, rows
    return result
