"""OMI-DB: screening exams of the NHS with marks of radiologists and NBSS records (Halling-Brown et al. 2021).

Read are, through the package ``omidb`` (``pip install "mammodet[omidb]"``),
``data/CLIENT/imagedb_CLIENT.json`` with the marks, ``data/CLIENT/nbss_CLIENT.json`` with the records of the
screening programme, and the headers ``data/CLIENT/STUDY/IMAGE.json``. Images lie at
``images/CLIENT/STUDY/IMAGE.dcm``, or anywhere under the name IMAGE. Rows of the audit are images; what
imagedb lists and the package leaves out is told there.

A mark is a box between two opposite corners, in any order, x to the right and y down as other readers of this
data set take them. Its truth is that of the NBSS lesions it is linked to, by histology, never by cytology:

- malignant: surgery H5, wide-bore biopsy B5, or a recorded invasive or in-situ component or grade;
- benign: surgery H2 or wide-bore biopsy B2, and nothing malignant;
- else unknown (H1, B1, B3, B4, no histology, or a benign opinion beside a malignant component).

A mark linked to several lesions takes the worst; it is benign only if all are. Unknown and unlinked marks are
kept as benign with ``ignore: 1`` and counted. ``finding`` is the first that is set of mass, suspicious
calcification, distortion, asymmetry, any other calcification, and other features.

An image without a mark is normal when its episode is normal and its client has no benign, malignant or
interval-cancer episode; otherwise its label is unknown.

To repeat a study of patches of suspicious calcifications, keep the annotations without ``ignore`` whose
provenance has ``suspicious_calcifications`` and ``linked_to_histology``; those of no further feature have
``flags == ["suspicious_calcifications"]``. Boxes that are empty or outside their image are always dropped.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import corners
from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.dicom import hash_id
from mammodet.datasets.errors import InputError

# Features of a mark by the names that omidb gives them; the first that is set tells the finding.
FLAGS = {
    "mass": "mass",
    "suspicious_calcifications": "calcification",
    "architectural_distortion": "distortion",
    "focal_asymmetry": "asymmetry",
    "calcifications": "calcification",
    "dystrophic_calcification": "calcification",
    "milk_of_calcium": "calcification",
    "other_benign_cluster": "calcification",
    "plasma_cell_mastitis": "calcification",
    "suture_calcification": "calcification",
    "vascular_feature": "calcification",
    "benign_skin_feature": "other",
    "fat_necrosis": "other",
}
_MALIGNANT, _BENIGN = {"H5", "B5"}, {"H2", "B2"}  # NBSS opinions after surgery and wide-bore biopsy
_BEYOND = 2**20  # no image has so many columns or rows
_UID = re.compile(r"[\d.]+", re.ASCII)


@dataclass(frozen=True)
class _Image:
    """One image of omidb, and what it is part of."""

    client: Any
    episode: Any
    study: Any
    image: Any


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterator[Film]:
    """Yield one film per image of every client."""
    omidb = _package()
    data = files.root / "data"
    folders = sorted(path for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    if not folders:
        remedy = "give the folder that holds data/CLIENT and images/CLIENT"
        raise InputError("no folder of a client in data", file=files.root, remedy=remedy)
    for folder in folders:
        try:
            listed = _listed(folder)
        except InputError as error:
            audit.drop(f"imagedb of the client: {error.problem}", folder.name)
            continue
        clients = list(omidb.DB(data, files.root / "images", clients=[folder.name]))
        if not clients:
            reason = "omidb cannot read imagedb and nbss of the client"
            audit.drop(reason, folder.name, max(1, len(listed)))
            continue
        for client in clients:
            for one in _images(client):
                unread = listed.pop(one.image.id, 0) - len(one.image.marks)
                for _ in range(unread):
                    audit.drop_lesion("omidb cannot read the mark", f"{client.id} {one.image.id}")
                yield _film(one, files, audit)
        for image in listed:
            reason = "omidb leaves the image out: no episode or no folder of its study"
            audit.drop(reason, f"{folder.name} {image}")


def _package() -> Any:
    try:
        return importlib.import_module("omidb")
    except ImportError as error:
        problem = f"OMI-DB is read through the package omidb, which cannot be imported ({error})"
        raise InputError(problem, remedy='pip install "mammodet[omidb]"') from None


def _listed(folder: Path) -> dict[str, int]:
    """Return how many marks imagedb lists for every image: omidb leaves out what it cannot read."""
    paths = [folder / f"{name}_{folder.name}.json" for name in ("imagedb", "IMAGEDB")]
    path = next((path for path in paths if path.is_file()), paths[0])
    text = read_text(path, longest_line=None)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("is no JSON", file=path, remedy="check that the file is whole") from None
    found = {}
    for study in _objects(_objects({"": content}).get("", {}).get("STUDIES")).values():
        for series in _objects(study).values():
            for image, marks in series.items():
                if _UID.fullmatch(image):
                    found[image] = len(_objects(marks))
    return found


def _objects(value: Any) -> dict[str, Any]:
    """Return the entries of a JSON object that are objects themselves."""
    found = value.items() if isinstance(value, dict) else ()
    return {key: one for key, one in found if isinstance(one, dict)}


def _images(client: Any) -> Iterator[_Image]:
    for episode in client.episodes:
        for study in episode.studies:
            for series in study.series:
                for image in series.images:
                    yield _Image(client, episode, study, image)


def _film(one: _Image, files: ImageFiles, audit: Audit) -> Film:
    client, episode, image = one.client, one.episode, one.image
    path = f"images/{client.id}/{one.study.id}/{image.id}.dcm"
    side, intent = _attribute(image, "00200062"), _attribute(image, "00080068")
    if intent == "FOR PROCESSING":
        what = f"{client.id} {image.id}"
        audit.note("raw image: provenance.presentation_intent is FOR PROCESSING", what)
    status = episode.status.value if episode.status else None
    facts = {"client": client.id, "site": client.site, "episode": episode.id, "episode_status": status}
    facts["presentation_intent"] = intent
    normal = not image.marks and (status or "").startswith("Normal") and client.status.name == "N"
    keys = {
        "patient_id": client.id,
        "study_id": hash_id(one.study.id),
        "laterality": side if side in {"L", "R"} else None,
        "label": "normal" if normal else None,
        "provenance": {key: fact for key, fact in facts.items() if fact},
    }
    lesions = [_lesion(mark, one, side, audit) for mark in image.marks]
    found = [lesion for lesion in lesions if lesion is not None]
    return Film(path if files.find(path) else image.id, found, keys)


def _attribute(image: Any, tag: str) -> str | None:
    """Return a value of the image's JSON header; None where there is none or it cannot be read."""
    try:
        value = image.attributes[tag]["Value"][0]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _lesion(mark: Any, one: _Image, side: str | None, audit: Audit) -> Lesion | None:
    episode, where = f"{one.client.id}-{one.episode.id}", f"{one.client.id} {one.image.id} mark {mark.id}"
    frame = mark.boundingBox
    ends = (frame.x1, frame.y1, frame.x2, frame.y2)
    if any(abs(end) > _BEYOND for end in ends):
        audit.drop_lesion("the box is empty or lies outside its image", where)
        return None
    numbers = sorted(mark.lesion_ids or ())
    linked = [one.episode.lesions[number] for number in numbers if number in one.episode.lesions]
    if side in {"L", "R"} and any(lesion.side is not None and lesion.side.name != side for lesion in linked):
        audit.note("linked to a lesion of the other breast: taken as not linked", where)
        linked = []
    missing = [None] * (len(numbers) - len(linked))  # lesions that NBSS does not have
    category = _category([*map(_pathology, linked), *missing])
    if category is None:
        reason = "no benign or malignant histology" if linked else "linked to no NBSS lesion"
        audit.note(f"{reason}: kept with ignore", where)
    flags = [flag for flag in FLAGS if getattr(mark, flag)]
    keys: dict[str, Any] = {"provenance": _provenance(mark, flags, linked)}
    if flags:
        keys["finding"] = FLAGS[flags[0]]
    if len(linked) == 1 and not missing:
        keys["lesion_id"] = f"{episode}-{linked[0].id}"
    if category == MALIGNANT:
        keys["subtype"] = _subtype(linked)
    keys |= {"ignore": 1} if category is None else {"pathology": CATEGORY_NAMES[category]}
    return Lesion(corners(*ends), category or BENIGN, keys)


