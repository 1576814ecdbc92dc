"""When a predicted box has found a true lesion: the rules of the literature, each by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.errors import InputError

Kind = Literal["center", "iou", "center-distance", "duke", "overlap"]

CHOICES = "center, iou:T (T above 0, at most 1), center-distance:R (such as 100px or 5mm), duke, overlap"
DEFAULT_RULES = ("center", "iou:0.1", "iou:0.2", "iou:0.5", "duke")
DUKE_PIXELS = 100.0  # the least radius of the rule, in pixels of the image as it is

_DISTANCE = re.compile(r"(?P<number>.+?)(?P<unit>px|mm)")


@dataclass(frozen=True)
class HitRule:
    """One rule. ``value`` is T of ``iou`` or R of ``center-distance``, whose ``unit`` is px or mm.

    - ``center``: the centre of the prediction lies in the true box or on its edge.
    - ``iou``: the intersection over union is at least T.
    - ``center-distance``: the centres are at most R apart.
    - ``duke``: the centres are at most 100 pixels or half the diagonal of the true box apart, whichever is
      more (Buda et al. 2021, the rule of the Duke tomosynthesis set, without its third dimension).
    - ``overlap``: the boxes share some area.
    """

    kind: Kind
    value: float | None = None
    unit: Literal["px", "mm"] | None = None

    @classmethod
    def parse(cls, text: str) -> HitRule:
        """Read a rule as it is typed, such as ``iou:0.1``; raises InputError that lists the choices."""
        name, colon, argument = text.strip().lower().partition(":")
        if name in ("center", "duke", "overlap") and not colon:
            return cls(name)  # type: ignore[arg-type]
        if name == "iou" and (value := _number(argument)) is not None and 0 < value <= 1:
            return cls("iou", value)
        if name == "center-distance" and (match := _DISTANCE.fullmatch(argument.replace(" ", ""))):
            value = _number(match["number"])
            if value is not None and value > 0:
                return cls("center-distance", value, match["unit"])  # type: ignore[arg-type]
        raise InputError("is no hit rule", field="hit_rules", value=text, remedy=f"choose from {CHOICES}")

    @property
    def name(self) -> str:
        """The rule as ``parse`` reads it."""
        return self.kind if self.value is None else f"{self.kind}:{self.value:g}{self.unit or ''}"

    @property
    def needs_spacing(self) -> bool:
        """Whether the rule needs the pixel spacing of the images."""
        return self.unit == "mm"

    def describe(self) -> str:
        """Return the rule in words."""
        return {
            "center": "the centre of the prediction lies in the true box",
            "iou": f"the intersection over union is at least {self.value or 0:g}",
            "center-distance": f"the centres are at most {self.value or 0:g} {self.unit} apart",
            "duke": "the centres are at most max(100 px, half the true box's diagonal) apart",
            "overlap": "the boxes share some area",
        }[self.kind]

    def compare(
        self,
        predictions: ArrayLike,
        lesions: ArrayLike,
        *,
        spacing_mm: ArrayLike | None = None,
        crowd: ArrayLike = False,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Compare predictions with lesions, pair by pair or, by broadcasting, each with each.

        Parameters
        ----------
        predictions, lesions:
            ``[x1, y1, x2, y2]``, [..., 4] each, in the frame of their image. ``predictions[:, None]`` and
            ``lesions[None]`` give the matrix [N, M] of one image.
        spacing_mm:
            Row and column, [..., 2]; only a rule in mm needs it.
        crowd:
            [...]: lesions that stand for a region of many. As in COCO, the IoU with one is the share of the
            prediction that lies in it.

        Returns
        -------
        tuple[NDArray[np.bool_], NDArray[np.float64]]
            Whether the prediction hits the lesion, and how well (higher is better): IoU for ``iou`` and
            ``overlap``, minus the distance of the centres for the others.
        """
        found = np.asarray(predictions, dtype=np.float64)
        true = np.asarray(lesions, dtype=np.float64)
        if self.kind in ("iou", "overlap"):
            common, iou = _overlap(found, true, np.asarray(crowd))
            return np.asarray(common > 0 if self.value is None else iou >= self.value), iou
        centre = (found[..., :2] + found[..., 2:]) / 2
        apart = centre - (true[..., :2] + true[..., 2:]) / 2
        if self.unit == "mm":
            if spacing_mm is None:
                raise ValueError(f"the rule {self.name} needs the pixel spacing")
            apart = apart * np.asarray(spacing_mm, dtype=np.float64)[..., ::-1]  # row, column -> x, y
        distance = np.hypot(apart[..., 0], apart[..., 1])
        if self.kind == "center":
            inside = (centre >= true[..., :2]) & (centre <= true[..., 2:])
            return np.asarray(inside.all(axis=-1)), -distance
        return np.asarray(distance <= self._radius(true)), -distance

    def _radius(self, true: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "duke":
            size = true[..., 2:] - true[..., :2]
            return np.maximum(np.hypot(size[..., 0], size[..., 1]) / 2, DUKE_PIXELS)
        return np.asarray(self.value, dtype=np.float64)


def parse_rules(texts: tuple[str, ...] | list[str]) -> list[HitRule]:
    """Read several rules; raises InputError for none at all and for one that is there twice."""
    rules = [HitRule.parse(text) for text in texts]
    if not rules:
        raise InputError("is empty", field="hit_rules", value="", remedy=f"choose from {CHOICES}")
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InputError("is there twice", field="hit_rules", value=name, remedy="name each rule once")
    return rules


def _overlap(
    found: NDArray[np.float64], true: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shared area and the IoU of pairs of boxes."""
    common = _extent(found, true, 0) * _extent(found, true, 1)
    own, other = _area(found), _area(true)
    union = np.where(crowd, own, own + other - common)
    iou = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return common, np.minimum(iou, 1.0)


def _extent(found: NDArray[np.float64], true: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    shared = np.minimum(found[..., axis + 2], true[..., axis + 2]) - np.maximum(
        found[..., axis], true[..., axis]
    )
    return np.maximum(shared, 0.0)


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    size = boxes[..., 2:] - boxes[..., :2]
    return np.asarray(size[..., 0] * size[..., 1])


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
