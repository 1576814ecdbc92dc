"""The cases that a classifier is asked about, whole images or patches of a store, and their true class."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammodet.classification.model_file import ClassifierHeader
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.classification.task import Task
from mammodet.datasets.coco import AnnotationRecord, counts
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.ledger import file_key
from mammodet.datasets.patch_records import Patch
from mammodet.datasets.patch_records import preview as contrast
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.patient_groups import patient_of
from mammodet.datasets.standardise import Recipe
from mammodet.datasets.truth import image_truth
from mammodet.tools.cases import PERMISSIONS, Case, find_cases, read_case

STORE_SUFFIX = ".sqlite"


@dataclass(frozen=True, eq=False)
class View:
    """What a case looks like.

    Parameters
    ----------
    shown:
        For people, float32 [H, W], 0 to 1: a whole file, or a patch in the contrast of its own grey values.
    pixels:
        For the network, float32 [h, w], 0 to 1.
    geometry:
        The way from the frame of ``shown`` to that of ``pixels``.
    """

    shown: NDArray[np.float32]
    pixels: NDArray[np.float32]
    geometry: Geometry
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ClassifierCase:
    """One case.

    Parameters
    ----------
    name:
        Of its pictures.
    path, file, image:
        The file that is read, the one that the pixels come from, and the image that it is in the input.
    patient:
        What cases of one patient share; it is never written.
    truth:
        Index of the true class; None when it is not known.
    lesions:
        Annotations in the frame of ``View.shown``, only of whole images.
    key:
        Changes when the case does; "" for a file that is not there.
    read:
        Reads the pixels; raises InputError or OSError.
    """

    id: int
    name: str
    path: Path
    file: str
    image: str
    patient: str
    truth: int | None
    key: str
    read: Callable[[], View]
    frame: tuple[float, float, float, float] | None = None
    lesions: tuple[AnnotationRecord, ...] = ()


@dataclass(frozen=True)
class Cases:
    """The cases of an input.

    Parameters
    ----------
    left_out:
        How many have a class that the network does not tell.
    skipped:
        Rows of ``file`` and ``reason``: files in the folders that are no images.
    """

    cases: list[ClassifierCase]
    left_out: int = 0
    skipped: Sequence[dict[str, str]] = ()


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
        found = _patches(paths, header, split)
    elif task.source == "images":
        found = _images(paths, task, recipe, split)
    else:
        raise InputError("classifiers of lesions are not explained yet", field="--model", value=task.source)
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
    if any(path.endswith(STORE_SUFFIX) for path in paths):
        problem = "is a patch store, and this classifier looks at whole images"
        remedy = "give image files, folders or a COCO file"
        raise InputError(
            problem, file=next(one for one in paths if one.endswith(STORE_SUFFIX)), remedy=remedy
        )
    found, skipped = find_cases(paths, recipe)
    if split is not None:
        known = sorted({str(one.record.get("split")) for one in found if one.record is not None})
        found = [one for one in found if one.record is not None and one.record.get("split") == split]
        if not found:
            told = f"its splits are {', '.join(known)}" if known else "files and folders have no splits"
            raise InputError(f"there is no such split; {told}", field="split", value=split)
    cases, left_out = [], 0
    for one in found:
        label = None if one.record is None else image_truth(one.record, one.lesions)
        truth = task.index(label)
        if label is not None and truth is None:
            left_out += 1
        else:
            cases.append(_image(one, truth, recipe))
    return Cases(cases, left_out, skipped)


def _image(case: Case, truth: int | None, recipe: Recipe) -> ClassifierCase:
    # With what the COCO file says, since a corrected side or lesion changes the result.
    known = [case.image_id, case.record, case.lesions, case.prepared, truth]
    return ClassifierCase(
        id=case.image_id,
        name=f"{case.image_id:05d}_{case.path.stem[:50]}",
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


def _patches(paths: Sequence[str], header: ClassifierHeader, split: str | None) -> Cases:
    if len(paths) > 1 or not paths[0].endswith(STORE_SUFFIX):
        problem = "this classifier looks at patches"
        remedy = f"give one patch store, STORE{STORE_SUFFIX}, as mammodet patches writes it"
        raise InputError(problem, field="PATH", value=list(paths), remedy=remedy)
    store = PatchStore(paths[0])
    _require_fit(store, header)
    patches = list(store.patches(split, turned=False, ambiguous=False))
    if not patches:
        known = ", ".join(f"{name or 'none'} ({count})" for name, count in _splits(store).items())
        raise InputError(
            f"holds no patch of this split; it has {known or 'none at all'}",
            file=store.path,
            field="split",
            value=split,
        )
    told = [(patch, header.task.index(patch.label)) for patch in patches]
    cases = [_patch(store, patch, truth) for patch, truth in told if truth is not None]
    return Cases(cases, len(told) - len(cases))


def _patch(store: PatchStore, patch: Patch, truth: int) -> ClassifierCase:
    window = [patch.x, patch.y, patch.width, patch.height]
    return ClassifierCase(
        id=patch.id,
        name=f"{patch.id:06d}_{Path(patch.file).stem[:40]}",
        path=store.path,
        file=patch.file,
        image=patch.image,
        patient=patch.patient,
        truth=truth,
        key=json.dumps([str(store.path.absolute()), store.info, patch.id, patch.image, *window, truth]),
        read=partial(_patch_view, store, patch.id),
        frame=patch.frame,
    )


def _patch_view(store: PatchStore, number: int) -> View:
    pixels = store.pixels([number])[0]
    shown = contrast(pixels).astype(np.float32) / np.float32(255)
    return View(shown, pixels, Geometry(pixels.shape[1], pixels.shape[0]))


def _splits(store: PatchStore) -> dict[str, int]:
    splits: dict[str, int] = {}
    for (name, _), count in store.counts().items():
        splits[name] = splits.get(name, 0) + count
    return splits


def _require_fit(store: PatchStore, header: ClassifierHeader) -> None:
    """Raise InputError unless patches have the size and the recipe that the network was trained with."""
    config, side = header.config, store.info["size"]
    if isinstance(config, PatchNetworkConfig) and config.size != side:
        raise InputError(
            f"holds patches of {side} px, and the network was trained on {config.size} px",
            file=store.path,
            field="size",
            value=side,
            remedy="give the store that it was trained on, or one made with the same size",
        )
    own = Recipe.from_dict(store.info["recipe"])
    wanted = replace(header.recipe, **{name: getattr(own, name) for name in PERMISSIONS})
    for one in fields(Recipe):
        theirs, ours = getattr(own, one.name), getattr(wanted, one.name)
        if theirs != ours:
            raise InputError(
                f"its patches were cut with {theirs!r}, and the network was trained with {ours!r}",
                file=store.path,
                field=f"recipe.{one.name}",
                value=theirs,
                remedy="give the store that it was trained on, or one made with the same recipe",
            )