def _opinions(lesion: Any) -> dict[str, str]:
    """Return the codes of the opinions after procedures that give histology."""
    parts = {"surgery": lesion.surgery, "biopsy_wide": lesion.biopsy_wide}
    return {name: part.opinion.name for name, part in parts.items() if part and part.opinion}


def _pathology(lesion: Any) -> int | None:
    codes = set(_opinions(lesion).values())
    if codes & _MALIGNANT:
        return MALIGNANT
    if lesion.status is None:
        return BENIGN if codes & _BENIGN else None
    return None if codes & _BENIGN else MALIGNANT


def _category(known: Sequence[int | None]) -> int | None:
    if MALIGNANT in known:
        return MALIGNANT
    return BENIGN if known and all(one == BENIGN for one in known) else None


def _subtype(linked: Sequence[Any]) -> dict[str, str]:
    """Return invasive or insitu, and the grade, where all malignant lesions of a mark have the same."""
    worst = [lesion for lesion in linked if _pathology(lesion) == MALIGNANT]
    told = {
        "pathotype": {one.status.name.lower() if one.status else "" for one in worst},
        "grade": {one.grade.value if one.grade else "" for one in worst},
    }
    return {key: one for key, values in told.items() if len(values) == 1 for one in values if one}


def _provenance(mark: Any, flags: Sequence[str], linked: Sequence[Any]) -> dict[str, Any]:
    enums = ("conspicuity", "mass_classification", "benign_classification")
    told = {name: getattr(mark, name).value for name in enums if getattr(mark, name)}
    opinions = [_opinions(lesion) for lesion in linked]
    return {
        "mark": mark.id,
        "flags": list(flags),
        **told,
        "suspicious_calcifications": "suspicious_calcifications" in flags,
        "linked_to_histology": any(opinions) or any(one.status is not None for one in linked),
        "linked_lesions": [{"lesion": one.id, **codes} for one, codes in zip(linked, opinions, strict=True)],
    }


SOURCE = Source(
    dataset="OMI-DB",
    films=films,
    category_rule=(
        "histology of the linked NBSS lesions: surgery H5, wide-bore biopsy B5 or a malignant component is "
        "malignant, surgery H2 or biopsy B2 benign, all else and marks without a link ignored; an image "
        "takes its worst mark, and without one is normal in a normal episode of a client of no other kind"
    ),
    reference=(
        "Halling-Brown et al. 2021, Radiology: Artificial Intelligence 3(1), e200103, "
        "https://doi.org/10.1148/ryai.2020200103"
    ),
)
