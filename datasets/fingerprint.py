"""Which pictures are the same, exactly or nearly: a digest of the pixels and a perceptual hash.

A digest finds copies in another format, a hash finds copies that were compressed, resized, brightened, padded
or mirrored. Both need the pixels only, never the header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.errors import InputError

# Hashes of one picture differ little in one of their two parts: in at most MOST_BITS bits, and in at most a
# sixth of the bits that are set in either, since a frame that is mostly air has few. Measured on 118 films of
# mini-MIAS (59 patients, both sides), four views of a screening exam, one DICOM file and 100 phantoms: no two
# different pictures, upright or mirrored, come this near (the nearest pair takes a quarter). JPEG copies of
# quality 90 are at most 8 bits apart, halved ones 1, mirrored ones 0, and mirrored, halved, brightened (gamma
# 0.8) ones in JPEG 12: all are found. Of 123 real films brightened so that the film's fog changes, 113 are
# found; padded by a tenth of the frame 112; with a third of the grey scale clipped away 32.
MOST_BITS = 20
SHARE = 1 / 6

# Hashes this near are looked at in detail; different pictures of mini-MIAS come as near in 8 of 10,000 pairs.
_CANDIDATE_BITS, _CANDIDATE_SHARE = 64, 1 / 3
# Likeness of copies and of padded copies; different pictures reach 0.84, mirrored 0.91 (``likeness``).
_COPY, _PADDED_COPY = 0.94, 0.85

_ROWS, _COLUMNS = 16, 16
_BITS = _ROWS * _COLUMNS
_DIGITS = _BITS // 4
_LEVELS = 2**18  # four times finer than 16 bits, and coarse enough that rounding of float32 does not show
_DIGEST_ROWS = 512
_BLOCK = 64
_DETAIL = 48
_FEWEST_BITS = 24

Sketch = NDArray[np.float16]


def pixel_digest(pixels: NDArray[Any]) -> str | None:
    """Return the SHA-256 of a picture as 64 hex digits, the same for every lossless copy of it.

    Hashed are the size and, for each pixel, the rank of its grey value among those of the picture. Ranks do
    not change when values are rescaled, stored with more bits, or inverted and inverted back, so that a DICOM
    file and the 16-bit PNG made of it agree. A copy that lost grey values (8 bits, JPEG, a narrow window) has
    another digest; ``difference_hash`` finds it.

    Parameters
    ----------
    pixels:
        float32 [H, W] in 0 to 1 as ``read_mammogram`` gives them, or stored values uint8 or uint16 [H, W].

    Returns
    -------
    None when all pixels are the same: such pictures say nothing of each other.
    """
    if pixels.ndim != 2 or not pixels.size:
        raise InputError("pixels must be [H, W]", field="pixels", value=pixels.shape)
    levels = pixels
    if np.issubdtype(pixels.dtype, np.floating):
        levels = np.rint(np.clip(pixels, 0, 1) * np.float32(_LEVELS - 1)).astype(np.int32)
    present = np.bincount(levels.ravel()) > 0
    if present.sum() < 2:
        return None
    ranks = (np.cumsum(present) - 1).astype("<u2" if present.sum() <= 65536 else "<u4")
    digest = hashlib.sha256(np.array(pixels.shape, dtype="<u4").tobytes())
    # In blocks, because the ranks of a whole picture take the memory of its pixels again.
    for row in range(0, len(levels), _DIGEST_ROWS):
        digest.update(ranks[levels[row : row + _DIGEST_ROWS]].tobytes())
    return digest.hexdigest()


def difference_hash(pixels: NDArray[np.float32], breast: tuple[int, int, int, int] | None) -> str:
    """Return a perceptual hash of 512 bits as 128 hex digits: 256 of the whole frame, 256 of the breast.

    Each part is a difference hash (Krawetz 2013): the region is averaged to 17 x 16 cells, and a bit is 1
    where a cell is brighter than the one above it. Differences run down, not across, so that a mirrored
    picture has the mirrored bits. The frame's part does not depend on where the breast was found; the
    breast's part survives another crop or padding.

    Parameters
    ----------
    pixels:
        float32 [H, W] in 0 to 1.
    breast:
        (x, y, width, height); None takes the frame twice.
    """
    x, y, width, height = breast or (0, 0, pixels.shape[1], pixels.shape[0])
    return "".join(_cells_hash(region) for region in (pixels, pixels[y : y + height, x : x + width]))


def hamming(first: str, second: str, *, mirrored: bool = False) -> int:
    """Return how many bits differ between two hashes in the part where they differ least, 0 to 256.

    ``mirrored`` compares the first picture with the mirrored second one.
    """
    one, other = _bits([first]), _bits([second])
    if mirrored:
        other = _mirror(other)
    return int((one != other).sum(axis=2).min())


def near_duplicates(
    hashes: Sequence[str | None],
    most_bits: int = MOST_BITS,
    *,
    share: float = SHARE,
    mirrored: bool = False,
) -> list[tuple[int, int]]:
    """Return the pairs of positions (i < j) whose pictures look the same.

    Parameters
    ----------
    hashes:
        Of ``difference_hash``; None never matches.
    most_bits:
        Largest distance, in either part.
    share:
        Largest distance as a share of the bits that are set in either picture: a part with few bits set, such
        as a frame that is mostly air, has to agree better, and one with fewer than 24 does not count. Beyond
        the default, ``likeness`` has to tell.
    mirrored:
        Whether to find pictures of which one is the mirrored other, instead of upright copies.

    Notes
    -----
    All pairs are compared, as products of matrices in blocks: 20,000 images take seconds and some 50 MB.
    """
    known = [index for index, one in enumerate(hashes) if one is not None]
    if not known:
        return []
    bits = _bits([hashes[index] or "" for index in known])  # [N, 2, 256]
    others = _mirror(bits) if mirrored else bits
    pairs: set[tuple[int, int]] = set()
    for part in range(2):
        pairs.update(_close(bits[:, part], others[:, part], most_bits, share))
    return sorted((known[first], known[second]) for first, second in pairs)


def copies(
    hashes: Sequence[str | None], sketches: Sequence[Sketch | None], *, mirrored: bool = False
) -> list[tuple[int, int]]:
    """Return the pairs of positions (i < j) of which one picture is a copy of the other.

    Candidates are near by their hashes and confirmed by their detail; hashes that are very near need less
    likeness, since padding lowers that.

    Parameters
    ----------
    hashes, sketches:
        Of ``difference_hash`` and ``sketch``, of the same pictures in one order; None never matches.
    mirrored:
        Whether to find pictures of which one is the mirrored other, instead of upright copies.
    """
    known = [one if sketches[index] is not None else None for index, one in enumerate(hashes)]
    near = near_duplicates(known, _CANDIDATE_BITS, share=_CANDIDATE_SHARE, mirrored=mirrored)
    found = []
    for i, j in near:
        one, other = sketches[i], sketches[j]
        assert one is not None and other is not None
        alike = likeness(one, other, mirrored=mirrored)
        bits = hamming(hashes[i] or "", hashes[j] or "", mirrored=mirrored)
        if alike >= _COPY or (alike >= _PADDED_COPY and bits <= MOST_BITS):
            found.append((i, j))
    return found


def sketch(thumbnail: NDArray[np.uint8], breast: tuple[float, float, float, float] | None) -> Sketch:
    """Return the fine detail of a picture, float16 [2, 48, 48], which tells copies from look-alikes.

    The frame and the breast are averaged to 48 x 48 cells each, coarse brightness is taken away, and the
    roots of the differences are taken, so that a few strong edges do not decide.

    Parameters
    ----------
    thumbnail:
        uint8 [h, w], the whole frame.
    breast:
        (x, y, width, height) in shares of the frame's size; None takes the frame twice.
    """
    height, width = thumbnail.shape
    x, y, wide, high = breast or (0.0, 0.0, 1.0, 1.0)
    left, top = round(x * width), round(y * height)
    right, bottom = max(left + 1, round((x + wide) * width)), max(top + 1, round((y + high) * height))
    return np.stack([_detail(thumbnail), _detail(thumbnail[top:bottom, left:right])]).astype(np.float16)


def likeness(first: Sketch, second: Sketch, *, mirrored: bool = False) -> float:
    """Return the correlation of two sketches, in the part where it is higher, -1 to 1.

    On the pictures that MOST_BITS was measured on, different ones reach 0.84 (0.91 mirrored). Copies in JPEG
    or of half the size have 1.00, brightened ones 0.98 or more, ones with a third of the grey scale clipped
    away 0.94 or more, and ones padded by a tenth of the frame mostly 0.7 or more.
    """
    other = (second[..., ::-1] if mirrored else second).astype(np.float32)
    return float((first.astype(np.float32) * other).sum(axis=(1, 2)).max())


def _detail(region: NDArray[np.uint8]) -> NDArray[np.float32]:
    cells = cv2.resize(region, (_DETAIL, _DETAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = cells - cv2.GaussianBlur(cells, (0, 0), 2)
    fine = np.sign(fine) * np.sqrt(np.abs(fine))
    fine -= fine.mean()
    return np.asarray(fine / (np.linalg.norm(fine) + 1e-9), dtype=np.float32)


def _cells_hash(region: NDArray[np.float32]) -> str:
    cells = cv2.resize(np.ascontiguousarray(region), (_COLUMNS, _ROWS + 1), interpolation=cv2.INTER_AREA)
    return np.packbits(cells[1:] > cells[:-1]).tobytes().hex()


def _bits(hashes: Sequence[str]) -> NDArray[np.uint8]:
    """Return uint8 [N, 2, 256] of zeros and ones."""
    odd = next((one for one in hashes if len(one) != 2 * _DIGITS), None)
    if odd is not None:
        raise InputError(f"a difference hash has {2 * _DIGITS} hex digits", field="hashes", value=odd)
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8)
    return np.unpackbits(packed).reshape(len(hashes), 2, _BITS)


def _mirror(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cells = bits.reshape(*bits.shape[:2], _ROWS, _COLUMNS)
    return np.ascontiguousarray(cells[..., ::-1]).reshape(bits.shape)


def _close(
    bits: NDArray[np.uint8], others: NDArray[np.uint8], most_bits: int, share: float
) -> Iterator[tuple[int, int]]:
    """Yield (i, j), i < j, of rows that differ in few bits; distance = ones of both - 2 x common ones."""
    values, compared = bits.astype(np.float32), others.astype(np.float32)
    ones = values.sum(axis=1)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        set_bits = ones[start : start + _BLOCK, None] + ones[None, start:]
        distance = set_bits - 2 * (block @ compared[start:].T)
        union = (set_bits + distance) / 2
        near = (distance <= most_bits) & (distance <= share * union) & (union >= _FEWEST_BITS)
        rows, columns = np.nonzero(near)
        yield from ((start + int(i), start + int(j)) for i, j in zip(rows, columns, strict=True) if i < j)
