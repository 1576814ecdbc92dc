"""Headers of DICOM mammograms: side, view, pixel size, ids, and what is refused by them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from mammodet.datasets.dicom import hash_id
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe


def _code(value: str, modifier: str | None = None) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, "SRT"
    if modifier is not None:
        item.ViewModifierCodeSequence = [_code(modifier)]
    return item


@pytest.mark.parametrize(
    ("tags", "laterality", "view"),
    [
        ({"ImageLaterality": "R", "Laterality": "L", "ViewPosition": "CC"}, "R", "CC"),
        ({"Laterality": "L", "ViewPosition": "MLO"}, "L", "MLO"),
        ({"ImageLaterality": "B"}, None, None),
        ({"ViewPosition": "ML"}, None, "ML"),
        ({"ViewPosition": "R MLO"}, None, "MLO"),
        ({"ViewCodeSequence": [_code("R-10226")]}, None, "MLO"),
        ({"ViewCodeSequence": [_code("399162004")]}, None, "CC"),
        ({"ViewPosition": "", "ViewCodeSequence": [_code("R-10224")]}, None, "ML"),
        ({"ViewCodeSequence": [_code("T-04000")]}, None, None),
    ],
)
def test_side_and_view(
    make_dicom: Any, tags: dict[str, Any], laterality: str | None, view: str | None
) -> None:
    mammogram = read_mammogram(make_dicom(**tags))
    assert (mammogram.laterality, mammogram.view) == (laterality, view)


def test_side_and_view_fall_back_to_the_name(make_dicom: Any) -> None:
    mammogram = read_mammogram(make_dicom(name="123_L_MLO.dcm"))
    assert (mammogram.laterality, mammogram.view) == ("L", "MLO")


def test_spacing_tells_its_source(make_dicom: Any) -> None:
    both = read_mammogram(make_dicom(ImagerPixelSpacing=[0.07, 0.08], PixelSpacing=[0.05, 0.05]))
    assert (both.spacing_mm, both.spacing_source) == ((0.07, 0.08), "ImagerPixelSpacing")
    one = read_mammogram(make_dicom(PixelSpacing=[0.05, 0.06]))
    assert (one.spacing_mm, one.spacing_source) == ((0.05, 0.06), "PixelSpacing")
    broken = read_mammogram(make_dicom(ImagerPixelSpacing=[0, 0.1]))
    assert broken.spacing_mm is None
    assert any("ImagerPixelSpacing" in note for note in broken.notes)
    given = read_mammogram(make_dicom(), Recipe(assumed_spacing_mm=0.1))
    assert (given.spacing_mm, given.spacing_source) == ((0.1, 0.1), "given")


@pytest.mark.parametrize(
    "tags",
    [
        {"EstimatedRadiographicMagnificationFactor": 1.8},
        {"ViewCodeSequence": [_code("R-10242", modifier="R-102D6")]},
    ],
)
def test_magnification_views_are_flagged(make_dicom: Any, tags: dict[str, Any]) -> None:
    assert any("magnification" in note for note in read_mammogram(make_dicom(**tags)).notes)
    contact = read_mammogram(make_dicom(EstimatedRadiographicMagnificationFactor=1.07))
    assert not any("magnification" in note for note in contact.notes)


@pytest.mark.parametrize(
    ("age", "years"), [("058Y", 58), ("000Y", None), ("", None), ("030M", 2), ("x", None)]
)
def test_age(make_dicom: Any, age: str, years: int | None) -> None:
    assert read_mammogram(make_dicom(PatientAge=age)).age == years


def test_ids_are_those_that_were_chosen(make_dicom: Any) -> None:
    path = make_dicom()
    assert read_mammogram(path).patient_id == "P7"
    assert read_mammogram(path, identify_by="uid").patient_id == "1.2.3"
    hashed = read_mammogram(path, identify_by="hash").patient_id
    assert hashed == read_mammogram(make_dicom(name="b.dcm"), identify_by="hash").patient_id
    assert "P7" not in hashed
    assert len(hashed) == 16
    for choice, expected in (("patient-id", "1.2.3"), ("hash", hash_id("1.2.3")), ("uid", "1.2.3")):
        empty = read_mammogram(make_dicom(PatientID=""), identify_by=choice)
        assert empty.patient_id == expected
        assert any("Patient ID" in note for note in empty.notes) == (choice != "uid")


def test_a_folder_called_by_the_patient_is_hashed(make_dicom: Any) -> None:
    path = make_dicom(PatientID=None, StudyInstanceUID=None)
    assert read_mammogram(path).patient_id == path.parent.name
    for choice in ("hash", "uid"):
        assert read_mammogram(path, identify_by=choice).patient_id == hash_id(path.parent.name)


def test_nothing_of_the_person_leaves_the_reader(make_dicom: Any) -> None:
    mammogram = read_mammogram(make_dicom(), identify_by="hash")
    told = repr([getattr(mammogram, one.name) for one in dataclasses.fields(mammogram) if one.name != "path"])
    for secret in ("Smith", "Jane", "19600101", "ACC99", "P7"):
        assert secret not in told


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "tomosynthesis": ({"NumberOfFrames": 40}, "multi-frame"),
    "other modality": ({"Modality": "CT"}, "Modality.*no mammogram"),
    "terabytes": ({"Rows": 65535, "Columns": 65535}, "more pixels"),
    "too large": ({"Rows": 9000, "Columns": 9000}, "15360 of 162000000 bytes"),
    "no pixels": ({"PixelData": None}, "Pixel Data"),
    "empty pixels": ({"PixelData": b""}, "Pixel Data: is missing or empty"),
    "no rows": ({"Rows": None}, "Rows"),
    "deep": ({"BitsAllocated": 32}, "Bits Allocated"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_mammogram_is_refused(make_dicom: Any, tmp_path: Path, case: str) -> None:
    tags, problem = REFUSED[case]
    data = pydicom.dcmread(make_dicom())
    for keyword, value in tags.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    data.save_as(tmp_path / "b.dcm")
    with pytest.raises(InputError, match=problem) as caught:
        read_mammogram(tmp_path / "b.dcm")
    assert caught.value.file == str(tmp_path / "b.dcm")


def test_colour_screenshots_are_refused(make_dicom: Any) -> None:
    colour = np.zeros((20, 30, 3), dtype=np.uint8)
    path = make_dicom(colour, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
    with pytest.raises(InputError, match="colour"):
        read_mammogram(path)


def test_missing_modality_and_digitised_films_are_read(make_dicom: Any) -> None:
    assert any("Modality" in note for note in read_mammogram(make_dicom(Modality=None)).notes)
    assert read_mammogram(make_dicom(Modality="CR", BodyPartExamined="BREAST")).patient_id == "P7"
