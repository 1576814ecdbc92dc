"""Which of the allocated bits of a stored value count, and as what (PS3.5, 8.1.1; PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from mammodet.datasets.dicom import number

_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)


@dataclass(frozen=True)
class Domain:
    """The stored value of each bit pattern.

    Parameters
    ----------
    values:
        int64 [256] or [65536].
    scale:
        The smallest and the largest value that the bits can hold.
    notes:
        Odd things seen.
    """

    values: NDArray[np.int64]
    scale: tuple[int, int]
    notes: tuple[str, ...]


def stored_bits(data: Dataset, allocated: int) -> int:
    """Return how many of the allocated bits the header says are used; all when it says none or too many."""
    bits = int(number(data, "BitsStored") or allocated)
    return bits if 1 < bits <= allocated else allocated


def stored_domain(data: Dataset, seen: NDArray[np.bool_]) -> Domain:
    """Return what the bit patterns of an image mean before any rescaling.

    Bits beyond those stored belong to old overlays, or repeat the sign, or lack it, or show the header wrong;
    ``seen``, bool [256] or [65536], the patterns that occur, tells which.
    """
    allocated = seen.size.bit_length() - 1
    patterns, notes = np.arange(seen.size), []
    stored = stored_bits(data, allocated)
    if number(data, "BitsStored") not in {None, stored}:
        notes.append(f"(0028,0101) Bits Stored is not 2 to {allocated}: taken as {allocated}")
    shift = int(number(data, "HighBit") or 0) - (stored - 1)
    used = patterns[seen]
    if 0 < shift <= allocated - stored and used.max() >= 2**stored and not (used & (2**shift - 1)).any():
        notes.append(f"(0028,0102) High Bit: values were stored {shift} bits higher and were moved down")
        patterns, used = patterns >> shift, used >> shift
    signed = number(data, "PixelRepresentation") == 1
    values = _signed(patterns, allocated) if signed else patterns
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    if low <= values[seen].min() and values[seen].max() <= high:
        return Domain(values, (low, high), tuple(notes))
    cut = _signed(patterns & (2**stored - 1), stored) if signed else patterns & (2**stored - 1)
    if used.max() < 2**stored:
        return Domain(cut, (low, high), tuple(notes))  # signs that were not repeated in the unused bits
    if _has_overlay_bits(data, stored):
        notes.append("an overlay in unused bits of the pixels was removed")
        return Domain(cut, (low, high), tuple(notes))
    needed = int(max(values[seen].max(), -values[seen].min() - 1)).bit_length() + signed
    notes.append(f"(0028,0101) Bits Stored says {stored}, yet values have {needed} bits: taken as they are")
    widest = (-(2 ** (needed - 1)), 2 ** (needed - 1) - 1) if signed else (0, 2**needed - 1)
    return Domain(values, widest, tuple(notes))


def _signed(patterns: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Read the low ``bits`` of patterns as two's complement."""
    return patterns - 2**bits * (patterns >= 2 ** (bits - 1))


def _has_overlay_bits(data: Dataset, stored: int) -> bool:
    """Tell whether an overlay lies in unused bits of the pixels, as was allowed until 2004 (PS3.3 C.9.2)."""
    for group in _OVERLAY_GROUPS:
        try:
            position = int(data[group, 0x0102].value)
        except Exception:  # there is no such overlay, or its position is no number
            continue
        if position >= stored and (group, 0x3000) not in data:
            return True
    return False
