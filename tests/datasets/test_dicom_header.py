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


SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "OT", "SOPClassUID": SECONDARY},
        {"Modality": "SC", "SOPClassUID": f"{SECONDARY}.2"},
        {"Modality": "OT"},
        {"Modality": "CR", "SOPClassUID": SECONDARY, "BodyPartExamined": ""},
    ],
)
def test_scans_of_films_are_read_when_asked_for(make_dicom: Any, tags: dict[str, Any]) -> None:
    path = make_dicom(PresentationIntentType=None, **tags)
    with pytest.raises(InputError, match=r"Modality.*allow_secondary_capture"):
        read_mammogram(path)
    mammogram = read_mammogram(path, Recipe(allow_secondary_capture=True))
    assert mammogram.pixels.shape == (96, 80)
    assert mammogram.recipe.allow_secondary_capture


def test_film_scans_that_tell_of_a_breast_need_no_permission(make_dicom: Any) -> None:
    # CBIS-DDSM stores its films so.
    assert read_mammogram(make_dicom(SOPClassUID=SECONDARY, PresentationIntentType=None)).notes == ()
    film = make_dicom(SOPClassUID=SECONDARY, Modality="OT", BodyPartExamined="Left Breast")
    assert read_mammogram(film).pixels.shape == (96, 80)


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "OT", "SOPClassUID": SECONDARY, "BodyPartExamined": "CHEST"},
        {"Modality": "CR"},
        {"Modality": "CT", "SOPClassUID": SECONDARY},
        {"Modality": "US", "SOPClassUID": SECONDARY},
    ],
)
def test_no_permission_opens_other_images(make_dicom: Any, tags: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no mammogram") as caught:
        read_mammogram(make_dicom(**tags), Recipe(allow_secondary_capture=True))
    assert "allow_secondary_capture" not in str(caught.value)


def test_recipes_of_older_models_know_no_film_scans() -> None:
    record = Recipe().to_dict()
    assert record.pop("allow_secondary_capture") is False
    assert Recipe.from_dict(record) == Recipe()


def test_lateral_views_stay_apart_from_oblique_ones(make_dicom: Any) -> None:
    views = {"ML": "ML", "LM": "LM", "MLO": "MLO", "LMO": "LMO", "RMLO": "MLO", "LCC": "CC", "RML": "ML"}
    assert {told: read_mammogram(make_dicom(ViewPosition=told)).view for told in views} == views
    # A modifier stays at its view: implant displaced, magnified.
    assert read_mammogram(make_dicom(ViewPosition="CCID")).view == "CCID"
    # What is no view is none, and the code sequence is asked.
    odd = {"ViewPosition": "Smith", "ViewCodeSequence": [_code("R-10224")]}
    assert read_mammogram(make_dicom(**odd)).view == "ML"
    assert read_mammogram(make_dicom(ViewPosition="Smith")).view is None


def test_a_missing_side_and_view_are_none(make_dicom: Any) -> None:
    mammogram = read_mammogram(make_dicom())
    assert (mammogram.laterality, mammogram.view) == (None, None)


def test_non_dicom_bytes_under_dcm_are_named(tmp_path: Path) -> None:
    for content in (
        b"hello world" * 50,
        bytes(1000),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" + bytes(200),
    ):
        (tmp_path / "a.dcm").write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_mammogram(tmp_path / "a.dcm")
        assert caught.value.remedy
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read_mammogram(tmp_path / "a.dcm")
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError):
        read_mammogram(tmp_path / "a.dcm")


NAME, BORN, NUMBER = "Smith^Jane", "19600101", "ACC99"
# The element of the name under every representation, and names where counts and codes belong.
PLANTED: dict[str, list[tuple[int, str, Any]]] = {
    **{f"name as {vr}": [(0x00100010, vr, NAME)] for vr in ("LO", "SH", "UT", "CS", "LT")},
    "name as bytes": [(0x00100010, "UN", NAME.encode()), (0x00080050, "OB", b"ACC99 ")],
    "modality": [(0x00080060, "LO", NAME)],
    "modality as a person": [(0x00080060, "PN", NAME)],
    "modality as a date": [(0x00080060, "DA", BORN)],
    "photometric": [(0x00280004, "LO", NAME)],
    "frames": [(0x00280008, "LO", BORN)],
    "rows": [(0x00280010, "UL", int(BORN))],
    "bits": [(0x00280100, "UL", int(BORN))],
    "stored bits": [(0x00280101, "UL", int(BORN))],
    "view": [(0x00185101, "LO", NAME)],
    "view as a person": [(0x00185101, "PN", NAME)],
    "side": [(0x00200062, "PN", "Lee^Jane Smith")],
    "age": [(0x00101010, "LO", BORN)],
    "spacing": [(0x00181164, "LO", f"{NAME}\\{BORN}")],
    "window": [(0x00281050, "LO", NAME), (0x00281051, "LO", BORN)],
    "window width": [(0x00281050, "DS", "1"), (0x00281051, "DS", "-" + BORN)],
    "function": [(0x00281056, "LO", NAME)],
    "slope": [(0x00281053, "LO", NAME)],
    "padding": [(0x00280120, "LO", NAME)],
    "maker": [(0x00080070, "PN", NAME)],
    "patient": [(0x00100020, "PN", NAME)],
    "magnification": [(0x00181114, "DS", BORN)],
    "character set": [(0x00080005, "CS", NAME)],
}


@pytest.mark.parametrize("case", PLANTED)
def test_no_message_or_note_tells_a_person(make_dicom: Any, tmp_path: Path, case: str) -> None:
    path = make_dicom()
    data = pydicom.dcmread(path)
    inner = Dataset()
    inner.PatientName, inner.PatientBirthDate = NAME, BORN
    data.VOILUTSequence, data.ModalityLUTSequence, data.ViewCodeSequence = [inner], [inner], [inner]
    for tag, representation, value in PLANTED[case]:
        data.add_new(tag, representation, value)
    data.save_as(path)
    told = []
    for recipe in (Recipe(), Recipe(voi="NONE SUCH"), Recipe(allow_for_processing=True, invert="header")):
        for choice in ("patient-id", "hash", "uid"):
            try:
                mammogram = read_mammogram(path, recipe, identify_by=choice)
                told.append([getattr(mammogram, one.name) for one in dataclasses.fields(mammogram)[3:]])
            except InputError as error:
                told.append([str(error).replace(str(tmp_path), ""), repr(error.value)])
    text = repr(told).replace(str(tmp_path), "").upper()
    for secret in ("SMITH", "JANE", "LEE", BORN, "1960", NUMBER):
        assert secret not in text, text


def test_sequences_in_place_of_texts_tell_nothing(make_dicom: Any) -> None:
    path = make_dicom()
    data = pydicom.dcmread(path)
    inner = Dataset()
    inner.PatientName, inner.AccessionNumber = NAME, NUMBER
    for tag in (0x00080060, 0x00280004, 0x00080070, 0x00185101, 0x0020000D, 0x00080018):
        data.add_new(tag, "SQ", [inner])
    data.save_as(path)
    try:
        mammogram = read_mammogram(path)
        text = repr([getattr(mammogram, one.name) for one in dataclasses.fields(mammogram)[3:]])
    except InputError as error:
        text = str(error)
    assert "Smith" not in text
    assert NUMBER not in text
