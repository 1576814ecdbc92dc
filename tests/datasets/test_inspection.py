"""What is told of one file: each oddity by its name, and nothing of a file that is as it should be."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless

from mammodet.datasets import inspection
from mammodet.datasets.errors import InputError
from mammodet.datasets.inspection import Inspection, inspect_file, inspect_files, recall
from mammodet.datasets.inspection_pixels import chest_side
from mammodet.datasets.isolation import Casualty, map_isolated
from mammodet.datasets.problem import KINDS, SEVERITIES

SIZE = (640, 520)
GOOD: dict[str, Any] = {
    "ImageLaterality": "L",
    "ViewPosition": "CC",
    "ImagerPixelSpacing": [0.1, 0.1],
    "Manufacturer": "HOLOGIC, Inc.",
    "PatientName": "P7",
    "PatientBirthDate": "",
    "AccessionNumber": "",
}


def breast(side: str = "L", seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return 12-bit values: a half ellipse of 1000 to 3500 on air of 50, chest wall on ``side``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    inside = (columns / (0.7 * size[1])) ** 2 + ((rows - size[0] / 2) / (0.4 * size[0])) ** 2
    coarse = cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), 20)
    values = np.where(inside < 1, 2200 + 500 * coarse / coarse.std() + rng.normal(0, 30, size), 50)
    values = values.clip(0, 3900).astype(np.uint16)
    values[size[0] // 2, 10] = 4000
    return values if side == "L" else np.ascontiguousarray(values[:, ::-1])


def kinds(inspection: Inspection) -> set[str]:
    assert all(one.kind in KINDS and one.severity in SEVERITIES for one in inspection.problems)
    assert all(len(one.text.splitlines()) == 1 for one in inspection.problems)
    return {one.kind for one in inspection.problems}


@pytest.fixture
def made(make_dicom: Any) -> Any:
    """Return a function that writes a faultless left CC, changed by tags, and inspects it."""

    def make(values: np.ndarray | None = None, **tags: Any) -> Inspection:
        given = {keyword: value for keyword, value in {**GOOD, **tags}.items() if value is not None}
        return inspect_file(make_dicom(breast() if values is None else values, **given))

    return make


def _item(**values: str) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def test_a_faultless_file_has_no_problem_and_its_facts_are_told(made: Any) -> None:
    found = made()
    assert kinds(found) == set()
    assert (found.width, found.height) == (520, 640)
    assert found.chest_side == "L"
    x, y, width, height = found.breast or (0, 0, 0, 0)
    # The ellipse is 364 px wide and spans the rows 64 to 576; the search is exact to two cells of 640 / 256 px.
    assert x == 0 and abs(width - 364) <= 8 and abs(y - 64) <= 8 and abs(height - 512) <= 14
    assert found.facts["view"] == "CC" and found.facts["laterality_source"] == "header"
    assert found.facts["bit_depth"] == 12 and found.facts["manufacturer"] == "HOLOGIC, Inc."
    assert found.facts["imager_pixel_spacing_mm"] == [0.1, 0.1]
    assert found.facts["patient_id"] != "P7" and len(found.facts["patient_id"]) == 16
    assert found.thumbnail is not None and found.thumbnail.shape == (256, 208)
    assert found.thumbnail.dtype == np.uint8 and found.thumbnail[0, -1] == 0


@pytest.mark.parametrize(
    ("expected", "tags"),
    [
        ({"no-side"}, {"ImageLaterality": None}),
        ({"no-view"}, {"ViewPosition": None}),
        ({"side-conflict"}, {"Laterality": "R"}),
        ({"odd-view"}, {"ViewPosition": "ZZTOP"}),
        ({"special-view"}, {"ViewPosition": "ML"}),
        ({"implant"}, {"ViewPosition": "CCID"}),
        ({"special-view"}, {"ViewPosition": "MLOS"}),
        ({"view-conflict"}, {"ViewCodeSequence": [_item(CodeValue="399368009")]}),
        ({"no-spacing"}, {"ImagerPixelSpacing": None}),
        ({"spacing-conflict"}, {"PixelSpacing": [0.2, 0.2]}),
        ({"odd-spacing"}, {"ImagerPixelSpacing": [0.1, 0.2]}),
        ({"odd-spacing"}, {"ImagerPixelSpacing": [5, 5]}),
        ({"magnification"}, {"EstimatedRadiographicMagnificationFactor": 1.8}),
        # Pixel Spacing corrected for the magnification is no conflict: 0.1 mm / 1.8.
        ({"magnification"}, {"EstimatedRadiographicMagnificationFactor": 1.8, "PixelSpacing": [0.0556, 0.0556]}),
        ({"implant"}, {"BreastImplantPresent": "YES"}),
        ({"burned-in"}, {"BurnedInAnnotation": "YES"}),
        ({"lossy"}, {"LossyImageCompression": "01", "LossyImageCompressionRatio": 8}),
        ({"strong-compression"}, {"LossyImageCompression": "01", "LossyImageCompressionRatio": 60}),
        ({"for-processing"}, {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": -1}),
        ({"secondary-capture"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
        ({"window"}, {"WindowCenter": 2000, "WindowWidth": 0}),
        ({"no-patient"}, {"PatientID": "", "PatientName": ""}),
        ({"identifying"}, {"PatientName": "Doe^Jane"}),
        ({"identifying"}, {"AccessionNumber": "A1"}),
        (set(), {"PatientName": "ANON-1234", "PatientBirthDate": "00000000"}),
        ({"not-mammography"}, {"Modality": "CT"}),
        ({"tomosynthesis"}, {"NumberOfFrames": 40}),
    ],
)  # fmt: skip
def test_an_odd_header_is_told_by_name(made: Any, expected: set[str], tags: dict[str, Any]) -> None:
    assert kinds(made(**tags)) == expected


def test_spot_views_and_displaced_implants_are_told_by_their_modifiers(made: Any) -> None:
    spot = _item(CodeValue="399162004")
    spot.ViewModifierCodeSequence = [_item(CodeValue="399055006")]
    assert kinds(made(ViewCodeSequence=[spot])) == {"special-view"}
    displaced = _item(CodeValue="R-10242")
    displaced.ViewModifierCodeSequence = [_item(CodeValue="R-102D5")]
    assert kinds(made(ViewCodeSequence=[displaced])) == {"implant"}


def test_a_side_that_the_pixels_contradict_is_told_with_its_source(made: Any, tmp_path: Path) -> None:
    found = made(ImageLaterality="R", PatientOrientation=["A", "R"])
    assert kinds(found) == {"mirrored"}
    assert "says R (header), yet the chest wall is on the left" in found.problems[0].text
    assert "Patient Orientation agrees with the pixels" in found.problems[0].text
    assert kinds(made(breast("R"), ImageLaterality="R")) == set()
    cv2.imwrite(str(tmp_path / "x_R_CC.png"), breast() * np.uint16(16))
    raster = inspect_file(tmp_path / "x_R_CC.png")
    assert kinds(raster) == {"mirrored"}
    assert "(file name)" in raster.problems[-1].text


def test_photometric_traps_are_told(made: Any) -> None:
    inverted = 4095 - breast()
    found = made(inverted, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert kinds(found) == {"double-inversion"}
    assert {one.severity for one in found.problems} == {"note"}
    assert kinds(made(inverted, PhotometricInterpretation="MONOCHROME1")) == set()
    assert kinds(made(inverted)) == {"photometric-conflict"}  # MONOCHROME2, and the air is bright
    assert kinds(made(PhotometricInterpretation="MONOCHROME1")) == {"photometric-conflict"}
    assert kinds(made(PresentationLUTShape="INVERSE")) == {"photometric-conflict"}


def test_air_that_is_not_dark_is_told(made: Any) -> None:
    grey = breast().astype(np.int64)
    grey[grey == 50] = 1800
    grey[0, -1] = 0
    assert "air-not-dark" in kinds(made(grey.astype(np.uint16)))


def test_the_pixels_are_judged(made: Any) -> None:
    assert kinds(made(np.full(SIZE, 7, np.uint16))) == {"constant"}
    assert kinds(made(np.minimum(breast(), 2000))) == {"saturated"}
    dim = (breast() // 16).astype(np.uint16)
    dim[320, 10] = 4000
    assert "low-contrast" in kinds(made(dim))
    assert kinds(made(breast(size=(300, 240)))) == {"small"}
    assert kinds(made(breast(size=(520, 1200)))) == {"unusual-shape"}
    eight = (breast() // 16).astype(np.uint8)
    assert kinds(made(eight)) == {"8-bit"}


def test_labels_film_edges_padding_and_cut_breasts_are_told(made: Any) -> None:
    marked = breast()
    marked[30:60, 440:500] = 3800
    found = made(marked)
    assert kinds(found) == {"labels"} and found.facts["labels"] == 1
    edged = breast()
    edged[:, -15:] = 3800
    assert kinds(made(edged)) == {"bright-edge"}
    padded = np.pad(breast(), ((0, 0), (60, 0)))
    assert kinds(made(padded)) == {"padding"}
    cut = breast(size=(640, 800))[:, :520]  # the breast is 560 px wide
    assert kinds(made(np.ascontiguousarray(cut))) == {"cut-off"}


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_chest_wall_is_where_the_breast_is_broad(side: str) -> None:
    mask = breast(side) > 100
    assert chest_side(mask) == side
    shifted = np.roll(mask, 40 if side == "L" else -40, axis=1)  # not at the edge of the frame
    assert chest_side(shifted) == side
    assert chest_side(np.ones((50, 50), bool)) is None


def test_a_file_without_names_in_its_name_is_told(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mdb001.png"), breast() * np.uint16(16))
    found = inspect_file(tmp_path / "mdb001.png")
    assert [(one.kind, one.severity) for one in found.problems] == [("unnamed", "note")]
    assert "side and view" in found.problems[0].text
    jpeg = tmp_path / "mdb001.jpg"
    cv2.imwrite(str(jpeg), (breast() // 16).astype(np.uint8))
    assert kinds(inspect_file(jpeg)) == {"unnamed", "lossy", "8-bit"}


def test_unreadable_files_are_told_in_one_line_without_their_path(make_dicom: Any, tmp_path: Path) -> None:
    whole = make_dicom(breast()).read_bytes()
    files = {
        "empty.dcm": b"",
        "cut.dcm": whole[: len(whole) // 2],
        "text.dcm": b"this is no image at all",
        "head.dcm": whole[:140],
        "cut.png": cv2.imencode(".png", breast())[1].tobytes()[:3000],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found = inspect_file(tmp_path / name)
        assert kinds(found) & {"unreadable", "no-pixels"}, name
        assert found.problems[0].severity == "error"
        assert (found.width, found.thumbnail, found.pixel_digest) == (0, None, None)
        assert str(tmp_path) not in found.problems[0].text
    assert kinds(inspect_file(tmp_path / "missing.dcm")) == {"unreadable"}
    assert kinds(inspect_file(tmp_path)) == {"unreadable"}


def test_no_name_is_quoted_from_a_damaged_header(make_dicom: Any, tmp_path: Path) -> None:
    who = {"PatientName": "Zebrafink^Quintessa", "AccessionNumber": "ACC4711", "PatientBirthDate": "19531224"}
    misplaced = {"ViewPosition": "ZEBRAFINK", "Manufacturer": "for Zebrafink", "Modality": "ACC4711"}
    misplaced |= {"ManufacturerModelName": "*19531224*", "PresentationIntentType": "QUINTESSA"}
    found = [
        inspect_file(make_dicom(breast(), **{**GOOD, **who, key: value}, name=f"{key}.dcm"))
        for key, value in misplaced.items()
    ]
    whole = make_dicom(breast(), syntax=JPEG2000Lossless, **who).read_bytes()
    for length in range(140, 1200, 35):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        found.append(inspect_file(tmp_path / "cut.dcm"))
    told = " ".join(str(one.to_record()) for one in found).lower()
    assert "***" in told  # struck out, so that the search below can fail
    for secret in ("zebrafink", "quintessa", "acc4711", "19531224"):
        assert secret not in told


def test_a_record_holds_everything(made: Any) -> None:
    found = made(ImageLaterality="R")
    back = Inspection.from_record(found.path, found.to_record())
    assert (back.facts, back.problems, back.breast) == (found.facts, found.problems, found.breast)
    assert (back.pixel_digest, back.difference_hash) == (found.pixel_digest, found.difference_hash)
    np.testing.assert_array_equal(back.thumbnail, found.thumbnail)


def test_files_are_inspected_in_order_and_kept(make_dicom: Any, tmp_path: Path) -> None:
    paths = [make_dicom(breast(seed=seed), **GOOD, name=f"{seed}.dcm") for seed in range(3)]
    paths.insert(1, tmp_path / "broken.dcm")
    paths[1].write_bytes(b"")
    store = tmp_path / "store.sqlite"
    first = list(inspect_files(paths, workers=2, store=store))
    assert [one.path for one in first] == paths
    assert [kinds(one) for one in first] == [set(), {"unreadable"}, set(), set()]
    for path in paths:  # what is kept is not read again: other bytes of the same size and time
        state = path.stat()
        path.write_bytes(b"x" * state.st_size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    paths[3].write_bytes(b"changed")
    again = list(inspect_files(paths, workers=1, store=store))
    assert [kinds(one) for one in again] == [set(), {"unreadable"}, set(), {"unreadable"}]
    np.testing.assert_array_equal(again[0].thumbnail, first[0].thumbnail)
    assert [one is not None and one.width for one in recall(paths, store)] == [520, 0, 520, 0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    found = inspect_file(tmp_path / "pipe.dcm")
    assert [one.text for one in found.problems] == ["is no regular file; give image files only"]


def test_an_item_that_never_ends_costs_only_itself() -> None:
    begun = time.monotonic()
    assert list(map_isolated(time.sleep, [0, 100, 0], workers=1, limit_s=1)) == [
        None,
        Casualty("hung"),
        None,
    ]
    assert time.monotonic() - begun < 50


def test_what_the_decoder_did_is_told(
    make_dicom: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [make_dicom(breast(), **GOOD, name="1.dcm"), tmp_path / "2.dcm", tmp_path / "3.dcm"]
    answers = iter([inspect_file(paths[0]), Casualty("hung"), Casualty("died")])
    monkeypatch.setattr(inspection, "map_isolated", lambda *_, **__: answers)
    found = list(inspect_files(paths, limit_s=1.5))
    assert [one.width for one in found] == [520, 0, 0]
    assert "did not end within 1.5 s" in found[1].problems[0].text
    assert "crashed the process" in found[2].problems[0].text


def test_names_of_any_bytes_are_files_like_others(tmp_path: Path) -> None:
    latin, other = (
        tmp_path / os.fsdecode(b"M\xfcller_L_CC.png"),
        tmp_path / os.fsdecode(b"M\xe4ller_L_CC.png"),
    )
    for path in (latin, other):
        coded = cv2.imencode(".png", breast())[1].tobytes()
        path.write_bytes(coded)
    found = [inspect_file(path) for path in (latin, other)]
    assert [one.width for one in found] == [520, 520]
    assert found[0].facts["patient_id"] != found[1].facts["patient_id"]


def test_a_pseudonym_is_struck_out_as_a_whole_only(made: Any) -> None:
    tags: dict[str, Any] = {
        "PatientID": "DEMO-0-7",
        "PatientName": "DEMO^0-7",
        "Manufacturer": "demo phantom",
    }
    assert made(**tags).facts["manufacturer"] == "demo phantom"
    tags["PatientName"] = "Demo^Jane"  # a name: its parts must not stand anywhere
    assert made(**tags).facts["manufacturer"] == "*** phantom"


def test_a_worker_that_dies_costs_only_its_item() -> None:
    # ctypes.string_at(0) reads at the null pointer, which kills the process; bytes come back as they are.
    items: list[Any] = [b"a", 0, b"b", b"c", 0]
    found = list(map_isolated(ctypes.string_at, items, workers=1))
    assert found == [b"a", Casualty("died"), b"b", b"c", Casualty("died")]


def test_workers_are_counted_from_one() -> None:
    with pytest.raises(InputError, match="at least 1"):
        list(map_isolated(abs, [1], workers=-1))
    assert list(map_isolated(abs, [], workers=1)) == []


def test_the_real_exam_has_two_mirrored_views(shared_data: Path) -> None:
    found = {path.stem: inspect_file(path) for path in sorted(shared_data.glob("exam/*.png"))}
    assert {name for name, one in found.items() if "mirrored" in kinds(one)} == {"R-CC", "R-MLO"}
    assert {one.chest_side for one in found.values()} == {"L"}


def test_a_real_dicom_file_is_clean(shared_data: Path) -> None:
    found = inspect_file(shared_data / "dicom" / "ge_essential_r_mlo.dcm")
    assert kinds(found) == set()
    assert (found.chest_side, found.facts["laterality"], found.facts["view"]) == ("R", "R", "MLO")
    assert found.facts["windows"] == 3 and found.facts["padding_value"] == 0


def test_the_chest_wall_of_real_films_is_found(shared_data: Path) -> None:
    paths = sorted(shared_data.glob("mini-mias/*.pgm"))[:30]
    assert len(paths) == 30
    # Films come in pairs; on all 118 the even one has its chest wall on the left, and the odd one on the right.
    sides = [inspect_file(path).chest_side for path in paths]
    assert sides == ["L" if int(path.stem[3:]) % 2 == 0 else "R" for path in paths]
