"""OMI-DB in its real layout, read through its own package: marks, NBSS records, and what the package leaves out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from mammodet.datasets.coco import Coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

STUDY, SERIES, IMAGE = "1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1"
ROWS, COLUMNS = 1200, 900


def mark(**changes: Any) -> dict[str, Any]:
    """Return a mark as imagedb has it: numbers and flags as strings, what is not set null."""
    told = {
        "MarkID": "1",
        **{"X1": "610", "Y1": "980", "X2": "742", "Y2": "861"},
        "LinkedNBSSLesionNumber": "1",
        "Conspicuity": "Obvious",
        "Mass": None,
        "WithCalcification": None,
        "SuspiciousCalcifications": "1",
        "ArchitecturalDistortion": None,
        "FocalAsymmetry": None,
        "BenignClassification": None,
    }
    return {**told, **changes}


def imagedb(images: Mapping[str, Any], **study: Any) -> dict[str, Any]:
    told = {"StudyDate": "20150101", "EpisodeID": "ep1", **study}
    return {"Site": "optm", "STUDIES": {STUDY: {**told, SERIES: dict(images)}}}


def nbss(**events: Any) -> dict[str, Any]:
    """Return NBSS records of one screening episode with lesion 1 in the left breast, and further events."""
    episode = {
        "EpisodeType": "R",
        "EpisodeOpenedDate": "2014-12-20",
        "SCREENING": {"L": {"DateTaken": "2015-01-01", "Opinion": "RN"}, "left_opinion": "ON"},
        "LESION": {"L": {"1": {"LesionDescription": "MC", "LesionPosition": "LA1"}}},
    }
    return {"NBSSClientID": "1234", "ep1": {**episode, **events}}


def surgery(opinion: str | None, lesion: str = "1", side: str = "L", **more: Any) -> dict[str, Any]:
    return {"SURGERY": {side: {lesion: {"Opinion": opinion, "DatePerformed": "2015-02-01", **more}}}}


def biopsy(opinion: str | None, lesion: str = "1", **more: Any) -> dict[str, Any]:
    return {"BIOPSYWIDE": {"L": {lesion: {"Opinion": opinion, **more}}}}


def write_dicom(path: Path, image: str = IMAGE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", image
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = image
    data.Modality, data.PatientID, data.StudyInstanceUID = "MG", "P7", STUDY
    data.PatientName, data.PatientBirthDate, data.AccessionNumber = "Smith^Jane", "19600101", "ACC99"
    data.ImageLaterality, data.ViewPosition, data.Manufacturer = "L", "MLO", "HOLOGIC, Inc."
    data.PresentationIntentType, data.PhotometricInterpretation = "FOR PRESENTATION", "MONOCHROME2"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PixelRepresentation = ROWS, COLUMNS, 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = bytes(ROWS * COLUMNS)
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def lay_out(
    root: Path,
    images: Mapping[str, Any],
    records: Any,
    *,
    client: str = "optm1",
    header: Mapping[str, Any] | None = None,
    suffix: str = ".dcm",
    **study: Any,
) -> Path:
    """Write one client: data/optm1/*.json, data/optm1/STUDY/IMAGE.json, images/optm1/STUDY/IMAGE.dcm."""
    folder = root / "data" / client
    (folder / STUDY).mkdir(parents=True)
    (folder / f"imagedb_{client}.json").write_text(json.dumps(imagedb(images, **study)))
    if records is not None:
        (folder / f"nbss_{client}.json").write_text(json.dumps(records))
    for image in images:
        told = {"00200062": {"vr": "CS", "Value": ["L"]}} if header is None else header
        (folder / STUDY / f"{image}.json").write_text(json.dumps(told))
        path = root / "images" / client / STUDY / f"{image}{suffix}"
        if suffix == ".dcm":
            write_dicom(path, image)
        else:
            write_png(path, np.zeros((ROWS, COLUMNS), dtype=np.uint8))
    return root


def run(root: Path) -> tuple[Coco, Audit]:
    pytest.importorskip("omidb", reason='the package omidb is not installed: pip install "mammodet[omidb]"')
    return convert(load_source("omi-db"), root, root.parent / "coco.json")


def noted(audit: Audit, words: str) -> list[str]:
    return [what for remark, counted in audit.notes.items() if words in remark for what in counted]


def only(root: Path) -> tuple[dict[str, Any], Audit]:
    coco, audit = run(root)
    (lesion,) = coco.annotations
    return dict(lesion), audit


def test_without_its_package_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "omidb", None)
    root = lay_out(tmp_path / "omi", {IMAGE: {}}, nbss())
    with pytest.raises(InputError, match=r'package omidb.*pip install "mammodet\[omidb\]"'):
        convert(load_source("omi-db"), root, tmp_path / "coco.json")


def test_the_shared_client(shared_data: Path, tmp_path: Path) -> None:
    sample = next((shared_data / "formats" / "omidb").rglob("imagedb_*.json"))
    root = lay_out(tmp_path / "omi", {IMAGE: {}}, nbss(**surgery("H5")))
    (root / "data" / "optm1" / "imagedb_optm1.json").write_text(sample.read_text())
    lesion, audit = only(root)
    # X1 Y1 X2 Y2 = 610 980 742 861: the first corner is the lower one
    assert (lesion["bbox"], lesion["category_id"]) == ([610, 861, 132, 119], 2)
    assert (audit.rows_read, audit.rows_used) == (1, 1)


def test_a_mark_and_its_image(tmp_path: Path) -> None:
    records = nbss(**biopsy("B5", MalignancyType="a", DcisGrade="NDH"))
    coco, audit = run(lay_out(tmp_path / "omi", {IMAGE: {"m": mark()}}, records))
    (image,) = coco.images
    assert image.pop("study_id")
    assert image.pop("breast_id").startswith("optm1-")
    assert image == {
        "id": 1,
        "file_name": f"omi/images/optm1/{STUDY}/{IMAGE}.dcm",
        "width": COLUMNS,
        "height": ROWS,
        "patient_id": "optm1",
        "laterality": "L",
        "view": "MLO",
        "manufacturer": "HOLOGIC, Inc.",
        "sop_instance_uid": IMAGE,
        "label": "malignant",
        "dataset": "OMI-DB",
        "provenance": {"client": "optm1", "site": "optm", "episode": "ep1"},
    }
    (lesion,) = coco.annotations
    assert lesion == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [610, 861, 132, 119],
        "area": 132 * 119,
        "iscrowd": 0,
        "geometry_source": "box",
        "finding": "calcification",
        "lesion_id": "optm1-ep1-1",
        "pathology": "malignant",
        "subtype": {"pathotype": "insitu", "grade": "High"},
        "provenance": {
            "mark": "1",
            "flags": ["suspicious_calcifications"],
            "conspicuity": "Obvious",
            "suspicious_calcifications": True,
            "linked_to_histology": True,
            "linked_lesions": [{"lesion": "1", "biopsy_wide": "B5"}],
        },
    }
    assert audit.notes == {}
    text = coco.path.read_text()
    assert not [word for word in ("Smith", "Jane", "19600101", "ACC99", "2015") if word in text]


@pytest.mark.parametrize(
    ("events", "category", "histology"),
    [
        (surgery("H5"), 2, True),
        (surgery("H2"), 1, True),
        (surgery("H1"), None, True),
        (biopsy("B5"), 2, True),
        (biopsy("B2"), 1, True),
        (biopsy("B1"), None, True),
        (biopsy("B3"), None, True),
        (biopsy("B4"), None, True),
        (biopsy("B4") | surgery("H2"), 1, True),
        (biopsy("B3") | surgery("H5"), 2, True),
        (biopsy("B5") | surgery("H1"), 2, True),  # all of it taken by the biopsy
        (biopsy(None, InvasiveComponents="IDC"), 2, True),  # a component and no opinion
        (surgery("H2", DiseaseGrade="G2"), None, True),  # benign with a grade: a contradiction
        ({"BIOPSYFINE": {"L": {"1": {"Opinion": "C5"}}}}, None, False),  # cytology
        ({"ASSESSMENT": {"L": {"1": {}}}}, None, False),
    ],
)
def test_histology_makes_the_category(
    tmp_path: Path, events: dict[str, Any], category: int | None, histology: bool
) -> None:
    lesion, audit = only(lay_out(tmp_path / "omi", {IMAGE: {"m": mark()}}, nbss(**events)))
    assert lesion["category_id"] == (category or 1)
    assert lesion.get("ignore") == (None if category else 1)
    assert lesion["provenance"]["linked_to_histology"] is histology
    assert bool(noted(audit, "no benign or malignant histology: kept with ignore")) == (category is None)


@pytest.mark.parametrize("number", [None, "", "7", "one"])
def test_marks_without_a_link_are_kept_and_counted(tmp_path: Path, number: str | None) -> None:
    images = {IMAGE: {"m": mark(LinkedNBSSLesionNumber=number)}}
    coco, audit = run(lay_out(tmp_path / "omi", images, nbss(**surgery("H5"))))
    (lesion,) = coco.annotations
    assert (lesion["category_id"], lesion["ignore"]) == (1, 1)
    assert "lesion_id" not in lesion
    assert lesion["provenance"]["linked_to_histology"] is False
    assert coco.images[0].get("label") is None
    assert noted(audit, "linked to no NBSS lesion") == [f"optm1 {IMAGE} mark 1"]


@pytest.mark.parametrize(
    ("first", "second", "category"),
    [("H5", "H2", 2), ("H2", "H2", 1), ("H2", "H1", None), ("H2", "absent", None), ("H5", "absent", 2)],
)
def test_a_mark_of_several_lesions_takes_the_worst(
    tmp_path: Path, first: str, second: str, category: int | None
) -> None:
    lesions = {"1": {}, "2": {}} if second != "absent" else {"1": {}}
    parts = {"1": {"Opinion": first}, "2": {"Opinion": second}}
    records = nbss(LESION={"L": lesions}, SURGERY={"L": parts})
    lesion, _ = only(lay_out(tmp_path / "omi", {IMAGE: {"m": mark(LinkedNBSSLesionNumber="1,2")}}, records))
    assert (lesion["category_id"], lesion.get("ignore")) == (category or 1, None if category else 1)
    assert "lesion_id" not in lesion


def test_a_lesion_of_the_other_breast_is_no_truth(tmp_path: Path) -> None:
    """Both breasts may have a lesion 1, and the package keeps the right one's record."""
    records = nbss(LESION={"L": {"1": {}}, "R": {"1": {}}}, **surgery("H5", side="R"))
    lesion, audit = only(lay_out(tmp_path / "omi", {IMAGE: {"m": mark()}}, records))
    assert lesion["ignore"] == 1
    assert noted(audit, "lesion of the other breast") == [f"optm1 {IMAGE} mark 1"]


@pytest.mark.parametrize(
    ("flags", "finding"),
    [
        ({}, "calcification"),
        ({"Mass": "1"}, "mass"),
        ({"ArchitecturalDistortion": "1"}, "calcification"),
        (
            {"SuspiciousCalcifications": None, "ArchitecturalDistortion": "1", "FocalAsymmetry": "1"},
            "distortion",
        ),
        ({"SuspiciousCalcifications": None, "FocalAsymmetry": "1"}, "asymmetry"),
        ({"SuspiciousCalcifications": None, "Vascular": "1"}, "calcification"),
        ({"SuspiciousCalcifications": None, "Skin": "1"}, "other"),
        ({"SuspiciousCalcifications": None}, None),
    ],
)
def test_findings_follow_the_flags(tmp_path: Path, flags: dict[str, Any], finding: str | None) -> None:
    lesion, _ = only(lay_out(tmp_path / "omi", {IMAGE: {"m": mark(**flags)}}, nbss(**surgery("H5"))))
    assert lesion.get("finding") == finding


def test_the_patch_study_can_be_repeated(tmp_path: Path) -> None:
    """Suspicious calcifications, linked to histology, benign or malignant, of a box inside the image."""
    marks = {
        "malignant": mark(MarkID="1"),
        "benign": mark(MarkID="2", LinkedNBSSLesionNumber="2"),
        "unproven": mark(MarkID="3", LinkedNBSSLesionNumber="3"),
        "no calcification": mark(MarkID="4", SuspiciousCalcifications=None, Mass="1"),
        "with a mass": mark(MarkID="5", Mass="1"),
        "no link": mark(MarkID="6", LinkedNBSSLesionNumber=None),
        "empty": mark(MarkID="7", X2="610"),
        "outside": mark(MarkID="8", X1="5000", X2="5100"),
        "far": mark(MarkID="9", X1="9" * 400),
    }
    parts = {"1": {"Opinion": "H5"}, "2": {"Opinion": "H2"}, "3": {"Opinion": "H1"}}
    records = nbss(LESION={"L": {"1": {}, "2": {}, "3": {}}}, SURGERY={"L": parts})
    coco, audit = run(lay_out(tmp_path / "omi", {IMAGE: marks}, records))
    kept = [
        one["provenance"]["mark"]
        for one in coco.annotations
        if not one.get("ignore")
        and one["provenance"]["linked_to_histology"]
        and one["provenance"]["suspicious_calcifications"]
    ]
    assert kept == ["1", "2", "5"]
    pure = [one for one in coco.annotations if one["provenance"]["flags"] == ["suspicious_calcifications"]]
    assert [one["provenance"]["mark"] for one in pure] == ["1", "2", "3", "6"]
    assert {reason: counted.total() for reason, counted in audit.lesions_dropped.items()} == {
        "the box is empty or lies outside its image": 3
    }


@pytest.mark.parametrize(
    ("records", "label"),
    [
        (nbss(), "normal"),
        (nbss(ASSESSMENT={"left_opinion": "ON", "L": {}}), "normal"),
        (nbss(BIOPSYWIDE={"left_opinion": "OM", "L": {}}), None),
        (nbss(SURGERY={"right_opinion": "OB", "R": {}}), None),
        (nbss(EpisodeType="CI"), None),
        (nbss() | {"ep2": {"EpisodeType": "CI"}}, None),
    ],
)
def test_images_without_a_mark(tmp_path: Path, records: dict[str, Any], label: str | None) -> None:
    coco, _ = run(lay_out(tmp_path / "omi", {IMAGE: None}, records))
    assert coco.images[0].get("label") == label
    assert coco.annotations == []


def test_raw_images_are_told(tmp_path: Path) -> None:
    header = {"00080068": {"vr": "CS", "Value": ["FOR PROCESSING"]}}
    coco, audit = run(lay_out(tmp_path / "omi", {IMAGE: None}, nbss(), header=header))
    assert coco.images[0]["provenance"]["presentation_intent"] == "FOR PROCESSING"
    assert noted(audit, "raw image") == [f"optm1 {IMAGE}"]


def test_images_converted_to_png_take_the_side_of_their_header(tmp_path: Path) -> None:
    coco, _ = run(lay_out(tmp_path / "omi", {IMAGE: None}, nbss(), suffix=".png"))
    assert (coco.images[0]["laterality"], coco.images[0]["patient_id"]) == ("L", "optm1")


def test_a_missing_header_is_no_fault(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "omi", {IMAGE: {"m": mark()}}, nbss(**surgery("H5")))
    (root / "data" / "optm1" / STUDY / f"{IMAGE}.json").unlink()
    lesion, _ = only(root)
    assert lesion["category_id"] == 2


def test_what_the_package_leaves_out_is_told(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "omi", {IMAGE: {"m": mark(), "n": mark(X1="wide"), "o": {}}}, nbss())
    lay_out(root, {"1.1": None, "1.2": None}, None, client="optm2")
    lay_out(root, {"2.1": None}, nbss(), client="optm3", EpisodeID="ep9", StudyDate="19990101")
    lay_out(root, {"3.1": None}, nbss(), client="other4")
    (root / "data" / "optm5").mkdir()
    lay_out(root, {"6.1": None}, nbss(), client="optm6")
    (root / "data" / "optm6" / "imagedb_optm6.json").write_text("{")
    coco, audit = run(root)
    assert [one["patient_id"] for one in coco.images] == ["optm1", "other4"]
    assert audit.lesions_dropped == {"omidb cannot read the mark": {f"optm1 {IMAGE}": 2}}
    assert audit.dropped == {
        "omidb cannot read imagedb and nbss of the client": {"optm2": 2},
        "omidb leaves the image out: no episode or no folder of its study": {"optm3 2.1": 1},
        "imagedb of the client: no such file": {"optm5": 1},
        "imagedb of the client: is no JSON": {"optm6": 1},
    }


def test_a_missing_image_is_dropped(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "omi", {IMAGE: None, "1.2.9": None}, nbss())
    (root / "images" / "optm1" / STUDY / "1.2.9.dcm").unlink()
    coco, audit = run(root)
    assert len(coco.images) == 1
    assert audit.dropped == {"no such image file": {"1.2.9": 1}}


def test_the_data_folder_must_be_there(tmp_path: Path) -> None:
    write_dicom(tmp_path / "omi" / "images" / "a.dcm")
    with pytest.raises(InputError, match="no folder of a client in data"):
        run(tmp_path / "omi")


@pytest.mark.parametrize(
    "records",
    [
        [],
        "text",
        {"ep1": []},
        {"ep1": {"LESION": [1]}},
        nbss(LESION={"L": {"1": 3}}),
        nbss(SURGERY={"L": []}),
    ],
)
def test_malformed_records_never_crash(tmp_path: Path, records: Any) -> None:
    root = lay_out(tmp_path / "omi", {IMAGE: {"m": mark()}}, nbss(**surgery("H5")))
    lay_out(root, {"1.9": {"m": mark()}}, records, client="optm9")
    coco, audit = run(root)
    assert coco.images[0]["patient_id"] == "optm1"
    assert audit.rows_read == 2  # the image of the broken client is used or dropped


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [(), ("STUDIES",), ("STUDIES", STUDY), ("STUDIES", STUDY, SERIES), ("STUDIES", STUDY, SERIES, IMAGE)]
    + [
        ("STUDIES", STUDY, SERIES, IMAGE, "m"),
        ("STUDIES", STUDY, "EpisodeID"),
        ("STUDIES", STUDY, "StudyDate"),
    ]
    + [
        ("STUDIES", STUDY, SERIES, IMAGE, "m", key)
        for key in ("X1", "LinkedNBSSLesionNumber", "Mass", "MarkID")
    ]
)


@given(PLACES, JSON)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_imagedb_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, ...], value: Any
) -> None:
    root = lay_out(tmp_path_factory.mktemp("fuzz") / "omi", {IMAGE: None}, nbss(**surgery("H5")))
    content: Any = {"": imagedb({IMAGE: {"m": mark()}})}
    inner = content
    for key in ("", *place)[:-1]:
        inner = inner[key]
    inner[("", *place)[-1]] = value
    (root / "data" / "optm1" / "imagedb_optm1.json").write_text(json.dumps(content[""]))
    try:
        coco, audit = run(root)
    except InputError as error:
        assert "no image of this folder could be used" in str(error)
    else:
        assert len(coco.images) == 1
        assert len(coco.annotations) + sum(map(len, audit.lesions_dropped.values())) <= 1
