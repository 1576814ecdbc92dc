"""The cases that a classifier is asked about, images, patches or lesions, and their true classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from mammodet.classification.lesions import Lesion, cut_out, malignant_lesions
from mammodet.classification.model_file import ClassifierHeader
from mammodet.classification.task import Task
from mammodet.datasets.coco import counts, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.ledger import file_key
from mammodet.datasets.patient_groups import patient_of
from mammodet.datasets.standardise import Recipe
from mammodet.datasets.truth import image_truth
from mammodet.tools.batch import picture_name
from mammodet.tools.case_views import Cases, ClassifierCase, View, in_contrast
from mammodet.tools.cases import Case, cases_of_split, read_case
from mammodet.tools.patch_cases import STORE_SUFFIX, patch_cases


def find_classifier_cases(
    paths: Sequence[str], header: ClassifierHeader, recipe: Recipe, split: str | None = None
) -> Cases:
    """Return the cases of an input, of all splits or one.

    ``recipe`` is what files are read with: that of the header, or more permissive.

    Raises
    ------
    InputError
        When the input is not what the classifier looks at, fits it not, or holds no case of its classes.
    """
    task = header.task
    if task.source == "patches":
        found = patch_cases(paths, header, split)
    elif task.source == "images":
        found = _images(paths, task, recipe, split)
    else:
        found = _lesions(paths, task, recipe, split)
    if not found.cases:
        where = "" if split is None else f" of split {split!r}"
        raise InputError(
            f"holds no case{where} of the classes that the network tells, but {found.left_out} of others",
            file=paths[0],
            field="task.classes",
            value=list(task.names),
            remedy="give cases of these classes, or another model",
        )
    return found


def chosen(cases: list[ClassifierCase], ids: Sequence[int] | None, limit: int | None) -> list[ClassifierCase]:
    """Return the cases with these ids, and of these ``limit``, evenly spread; None takes all.

    Raises InputError for an unknown id.
    """
    if ids is not None:
        if unknown := sorted(set(ids) - {case.id for case in cases}):
            remedy = "give ids of its images or patches that have one of the network's classes"
            raise InputError("no such case in the input", field="--ids", value=unknown, remedy=remedy)
        cases = [case for case in cases if case.id in set(ids)]
    if limit is None or limit >= len(cases):
        return cases
    return [cases[number * len(cases) // limit] for number in range(limit)]


def _images(paths: Sequence[str], task: Task, recipe: Recipe, split: str | None) -> Cases:
    found, skipped = _files(paths, recipe, split)
    cases, left_out = [], 0
    for one in found:
        label = None if one.record is None else image_truth(one.record, one.lesions)
        truth = task.index(label)
        if label is not None and truth is None:
            left_out += 1
        else:
            cases.append(_image(one, truth, recipe))
    return Cases(cases, left_out, skipped)


def _lesions(paths: Sequence[str], task: Task, recipe: Recipe, split: str | None) -> Cases:
    if len(paths) > 1 or not paths[0].endswith(".json"):
        problem = "this classifier looks at lesions"
        remedy = "give one COCO file, whose annotations say where they are"
        raise InputError(problem, field="PATH", value=list(paths), remedy=remedy)
    images = {one.image_id: one for one in _files(paths, recipe, split)[0]}
    cases, left_out = [], 0
    for lesion in malignant_lesions(read_coco(paths[0]), task):
        truth = task.index(lesion.label)
        if lesion.image["id"] not in images:
            continue
        if lesion.label is not None and truth is None:
            left_out += 1
        else:
            cases.append(_lesion(images[lesion.image["id"]], lesion, truth, task, recipe))
    return Cases(cases, left_out)


def _files(
    paths: Sequence[str], recipe: Recipe, split: str | None
) -> tuple[list[Case], list[dict[str, str]]]:
    """Return the image files of all splits or one, and what else lies in the folders."""
    if stores := [path for path in paths if path.endswith(STORE_SUFFIX)]:
        problem = "is a patch store, and this classifier looks at whole images"
        remedy = "give image files, folders or a COCO file"
        raise InputError(problem, file=stores[0], remedy=remedy)
    return cases_of_split(paths, split, recipe)


def _image(case: Case, truth: int | None, recipe: Recipe) -> ClassifierCase:
    # With what the COCO file says, since a corrected side or lesion changes the result.
    known = [case.image_id, case.record, case.lesions, case.prepared, truth]
    return ClassifierCase(
        id=case.image_id,
        name=picture_name(case),
        path=case.path,
        file=str(case.path.absolute()),
        image=str(case.image_id),
        patient=str(case.path) if case.record is None else "/".join(patient_of(case.record)),
        truth=truth,
        key=json.dumps([*known, file_key(case.path)]) if case.path.is_file() else "",
        read=partial(_view, case, recipe),
        lesions=tuple(one for one in case.lesions if counts(one)),
    )


def _view(case: Case, recipe: Recipe) -> View:
    opened = read_case(case, recipe)
    prepared = opened.standardised
    return View(opened.pixels, prepared.pixels, prepared.geometry, prepared.notes)


def _lesion(case: Case, lesion: Lesion, truth: int | None, task: Task, recipe: Recipe) -> ClassifierCase:
    whole = _image(case, truth, recipe)
    return replace(
        whole,
        id=lesion.annotation,
        name=f"{lesion.annotation:05d}_{case.path.stem[:50]}",
        key=whole.key and json.dumps([whole.key, lesion.annotation, lesion.bbox]),
        read=partial(_lesion_view, case, lesion, task, recipe),
        frame=lesion.bbox,
        lesions=(),
    )


def _lesion_view(case: Case, lesion: Lesion, task: Task, recipe: Recipe) -> View:
    prepared = read_case(case, recipe).standardised
    pixels = cut_out(prepared.pixels, prepared.geometry, lesion.bbox, task)
    return View(in_contrast(pixels), pixels, Geometry(pixels.shape[1], pixels.shape[0]), prepared.notes)
