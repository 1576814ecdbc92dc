"""Image files: missing, unreadable, of another size, there twice, mirrored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from mammodet.datasets.audit.kinds import FILE_PROBLEM
from mammodet.datasets.audit.patients import grouped
from mammodet.datasets.audit.pixels import Pixels, names_of
from mammodet.datasets.audit.report import Case
from mammodet.datasets.coco import Coco, ImageRecord, check_files
from mammodet.datasets.fingerprint import copies
from mammodet.datasets.inspection import Inspection
from mammodet.datasets.mammogram import image_size
from mammodet.datasets.problem import KINDS as FILE_KINDS

Progress = Callable[[Iterable[ImageRecord]], Iterable[ImageRecord]]

# What the inspection of a lone file misses and the COCO file may know.
_ANSWERED = {
    "no-side": "laterality",
    "no-view": "view",
    "no-spacing": "spacing_mm",
    "no-patient": "patient_id",
    "mirrored": "laterality",  # compared with the COCO file's laterality here: "chest-wall-side"
}
_NEVER = ("unnamed", "unreadable")  # a COCO file needs no telling names; what cannot be read has its own kind


def header_cases(coco: Coco, progress: Progress = iter) -> Iterator[Case]:
    """Yield the files that are missing, unreadable by their header, or of another size."""
    for image in progress(coco.images):
        for fault in check_files(Coco([image], [], coco.path, info=coco.info), image_size):
            if fault.problem == "no such image file":
                kind = "missing-file"
            else:
                kind = "size-mismatch" if " on disk and " in fault.problem else "unreadable-file"
            yield Case(kind, f"{image['file_name']}: {fault.problem}", (image["id"],))


def file_cases(coco: Coco, pixels: Pixels) -> Iterator[Case]:
    """Yield what the inspection of the pixels found."""
    for image in coco.images:
        inspection = pixels.seen.get(image["id"])
        if inspection is None:
            yield Case("missing-file", image["file_name"], (image["id"],))
            continue
        yield from _one_file(image, inspection)
    yield from _same_pixels(coco, pixels)
    yield from _same_look(coco, pixels)


def _one_file(image: ImageRecord, inspection: Inspection) -> Iterator[Case]:
    name, where = image["file_name"], (image["id"],)
    size = inspection.width, inspection.height
    for problem in inspection.problems:
        advice = FILE_KINDS[problem.kind][1]
        text = f"{name}: {problem.text.removesuffix(advice).rstrip('; ')}"
        if problem.kind == "unreadable":
            yield Case("unreadable-file", text, where)
        elif problem.kind not in _NEVER and image.get(_ANSWERED.get(problem.kind, "")) is None:
            yield Case(f"{FILE_PROBLEM}{problem.kind}", text, where)
    if all(size) and size != (image["width"], image["height"]):
        text = f"{name}: is {size[0]} x {size[1]} on disk and {image['width']} x {image['height']} here"
        yield Case("size-mismatch", text, where)
    side, wall = image.get("laterality"), inspection.chest_side
    if side is not None and wall is not None and side != wall:
        words = {"L": "left", "R": "right"}
        text = f"{name}: a {words[side]} breast with its chest wall on the {words[wall]}"
        yield Case("chest-wall-side", text, where)


def _same_pixels(coco: Coco, pixels: Pixels) -> Iterator[Case]:
    groups = grouped(coco.images, lambda image: _digest(pixels, image))
    for images in groups.values():
        if len(images) < 2:
            continue
        truths = {_truth(coco, image) for image in images}
        splits = {image.get("split") for image in images}
        if len(truths) == 1 and None not in splits and len(splits) > 1:
            continue  # told as a leak: "pixels-in-several-splits"
        kind = "duplicate-pixels" if len(truths) == 1 else "duplicate-pixels-conflict"
        numbers = tuple(image["id"] for image in images)
        yield Case(kind, names_of(coco.image_by_id, numbers), numbers)


def _digest(pixels: Pixels, image: ImageRecord) -> str | None:
    inspection = pixels.seen.get(image["id"])
    return None if inspection is None else inspection.pixel_digest


def _truth(coco: Coco, image: ImageRecord) -> object:
    """Return what two copies of a picture should agree on; boxes to the pixel."""
    lesions = coco.annotations_of.get(image["id"], [])
    boxes = sorted((one["category_id"], *(round(value) for value in one["bbox"])) for one in lesions)
    return image.get("label"), tuple(boxes)


def _same_look(coco: Coco, pixels: Pixels) -> Iterator[Case]:
    known = [image for image in coco.images if image["id"] in pixels.seen]
    hashes = [pixels.seen[image["id"]].difference_hash for image in known]
    sketches = [pixels.sketches.get(image["id"]) for image in known]
    told: defaultdict[int, set[int]] = defaultdict(set)
    for mirrored in (False, True):
        for first, second in copies(hashes, sketches, mirrored=mirrored):
            one, other = known[first], known[second]
            digest = _digest(pixels, one)
            if second in told[first] or (digest is not None and digest == _digest(pixels, other)):
                continue
            told[first].add(second)
            numbers = (one["id"], other["id"])
            text = names_of(coco.image_by_id, numbers)
            splits = one.get("split"), other.get("split")
            if None not in splits and splits[0] != splits[1]:
                yield Case("near-duplicate-across-splits", f"{text} ({splits[0]}, {splits[1]})", numbers)
            else:
                yield Case("mirrored-duplicate" if mirrored else "near-duplicate", text, numbers)
