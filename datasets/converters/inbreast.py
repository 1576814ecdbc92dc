"""INbreast: 410 digital mammograms of 115 exams with outlines drawn in OsiriX (Moreira et al. 2012).

Read are ``INbreast.csv``, one row per image, ``AllXML/NUMBER.xml`` with the outlines of the image NUMBER, and
the image whose name starts with that number, ``NUMBER_PATIENT_MG_R_CC_ANON.dcm``. Side and view are those of
the table; file names write ML for MLO.

There is no pathology per lesion. By convention, which the options change, an outline takes the BI-RADS of its
image: up to 3 benign, from 4 on malignant. That holds for masses, spiculated regions, clusters, distortions
and asymmetries. Kept with ``ignore: 1``, neither learned nor counted as false, are

- outlines called calcification, each of a single one: it is benign or a part of a cluster that has an outline
  of its own, and the BI-RADS of the image is not about it;
- marks of one or two points and outlines without area, which tell where something is and not how large;
- outlines whose name tells nothing, and all of an image of BI-RADS 1 or without a BI-RADS.

Their category is that of the image, and benign where it has none.

An image takes its own BI-RADS as label, 1 is normal. Points are (x, y), x to the right and y down from the
top-left corner, as every reader of this data set takes them; no half pixel is added.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mammodet.datasets.coco import BENIGN
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.documents import document, documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options, parse_birads
from mammodet.datasets.converters.osirix import Roi, read_rois
from mammodet.datasets.converters.shapes import Shape, corners, point, polygon
from mammodet.datasets.converters.tables import Row, read_csv
from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem

# What the names of outlines stand for, in the spellings that occur.
FINDINGS = dict.fromkeys(("mass", "spiculated region", "espiculated region"), "mass")
FINDINGS |= dict.fromkeys(("cluster", "calcification", "calcifications"), "calcification")
FINDINGS |= {"distortion": "distortion", "asymmetry": "asymmetry", "assymetry": "asymmetry"}

_SINGLE = frozenset({"calcification", "calcifications"})
_NAMELESS = re.compile(r"|unnamed|point \d+")
_COLUMNS = ("Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads")
_DENSITY = {"1": "A", "2": "B", "3": "C", "4": "D"}


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterator[Film]:
    """Yield one film per row of INbreast.csv, with the outlines of its XML file."""
    images: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files.paths:
        images[re.split(r"[_.]", path.name)[0]].append(path)
    outlines: defaultdict[str, list[Path]] = defaultdict(list)
    for path in documents(files, r"\d+\.xml"):
        outlines[path.stem].append(path)
    rows = _read_rows(files)
    if not outlines:
        remedy = "give the folder that holds INbreast.csv, AllDICOMs and AllXML"
        raise InputError("no XML file with outlines", file=files.root, remedy=remedy)
    seen: set[str] = set()
    for row in rows:
        number = row.code("File Name")
        if not number:
            audit.drop("the row names no image", f"line {row.line}")
        elif number in seen:
            audit.drop("the image has a row already", number)
        elif not images[number]:
            yield Film(number)  # the flow tells that it is not there
        elif len(images[number]) > 1 or len(outlines[number]) > 1:
            found = ", ".join(files.name(path) for path in (*images[number], *outlines[number]))
            audit.drop("several files of one kind start with the number of one image", found)
        else:
            yield _film(row, files.name(images[number][0]), outlines[number], audit, options)
        seen.add(number)


def _read_rows(files: ImageFiles) -> list[Row]:
    path = document(files, "INbreast.csv")
    if path is None:
        remedy = "give the folder that holds INbreast.csv, AllDICOMs and AllXML"
        if sheet := documents(files, r"INbreast\.xlsx?"):
            remedy = f"open {files.name(sheet[0])} and save it as INbreast.csv"
        raise InputError("INbreast.csv is not there", file=files.root, remedy=remedy)
    return read_csv(path, required=_COLUMNS)


def _film(row: Row, name: str, outlines: Sequence[Path], audit: Audit, options: Options) -> Film:
    number, birads = row.code("File Name"), parse_birads(row.cells["Bi-Rads"])
    rois = [roi for path in outlines for roi in read_rois(path)]
    found = [_lesion(roi, birads, number, audit, options) for roi in rois]
    lesions = [lesion for lesion in found if lesion is not None]
    label = options.label_of(birads)
    if label == "normal" and any(not lesion.keys.get("ignore") for lesion in lesions):
        audit.note("outlines on an image of BI-RADS 1: benign, and so is the image", number)
        label = "benign"
    if not outlines and birads not in {None, "1"}:
        audit.note("no XML file although the BI-RADS is above 1: an image without boxes", number)
    keys = {"label": label, **_keys(row, PurePosixPath(name).stem, audit)}
    return Film(name, lesions, keys)


def _keys(row: Row, stem: str, audit: Audit) -> dict[str, Any]:
    """Return what the row and the name of the image file tell about patient, exam, side, view and density."""
    side, date = row.cells["Laterality"], row.code("Acquisition date")
    if side not in {"L", "R"}:
        raise row.error("Laterality", "must be L or R")
    told = re.match(r"\d+_([0-9a-f]{8,})(?:_|$)", stem, re.IGNORECASE)
    exam = [part for part in (told[1].lower(), date) if part] if told else []
    if not told:
        audit.note("no patient in the file name: images of one woman may end up in several splits", stem)
    if parse_stem(stem).laterality not in {None, side}:
        audit.note("the file name tells another side: that of the table taken", stem)
    return {
        "patient_id": exam[0] if exam else None,
        "study_id": "-".join(exam) or None,
        "breast_id": "-".join([*exam, side]) if exam else None,
        "laterality": side,
        "view": row.cells["View"].upper() or None,
        "density": _DENSITY.get(row.code("ACR")),
        "provenance": {"birads": row.cells["Bi-Rads"]},
    }


def _lesion(roi: Roi, birads: str | None, number: str, audit: Audit, options: Options) -> Lesion | None:
    name = roi.name.lower()
    if name.replace(" ", "") == "pectoralmuscle":
        audit.note("outlines of the pectoral muscle are no lesions: left out", number)
        return None
    if not roi.points:
        audit.drop_lesion("the outline has no points", f"{number} {roi.name}")
        return None
    if name not in FINDINGS and not _NAMELESS.fullmatch(name):
        audit.note("unknown name of an outline: kept with ignore", f"{number} {roi.name}")
    shape, has_area = _shape(roi.points)
    category = BENIGN if birads == "1" else options.category_of(birads)
    certain = has_area and category is not None and name in FINDINGS and name not in _SINGLE
    keys = {"finding": FINDINGS.get(name, "other"), "birads": birads, "provenance": {"name": roi.name}}
    return Lesion(shape, category or BENIGN, keys if certain else {**keys, "ignore": 1})


def _shape(points: Sequence[tuple[float, float]]) -> tuple[Shape, bool]:
    """Return an outline, or the box around the pixels of a mark, and whether it tells how large it is."""
    if len(points) > 2:
        outline = polygon(points)
        if outline.area:
            return outline, True
    if len(points) == 1:
        return point(*points[0]), False
    xs, ys = ([math.floor(value) for value in axis] for axis in zip(*points, strict=True))
    around = corners(min(xs), min(ys), max(xs) + 1, max(ys) + 1)
    return replace(around, provenance={"points": [list(one) for one in points]}), False


SOURCE = Source(
    dataset="INbreast",
    films=films,
    category_rule=(
        "by convention the BI-RADS of the image, as the options say: masses, spiculated regions, clusters, "
        "distortions and asymmetries take it, and so does the image; 1 is normal or, with an outline, "
        "benign; ignored are single calcifications, marks without area, nameless outlines, and all of images "
        "without a BI-RADS"
    ),
    reference="Moreira et al. 2012, Academic Radiology 19(2), 236-248, https://doi.org/10.1016/j.acra.2011.09.014",
)
