"""Copies are found, and different pictures are not taken for copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.breast import find_breast
from mammodet.datasets.errors import InputError
from mammodet.datasets.fingerprint import (
    MOST_BITS,
    difference_hash,
    hamming,
    likeness,
    near_duplicates,
    pixel_digest,
    sketch,
)
from mammodet.datasets.inspection_pixels import thumbnail
from mammodet.datasets.mammogram import read_mammogram


def _breast(seed: int, height: int = 600, width: int = 480) -> np.ndarray:
    """Return a half ellipse with blobs of its own, float32 [H, W], chest wall on the left."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    reach, middle, half = rng.uniform(0.5, 0.8) * width, rng.uniform(0.4, 0.6) * height, 0.4 * height
    inside = (columns / reach) ** 2 + ((rows - middle) / half) ** 2
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 25)
    tissue = 0.4 + 0.2 * noise / noise.std() * 0.7
    return np.where(inside < 1, np.clip(tissue, 0.1, 1), 0).astype(np.float32)


def _hash(pixels: np.ndarray) -> str:
    return difference_hash(pixels, find_breast(pixels))


def _jpeg(pixels: np.ndarray) -> np.ndarray:
    coded = cv2.imencode(".jpg", (pixels * 255).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def _half(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _brighter(pixels: np.ndarray) -> np.ndarray:
    return (0.05 + 0.9 * pixels**0.8).astype(np.float32)


def test_a_dicom_file_and_its_png_have_one_digest(make_dicom, tmp_path: Path) -> None:
    digest = pixel_digest(read_mammogram(make_dicom()).pixels)
    inverted = make_dicom(4095 - make_dicom.breast, PhotometricInterpretation="MONOCHROME1", name="b.dcm")
    assert pixel_digest(read_mammogram(inverted).pixels) == digest
    cv2.imwrite(str(tmp_path / "c.png"), make_dicom.breast * np.uint16(16))
    assert pixel_digest(read_mammogram(tmp_path / "c.png").pixels) == digest
    assert pixel_digest(make_dicom.breast) == digest  # the stored values themselves


def test_another_picture_or_another_shape_has_another_digest() -> None:
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4)
    changed = stored.copy()
    changed[0, 0] = 1
    digests = {pixel_digest(one) for one in (stored, changed, stored.reshape(4, 3), stored[:, ::-1])}
    assert len(digests) == 4
    assert all(one is not None and len(one) == 64 for one in digests)


def test_blank_pictures_have_no_digest_so_that_they_are_not_copies_of_each_other() -> None:
    assert pixel_digest(np.full((5, 5), 0.3, np.float32)) is None


def test_all_16_bit_values_are_told_apart() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    merged = every.copy()
    merged[255, 255] = 65534
    unit = every.astype(np.float32) / np.float32(65535)
    assert pixel_digest(unit) == pixel_digest(every) != pixel_digest(merged)
    # Through an inversion in float32 and back, as MONOCHROME1 goes.
    assert pixel_digest(1 - (1 - unit)) == pixel_digest(every)


@pytest.mark.parametrize("change", [_jpeg, _half, _brighter, lambda pixels: _brighter(_half(_jpeg(pixels)))])
def test_changed_copies_are_found_and_other_breasts_are_not(change) -> None:
    breasts = [_breast(seed) for seed in range(6)]
    hashes = [_hash(one) for one in breasts] + [_hash(change(breasts[2]))]
    assert near_duplicates(hashes) == [(2, 6)]
    assert near_duplicates(hashes, mirrored=True) == []


def test_mirrored_copies_are_found_as_such() -> None:
    breasts = [_breast(seed) for seed in range(6)]
    hashes = [_hash(one) for one in breasts] + [_hash(_jpeg(breasts[1][:, ::-1]))]
    assert near_duplicates(hashes) == []
    assert near_duplicates(hashes, mirrored=True) == [(1, 6)]


def test_frames_that_are_mostly_air_are_not_taken_for_each_other() -> None:
    def small_breast(seed: int) -> np.ndarray:
        pixels = np.zeros((1200, 1000), np.float32)
        pixels[500:700, :160] = _breast(seed, 200, 160)
        return pixels

    # With 2 to 3 rows of cells in the breast, the frames differ in few bits whatever they show.
    hashes = [difference_hash(small_breast(seed), None) for seed in range(20)]
    assert min(hamming(hashes[0], other) for other in hashes[1:]) <= MOST_BITS
    assert near_duplicates(hashes) == []


def test_hamming_counts_bits_of_the_nearer_part() -> None:
    nothing = "0" * 128
    assert hamming(nothing, "0" * 64 + "f" * 64) == 0
    assert hamming(nothing, "7" + "0" * 63 + "f" * 64) == 3
    # The first bit of the first row mirrors to the last of its 16.
    assert hamming("8" + "0" * 127, "0001" + "0" * 124, mirrored=True) == 0


def test_pairs_are_positions_and_unknown_hashes_never_match() -> None:
    bits = _hash(_breast(0))
    assert near_duplicates([None, bits, None, bits, bits]) == [(1, 3), (1, 4), (3, 4)]
    assert near_duplicates([None, None]) == []
    with pytest.raises(InputError, match="128 hex digits"):
        near_duplicates(["ab"])


def _fewest_bits(first: str, second: str, *, mirrored: bool) -> int:
    """Count one bit after the other, in the parts in which at least 24 bits are set in either hash."""
    found = []
    for part in (slice(0, 64), slice(64, 128)):
        one, other = (
            [[int(bit) for bit in f"{int(text[part][4 * row : 4 * row + 4], 16):016b}"] for row in range(16)]
            for text in (first, second)
        )
        other = [row[::-1] for row in other] if mirrored else other
        pairs = [
            (a, b) for row, beside in zip(one, other, strict=True) for a, b in zip(row, beside, strict=True)
        ]
        if sum(a | b for a, b in pairs) >= 24:
            found.append(sum(a ^ b for a, b in pairs))
    return min(found, default=999)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.binary(min_size=64, max_size=64), min_size=2, max_size=12), st.integers(0, 120))
