"""Free-response ROC: sensitivity by lesion against false positives per image, breast or patient.

Every threshold is kept, the lowest included, and predictions of equal score stand or fall together. All
functions take ``image_weights``, float64 [I] or [R, I]: how often each image counts, such as how often its
patient was drawn in R bootstrap resamples. Lesions, hits, false positives and denominators are all weighted,
nothing is matched again, and the memory does not grow with R. An image has one weight, so weights by patient
are the same for all images of a patient; a breast or patient counts with the mean weight of its images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.errors import InputError
from mammodet.evaluation.froc_matching import FrocMatches
from mammodet.evaluation.image_weights import (
    Floats,
    Weights,
    divided,
    group_means,
    row_chunks,
    running_sums,
    weight_rows,
)

Denominator = Literal["all", "positive", "normal", "breast", "patient"]
Interpolation = Literal["step", "linear"]

DENOMINATORS: dict[str, str] = {
    "all": "image",
    "positive": "positive image",
    "normal": "normal image",
    "breast": "breast",
    "patient": "patient",
}
POINTS = (0.125, 0.25, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per unit
CPM_POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # competition performance metric, as in LUNA16

_ROUNDING = 1e-9  # relative: 0.3 x 10 false positives is 3 of them


@dataclass(frozen=True)
class FrocCurve:
    """The operating points from the highest threshold, infinite and without any prediction, to the lowest.

    A prediction counts when its score is at least the threshold. With weights [R, I], ``false_positives`` and
    ``sensitivity`` are [R, T]; NaN where the denominator (``units``) or the lesions weigh nothing.
    """

    thresholds: Floats  # [T], falling
    false_positives: Floats  # [T] or [R, T] per unit
    sensitivity: Floats  # [T] or [R, T]


def froc_curve(
    matches: FrocMatches,
    *,
    denominator: Denominator = "all",
    count_duplicates: bool = False,
    image_weights: ArrayLike | None = None,
) -> FrocCurve:
    """Return the whole curve.

    Parameters
    ----------
    denominator:
        ``all``: false positives per image; ``positive`` and ``normal``: those on positive (normal) images
        per positive (normal) image; ``breast`` and ``patient``: all of them per breast (patient).
    count_duplicates:
        Whether a double hit is a false positive.
    image_weights:
        See the module. With [R, I] the result holds R x T numbers; for intervals ``sensitivity_at`` takes
        less.
    """
    scored = _Scored.of(matches, denominator, count_duplicates)
    weights, single = weight_rows(image_weights, matches.images)
    thresholds = scored.thresholds
    fp, sensitivity = scored.points(weights, thresholds)
    return FrocCurve(thresholds, fp[0] if single else fp, sensitivity[0] if single else sensitivity)


def sensitivity_at(
    matches: FrocMatches,
    points: Sequence[float] = POINTS,
    *,
    denominator: Denominator = "all",
    interpolation: Interpolation = "step",
    count_duplicates: bool = False,
    image_weights: ArrayLike | None = None,
) -> Floats:
    """Return the sensitivity at given numbers of false positives per unit, [P] or [R, P].

    Parameters
    ----------
    interpolation:
        ``step``: the highest sensitivity of an operating point with at most so many false positives: one that
        the detector really reaches. ``linear``: between the operating points on both sides, as LUNA16,
        CAMELYON16 and MONAI do; beyond the last point the sensitivity stays in both.

    Returns
    -------
    NDArray[np.float64]
        NaN where there is no lesion or no unit.
    """
    at = np.asarray(points, dtype=np.float64)
    scored = _Scored.of(matches, denominator, count_duplicates)
    weights, single = weight_rows(image_weights, matches.images)
    if interpolation not in get_args(Interpolation):
        raise ValueError(f"interpolation must be step or linear: {interpolation}")
    compute = scored.steps if interpolation == "step" else scored.between
    values = compute(weights, at)
    return values[0] if single else values


def mean_sensitivity(
    matches: FrocMatches,
    points: Sequence[float] = CPM_POINTS,
    *,
    denominator: Denominator = "all",
    interpolation: Interpolation = "step",
    count_duplicates: bool = False,
    image_weights: ArrayLike | None = None,
) -> Floats:
    """Return the mean of ``sensitivity_at`` over ``points``, [] or [R]; by default CPM, without the 0.3."""
    return sensitivity_at(
        matches,
        points,
        denominator=denominator,
        interpolation=interpolation,
        count_duplicates=count_duplicates,
        image_weights=image_weights,
    ).mean(axis=-1)


def resampled_sensitivity(
    matches: FrocMatches, points: Sequence[float], denominator: Denominator = "all"
) -> Callable[[Weights], Floats]:
    """Return ``sensitivity_at`` of weights [r, I] as a function that gives [r, P + 1]: the last one is the
    sensitivity of all predictions, whatever their false positives. What does not depend on weights is done
    once.
    """
    at = np.asarray(points, dtype=np.float64)
    scored = _Scored.of(matches, denominator, count_duplicates=False)

    def values(weights: Weights) -> Floats:
        return np.concatenate([scored.steps(weights, at), scored.most(weights)[:, None]], axis=1)

    return values


def units(matches: FrocMatches, denominator: Denominator, image_weights: ArrayLike | None = None) -> Floats:
    """Return the number of images, breasts or patients that the false positives are divided by, [] or [R]."""
    weights, single = weight_rows(image_weights, matches.images)
    total = _units(weights, matches, denominator)
    return total[0] if single else total


def _units(weights: Weights, matches: FrocMatches, denominator: Denominator) -> Floats:
    if denominator in ("breast", "patient"):
        group = matches.breast if denominator == "breast" else matches.patient
        return group_means(weights, group).sum(axis=1)
    counted = _images_of(matches, denominator).astype(np.float64)
    return np.asarray(weights @ counted, dtype=np.float64)


def _images_of(matches: FrocMatches, denominator: Denominator) -> NDArray[np.bool_]:
    """Return the images whose false positives count, [I]."""
    if denominator not in get_args(Denominator):
        raise InputError(
            "is no denominator",
            field="froc_denominator",
            value=denominator,
            remedy=f"choose from {', '.join(DENOMINATORS)}",
        )
    if denominator == "positive":
        return matches.is_positive
    return matches.is_normal if denominator == "normal" else np.ones(matches.images, dtype=bool)


@dataclass(frozen=True)
class _Scored:
    """False positives and found lesions by falling score; ``end`` closes each run of equal scores."""

    fp_score: Floats  # [F]
    fp_image: NDArray[np.int64]  # [F]
    lesion_score: Floats  # [H], found lesions only
    lesion_image: NDArray[np.int64]  # [H]
    every_lesion: Floats  # [I] lesions of each image
    matches: FrocMatches
    denominator: Denominator

    @classmethod
    def of(cls, matches: FrocMatches, denominator: Denominator, count_duplicates: bool) -> _Scored:
        wrong = matches.is_false_positive | (matches.is_duplicate & count_duplicates)
        wrong &= _images_of(matches, denominator)[matches.prediction_image]
        places = matches.by_score[wrong[matches.by_score]]
        found = np.flatnonzero(matches.lesion_score > -np.inf)
        found = found[np.argsort(-matches.lesion_score[found], kind="stable")]
        return cls(
            matches.prediction_score[places],
            matches.prediction_image[places],
            matches.lesion_score[found],
            matches.lesion_image[found],
            np.bincount(matches.lesion_image, minlength=matches.images).astype(np.float64),
            matches,
            denominator,
        )

    @property
    def thresholds(self) -> Floats:
        scores = np.unique(np.concatenate([self.fp_score, self.lesion_score]))
        return np.concatenate([[np.inf], scores[::-1]])

    def units(self, weights: Weights) -> Floats:
        return _units(weights, self.matches, self.denominator)

    def points(self, weights: Weights, thresholds: Floats) -> tuple[Floats, Floats]:
        """Return false positives per unit and sensitivity at every threshold, [R, T] both."""
        fp, hits = (
            running_sums(weights, image)[:, np.searchsorted(-score, -thresholds, "right")]
            for score, image in ((self.fp_score, self.fp_image), (self.lesion_score, self.lesion_image))
        )
        return divided(fp, self.units(weights)), divided(hits, weights @ self.every_lesion)

    def most(self, weights: Weights) -> Floats:
        """Return the sensitivity without any threshold, [R]."""
        found = np.bincount(self.lesion_image, minlength=self.matches.images).astype(np.float64)
        return divided((weights @ found)[:, None], weights @ self.every_lesion)[:, 0]

    def between(self, weights: Weights, at: Floats) -> Floats:
        """Interpolate linearly between the operating points, [R, P]."""
        values = np.empty((len(weights), len(at)))
        thresholds = self.thresholds
        for rows in row_chunks(len(weights), len(self.fp_score) + len(self.lesion_score) + len(weights.T)):
            fp, sensitivity = self.points(weights[rows], thresholds)
            for row, x, y in zip(range(*rows.indices(len(weights))), fp, sensitivity, strict=True):
                values[row] = np.interp(at, x, y) if np.isfinite(x).all() else np.nan
        return values

    def steps(self, weights: Weights, at: Floats) -> Floats:
        """Return the highest sensitivity with at most so many false positives per unit, [R, P]."""
        number = self.units(weights)  # [R]
        # A trillionth of a false positive too many comes from rounding, not from the detector.
        allowed = at * number[:, None] * (1 + _ROUNDING)  # [R, P]
        # Few of the false positives are needed: those up to the last point, with room for uneven weights.
        needed = int(1.25 * at.max(initial=0.0) * float(units(self.matches, self.denominator))) + 1000
        ends = np.flatnonzero(np.append(np.diff(self.fp_score) != 0, True)[: len(self.fp_score)]) + 1
        # The threshold stops above the first run that would be too many; without one all lesions count.
        above = np.searchsorted(-self.lesion_score, -self.fp_score[ends - 1], "left")
        above = np.append(above, len(self.lesion_score))  # [runs + 1] lesions found until then
        found = np.empty(allowed.shape)
        for rows in row_chunks(
            len(weights), min(needed, len(self.fp_score)) + len(self.lesion_score) + len(weights.T)
        ):
            kept = self._allowed(weights[rows], allowed[rows], needed)
            hits = running_sums(weights[rows], self.lesion_image)
            found[rows] = np.take_along_axis(hits, above[np.searchsorted(ends, kept, "right")], axis=1)
        values = divided(found, weights @ self.every_lesion)
        values[number == 0] = np.nan
        return values

    def _allowed(self, weights: Weights, allowed: Floats, needed: int) -> NDArray[np.int64]:
        """Return how many false positives, from the highest score, weigh at most ``allowed``, [R, P]."""
        sums = running_sums(weights, self.fp_image[:needed])
        limits = np.asarray(allowed)
        if sums.dtype.kind == "i":  # the same type, else searchsorted copies every row
            limits = np.minimum(np.floor(allowed), np.iinfo(sums.dtype).max).astype(sums.dtype)
        kept = np.stack([np.searchsorted(*row, "right") for row in zip(sums, limits, strict=True)])
        short = np.flatnonzero((kept == sums.shape[1]).any(axis=1))
        if needed < len(self.fp_score) and len(short):
            kept[short] = self._allowed(weights[short], allowed[short], 4 * needed) + 1
        return kept - 1  # the first sum is that of none
