"""DDSM: 2,620 screening exams on film with outlines of what was called back (Heath et al. 2001).

Read are the ``.ics`` file of every case, wherever it lies, the ``.OVERLAY`` files of its films, and the films
as PNG, TIFF, PGM or DICOM. The films are published as ``.LJPEG``, lossless JPEG of a codec that no imaging
library reads, so they have to be converted first; ``B_3159_1.LEFT_CC.png`` and ``B_3159_1.LEFT_CC.LJPEG.png``
are both found, beside the ``.ics`` file or elsewhere. Copies of another size are allowed, cropped ones not.

MALIGNANT is malignant; BENIGN and BENIGN_WITHOUT_CALLBACK are benign; UNPROVEN, and whatever else, is kept as
benign with ``ignore: 1``. A film takes its worst proven lesion. One without a mark is

- normal, when nothing is marked on any view of the breast; the other breast may have a lesion;
- unknown, when the other view of the breast is marked, when the .ics file announces an overlay that is not
  there, and when nothing is marked in a whole case that lies in a folder of cancers or benign cases.

The boundary is the lesion, and cores, which lie inside it, are counted in the provenance. Totals that the
files claim and that are wrong are told and not trusted. Abnormalities are numbered per film and not linked
across views, so there is no ``lesion_id``. A case is a patient.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.ddsm_overlay import Abnormality, Overlay, chain_shape, read_overlay
from mammodet.datasets.converters.documents import documents
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options, parse_birads
from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.discover import IMAGE_SUFFIXES
from mammodet.datasets.errors import InputError

PATHOLOGY = {"MALIGNANT": MALIGNANT, "BENIGN": BENIGN, "BENIGN_WITHOUT_CALLBACK": BENIGN}

_DENSITY = {"1": "A", "2": "B", "3": "C", "4": "D"}
_FILM = re.compile(
    r"(?P<name>(?P<side>LEFT|RIGHT)_(?P<view>\w+))\s+LINES\s+(?P<height>[1-9]\d{0,5})\s+"
    r"PIXELS_PER_LINE\s+(?P<width>[1-9]\d{0,5})\s+BITS_PER_PIXEL\s+(?P<bits>\d+)\s+"
    r"RESOLUTION\s+(?P<microns>[1-9]\d{0,2}(?:\.\d+)?)\s+(?P<overlay>NON_OVERLAY|OVERLAY)",
    re.ASCII,
)
_LIKE = "LEFT_CC LINES 4544 PIXELS_PER_LINE 3120 BITS_PER_PIXEL 12 RESOLUTION 50 OVERLAY"
_FILE = re.compile(r"(?P<film>[^.]+\.[^.]+)(?:\.ljpeg)?(?:\.1)?\.\w+", re.IGNORECASE)
_CATEGORY = re.compile(r"(?:cancer|benign_without_callback|benign|normal)s?", re.IGNORECASE)

_Places = Mapping[str, Sequence[Path]]  # files by the film that they are of


@dataclass(frozen=True)
class _Tree:
    files: ImageFiles
    audit: Audit
    images: _Places
    packed: _Places  # films as .LJPEG
    overlays: _Places


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterator[Film]:
    """Yield one film per film of every .ics file."""
    cases = documents(files, r".+\.ics")
    if not cases:
        remedy = "give the folder of the cases, with their .ics files"
        raise InputError("no .ics file", file=files.root, remedy=remedy)
    images = _by_film(path for path in files.paths if path.suffix.lower() in IMAGE_SUFFIXES)
    packed = _by_film(path for path in files.paths if path.suffix.lower() == ".ljpeg")
    if packed and not images:
        problem = "the films are there as .LJPEG only, which no imaging library reads"
        remedy = "convert them to 16-bit PNG of the same name, such as B_3159_1.LEFT_CC.png"
        raise InputError(problem, file=files.root, remedy=remedy)
    tree = _Tree(files, audit, images, packed, _by_film(documents(files, r".+\.overlay")))
    seen: dict[tuple[str, str], Path] = {}
    for path in cases:
        text = read_text(path)
        rows = _read_rows(path, text)
        if seen.setdefault((path.name.lower(), text), path) == path:
            yield from _case(path, text, rows, tree)
        else:
            audit.drop("a copy of a case: the first one is taken", files.name(path), len(rows))


def _by_film(paths: Iterable[Path]) -> _Places:
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        name = _FILE.fullmatch(path.name)
        if name:
            found[name["film"].lower()].append(path)
    return found


def _read_rows(path: Path, text: str) -> Sequence[re.Match[str]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip().startswith(("LEFT_", "RIGHT_")):
            row = _FILM.fullmatch(line.strip())
            if row is None:
                problem, where = "is no film of an .ics file", f"line {number}"
                raise InputError(
                    problem, file=path, field=where, value=line, remedy=f"films look like: {_LIKE}"
                )
            rows.append(row)
    if not rows:
        raise InputError("lists no film", file=path, remedy="check that the file is whole")
    return rows


def _case(path: Path, text: str, rows: Sequence[re.Match[str]], tree: _Tree) -> Iterator[Film]:
    case = path.stem.replace("-", "_")
    names = {row: f"{case}.{row['name']}" for row in rows}
    overlays = {row: _nearest(tree.overlays, names[row], path) for row in rows}
    marked = {row["side"] for row in rows if overlays[row] or row["overlay"] == "OVERLAY"}
    keys = _case_keys(path, text, tree.files)
    unmarked = not marked and not keys["provenance"].get("category", "normal").startswith("normal")
    if unmarked:
        tree.audit.note("nothing is marked in a case of cancer or a benign lesion: label unknown", case)
    for row in rows:
        name, drawn = names[row], overlays[row]
        images = _nearest(tree.images, name, path)
        if len(images) != 1 or len(drawn) > 1:
            _drop(name, images, tree)
            continue
        lesions = _lesions(read_overlay(drawn[0]), name, tree.audit) if drawn else []
        known = row["side"] not in marked and not unmarked
        if not drawn and row["overlay"] == "OVERLAY":
            tree.audit.note("the .ics file announces an overlay that is not there: label unknown", name)
        elif drawn and row["overlay"] != "OVERLAY":
            tree.audit.note("the .ics file announces no overlay and there is one: taken", name)
        elif not drawn and row["side"] in marked:
            tree.audit.note("marked in another view of the breast only: label unknown", name)
        yield Film(
            tree.files.name(images[0]),
            lesions,
            {**keys, **_film_keys(row), "label": "normal" if known else None},
            size=(int(row["width"]), int(row["height"])),
        )


def _nearest(places: _Places, film: str, case: Path) -> Sequence[Path]:
    """Return the files of a film that lie below the folder of its case, otherwise those anywhere."""
    found = places.get(film.lower(), ())
    return [path for path in found if case.parent in path.parents] or found


def _drop(film: str, images: Sequence[Path], tree: _Tree) -> None:
    if images:
        tree.audit.drop("several image files or overlays of one film", film)
        return
    packed = film.lower() in tree.packed
    tree.audit.drop(
        "the film is there as .LJPEG only: convert it to PNG" if packed else "no such image file", film
    )
    tree.audit.without_pixels.append(film)


def _case_keys(path: Path, text: str, files: ImageFiles) -> dict[str, Any]:
    told = {words[0]: " ".join(words[1:]) for words in map(str.split, text.split("\n")) if words}
    folders = (files.root.resolve().name, *path.relative_to(files.root).parts[:-1])
    category = next((one.lower() for one in folders if _CATEGORY.fullmatch(one)), None)
    facts = {"case": path.stem, "category": category, "digitizer": told.get("DIGITIZER")}
    age = told.get("PATIENT_AGE", "")
    return {
        "patient_id": path.stem.replace("-", "_"),
        "age": int(age) if re.fullmatch(r"[0-9]{1,3}", age) else None,
        "density": _DENSITY.get(told.get("DENSITY", "")),
        "provenance": {key: fact for key, fact in facts.items() if fact},
    }


def _film_keys(row: re.Match[str]) -> dict[str, Any]:
    spacing = float(row["microns"]) / 1000
    return {"laterality": row["side"][0], "view": row["view"], "spacing_mm": [spacing, spacing]}


def _lesions(overlay: Overlay, film: str, audit: Audit) -> Sequence[Lesion]:
    found = overlay.abnormalities
    if overlay.told != str(len(found)):
        audit.note(
            "TOTAL_ABNORMALITIES is not what the overlay holds", f"{film} ({overlay.told}, {len(found)})"
        )
    return [lesion for one in found for lesion in _lesions_of(one, overlay.path, film, audit)]


def _lesions_of(one: Abnormality, path: Path, film: str, audit: Audit) -> Iterator[Lesion]:
    """Yield a lesion per boundary; there is one, as far as is known."""
    where = f"{film} abnormality {one.number}"
    outlines = len(one.boundaries) + len(one.cores)
    if one.text("TOTAL_OUTLINES") != str(outlines):
        audit.note(
            "TOTAL_OUTLINES is not what the overlay holds",
            f"{where} ({one.text('TOTAL_OUTLINES')}, {outlines})",
        )
    if len(one.boundaries) > 1:
        audit.note("several boundaries of one abnormality: each is a lesion", where)
    if not one.boundaries:
        audit.drop_lesion("the abnormality has no boundary", where)
    keys, category = _lesion_keys(one), PATHOLOGY.get(one.text("PATHOLOGY"))
    if category is None:
        audit.note(
            "the pathology is neither malignant nor benign: kept with ignore",
            f"{where} {one.text('PATHOLOGY')}",
        )
    for chain in one.boundaries:
        shape, gap = chain_shape(chain, path)
        if gap > 1:
            audit.note("the outline is not closed: closed by a straight line", f"{where} ({gap} px)")
            shape = replace(shape, provenance={"gap_px": gap})
        if not chain.ended:
            audit.note("the outline has no end mark #: it may be cut off", where)
        yield Lesion(shape, category or BENIGN, keys)


def _lesion_keys(one: Abnormality) -> dict[str, Any]:
    types = one.fields.get("LESION_TYPE", [])
    kinds = {_finding(text) for text in types}
    words = [text.split() for text in types]
    described = {
        f"{'calc' if kind == 'CALCIFICATION' else kind.lower()}_{key.lower()}": value
        for kind, *rest in filter(None, words)
        for key, value in zip(rest[::2], rest[1::2], strict=False)
    }
    category = PATHOLOGY.get(one.text("PATHOLOGY"))
    facts = {"abnormality": one.number, "lesion_types": types, "cores": len(one.cores)}
    facts |= {key.lower(): one.text(key) for key in ("PATHOLOGY", "ASSESSMENT", "SUBTLETY")}
    keys: dict[str, Any] = {
        "birads": parse_birads(one.text("ASSESSMENT")),
        "subtype": {key: value for key, value in described.items() if value != "N/A"},
        "provenance": facts,
    }
    if len(kinds) == 1:
        keys["finding"] = kinds.pop()
    return {**keys, "ignore": 1} if category is None else {**keys, "pathology": CATEGORY_NAMES[category]}


def _finding(lesion_type: str) -> str:
    """Return what a LESION_TYPE is; some masses are described as a distortion or an asymmetry alone."""
    kind, _, shape, *_ = (*lesion_type.split(), "", "", "")
    if kind == "CALCIFICATION":
        return "calcification"
    if kind != "MASS":
        return "other"
    parts = shape.split("-")
    if all(part == "ARCHITECTURAL_DISTORTION" for part in parts):
        return "distortion"
    return "asymmetry" if all("ASYMMETRIC" in part for part in parts) else "mass"


SOURCE = Source(
    dataset="DDSM",
    films=films,
    category_rule=(
        "pathology MALIGNANT is malignant, BENIGN and BENIGN_WITHOUT_CALLBACK are benign, UNPROVEN is "
        "ignored; a film takes its worst lesion; one without a mark is normal when no view of its breast has "
        "one, and unknown when another view has, or when a case of cancer or a benign lesion has none at all"
    ),
    reference=(
        "Heath et al. 2001, The Digital Database for Screening Mammography, Proceedings of the Fifth "
        "International Workshop on Digital Mammography, 212-218"
    ),
)
