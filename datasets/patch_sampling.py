"""Which windows of an image become patches: the rules of two published classifiers, and what varies them.

Pesapane et al. 2023, *Deep learning performance for detection and classification of microcalcifications on
mammography*: windows of 112 px centred on calcifications; negatives at random places of the same images that
are bright enough and free of annotations. Mračko et al. 2024, *Deep Learning in Breast Calcifications
Classification*: windows of 674 px on clusters, shifted inwards at the border, larger clusters left out;
negatives from healthy tissue with at least 70 % breast, from masses and from macrocalcifications.

The random places of an image follow from the seed and the image's id alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.breast import breast_mask, reduced
from mammodet.datasets.coco import CATEGORY_NAMES, AnnotationRecord, ImageRecord, counts, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.patch_macro import is_macrocalcification
from mammodet.datasets.patch_records import Window
from mammodet.datasets.patch_windows import Places, centred, clear_places, draw_places, window_means
from mammodet.datasets.standardise import Standardised

NORMAL, MASS, MACRO = "normal", "mass", "macrocalcification"
_RANKS = {name: rank for rank, name in enumerate((NORMAL, MASS, MACRO, "benign", "malignant"))}


@dataclass(frozen=True)
class SamplingRule:
    """Which windows of an image become patches.

    Parameters
    ----------
    size:
        Side of the windows in pixels of the standardised image.
    findings:
        Lesions with one of these findings become patches of their class, benign or malignant; None takes
        all. Ignored lesions and crowds never do.
    keep_larger:
        Whether lesions larger than a window still become patches, of their middle.
    min_mean:
        Least mean of the pixels, 0 to 1, of a random negative.
    min_breast:
        Least share of breast, 0 to 1, in a random negative.
    negatives:
        Random negatives per patch of a lesion in the same image; fractions are met on average.
    normal_negatives:
        Random negatives of an image without any lesion.
    masses, macrocalcifications:
        Whether these become negatives of their own classes, "mass" and "macrocalcification".
    seed:
        Another seed gives other random places.

    Raises
    ------
    InputError
        When a value is out of its range.
    """

    size: int
    findings: tuple[str, ...] | None = ("calcification",)
    keep_larger: bool = True
    min_mean: float = 0.0
    min_breast: float = 0.0
    negatives: float = 1.0
    normal_negatives: int = 0
    masses: bool = False
    macrocalcifications: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 4096:
            raise InputError("must be 8 to 4096", field="size", value=self.size)
        for name in ("min_mean", "min_breast"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError("must be 0 to 1", field=name, value=getattr(self, name))
        for name in ("negatives", "normal_negatives", "seed"):
            if not 0 <= getattr(self, name) < 2**32:
                raise InputError("must be 0 or more", field=name, value=getattr(self, name))


PUBLISHED: Mapping[str, SamplingRule] = {
    "pesapane": SamplingRule(112, min_mean=0.2),
    "mracko": SamplingRule(
        674,
        keep_larger=False,
        min_breast=0.7,
        normal_negatives=1,
        masses=True,
        macrocalcifications=True,
    ),
}


@dataclass(frozen=True)
class Sampled:
    """The windows of an image, all inside it and at different places, and what was left out, by reason."""

    windows: tuple[Window, ...]
    left_out: Mapping[str, int]


def published_rule(kind: str, **changes: Any) -> SamplingRule:
    """Return the rule of "pesapane" or "mracko", with the changes that are not None.

    Raises InputError for another kind, or a value out of its range.
    """
    if kind not in PUBLISHED:
        remedy = f"choose one of {', '.join(PUBLISHED)}"
        raise InputError("unknown kind", field="kind", value=kind, remedy=remedy)
    return replace(PUBLISHED[kind], **{name: value for name, value in changes.items() if value is not None})


def sample_windows(
    rule: SamplingRule,
    image: ImageRecord,
    annotations: Sequence[AnnotationRecord],
    standardised: Standardised,
) -> Sampled:
    """Return the windows of one image by a rule: those of lesions first, then random negatives.

    Random negatives touch no annotation, ignored ones and crowds included. An image whose label says benign
    or malignant, but that has no annotation, gets none: its lesion may be anywhere. Of lesions whose windows
    are the same, the worst counts. An image smaller than a window has no patches; ``left_out`` says so.
    """
    left_out: Counter[str] = Counter()
    height, width = standardised.pixels.shape
    if min(height, width) < rule.size:
        left_out["images smaller than a patch"] += 1
        return Sampled((), left_out)
    boxes = standardised.geometry.boxes_to_model(to_xyxy([one["bbox"] for one in annotations]))
    found: dict[tuple[int, int], Window] = {}
    labels = [_label(rule, one) for one in annotations]
    clusters = [box for box, label in zip(boxes, labels, strict=True) if label in {"benign", "malignant"}]
    for box, label, annotation in zip(boxes, labels, annotations, strict=True):
        reason = _reason(rule, box, label, annotation, (width, height))
        if reason is not None:
            left_out[reason] += 1
            continue
        assert label is not None
        x, y = centred(box, rule.size, width, height)
        if label in {MASS, MACRO} and not clear_places((height, width), rule.size, clusters)[y, x]:
            left_out[f"{label} windows that show a cluster too"] += 1
            continue
        window = Window(x, y, rule.size, label, annotation["id"])
        other = found.setdefault((x, y), window)
        if other is not window:
            left_out["lesions with the window of another one"] += 1
            found[x, y] = max(other, window, key=lambda one: _RANKS[one.label])
    positives = sum(window.label in {"benign", "malignant"} for window in found.values())
    negatives = _negatives(rule, image, annotations, positives, left_out)
    if negatives:
        allowed = clear_places((height, width), rule.size, boxes) & _suitable(rule, standardised.pixels)
        places = draw_places(allowed, negatives, _random(rule, image, 1))
        if len(places) < negatives:
            left_out["random negatives for which there is no place"] += negatives - len(places)
        for x, y in places:
            found.setdefault((x, y), Window(x, y, rule.size, NORMAL))
    return Sampled(tuple(found.values()), left_out)


def _label(rule: SamplingRule, annotation: AnnotationRecord) -> str | None:
    """Return the class of a lesion's patch; None when it becomes none."""
    finding = annotation.get("finding")
    if annotation.get("iscrowd"):
        return None
    if rule.macrocalcifications and is_macrocalcification(annotation):
        return MACRO
    if counts(annotation) and (rule.findings is None or finding in rule.findings):
        return CATEGORY_NAMES.get(annotation["category_id"])
    return MASS if rule.masses and finding == "mass" and "mass" not in (rule.findings or ("mass",)) else None


