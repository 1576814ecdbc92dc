"""CDD-CESM: 2,006 contrast-enhanced mammograms of 326 women with hand-drawn regions (Khaled et al. 2022).

Read are ``Radiology-manual-annotations.csv``, one row per image (published as .xlsx: save its sheet "all" as
CSV UTF-8), ``Radiology_hand_drawn_segmentations_v2.csv``, one row per region, and the JPEG images of the
folders "Low energy images of CDD-CESM" and "Subtracted images of CDD-CESM", wherever they lie.

Half of the images, ``provenance.type`` CM, are recombined: they show contrast agent and are no ordinary
mammograms. They are kept, and told in the audit; filter by the type to train on the low-energy ones, DM.

Regions have no class of their own: they take the pathology of their image. Kept with ``ignore: 1`` are

- regions of normal images and of images without a known pathology;
- all regions of an image of several pathologies (``Benign$Malignant``), since which is which is not told;
  the image itself takes the worst;
- points, which tell where something is and not how large.

A benign or malignant image without a region keeps its label and has no box. ``finding`` follows the words of
the report when they name one kind, and is left out when they name several; ``birads`` likewise. Polylines are
closed. A region that was stored twice on one image is taken once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mammodet.datasets.coco import BENIGN, LABELS, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.documents import documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options, parse_birads
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.converters.via_regions import SHAPE, region_shape
from mammodet.datasets.errors import InputError

TYPES = {"DM": "DM", "CM": "CM", "CESM": "CM"}  # low-energy, recombined

# Words of the reports, by what they stand for; whatever names none of them is "other".
FINDINGS = {
    "calcification": re.compile(r"calcif", re.IGNORECASE),
    "mass": re.compile(r"(?<!non )(?<!non-)\bmass(?:es)?\b", re.IGNORECASE),
    "distortion": re.compile(r"distort", re.IGNORECASE),
    "asymmetry": re.compile(r"asymm?etr", re.IGNORECASE),
}

_IMAGES = "Radiology-manual-annotations"
_REGIONS = "Radiology_hand_drawn_segmentations_v2"
_PATHOLOGY = "Pathology Classification/ Follow up"
_NAMED = ("Image_name", "Patient_ID", "Side", "Type", "View", "BIRADS", "Findings", _PATHOLOGY)
_KEPT = {"BIRADS": "birads", "Findings": "findings", "Tags": "tags", "Machine": "machine"}
_KEPT |= {_PATHOLOGY: "pathology"}


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterator[Film]:
    """Yield one film per image of the table, with its regions."""
    images: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_csv(_table(files, _IMAGES), required=_NAMED):
        images[_stem(row.cells["Image_name"])].append(row)
    regions: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_csv(_table(files, _REGIONS), required=("#filename", SHAPE)):
        regions[_stem(row.cells["#filename"])].append(row)
    for stem, rows in images.items():
        yield _film(rows, regions.pop(stem, []), audit)
    for drawn in regions.values():
        audit.drop(
            "regions of an image that the table does not name", drawn[0].cells["#filename"], len(drawn)
        )


def _table(files: ImageFiles, name: str) -> Path:
    """Return the one table of this name, in any of the spellings that are about."""
    spelled = re.sub(r"[-_]", "[-_ ]", name.removesuffix("_v2")) + "([-_ ]v2)?"
    found = documents(files, rf"{spelled}\.csv")
    if len(found) == 1:
        return found[0]
    problem, remedy = f"there is no {name}.csv", "give the folder of the data set, with its tables"
    if found:
        problem, remedy = f"there are several of {name}.csv", "leave one of them in the folder"
    elif documents(files, rf"{spelled}\.xlsx?"):
        remedy = f'open the .xlsx file and save its sheet "all" as {name}.csv, CSV UTF-8'
    raise InputError(
        problem, file=files.root, value=[files.name(path) for path in found] or None, remedy=remedy
    )


def _stem(name: str) -> str:
    """Return how both tables and the files call an image; some names have a space before their suffix."""
    return re.sub(r"\s*\.jpe?g$", "", name.strip().lower())


def _film(rows: Sequence[Row], drawn: Sequence[Row], audit: Audit) -> Film:
    first, name = rows[0], rows[0].cells["Image_name"]
    if first.cells["Side"] not in {"L", "R"}:
        raise first.error("Side", "must be L or R")
    if first.cells["Type"] not in TYPES:
        raise first.error("Type", f"must be {' or '.join(TYPES)}")
    if not first.cells["Patient_ID"]:
        raise first.error("Patient_ID", "is missing")
    facts = {key: "$".join(dict.fromkeys(_values(rows, column))) for column, key in _KEPT.items()}
    kind = TYPES[first.cells["Type"]]
    parts = (f"P{first.code('Patient_ID')}", first.cells["Side"], kind, first.cells["View"])
    if _stem(name) != "_".join(parts).lower():
        audit.note("the name of the image and its columns disagree: columns taken", name)
    if kind == "CM":
        audit.note("recombined image, no ordinary mammogram: provenance.type is CM", name)
    pathologies = {value.lower() for value in _values(rows, _PATHOLOGY)}
    label = max(pathologies & set(LABELS), key=LABELS.index, default=None)
    if pathologies - set(LABELS) or not pathologies:
        audit.note("no known pathology", f"{name} {facts['pathology']}")
    if len(pathologies) > 1:
        audit.note("several pathologies: the image takes the worst, its regions have ignore", name)
    lesions = _lesions(name, drawn, facts, pathologies, audit)
    if label in {"benign", "malignant"} and not lesions:
        audit.note("benign or malignant without a region: the image has a label and no box", name)
    age = first.code("Age")
    density = first.cells.get("Breast density (ACR)", "").upper()
    keys = {
        "patient_id": first.code("Patient_ID"),
        "laterality": first.cells["Side"],
        "view": first.cells["View"].upper() or None,
        "age": int(age) if re.fullmatch(r"[0-9]{1,3}", age) else None,
        "density": density if density in {"A", "B", "C", "D"} else None,
        "label": label,
        "provenance": {"type": kind, **{key: fact for key, fact in facts.items() if fact}},
    }
    return Film(name, lesions, keys, rows=len(rows) + len(drawn))


def _values(rows: Sequence[Row], column: str) -> list[str]:
    """Return the values of a column, which ``$`` separates, of all rows of one image."""
    parts = [part.strip() for row in rows for part in row.cells.get(column, "").split("$")]
    return [part for part in parts if part not in {"", "_"}]


def _lesions(
    name: str, drawn: Sequence[Row], facts: Mapping[str, str], pathologies: set[str], audit: Audit
) -> list[Lesion]:
    certain = pathologies in ({"benign"}, {"malignant"})
    category = MALIGNANT if pathologies == {"malignant"} else BENIGN
    keys = {**_described(facts), "pathology": facts["pathology"].lower() or None}
    lesions = []
    for row in drawn:
        shape = region_shape(row)
        where = f"{name} {row.cells.get('region_id', '')}".strip()
        if shape is None:
            continue
        if shape.area == 0:
            audit.drop_lesion("the outline encloses nothing", where)
        else:
            ignored = not certain or "point" in shape.provenance
            lesions.append(Lesion(shape, category, {**keys, "ignore": 1} if ignored else keys))
    if lesions and pathologies == {"normal"}:
        audit.note("regions on a normal image: kept with ignore", name)
    return lesions


def _described(facts: Mapping[str, str]) -> dict[str, Any]:
    """Return finding and BI-RADS of the regions, where the report tells one for all of them."""
    found = [finding for finding, words in FINDINGS.items() if words.search(facts["findings"])]
    assessed = {parse_birads(value) for value in facts["birads"].split("$")}
    keys: dict[str, Any] = {"birads": assessed.pop() if len(assessed) == 1 else None}
    if len(found) < 2 and facts["findings"].lower() not in {"", "normal"}:
        keys["finding"] = found[0] if found else "other"
    return keys


SOURCE = Source(
    dataset="CDD-CESM",
    films=films,
    category_rule=(
        "regions take the pathology of their image, benign or malignant; ignored are those of normal images, "
        "of images of several or no known pathologies, and points; an image takes its worst pathology"
    ),
    reference="Khaled et al. 2022, Scientific Data 9, 122, https://doi.org/10.1038/s41597-022-01238-0",
)
