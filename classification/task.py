"""What a classifier tells apart: on which pixels, and what labels of the data its outputs stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mammodet.classification.classifier import check_choice, check_outputs
from mammodet.datasets.errors import InputError

Source = Literal["images", "patches", "lesions"]
SOURCES: tuple[Source, ...] = ("images", "patches", "lesions")


def _benign_malignant() -> dict[str, tuple[str, ...]]:
    return {"benign": ("benign",), "malignant": ("malignant",)}


@dataclass(frozen=True)
class Task:
    """What a classifier tells apart.

    Args:
        source: what it looks at: images (whole mammograms), patches (of a patch store) or lesions (malignant
            boxes, cut out of mammograms).
        classes: name of each output, and the labels of the data that it stands for, such as
            {normal: [normal], suspicious: [benign, malignant]}; what has another label is left out.
        positive: output whose probability is the score; null means the last one.
        subtype: of lesions, the key of annotations[].subtype that holds their label, such as pathotype or er.
        margin: of lesions, pixels that are shown around a box, as a share of its longer side.
        smallest: of lesions, pixels (after the recipe) that a cut-out has at least on each side.
    """

    source: Source = "images"
    classes: dict[str, tuple[str, ...]] = field(default_factory=_benign_malignant)
    positive: str | None = None
    subtype: str | None = None
    margin: float = 0.25
    smallest: int = 64

    def __post_init__(self) -> None:
        check_choice("source", self.source, SOURCES, "task")
        plain = {
            name: (labels,) if isinstance(labels, str) else labels for name, labels in self.classes.items()
        }
        object.__setattr__(self, "classes", {name: tuple(map(str, labels)) for name, labels in plain.items()})
        check_outputs(self.names, None, "task")
        labels = [label for own in self.classes.values() for label in own]
        if len(set(labels)) < len(labels) or not all(self.classes.values()):
            raise InputError(
                "every output needs a label, and a label belongs to one output",
                field="task.classes",
                value=self.classes,
                remedy="give such as {benign: [benign], malignant: [malignant]}",
            )
        if self.positive is not None:
            check_choice("positive", self.positive, self.names, "task")
        if (self.source == "lesions") != (self.subtype is not None):
            raise InputError(
                "belongs to lesions" if self.subtype else "is missing",
                field="task.subtype",
                value=self.subtype,
                remedy="give the key of annotations[].subtype, such as pathotype"
                if self.source == "lesions"
                else "leave it out, or give --task.source lesions",
            )
        if not 0 <= self.margin <= 10:
            raise InputError("must be 0 to 10", field="task.margin", value=self.margin)
        if not 1 <= self.smallest <= 4096:
            raise InputError("must be 1 to 4096", field="task.smallest", value=self.smallest)

    @property
    def names(self) -> tuple[str, ...]:
        """The outputs, in their order."""
        return tuple(self.classes)

    @property
    def score_class(self) -> str:
        """The output whose probability is the score."""
        return self.names[-1] if self.positive is None else self.positive

    def index(self, label: str | None) -> int | None:
        """Return the output that a label of the data belongs to; None for one that is left out."""
        for index, labels in enumerate(self.classes.values()):
            if label in labels:
                return index
        return None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Task:
        """Return the task that ``dataclasses.asdict`` made a dict of, also when it went through JSON."""
        return cls(**{**content, "classes": {name: tuple(own) for name, own in content["classes"].items()}})
