"""mini-MIAS: 322 digitised films of 161 patients with circles around their lesions (Suckling et al. 1994).

Sides follow Info.txt, which calls even films left. The original MIAS names them the other way round
(mdb001lm, mdb002rl), and the lead letters on odd films read L, mirrored: the films are stored mirrored, and a
film that is called right here looks like one, with its chest wall on the right.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import circle
from mammodet.datasets.converters.texts import read_text
from mammodet.datasets.errors import InputError

SIDE_PX = 1024  # every film is padded or cut to this
SPACING_MM = 0.2

# Info.txt calls MISC "other, ill-defined masses", so it is a mass.
FINDINGS = dict.fromkeys(("CIRC", "SPIC", "MISC"), "mass")
FINDINGS |= {"CALC": "calcification", "ARCH": "distortion", "ASYM": "asymmetry"}

# MIAS itself gives no coordinates for this film; those of Info.txt lie in the air beside the breast.
DOUBTFUL = ("mdb214",)

_SEVERITY = {"B": BENIGN, "M": MALIGNANT}

# film, tissue, class, severity, then x, y, radius or, for wide-spread calcifications, a note or nothing
_ROW = re.compile(
    r"(?P<film>mdb(?P<number>\d{3}))\s+(?P<tissue>[FGD])\s+"
    r"(?:NORM|(?P<kind>CALC|CIRC|SPIC|MISC|ARCH|ASYM)\s+(?P<severity>[BM])"
    r"(?:\s+(?P<x>\d{1,4})\s+(?P<y>\d{1,4})\s+(?P<radius>\d{1,4})|\s+\*NOTE\s*3\*)?)\s*"
)


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Return one film per film of Info.txt, with the lesions of all its rows."""
    rows: defaultdict[str, list[re.Match[str]]] = defaultdict(list)
    for row in _read_rows(files.root / "Info.txt"):
        rows[row["film"]].append(row)
    if not rows:
        problem, remedy = "holds no row of a film", "rows look like: mdb001 G CIRC B 535 425 197"
        raise InputError(problem, file=files.root / "Info.txt", remedy=remedy)
    return [_film(name, of_film, audit) for name, of_film in rows.items()]


def _read_rows(path: Path) -> Iterable[re.Match[str]]:
    if not path.is_file():
        remedy = "give the folder that holds Info.txt and the films mdb001.pgm to mdb322.pgm"
        raise InputError("no such file", file=path, remedy=remedy)
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if re.match(r"\s*mdb\d", line):
            row = _ROW.fullmatch(line.strip())
            if row is None:
                remedy = "rows look like: mdb001 G CIRC B 535 425 197"
                raise InputError(
                    "is no row of Info.txt", file=path, field=f"line {number}", value=line, remedy=remedy
                )
            yield row


def _film(name: str, rows: Sequence[re.Match[str]], audit: Audit) -> Film:
    number = int(rows[0]["number"])
    severities = {row["severity"] for row in rows if row["kind"]}
    unlocated = [row for row in rows if row["kind"] and row["x"] is None]
    provenance: dict[str, object] = {"film": name, "tissue": rows[0]["tissue"]}
    if unlocated:
        audit.note("a class but no coordinates: the film keeps its label and has no box", name)
        provenance["findings_without_box"] = [f"{row['kind']} {row['severity']}" for row in unlocated]
    if name in DOUBTFUL:
        audit.note("the circle lies in the air beside the breast, a fault of Info.txt", name)
    keys = {
        "patient_id": str((number + 1) // 2),
        "laterality": "R" if number % 2 else "L",
        "view": "MLO",
        "spacing_mm": [SPACING_MM, SPACING_MM],
        "label": CATEGORY_NAMES[_SEVERITY[max(severities)]] if severities else "normal",  # "M" > "B"
        "provenance": provenance,
    }
    lesions = [_lesion(row) for row in rows if row["x"] is not None]
    return Film(name, lesions, keys, rows=len(rows), size=(SIDE_PX, SIDE_PX))


def _lesion(row: re.Match[str]) -> Lesion:
    x, y_from_bottom, radius = (int(row[key]) for key in ("x", "y", "radius"))
    keys = {
        "finding": FINDINGS[row["kind"]],
        "pathology": CATEGORY_NAMES[_SEVERITY[row["severity"]]],
        "provenance": {"class": row["kind"], "severity": row["severity"]},
    }
    return Lesion(circle(x, SIDE_PX - y_from_bottom, radius), _SEVERITY[row["severity"]], keys)


SOURCE = Source(
    dataset="mini-MIAS",
    films=films,
    category_rule="severity B is benign, M malignant; NORM films are normal",
    reference="Suckling et al. 1994, Excerpta Medica International Congress Series 1069, 375-378",
)
