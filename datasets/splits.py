"""Splits and folds by patient: no patient is ever in two parts, and every part gets its share of cancers."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mammodet.datasets.coco import CATEGORY_NAMES, LABELS, Coco, ImageRecord, counts
from mammodet.datasets.errors import InputError
from mammodet.datasets.patient_groups import Patient, patient_of

Split = dict[str, set[int]]  # image ids by the name of the part
Stratum = tuple[str, ...]  # worst label, kinds of finding, density


def split_by_patient(coco: Coco, fractions: Mapping[str, float], seed: int) -> Split:
    """Split the images by patient into parts of the given sizes, stratified by ``stratum_of`` the patient.

    The number of patients of a part is its fraction of all patients, rounded by largest remainder; malignant,
    benign, normal and unlabelled patients are each spread over the parts in the same proportions, as far as
    whole patients allow, and so are, within them, kinds of finding and then densities. The same patients and
    seed give the same split, whatever the order of the file.

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

    Every image is in ``val`` of exactly one fold; the folds are those of scikit-learn's StratifiedGroupKFold,
    a patient being a group with the stratum ``stratum_of``. Seeded and refused as in ``split_by_patient``.
    """
    if folds < 2:
        raise InputError("a cross-validation needs at least 2 folds", field="folds", value=folds)
    _check_seed(seed)
    patients = group_by_patient(coco)
    if len(patients) < folds:
        raise _too_few(coco, folds, len(patients))
    members = _folds([stratum_of(coco, patients[one]) for one in sorted(patients)], folds, seed)
    by_number = [[patients[sorted(patients)[index]] for index in fold] for fold in members]
    everything = set(coco.image_by_id)
    parts = [{image["id"] for images in fold for image in images} for fold in by_number]
    return [{"train": everything - held_out, "val": held_out} for held_out in parts]


def cross_validation_by_patient(coco: Coco, folds: int, val_share: float, seed: int) -> list[Split]:
    """Return one ``{"train": ids, "val": ids, "test": ids}`` for each of ``folds`` folds, split by patient.

    ``test`` is what ``folds_by_patient`` holds out; ``split_by_patient`` divides the other patients.

    Parameters
    ----------
    val_share:
        Fraction of the patients outside ``test`` that goes to ``val``, from 0 to below 1. 0 gives no ``val``.
    """
    if not 0 <= val_share < 1:
        raise InputError("must be from 0 to below 1", field="val_share", value=val_share)
    parts: list[Split] = []
    for fold in folds_by_patient(coco, folds, seed):
        others = {"train": fold["train"]}
        if val_share:
            rest = coco.subset(fold["train"], coco.path)
            if len(group_by_patient(rest)) < 2:
                problem = "a fold leaves one patient for training and validation together"
                remedy = "ask for more folds, or for val_share 0"
                raise InputError(problem, file=coco.path, field="patients", remedy=remedy)
            others = split_by_patient(rest, {"train": 1 - val_share, "val": val_share}, seed)
        parts.append({**others, "test": fold["val"]})
    return parts


def _folds(strata: Sequence[Stratum], folds: int, seed: int) -> list[list[int]]:
    """Return the places of the patients in every fold, by as much of their strata as there are patients for.

    Kinds that fewer patients have than there are folds would be strata of their own that no fold can share,
    so they are taken together with the others of the same label.
    """
    names = _frequent(strata, folds)
    places = np.arange(len(strata))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rare labels cannot be in every fold
        split = list(splitter.split(places, names, groups=places))
    members = [sorted(held_out.tolist()) for _, held_out in split]
    for fold in (fold for fold in members if not fold):  # with hardly more patients than folds
        fold.append(max(members, key=len).pop())
    return members


def _frequent(strata: Sequence[Stratum], least: int) -> list[str]:
    """Name each stratum by as many of its levels as at least ``least`` patients share; one name at worst."""
    names = [""] * len(strata)
    for depth in range(1, len(strata[0]) + 1):
        counted = Counter(stratum[:depth] for stratum in strata)
        names = [
            " ".join(stratum[:depth]) if counted[stratum[:depth]] >= least else name
            for stratum, name in zip(strata, names, strict=True)
        ]
    whole = Counter(names)
    return names if max(whole.values()) >= least else [""] * len(strata)


def official_split(coco: Coco) -> Split:
    """Return the split that the data set's makers gave, from ``images[].split``.

    Images that ``convert`` took out of their official part, because their patient is in a later one as well,
    are in no part (``left_out`` tells which).

    Raises InputError when another image has none, or a name that cannot be a file name.
    """
    parts: defaultdict[str, set[int]] = defaultdict(set)
    aside = left_out(coco)
    for image in coco.images:
        name = image.get("split")
        if image["id"] in aside:
            continue
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


def left_out(coco: Coco) -> set[int]:
    """Return the ids of images whose official part was taken from them for the sake of a later one."""
    return {
        image["id"]
        for image in coco.images
        if image.get("split") is None and (image.get("provenance") or {}).get("official_split") is not None
    }


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


def stratum_of(coco: Coco, images: Sequence[ImageRecord]) -> Stratum:
    """Return what the images of a patient are spread over the parts by, the most important first.

    These are the worst label, the kinds of finding of all lesions that count, and the most frequent density
    (the denser of two as frequent); "" where unknown.
    """
    lesions = [one for image in images for one in coco.annotations_of.get(image["id"], []) if counts(one)]
    findings = sorted({lesion["finding"] for lesion in lesions if lesion.get("finding")})
    densities = Counter(image["density"] for image in images if image.get("density"))
    density = max(densities, key=lambda name: (densities[name], name), default="")
    return worst_label(coco, images) or "", "+".join(findings), density or ""


def _shuffled_strata(
    coco: Coco, patients: Mapping[Patient, list[ImageRecord]], seed: int
) -> list[list[Patient]]:
    """Return the patients by stratum, worst labels first, each stratum in random order."""
    _check_seed(seed)
    strata: defaultdict[Stratum, list[Patient]] = defaultdict(list)
    for patient in sorted(patients):  # not in the order of the file: the split must not depend on it
        strata[stratum_of(coco, patients[patient])].append(patient)
    worst_first = ["", *LABELS]
    ordered = sorted(strata, key=lambda stratum: (-worst_first.index(stratum[0]), stratum))
    random = np.random.default_rng(seed)
    return [[strata[one][index] for index in random.permutation(len(strata[one]))] for one in ordered]


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise InputError("a seed is from 0 to 4294967295", field="seed", value=seed)


def _too_few(coco: Coco, parts: int, patients: int) -> InputError:
    return InputError(
        f"{parts} parts need at least as many patients",
        file=coco.path,
        field="patients",
        value=patients,
        remedy="ask for fewer parts or folds",
    )


def _part_sizes(coco: Coco, fractions: Mapping[str, float], patients: int) -> dict[str, int]:
    """Round the fractions of ``patients`` to whole ones by largest remainder, at least 1 for every part."""
    if patients < len(fractions):
        raise _too_few(coco, len(fractions), patients)
    total = math.fsum(fractions.values())
    quotas = {name: fraction / total * patients for name, fraction in fractions.items()}
    sizes = {name: math.floor(quota + 1e-9) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: sizes[name] - quotas[name])
    for name in by_remainder[: patients - sum(sizes.values())]:
        sizes[name] += 1
    for name in (name for name in sizes if not sizes[name]):
        # From whoever is furthest above its quota, of those who can spare one.
        sizes[max((one for one in sizes if sizes[one] > 1), key=lambda one: sizes[one] - quotas[one])] -= 1
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
