"""The class names of generic annotation formats as benign, malignant or ignored lesions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Lesion
from mammodet.datasets.converters.options import CLASSES, LEAVE_OUT, Options
from mammodet.datasets.converters.shapes import Shape
from mammodet.datasets.errors import InputError

RULE = (
    "a class whose name has the word benign or malignant is that, any other as --classes says; classes to "
    "ignore are kept as benign with ignore 1"
)

_FINDINGS: Mapping[str, str] = {
    **dict.fromkeys(("mass", "masses"), "mass"),
    **dict.fromkeys(("calc", "calcs", "calcification", "calcifications"), "calcification"),
    **dict.fromkeys(("microcalcification", "microcalcifications"), "calcification"),
    **dict.fromkeys(("distortion", "distortions"), "distortion"),
    **dict.fromkeys(("asymmetry", "asymmetries"), "asymmetry"),
}
# Beside one of these words, "benign" or "malignant" may be meant otherwise: a person has to say.
_DOUBTS = frozenset({"no", "non", "not", "or", "possibly", "pre", "probably", "suspected", "unknown"})
_SHOWN = 20


class Classes:
    """What each class name of a data set stands for.

    Parameters
    ----------
    names:
        Every class name that an annotation has.
    source:
        The file or folder that errors name.

    Raises InputError that lists all names of unknown meaning, with the option that gives them one.
    """

    def __init__(
        self, names: Iterable[str], options: Options, audit: Audit, source: str | PathLike[str]
    ) -> None:
        given = {_key(str(name)): CLASSES[meaning] for name, meaning in options.classes.items()}
        left_out = {_key(str(name)) for name, meaning in options.classes.items() if meaning == LEAVE_OUT}
        self._audit = audit
        found = sorted(set(names))
        self._left_out = {name for name in found if _key(name) in left_out}
        self._categories: dict[str, int | None] = {}
        unknown: list[str] = []
        for name in found:
            stated = _stated_category(name)
            if _key(name) in given:
                self._categories[name] = given[_key(name)]
            elif stated is not None:
                self._categories[name] = stated
            else:
                unknown.append(name)
        if unknown:
            raise _unknown(unknown, source)
        for name in options.classes:
            if _key(str(name)) not in set(map(_key, found)):
                audit.note("--classes names a class that no annotation has", str(name))

    def lesions(self, drawn: Iterable[tuple[Shape, str, Mapping[str, Any]]]) -> list[Lesion]:
        """Return the lesions of these outlines, class names and further keys of the annotation.

        The finding is read from the words of the class name. Classes that are to be left out are counted in
        the audit.
        """
        drawn = list(drawn)
        for name in (name for _, name, _ in drawn if name in self._left_out):
            self._audit.drop_lesion("its class is left out, as --classes says", name)
        return [self._lesion(*one) for one in drawn if one[1] not in self._left_out]

    def _lesion(self, shape: Shape, name: str, keys: Mapping[str, Any]) -> Lesion:
        category = self._categories[name]
        words = dict.fromkeys(_FINDINGS[word] for word in _words(name) if word in _FINDINGS)
        told: dict[str, Any] = {"finding": next(iter(words))} if len(words) == 1 else {}
        told |= keys
        if category is None:
            told["ignore"] = 1
        told["provenance"] = {"class": name, **told.get("provenance", {})}
        return Lesion(shape, BENIGN if category is None else category, told)

    def label(self, names: Sequence[str]) -> str | None:
        """Return the label of an image with lesions of these classes, "normal" without any.

        Classes that are left out count as none. None where all others are to be ignored: then nothing tells.
        """
        names = [name for name in names if name not in self._left_out]
        if not names:
            return "normal"
        categories = [category for name in names if (category := self._categories[name]) is not None]
        return CATEGORY_NAMES[max(categories)] if categories else None


def _stated_category(name: str) -> int | None:
    """Return the category that a name states beyond doubt."""
    words = set(_words(name))
    if words & _DOUBTS or {"benign", "malignant"} <= words:
        return None
    return MALIGNANT if "malignant" in words else BENIGN if "benign" in words else None


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # MassMalignant
    return [word for word in re.split(r"[\W_\d]+", parted.lower()) if word]


def _key(name: str) -> str:
    return " ".join(name.casefold().split())


def _unknown(names: Sequence[str], source: str | PathLike[str]) -> InputError:
    shown = ", ".join(_shortened(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    example = f"{_shortened(names[0])}: malignant"
    return InputError(
        f"nothing tells whether these classes are benign or malignant: {shown}{more}",
        file=source,
        field="class names",
        remedy=f"say it with --classes '{{{example}, ...}}', each of them {', '.join(CLASSES)}",
    )


def _shortened(name: str) -> str:
    clean = "".join(letter if letter.isprintable() else "?" for letter in name)
    return clean if len(clean) <= 60 else clean[:57] + "..."
