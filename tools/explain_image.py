"""What mammodet explain does with one image, and the rows and sums of its tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision.models.detection import FasterRCNN

from mammodet.datasets.coco import AnnotationRecord, counts, to_xyxy
from mammodet.datasets.drawing import draw_boxes, write_png
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.heatmap import (
    box_mask,
    concentration,
    field_of_view,
    paint,
    panels,
    peak,
    sample,
    to_source,
    write_heat,
)
from mammodet.datasets.standardise import Recipe, Standardised
from mammodet.detection.activation_maps import Method, image_heat
from mammodet.detection.feature_maps import LEVEL_NAMES, STAGE_NAMES, STRIDES, Look, look
from mammodet.detection.inference import results_of
from mammodet.evaluation.matching import iou_matrix
from mammodet.tools.cases import Case

FOLDERS = {"cam": "cams", "heatmap": "heatmaps", "features": "features"}  # kind of picture -> folder in OUT
FOUND_IOU = 0.25  # overlap from which a box counts as one that found a lesion
PANEL_PX = 480  # longer side of a feature map in its figure

COLUMNS = [
    "image_id",
    "file",
    "width",
    "height",
    "boxes",
    "peak_x",
    "peak_y",
    "peak_in_box",
    "heat_in_boxes",
    "area_of_boxes",
    "lesions",
    "lesions_found",
    "peak_in_lesion",
    "heat_in_lesions",
    "area_of_lesions",
    "notes",
]


@dataclass(frozen=True)
class Explainer:
    """Explains one image after the other.

    Parameters
    ----------
    model:
        The plain detector in float32, see ``look``; its score threshold says which boxes there are.
    recipe:
        What files are read with.
    out:
        Folder of the pictures.
    categories:
        Classes whose boxes are explained.
    max_boxes:
        Most boxes explained on one image, the surest ones.
    all_images:
        Whether images without such a box get pictures too; they have no heat.
    feature_maps:
        Whether to draw feature maps.
    """

    model: FasterRCNN
    recipe: Recipe
    out: Path
    method: Method
    categories: Collection[int]
    max_boxes: int = 10
    all_images: bool = True
    feature_maps: bool = True

    def explain(self, case: Case, pixels: NDArray[np.float32], prepared: Standardised) -> dict[str, Any]:
        """Write the pictures of one image and return what there is to tell of it, as JSON can hold it.

        ``pixels`` float32 [H, W] and the returned boxes are in the source frame of ``prepared``.
        """
        seen = look(self.model, prepared.pixels)
        chosen = [index for index, label in enumerate(seen.labels.tolist()) if label in self.categories][
            : self.max_boxes
        ]
        boxes = [box for index in chosen for box in _results(case.image_id, seen, index, prepared.geometry)]
        lesions = [one for one in case.lesions if counts(one) and one["category_id"] in self.categories]
        outcome: dict[str, Any] = {
            "image_id": case.image_id,
            "file": str(case.path.absolute()),
            "width": prepared.geometry.source_width,
            "height": prepared.geometry.source_height,
            "boxes": boxes,
            "lesions": len(lesions),
            "lesions_found": _found(lesions, boxes),
            "notes": list(prepared.notes),
            "files": {},
        }
        if boxes:
            heat = self._heat(seen, chosen, prepared.geometry)
            outcome["peak"] = list(peak(heat))
            outcome["in_boxes"] = asdict(concentration(heat, boxes))
            if lesions:
                evenly = concentration(box_mask(heat.shape, boxes).astype(np.float32), lesions).heat
                outcome["in_lesions"] = {**asdict(concentration(heat, lesions)), "boxes": evenly}
            write_heat(self._name(outcome, case, "heatmap"), heat)
            write_png(self._name(outcome, case, "cam"), draw_boxes(paint(pixels, heat), case.lesions, boxes))
        elif self.all_images:
            write_png(self._name(outcome, case, "cam"), draw_boxes(pixels, case.lesions))
        if self.feature_maps and (boxes or self.all_images):
            picture = feature_figure(seen, pixels, prepared.geometry)
            write_png(self._name(outcome, case, "features"), picture)
        return outcome

    def _heat(self, seen: Look, chosen: Sequence[int], geometry: Geometry) -> NDArray[np.float32]:
        total = np.zeros((geometry.source_height, geometry.source_width), dtype=np.float32)
        for heat in image_heat(self.model, seen, chosen, self.method):
            np.maximum(total, to_source(heat.values, heat.stride, geometry), out=total)
        return total

    def _name(self, outcome: dict[str, Any], case: Case, kind: str) -> Path:
        """Return the path of a picture and note it in ``outcome``."""
        name = f"{FOLDERS[kind]}/{case.image_id:05d}_{case.path.stem[:50]}.png"
        outcome["files"][kind] = name
        return self.out / name


def feature_figure(seen: Look, pixels: NDArray[np.float32], geometry: Geometry) -> NDArray[np.uint8]:
    """Draw the image, its stages C2 to C5 and its levels P2 to P6, RGB; the part that the model saw.

    ``pixels`` float32 [H, W] are those of the source frame, and everything is drawn as it lies there.
    """
    x1, y1, x2, y2 = field_of_view(geometry)
    shrink = min(1.0, PANEL_PX / max(x2 - x1, y2 - y1))
    width, height = (max(1, round(side * shrink)) for side in (x2 - x1, y2 - y1))
    x = x1 + (np.arange(width) + 0.5) / width * (x2 - x1)
    y = y1 + (np.arange(height) + 0.5) / height * (y2 - y1)
    image = Geometry(x2 - x1, y2 - y1).scale(width, height).pixels_to_model(pixels[y1:y2, x1:x2])
    rows = [
        [
            (f"{name}  1/{STRIDES[name]}", sample(seen.maps[name], STRIDES[name], geometry, x, y), True)
            for name in names
        ]
        for names in (STAGE_NAMES, LEVEL_NAMES)
    ]
    return panels([[("mammogram", image, False), *rows[0]], rows[1]])


def image_row(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of images.csv, with the columns ``COLUMNS``; what is not known stays empty."""
    row = {
        name: outcome[name] for name in ("image_id", "file", "width", "height", "lesions", "lesions_found")
    }
    row |= {"boxes": len(outcome["boxes"]), "notes": "; ".join(outcome["notes"])}
    if "peak" in outcome:
        row["peak_x"], row["peak_y"] = outcome["peak"]
    for key, box, boxes in (("in_boxes", "box", "boxes"), ("in_lesions", "lesion", "lesions")):
        if key in outcome:
            row[f"peak_in_{box}"] = outcome[key]["peak_inside"]
            row[f"heat_in_{boxes}"] = round(outcome[key]["heat"], 6)
            row[f"area_of_{boxes}"] = round(outcome[key]["area"], 6)
    return row


