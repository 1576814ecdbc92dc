"""Where a mammogram holds anything but air, as a few rectangles that the network is computed on.

A rectangle around a breast is a tenth to a third air, a whole frame more than half. Air is black and flat, so
every feature map has the same value all over it; that value is known without computing it at each position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CELL = 32  # pixels; the coarsest stride of the backbone, so that a band's edges are whole pixels of every map
AIR_LEVEL = 0.02  # of the full range; air of digital mammograms is 0, the fog of films is far above
AIR_SPREAD = 1 / 256  # from darkest to brightest; a breast that a bright label pressed below 2 % has more
MARGIN_CELLS = 2  # computed around everything that is no air, so that what a convolution sees there is true
MAX_BANDS = 6
_SAMPLED = 8  # every eighth pixel of air is enough for its median
# A band costs calls and halos besides its area; measured: about as much as this share of a mammogram.
BAND_COST = 0.005


@dataclass(frozen=True)
class Band:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, half-open, in cells of 32 pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def cells(self) -> int:
        """Its area in cells."""
        return (self.bottom - self.top) * (self.right - self.left)

    def at(self, stride: int) -> tuple[int, int, int, int]:
        """Return (top, bottom, left, right) in pixels of a feature map of ``stride`` (1 to 32)."""
        scale = CELL // stride
        return self.top * scale, self.bottom * scale, self.left * scale, self.right * scale


def frame_cells(height: int, width: int) -> tuple[int, int]:
    """Return (rows, columns) of cells that hold an image of ``height`` x ``width`` pixels."""
    return -(-height // CELL), -(-width // CELL)


def whole_frame(height: int, width: int) -> tuple[Band, ...]:
    """Return the one band that covers everything."""
    rows, columns = frame_cells(height, width)
    return (Band(0, rows, 0, columns),)


def occupied_bands(pixels: NDArray[np.float32]) -> tuple[tuple[Band, ...], float]:
    """Return bands outside of which there is nothing but air, and the grey of that air.

    Parameters
    ----------
    pixels:
        float32 [H, W], 0 = air, 1 = brightest. Cells with pixels that are no numbers are computed.

    Returns
    -------
    bands:
        At most six, disjoint, from top to bottom. One that covers the whole frame when little could be left
        out, or when nothing is bright.
    air:
        The median grey outside the bands; 0 when nothing is left out.
    """
    height, width = pixels.shape
    brightest, darkest = _by_cell(np.maximum, pixels), _by_cell(np.minimum, pixels)
    with np.errstate(invalid="ignore"):
        flat = brightest - darkest <= AIR_SPREAD
    # Comparisons with NaN are False.
    bands = _cover(_dilated(~((brightest <= AIR_LEVEL) & flat)))
    whole = whole_frame(height, width)
    spared = 1 - sum(band.cells for band in bands) / whole[0].cells
    return (
        (bands, _grey_outside(pixels, bands)) if bands and spared > BAND_COST * len(bands) else (whole, 0.0)
    )


def _grey_outside(pixels: NDArray[np.float32], bands: Sequence[Band]) -> float:
    left_out = np.ones(frame_cells(*pixels.shape), dtype=bool)
    for band in bands:
        left_out[band.top : band.bottom, band.left : band.right] = False
    some = pixels[::_SAMPLED, ::_SAMPLED]
    per_cell = CELL // _SAMPLED
    where = left_out.repeat(per_cell, axis=0).repeat(per_cell, axis=1)[: some.shape[0], : some.shape[1]]
    return float(np.median(some[where]))


def _by_cell(extreme: np.ufunc, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the brightest or darkest pixel of each cell, [rows, columns]."""
    height, width = pixels.shape
    strips = extreme.reduceat(pixels, range(0, height, CELL), axis=0)
    return np.asarray(extreme.reduceat(strips, range(0, width, CELL), axis=1))


def _dilated(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grown = cells.copy()
    for _ in range(MARGIN_CELLS):
        before = np.pad(grown, 1)
        vertical = before[:-2, 1:-1] | before[1:-1, 1:-1] | before[2:, 1:-1]
        wide = np.pad(vertical, ((0, 0), (1, 1)))
        grown = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return grown


def _cover(occupied: NDArray[np.bool_]) -> tuple[Band, ...]:
    """Return the bands of least cost that cover all occupied cells, by dynamic programming over rows."""
    filled = np.flatnonzero(occupied.any(axis=1))
    if not filled.size:
        return ()
    first, last = int(filled[0]), int(filled[-1]) + 1
    columns = occupied.shape[1]
    left = [int(np.argmax(row)) if row.any() else columns for row in occupied]
    right = [columns - int(np.argmax(row[::-1])) if row.any() else 0 for row in occupied]
    fixed = BAND_COST * occupied.size
    # best[n][row]: (cost, start of the last band) of covering the rows first..row with n bands
    best: list[dict[int, tuple[float, int]]] = [{first: (0.0, first)}]
    for _ in range(min(MAX_BANDS, last - first)):
        best.append(_one_more_band(best[-1], left, right, last, fixed))
    count = min(range(1, len(best)), key=lambda n: best[n].get(last, (np.inf, 0))[0])
    bands: list[Band] = []
    row = last
    for number in range(count, 0, -1):
        start = best[number][row][1]
        x1, x2 = min(left[start:row]), max(right[start:row])
        if x1 < x2:
            bands.append(Band(start, row, x1, x2))
        row = start
    return tuple(reversed(bands))


def _one_more_band(
    before: dict[int, tuple[float, int]], left: Sequence[int], right: Sequence[int], last: int, fixed: float
) -> dict[int, tuple[float, int]]:
    after: dict[int, tuple[float, int]] = {}
    for start, (cost, _) in before.items():
        x1, x2 = left[start] if start < last else 0, 0
        for row in range(start, last):
            x1, x2 = min(x1, left[row]), max(x2, right[row])
            total = cost + max(0, x2 - x1) * (row + 1 - start) + fixed
            if total < after.get(row + 1, (np.inf, 0))[0]:
                after[row + 1] = (total, start)
    return after
