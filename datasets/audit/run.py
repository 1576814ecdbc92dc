"""Audit a COCO file: look at its records and files, and write ``NAME.audit.json`` and ``NAME.audit.html``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mammodet.datasets.atomic import write_json, write_text
from mammodet.datasets.audit import overview
from mammodet.datasets.audit.boxes import box_cases
from mammodet.datasets.audit.conversion import conversion_cases, conversion_of
from mammodet.datasets.audit.files import file_cases, header_cases
from mammodet.datasets.audit.gallery import make_gallery
from mammodet.datasets.audit.labels import label_cases
from mammodet.datasets.audit.page import render
from mammodet.datasets.audit.patients import patient_cases
from mammodet.datasets.audit.pixels import Pixels
from mammodet.datasets.audit.report import Case, Files, Report, group
from mammodet.datasets.audit.samples import Samples, make_samples
from mammodet.datasets.audit.sizes import ANCHOR_PX, Sizes, describe, measure
from mammodet.datasets.audit.views import view_cases
from mammodet.datasets.coco import Coco, CocoError, ImageRecord, check_content, read_json
from mammodet.datasets.errors import InputError
from mammodet.datasets.inspection import RAW_TOO, Inspection, inspect_files, recall, store_fingerprint

# progress(items, what is done, how many): wraps what is worked through, such as tqdm
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]

_NEEDS_PIXELS = (
    "whether boxes lie on the breast and not in air, and their size against the breast's",
    "files that cannot be read to their last pixel",
    "the same picture under two names, near duplicates and mirrored copies",
    "chest walls on the wrong side, photometric and other faults of single files",
    "box sizes on the crop to the breast",
)
_NEEDS_HEADERS = ("whether the image files are there and of the size that the COCO file says",)


@dataclass(frozen=True)
class Look:
    """How far an audit looks.

    Parameters
    ----------
    files:
        "pixels" reads every image, "headers" only their size, "no" leaves the files alone.
    anchor:
        Side of the detector's smallest anchor in pixels, which box sizes are compared with.
    pictures:
        How many cases of each finding the page shows as pictures; all of them are in the JSON file. With 0
        there are no lesions at random either.
    workers:
        Processes that read pixels; by default one per core.
    """

    files: Files = "pixels"
    anchor: int = ANCHOR_PX
    pictures: int = 8
    workers: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("anchor", 1), ("pictures", 0), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"must be at least {least}", field=f"--{name}", value=value)

    @property
    def not_checked(self) -> tuple[str, ...]:
        """What is not looked at."""
        if self.files == "pixels":
            return ()
        return _NEEDS_PIXELS if self.files == "headers" else (*_NEEDS_HEADERS, *_NEEDS_PIXELS)


def silent(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """Show no progress."""
    return items


def read_for_audit(path: Path) -> Coco:
    """Read a COCO file of the profile, also one with patients in several splits, which the audit tells.

    Raises CocoError for every other fault that ``check_content`` finds, and InputError when it is no JSON.
    """
    content = read_json(path)
    faults = [one for one in check_content(content, path) if not one.where.startswith("images[patient_id=")]
    if faults:
        remedy = f"correct it first; mammodet check {path} lists all faults"
        if any(one.where == "categories" for one in faults):
            remedy = "say what its categories stand for: mammodet convert coco FOLDER --classes"
        raise CocoError(faults, remedy)
    for image in content["images"]:
        _check_name(image, path)
    return Coco(content["images"], content["annotations"], path, info=content.get("info") or {})


def _check_name(image: ImageRecord, path: Path) -> None:
    try:
        os.fsencode(image["file_name"])
    except UnicodeEncodeError:
        where, name = f"images[id={image['id']}].file_name", image["file_name"]
        remedy = "correct it in the file"
        raise InputError(
            "no file can be called so", file=path, field=where, value=name, remedy=remedy
        ) from None


def audit_coco(
    coco: Coco,
    look: Look = Look(),
    *,
    progress: Progress = silent,
    store: Path | None = None,
) -> tuple[Report, Sizes]:
    """Audit a COCO file in memory and return what was found, and the sizes that its figures draw.

    Parameters
    ----------
    store:
        SQLite file that keeps the inspections of pixels, so that a run that was killed goes on where it was.

    Raises
    ------
    InputError
        When ``store`` cannot be used. Faults of images are findings.
    """
    pixels = Pixels()
    about_files: Iterable[Case] = ()
    if look.files == "pixels":
        for inspection, image_id in _inspected(coco, look, progress, store):
            pixels.add(image_id, inspection, coco.annotations_of.get(image_id, []))
        about_files = file_cases(coco, pixels)
    elif look.files == "headers":
        about_files = header_cases(coco, lambda images: progress(images, "reading headers", len(coco.images)))
    sizes, record = measure(coco, pixels, look.anchor), conversion_of(coco)
    folder = overview.common_folder(coco)
    cases = chain(
        about_files,
        patient_cases(coco, pixels),
        label_cases(coco),
        box_cases(coco, pixels),
        view_cases(coco),
        conversion_cases(record),
    )
    report = Report(
        coco=coco.path.name,
        folder=folder,
        files=look.files,
        not_checked=look.not_checked,
        findings=group(cases, folder),
        overview=overview.overview(coco),
        splits=overview.splits(coco),
        images_per_patient=overview.images_per_patient(coco),
        completeness=overview.completeness(coco),
        sizes=describe(sizes),
        conversion=record,
    )
    return report, sizes


def write_audit(
    coco: Coco,
    folder: Path | None = None,
    look: Look = Look(),
    *,
    progress: Progress = silent,
) -> tuple[Report, Path]:
    """Audit a COCO file, write ``NAME.audit.json`` and ``NAME.audit.html``, and return report and page.

    Until both are written a hidden SQLite file beside them keeps what was read of the pixels, so that a run
    that was killed goes on where it was; an image file that changed meanwhile is read again.

    Parameters
    ----------
    folder:
        Where to write; by default beside the COCO file.
    """
    folder = coco.path.parent if folder is None else folder
    store = folder / f".{coco.path.stem}.audit.{_fingerprint()}.sqlite"
    report, sizes = audit_coco(coco, look, progress=progress, store=store)
    pictures: Any = {
        "again": lambda ids: _again(coco, ids, look, store),
        "recipe": RAW_TOO,
        "progress": progress,
    }
    gallery = make_gallery(coco, report, look.pictures, **pictures)
    pictured = look.files == "pixels" and look.pictures > 0
    samples = make_samples(coco, report, **pictures) if pictured else Samples()
    page, record = audit_paths(folder / coco.path.name)
    write_json(record, report.to_dict())
    write_text(page, render(report, sizes, gallery, samples, record.name))
    store.unlink(missing_ok=True)
    return report, page


def audit_paths(path: Path) -> tuple[Path, Path]:
    """Return the page and the JSON file that belong to a COCO file of this path."""
    return path.with_name(f"{path.stem}.audit.html"), path.with_name(f"{path.stem}.audit.json")


def _fingerprint() -> str:
    """Name what inspections depend on, so that a later version does not meet an earlier one's store."""
    return hashlib.sha256(store_fingerprint(RAW_TOO).encode()).hexdigest()[:8]


def _inspected(
    coco: Coco, look: Look, progress: Progress, store: Path | None
) -> Iterator[tuple[Inspection, int]]:
    there = [image["id"] for image in coco.images if os.path.isfile(coco.image_path(image))]  # noqa: PTH113
    paths = [coco.image_path(coco.image_by_id[number]) for number in there]
    inspections = inspect_files(
        paths,
        workers=look.workers,
        progress=lambda seen: progress(seen, "reading pixels", len(paths)),
        store=store,
    )
    return zip(inspections, there, strict=True)


def _again(coco: Coco, ids: Sequence[int], look: Look, store: Path) -> Iterator[tuple[int, Inspection]]:
    """Yield inspections with their thumbnails, from the store; files that crashed their decoder have none."""
    if look.files != "pixels":
        return
    paths = [coco.image_path(coco.image_by_id[number]) for number in ids]
    for number, inspection in zip(ids, recall(paths, store), strict=True):
        if inspection is not None:
            yield number, inspection
