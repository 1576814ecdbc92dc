"""The invertible record of everything that is done to the pixels of a mammogram on their way to a model.

A ``Geometry`` starts as the identity on a source frame and grows by ``crop``, ``flip``, ``scale``,
``pad`` and ``turn``; a tile is a crop. Boxes go through it both ways, pixels go through it forwards.
Coordinates are continuous, with the origin at the outer corner of the top-left pixel, so a flip is
``width - x`` and a scale a mere product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.errors import InputError

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Crop:
    """Keep the rectangle at ``x``, ``y`` of ``width`` x ``height`` pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Flip:
    """Mirror left and right."""


@dataclass(frozen=True)
class Scale:
    """Resize to ``width`` x ``height`` pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Pad:
    """Add rows and columns of zeros."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Turn:
    """Turn by ``quarters`` (1 to 3) times 90 degrees to the left, as ``numpy.rot90`` does."""

    quarters: int


Step = Crop | Flip | Scale | Pad | Turn
_STEPS: Mapping[str, type[Any]] = {"crop": Crop, "flip": Flip, "scale": Scale, "pad": Pad, "turn": Turn}


@dataclass(frozen=True)
class Geometry:
    """The way from a source frame of ``source_width`` x ``source_height`` pixels to a model frame.

    Every method that adds a step returns a new Geometry, so one record can be branched into many tiles.
    """

    source_width: int
    source_height: int
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if self.source_width < 1 or self.source_height < 1:
            size = (self.source_width, self.source_height)
            raise InputError("must be positive", field="source_width, source_height", value=size)

    @property
    def width(self) -> int:
        """Width of the model frame in pixels."""
        return self._sizes()[-1][0]

    @property
    def height(self) -> int:
        """Height of the model frame in pixels."""
        return self._sizes()[-1][1]

    def crop(self, x: int, y: int, width: int, height: int) -> Geometry:
        """Keep a rectangle that lies inside the present model frame; raises InputError when it does not."""
        inside = min(x, y) >= 0 and x + width <= self.width and y + height <= self.height
        if width < 1 or height < 1 or not inside:
            problem = f"must lie inside its frame of {self.width} x {self.height}"
            raise InputError(problem, field="crop", value=(x, y, width, height))
        return self._with(Crop(int(x), int(y), int(width), int(height)))

    def flip(self) -> Geometry:
        """Mirror left and right."""
        return self._with(Flip())

    def scale(self, width: int, height: int) -> Geometry:
        """Resize to ``width`` x ``height``; raises InputError for a size below 1."""
        if width < 1 or height < 1:
            raise InputError("must be at least 1 x 1", field="scale", value=(width, height))
        return self._with(Scale(int(width), int(height)))

    def pad(self, left: int, top: int, right: int, bottom: int) -> Geometry:
        """Add zeros around; raises InputError for a negative width."""
        if min(left, top, right, bottom) < 0:
            raise InputError("must not be negative", field="pad", value=(left, top, right, bottom))
        return self._with(Pad(int(left), int(top), int(right), int(bottom)))

    def turn(self, quarters: int) -> Geometry:
        """Turn by ``quarters`` times 90 degrees to the left; 0 changes nothing.

        Raises InputError for another number than 0 to 3.
        """
        if quarters not in {0, 1, 2, 3}:
            raise InputError("must be 0 to 3 quarters", field="turn", value=quarters)
        return self._with(Turn(int(quarters))) if quarters else self

    def boxes_to_model(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Move boxes ``[x1, y1, x2, y2]`` [N, 4] from the source frame to the model frame, unclipped."""
        moved = _as_boxes(boxes)
        for step, size in zip(self.steps, self._sizes(), strict=False):
            moved = _forward(step, size, moved)
        return moved

    def points_to_model(self, points: ArrayLike) -> NDArray[np.float64]:
        """Move points ``[x, y]`` [N, 2] from the source frame to the model frame, unclipped."""
        corners = np.array(points, dtype=np.float64).reshape(-1, 2)
        return self.boxes_to_model(np.concatenate([corners, corners], axis=1))[:, :2]

    def boxes_to_source(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Move boxes ``[x1, y1, x2, y2]`` [N, 4] from the model frame back to the source frame, unclipped."""
        moved = _as_boxes(boxes)
        for step, size in reversed(list(zip(self.steps, self._sizes(), strict=False))):
            moved = _backward(step, size, moved)
        return moved

    def pixels_to_model(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Move pixels [H, W] or [H, W, C] of the source frame to the model frame.

        Crops, flips and turns are views, so the result may share memory with ``pixels``. Resizing averages
        areas when it shrinks and interpolates linearly when it enlarges; bool masks are resized by majority.
        Raises InputError when ``pixels`` is not of the source size.
        """
        if pixels.shape[:2] != (self.source_height, self.source_width):
            problem = f"must be of the source size [{self.source_height}, {self.source_width}]"
            raise InputError(problem, field="pixels", value=pixels.shape)
        for step in self.steps:
            pixels = _apply(step, pixels)
        return pixels

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold."""
        names = {kind: name for name, kind in _STEPS.items()}
        steps = [{"step": names[type(step)], **asdict(step)} for step in self.steps]
        return {"source_width": self.source_width, "source_height": self.source_height, "steps": steps}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Geometry:
        """Return the Geometry that ``to_dict`` recorded; raises InputError when the record is broken."""
        try:
            geometry = cls(int(record["source_width"]), int(record["source_height"]))
            for step in record["steps"]:
                values = {key: value for key, value in step.items() if key != "step"}
                geometry = getattr(geometry, _STEPS[step["step"]].__name__.lower())(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"is no record of a Geometry: {error!r}",
                field="geometry",
                remedy="give a record made by to_dict",
            ) from None
        return geometry

    def _with(self, step: Step) -> Geometry:
        return Geometry(self.source_width, self.source_height, (*self.steps, step))

    def _sizes(self) -> list[Size]:
        """Return the frame's size before each step, and at last after all of them."""
        sizes = [(self.source_width, self.source_height)]
        for step in self.steps:
            width, height = sizes[-1]
            if isinstance(step, Crop | Scale):
                width, height = step.width, step.height
            elif isinstance(step, Pad):
                width, height = width + step.left + step.right, height + step.top + step.bottom
            elif isinstance(step, Turn) and step.quarters % 2:
                width, height = height, width
            sizes.append((width, height))
        return sizes


def _as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _forward(step: Step, size: Size, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(step, Crop):
        return boxes - np.array([step.x, step.y, step.x, step.y])
    if isinstance(step, Pad):
        return boxes + np.array([step.left, step.top, step.left, step.top])
    if isinstance(step, Scale):
        return boxes * _ratio(step, size)
    if isinstance(step, Turn):
        return _turned(step.quarters, size, boxes)
    return _mirror(size[0], boxes)


def _backward(step: Step, size: Size, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(step, Crop):
        return boxes + np.array([step.x, step.y, step.x, step.y])
    if isinstance(step, Pad):
        return boxes - np.array([step.left, step.top, step.left, step.top])
    if isinstance(step, Scale):
        return boxes / _ratio(step, size)
    if isinstance(step, Turn):
        after = size if step.quarters == 2 else (size[1], size[0])
        return _turned(4 - step.quarters, after, boxes)
    return _mirror(size[0], boxes)


def _ratio(step: Scale, size: Size) -> NDArray[np.float64]:
    return np.array([step.width / size[0], step.height / size[1]] * 2)


def _mirror(width: int, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    # The right edge becomes the left one, so that x1 <= x2 stays true.
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _turned(quarters: int, size: Size, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    width, height = size
    for _ in range(quarters):  # to the left: the right edge becomes the upper one
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([y1, width - x2, y2, width - x1], axis=1)
        width, height = height, width
    return boxes


def _apply(step: Step, pixels: NDArray[Any]) -> NDArray[Any]:
    if isinstance(step, Crop):
        return pixels[step.y : step.y + step.height, step.x : step.x + step.width]
    if isinstance(step, Pad):
        around = [(step.top, step.bottom), (step.left, step.right)] + [(0, 0)] * (pixels.ndim - 2)
        return np.pad(pixels, around)
    if isinstance(step, Scale):
        return _resize(pixels, step.width, step.height)
    if isinstance(step, Turn):
        return np.rot90(pixels, step.quarters)
    return pixels[:, ::-1]


def _resize(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    if pixels.dtype == np.bool_:
        return _resize(pixels.astype(np.float32), width, height) >= 0.5
    resized = np.ascontiguousarray(pixels)
    # One axis may shrink while the other grows, and each wants its own interpolation.
    narrow = (min(width, resized.shape[1]), min(height, resized.shape[0]))
    if narrow != (resized.shape[1], resized.shape[0]):
        resized = cv2.resize(resized, narrow, interpolation=cv2.INTER_AREA)
    if narrow != (width, height):
        resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_LINEAR)
    # OpenCV drops a channel axis of length 1.
    return resized.reshape((height, width, *pixels.shape[2:]))
