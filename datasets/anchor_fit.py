"""Anchors fitted to the shapes of boxes: free k-means, and the layout that the detector has.

Clustering with 1 - IoU as distance is that of YOLOv2 (Redmon and Farhadi 2017, "YOLO9000: Better, Faster,
Stronger", section 2, dimension clusters); the seeding is k-means++ (Arthur and Vassilvitskii 2007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.anchor_grid import (
    DEFAULT,
    STRIDES,
    Layout,
    best_spread_iou,
    cell_shapes,
    shape_iou,
    spread_iou,
)

Array = NDArray[np.float64]

RESTARTS = 10
MOST_FITTED = 1000  # boxes; of more, so many are taken evenly over the sorted shapes
FOREGROUND = 0.7  # torchvision's rpn_fg_iou_thresh: an anchor from here on learns that it is a lesion
TOLERANCE = 0.01  # of the score; fewer anchors are worth more than this little
_SURPLUS = 0.2  # what IoU above FOREGROUND is worth
_ROUNDS = 100  # k-means settles in about 20
_STEPS = (1.4, 1.15, 1.05, 1.02)  # factors by which the descent tries to change a size or a ratio
_SPREAD_START = 0.5  # ratios of the first guess reach this far from their centre, in powers of 2


def sorted_shapes(shapes: Array) -> Array:
    """Return shapes (width, height) [N, 2] in an order of their own, at most ``MOST_FITTED`` of them.

    A fit is to be the same in whatever order a file lists its boxes.
    """
    ordered = shapes[np.lexsort((shapes[:, 1], shapes[:, 0]))]
    if len(ordered) <= MOST_FITTED:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MOST_FITTED).round().astype(int)]


def free_anchors(
    shapes: Array, most: int, *, seed: int = 0, starts: Iterable[Array] = (), restarts: int = RESTARTS
) -> list[Array]:
    """Return the best anchors (width, height) [k, 2] that were found for k = 1 to ``most``, bound to no grid.

    Parameters
    ----------
    shapes:
        (width, height) [N, 2], above 0. The list ends early when fewer than ``most`` differ.
    starts:
        Anchors [k, 2] to begin with as well, of any k. What is returned is never worse than they are by
        ``mean_best_iou``, nor worse with more anchors than with fewer.
    """
    shapes = sorted_shapes(shapes)
    generator = np.random.default_rng(seed)
    distinct = np.unique(shapes, axis=0)
    found: list[Array] = []
    for k in range(1, min(most, len(distinct)) + 1):
        begins = [_plus_plus(shapes, k, generator) for _ in range(restarts)]
        begins += [np.asarray(one, dtype=np.float64) for one in starts if len(one) == k]
        if found:
            worst = shapes[shape_iou(shapes, found[-1]).max(axis=1).argmin()]
            begins.append(np.vstack([found[-1], worst]))
        settled = [_k_means(shapes, one) for one in begins]
        best = max(settled, key=lambda anchors: mean_best_iou(shapes, anchors))
        found.append(best[np.argsort(best.prod(axis=1), kind="stable")])
    return found


def mean_best_iou(shapes: Array, anchors: Array) -> float:
    """Return the mean IoU of shapes [N, 2] with the best of anchors [K, 2], all around one centre."""
    return float(shape_iou(shapes, anchors).max(axis=1).mean())


def fit_layouts(shapes: Array, most_ratios: int, *, seed: int = 0) -> list[Layout]:
    """Return the best layout that was found with 1, 2, ... ``most_ratios`` ratios.

    What is raised is ``score``. A coarse grid leaves a small anchor beside most boxes, so small sizes go to
    fine levels by themselves. Sizes are whole pixels, rise from level to level, and are no smaller than the
    stride of their level. With three ratios, as the detector's default anchors have, neither the score nor
    the mean IoU is ever worse than theirs on the shapes that were fitted.

    Parameters
    ----------
    shapes:
        (width, height) [N, 2] in pixels, above 0.
    """
    shapes = sorted_shapes(shapes)
    side, ratio = np.sqrt(shapes.prod(axis=1)), shapes[:, 1] / shapes[:, 0]
    # Sizes and ratios apart, each as shapes: squares of the boxes' areas, and boxes of area 1.
    sizes = free_anchors(np.stack([side, side], axis=1), len(STRIDES), seed=seed)[-1][:, 0]
    boxed = np.stack([ratio**-0.5, ratio**0.5], axis=1)
    ratios = [one[:, 1] / one[:, 0] for one in free_anchors(boxed, most_ratios, seed=seed)]
    quantiles = np.quantile(side, (np.arange(len(STRIDES)) + 0.5) / len(STRIDES))
    layouts: list[Layout] = []
    for count in range(1, most_ratios + 1):
        guess = ratios[min(count, len(ratios)) - 1]
        if len(guess) < count:  # fewer different ratios than were asked for
            guess = np.median(ratio) * 2 ** np.linspace(-_SPREAD_START, _SPREAD_START, count)
        begins = [_layout(sizes, guess), _layout(quantiles, guess)]
        begins.append(DEFAULT if count == len(DEFAULT.ratios) else _layout(DEFAULT.sizes, guess))
        if layouts:
            last = layouts[-1]
            begins += [_layout(last.sizes, (*last.ratios, extra)) for extra in (guess.min(), guess.max())]
        found = [*begins, *(_climb(shapes, one) for one in begins)]
        if DEFAULT in begins:
            floor = best_spread_iou(shapes, DEFAULT).mean()
            found = [one for one in found if best_spread_iou(shapes, one).mean() >= floor]
        layouts.append(_with_room(shapes, max(found, key=lambda one: score(shapes, one))))
    return layouts


def score(shapes: Array, layout: Layout) -> float:
    """Return how well a layout covers shapes (width, height) [N, 2], 0 to 0.76.

    The IoU with the best anchor, averaged over the shapes and over 49 places on the grids of the levels. What
    it is above 0.7 counts for a fifth: from there on an anchor is learned as the lesion anyway, and the plain
    mean would give up the smallest lesions for ever better anchors on the many.
    """
    return float(_worth(best_spread_iou(shapes, layout)).mean())


def choose(layouts: Sequence[Layout], scores: Sequence[float], tolerance: float = TOLERANCE) -> Layout:
    """Return the first layout whose score is within ``tolerance`` of the best."""
    best = max(scores)
    return next(one for one, value in zip(layouts, scores, strict=True) if value >= best - tolerance)


def _worth(iou: Array) -> Array:
    return np.where(iou <= FOREGROUND, iou, FOREGROUND + _SURPLUS * (iou - FOREGROUND))


def _plus_plus(shapes: Array, k: int, generator: np.random.Generator) -> Array:
    """Draw k shapes, each with a probability that rises with its distance from those drawn before."""
    chosen = [shapes[generator.integers(len(shapes))]]
    while len(chosen) < k:
        distance = 1 - shape_iou(shapes, np.array(chosen)).max(axis=1)
        distance = np.where(distance > 1e-12, distance, 0)  # those drawn already
        if not distance.any():
            break
        chosen.append(shapes[generator.choice(len(shapes), p=distance / distance.sum())])
    return np.array(chosen)


def _k_means(shapes: Array, anchors: Array) -> Array:
    """Move anchors to the median sides of the shapes nearest to them; return the best they have been."""
    best, best_iou, before = anchors, -1.0, None
    for _ in range(_ROUNDS):
        iou = shape_iou(shapes, anchors)
        mean = float(iou.max(axis=1).mean())
        if mean > best_iou:  # a step of medians may also lose a little
            best, best_iou = anchors, mean
        nearest = iou.argmax(axis=1)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        anchors = np.array(
            [
                np.median(shapes[nearest == number], axis=0) if (nearest == number).any() else anchor
                for number, anchor in enumerate(anchors)
            ]
        )
    return best


def _layout(sizes: Iterable[float], ratios: Iterable[float]) -> Layout:
    """Return a layout that obeys the rules for sizes, from guesses of which there may be too few."""
    wanted = sorted(float(size) for size in sizes)
    wanted += [2 * wanted[-1]] * (len(STRIDES) - len(wanted))
    kept: list[int] = []
    for size, stride in zip(wanted, STRIDES, strict=True):
        kept.append(max(round(size), stride, kept[-1] + 1 if kept else 0))
    return Layout(tuple(kept), tuple(sorted(max(0.01, round(float(ratio), 2)) for ratio in ratios)))


def _with_room(shapes: Array, layout: Layout) -> Layout:
    """Double the sizes of the last levels that are best for no shape anywhere, as room for larger lesions."""
    sizes = list(layout.sizes)
    best = best_spread_iou(shapes, layout)
    used = len(sizes)
    while used > 1 and all(
        (_spread(shapes, sizes[used - 1], ratio, used - 1) < best).all() for ratio in layout.ratios
    ):
        used -= 1
    for level in range(used, len(sizes)):
        sizes[level] = max(STRIDES[level], 2 * sizes[level - 1])
    return Layout(tuple(sizes), layout.ratios)


def _climb(shapes: Array, layout: Layout) -> Layout:
    """Change one size or ratio at a time for as long as that raises the score."""
    sizes, ratios = list(layout.sizes), list(layout.ratios)
    iou = [[_spread(shapes, size, ratio, level) for ratio in ratios] for level, size in enumerate(sizes)]
    best = _score_of_best([one for row in iou for one in row])
    for factor in _STEPS:
        better = True
        while better:
            better = False
            for level in range(len(sizes)):
                rest = _best([one for other, row in enumerate(iou) if other != level for one in row])
                for size in _near_sizes(sizes, level, factor):
                    row = [_spread(shapes, size, ratio, level) for ratio in ratios]
                    value = _score_of_best([rest, *row])
                    if value > best + 1e-9:
                        best, sizes[level], iou[level], better = value, size, row, True
            for place in range(len(ratios)):
                rest = _best([one for row in iou for other, one in enumerate(row) if other != place])
                for ratio in _near_ratios(ratios, place, factor):
                    column = [_spread(shapes, size, ratio, level) for level, size in enumerate(sizes)]
                    value = _score_of_best([rest, *column])
                    if value > best + 1e-9:
                        best, ratios[place], better = value, ratio, True
                        for row, one in zip(iou, column, strict=True):
                            row[place] = one
    return Layout(tuple(sizes), tuple(sorted(ratios)))


def _near_sizes(sizes: Sequence[int], level: int, factor: float) -> list[int]:
    low = max(STRIDES[level], sizes[level - 1] + 1 if level else 1)
    high = sizes[level + 1] - 1 if level + 1 < len(sizes) else None
    size = sizes[level]
    tried = {round(size / factor), round(size * factor), size - 1, size + 1} - {size}
    return sorted(one for one in tried if one >= low and (high is None or one <= high))


def _near_ratios(ratios: Sequence[float], place: int, factor: float) -> list[float]:
    ratio = ratios[place]
    tried = {round(ratio / factor, 2), round(ratio * factor, 2)} - set(ratios)
    return sorted(one for one in tried if one >= 0.01)


def _spread(shapes: Array, size: float, ratio: float, level: int) -> Array:
    return spread_iou(shapes, cell_shapes([size], [ratio])[0, 0], STRIDES[level])


def _best(iou: Sequence[Array]) -> Array | None:
    return np.maximum.reduce(iou) if len(iou) else None


def _score_of_best(iou: Sequence[Array | None]) -> float:
    return float(_worth(np.maximum.reduce([one for one in iou if one is not None])).mean())
