"""Breasts: views that are missing or there twice, lesions that are marked in one view only."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from mammodet.datasets.audit.patients import grouped, ids_of
from mammodet.datasets.audit.report import Case
from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord

PAIR = ("CC", "MLO")  # the views of a screening exam
# Places of ML, LMO and so on: oblique or lateral views may stand for the MLO
LATERAL = ("MLO", "ML", "LM", "LMO")


def view_cases(coco: Coco) -> Iterator[Case]:
    """Yield what is odd about the views of every breast whose patient, side and views are known."""
    breasts = grouped(coco.images, breast_of)
    everywhere = {_place(image) for image in coco.images}
    for missing in PAIR:
        if breasts and missing not in everywhere and everywhere & set(PAIR):
            yield Case("incomplete-breast", f"no image is a {missing}", count=len(breasts))
    for images in breasts.values():
        name = _name(images[0])
        by_view = grouped(images, lambda image: image.get("view"))
        for view, same in by_view.items():
            if len(same) > 1:
                names = " and ".join(image["file_name"] for image in same)
                yield Case("view-twice", f"{name}: {len(same)} x {view}, {names}", ids_of(same))
        views = {_place(image) for image in images} & set(PAIR)
        if len(views) == 1 and everywhere >= set(PAIR):
            missing = next(view for view in PAIR if view not in views)
            yield Case("incomplete-breast", f"{name}: no {missing}", ids_of(images))
        elif len(views) == 2:
            yield from _one_view(coco, name, images)


def breast_of(image: ImageRecord) -> Hashable | None:
    """Return what images of one breast share: ``breast_id``, or patient, study and side; None if unknown."""
    if image.get("breast_id") is not None:
        return image["breast_id"]
    if image.get("patient_id") is None or image.get("laterality") is None:
        return None
    return image["patient_id"], image.get("study_id"), image["laterality"]


def _name(image: ImageRecord) -> str:
    side = {"L": "left breast", "R": "right breast"}.get(image.get("laterality") or "", "breast")
    return f"patient {image.get('patient_id') or 'unknown'}, {side}"


def _place(image: ImageRecord) -> str | None:
    view = image.get("view")
    return "MLO" if view in LATERAL else view


def _one_view(coco: Coco, name: str, images: Sequence[ImageRecord]) -> Iterator[Case]:
    """Yield the lesions of a breast with both views that are in one of them.

    Lesions are told apart by ``lesion_id``. Those without can only be compared as a whole: the other view has
    some lesion or it has none.
    """
    paired = [image for image in images if _place(image) in PAIR]
    seen: dict[str | None, dict[str, list[tuple[ImageRecord, AnnotationRecord]]]] = {}
    for image in paired:
        for lesion in coco.annotations_of.get(image["id"], []):
            views = seen.setdefault(lesion.get("lesion_id"), {})
            views.setdefault(str(_place(image)), []).append((image, lesion))
    marked = {view for views in seen.values() for view in views}
    for lesion_id, views in seen.items():
        if len(views) == 1 and (lesion_id is not None or len(marked) == 1):
            view, found = next(iter(views.items()))
            missing = next(other for other in PAIR if other != view)
            which = "lesions" if lesion_id is None else f"lesion {lesion_id}"
            shown = dict.fromkeys(image["id"] for image, _ in found)
            other = [image["id"] for image in paired if _place(image) == missing]
            lesions = tuple(lesion["id"] for _, lesion in found)
            text = f"{name}: {which} in {view} only, none in {missing}"
            yield Case("lesion-in-one-view", text, (*shown, *other), lesions)
