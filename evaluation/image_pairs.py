"""Predictions and lesions of the same image, pair by pair, for whatever compares them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_PAIRS_AT_ONCE = 500_000  # bounds the memory of a comparison at about 100 MB


def pairs_of_one_image(
    prediction_image: NDArray[np.intp], lesion_image: NDArray[np.intp], at_once: int = _PAIRS_AT_ONCE
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the places of a prediction and a lesion, [P] each, of every pair on one image, some at a time.

    Parameters
    ----------
    prediction_image, lesion_image:
        The place of the image of each, [N] and [L].
    at_once:
        About how many pairs are yielded together; those of one prediction are never split.
    """
    order = np.argsort(lesion_image, kind="stable")
    first = np.searchsorted(lesion_image[order], prediction_image, "left")
    number = np.searchsorted(lesion_image[order], prediction_image, "right") - first  # [N] lesions to compare
    ends = np.cumsum(number)
    start = 0
    while start < len(number):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + at_once, "right")))
        some = number[start:stop]
        prediction = np.repeat(np.arange(start, stop), some)
        within = np.arange(len(prediction)) - np.repeat(np.cumsum(some) - some, some)
        yield prediction, order[first[prediction] + within]
        start = stop