def _reason(
    rule: SamplingRule,
    box: NDArray[np.float64],
    label: str | None,
    annotation: AnnotationRecord,
    size: tuple[int, int],
) -> str | None:
    """Return why a lesion becomes no patch; None when it does."""
    if label is None:
        if not counts(annotation):
            return "ignored lesions and crowds"
        return f"lesions of finding {annotation.get('finding') or 'unknown'}"
    x1, y1, x2, y2 = box
    if not (0 <= (x1 + x2) / 2 <= size[0] and 0 <= (y1 + y2) / 2 <= size[1]):
        return "lesions whose centre lies outside the crop"
    if not rule.keep_larger and max(x2 - x1, y2 - y1) > rule.size:
        return "lesions larger than a patch"
    return None


def _negatives(
    rule: SamplingRule,
    image: ImageRecord,
    annotations: Sequence[AnnotationRecord],
    positives: int,
    left_out: Counter[str],
) -> int:
    """Return how many random negatives an image should give."""
    if annotations:
        return int(rule.negatives * positives + _random(rule, image, 0).random())
    if image.get("label") in {"benign", "malignant"}:
        if rule.normal_negatives:
            left_out["images with a label but no box, which give no negatives"] += 1
        return 0
    return int(rule.normal_negatives)


def _suitable(rule: SamplingRule, pixels: NDArray[np.float32]) -> Places:
    """Return the places that are bright enough and show enough breast."""
    height, width = pixels.shape
    suitable = np.ones((height - rule.size + 1, width - rule.size + 1), dtype=bool)
    if rule.min_mean > 0:
        suitable &= window_means(pixels, rule.size) >= rule.min_mean
    if rule.min_breast > 0:
        breast = breast_mask(reduced(pixels))
        if breast is None:
            return np.zeros_like(suitable)
        whole = cv2.resize(breast.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        suitable &= window_means(whole, rule.size) >= rule.min_breast
    return suitable


def _random(rule: SamplingRule, image: ImageRecord, purpose: int) -> np.random.Generator:
    return np.random.default_rng([rule.seed, image["id"] % 2**64, purpose])  # ids may be negative