def test_blocks_of_products_count_like_bit_by_bit(several: list[bytes], most: int) -> None:
    hashes = [one.hex() for one in several]
    for mirrored in (False, True):
        expected = [
            (i, j)
            for i in range(len(hashes))
            for j in range(i + 1, len(hashes))
            if _fewest_bits(hashes[i], hashes[j], mirrored=mirrored) <= most
        ]
        assert near_duplicates(hashes, most, share=1, mirrored=mirrored) == expected


def test_the_detail_of_a_copy_is_alike_and_that_of_another_breast_is_not() -> None:
    def drawn(pixels: np.ndarray):
        return sketch(thumbnail(pixels), None)

    breast = _breast(3)
    assert likeness(drawn(breast), drawn(_jpeg(_half(breast)))) > 0.97
    assert likeness(drawn(breast), drawn(breast[:, ::-1]), mirrored=True) > 0.999
    assert likeness(drawn(breast), drawn(_breast(4))) < 0.8


def test_no_two_real_mammograms_are_taken_for_copies_and_their_copies_are_found(shared_data: Path) -> None:
    paths = sorted(shared_data.glob("mini-mias/*.pgm"))[:24] + sorted(shared_data.glob("exam/*.png"))
    pixels = [read_mammogram(path).pixels for path in paths]
    hashes = [_hash(one) for one in pixels]
    assert len(hashes) >= 28
    assert near_duplicates(hashes) == near_duplicates(hashes, mirrored=True) == []
    for index in (0, 1, len(pixels) - 1):
        copies = [_hash(_jpeg(pixels[index])), _hash(_half(pixels[index]))]
        assert max(hamming(hashes[index], one) for one in copies) <= 8  # measured on 123: 8 and 1
        mirrored = _hash(_jpeg(_half(pixels[index][:, ::-1])))
        assert hamming(hashes[index], mirrored, mirrored=True) <= 12
