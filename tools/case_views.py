"""A case that a classifier is asked about, and what it looks like to people and to the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco import AnnotationRecord
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patch_records import preview


@dataclass(frozen=True, eq=False)
class View:
    """What a case looks like.

    Parameters
    ----------
    shown:
        For people, float32 [H, W], 0 to 1: a whole file, or a patch or lesion in the
        contrast of its own grey values.
    pixels:
        For the network, float32 [h, w], 0 to 1.
    geometry:
        The way from the frame of ``shown`` to that of ``pixels``.
    """

    shown: NDArray[np.float32]
    pixels: NDArray[np.float32]
    geometry: Geometry
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ClassifierCase:
    """One case.

    Parameters
    ----------
    name:
        Of its pictures.
    path, file, image:
        The file that is read, the one that the pixels come from, and the image that it is in the input.
    patient:
        What cases of one patient share; it is never written.
    truth:
        Index of the true class; None when it is not known.
    lesions:
        Annotations in the frame of ``View.shown``, only of whole images.
    key:
        Changes when the case does; "" for a file that is not there.
    read:
        Reads the pixels; raises InputError or OSError.
    """

    id: int
    name: str
    path: Path
    file: str
    image: str
    patient: str
    truth: int | None
    key: str
    read: Callable[[], View]
    frame: tuple[float, float, float, float] | None = None
    lesions: tuple[AnnotationRecord, ...] = ()


@dataclass(frozen=True)
class Cases:
    """The cases of an input.

    Parameters
    ----------
    left_out:
        How many have a class that the network does not tell.
    skipped:
        Rows of ``file`` and ``reason``: files in the folders that are no images.
    """

    cases: list[ClassifierCase]
    left_out: int = 0
    skipped: Sequence[dict[str, str]] = ()


def in_contrast(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a part of a mammogram [H, W] in the contrast of its own grey values, float32, 0 to 1."""
    return preview(pixels).astype(np.float32) / np.float32(255)
