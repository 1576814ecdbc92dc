"""From a mammogram to what a model sees: breast crop, resampling and orientation, by a recipe.

The recipe also says how stored values become 0 to 1, so that a model file that carries its recipe carries
everything that pixels went through. ``mammodet.datasets.mammogram`` follows the photometric part and
``standardise`` the geometric part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.breast import breast_bbox, find_breast
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry

if TYPE_CHECKING:
    from mammodet.datasets.mammogram import Mammogram

__all__ = ["Recipe", "Standardised", "breast_bbox", "resample", "standardise"]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "invert": ("auto", "header", "always", "never"),
    "intensity": ("range", "percentile", "full"),
}


@dataclass(frozen=True)
class Recipe:
    """How the pixels of a file become the pixels of a model.

    Parameters
    ----------
    crop:
        Crop to the breast; the crop is a rectangle, labels beside the breast may lie inside it.
    crop_margin_px:
        Source pixels kept around the breast.
    voi:
        Which of a DICOM file's windows to apply: "first" (the first window, or the first VOI LUT of a file
        that has no window), a number from 0, the explanation of a window or VOI LUT such as "HARDER", "lut"
        (the first VOI LUT, or the first window of a file that has no LUT), or "none".
    invert:
        "auto" follows the header once and then checks that air is dark, "header" follows the header only,
        "always" and "never" ignore both.
    intensity:
        What becomes 0 and 1, after the window: "range" the smallest and the largest value of the image,
        "percentile" its 0.1 and 99.9 percentiles, "full" the full scale of the stored bits or of the window.
        Pixels that the header calls padding do not count and become 0.
    spacing_mm:
        Resample to square pixels of this size; null (None) keeps the full resolution and resizes nothing.
    resize_px:
        Shrink or enlarge to this shorter side, but to no longer side than the second number: [800, 1333] is
        what torchvision's detectors do by themselves, in which calcifications vanish. null (None) does not.
    assumed_spacing_mm:
        Pixel size of files that do not tell theirs, such as 0.2 for mini-MIAS.
    orient_left:
        Mirror right breasts, so that every chest wall lies on the left.
    allow_for_processing:
        Accept raw FOR PROCESSING images: logarithm and inversion give them the look of an image for
        presentation, but no vendor's processing.
    allow_secondary_capture:
        Accept scans of films under the modalities SC and OT, and Secondary Captures under CR, DX and RG, when
        the header names no body part. Those of the modality MG or the body part BREAST need no permission.
    """

    crop: bool = True
    crop_margin_px: int = 16
    voi: str | int = "first"
    invert: Literal["auto", "header", "always", "never"] = "auto"
    intensity: Literal["range", "percentile", "full"] = "range"
    spacing_mm: float | None = None
    resize_px: tuple[int, int] | None = None
    assumed_spacing_mm: float | None = None
    orient_left: bool = False
    allow_for_processing: bool = False
    allow_secondary_capture: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                remedy = f"choose one of {', '.join(allowed)}"
                raise InputError("unknown choice", field=f"recipe.{name}", value=value, remedy=remedy)
        for name in ("spacing_mm", "assumed_spacing_mm"):
            value = getattr(self, name)
            if value is not None and not 0.005 <= value <= 5:
                remedy = "give the pixel size in mm, such as 0.1"
                raise InputError("is no pixel size in mm", field=f"recipe.{name}", value=value, remedy=remedy)
        if self.resize_px is not None:
            self._check_resize(self.resize_px)
        if re.fullmatch(r"-\d+", str(self.voi)):
            remedy = "windows are counted from 0; give a number from 0, an explanation, or first"
            raise InputError("must not be negative", field="recipe.voi", value=self.voi, remedy=remedy)
        if self.crop_margin_px < 0:
            raise InputError("must not be negative", field="recipe.crop_margin_px", value=self.crop_margin_px)

    def _check_resize(self, sides: tuple[int, int]) -> None:
        if len(sides) != 2 or not 32 <= sides[0] <= sides[1]:
            remedy = "give the shorter and the longest longer side, such as [800, 1333]"
            raise InputError("are no two sides in px", field="recipe.resize_px", value=sides, remedy=remedy)
        if self.spacing_mm is not None:
            remedy = "give one of them"
            raise InputError(
                "excludes recipe.spacing_mm", field="recipe.resize_px", value=sides, remedy=remedy
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Recipe:
        """Return the recipe that ``to_dict`` recorded; unknown keys raise InputError."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(record) - known)
        if unknown:
            remedy = f"known are {', '.join(sorted(known))}"
            raise InputError("unknown key", field="recipe", value=unknown[0], remedy=remedy)
        sides = record.get("resize_px")  # JSON has no tuples
        return cls(**{**record, "resize_px": None if sides is None else tuple(sides)})


