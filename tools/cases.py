"""The images that a command is given, as files, folders or one COCO file, and how each of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord, read_coco
from mammodet.datasets.discover import search
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import IdentifyBy, Mammogram, read_mammogram
from mammodet.datasets.prepared import complete, prepared_recipe, read_prepared, require_recipe
from mammodet.datasets.standardise import Recipe, Standardised, standardise

PERMISSIONS = ("allow_for_processing", "allow_secondary_capture")  # of the recipe: which files are taken


@dataclass(frozen=True)
class Case:
    """One image file.

    Parameters
    ----------
    record, lesions:
        What a COCO file says of it; None and nothing for a file that was found in a folder.
    prepared:
        The ``info.prepared`` of a COCO file whose images ``mammodet prepare`` wrote: they go to the detector
        as they are, and boxes are in their frame.
    """

    image_id: int
    path: Path
    record: ImageRecord | None = None
    lesions: tuple[AnnotationRecord, ...] = ()
    prepared: dict[str, Any] | None = None


def allowing(recipe: Recipe, arguments: Any) -> Recipe:
    """Return the model's recipe with the permissions that a command's arguments give besides."""
    given: dict[str, Any] = {name: True for name in PERMISSIONS if getattr(arguments, name)}
    return replace(recipe, **given)


def reading(coco: Coco, recipe: Recipe) -> Recipe:
    """Return the recipe that the images of a COCO file are read with.

    Whether raw images and scans are taken was decided, for prepared images, when they were prepared.
    """
    own = prepared_recipe(coco)
    return recipe if own is None else replace(recipe, **{name: getattr(own, name) for name in PERMISSIONS})


def rejection(error: Exception, path: Path) -> str:
    """Return the reason, in one line, why the file ``path`` was not done; no file ends a batch of thousands.

    Raises an OSError again that is of another file than ``path``: the disk is full, or OUT cannot be written.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        if error.filename is not None and Path(error.filename) != path:
            raise error
        return f"{path}: {error.strerror or error}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return f"out of memory: {str(error).splitlines()[0] if str(error) else 'no detail'}"
    return f"unexpected {type(error).__name__}: {error}; please report this file"


def find_cases(paths: Sequence[str], recipe: Recipe) -> tuple[list[Case], list[dict[str, str]]]:
    """Return the images of ``paths``, and as rows of ``file`` and ``reason`` what is none in the folders.

    Raises
    ------
    InputError
        When there is nothing to open, when a COCO file comes with other paths, or when its images were
        prepared with another recipe than ``recipe``.
    """
    if not any(path.endswith(".json") for path in paths):
        found = search([Path(path) for path in paths])
        skipped = [{"file": str(path), "reason": reason} for path, reason in found.skipped.items()]
        return [Case(number, path) for number, path in enumerate(found.images, start=1)], skipped
    if len(paths) > 1:
        raise InputError(
            "give one COCO file, or images and folders, not both", field="PATH", value=list(paths)
        )
    coco = read_coco(paths[0])
    if not coco.images:
        raise InputError("has no images", file=paths[0], remedy="give a COCO file with images")
    require_recipe(coco, reading(coco, recipe))
    return [
        Case(
            image["id"],
            coco.image_path(image),
            image,
            tuple(coco.annotations_of[image["id"]]),
            coco.info.get("prepared"),
        )
        for image in coco.images
    ], []


def cases_of_split(
    paths: Sequence[str], split: str | None, recipe: Recipe
) -> tuple[list[Case], list[dict[str, str]]]:
    """Return the images of files, folders or one COCO file, of one ``split``, and what is no image.

    Raises InputError for a split that the COCO file does not have, and of files that have none.
    """
    cases, skipped = find_cases(paths, recipe)
    if split is None:
        return cases, skipped
    if cases and cases[0].record is None:
        remedy = "leave it out, or give a COCO file"
        raise InputError("is for a COCO file or a patch store", field="--split", value=split, remedy=remedy)
    known = {str(one) for case in cases if (one := (case.record or {}).get("split")) is not None}
    require_split(split, known, Path(paths[0]))
    return [case for case in cases if case.record is not None and case.record.get("split") == split], skipped


def require_split(split: str, known: set[str], path: Path) -> None:
    """Raise InputError, naming those there are, for a split that a COCO file or patch store does not have."""
    if split not in known:
        there = ", ".join(sorted(one or "none" for one in known))
        remedy = f"there is {there}" if there else "no image has one: leave it out, or run mammodet split"
        raise InputError("no such split", file=path, field="--split", value=split, remedy=remedy)


@dataclass(frozen=True)
class Opened:
    """A case that was read.

    Parameters
    ----------
    pixels:
        Of the file, float32 [H, W], 0 to 1.
    standardised:
        What the detector gets of them; its notes are those of reading too.
    mammogram:
        What the file says of itself; None for an image that was prepared.
    """

    pixels: NDArray[np.float32]
    standardised: Standardised
    mammogram: Mammogram | None


def read_case(case: Case, recipe: Recipe, identify_by: IdentifyBy = "patient-id") -> Opened:
    """Read the file of a case, standardised by ``recipe``.

    Raises InputError or OSError when the file cannot be read or is not of the size that the COCO file states.
    """
    if case.prepared is not None and case.record is not None:
        prepared = read_prepared(case.path, case.record)
        return Opened(prepared.pixels, prepared, None)
    mammogram = read_mammogram(case.path, recipe, identify_by=identify_by)
    if case.record is not None:
        size = mammogram.source_width, mammogram.source_height
        told = case.record["width"], case.record["height"]
        if size != told:
            raise InputError(
                f"is {size[0]} x {size[1]} but the COCO file says {told[0]} x {told[1]}", file=case.path
            )
        mammogram = complete(mammogram, case.record)
    prepared = standardise(mammogram, recipe)
    notes = (*mammogram.notes, *prepared.notes)
    return Opened(mammogram.pixels, replace(prepared, notes=notes), mammogram)
