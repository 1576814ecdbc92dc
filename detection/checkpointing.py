"""Activation checkpointing: keep what enters a block, and compute what is inside it again going backward.

Of a whole mammogram the inside of the residual blocks takes several times the memory of what lies between
them (Chen et al. 2016, "Training deep nets with sublinear memory cost"). Gradients and statistics stay bit
for bit those of a training without checkpointing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.ops import FeaturePyramidNetwork, box_iou

_STEM = ("conv1", "bn1", "relu", "maxpool")


class CheckpointedBody(IntermediateLayerGetter):
    """The ResNet under a feature pyramid, checkpointed by residual blocks, the stem being one of them.

    It takes over the modules of the body that it replaces, under the same names, so that weights fit.
    """

    def __init__(self, body: IntermediateLayerGetter) -> None:
        nn.ModuleDict.__init__(self, OrderedDict(body.items()))
        self.return_layers = body.return_layers

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the output of every stage asked for, as the plain body does."""
        outputs: OrderedDict[str, Tensor] = OrderedDict()
        run = _checkpointed if self.training and torch.is_grad_enabled() else _plain
        x = run(nn.Sequential(*(self[name] for name in _STEM)), x)
        for name, stage in self.items():
            if name in _STEM:
                continue
            for block in stage:
                x = run(block, x)
            if name in self.return_layers:
                outputs[self.return_layers[name]] = x
        return outputs


class CheckpointedPyramid(FeaturePyramidNetwork):
    """The feature pyramid, keeping of every level what comes out, not the merged map that it comes from.

    Going backward, only the convolution of 1 x 1 is computed again. The hidden map of the proposal head is
    kept: memory peaks where its gradient is made, and there it would be in memory all the same.
    """

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the levels, finest first, as the plain pyramid does."""
        if not (self.training and torch.is_grad_enabled()):
            plain: dict[str, Tensor] = super().forward(x)
            return plain
        names, maps = list(x), list(x.values())
        merged: Tensor | None = None
        levels: list[Tensor] = []
        for index in reversed(range(len(maps))):
            level_of = partial(self._level, index)
            merged, level = checkpoint(
                level_of, maps[index], merged, use_reentrant=False, preserve_rng_state=False
            )
            levels.insert(0, level)
        if self.extra_blocks is not None:
            levels, names = self.extra_blocks(levels, maps, names)
        return OrderedDict(zip(names, levels, strict=True))

    def _level(self, index: int, x: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        merged = self.inner_blocks[index](x)
        if above is not None:
            merged = merged + functional.interpolate(above, size=merged.shape[-2:], mode="nearest")
        return merged, self.layer_blocks[index](merged)


def checkpoint_activations(model: FasterRCNN) -> None:
    """Switch a built detector to checkpointing of its backbone, in training only; outputs stay the same."""
    model.backbone.body = CheckpointedBody(model.backbone.body)
    model.backbone.fpn.__class__ = CheckpointedPyramid  # which has nothing of its own but a forward
    model.rpn.box_similarity = _iou_by_lesion


def _iou_by_lesion(lesions: Tensor, anchors: Tensor) -> Tensor:
    """Return the IoU, float32 [M, N], without the corners of all pairs being there at once."""
    return torch.cat([box_iou(one[None], anchors) for one in lesions])


def _plain(block: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = block(x)
    return output


def _checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    # Nothing in a residual block is random, so the random state need not be kept.
    output: Tensor = checkpoint(
        block, x, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: _contexts(block)
    )
    return output


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Normalise by the statistics of the batch, without counting the same batch a second time."""
    norms = [one for one in block.modules() if isinstance(one, _BatchNorm)]
    before = [(one.momentum, one.num_batches_tracked) for one in norms]
    for one in norms:
        # A momentum of 0 leaves the statistics as they are; without statistics autograd would save less.
        one.momentum, one.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for one, (momentum, counted) in zip(norms, before, strict=True):
            one.momentum, one.num_batches_tracked = momentum, counted