def summary(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many images there are, and how well heat and lesions fall together where those were found.

    ``lesions`` is None when no image has a lesion that a box found (an IoU of ``FOUND_IOU``). In it are means
    over its images: ``heat`` and ``area``, and ``boxes``, the heat on lesions if all boxes were evenly hot.
    """
    found = [outcome["in_lesions"] for outcome in outcomes if outcome["lesions_found"]]
    lesions = None
    if found:
        lesions = {
            "images": len(found),
            "peak_inside": sum(one["peak_inside"] for one in found),
            **{key: float(np.mean([one[key] for one in found])) for key in ("heat", "area", "boxes")},
        }
    with_boxes = sum(bool(outcome["boxes"]) for outcome in outcomes)
    return {"images": len(outcomes), "images_with_boxes": with_boxes, "lesions": lesions}


def _results(image_id: int, seen: Look, index: int, geometry: Geometry) -> list[dict[str, Any]]:
    one = slice(index, index + 1)
    output = {"boxes": seen.boxes[one], "labels": seen.labels[one], "scores": seen.scores[one]}
    return results_of(image_id, output, geometry)


def _found(lesions: Sequence[AnnotationRecord], boxes: Sequence[Mapping[str, Any]]) -> int:
    corners = (to_xyxy([one["bbox"] for one in some]) for some in (lesions, boxes))
    overlap = iou_matrix(*corners)
    return int((overlap.max(axis=1, initial=0) >= FOUND_IOU).sum())
