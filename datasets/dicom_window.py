"""Windows and VOI LUTs of a DICOM image (PS3.3 C.11.2), applied to a table of values.

pydicom applies them to whole images in float64, stops at empty functions and at widths of 0, and does not
choose by explanation; a table of at most 65,536 values needs none of its speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

from mammodet.datasets.dicom import element, items, number, numbers, text
from mammodet.datasets.errors import InputError

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
_FUNCTIONS: Mapping[str, Function] = {
    "LINEAR": "LINEAR",
    "LINEAR_EXACT": "LINEAR_EXACT",
    "SIGMOID": "SIGMOID",
}


@dataclass(frozen=True)
class Window:
    """A window: values around ``center`` over ``width``, by one of the three functions of the standard."""

    center: float
    width: float
    function: Function
    explanation: str | None

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values windowed to 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        if self.function == "SIGMOID":
            power = np.clip(-4 * (values - self.center) / self.width, -500, 500)
            return 1 / (1 + np.exp(power))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        # The standard's LINEAR with width 1 is a step, which a tiny width gives as well.
        return np.clip((values - (self.center - 0.5)) / max(self.width - 1, 1e-6) + 0.5, 0, 1)


@dataclass(frozen=True)
class Table:
    """A VOI LUT: the values from ``first`` on are looked up, those outside take the nearest entry."""

    first: int
    entries: NDArray[np.float64]  # 0 to 1
    explanation: str | None

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values looked up, 0 to 1 (PS3.3 C.11.2.1.1)."""
        return self.entries[np.clip(np.rint(values) - self.first, 0, self.entries.size - 1).astype(np.int64)]


Voi = Window | Table


def apply_voi(
    data: Dataset, values: NDArray[np.float64], seen: NDArray[np.bool_], choice: str | int, path: Path
) -> tuple[NDArray[np.float64], tuple[float, float] | None, tuple[str, ...]]:
    """Apply the chosen window or VOI LUT to a table of values.

    Parameters
    ----------
    values, seen:
        float64 and bool [N]: values after the modality LUT, and which of them occur in the image.
    choice:
        ``Recipe.voi``.

    Returns
    -------
    The table [N], the full scale of the window (None when no window was applied), and notes.
    """
    if choice == "none":
        return values, None, ()
    notes: list[str] = []
    windows, tables = _windows(data, notes), _tables(data, notes)
    chosen = _choose(windows, tables, choice, path)
    if chosen is None:
        return values, None, tuple(notes)
    windowed = chosen.apply(values)
    before, after = values[seen], windowed[seen]
    if before.size and np.ptp(before) > 0 and np.ptp(after) < 1e-6:
        notes.append("the window leaves nothing to see: ignored")
        return values, None, tuple(notes)
    return windowed, (0.0, 1.0), tuple(notes)


def _choose(windows: list[Window], tables: list[Table], choice: str | int, path: Path) -> Voi | None:
    every: list[Voi] = [*tables, *windows] if choice == "lut" else [*windows, *tables]
    if choice in {"first", "lut"}:
        return every[0] if every else None
    if isinstance(choice, int) or choice.isdecimal():
        position = int(choice)
        if position < len(every):
            return every[position]
    for voi in every:
        if voi.explanation is not None and voi.explanation.upper() == str(choice).upper():
            return voi
    known = ", ".join(sorted({voi.explanation for voi in every if voi.explanation})) or "none with a name"
    raise InputError(
        f"the file has {len(windows)} windows and {len(tables)} VOI LUTs ({known}), and not this one",
        file=path,
        field="recipe.voi",
        value=choice,
        remedy="choose one of them, or first",
    )


def _windows(data: Dataset, notes: list[str]) -> list[Window]:
    centers, widths = numbers(data, "WindowCenter"), numbers(data, "WindowWidth")
    if len(centers) != len(widths):
        notes.append("(0028,1050) Window Center and (0028,1051) Window Width do not pair: surplus ignored")
    name = (text(data, "VOILUTFunction") or "LINEAR").upper()
    if name not in _FUNCTIONS:
        notes.append("(0028,1056) VOI LUT Function is unknown: taken as LINEAR")
    function = _FUNCTIONS.get(name, "LINEAR")
    explanations = _explanations(data)
    found = []
    for index, (center, width) in enumerate(zip(centers, widths, strict=False)):
        explanation = explanations[index] if index < len(explanations) else None
        if width < 1 and (function == "LINEAR" or width <= 0):
            notes.append(f"(0028,1051) Window Width is not allowed: window {index} ignored")
            continue
        found.append(Window(center, width, function, explanation))
    return found


def _explanations(data: Dataset) -> list[str]:
    value = element(data, "WindowCenterWidthExplanation")
    if value is None:
        return []
    several = value if isinstance(value, list | MultiValue) else [value]
    return [one.strip() if isinstance(one, str) else "" for one in several]


def _tables(data: Dataset, notes: list[str]) -> list[Table]:
    found = []
    for index, item in enumerate(items(data, "VOILUTSequence")):
        table = _table(item, signed=number(data, "PixelRepresentation") == 1)
        if table is None:
            notes.append(f"(0028,3010) VOI LUT Sequence item {index} is broken: ignored")
        else:
            found.append(table)
    return found


def _table(item: Dataset, *, signed: bool) -> Table | None:
    descriptor = numbers(item, "LUTDescriptor")
    content = element(item, "LUTData")
    if len(descriptor) != 3 or content is None:
        return None
    length, first, bits = (int(one) for one in descriptor)
    length = length or 65536  # PS3.3 C.11.2.1.1: 0 stands for 65,536
    if signed and first >= 32768:
        first -= 65536
    if isinstance(content, bytes):
        entries = np.frombuffer(content, "<u1" if len(content) < 2 * length else "<u2")
    else:
        entries = np.asarray(content, dtype=np.int64)
    if entries.size < length or not 8 <= bits <= 16:
        return None
    scaled = entries[:length].astype(np.float64) / (2**bits - 1)
    return Table(first, np.clip(scaled, 0, 1), text(item, "LUTExplanation"))
