"""The columns of a table of predictions: what they are for, and what they are usually called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammodet.datasets.errors import InputError
from mammodet.evaluation.prediction_rows import Part

OPTION = "--columns"

# What each column is usually called, without case, blanks and signs; the first that is there is taken.
ROLES: Mapping[str, Sequence[str]] = {
    "image": (
        *("imageid", "image", "filename", "imagename", "file", "fn", "img", "imgid", "imgname", "imagefile"),
        *("imagepath", "imgpath", "filepath", "path", "sopinstanceuid"),
    ),
    "score": ("score", "confidence", "conf", "probability", "prob", "scores", "objectness"),
    "category": ("categoryid", "category", "categoryname", "class", "classname", "classid", "label", "cls"),
    "x1": ("x1", "xmin", "left", "bboxx1"),
    "y1": ("y1", "ymin", "top", "bboxy1"),
    "x2": ("x2", "xmax", "right", "bboxx2"),
    "y2": ("y2", "ymax", "bottom", "bboxy2"),
    "x": ("x", "bboxx"),
    "y": ("y", "bboxy"),
    "width": ("width", "w", "bboxwidth", "bboxw", "boxwidth"),
    "height": ("height", "h", "bboxheight", "bboxh", "boxheight"),
    "cx": ("cx", "xcenter", "xcentre", "centerx", "centrex", "xc"),
    "cy": ("cy", "ycenter", "ycentre", "centery", "centrey", "yc"),
    "patient": ("patientid", "patient"),
    "study": ("studyuid", "studyid", "study", "studyinstanceuid"),
    "side": ("side", "laterality", "imagelaterality"),
    "view": ("view", "viewposition"),
}
BOXES: Mapping[str, Sequence[str]] = {
    "xyxy": ("x1", "y1", "x2", "y2"),
    "cxcywh": ("cx", "cy", "width", "height"),
    "xywh": ("x", "y", "width", "height"),
}
# Without one of these a table has no boxes: a width and a height alone are those of the image.
_PLACES = ("x1", "y1", "x2", "y2", "x", "y", "cx", "cy")
_EXAM = ("patient", "study", "side", "view")
# Tables that count corners from 0 call the second corner what others call the first.
_FROM_ZERO = {"x1": "x0", "y1": "y0", "x2": "x1", "y2": "y1"}
# Corners with a width and a height: TensorFlow's tables mean the image's, others the box's.
_TOP_LEFT = {"x": "x1", "y": "y1"}


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what.

    ``box`` are the four of the boxes in the order of ``layout``, both empty where the scores are of images;
    ``exam`` the roles patient, study, side and view where no column names the image; ``category_is_id`` tells
    that numbers are ids of the ground truth. ``unread`` is a column of classes beside scores of images.
    """

    image: str | None
    exam: Mapping[str, str]
    category: str | None
    score: str
    box: Sequence[str]
    layout: str
    category_is_id: bool
    unread: str | None = None

    def part(self, part: Part) -> list[str]:
        """Return the columns that hold a part of a prediction."""
        if part == "image":
            return [self.image] if self.image is not None else list(self.exam.values())
        if part == "category":
            return [] if self.category is None else [self.category]
        return [self.score] if part == "score" else list(self.box)

    def names(self) -> set[str]:
        """Return all columns that are read."""
        return {name for part in ("image", "category", "score", "box") for name in self.part(part)}


