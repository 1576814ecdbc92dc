"""What is told of several files together, and how the contact sheet shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mammodet.datasets.doctor import Diagnosis, diagnose, short_names, view_name
from mammodet.datasets.doctor_sheet import COLOURS, Tile, draw_sheet
from mammodet.datasets.fingerprint import difference_hash, pixel_digest
from mammodet.datasets.inspection import Inspection, inspect_file
from mammodet.datasets.inspection_pixels import thumbnail
from mammodet.datasets.problem import KINDS, problem


def _picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:600, :480].astype(np.float32)
    inside = (columns / 380) ** 2 + ((rows - 300) / 250) ** 2 < 1
    noise = cv2.GaussianBlur(rng.normal(0, 1, (600, 480)), (0, 0), 18)
    return np.where(inside, np.clip(0.5 + 0.2 * noise / noise.std(), 0.1, 1), 0).astype(np.float32)


def _file(name: str, pixels: np.ndarray | int | None = None, **facts: Any) -> Inspection:
    """Return the inspection of a DICOM file with these facts and a picture, by default one of its name's own."""
    if pixels is None:
        pixels = sum(map(ord, name))
    if isinstance(pixels, int):
        pixels = _picture(pixels)
    facts = {"file_kind": "dicom", "sop_instance": name, "patient_id": "p1", "study_id": "s1", **facts}
    return Inspection(
        path=Path("set", name),
        facts=facts,
        width=pixels.shape[1],
        height=pixels.shape[0],
        breast=(0, 50, 380, 500),
        pixel_digest=pixel_digest(pixels),
        difference_hash=difference_hash(pixels, (0, 50, 380, 500)),
        thumbnail=thumbnail(pixels),
    )


def _exam(patient: str = "p1", study: str = "s1", **facts: Any) -> list[Inspection]:
    return [
        _file(
            f"{patient}_{side}_{view}",
            patient_id=patient,
            study_id=study,
            laterality=side,
            view=view,
            **facts,
        )
        for side in "LR"
        for view in ("CC", "MLO")
    ]


def _groups(diagnosis: Diagnosis) -> dict[str, list[set[str]]]:
    found: dict[str, list[set[str]]] = {}
    for group in diagnosis.groups:
        assert group.problem.kind in KINDS
        found.setdefault(group.problem.kind, []).append({path.name for path in group.paths})
    return found


def test_complete_exams_have_nothing_in_common_that_is_odd() -> None:
    diagnosis = diagnose([*_exam("p1", "s1"), *_exam("p2", "s2")])
    assert _groups(diagnosis) == {}
    assert diagnosis.worst is None
    counts = diagnosis.counts()
    assert (counts["files"], counts["patients"], counts["studies"]) == (8, 2, 2)
    assert counts["views"] == {"L-CC": 2, "L-MLO": 2, "R-CC": 2, "R-MLO": 2}


def test_duplicates_are_told_apart_by_uid_and_pixels() -> None:
    files = [
        _file("a", 1, sop_instance="u1"),
        _file("b", 1, sop_instance="u1"),
        _file("c", 2, sop_instance="u2"),
        _file("d", 3, sop_instance="u2"),
        _file("e", 4),
        _file("f", 4, patient_id="p9"),
    ]
    diagnosis = diagnose([replace(one, facts={**one.facts, "study_id": one.path.name}) for one in files])
    found = _groups(diagnosis)
    assert found["duplicate-instance"] == [{"a", "b"}]
    assert found["uid-clash"] == [{"c", "d"}]
    assert found["duplicate-pixels"] == [{"e", "f"}]
    assert diagnosis.worst == "error"
    text = next(one.problem.text for one in diagnosis.groups if one.problem.kind == "duplicate-pixels")
    assert "under 2 patients" in text