@dataclass(frozen=True)
class Standardised:
    """A mammogram in the frame of a model.

    Parameters
    ----------
    pixels:
        float32 [h, w], contiguous, 0 = air, 1 = brightest.
    geometry:
        The way from the source frame to this one.
    spacing_mm:
        Size of a pixel of this frame, (row, column); None when unknown.
    notes:
        Odd things seen, such as "breast not found".
    """

    pixels: NDArray[np.float32]
    geometry: Geometry
    spacing_mm: tuple[float, float] | None
    notes: tuple[str, ...] = ()


def standardise(mammogram: Mammogram, recipe: Recipe) -> Standardised:
    """Crop, resample and orient a mammogram by the geometric part of a recipe.

    Raises InputError when the recipe asks for a pixel size and the mammogram does not tell its own.
    """
    geometry = Geometry(mammogram.source_width, mammogram.source_height)
    notes: list[str] = []
    if recipe.crop:
        bbox = find_breast(mammogram.pixels)
        if bbox is None:
            notes.append("breast not found: whole image kept")
        else:
            geometry = geometry.crop(*_with_margin(bbox, recipe.crop_margin_px, geometry))
    spacing = mammogram.spacing_mm
    if recipe.spacing_mm is not None:
        geometry, spacing = _resample(geometry, mammogram, recipe)
    if recipe.resize_px is not None:
        geometry, spacing = _resize(geometry, spacing, *recipe.resize_px)
    if recipe.orient_left and mammogram.laterality == "R":
        geometry = geometry.flip()
    elif recipe.orient_left and mammogram.laterality is None:
        notes.append("laterality unknown: not mirrored")
    pixels = np.ascontiguousarray(geometry.pixels_to_model(mammogram.pixels))
    return Standardised(pixels, geometry, spacing, tuple(notes))


def resample(
    geometry: Geometry, spacing_mm: tuple[float, float], wanted_mm: float
) -> tuple[Geometry, tuple[float, float]]:
    """Scale a frame whose pixels are ``spacing_mm`` (row, column) to square pixels of ``wanted_mm``.

    Returns the geometry and its true pixel size: whole pixels make it differ from the wanted one by a
    fraction of a pixel over the width.
    """
    row_mm, column_mm = spacing_mm
    width = max(1, round(geometry.width * column_mm / wanted_mm))
    height = max(1, round(geometry.height * row_mm / wanted_mm))
    effective = (row_mm * geometry.height / height, column_mm * geometry.width / width)
    return geometry.scale(width, height), effective


def _resize(
    geometry: Geometry, spacing_mm: tuple[float, float] | None, shorter: int, longer: int
) -> tuple[Geometry, tuple[float, float] | None]:
    """Scale so that the shorter side fits, unless the longer one would pass its limit."""
    height, width = geometry.height, geometry.width
    factor = min(shorter / min(height, width), longer / max(height, width))
    scaled = geometry.scale(max(1, round(width * factor)), max(1, round(height * factor)))
    if spacing_mm is None:
        return scaled, None
    return scaled, (spacing_mm[0] * height / scaled.height, spacing_mm[1] * width / scaled.width)


def _with_margin(bbox: tuple[int, int, int, int], margin: int, frame: Geometry) -> tuple[int, int, int, int]:
    x, y, width, height = bbox
    x1, y1 = max(0, x - margin), max(0, y - margin)
    x2, y2 = min(frame.width, x + width + margin), min(frame.height, y + height + margin)
    return x1, y1, x2 - x1, y2 - y1


def _resample(
    geometry: Geometry, mammogram: Mammogram, recipe: Recipe
) -> tuple[Geometry, tuple[float, float] | None]:
    assert recipe.spacing_mm is not None
    if mammogram.spacing_mm is None:
        raise InputError(
            "the pixel size is not known, so the image cannot be resampled",
            file=mammogram.path,
            field="recipe.spacing_mm",
            value=recipe.spacing_mm,
            remedy="give recipe.assumed_spacing_mm, or set recipe.spacing_mm to null",
        )
    return resample(geometry, mammogram.spacing_mm, recipe.spacing_mm)
