"""Does a score of 0.7 mean malignant in 7 of 10? Reliability, its error, and maps that put it right.

A malignancy score orders cases; it is no probability. The maps are fitted on validation data and saved as
JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import read_json
from mammodet.datasets.errors import InputError

BINS = 10
KINDS = ("platt", "isotonic", "temperature")
_SCHEMA = "mammodet.calibration/1"
_EDGE = 1e-6  # scores of 0 and 1 have no logit


@dataclass(frozen=True)
class ReliabilityBin:
    """Cases with a score from ``low`` to below ``high`` (the last bin holds 1); None where there are none."""

    low: float
    high: float
    cases: int
    mean_score: float | None
    share_malignant: float | None


class Reliability:
    """N cases in ten bins of equal width, under many weights; scores 0 to 1."""

    def __init__(self, truth: ArrayLike, scores: ArrayLike) -> None:
        positive = np.asarray(truth, dtype=np.float64)
        values = np.asarray(scores, dtype=np.float64)
        places = np.minimum((values * BINS).astype(int), BINS - 1)
        member = np.zeros((len(values), BINS))
        member[np.arange(len(values)), places] = 1
        self._member = member
        self._gap = member * (values - positive)[:, None]
        self._scores, self._positive = values, positive

    def error(self, weights: ArrayLike) -> NDArray[np.float64]:
        """Return the expected calibration error [r] for weights [r, N]: the mean gap of the bins by cases.

        It is 0 to 1, and above 0 by chance alone in small samples; in resamples more so, which shifts its
        interval up.
        """
        table = np.asarray(weights)
        total = table.sum(axis=1).astype(np.float64)
        gaps = np.abs(table @ self._gap).sum(axis=1)
        return np.divide(gaps, total, out=np.full(len(total), np.nan), where=total > 0)

    def bins(self) -> list[ReliabilityBin]:
        """Return the reliability table."""
        cases = self._member.sum(axis=0)
        scores, hits = (values @ self._member for values in (self._scores, self._positive))
        return [
            ReliabilityBin(
                place / BINS,
                (place + 1) / BINS,
                int(count),
                float(scores[place] / count) if count else None,
                float(hits[place] / count) if count else None,
            )
            for place, count in enumerate(cases)
        ]


@dataclass(frozen=True)
class Calibrator:
    """A monotone map of scores to probabilities.

    ``kind`` platt: ``parameters`` slope and intercept on the logit of the score; temperature: the divisor of
    the logit; isotonic: scores, then as many probabilities, with straight lines between. ``cases`` and
    ``source`` tell what it was fitted on.
    """

    kind: str
    parameters: tuple[float, ...]
    cases: int
    source: str

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the probabilities [N] of scores [N], 0 to 1."""
        values = np.asarray(scores, dtype=np.float64)
        if self.kind == "isotonic":
            half = len(self.parameters) // 2
            return np.interp(values, self.parameters[:half], self.parameters[half:])
        odds = logit(np.clip(values, _EDGE, 1 - _EDGE))
        if self.kind == "temperature":
            return np.asarray(expit(odds / self.parameters[0]))
        slope, intercept = self.parameters
        return np.asarray(expit(slope * odds + intercept))

    def save(self, path: Path) -> None:
        """Write the map as JSON."""
        write_json(path, {"schema": _SCHEMA, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Calibrator:
        """Read what ``save`` wrote; raises InputError for anything else."""
        content: Any = read_json(path)
        try:
            if content["schema"] != _SCHEMA or content["kind"] not in KINDS:
                raise ValueError(f"schema {content['schema']}")
            parameters = tuple(float(number) for number in content["parameters"])
            sizes = {"platt": len(parameters) == 2, "temperature": len(parameters) == 1}
            whole = sizes.get(content["kind"], len(parameters) >= 2 and len(parameters) % 2 == 0)
            if not whole or not np.isfinite(parameters).all():
                raise ValueError("parameters")
            return cls(content["kind"], parameters, int(content["cases"]), str(content["source"]))
        except (KeyError, TypeError, ValueError) as error:
            remedy = "give a file that mammodet wrote"
            raise InputError(
                f"is no calibration of this version ({error})", file=path, remedy=remedy
            ) from None


def fit_calibrator(kind: str, truth: Sequence[bool], scores: Sequence[float], source: str) -> Calibrator:
    """Fit a map on validation cases.

    ``platt`` is a logistic regression without penalty (Platt 1999, on logits), ``isotonic`` scikit-learn's,
    ``temperature`` has the least log loss (Guo et al. 2017).

    Raises
    ------
    InputError
        Without cases of both classes.
    """
    if kind not in KINDS:
        raise ValueError(f"no such calibration: {kind!r}; known are {KINDS}")
    positive, values = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    if len(np.unique(positive)) < 2:
        raise InputError(
            f"a calibration needs both classes, there are {int(positive.sum())} positive of {len(positive)}",
            file=source,
            remedy="fit it on validation data with both",
        )
    odds = logit(np.clip(values, _EDGE, 1 - _EDGE))
    parameters: tuple[float, ...]
    if kind == "platt":
        model = LogisticRegression(C=np.inf).fit(odds[:, None], positive)
        parameters = (float(model.coef_[0, 0]), float(model.intercept_[0]))
    elif kind == "temperature":
        signs = np.where(positive, 1.0, -1.0)

        def loss(log_temperature: float) -> float:
            return float(np.logaddexp(0, -signs * odds / np.exp(log_temperature)).mean())

        parameters = (float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x)),)
    else:
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values, positive)
        parameters = (*map(float, fitted.X_thresholds_), *map(float, fitted.y_thresholds_))
    return Calibrator(kind, parameters, len(positive), source)
