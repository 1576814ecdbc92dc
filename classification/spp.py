"""Spatial pyramid pooling: maps of any size become vectors of one length (He et al. 2014, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammodet.datasets.errors import InputError


class SpatialPyramidPooling(nn.Module):
    """Maximum of every bin of several grids laid over a feature map.

    A level ``l`` divides the map into ``l`` x ``l`` bins. Bin ``i`` of an axis with ``n`` cells takes the
    cells from ``floor(i n / l)`` up to ``ceil((i + 1) n / l)``, as torch's adaptive pooling does: bins are
    never empty, they share a cell where ``l`` does not divide ``n``, and where a map has fewer cells than a
    level has bins, several bins show the same cell. Such a map of 1 x 1 gives the global maximum in all bins.

    For export (``torch.export``, ONNX) the same is written as comparisons of positions and plain maxima,
    which exporters know for sizes that are only given at run time.

    Parameters
    ----------
    levels:
        Bins along a side, one number per grid; the published network for classification takes 1, 2, 3 and 6,
        the default 1, 2 and 4 is ours.
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        check_levels(levels)
        self.levels = tuple(levels)

    @property
    def bins(self) -> int:
        """Bins of all levels: how many numbers a channel becomes."""
        return sum(level * level for level in self.levels)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool float [N, C, H, W], H and W from 1, to [N, C * bins].

        Levels come one after the other in the order given; within a level [C, row, column] is flattened.
        """
        exported = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
        pool = _exportable_pool if exported else functional.adaptive_max_pool2d
        return torch.cat([pool(maps, level).flatten(1) for level in self.levels], dim=1)

    def extra_repr(self) -> str:
        """Return what ``print`` shows in the parentheses."""
        return f"levels={self.levels}"


def check_levels(levels: Sequence[int]) -> None:
    """Raise InputError unless levels are whole numbers from 1, each given once."""
    whole = all(isinstance(level, int) and not isinstance(level, bool) and level >= 1 for level in levels)
    if not levels or not whole or len(set(levels)) != len(levels):
        raise InputError(
            "must be different whole numbers from 1",
            field="model.levels",
            value=tuple(levels),
            remedy="give bins along a side, such as [1, 2, 4]",
        )


def _exportable_pool(maps: Tensor, level: int) -> Tensor:
    """Return what ``adaptive_max_pool2d`` does, [N, C, level, level], first over rows, then over columns."""
    lowest = torch.finfo(maps.dtype).min
    rows, columns = (_members(maps, axis, level) for axis in (2, 3))
    strips = torch.where(rows[:, :, None], maps[:, :, None], lowest).amax(3)  # [N, C, level, W]
    return torch.where(columns, strips[:, :, :, None], lowest).amax(4)


def _members(maps: Tensor, axis: int, level: int) -> Tensor:
    """Return which cells of an axis with n cells belong to each bin, bool [level, n]."""
    length = maps.shape[axis]
    cell = torch.arange(length, device=maps.device)
    index = torch.arange(level, device=maps.device)[:, None]
    # From floor(i n / l) up to ceil((i + 1) n / l), without a division.
    return (level * (cell + 1) > index * length) & (level * cell < (index + 1) * length)
