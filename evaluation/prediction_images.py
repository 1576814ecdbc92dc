"""Which image of the ground truth a prediction means: by id, name, path, stem or exam and view."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.evaluation.prediction_rows import PredictionFault, Rows

UNKNOWN = -1

_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(\.0+)?")  # pandas writes 12.0 for 12 where a column has gaps
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,5}$")  # of a file, not the last number of a UID
_SIDES = {"L": "L", "R": "R", "LEFT": "L", "RIGHT": "R"}


class ExamKey(NamedTuple):
    """An image named by its exam, as the tables of Duke's tomosynthesis challenge do; None = not told."""

    patient: str
    study: str | None
    side: str | None
    view: str | None

    @classmethod
    def of(cls, patient: str, study: str | None, side: str | None, view: str | None) -> ExamKey:
        """Read the cells of a table; a view may hold the side, such as ``LCC`` or ``R-MLO``."""
        laterality = _SIDES.get((side or "").strip().upper())
        code = re.sub(r"[^A-Z0-9]", "", (view or "").upper())
        if laterality is None and len(code) > 1 and code[0] in "LR" and code not in {"LM", "LMO"}:
            laterality, code = code[0], code[1:]
        return cls(patient.strip(), (study or "").strip() or None, laterality, code or None)


@dataclass(frozen=True)
class _Names:
    """The images by what they may be called; values are positions in ``coco.images``."""

    ids: Mapping[int, int]
    paths: Mapping[str, int]
    stems: Mapping[str, Sequence[int]]
    patients: Mapping[str, Sequence[int]]
    images: Sequence[ImageRecord]


def find_images(rows: Rows, coco: Coco) -> tuple[list[int], list[PredictionFault]]:
    """Return the position of every prediction's image in ``coco.images``, UNKNOWN without one, and faults.

    All keys of a file are ids or all are names: where both would do and mean different images, that is a
    fault. Names may be paths, file names or stems, in any case and with any suffix; the longest common ending
    decides between several.
    """
    names = _collect(coco)
    distinct = dict.fromkeys(rows.images)
    distinct.pop(None, None)
    by_id = {one: index for one in distinct if (index := _by_id(one, names)) is not None}
    by_name = {one: several for one in distinct if (several := _by_name(one, names))}
    use_ids = len(by_id) >= len(by_name)
    faults = []
    if use_ids and 0 < len(by_id) == len(by_name) and all(isinstance(one, str) for one in by_id):
        faults = _either(rows, by_id, by_name, coco)
    if all(isinstance(one, int) for one in distinct) and len(by_id) == len(distinct):
        use_ids = True
    if use_ids:
        found = by_id
    else:
        found = {one: positions[0] for one, positions in by_name.items() if len(positions) == 1}
        faults += _several(rows, {one: two for one, two in by_name.items() if len(two) > 1}, coco)
        faults += _shared(rows, found, coco)
    strange = {one for one in distinct if one not in found and (use_ids or one not in by_name)}
    if strange or None in rows.images:
        unknown = [index for index, one in enumerate(rows.images) if one is None or one in strange]
        shown = (
            f"such as {coco.images[0]['file_name']!r} (id {coco.images[0]['id']})" if coco.images else "none"
        )
        problem = f"no such image{'' if len(strange) < 2 else f' ({len(strange)} names are unknown)'}"
        known = f"{coco.path} has {len(coco.images)}, {shown}"
        remedy = f"give the ground truth that the detector was run on ({known})"
        faults.append(rows.fault(unknown, "image", problem, remedy))
    positions = {one: found.get(one, UNKNOWN) for one in distinct} | {None: UNKNOWN}
    return list(map(positions.__getitem__, rows.images)), faults


def _collect(coco: Coco) -> _Names:
    stems: defaultdict[str, list[int]] = defaultdict(list)
    patients: defaultdict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(coco.images):
        last = _parts(image["file_name"])[-1]
        uid = image.get("sop_instance_uid")
        for stem in {last, _SUFFIX.sub("", last), *([uid.lower()] if isinstance(uid, str) else ())}:
            stems[stem].append(index)
        if image.get("patient_id") is not None:
            patients[str(image["patient_id"]).strip()].append(index)
    paths = {_slashes(image["file_name"]): index for index, image in enumerate(coco.images)}
    ids = {image["id"]: index for index, image in enumerate(coco.images)}
    return _Names(ids, paths, stems, patients, coco.images)