def test_changed_and_mirrored_copies_are_told() -> None:
    original = _picture(7)
    half = cv2.resize(original, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    files = [
        _file("original", original),
        _file("half", half),
        _file("mirror", original[:, ::-1] ** 0.9),
        *(_file(str(seed), seed) for seed in range(20, 26)),
    ]
    files[1] = replace(files[1], breast=(0, 25, 190, 250))
    files[2] = replace(files[2], breast=(100, 50, 380, 500))
    found = _groups(diagnose(files))
    assert found["near-duplicate"] == [{"original", "half"}]
    assert sorted(map(sorted, found["mirrored-copy"])) == [["half", "mirror"], ["mirror", "original"]]


def test_missing_and_repeated_views_of_a_study() -> None:
    exam = [one for one in _exam() if one.path.name != "p1_R_MLO"]
    found = diagnose([*exam, _file("again", laterality="L", view="CC")])
    assert _groups(found)["repeated-view"] == [{"p1_L_CC", "again"}]
    assert "the study has no R-MLO;" in next(
        one.problem.text for one in found.groups if one.problem.kind == "missing-views"
    )
    # A lateral view stands for the oblique one; a spot view stands for nothing, and repeats nothing.
    lateral = _file("lateral", laterality="R", view="ML")
    spot = _file("spot", laterality="L", view="CC", view_modifiers=["spot compression"])
    assert _groups(diagnose([*exam, lateral, spot])) == {}
    # A raw image beside the processed one is no repetition, and files that tell no view are no study.
    raw = _file("raw", laterality="R", view="CC", presentation_intent="FOR PROCESSING")
    assert _groups(diagnose([*_exam(), raw])) == {}
    assert _groups(diagnose([_file("film")])) == {}


def test_patients_that_share_a_study() -> None:
    files = [*_exam("p1", "s1"), *_exam("p2", "s1")]
    assert [len(names) for names in _groups(diagnose(files))["study-shared"]] == [8]
    # Folders of files without a header are no studies of one patient.
    named = [replace(one, facts={**one.facts, "file_kind": "png"}) for one in files]
    assert "study-shared" not in _groups(diagnose(named))


def test_mixtures_name_the_rare_ones_and_are_no_problem_of_a_file() -> None:
    files = [*_exam("p1", "s1"), *_exam("p2", "s2"), *_exam("p3", "s3")]
    for index, one in enumerate(files):
        vendor = "GE" if index < 2 else "HOLOGIC"
        shape = {"manufacturer": vendor, "imager_pixel_spacing_mm": [0.1, 0.1] if index < 2 else [0.07, 0.07]}
        files[index] = replace(one, facts={**one.facts, **shape, "photometric": "MONOCHROME2"})
    diagnosis = diagnose(files)
    assert set(_groups(diagnosis)) == {"mixed-vendors", "mixed-spacing"}
    assert _groups(diagnosis)["mixed-vendors"] == [{"p1_L_CC", "p1_L_MLO"}]
    assert "HOLOGIC 10, GE 2" in diagnosis.groups[0].problem.text
    assert not any(diagnosis.problems.values())


def test_problems_come_worst_first_and_kinds_are_counted_by_file() -> None:
    bad = replace(
        _file("a"), problems=(problem("8-bit", "8"), problem("mirrored", "m"), problem("mirrored", "n"))
    )
    gone = Inspection(Path("set/b"), problems=(problem("unreadable", "cut off"),))
    diagnosis = diagnose([bad, gone, replace(_file("c"), problems=(problem("8-bit", "8"),))])
    assert [one.kind for one in diagnosis.problems[bad.path]] == ["mirrored", "mirrored", "8-bit"]
    assert [(key, len(paths)) for key, paths in diagnosis.kinds.items()] == [
        (("error", "unreadable"), 1),
        (("warning", "mirrored"), 1),
        (("note", "8-bit"), 2),
    ]
    assert diagnosis.worst == "error"
    assert len(diagnosis.readable) == 2
    assert all(one.thumbnail is None for one in diagnosis.inspections)


def test_names_are_shown_below_the_common_folder() -> None:
    names = short_names([Path("x/y/a/1.png"), Path("x/y/b/1.png")])
    assert list(names.values()) == ["a/1.png", "b/1.png"]
    assert list(short_names([Path("x/y/1.png")]).values()) == ["1.png"]
    assert short_names([]) == {}
    assert view_name(_file("a", view="CC")) == "?-CC"
    assert view_name(_file("a")) == "unknown"


def test_a_sheet_frames_each_tile_in_the_colour_of_its_worst_problem() -> None:
    grey = np.full((200, 160), 90, np.uint8)
    worst = (
        [problem("unreadable", "x")],
        [problem("mirrored", "x"), problem("8-bit", "x")],
        [problem("8-bit", "x")],
        [],
    )
    tiles = [Tile(f"{index}.dcm", "", problems, grey) for index, problems in enumerate(worst)]
    sheet = draw_sheet(tiles, "four files")
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[2] == 3
    colours = [COLOURS[name] for name in ("error", "warning", "note", "clean")]
    # The upper edges of the four frames, from left to right, in the first row below the title that has them.
    row = next(line for line in sheet[66:] if (line == colours[3]).all(axis=1).any())
    places = [np.flatnonzero((row == colour).all(axis=1)) for colour in colours]
    assert all(len(place) > 200 for place in places)
    assert [place[0] for place in places] == sorted(place[0] for place in places)


def test_a_sheet_shows_pictures_and_grey_tiles_for_files_without() -> None:
    bright = np.full((256, 100), 255, np.uint8)
    shown = draw_sheet([Tile("a", "", [], bright)], "")
    # 256 x 100 pixels of the picture are white; letters are not pure white.
    assert (shown == 255).all(axis=2).sum() == 256 * 100
    gone = draw_sheet([Tile("a", "", [problem("unreadable", "x")], None)], "")
    assert (gone == (70, 72, 78)).all(axis=2).sum() > 200 * 200


@pytest.mark.parametrize("count", [1, 5, 60])
def test_sheets_of_any_length_can_be_drawn(count: int) -> None:
    every = [problem(kind, "x") for kind in KINDS]
    names = ["ä" * 200, "", "一二三.dcm", "a\nb\t\x00c", "../../x" * 40]
    tiles = [
        Tile(
            names[index % len(names)],
            "R-MLO",
            every[: index % len(every)],
            np.zeros((1 + index, 256 - index), np.uint8),
        )
        for index in range(count)
    ]
    sheet = draw_sheet(tiles, "t" * 500)
    assert sheet.shape[1] <= 10 * 300 and sheet.shape[0] < 6 * 480 + 100


def test_real_files_of_an_exam_are_one_complete_study(shared_data: Path) -> None:
    diagnosis = diagnose([inspect_file(path) for path in sorted(shared_data.glob("exam/*.png"))])
    assert _groups(diagnosis) == {}
    assert {path.stem for path in diagnosis.kinds["warning", "mirrored"]} == {"R-CC", "R-MLO"}
    assert diagnosis.worst == "warning"
