"""What a careful person sees in one image file: its facts, its thumbnail, and what is odd about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """One odd thing about a file or a group of files.

    Parameters
    ----------
    kind:
        A short constant name that programs can count by, such as "air-not-dark".
    severity:
        "error": the file cannot be used as it is; "warning": it can, and results may be wrong; "note": good to
        know.
    text:
        One line for people: what was found and what to do.
    """

    kind: str
    severity: Severity
    text: str


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found out about one file; everything but the thumbnail is plain values that JSON can hold.

    Parameters
    ----------
    facts:
        Header facts: modality, sop_class, presentation_intent, photometric, transfer_syntax, laterality, view,
        patient_id and study_id (hashed), spacing sources, manufacturer, implant, bit_depth and so on; only
        those that are known. Never a name, a birth date or an accession number.
    problems:
        What is odd about this file alone.
    width, height:
        Of the file's frame; 0 when unreadable.
    breast:
        (x, y, width, height) around the breast in the file's frame, or None.
    chest_side:
        On which side of the image the chest wall lies, by the pixels: "L", "R" or None when unsure.
    pixel_digest:
        SHA-256 over size and standardised grey values; equal for two files with the same picture. None when
        unreadable.
    difference_hash:
        Perceptual hash of the breast crop as hex digits, for near duplicates; None when unreadable.
    thumbnail:
        uint8 [h, w], longer side at most 256, the whole frame, air dark; None when unreadable.
    """

    path: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    width: int = 0
    height: int = 0
    breast: tuple[int, int, int, int] | None = None
    chest_side: Literal["L", "R"] | None = None
    pixel_digest: str | None = None
    difference_hash: str | None = None
    thumbnail: NDArray[np.uint8] | None = None
