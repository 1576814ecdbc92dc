"""mammodet explain: look inside a trained detector or classifier, with class activation maps.

    mammodet explain exams/ --model detector.safetensors --out inside                    # files and folders
    mammodet explain test.json --model detector.safetensors --out inside --ids '[3, 17]' # two images of a set
    mammodet explain test.json --model classifier.safetensors --out inside
    mammodet explain patches.sqlite --model classifier.safetensors --out inside --split test --limit 500

What OUT gets is told in tools/explain_detector.py and tools/explain_classifier.py. A run that was killed goes
on where it was when it is started again with the same OUT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from mammodet.datasets.errors import InputError
from mammodet.networks.tensor_file import stated_format
from mammodet.tools.command import run
from mammodet.tools.explain_classifier import explain_classifier
from mammodet.tools.explain_detector import explain_detector

_REMEDY = "give the model.safetensors of a detector or classifier that mammodet trained"
_DETECTOR = ("category", "score_threshold", "max_boxes", "images", "feature_maps")
_CLASSIFIER = ("split", "limit", "reference_split", "features", "examples", "neighbours")


@dataclass(frozen=True)
class Arguments:
    """Look inside a trained detector or classifier, with class activation maps and features of cases.

    Args:
        paths: image files, folders (searched with their sub-folders), or one COCO file; of a classifier of
            patches its patch store.
        model: model.safetensors written by mammodet, of a detector or of a classifier.
        out: folder for the results.
        method: eigencam shows what stands out, whatever the class, hirescam what each place adds to the score
            of a class, gradcam every place that has what raises this score on the whole; null takes eigencam
            for a detector and gradcam for a classifier.
        category: detector; boxes of which class to explain.
        score_threshold: detector; boxes below it are not explained and not drawn; null takes the model's own
            (published, 0.3).
        max_boxes: detector; most boxes explained on one image, the surest ones.
        images: detector; all, or only those with a box to explain.
        feature_maps: detector; write the feature maps too.
        split: classifier; only cases of this split, of a patch store or a COCO file; null takes all.
        limit: classifier; explain so many cases, evenly spread over the input; null takes all.
        features: classifier; lay the cases out by their features (t-SNE), and find the nearest neighbours of
            the worst errors.
        reference_split: classifier; look for neighbours in this split, such as train; null takes the other
            cases explained.
        examples: classifier; how many of the worst and of the best cases the sheets show.
        neighbours: classifier; how many nearest neighbours an error is shown with.
        ids: only these images of a COCO file, or patches of a store; null takes all.
        allow_for_processing: take raw FOR PROCESSING images too.
        allow_secondary_capture: take scans of films that name no body part too.
        device: cpu, cuda, mps, or auto.
    """

    paths: list[str]
    model: str
    out: str
    method: Literal["eigencam", "hirescam", "gradcam"] | None = None
    category: Literal["all", "benign", "malignant"] = "all"
    score_threshold: float | None = None
    max_boxes: int = 10
    images: Literal["all", "found"] = "all"
    feature_maps: bool = True
    split: str | None = None
    limit: int | None = None
    features: bool = True
    reference_split: str | None = None
    examples: int = 8
    neighbours: int = 5
    ids: list[int] | None = None
    allow_for_processing: bool = False
    allow_secondary_capture: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise InputError("must be 0 to 1", field="--score-threshold", value=self.score_threshold)
        for name in ("max_boxes", "limit", "examples", "neighbours"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError("must be 1 or more", field=f"--{name.replace('_', '-')}", value=value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet explain`` and return its exit code."""
    return run(Arguments, explain, argv, prog="mammodet explain", positional=("paths",))


def explain(arguments: Arguments) -> int:
    """Explain with the model that is given, whichever kind it is, and return the exit code."""
    stated = stated_format(Path(arguments.model), _REMEDY) or ""
    if stated.startswith("mammodet.classifier/"):
        refuse(arguments, _DETECTOR, "a detector", "a classifier")
        return explain_classifier(arguments)
    if stated.startswith("mammodet.detector/"):
        refuse(arguments, _CLASSIFIER, "a classifier", "a detector")
        return explain_detector(arguments)
    raise InputError(
        "is no model of a known kind", file=arguments.model, field="format", value=stated, remedy=_REMEDY
    )


def refuse(arguments: Arguments, options: Sequence[str], theirs: str, given: str) -> None:
    """Raise InputError when one of ``options``, which belong to another kind of model, is not its default."""
    default = {field.name: field.default for field in fields(Arguments)}
    for name in options:
        value = getattr(arguments, name)
        if value != default[name]:
            raise InputError(
                f"belongs to {theirs}, and the model is {given}",
                field=f"--{name.replace('_', '-')}",
                value=value,
                remedy="leave it out",
            )


if __name__ == "__main__":
    raise SystemExit(main())
