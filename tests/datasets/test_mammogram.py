"""PNG, TIFF, JPEG and PGM mammograms, masks and sizes; what their names tell; what is refused and how."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem
from mammodet.datasets.intensity import air_is_bright
from mammodet.datasets.mammogram import image_size, read_mammogram, read_mask
from mammodet.datasets.standardise import Recipe

RAMP = np.linspace(0, 1, 40 * 30).reshape(40, 30)


def _ramp(kind: type[np.generic]) -> np.ndarray:
    return np.rint(RAMP * np.iinfo(kind).max).astype(kind)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_images_keep_their_values(tmp_path: Path, suffix: str, kind: type[np.generic]) -> None:
    path = tmp_path / f"scan{suffix}"
    cv2.imwrite(str(path), _ramp(kind))  # OpenCV compresses TIFF by LZW
    mammogram = read_mammogram(path)
    assert mammogram.pixels.dtype == np.float32
    np.testing.assert_allclose(mammogram.pixels, RAMP, atol=0.003)
    assert mammogram.bit_depth == np.iinfo(kind).bits
    assert (mammogram.source_width, mammogram.source_height) == image_size(path) == (30, 40)


def test_a_tiff_with_white_as_zero_is_inverted(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for kind in (np.uint8, np.uint16):
        path = tmp_path / f"{kind.__name__}.tif"
        tifffile.imwrite(path, np.iinfo(kind).max - _ramp(kind), photometric="miniswhite")
        np.testing.assert_allclose(read_mammogram(path).pixels, RAMP, atol=0.003)


def test_pgm_of_8_and_16_bits(tmp_path: Path) -> None:
    eight, sixteen = _ramp(np.uint8), np.rint(RAMP * 4095).astype(">u2")
    binary = _write(tmp_path / "a.pgm", b"P5\n# film\n30 40\n255\n" + eight.tobytes())
    deep = _write(tmp_path / "b.pgm", b"P5 30 40 4095\n" + sixteen.tobytes())
    plain = _write(tmp_path / "c.pgm", b"P2\n30 40\n255\n" + b" ".join(b"%d" % one for one in eight.ravel()))
    for path, depth in ((binary, 8), (deep, 12), (plain, 8)):
        mammogram = read_mammogram(path)
        np.testing.assert_allclose(mammogram.pixels, RAMP, atol=0.003)
        assert mammogram.bit_depth == depth
        assert image_size(path) == (30, 40)


def test_intensity_choices(tmp_path: Path) -> None:
    values = np.rint(1000 + RAMP * 2000).astype(np.uint16)
    values[0, 0], values[-1, -1] = 0, 4095  # two odd pixels
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), values)
    full = read_mammogram(path, Recipe(intensity="full")).pixels
    spread = read_mammogram(path, Recipe(intensity="range")).pixels
    robust = read_mammogram(path, Recipe(intensity="percentile")).pixels
    np.testing.assert_allclose(full, values / 65535, atol=1e-6)
    np.testing.assert_allclose(spread, values / 4095, atol=1e-6)
    np.testing.assert_allclose(robust, RAMP, atol=0.003)


def test_an_image_of_one_value_is_black_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((30, 30), 7, dtype=np.uint8))
    mammogram = read_mammogram(path)
    assert not mammogram.pixels.any()
    assert mammogram.notes == ("all pixels have one value",)


def test_colour_images_with_equal_channels_are_grey(tmp_path: Path) -> None:
    grey = _ramp(np.uint8)
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / name, quality=95)
        mammogram = read_mammogram(tmp_path / name)
        np.testing.assert_allclose(mammogram.pixels, RAMP, atol=0.03)
        assert any("taken as grey" in note for note in mammogram.notes)


def test_coloured_images_are_refused(tmp_path: Path) -> None:
    colour = np.stack([_ramp(np.uint8)] * 3, axis=2)
    colour[5:8, 5:8] = (255, 0, 0)  # a mark of a viewer
    Image.fromarray(colour).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="colour"):
        read_mammogram(tmp_path / "a.png")


def test_bright_air_is_inverted_and_noted(shared_data: Path, tmp_path: Path) -> None:
    upright = cv2.imread(str(shared_data / "mini-mias" / "mdb001.pgm"), cv2.IMREAD_UNCHANGED)
    path = tmp_path / "inverted.png"
    cv2.imwrite(str(path), 255 - upright)
    mammogram = read_mammogram(path)
    np.testing.assert_array_equal(
        mammogram.pixels, read_mammogram(shared_data / "mini-mias" / "mdb001.pgm").pixels
    )
    assert mammogram.notes == ("air was bright: inverted",)
    kept = read_mammogram(path, Recipe(invert="never"))
    np.testing.assert_allclose(kept.pixels, 1 - mammogram.pixels, atol=1e-6)


def test_no_real_image_is_inverted_and_few_inverted_ones_are_missed(shared_data: Path) -> None:
    missed = []
    for path in sorted((shared_data / "mini-mias").glob("*.pgm")) + sorted(
        (shared_data / "exam").glob("*.png")
    ):
        sample = read_mammogram(path).pixels[::8, ::8]
        assert not air_is_bright(sample), path.name
        if not air_is_bright(1 - sample):
            missed.append(path.name)
    assert len(missed) <= 2  # films with a white digitiser frame, mdb133 and mdb134


def test_real_files_tell_side_and_view(shared_data: Path) -> None:
    mammogram = read_mammogram(shared_data / "exam" / "R-MLO.png")
    assert (mammogram.laterality, mammogram.view, mammogram.patient_id) == ("R", "MLO", "exam")
    assert mammogram.study_id == "exam"
    film = read_mammogram(shared_data / "mini-mias" / "mdb001.pgm", Recipe(assumed_spacing_mm=0.2))
    assert (film.laterality, film.view, film.patient_id) == (None, None, "mdb001")
    assert (film.spacing_mm, film.spacing_source) == ((0.2, 0.2), "given")
    assert film.pixels.shape == (1024, 1024)
    assert (film.pixels.min(), film.pixels.max()) == (0, 1)


def test_hashed_ids_tell_no_name(tmp_path: Path) -> None:
    path = tmp_path / "smith_L_CC.png"
    cv2.imwrite(str(path), _ramp(np.uint8))
    assert read_mammogram(path).patient_id == "smith"
    hashed = read_mammogram(path, identify_by="hash").patient_id
    assert len(hashed) == 16
    assert int(hashed, 16)
    assert read_mammogram(path, identify_by="uid").patient_id == hashed  # there is no UID to take


@pytest.mark.parametrize(
    ("stem", "laterality", "view", "rest"),
    [
        ("R-CC", "R", "CC", ""),
        ("L_MLO", "L", "MLO", ""),
        ("LEFT_CC", "L", "CC", ""),
        ("RIGHT.MLO", "R", "MLO", ""),
        ("B_3159_1.LEFT_CC", "L", "CC", "B_3159_1"),
        ("P00005_RIGHT_CC_1", "R", "CC", "P00005_1"),
        ("0_R-CC_benign", "R", "CC", "0_benign"),
        ("123_lmlo", "L", "MLO", "123"),
        ("123_CC_L", "L", "CC", "123"),
        ("20586908_6c613a14b80a8591_MG_R_CC_ANON", "R", "CC", "20586908_6c613a14b80a8591_MG_ANON"),
        ("20586934_6c613a14b80a8591_MG_L_ML_ANON", "L", "MLO", "20586934_6c613a14b80a8591_MG_ANON"),
        ("case7_L_ML", "L", "ML", "case7"),
        ("mdb001", None, None, "mdb001"),
        ("patient_L_3", None, None, "patient_L_3"),
        ("L_CC_and_R_CC", None, None, "L_CC_and_R_CC"),
        ("12_LEFT", "L", None, "12"),
        ("12_CC", None, "CC", "12"),
        ("accident", None, None, "accident"),
    ],
)
def test_names_are_read_cautiously(stem: str, laterality: str | None, view: str | None, rest: str) -> None:
    facts = parse_stem(stem)
    assert (facts.laterality, facts.view, facts.rest) == (laterality, view, rest)


def _png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    coded = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + coded


def _cut(encoded: np.ndarray) -> bytes:
    return encoded.tobytes()[: encoded.size // 2]


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
BROKEN = {
    "empty.png": (b"", "empty"),
    "text.png": (b"hello, this is no image", "no DICOM, PNG"),
    "word.pgm": (b"P5ychology", "no DICOM, PNG"),
    "cut.png": (_cut(cv2.imencode(".png", NOISE)[1]), "cut-off PNG"),
    "cut.jpg": (_cut(cv2.imencode(".jpg", NOISE)[1]), "cut-off JPEG"),
    "cut.tif": (_cut(cv2.imencode(".tif", NOISE)[1]), "cut-off TIFF"),
    "cut.pgm": (b"P5 64 64 255\n" + NOISE.tobytes()[:99], "99 of 4096 pixels"),
    "head.pgm": (b"P5 64", "header"),
    "deep.pgm": (b"P5 4 4 70000\n" + bytes(64), "maxval"),
    "huge.pgm": (b"P5 999999 999999 255\n" + bytes(64), "more pixels"),
    "huge.png": (_png_that_claims(60000, 60000), "more pixels"),
    "large.png": (_png_that_claims(12000, 12000), "more pixels"),
    "none.pgm": (b"P5 0 5 255\n", "no pixels"),
    "words.pgm": (b"P2 2 2 255\n1 2 three 4", "numbers"),
    "giant.pgm": (b"P2 2 2 255\n1 2 3 " + b"9" * 30, "numbers of 64 bits"),
    "endless.pgm": (b"P2 2 2 255\n1 2 3 " + b"9" * 5000, "numbers of 64 bits"),
    "negative.pgm": (b"P2 2 2 255\n1 -1 3 4", r"not 0 to 255, its PGM maxval \(found -1\)"),
    "beyond.pgm": (b"P2 2 2 255\n1 256 3 4", r"not 0 to 255, its PGM maxval \(found 256\)"),
    "digits.pgm": (b"P5 " + b"9" * 5000 + b" 4 255\n" + bytes(64), "PGM header: has a number of 5000 digits"),
    "photo.dcm": (cv2.imencode(".jpg", NOISE)[1].tobytes(), r"is a JPEG file, not DICOM; rename it to \.jpg"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_quietly(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content, problem = BROKEN[name]
    path = _write(tmp_path / name, content)
    for read in (read_mammogram, read_mask):
        with pytest.raises(InputError, match=problem) as caught:
            read(path)
        assert caught.value.file == str(path)
    assert capfd.readouterr() == ("", "")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_mammogram(tmp_path / "gone.png")
    with pytest.raises(InputError, match="folder"):
        read_mammogram(tmp_path)


def test_several_pages_and_deep_colour_are_refused(tmp_path: Path) -> None:
    page = Image.fromarray(NOISE)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    with pytest.raises(InputError, match="several pages"):
        read_mammogram(tmp_path / "pages.tif")
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((8, 8, 3), dtype=np.uint16))
    with pytest.raises(InputError, match="16-bit"):
        read_mammogram(tmp_path / "deep.png")


def test_masks_are_bool(tmp_path: Path) -> None:
    mask = np.zeros((20, 10), dtype=np.uint8)
    mask[3:9, 2:5] = 255
    for name, values in (("a.png", mask), ("b.png", mask // 255), ("c.jpg", mask), ("d.pgm", mask)):
        cv2.imwrite(str(tmp_path / name), values, [cv2.IMWRITE_JPEG_QUALITY, 100])
        read = read_mask(tmp_path / name)
        assert read.dtype == np.bool_
        np.testing.assert_array_equal(read, mask > 0, err_msg=name)
    cv2.imwrite(str(tmp_path / "empty.png"), mask * 0)
    assert not read_mask(tmp_path / "empty.png").any()
