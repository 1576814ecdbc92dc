"""What was found out about one image file, as a value that can be kept and compared."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.fingerprint import Sketch, sketch
from mammodet.datasets.problem import Problem


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found out about one file; everything but the thumbnail is plain values that JSON can hold.

    Parameters
    ----------
    facts:
        Header facts: modality, sop_class, presentation_intent, photometric, transfer_syntax, laterality,
        view, patient_id and study_id (hashed), spacing sources, manufacturer, implant, bit_depth and so on;
        only those that are known. Never a name, a birth date or an accession number.
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
        Perceptual hash of the frame and the breast as hex digits, for near duplicates; None when unreadable.
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

    def to_record(self) -> dict[str, Any]:
        """Return all but the path as values that JSON can hold; the thumbnail becomes a PNG in base64."""
        record = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "path"}
        record["problems"] = [asdict(one) for one in self.problems]
        if self.thumbnail is not None:
            coded = cv2.imencode(".png", self.thumbnail)[1].tobytes()
            record["thumbnail"] = base64.b64encode(coded).decode()
        return record

    @classmethod
    def from_record(cls, path: Path, record: Mapping[str, Any]) -> Inspection:
        """Return the inspection that ``to_record`` recorded."""
        values = dict(record)
        values["problems"] = tuple(Problem(**one) for one in values["problems"])
        values["breast"] = values["breast"] and tuple(values["breast"])
        if values["thumbnail"] is not None:
            coded = np.frombuffer(base64.b64decode(values["thumbnail"]), dtype=np.uint8)
            values["thumbnail"] = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
        return cls(path=path, **values)

    def sketch(self) -> Sketch | None:
        """Return the detail of the picture that ``fingerprint.copies`` compares; None without a picture."""
        if self.thumbnail is None or self.difference_hash is None or not self.width:
            return None
        if self.breast is None:
            return sketch(self.thumbnail, None)
        x, y, wide, high = self.breast
        shares = (x / self.width, y / self.height, wide / self.width, high / self.height)
        return sketch(self.thumbnail, shares)
