"""Splits and folds by patient: no patient is ever in two parts, and every part gets its share of cancers."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mammodet.datasets.coco import CATEGORY_NAMES, LABELS, Coco, ImageRecord
from mammodet.datasets.errors import InputError

Split = dict[str, set[int]]  # image ids by the name of the part
Patient = tuple[str, str]  # what the id is of (patient or image), the id


def split_by_patient(coco: Coco, fractions: Mapping[str, float], seed: int) -> Split:
    """Split the images by patient into parts of the given sizes, stratified by the patient's worst label.

    The number of patients of a part is its fraction of all patients, rounded by largest remainder; malignant,
    benign, normal and unlabelled patients are each spread over the parts in the same proportions, as far as
    whole patients allow. The same patients and seed give the same split, whatever the order of the file.

    Parameters
    ----------
    fractions:
        The fraction of patients by name of the part; above 0, with sum 1.
    seed:
        From 0; another seed gives another split.

    Returns
    -------
    dict
        Image ids by name of the part; every image is in exactly one part and no part is empty.

    Raises
    ------
    InputError
        When the fractions do not add up, or there are fewer patients than parts.
    """
    _check_fractions(fractions)
    patients = group_by_patient(coco)
    strata = _shuffled_strata(coco, patients, seed)
    sizes = _part_sizes(coco, fractions, len(patients))
    parts = _spread([patient for stratum in strata for patient in stratum], sizes)
    images = {name: [image for one in members for image in patients[one]] for name, members in parts.items()}
    return {name: {image["id"] for image in members} for name, members in images.items()}


def folds_by_patient(coco: Coco, folds: int, seed: int) -> list[Split]:
    """Split by patient into ``folds`` parts and return one ``{"train": ids, "val": ids}`` for each of them.

    Every image is in ``val`` of exactly one fold. Stratified, seeded and refused as in ``split_by_patient``.
    """
    if folds < 2:
        raise InputError("a cross-validation needs at least 2 folds", field="folds", value=folds)
    parts = split_by_patient(coco, {str(fold): 1 / folds for fold in range(folds)}, seed)
    everything = set(coco.image_by_id)
    return [{"train": everything - held_out, "val": held_out} for held_out in parts.values()]


def official_split(coco: Coco) -> Split:
    """Return the split that the data set's makers gave, from ``images[].split``.

    Raises InputError when an image has none, or a name that cannot be a file name.
    """
    parts: defaultdict[str, set[int]] = defaultdict(set)
    for image in coco.images:
        name = image.get("split")
        if name is None:
            raise InputError(
                "the image has no official split",
                file=coco.path,
                field=f"images[id={image['id']}].split",
                remedy="split by patient instead, without --official",
            )
        _check_name(name)
        parts[name].add(image["id"])
    if not parts:
        raise InputError("there are no images to split", file=coco.path)
    return dict(parts)


def patient_of(image: ImageRecord) -> Patient:
    """Return what images of one patient share; an image without ``patient_id`` is its own patient."""
    patient = image.get("patient_id")
    return ("patient", patient) if patient is not None else ("image", f"{image['id']:020d}")


def group_by_patient(coco: Coco) -> dict[Patient, list[ImageRecord]]:
    """Return the images of every patient, in the order of the file; see ``patient_of``."""
    grouped: defaultdict[Patient, list[ImageRecord]] = defaultdict(list)
    for image in coco.images:
        grouped[patient_of(image)].append(image)
    return dict(grouped)


def worst_label(coco: Coco, images: Sequence[ImageRecord]) -> str | None:
    """Return the worst of the labels of images and their lesions: malignant > benign > normal > None."""
    labels = {image.get("label") for image in images}
    labels |= {
        CATEGORY_NAMES.get(lesion["category_id"])
        for image in images
        for lesion in coco.annotations_of.get(image["id"], [])
        if not lesion.get("ignore")
    }
    return next((label for label in reversed(LABELS) if label in labels), None)


def _shuffled_strata(
    coco: Coco, patients: Mapping[Patient, list[ImageRecord]], seed: int
) -> list[list[Patient]]:
    """Return the patients by worst label, worst first, each stratum in random order."""
    if seed < 0:
        raise InputError("a seed is 0 or more", field="seed", value=seed)
    strata: dict[str | None, list[Patient]] = {label: [] for label in (*reversed(LABELS), None)}
    for patient in sorted(patients):  # not in the order of the file: the split must not depend on it
        strata[worst_label(coco, patients[patient])].append(patient)
    random = np.random.default_rng(seed)
    return [[stratum[index] for index in random.permutation(len(stratum))] for stratum in strata.values()]


def _part_sizes(coco: Coco, fractions: Mapping[str, float], patients: int) -> dict[str, int]:
    """Round the fractions of ``patients`` to whole ones by largest remainder, at least 1 for every part."""
    if patients < len(fractions):
        raise InputError(
            f"{len(fractions)} parts need at least as many patients",
            file=coco.path,
            field="patients",
            value=patients,
            remedy="ask for fewer parts or folds",
        )
    total = math.fsum(fractions.values())
    quotas = {name: fraction / total * patients for name, fraction in fractions.items()}
    sizes = {name: math.floor(quota + 1e-9) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: sizes[name] - quotas[name])
    for name in by_remainder[: patients - sum(sizes.values())]:
        sizes[name] += 1
    for name in (name for name in sizes if not sizes[name]):
        sizes[max(sizes, key=lambda one: sizes[one])] -= 1
        sizes[name] = 1
    return sizes


def _spread(patients: Sequence[Patient], sizes: Mapping[str, int]) -> dict[str, list[Patient]]:
    """Deal the patients out so that every stretch of the list, such as one stratum, has the same proportions.

    Each patient goes to the part that lags most behind its share of the patients dealt so far.
    """
    parts: dict[str, list[Patient]] = {name: [] for name in sizes}
    for dealt, patient in enumerate(patients, start=1):
        share = dealt / len(patients)
        open_parts = [name for name in sizes if len(parts[name]) < sizes[name]]
        lag = {name: sizes[name] * share - len(parts[name]) for name in open_parts}
        parts[max(open_parts, key=lambda name: lag[name])].append(patient)
    return parts


def _check_fractions(fractions: Mapping[str, float]) -> None:
    remedy = "give a fraction above 0 for every part, such as {train: 0.7, val: 0.1, test: 0.2}"
    if not fractions:
        raise InputError("no parts were asked for", field="fractions", remedy=remedy)
    for name, fraction in fractions.items():
        _check_name(name)
        if not (math.isfinite(fraction) and fraction > 0):
            raise InputError("must be above 0", field=f"fractions.{name}", value=fraction, remedy=remedy)
    if abs(math.fsum(fractions.values()) - 1) > 1e-3:
        raise InputError("must add up to 1", field="fractions", value=dict(fractions), remedy=remedy)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w. -]*", name):
        problem = "the name of a part becomes a file name"
        raise InputError(problem, field="split", value=name, remedy="use letters and digits")
