"""DDSM on a case in its real layout: film lists, chain codes, and what they leave untold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mammodet.datasets.coco import Coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.ddsm_overlay import Chain, chain_shape, read_overlay
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

CASE = "cases/cancers/cancer_09/case3159"
VIEWS = ("LEFT_CC", "LEFT_MLO", "RIGHT_CC", "RIGHT_MLO")
SIZES = {
    "LEFT_CC": (3120, 4544),
    "LEFT_MLO": (3112, 4536),
    "RIGHT_CC": (3088, 4616),
    "RIGHT_MLO": (3088, 4616),
}

# A square of 4 x 4 steps whose outline is 5 x 5 pixels, and one that leaves the right edge of LEFT_CC.
SQUARE = "1000 2000 2 2 2 2 4 4 4 4 6 6 6 6 0 0 0 0 #"
OVER_THE_EDGE = f"3110 40 {'3 ' * 12}{'5 ' * 12}{'7 ' * 12}{'1 ' * 12}#"


def abnormality(
    outline: str = SQUARE,
    *,
    number: int = 1,
    types: Sequence[str] = ("MASS SHAPE OVAL MARGINS CIRCUMSCRIBED",),
    pathology: str = "MALIGNANT",
    outlines: int = 1,
    more: str = "",
) -> str:
    lesion_types = "".join(f"LESION_TYPE {text} \n" for text in types)
    return (
        f"ABNORMALITY {number} \n{lesion_types}ASSESSMENT 4 \nSUBTLETY 5 \nPATHOLOGY {pathology} \n"
        f"TOTAL_OUTLINES {outlines} \nBOUNDARY \n{outline}\n{more}"
    )


def overlay(*abnormalities: str) -> str:
    return f"TOTAL_ABNORMALITIES {len(abnormalities)} \n" + "".join(abnormalities)


def ics(marked: Sequence[str] = ("LEFT_CC", "LEFT_MLO")) -> str:
    lines = [
        f"{view} LINES {SIZES[view][1]} PIXELS_PER_LINE {SIZES[view][0]} BITS_PER_PIXEL 12 RESOLUTION 50 "
        + ("OVERLAY" if view in marked else "NON_OVERLAY")
        for view in VIEWS
    ]
    head = (
        "ics_version 1.0\nfilename B-3159-1\nDATE_OF_STUDY 29 5 1998\nPATIENT_AGE 58\nFILM \n"
        "FILM_TYPE REGULAR\nDENSITY 2\nDATE_DIGITIZED 14 7 1998\nDIGITIZER LUMISYS LASER\nSEQUENCE\n"
    )
    return head + " \n".join(lines) + "\n"


def film(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("1", size).save(path)  # one bit per pixel: full size in a moment


def lay_out(
    root: Path,
    overlays: dict[str, str],
    *,
    text: str | None = None,
    case: str = CASE,
    images: dict[str, str] | None = None,
    scale: float = 1,
) -> Path:
    """Write the case B-3159-1 with overlays by view, and its films under the names of ``images``."""
    folder = root / case
    folder.mkdir(parents=True)
    (folder / "B-3159-1.ics").write_text(ics(tuple(overlays)) if text is None else text)
    for view, content in overlays.items():
        (folder / f"B_3159_1.{view}.OVERLAY").write_text(content)
    names = {view: f"B_3159_1.{view}.png" for view in VIEWS} if images is None else images
    for view, name in names.items():
        film(folder / name, (round(SIZES[view][0] * scale), round(SIZES[view][1] * scale)))
    return root


def run(root: Path) -> tuple[Coco, Audit]:
    return convert(load_source("ddsm"), root, root.parent / "coco.json")


def image(coco: Coco, view: str) -> dict[str, Any]:
    return dict(next(one for one in coco.images if f"B_3159_1.{view}." in one["file_name"]))


def labels(coco: Coco) -> dict[str, str | None]:
    return {view: image(coco, view).get("label") for view in VIEWS}


def noted(audit: Audit, words: str) -> list[str]:
    return [what for remark, counted in audit.notes.items() if words in remark for what in counted]


def test_the_shared_case(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "formats" / "ddsm"
    text = (folder / "B-3159-1.ics").read_text()
    drawn = (folder / "B_3159_1.LEFT_CC.OVERLAY").read_text()
    coco, audit = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": drawn}, text=text))
    assert len(coco.images) == 4
    first, second = coco.annotations
    assert (first["category_id"], first["finding"], first["birads"]) == (2, "calcification", "4")
    assert first["bbox"] == [1000, 2000, 5, 5]
    assert first["provenance"]["cores"] == 1
    # from (3110, 40) 12 steps down and right, down and left, up and left, up and right: x 3098 to 3122
    assert second["bbox"] == [3098, 40, 3120 - 3098, 25]
    assert second["provenance"]["bbox_before_clipping"] == [3098, 40, 25, 25]
    assert (second["category_id"], second["finding"], second["pathology"]) == (1, "mass", "benign")
    assert noted(audit, "announces an overlay") == ["B_3159_1.LEFT_MLO"]
    assert labels(coco) == {
        "LEFT_CC": "malignant",
        "LEFT_MLO": None,
        "RIGHT_CC": "normal",
        "RIGHT_MLO": "normal",
    }


def test_what_a_case_tells(tmp_path: Path) -> None:
    types = ("CALCIFICATION TYPE PLEOMORPHIC DISTRIBUTION CLUSTERED", "MASS SHAPE OVAL MARGINS N/A")
    drawn = overlay(
        abnormality(types=types[:1], outlines=2, more="\tCORE\n1001 2001 2 2 4 4 6 6 0 0 #\n"),
        abnormality(OVER_THE_EDGE, number=2, types=types, pathology="BENIGN_WITHOUT_CALLBACK"),
    )
    coco, audit = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": drawn}))
    assert image(coco, "LEFT_CC") == {
        "id": 1,
        "file_name": f"ddsm/{CASE}/B_3159_1.LEFT_CC.png",
        "width": 3120,
        "height": 4544,
        "patient_id": "B_3159_1",
        "breast_id": "B_3159_1-L",
        "laterality": "L",
        "view": "CC",
        "age": 58,
        "density": "B",
        "spacing_mm": [0.05, 0.05],
        "label": "malignant",
        "dataset": "DDSM",
        "provenance": {"case": "B-3159-1", "category": "cancers", "digitizer": "LUMISYS LASER"},
    }
    first, second = coco.annotations
    assert first["bbox"] == [1000, 2000, 5, 5]
    assert first["area"] == 25  # the 16 pixels of the outline and the 9 inside
    assert first["segmentation"] == [
        [1000.5, 2000.5, 1004.5, 2000.5, 1004.5, 2004.5, 1000.5, 2004.5, 1000.5, 2000.5]
    ]
    assert first["geometry_source"] == "chain-code"
    assert first["subtype"] == {"calc_type": "PLEOMORPHIC", "calc_distribution": "CLUSTERED"}
    assert first["provenance"] == {
        "abnormality": "1",
        "lesion_types": [types[0]],
        "cores": 1,
        "pathology": "MALIGNANT",
        "assessment": "4",
        "subtlety": "5",
    }
    assert second["category_id"] == 1
    assert "finding" not in second  # a calcification and a mass: the types are in the provenance
    assert second["provenance"]["lesion_types"] == list(types)
    assert second["subtype"]["mass_shape"] == "OVAL"
    assert "mass_margins" not in second["subtype"]  # N/A
    assert audit.clipped == [f"{CASE}/B_3159_1.LEFT_CC.png"]
    assert (audit.rows_read, audit.rows_used) == (4, 4)
    assert "1998" not in coco.path.read_text()  # dates stay in the .ics file
    assert noted(audit, "TOTAL") == []
    assert noted(audit, "not read") == []


@pytest.mark.parametrize(
    ("types", "finding"),
    [
        (["CALCIFICATION TYPE AMORPHOUS DISTRIBUTION LINEAR"], "calcification"),
        (["MASS SHAPE IRREGULAR MARGINS SPICULATED"], "mass"),
        (["MASS SHAPE IRREGULAR-ARCHITECTURAL_DISTORTION MARGINS SPICULATED"], "mass"),
        (["MASS SHAPE ARCHITECTURAL_DISTORTION MARGINS N/A"], "distortion"),
        (["MASS SHAPE FOCAL_ASYMMETRIC_DENSITY MARGINS N/A"], "asymmetry"),
        (["MASS SHAPE ASYMMETRIC_BREAST_TISSUE MARGINS N/A"], "asymmetry"),
        (["OTHER"], "other"),
        (["CALCIFICATION TYPE X DISTRIBUTION Y", "CALCIFICATION TYPE Z DISTRIBUTION Y"], "calcification"),
        ([], None),
    ],
)
def test_findings_follow_the_lesion_types(tmp_path: Path, types: list[str], finding: str | None) -> None:
    drawn = overlay(abnormality(types=types))
    coco, _ = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": drawn}, images={"LEFT_CC": "B_3159_1.LEFT_CC.png"}))
    assert coco.annotations[0].get("finding") == finding


@pytest.mark.parametrize(
    ("pathology", "category", "ignored", "label"),
    [
        ("MALIGNANT", 2, None, "malignant"),
        ("BENIGN", 1, None, "benign"),
        ("BENIGN_WITHOUT_CALLBACK", 1, None, "benign"),
        ("UNPROVEN", 1, 1, None),
        ("", 1, 1, None),
    ],
)
def test_pathology_makes_the_category(
    tmp_path: Path, pathology: str, category: int, ignored: int | None, label: str | None
) -> None:
    coco, audit = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality(pathology=pathology))}))
    (lesion,) = coco.annotations
    assert (lesion["category_id"], lesion.get("ignore")) == (category, ignored)
    assert image(coco, "LEFT_CC").get("label") == label
    assert bool(noted(audit, "neither malignant nor benign")) == (ignored == 1)


def test_films_without_a_mark(tmp_path: Path) -> None:
    """The other view of a marked breast is unknown, the other breast normal."""
    coco, audit = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality())}))
    assert labels(coco) == {
        "LEFT_CC": "malignant",
        "LEFT_MLO": None,
        "RIGHT_CC": "normal",
        "RIGHT_MLO": "normal",
    }
    assert noted(audit, "another view of the breast only") == ["B_3159_1.LEFT_MLO"]


@pytest.mark.parametrize(
    ("case", "label"),
    [
        ("normals/normal_01/case3159", "normal"),
        ("case3159", "normal"),
        ("benigns/benign_01/case3159", None),
        ("cancers/cancer_01/case3159", None),
        ("benign_without_callbacks/case3159", None),
    ],
)
def test_cases_without_any_mark(tmp_path: Path, case: str, label: str | None) -> None:
    coco, audit = run(lay_out(tmp_path / "ddsm", {}, case=case))
    assert labels(coco) == dict.fromkeys(VIEWS, label)
    assert bool(noted(audit, "nothing is marked")) == (label is None)


def test_an_overlay_that_the_ics_file_denies_is_taken_and_told(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality())}, text=ics(marked=()))
    coco, audit = run(root)
    assert image(coco, "LEFT_CC")["label"] == "malignant"
    assert noted(audit, "announces no overlay") == ["B_3159_1.LEFT_CC"]
    assert noted(audit, "another view of the breast only") == ["B_3159_1.LEFT_MLO"]


def test_totals_that_lie_are_told_and_not_trusted(tmp_path: Path) -> None:
    drawn = "TOTAL_ABNORMALITIES 3\n" + abnormality(outlines=4)
    coco, audit = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": drawn}))
    assert len(coco.annotations) == 1
    assert noted(audit, "TOTAL_ABNORMALITIES") == ["B_3159_1.LEFT_CC (3, 1)"]
    assert noted(audit, "TOTAL_OUTLINES") == ["B_3159_1.LEFT_CC abnormality 1 (4, 1)"]


def test_odd_outlines_are_told(tmp_path: Path) -> None:
    drawn = overlay(
        abnormality("10 10 2 2 2 2 4 4 4 4 #"),  # ends 4 right of and 4 below its start
        abnormality("10 20 2 2 4 4 6 6 0 0", number=2),  # no end mark
        abnormality(number=3).partition("BOUNDARY")[0],
        abnormality(number=4, outlines=2, more="BOUNDARY\n30 30 2 4 6 0 #\n"),
    )
    coco, audit = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": drawn}))
    assert [one["bbox"] for one in coco.annotations] == [
        [10, 10, 5, 5],
        [10, 20, 3, 3],
        [1000, 2000, 5, 5],
        [30, 30, 2, 2],
    ]
    assert coco.annotations[0]["provenance"]["gap_px"] == 4
    assert coco.annotations[0]["area"] == 15  # a right triangle of 5 x 5 pixels: 5 + 4 + 3 + 2 + 1
    assert noted(audit, "not closed") == ["B_3159_1.LEFT_CC abnormality 1 (4 px)"]
    assert noted(audit, "no end mark") == ["B_3159_1.LEFT_CC abnormality 2"]
    assert noted(audit, "several boundaries") == ["B_3159_1.LEFT_CC abnormality 4"]
    assert list(audit.lesions_dropped) == ["the abnormality has no boundary"]


@pytest.mark.parametrize(
    "name", ["B_3159_1.LEFT_CC.LJPEG.png", "b_3159_1.left_cc.tif", "../png/B_3159_1.LEFT_CC.LJPEG.1.png"]
)
def test_films_are_found_under_the_names_that_converters_give(tmp_path: Path, name: str) -> None:
    coco, _ = run(lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality())}, images={"LEFT_CC": name}))
    assert [one["label"] for one in coco.images] == ["malignant"]


def test_a_rescaled_copy_keeps_places_and_millimetres(tmp_path: Path) -> None:
    """A quarter of the size: boxes and their lengths too, pixels of four times the spacing."""
    root = lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality())}, scale=0.25)
    coco, audit = run(root)
    assert (image(coco, "LEFT_CC")["width"], image(coco, "LEFT_CC")["height"]) == (780, 1136)
    assert image(coco, "LEFT_CC")["spacing_mm"] == [0.2, 0.2]
    assert coco.annotations[0]["bbox"] == [250, 500, 1.25, 1.25]
    assert len(noted(audit, "rescaled")) == 4


def test_a_cut_copy_is_dropped(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality())})
    film(root / CASE / "B_3159_1.LEFT_CC.png", (1500, 4544))
    coco, audit = run(root)
    assert len(coco.images) == 3
    assert list(audit.dropped) == ["the annotations were drawn on an image of another shape"]


def test_ljpeg_films_are_told(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality())}, images={})
    for view in VIEWS:
        (root / CASE / f"B_3159_1.{view}.LJPEG").write_bytes(b"\xff\xd8\xff\xc3 lossless")
    with pytest.raises(InputError, match=r"\.LJPEG only.*convert them to 16-bit PNG"):
        run(root)
    film(root / CASE / "B_3159_1.LEFT_CC.png", SIZES["LEFT_CC"])
    coco, audit = run(root)
    assert [one["label"] for one in coco.images] == ["malignant"]
    assert {reason: counted.total() for reason, counted in audit.dropped.items()} == {
        "the film is there as .LJPEG only: convert it to PNG": 3
    }
    assert audit.without_pixels == ["B_3159_1.LEFT_MLO", "B_3159_1.RIGHT_CC", "B_3159_1.RIGHT_MLO"]


def test_missing_and_ambiguous_films_are_dropped(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "ddsm", {}, images={"LEFT_CC": "a/B_3159_1.LEFT_CC.png"})
    film(root / CASE / "b" / "B_3159_1.RIGHT_CC.png", SIZES["RIGHT_CC"])
    film(root / CASE / "a" / "B_3159_1.RIGHT_CC.tif", SIZES["RIGHT_CC"])
    coco, audit = run(root)
    assert len(coco.images) == 1
    assert {reason: list(counted) for reason, counted in audit.dropped.items()} == {
        "no such image file": ["B_3159_1.LEFT_MLO", "B_3159_1.RIGHT_MLO"],
        "several image files or overlays of one film": ["B_3159_1.RIGHT_CC"],
    }


def test_a_copy_of_a_case_is_taken_once(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "ddsm", {"LEFT_CC": overlay(abnormality())}, case="a/case3159")
    lay_out(root, {"LEFT_CC": overlay(abnormality())}, case="b/case3159")
    coco, audit = run(root)
    assert [one["file_name"].split("/")[1] for one in coco.images] == ["a"] * 4
    assert audit.dropped == {"a copy of a case: the first one is taken": {"b/case3159/B-3159-1.ics": 4}}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            "ABNORMALITY 1\nBOUNDARY\n10 10 2 9 #",
            "outline at line 2: must be a column, a row and steps of 0 to 7",
        ),
        ("ABNORMALITY 1\nBOUNDARY\n10 x 2 #", "outline at line 2"),
        ("ABNORMALITY 1\nBOUNDARY\n10 #", "outline at line 2"),
        ("ABNORMALITY 1\nBOUNDARY\n#", "outline at line 2"),
        ("ABNORMALITY 1\nBOUNDARY\n99999999 1 2 #", "outline at line 2"),
        ("ABNORMALITY 1\nBOUNDARY\n1 1 2 #\nHELLO", "line 4: is no line of a DDSM overlay"),
        ("PATHOLOGY BENIGN", "line 1: is no line of a DDSM overlay"),
        ("\0", "zero characters"),
    ],
)
def test_malformed_overlays_are_named(tmp_path: Path, bad: str, message: str) -> None:
    root = lay_out(tmp_path / "ddsm", {"LEFT_CC": bad})
    with pytest.raises(InputError, match=message) as caught:
        run(root)
    assert "B_3159_1.LEFT_CC.OVERLAY" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ics_version 1.0\n", "lists no film"),
        ("LEFT_CC LINES 4544 PIXELS_PER_LINE 3120\n", "line 1: is no film of an .ics file"),
        (ics().replace("LINES 4544", "LINES 0"), "line 11: is no film"),
        (ics().replace("RESOLUTION 50", "RESOLUTION nan", 1), "line 11: is no film"),
    ],
)
def test_malformed_ics_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(lay_out(tmp_path / "ddsm", {}, text=text))


def test_the_ics_files_must_be_there(tmp_path: Path) -> None:
    write_png(tmp_path / "ddsm" / "B_3159_1.LEFT_CC.png", np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(InputError, match=r"no \.ics file"):
        run(tmp_path / "ddsm")


STEPS = ((0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1))  # (x, y) of 0 to 7


@given(
    st.lists(st.tuples(st.integers(5, 60), st.integers(5, 60)), min_size=3, max_size=12, unique=True),
)
def test_a_traced_outline_has_the_box_and_area_of_its_pixels(corners: list[tuple[int, int]]) -> None:
    """Fill any convex hull, trace its border as OpenCV does, and read the chain back."""
    mask = np.zeros((70, 70), dtype=np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.array(corners, dtype=np.int32)), 1)
    (border,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = [tuple(point) for point in border[:, 0].tolist()]
    following = [*points[1:], points[0]]
    steps = [
        STEPS.index((b[0] - a[0], b[1] - a[1])) for a, b in zip(points, following, strict=True) if a != b
    ]
    chain = Chain(1, [str(value) for value in (*points[0], *steps)], ended=True)
    shape, gap = chain_shape(chain, Path("a.OVERLAY"))
    rows, columns = np.nonzero(mask)
    x, y = columns.min(), rows.min()
    assert shape.bbox == (x, y, columns.max() + 1 - x, rows.max() + 1 - y)
    assert shape.area == mask.sum()
    assert gap == 0


@given(
    st.integers(-50, 200),
    st.integers(-50, 200),
    st.lists(st.integers(0, 7), max_size=40),
)
def test_a_chain_covers_exactly_the_pixels_it_walks(x: int, y: int, steps: list[int]) -> None:
    places = [(x, y)]
    for step in steps:
        places.append((places[-1][0] + STEPS[step][0], places[-1][1] + STEPS[step][1]))
    shape, gap = chain_shape(Chain(1, [str(value) for value in (x, y, *steps)]), Path("a.OVERLAY"))
    left, top = (min(one[axis] for one in places) for axis in (0, 1))
    right, bottom = (max(one[axis] for one in places) for axis in (0, 1))
    assert shape.bbox == (left, top, right + 1 - left, bottom + 1 - top)
    assert gap == max(abs(places[-1][0] - x), abs(places[-1][1] - y))
    assert shape.area is not None
    assert shape.area >= 1


KEYWORDS = ("TOTAL_ABNORMALITIES", "ABNORMALITY", "LESION_TYPE", "PATHOLOGY", "TOTAL_OUTLINES", "BOUNDARY")
WORDS = st.sampled_from((*KEYWORDS, "CORE", "MASS", "SHAPE", "#", "0", "7", "8", "-3", "é", "²"))
BREAKS = st.sampled_from([" ", "\n", "\r\n", "\n\t", "\x1c"])


@given(st.lists(st.tuples(WORDS, BREAKS), max_size=40), st.binary(max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_overlay_is_read_or_refused(tmp_path: Path, words: list[tuple[str, str]], tail: bytes) -> None:
    path = tmp_path / "a.OVERLAY"
    path.write_bytes("".join(word + blank for word, blank in words).encode() + tail)
    try:
        found = read_overlay(path)
        for one in found.abnormalities:
            for chain in one.boundaries:
                chain_shape(chain, path)
    except InputError as error:
        assert "a.OVERLAY" in str(error)
        assert "\n" not in str(error)
