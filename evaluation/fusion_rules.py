"""Other ways than the published one to fuse the boxes of the views of a breast into one malignancy score.

All of them start from the highest score of a malignant box on each view, over all predictions as given: no
score threshold and no suppression; or from the score of the view, where a model gives no boxes. A patient
has the score of the worse breast. The published rule is in ``fusion``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import MALIGNANT, Coco, read_json
from mammodet.datasets.errors import InputError
from mammodet.evaluation.fusion import breast_name
from mammodet.evaluation.image_scores import ImageScores

FEATURES = ("highest malignant", "mean malignant", "highest benign", "mean benign")
_SCHEMA = "mammodet.fusion/1"


@dataclass(frozen=True)
class ViewScores:
    """The highest score of a malignant and of a benign box on one image; 0 without one."""

    malignant: float = 0.0
    benign: float = 0.0


def _noisy_or(views: Sequence[ViewScores]) -> float:
    return 1.0 - math.prod(1.0 - view.malignant for view in views)


def _mean(views: Sequence[ViewScores]) -> float:
    return float(np.mean([view.malignant for view in views]))


RULES: Mapping[str, Callable[[Sequence[ViewScores]], float]] = {
    "max": lambda views: max(view.malignant for view in views),
    "mean": _mean,
    "noisy-or": _noisy_or,
}


@dataclass(frozen=True)
class LogisticRule:
    """A logistic regression of breast truth on ``FEATURES`` of its views, fitted on other data.

    ``coefficients`` [4] are in the order of ``FEATURES``; ``breasts`` and ``malignant`` count what it was
    fitted on, ``source`` names it.
    """

    coefficients: tuple[float, ...]
    intercept: float
    breasts: int
    malignant: int
    source: str

    def __call__(self, views: Sequence[ViewScores]) -> float:
        """Return the score of one breast, 0 to 1."""
        total = self.intercept + float(np.dot(self.coefficients, _features(views)))
        return 1 / (1 + math.exp(-total)) if total > -700 else 0.0

    def save(self, path: Path) -> None:
        """Write the rule as JSON."""
        write_json(path, {"schema": _SCHEMA, "features": list(FEATURES), **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> LogisticRule:
        """Read what ``save`` wrote; raises InputError for anything else."""
        content = read_json(path)
        try:
            if content["schema"] != _SCHEMA or tuple(content["features"]) != FEATURES:
                raise ValueError(f"schema {content['schema']}")
            coefficients = tuple(float(number) for number in content["coefficients"])
            rule = cls(
                coefficients,
                float(content["intercept"]),
                int(content["breasts"]),
                int(content["malignant"]),
                str(content["source"]),
            )
            if len(coefficients) != len(FEATURES) or not np.isfinite([*coefficients, rule.intercept]).all():
                raise ValueError("coefficients")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"is no fitted fusion rule of this version ({error})",
                file=path,
                remedy="fit one with --fit-fusion on validation data",
            ) from None
        return rule


def fit_logistic(
    views: Mapping[str, Sequence[ViewScores]], truth: Mapping[str, bool], source: str
) -> LogisticRule:
    """Fit the logistic rule with scikit-learn (L2, C = 1) on breasts of known ``truth``.

    Raises
    ------
    InputError
        Without breasts of both classes.
    """
    labels = [bool(truth[breast]) for breast in truth]
    if len(set(labels)) < 2:
        raise InputError(
            f"a fusion rule needs malignant and other breasts, there are {sum(labels)} and "
            f"{len(labels) - sum(labels)}",
            file=source,
            remedy="fit it on validation data with both",
        )
    model = LogisticRegression().fit([_features(views[breast]) for breast in truth], labels)
    coefficients = tuple(float(number) for number in model.coef_[0])
    return LogisticRule(coefficients, float(model.intercept_[0]), len(labels), sum(labels), source)


def view_scores(coco: Coco, results: Iterable[Mapping[str, Any]] | ImageScores) -> dict[int, ViewScores]:
    """Return the highest scores of every image, or its own score, by id."""
    if isinstance(results, ImageScores):
        return {number: ViewScores(malignant=score) for number, score in results.of_image.items()}
    malignant: defaultdict[int, float] = defaultdict(float)
    benign: defaultdict[int, float] = defaultdict(float)
    for one in results:
        kept = malignant if one["category_id"] == MALIGNANT else benign
        kept[one["image_id"]] = max(kept[one["image_id"]], float(one["score"]))
    return {image["id"]: ViewScores(malignant[image["id"]], benign[image["id"]]) for image in coco.images}


def views_of_breasts(coco: Coco, scores: Mapping[int, ViewScores]) -> dict[str, list[ViewScores]]:
    """Return the scores of the views of every breast, by its name."""
    views: defaultdict[str, list[ViewScores]] = defaultdict(list)
    for image in coco.images:
        views[breast_name(image)].append(scores[image["id"]])
    return dict(views)


def _features(views: Sequence[ViewScores]) -> list[float]:
    malignant, benign = ([getattr(view, name) for view in views] for name in ("malignant", "benign"))
    return [max(malignant), float(np.mean(malignant)), max(benign), float(np.mean(benign))]
