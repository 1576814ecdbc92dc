"""The worst errors as pictures: crops with their surroundings, and all of them on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mammodet.datasets.coco import CATEGORY_NAMES, to_xyxy
from mammodet.datasets.drawing import draw_boxes
from mammodet.datasets.figure_style import STYLE, shown_name
from mammodet.evaluation.error_analysis import KINDS, ErrorAnalysis, ErrorPicture
from mammodet.evaluation.error_cases import FALSE_NEGATIVE, FALSE_POSITIVE, ErrorCase
from mammodet.evaluation.error_matching import MISSED

CONTEXT = 2.5  # the crop is so many times as long as the box
LEAST_CROP = 256  # px of the file
PICTURE = 448  # px, longer side of a picture of the gallery
PER_KIND = 6


def worst_cases(cases: Sequence[ErrorCase], most: int = PER_KIND) -> list[int]:
    """Return the places of the cases to show: of each kind the first, each of another image where possible.

    The cases come by falling score and, missed, by falling size. Lesions that are not found for a box of the
    wrong class or a poor box are shown with that box.
    """
    shown = []
    for kind in KINDS:
        error = FALSE_NEGATIVE if kind == MISSED else FALSE_POSITIVE
        places = [place for place, one in enumerate(cases) if one.kind == kind and one.error == error]
        seen: set[int] = set()
        fresh: list[int] = []
        more: list[int] = []
        for place in places:
            (more if cases[place].image_id in seen else fresh).append(place)
            seen.add(cases[place].image_id)
        chosen = [*fresh, *more][:most]
        shown += sorted(chosen)
    return shown


def crop_window(
    bbox: Sequence[float], width: int, height: int, *, context: float = CONTEXT
) -> tuple[int, int, int, int]:
    """Return ``(left, top, right, bottom)`` in whole pixels around a box, inside its image where it fits.

    The side is ``context`` times the longer side of the box, at least 256 px, less where the image is
    smaller.
    """
    x1, y1, x2, y2 = to_xyxy([bbox])[0]
    side = round(max(LEAST_CROP, context * max(x2 - x1, y2 - y1)))
    edges = []
    for centre, most in (((x1 + x2) / 2, width), ((y1 + y2) / 2, height)):
        first = int(np.clip(round(centre - side / 2), 0, max(0, most - side)))
        edges.append((first, min(most, first + side)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def crop_picture(
    pixels: NDArray[np.float32],
    bbox: Sequence[float],
    truth: Sequence[Mapping[str, Any]] = (),
    predictions: Sequence[Mapping[str, Any]] = (),
    *,
    side: int | None = PICTURE,
    context: float = CONTEXT,
) -> NDArray[np.uint8]:
    """Return the surroundings of a box with true boxes solid and predicted ones dashed, uint8 [h, w, 3], RGB.

    Parameters
    ----------
    pixels:
        float32 [H, W], 0 to 1, in the frame of the boxes; the contrast is that of the crop.
    bbox:
        ``[x, y, width, height]`` that the picture is about.
    truth, predictions:
        Annotations and results of the image; those outside the crop are left out.
    side:
        Longer side of the picture in px; None keeps the pixels of the file.
    context:
        As ``crop_window`` takes it.
    """
    height, width = pixels.shape
    left, top, right, bottom = crop_window(bbox, width, height, context=context)
    window = pixels[top:bottom, left:right]
    scale = 1.0 if side is None else side / max(window.shape)
    size = max(1, round(window.shape[1] * scale)), max(1, round(window.shape[0] * scale))
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    grey = cv2.resize(window, size, interpolation=way) if scale != 1 else window
    low, high = np.percentile(window, [0.5, 99.8])
    grey = np.clip((grey - low) / max(high - low, 0.05), 0, 1)
    inside = np.array([left, top, right, bottom])
    across, down = size[0] / window.shape[1], size[1] / window.shape[0]
    moved = [
        [_moved(one, left, top, across, down) for one in boxes if _meets(one["bbox"], inside)]
        for boxes in (truth, predictions)
    ]
    # Lines of two pixels, those of predictions around those of lesions where the boxes are the same.
    grown = [
        [{**box, "bbox": _grown(box["bbox"], by)} for box in boxes for by in steps]
        for boxes, steps in zip(moved, ((0, 1), (3, 4)), strict=True)
    ]
    return draw_boxes(grey.astype(np.float32), *grown, labels=False)


def crop_png(
    pixels: NDArray[np.float32],
    bbox: Sequence[float],
    truth: Sequence[Mapping[str, Any]] = (),
    predictions: Sequence[Mapping[str, Any]] = (),
    *,
    side: int | None = PICTURE,
) -> bytes:
    """Return ``crop_picture`` as the bytes of a PNG file."""
    picture = crop_picture(pixels, bbox, truth, predictions, side=side)
    return bytes(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())


def decoded(picture: ErrorPicture) -> NDArray[np.uint8]:
    """Return the pixels of a picture, uint8 [h, w, 3], RGB."""
    pixels = cv2.imdecode(np.frombuffer(picture.png, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None  # made by crop_png
    return np.asarray(pixels[:, :, ::-1], dtype=np.uint8)


def caption(case: ErrorCase) -> tuple[str, ...]:
    """Return what stands below the picture of a case, up to three lines."""
    width, height = (f"{value:.0f}" for value in case.bbox[2:])
    if case.score is None:
        told = f"{case.category} lesion, {width} x {height} px"
    else:
        told = f"{case.category} {case.score:.2f}, {width} x {height} px"
    about = case.place
    if case.lesion is not None and case.error == FALSE_POSITIVE and about is None:
        about = f"on a {case.lesion_category} lesion, IoU {case.iou:.2f}"
    name = "/".join(PurePosixPath(case.file_name).parts[-2:])
    return tuple(line for line in (told, about, name) if line)


def legend(analysis: ErrorAnalysis) -> str:
    """Return what the boxes of the pictures are, in a line."""
    colours = "; malignant orange, benign blue, left out yellow"
    profile = set(analysis.ap) == {"all", *CATEGORY_NAMES.values()}
    return (
        "Around the case in the middle: lesions solid, predictions with a score of "
        f"{analysis.rules.score_threshold:g} or more dashed{colours if profile else ''}."
    )


def gallery_figure(analysis: ErrorAnalysis) -> Figure | None:
    """Draw all pictures of the gallery, a row per kind; None when there is none."""
    rows: dict[str, list[ErrorPicture]] = {}
    for picture in analysis.gallery:
        rows.setdefault(analysis.cases[picture.case].kind, []).append(picture)
    if not rows:
        return None
    columns = max(map(len, rows.values()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * columns + 0.3, 2.95 * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(legend(analysis), fontsize=8, x=0.005, ha="left")
        panels = figure.subplots(len(rows), columns, squeeze=False)
        for line, (kind, pictures) in zip(panels, rows.items(), strict=True):
            for axes in line:
                axes.axis("off")
            for axes, picture in zip(line, pictures, strict=False):
                axes.imshow(decoded(picture))
                below = "\n".join(_shortened(text) for text in picture.caption)
                axes.text(0, -0.03, below, transform=axes.transAxes, va="top", fontsize=6.5, color="0.25")
            title = "missed lesions" if kind == MISSED else f"false positives: {kind}"
            line[0].set_title(title, loc="left", fontweight="bold", fontsize=9)
    return figure


def _shortened(text: str) -> str:
    return shown_name(text if len(text) <= 40 else f"...{text[-37:]}", 40)


def _meets(bbox: Sequence[float], inside: NDArray[Any]) -> bool:
    x1, y1, x2, y2 = to_xyxy([bbox])[0]
    return bool(x1 < inside[2] and y1 < inside[3] and x2 > inside[0] and y2 > inside[1])


def _moved(one: Mapping[str, Any], left: int, top: int, across: float, down: float) -> dict[str, Any]:
    x, y, width, height = one["bbox"]
    moved = {
        "bbox": [(x - left) * across, (y - top) * down, width * across, height * down],
        "category_id": one["category_id"],
        "ignore": one.get("ignore") or one.get("iscrowd"),
    }
    return moved | ({"score": one["score"]} if "score" in one else {})


def _grown(bbox: Sequence[float], by: int) -> list[float]:
    x, y, width, height = bbox
    return [x - by, y - by, width + 2 * by, height + 2 * by]