def _by_id(name: Any, names: _Names) -> int | None:
    if isinstance(name, str):
        digits = _NUMBER.fullmatch(name)
        return names.ids.get(int(digits[1])) if digits else None
    return names.ids.get(name) if isinstance(name, int) else None


def _by_name(name: Any, names: _Names) -> list[int]:
    if isinstance(name, ExamKey):
        return _by_exam(name, names)
    text = str(name)
    exact = names.paths.get(_slashes(text))
    if exact is not None:
        return [exact]
    parts = _parts(text)
    last = parts[-1]
    found = names.stems.get(last) or names.stems.get(_SUFFIX.sub("", last)) or []
    if len(found) < 2:
        return list(found)
    rank = {index: _likeness(parts, _parts(names.images[index]["file_name"])) for index in found}
    best = max(rank.values())
    return [index for index in found if rank[index] == best]


def _by_exam(name: ExamKey, names: _Names) -> list[int]:
    found = []
    for index in names.patients.get(name.patient, []):
        image = names.images[index]
        view = (image.get("view") or "").upper() or None
        same_study = name.study is None or image.get("study_id") in (None, name.study)
        if same_study and (image.get("laterality"), view) == (name.side, name.view):
            found.append(index)
    return found


def _slashes(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _parts(name: str) -> list[str]:
    parts = [part for part in _slashes(name).lower().split("/") if part not in {"", ".", ".."}]
    return parts or [""]


def _likeness(first: Sequence[str], second: Sequence[str]) -> tuple[int, bool]:
    """Return how many folders above the files are the same, and whether the whole names are."""
    folders = 0
    for one, two in zip(reversed(first[:-1]), reversed(second[:-1]), strict=False):
        if one != two:
            break
        folders += 1
    return folders, first[-1] == second[-1]


def _either(
    rows: Rows, by_id: Mapping[Any, int], by_name: Mapping[Any, list[int]], coco: Coco
) -> list[PredictionFault]:
    """Return the fault of keys that are ids of some images and names of others."""
    clash = {one for one, index in by_id.items() if by_name.get(one, [index]) != [index]}
    if not clash:
        return []
    at = [index for index, one in enumerate(rows.images) if one in clash]
    id_of, name_of = (coco.images[by_id[rows.images[at[0]]]], coco.images[by_name[rows.images[at[0]]][0]])
    problem = f"is the id of {id_of['file_name']!r} and the name of {name_of['file_name']!r}"
    return [rows.fault(at, "image", problem, "write file names with their suffix")]


def _several(rows: Rows, names: Mapping[Any, list[int]], coco: Coco) -> list[PredictionFault]:
    if not names:
        return []
    at = [index for index, one in enumerate(rows.images) if one in names]
    first, second, *_ = (coco.images[index]["file_name"] for index in names[rows.images[at[0]]])
    problem = f"may be {first!r} or {second!r}"
    return [rows.fault(at, "image", problem, "write as much of the path as tells them apart")]


def _shared(rows: Rows, found: Mapping[Any, int], coco: Coco) -> list[PredictionFault]:
    """Return the fault of names that contradict each other and find one image, such as a/1 and b/1."""
    first: dict[int, Any] = {}
    second: dict[Any, int] = {}
    for name, index in found.items():
        other = first.setdefault(index, name)
        if not (isinstance(name, str) and isinstance(other, str)):
            continue
        shorter, longer = sorted((_parts(name), _parts(other)), key=len)
        if longer[-len(shorter) :] != shorter:
            second[name] = index
    if not second:
        return []
    at = [index for index, one in enumerate(rows.images) if one in second]
    index = second[rows.images[at[0]]]
    problem = f"means {coco.images[index]['file_name']!r}, and so does {first[index]!r}"
    return [rows.fault(at, "image", problem, "leave out what is of other images, or write names alike")]


def sizes_of(coco: Coco) -> np.ndarray:
    """Return width and height [M, 2] of the images of ``coco``, in pixels."""
    return np.array([[one["width"], one["height"]] for one in coco.images], dtype=np.float64).reshape(-1, 2)
