"""Pixels of DICOM mammograms as they really are: windows, inversions, padding, compressions, cut-off files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_voi, apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from mammodet.datasets.dicom_window import Window
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import image_size, read_mammogram, read_mask
from mammodet.datasets.standardise import Recipe


def _scaled(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return (values - values.min()) / np.ptp(values)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_every_lossless_compression_gives_the_same(make_dicom: Any, syntax: str) -> None:
    path = make_dicom(syntax=syntax)
    mammogram = read_mammogram(path)
    assert mammogram.pixels.dtype == np.float32
    np.testing.assert_allclose(mammogram.pixels, _scaled(make_dicom.breast), atol=1e-6)
    assert mammogram.bit_depth == 12
    assert image_size(path) == (80, 96)


def test_signed_and_8_bit_values(make_dicom: Any) -> None:
    signed = make_dicom.breast.astype(np.int16) - 1000
    np.testing.assert_allclose(
        read_mammogram(make_dicom(signed)).pixels, _scaled(make_dicom.breast), atol=1e-6
    )
    eight = (make_dicom.breast // 16).astype(np.uint8)
    np.testing.assert_allclose(read_mammogram(make_dicom(eight)).pixels, _scaled(eight), atol=1e-6)


@pytest.mark.parametrize(
    ("photometric", "shape"),
    [
        ("MONOCHROME1", None),
        ("MONOCHROME1", "INVERSE"),
        ("MONOCHROME1", "IDENTITY"),
        ("MONOCHROME2", "INVERSE"),
    ],
)
def test_inverted_files_are_inverted_once(make_dicom: Any, photometric: str, shape: str | None) -> None:
    tags = {} if shape is None else {"PresentationLUTShape": shape}
    path = make_dicom(4095 - make_dicom.breast, PhotometricInterpretation=photometric, **tags)
    mammogram = read_mammogram(path)
    np.testing.assert_allclose(mammogram.pixels, _scaled(make_dicom.breast), atol=1e-6)
    assert mammogram.notes == ()


def test_a_lying_shape_is_caught_by_dark_air(make_dicom: Any) -> None:
    path = make_dicom(PresentationLUTShape="INVERSE")
    mammogram = read_mammogram(path)
    np.testing.assert_allclose(mammogram.pixels, _scaled(make_dicom.breast), atol=1e-6)
    assert any("not inverted" in note for note in mammogram.notes)
    trusted = read_mammogram(path, Recipe(invert="header"))
    np.testing.assert_allclose(trusted.pixels, 1 - _scaled(make_dicom.breast), atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(make_dicom: Any, function: str) -> None:
    path = make_dicom(
        WindowCenter=1900, WindowWidth=1500, VOILUTFunction=function, RescaleSlope=1.5, RescaleIntercept=-300
    )
    data = pydicom.dcmread(path)
    expected = apply_windowing(make_dicom.breast * 1.5 - 300, data)
    low, high = -300, 4095 * 1.5 - 300
    unit = (expected - low) / (high - low)
    read = read_mammogram(path, Recipe(intensity="full")).pixels
    np.testing.assert_allclose(read, unit, atol=1e-4)


def test_windows_are_chosen_by_number_and_by_explanation(make_dicom: Any) -> None:
    path = make_dicom(
        WindowCenter=[2000, 1500], WindowWidth=[2000, 500], WindowCenterWidthExplanation=["NORMAL", "HARDER"]
    )
    first, second = read_mammogram(path), read_mammogram(path, Recipe(voi=1))
    assert np.abs(first.pixels - second.pixels).max() > 0.1
    np.testing.assert_array_equal(read_mammogram(path, Recipe(voi="harder")).pixels, second.pixels)
    np.testing.assert_array_equal(read_mammogram(path, Recipe(voi="0")).pixels, first.pixels)
    np.testing.assert_allclose(
        read_mammogram(path, Recipe(voi="none")).pixels, _scaled(make_dicom.breast), atol=1e-6
    )
    with pytest.raises(InputError, match="HARDER, NORMAL"):
        read_mammogram(path, Recipe(voi="SOFTER"))


def _lut(first: int, entries: np.ndarray, explanation: str = "LUT") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, 12])
    item.LUTExplanation = explanation
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def test_a_voi_lut_sequence_is_that_of_pydicom(make_dicom: Any) -> None:
    entries = np.rint(4095 * np.linspace(0, 1, 2500) ** 2)
    path = make_dicom(VOILUTSequence=[_lut(600, entries)])
    expected = apply_voi(make_dicom.breast, pydicom.dcmread(path)) / 4095
    read = read_mammogram(path, Recipe(intensity="full")).pixels
    np.testing.assert_allclose(read, expected, atol=1e-6)
    both = make_dicom(VOILUTSequence=[_lut(600, entries)], WindowCenter=2000, WindowWidth=1000, name="b.dcm")
    np.testing.assert_array_equal(read_mammogram(both, Recipe(voi="lut", intensity="full")).pixels, read)
    assert np.abs(read_mammogram(both, Recipe(intensity="full")).pixels - read).max() > 0.1


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 2000},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 90000, "WindowWidth": 10},
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
        {"VOILUTFunction": ""},
        {"VOILUTSequence": [Dataset()]},
    ],
)
def test_empty_and_senseless_windows_change_nothing(make_dicom: Any, tags: dict[str, Any]) -> None:
    mammogram = read_mammogram(make_dicom(**tags))
    np.testing.assert_allclose(mammogram.pixels, _scaled(make_dicom.breast), atol=1e-6)


def test_an_empty_function_is_linear(make_dicom: Any) -> None:
    empty = make_dicom(WindowCenter=2000, WindowWidth=1000, VOILUTFunction="")
    linear = make_dicom(WindowCenter=2000, WindowWidth=1000, VOILUTFunction="LINEAR", name="b.dcm")
    np.testing.assert_array_equal(read_mammogram(empty).pixels, read_mammogram(linear).pixels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_cut_before_scaling(make_dicom: Any, photometric: str) -> None:
    values = make_dicom.breast if photometric == "MONOCHROME2" else 4095 - make_dicom.breast
    values = values.copy()
    values[:, -10:], values[:3] = 5, 30
    path = make_dicom(
        values, PhotometricInterpretation=photometric, PixelPaddingValue=0, PixelPaddingRangeLimit=30
    )
    pixels = read_mammogram(path).pixels
    kept = np.zeros_like(make_dicom.inside)
    kept[3:, :-10] = True
    assert not pixels[~kept].any()
    real = make_dicom.breast[3:, :-10].astype(np.float64)
    np.testing.assert_allclose(pixels[3:, :-10], (real - real.min()) / (real.max() - real.min()), atol=1e-6)


def test_signed_padding_written_as_unsigned(make_dicom: Any) -> None:
    values = make_dicom.breast.astype(np.int16)
    values[:, -10:] = -2000
    path = make_dicom(values, PixelPaddingValue=-2000)
    pixels = read_mammogram(path).pixels
    assert not pixels[:, -10:].any()
    np.testing.assert_allclose(pixels[:, :-10], _scaled(make_dicom.breast[:, :-10]), atol=1e-6)


def test_an_image_of_padding_is_refused(make_dicom: Any) -> None:
    with pytest.raises(InputError, match="padding"):
        read_mammogram(make_dicom(PixelPaddingValue=0, PixelPaddingRangeLimit=4095))


def test_raw_images_need_permission(make_dicom: Any) -> None:
    signal = np.where(make_dicom.inside, 12000 / (make_dicom.breast / 300.0), 12000).astype(np.uint16)
    tags: dict[str, Any] = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}
    path = make_dicom(signal, BitsStored=14, HighBit=13, PresentationIntentType="FOR PROCESSING", **tags)
    with pytest.raises(InputError, match="allow_for_processing"):
        read_mammogram(path)
    mammogram = read_mammogram(path, Recipe(allow_for_processing=True))
    assert mammogram.pixels[~make_dicom.inside].max() < 0.01
    assert mammogram.pixels[make_dicom.inside].min() > mammogram.pixels[~make_dicom.inside].max()
    # Twice the thickness halves the signal: after the logarithm brightness follows the stored attenuation.
    assert (
        np.corrcoef(mammogram.pixels[make_dicom.inside], np.log(make_dicom.breast[make_dicom.inside]))[0, 1]
        > 0.99
    )
    assert any("FOR PROCESSING" in note for note in mammogram.notes)
    assert mammogram.recipe.allow_for_processing


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_cut_off_files_are_named_quietly(
    make_dicom: Any, syntax: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_dicom(syntax=syntax)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError) as caught:
        read_mammogram(path)
    assert caught.value.file == str(path)
    assert caught.value.remedy
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"\xff\xd8\xff", b"\xff\x00\xff"), (b"\xff\xc4", b"\x3e\xc4"), (b"\xff\xc3", b"\xff\xe3")],
)
def test_damaged_jpeg_headers_are_named(make_dicom: Any, old: bytes, new: bytes) -> None:
    path = make_dicom(syntax=JPEGLosslessSV1)
    content = path.read_bytes()
    start = content.rindex(b"\xe0\x7f\x10\x00OB\x00\x00")
    assert old in content[start:]
    path.write_bytes(content[:start] + content[start:].replace(old, new, 1))
    with pytest.raises(InputError, match="JPEG stream"):
        read_mammogram(path)


def test_an_unknown_compression_is_named(make_dicom: Any) -> None:
    path = make_dicom()
    content = path.read_bytes()
    for unknown in (b"1.2.840.10008.1.9.1\0", b"1.2.840.99999.1.2.1\0"):
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", unknown))
        with pytest.raises(InputError, match="Transfer Syntax UID"):
            read_mammogram(path)


def test_files_without_preamble_are_read(make_dicom: Any) -> None:
    path = make_dicom()
    path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_allclose(read_mammogram(path).pixels, _scaled(make_dicom.breast), atol=1e-6)


def test_dicom_masks_are_bool(make_dicom: Any) -> None:
    mask = make_dicom.inside.astype(np.uint8) * 255
    path = make_dicom(mask, Modality="OT")
    np.testing.assert_array_equal(read_mask(path), make_dicom.inside)
    inverted = make_dicom(255 - mask, PhotometricInterpretation="MONOCHROME1", name="b.dcm")
    np.testing.assert_array_equal(read_mask(inverted), make_dicom.inside)


def test_a_real_ge_file(shared_data: Path) -> None:
    path = shared_data / "dicom" / "ge_essential_r_mlo.dcm"
    mammogram = read_mammogram(path)
    data = pydicom.dcmread(path)
    frame = next(generate_frames(data.PixelData, number_of_frames=1))
    stored = imagecodecs.ljpeg_decode(frame).reshape(3062, 2394)  # another decoder than the reader's
    padded = stored <= 30
    expected = apply_windowing(stored, data) / 4095
    low, high = expected[~padded].min(), expected[~padded].max()
    expected = np.where(padded, 0, (expected - low) / (high - low))
    np.testing.assert_allclose(mammogram.pixels, expected, atol=2e-6)
    assert (mammogram.laterality, mammogram.view, mammogram.age) == ("R", "MLO", None)
    assert mammogram.spacing_source == "ImagerPixelSpacing"
    assert image_size(path) == (2394, 3062)
    assert mammogram.notes == ()
    # The breast of a right MLO view lies at the right edge, its air at the left.
    assert mammogram.pixels[:, :200].max() == 0
    for voi in ("HARDER", "SOFTER", 2, "lut", "none"):
        assert read_mammogram(path, Recipe(voi=voi)).pixels.shape == (3062, 2394)


def test_a_digit_that_counts_nothing_is_no_window(make_dicom: Any) -> None:
    with pytest.raises(InputError, match="not this one"):
        read_mammogram(make_dicom(), Recipe(voi="\u00b2"))


def test_windows_by_hand() -> None:
    values = np.array([1500.0, 1800.0, 2000.0, 2300.0, 2500.0])
    # (x - 1999.5) / 999 + 0.5; (x - 2000) / 1000 + 0.5; 1 / (1 + exp(-4 (x - 2000) / 1000))
    linear = [0.0, 0.3003, 0.5005, 0.8008, 1.0]
    exact = [0.0, 0.3, 0.5, 0.8, 1.0]
    sigmoid = [0.1192, 0.31, 0.5, 0.7685, 0.8808]
    for function, expected in (("LINEAR", linear), ("LINEAR_EXACT", exact), ("SIGMOID", sigmoid)):
        np.testing.assert_allclose(Window(2000, 1000, function, None).apply(values), expected, atol=1e-3)


def test_inversion_comes_after_the_window(make_dicom: Any) -> None:
    tags = {"WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"}
    upright = make_dicom(WindowCenter=1900, **tags)
    film = make_dicom(
        4095 - make_dicom.breast,
        WindowCenter=4095 - 1900,
        PhotometricInterpretation="MONOCHROME1",
        PresentationLUTShape="INVERSE",
        name="b.dcm",
        **tags,
    )
    np.testing.assert_allclose(read_mammogram(film).pixels, read_mammogram(upright).pixels, atol=1e-6)


def test_windows_sigmoid_and_lut_at_once(make_dicom: Any) -> None:
    entries = np.rint(4095 * np.linspace(0, 1, 2500) ** 2)
    tags = {"WindowCenter": [2000, 1500, 2500], "WindowWidth": [2000, 500, 3000], "VOILUTFunction": "SIGMOID"}
    names = {"WindowCenterWidthExplanation": ["NORMAL", "HARDER", "SOFTER"]}
    path = make_dicom(VOILUTSequence=[_lut(600, entries)], **tags, **names)
    full = {
        choice: read_mammogram(path, Recipe(voi=choice, intensity="full"))
        for choice in ("first", "SOFTER", "lut")
    }
    values = make_dicom.breast.astype(np.float64)
    for choice, center, width in (("first", 2000, 2000), ("SOFTER", 2500, 3000)):
        expected = 1 / (1 + np.exp(-4 * (values - center) / width))
        np.testing.assert_allclose(full[choice].pixels, expected, atol=1e-6)
    np.testing.assert_allclose(
        full["lut"].pixels, apply_voi(make_dicom.breast, pydicom.dcmread(path)) / 4095, atol=1e-6
    )


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        {"RescaleSlope": "1e-30"},
        {"RescaleIntercept": "1e25"},
        {"ModalityLUTSequence": [Dataset()]},
    ],
)
def test_senseless_rescaling_changes_nothing_and_is_noted(make_dicom: Any, tags: dict[str, Any]) -> None:
    mammogram = read_mammogram(make_dicom(**tags))
    np.testing.assert_allclose(mammogram.pixels, _scaled(make_dicom.breast), atol=1e-6)
    assert any("ignored" in note for note in mammogram.notes)


def test_a_negative_slope_turns_the_image(make_dicom: Any) -> None:
    path = make_dicom(4095 - make_dicom.breast, RescaleSlope=-1, RescaleIntercept=4095)
    mammogram = read_mammogram(path)
    np.testing.assert_allclose(mammogram.pixels, _scaled(make_dicom.breast), atol=1e-6)
    assert mammogram.notes == ()


def test_unsigned_padding_written_as_signed(make_dicom: Any) -> None:
    values = make_dicom.breast.copy()
    values[:, -10:] = 65535
    path = make_dicom(values, BitsStored=16, HighBit=15)
    data = pydicom.dcmread(path)
    data.add_new("PixelPaddingValue", "SS", -1)
    data.save_as(path)
    pixels = read_mammogram(path).pixels
    assert not pixels[:, -10:].any()
    np.testing.assert_allclose(pixels[:, :-10], _scaled(make_dicom.breast[:, :-10]), atol=1e-6)


def test_a_signed_padding_range(make_dicom: Any) -> None:
    values = make_dicom.breast.astype(np.int16)
    values[:, -10:], values[:3] = -2000, -1500
    pixels = read_mammogram(make_dicom(values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1500)).pixels
    kept = np.zeros_like(make_dicom.inside)
    kept[3:, :-10] = True
    assert not pixels[~kept].any()
    np.testing.assert_allclose(pixels[3:, :-10], _scaled(make_dicom.breast[3:, :-10]), atol=1e-6)


def test_a_mask_of_several_frames_or_colours_is_refused(make_dicom: Any) -> None:
    with pytest.raises(InputError, match="multi-frame"):
        read_mask(make_dicom(NumberOfFrames=2))
    colour = np.zeros((20, 30, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="colour"):
        read_mask(
            make_dicom(colour, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
        )
