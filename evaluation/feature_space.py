"""Cases as a network sees them, by their features: a map of all (t-SNE), and the nearest ones of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

Features = NDArray[np.floating[Any]]  # [N, D], a row per case

MIN_CASES = 10  # of a map: fewer lie anywhere
PERPLEXITY = 30.0  # about how many neighbours a case has, as van der Maaten and Hinton 2008 take it
_COMPONENTS = 50  # the same paper reduces features to so many principal components first
_CHUNK = 1024  # cases whose distances to all others are held at once


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """A map of cases: ``points`` float32 [N, 2], and the perplexity that it was made with."""

    points: NDArray[np.float32]
    perplexity: float


@dataclass(frozen=True)
class Neighbour:
    """One of the nearest cases: its index among the references, and the cosine distance, 0 to 2."""

    index: int
    distance: float


def feature_map(features: Features, seed: int = 0) -> FeatureMap | str:
    """Lay cases out in two dimensions by t-SNE, alike ones beside each other; or say why that cannot be.

    Features are standardised, reduced to 50 principal components, and handed to scikit-learn. The perplexity
    is 30, or a third of the other cases where there are fewer than 91. The same features and the same seed
    give the same map.
    """
    if len(features) < MIN_CASES:
        return f"{len(features)} cases are too few, a map needs {MIN_CASES}"
    if not np.isfinite(features).all():
        return "features are not finite"
    spread = standardised(features, features)
    if not spread.any():
        return "all cases have the same features"
    components = min(_COMPONENTS, len(spread) - 1, spread.shape[1])
    reduced = PCA(components, random_state=seed).fit_transform(spread)
    perplexity = min(PERPLEXITY, (len(spread) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return FeatureMap(points.astype(np.float32), perplexity)


def standardised(features: Features, reference: Features) -> NDArray[np.float64]:
    """Scale every feature to mean 0 and deviation 1 of the ``reference``; one that is constant there is 0.

    Both are float [., D]. Returns float64 of the shape of ``features``.
    """
    known = np.asarray(reference, dtype=np.float64)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    # The deviation of equal numbers may be off 0 by rounding.
    varies = deviation > 1e-9 * np.maximum(1e-30, np.abs(mean))
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    scaled: NDArray[np.float64] = (np.asarray(features, dtype=np.float64) - mean) * scale
    return scaled


def nearest(
    features: Features,
    patients: Sequence[str],
    references: Features,
    reference_patients: Sequence[str],
    count: int,
) -> list[list[Neighbour]]:
    """Return for each case its nearest references, never one of the same patient, nearest first.

    Distances are cosine distances of features that were standardised by the references. Of equal distances
    the earlier reference comes first. A case gets fewer than ``count`` where there are no more.

    Parameters
    ----------
    features, references:
        float [N, D] and [R, D].
    patients, reference_patients:
        Whose each of them is; a case that is itself a reference is left out with its patient.
    """
    if not len(references):
        return [[] for _ in patients]
    known = _directions(standardised(references, references))
    asked = _directions(standardised(features, references))
    names, own = np.unique(np.array(reference_patients), return_inverse=True)
    number = {name: index for index, name in enumerate(names.tolist())}
    found: list[list[Neighbour]] = []
    for start in range(0, len(asked), _CHUNK):
        distances = 1 - asked[start : start + _CHUNK] @ known.T  # [chunk, R]
        for row, patient in zip(distances, patients[start : start + _CHUNK], strict=True):
            row[own == number.get(patient, -1)] = np.inf
            order = np.argsort(row, kind="stable")[:count]
            found.append([Neighbour(int(one), float(row[one])) for one in order if np.isfinite(row[one])])
    return found


def _directions(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to length 1; a row of zeros stays, at distance 1 from all."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, length, out=np.zeros_like(features), where=length > 0)
