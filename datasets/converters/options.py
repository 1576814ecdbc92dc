"""What a person may choose when a data set is converted, and BI-RADS assessments as categories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mammodet.datasets.coco import BENIGN, CATEGORY_NAMES, MALIGNANT
from mammodet.datasets.errors import InputError

# BI-RADS 5th edition, from best to worst. 0, incomplete, tells nothing.
BIRADS = ("1", "2", "3", "4A", "4", "4B", "4C", "5", "6")
LEAVE_OUT = "leave-out"  # no lesion at all, such as a nipple
CLASSES: Mapping[str, int | None] = {
    "benign": BENIGN,
    "malignant": MALIGNANT,
    "ignore": None,  # a lesion of unknown truth
    LEAVE_OUT: None,
}


@dataclass(frozen=True)
class Options:
    """The choices of a conversion; every converter takes those that concern it.

    Parameters
    ----------
    benign_up_to:
        The highest BI-RADS of a benign finding, in data sets without pathology; by convention 3.
    malignant_from:
        The lowest BI-RADS of a malignant finding; by convention 4, which includes 4A. Findings between the
        two, and those without a BI-RADS, are kept with ``ignore: 1``.
    classes:
        What the class names of a generic format stand for: benign, malignant, ignore (a lesion of unknown
        truth, kept with ``ignore: 1``), or leave-out (no lesion, such as a nipple or a muscle).
    """

    benign_up_to: str = "3"
    malignant_from: str = "4"
    classes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self._benign >= self._malignant:
            remedy = "give for instance 3 and 4, or 2 and 4 to ignore BI-RADS 3"
            value = f"{self.benign_up_to}, {self.malignant_from}"
            raise InputError(
                "benign must end below malignant",
                field="benign_up_to, malignant_from",
                value=value,
                remedy=remedy,
            )
        for name, meaning in self.classes.items():
            if meaning not in CLASSES:
                remedy = f"choose one of {', '.join(CLASSES)}"
                raise InputError("unknown meaning", field=f"classes.{name}", value=meaning, remedy=remedy)

    @property
    def _benign(self) -> int:
        """Return the rank up to which findings are benign; 4 as an upper bound takes 4C in."""
        rank = _rank(self.benign_up_to, "benign_up_to")
        return BIRADS.index("4C") if BIRADS[rank] == "4" else rank

    @property
    def _malignant(self) -> int:
        """Return the rank from which findings are malignant; 4 as a lower bound takes 4A in."""
        rank = _rank(self.malignant_from, "malignant_from")
        return BIRADS.index("4A") if BIRADS[rank] == "4" else rank

    def category_of(self, birads: str | None) -> int | None:
        """Return benign, malignant, or None where this BI-RADS (``parse_birads``) decides neither."""
        if birads not in BIRADS or birads == "1":
            return None
        rank = BIRADS.index(birads)
        return BENIGN if rank <= self._benign else MALIGNANT if rank >= self._malignant else None

    def label_of(self, birads: str | None) -> str | None:
        """Return the label of an image of this BI-RADS: 1 is normal."""
        category = self.category_of(birads)
        return "normal" if birads == "1" else CATEGORY_NAMES.get(category or 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as plain values that JSON can hold."""
        return {**asdict(self), "classes": dict(self.classes)}


def parse_birads(text: str) -> str | None:
    """Return one of ``BIRADS`` or "0" from spellings such as ``BI-RADS 4``, ``4a``, ``Bi-Rads: 5``.

    Of several values, such as ``3$2``, the worst; None when there is none.
    """
    found = re.findall(r"(?<![\dA-Z.])([0-6])\s?([ABC]?)(?![\dA-Z.])", text.upper().replace("BI-RADS", " "))
    values = {digit + (letter if digit == "4" else "") for digit, letter in found}
    ranked = ("0", *BIRADS)
    return max(values, key=ranked.index) if values else None


def _rank(text: str, name: str) -> int:
    birads = parse_birads(str(text))
    if birads not in BIRADS:
        remedy = f"choose one of {', '.join(BIRADS)}"
        raise InputError("is no BI-RADS", field=name, value=text, remedy=remedy)
    return BIRADS.index(birads)