def choose_columns(header: Sequence[str], given: Mapping[str, str], boxes: str, path: Path) -> Columns:
    """Return which columns hold what: those ``given`` by role, and others by their usual names.

    A table without any column of a box holds scores of images. Raises InputError for a role or column that
    does not exist, is there twice, or is missing.
    """
    found = _found(header, _given(header, given, path))
    image = found.get("image")
    exam = {role: found[role] for role in _EXAM if role in found}
    if image is None and not {"patient", "view"} <= set(exam):
        raise _missing("image", header, path)
    if "score" not in found:
        raise _missing("score", header, path)
    exam = {} if image is not None else exam
    category = found.get("category")
    if not any(role in found for role in _PLACES):
        chosen = Columns(image, exam, None, found["score"], [], "", False, unread=category)
    else:
        kind, _, relative = boxes.partition("-")
        layout = _layout(found, given, kind, header, path)
        chosen = Columns(
            image,
            exam,
            category,
            found["score"],
            [found[role] for role in _box_roles(found, layout)],
            f"{kind if boxes != 'auto' else layout}{'-relative' if relative else ''}",
            category is not None and _plain(category) == "categoryid",
        )
    for name in chosen.names():
        if header.count(name) > 1:
            raise InputError(
                "is there twice", file=path, field=f"column {name}", remedy="give columns names of their own"
            )
    return chosen


def known_columns(header: Sequence[str], given: Mapping[str, str]) -> int:
    """Return how many columns of a header have a usual name or one that is ``given``."""
    usual = {name for names in ROLES.values() for name in names} | {"x0", "y0"}
    wanted = {_plain(str(name)) for name in given.values()}
    return sum(_plain(name) in usual | wanted for name in header if name)


def _given(header: Sequence[str], given: Mapping[str, str], path: Path) -> dict[str, str]:
    exact = {}
    for role, column in given.items():
        if role not in ROLES:
            raise InputError(
                "no such column", field=OPTION, value=role, remedy=f"known are {', '.join(ROLES)}"
            )
        name = str(column)
        same = [one for one in header if one == name] or [
            one for one in header if one.lower() == name.lower()
        ]
        if not same:
            problem = f"has no column {name!r}"
            raise InputError(problem, file=path, field=OPTION, remedy=f"its columns are {_shown(header)}")
        exact[role] = same[0]
    return exact


def _found(header: Sequence[str], given: dict[str, str]) -> dict[str, str]:
    """Return the column of every role that has one, ``given`` ones first; a column serves one role."""
    free = {_plain(name): name for name in reversed(header) if name and name not in given.values()}
    found = dict(given)
    usual = dict(ROLES)
    if {"x0", "y0"} <= {_plain(name) for name in header}:
        usual |= {role: (_FROM_ZERO[role], *names) for role, names in ROLES.items() if role in _FROM_ZERO}
    for role, names in usual.items():
        name = next((one for one in names if one in free), None)
        if role not in found and name is not None:
            found[role] = free.pop(name)
    return found


def _layout(
    found: Mapping[str, str], given: Mapping[str, str], kind: str, header: Sequence[str], path: Path
) -> str:
    """Return what the columns of the boxes are called after."""
    whole = [name for name in BOXES if all(role in found for role in _box_roles(found, name))]
    asked = [name for name in whole if any(role in given for role in BOXES[name][:2])]
    for names in (asked, [name for name in whole if name == kind], whole):
        if names:
            return names[0]
    raise _missing("x1 y1 x2 y2 (or x y width height, or cx cy width height)", header, path)


def _box_roles(found: Mapping[str, str], layout: str) -> list[str]:
    roles = BOXES[layout]
    return [role if role in found else _TOP_LEFT.get(role, role) for role in roles]


def _missing(role: str, header: Sequence[str], path: Path) -> InputError:
    if any(re.fullmatch(r"-?[0-9]*\.?[0-9]+", name) for name in header):
        remedy = "the first line must name the columns, such as image,x1,y1,x2,y2,score"
        return InputError(f"has no column for {role}", file=path, value=_shown(header), remedy=remedy)
    what = role.partition(" ")[0]
    remedy = f"say which it is, such as {OPTION} {what}=NAME; the columns are {_shown(header)}"
    return InputError(f"has no column for {role}", file=path, remedy=remedy)


def _shown(header: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in header[:20])
    return f"{shown} and {len(header) - 20} more" if len(header) > 20 else shown


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
