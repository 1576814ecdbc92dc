"""Patients and parts: who is in several splits, and ids that cannot name one patient, study or instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import zip_longest

from mammodet.datasets.audit.pixels import Pixels
from mammodet.datasets.audit.report import Case
from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.datasets.leaks import Leak, find_leaks
from mammodet.datasets.splits import left_out

_FOLLOWS = {"study": "patient", "pixels": "file"}


def patient_cases(coco: Coco, pixels: Pixels) -> Iterator[Case]:
    """Yield what would let a patient be in training and test, and ids that contradict each other."""
    numbers = {image["file_name"]: image["id"] for image in coco.images}
    digests = {
        number: inspection.pixel_digest
        for number, inspection in pixels.seen.items()
        if inspection.pixel_digest is not None
    }
    told: dict[str, list[set[str]]] = {}
    for leak in find_leaks(_parts(coco, "split"), digests):
        names = {name for part in leak.images.values() for name in part}
        # A study follows its patient, and the pixels of a file that is listed twice follow the file.
        if any(names <= wider for wider in told.get(_FOLLOWS.get(leak.kind, ""), [])):
            continue
        told.setdefault(leak.kind, []).append(names)
        yield _leak_case(f"{leak.kind}-in-several-splits", leak, "", numbers)
    for leak in find_leaks(_parts(coco, "patient_id")):
        if leak.kind == "study":
            yield _leak_case("study-of-several-patients", leak, "patient ", numbers)
    yield from _left_out(coco)
    yield from _ids(coco)


def _parts(coco: Coco, key: str) -> Mapping[str, Coco]:
    groups = grouped(coco.images, lambda image: image.get(key))
    return {str(name): Coco(images, [], coco.path, info=coco.info) for name, images in groups.items()}


def grouped(
    images: Iterable[ImageRecord], key: Callable[[ImageRecord], Hashable | None]
) -> dict[Hashable, list[ImageRecord]]:
    """Return the images by key, in the order of the file, without those whose key is None."""
    groups: defaultdict[Hashable, list[ImageRecord]] = defaultdict(list)
    for image in images:
        found = key(image)
        if found is not None:
            groups[found].append(image)
    return dict(groups)


def ids_of(images: Iterable[ImageRecord]) -> tuple[int, ...]:
    """Return the ids of images."""
    return tuple(image["id"] for image in images)


def _leak_case(kind: str, leak: Leak, what: str, numbers: Mapping[str, int]) -> Case:
    where = ", ".join(f"{what}{part} ({len(names)})" for part, names in leak.images.items())
    # One image of each part first, since the page shows the first two.
    rows = zip_longest(*leak.images.values())
    names = [name for row in rows for name in row if name is not None]
    shared = " and ".join(names) if leak.kind in ("pixels", "file") else f"{leak.kind} {leak.shared}"
    return Case(kind, f"{shared} in {where}", tuple(numbers[name] for name in names))


def _left_out(coco: Coco) -> Iterator[Case]:
    aside = left_out(coco)
    for image in coco.images:
        if image["id"] in aside:
            split = image["provenance"]["official_split"]
            yield Case("official-split-taken-out", f"{image['file_name']}: was in {split}", (image["id"],))


def _ids(coco: Coco) -> Iterator[Case]:
    for image in coco.images:
        if image.get("patient_id") is None:
            yield Case("image-without-patient", image["file_name"], (image["id"],))
    for breast, images in grouped(coco.images, lambda image: image.get("breast_id")).items():
        patients = {image["patient_id"]: None for image in images if image.get("patient_id") is not None}
        if len(patients) > 1:
            text = f"breast {breast}: patients {', '.join(patients)}"
            yield Case("breast-of-several-patients", text, ids_of(images))
    for images in grouped(coco.images, lambda image: image.get("sop_instance_uid")).values():
        if len(images) > 1:
            names = " and ".join(image["file_name"] for image in images)
            yield Case("instance-twice", f"{names} have one SOP instance UID", ids_of(images))
    for study, images in grouped(coco.images, _study).items():
        ages = sorted({image["age"] for image in images if image.get("age") is not None})  # type: ignore[type-var]
        if ages and ages[-1] - ages[0] > 1:  # type: ignore[operator]  # a birthday may lie between two images
            assert isinstance(study, tuple)
            text = f"patient {study[0]}, study {study[1]}: ages {', '.join(map(str, ages))}"
            yield Case("ages-in-study", text, ids_of(images))


def _study(image: ImageRecord) -> Hashable | None:
    study = image.get("study_id")
    return None if study is None else (image.get("patient_id"), study)
