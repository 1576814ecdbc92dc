"""Feature maps that exist only where something is: in bands, with air elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mammodet.detection.bands import Band


@dataclass(frozen=True)
class Quantisation:
    """How uint8 stands for real values: ``(stored - zero) * scale``."""

    scale: float
    zero: int

    def store(self, values: Tensor) -> Tensor:
        """Return real values as uint8; those out of range become the nearest that there is."""
        return (values / self.scale + self.zero).round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class BandedMap:
    """A feature map of which only the bands exist; elsewhere every position has the values ``air``.

    Parameters
    ----------
    parts:
        One tensor [1, C, h, w] in channels_last per band.
    bands:
        Where the parts lie, disjoint and from top to bottom.
    stride:
        Pixels of the image per pixel of the map, 1 to 32.
    size:
        (height, width) of the whole map.
    air:
        [C], float32, real values.
    quantisation:
        Of the parts when they are uint8; None when they hold real values.
    """

    parts: list[Tensor]
    bands: tuple[Band, ...]
    stride: int
    size: tuple[int, int]
    air: Tensor
    quantisation: Quantisation | None = None

    @property
    def is_whole(self) -> bool:
        """Whether one band covers the whole map."""
        return len(self.bands) == 1 and self.bands[0].at(self.stride) == (0, self.size[0], 0, self.size[1])

    def padded(self, index: int, padding: int, stride: int) -> tuple[int, Tensor]:
        """Return how a convolution gets one part: the zeros that it must add itself, and its input."""
        if not padding or self.is_whole:
            return padding, self.parts[index]
        # A strided kernel of 3 ends on the last row of an even map and needs nothing after it.
        return 0, self.surrounded(index, padding, padding if stride == 1 else padding - 1)

    def surrounded(self, index: int, before: int, after: int) -> Tensor:
        """Return one part, ``before`` rows and columns longer at top and left, ``after`` at bottom and right.

        What surrounds it is the neighbouring bands, air, and beyond the map zeros, as a convolution pads.
        """
        part = self.parts[index]
        top, bottom, left, right = self.bands[index].at(self.stride)
        y1, y2, x1, x2 = top - before, bottom + after, left - before, right + after
        filled = _empty_like(part, y2 - y1, x2 - x1)
        air = self.stored_air()[None, :, None, None]
        for edge in (
            filled[:, :, :before],
            filled[:, :, filled.shape[2] - after :],
            filled[:, :, :, :before],
            filled[:, :, :, filled.shape[3] - after :],
        ):
            edge.copy_(air.expand_as(edge))
        filled[:, :, before : before + bottom - top, before : before + right - left] = part
        for other, band in zip(self.parts, self.bands, strict=True):
            if other is not part:
                self._copy_overlap(filled, (y1, y2, x1, x2), other, band)
        nothing = 0 if self.quantisation is None else self.quantisation.zero
        _fill_beyond(filled, (y1, y2, x1, x2), self.size, nothing)
        return filled

    def _copy_overlap(
        self, filled: Tensor, window: tuple[int, int, int, int], other: Tensor, band: Band
    ) -> None:
        y1, y2, x1, x2 = window
        top, bottom, left, right = band.at(self.stride)
        ya, yb, xa, xb = max(y1, top), min(y2, bottom), max(x1, left), min(x2, right)
        if ya < yb and xa < xb:
            filled[:, :, ya - y1 : yb - y1, xa - x1 : xb - x1] = other[
                :, :, ya - top : yb - top, xa - left : xb - left
            ]

    def stored_air(self) -> Tensor:
        """Return ``air`` as the parts hold values, [C]."""
        return (
            self.air.to(self.parts[0].dtype)
            if self.quantisation is None
            else self.quantisation.store(self.air)
        )

    def whole(self) -> Tensor:
        """Return the whole map [1, C, height, width], with air outside the bands."""
        if self.is_whole:
            return self.parts[0]
        full = _empty_like(self.parts[0], *self.size)
        full.copy_(self.stored_air()[None, :, None, None].expand_as(full))
        for part, band in zip(self.parts, self.bands, strict=True):
            top, bottom, left, right = band.at(self.stride)
            full[:, :, top:bottom, left:right] = part
        return full


def _empty_like(part: Tensor, height: int, width: int) -> Tensor:
    shape = (1, part.shape[1], height, width)
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=torch.channels_last)


def _fill_beyond(
    filled: Tensor, window: tuple[int, int, int, int], size: tuple[int, int], value: float
) -> None:
    y1, y2, x1, x2 = window
    if y1 < 0:
        filled[:, :, :-y1] = value
    if y2 > size[0]:
        filled[:, :, size[0] - y2 :] = value
    if x1 < 0:
        filled[:, :, :, :-x1] = value
    if x2 > size[1]:
        filled[:, :, :, size[1] - x2 :] = value


def concatenated_rows(maps: Sequence[Tensor]) -> Tensor:
    """Return channels_last maps [1, C, h, w] as one table [positions, C], a view for a single map."""
    rows = [one.permute(0, 2, 3, 1).reshape(-1, one.shape[1]) for one in maps]
    return rows[0] if len(rows) == 1 else torch.cat(rows)
