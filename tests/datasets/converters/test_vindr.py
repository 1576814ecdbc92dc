"""VinDr-Mammo: the real layout with the shared tables and hand-made ones, boxes worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.options import Options
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

HEIGHT, WIDTH = 96, 80
BREAST = "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density"
HEADER = f"{BREAST},finding_categories,finding_birads,xmin,ymin,xmax,ymax,split"
NONE = "['No Finding'],,,,,"


class Release:
    """Writes the folder of the release: two tables and images/STUDY/IMAGE.dicom."""

    def __init__(self, root: Path, make_dicom: Callable[..., Path]) -> None:
        self.root, self.make_dicom = root, make_dicom
        self.findings: list[str] = []
        self.breasts: list[str] = []
        root.mkdir()

    def image(self, image: str, study: str = "s1", values: Any = None, **tags: Any) -> Path:
        path = self.root / "images" / study / f"{image}.dicom"
        path.parent.mkdir(parents=True, exist_ok=True)
        return self.make_dicom(values, name=str(path), **tags)

    def row(
        self, image: str, finding: str = NONE, *, birads: str = "BI-RADS 1", study: str = "s1", **words: Any
    ) -> None:
        known = {
            "side": "L",
            "view": "CC",
            "size": f"{HEIGHT},{WIDTH}",
            "density": "DENSITY C",
            "split": "training",
        }
        known |= words
        breast = (
            f"{study},e1,{image},{known['side']},{known['view']},{known['size']},{birads},{known['density']}"
        )
        self.findings.append(f"{breast},{finding},{known['split']}")

    def convert(self, options: Options | None = None) -> tuple[Coco, Audit]:
        if self.findings:
            (self.root / "finding_annotations.csv").write_text("\n".join([HEADER, *self.findings, ""]))
        if self.breasts:
            (self.root / "breast-level_annotations.csv").write_text(
                "\n".join([f"{BREAST},split", *self.breasts, ""])
            )
        out = self.root.parent / "coco.json"
        coco, audit = convert(load_source("vindr-mammo"), self.root, out, options or Options())
        assert read_coco(out).annotations == coco.annotations
        return coco, audit


@pytest.fixture
def release(tmp_path: Path, make_dicom: Callable[..., Path]) -> Release:
    return Release(tmp_path / "vindr", make_dicom)


def test_a_finding_becomes_a_box_and_its_image_takes_the_worst(release: Release) -> None:
    release.image("i1")
    release.row(
        "i1", "\"['Suspicious Calcification', 'Mass']\",BI-RADS 5,10.5,20.25,30.5,60.75", birads="BI-RADS 5"
    )
    release.row("i1", "['Mass'],BI-RADS 3,1,2,11,22", birads="BI-RADS 5")
    coco, audit = release.convert()
    (image,) = coco.images
    first, second = coco.annotations
    assert (first["bbox"], first["area"]) == ([10.5, 20.25, 20, 40.5], 810)
    assert (first["finding"], first["category_id"], first["birads"]) == ("calcification", 2, "5")
    assert first["provenance"] == {"finding_categories": ["Suspicious Calcification", "Mass"]}
    assert (second["finding"], second["category_id"], second["bbox"]) == ("mass", 1, [1, 2, 10, 20])
    assert (image["patient_id"], image["study_id"], image["breast_id"]) == ("s1", "s1", "s1-L")
    assert (image["laterality"], image["view"], image["density"], image["split"]) == ("L", "CC", "C", "train")
    assert (image["label"], image["provenance"]) == ("malignant", {"breast_birads": "BI-RADS 5"})
    assert (audit.rows_read, audit.rows_used, audit.notes) == (2, 2, {})


@pytest.mark.parametrize(
    ("categories", "finding"),
    [
        ("['Mass']", "mass"),
        ("['Suspicious Calcification']", "calcification"),
        ("['Architectural Distortion']", "distortion"),
        ("['Asymmetry']", "asymmetry"),
        ("['Focal Asymmetry']", "asymmetry"),
        ("['Global Asymmetry']", "asymmetry"),
        ("['Skin Thickening', 'Nipple Retraction']", "other"),
        ("['Suspicious Lymph Node']", "other"),
        ("['Focal Asymmetry', 'Architectural Distortion']", "distortion"),
        ("['Nipple Retraction', 'Mass']", "mass"),
    ],
)
def test_categories_of_findings(release: Release, categories: str, finding: str) -> None:
    release.image("i1")
    release.row("i1", f'"{categories}",BI-RADS 4,10,20,30,60')
    coco, _ = release.convert()
    assert [one["finding"] for one in coco.annotations] == [finding]


@pytest.mark.parametrize(
    ("finding", "breast", "category", "ignore", "label"),
    [
        ("BI-RADS 3", "BI-RADS 5", 1, None, "benign"),
        ("BI-RADS 4", "BI-RADS 4", 2, None, "malignant"),
        ("", "BI-RADS 4", 1, 1, "malignant"),
        ("nan", "BI-RADS 2", 1, 1, "benign"),
        ("", "BI-RADS 1", 1, 1, None),
        ("BI-RADS 0", "", 1, 1, None),
    ],
)
def test_birads_decide_the_category_and_the_label(
    release: Release, finding: str, breast: str, category: int, ignore: int | None, label: str | None
) -> None:
    release.image("i1")
    release.row("i1", f"['Mass'],{finding},10,20,30,60", birads=breast)
    coco, _ = release.convert()
    (lesion,) = coco.annotations
    assert (lesion["category_id"], lesion.get("ignore"), coco.images[0]["label"]) == (category, ignore, label)


def test_the_convention_can_be_changed(release: Release) -> None:
    release.image("i1")
    release.row("i1", "['Mass'],BI-RADS 3,10,20,30,60", birads="BI-RADS 3")
    coco, _ = release.convert(Options(benign_up_to="2", malignant_from="3"))
    assert (coco.annotations[0]["category_id"], coco.images[0]["label"]) == (2, "malignant")


def test_images_without_a_finding(release: Release) -> None:
    for number in range(1, 7):
        release.image(f"i{number}")
    for number in range(1, 5):
        release.row(f"i{number}", birads=f"BI-RADS {number}")
    release.breasts = [
        f"s1,e1,i{number},R,MLO,{HEIGHT},{WIDTH},BI-RADS {birads},DENSITY A,test"
        for number, birads in ((1, 5), (5, 2), (6, 5))
    ]
    coco, audit = release.convert()
    assert [image["label"] for image in coco.images] == [
        "normal",
        "normal",
        "benign",
        "malignant",
        "normal",
        "malignant",
    ]
    assert coco.annotations == []
    fifth = coco.images[4]
    assert (fifth["laterality"], fifth["view"], fifth["density"], fifth["split"]) == ("R", "MLO", "A", "test")
    remark = "no finding in this view of a breast of BI-RADS 3 or above: it takes the breast's label"
    assert list(audit.notes[remark]) == ["i3 (BI-RADS 3)", "i4 (BI-RADS 4)", "i6 (BI-RADS 5)"]
    assert audit.rows_used == 6


def test_boxes_are_clipped_turned_round_and_dropped_with_a_word(release: Release) -> None:
    release.image("i1")
    for box in (
        "-3.5,10,20,30",
        "70,90,95.5,120",
        "80,10,90,20",
        "30,40,10,20",
        "nan,nan,nan,nan",
        ",,,",
        "10,10,10,20",
    ):
        release.row("i1", f"['Mass'],BI-RADS 4,{box}")
    coco, audit = release.convert()
    boxes = [lesion["bbox"] for lesion in coco.annotations]
    assert boxes == [[0, 10, 20, 20], [70, 90, 10, 6], [10, 20, 20, 20]]
    assert coco.annotations[0]["provenance"]["bbox_before_clipping"] == [-3.5, 10, 23.5, 20]
    assert len(audit.clipped) == 2
    ((reason, what),) = audit.lesions_dropped.items()
    assert reason == "the box is empty or lies outside its image"
    assert what.total() == 2
    assert audit.notes["the corners of a box are the wrong way round: put right"] == {"i1": 1}
    assert audit.notes["a finding without a box: its image keeps the label"] == {"i1": 2}
    assert coco.images[0]["provenance"]["findings_without_box"] == ["Mass", "Mass"]


def test_exports_are_found_by_name_and_boxes_follow_their_size(release: Release) -> None:
    half: Any = np.zeros((HEIGHT // 2, WIDTH // 2), dtype=np.uint8)
    (release.root / "png").mkdir()
    write_png(release.root / "png" / "i1.png", half)
    write_png(release.root / "png" / "i2.png", half[:, :30])
    for image in ("i1", "i2", "i3"):
        release.row(image, "['Mass'],BI-RADS 4,10,20,30,60")
    coco, audit = release.convert()
    assert [(lesion["bbox"], lesion["area"]) for lesion in coco.annotations] == [([5, 10, 10, 20], 200)]
    assert audit.notes == {"the annotations were drawn on an image of another size: rescaled": {"i1": 1}}
    assert {reason: list(what) for reason, what in audit.dropped.items()} == {
        "the annotations were drawn on an image of another shape": ["i2 80 x 96, the file 30 x 48"],
        "no such image file": ["i3"],
    }


def test_the_release_goes_before_a_copy_elsewhere_and_the_table_before_the_header(release: Release) -> None:
    release.image("i1", ImageLaterality="R", ViewPosition="CC")
    (release.root / "copy").mkdir()
    write_png(release.root / "copy" / "i1.png", np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    release.row("i1")
    coco, audit = release.convert()
    (image,) = coco.images
    assert image["file_name"].endswith("images/s1/i1.dicom")
    assert image["laterality"] == "L"
    assert list(
        audit.notes["the annotations and the DICOM header disagree on the laterality: annotations taken"]
    ) == ["images/s1/i1.dicom (L, the header R)"]
    assert audit.unlisted == ["copy/i1.png"]


@pytest.mark.parametrize(
    ("finding", "words", "problem"),
    [
        ("__import__('os'),,,,,", {}, "finding_categories: is no list of names"),
        ("'Mass',,,,,", {}, "finding_categories: is no list of names"),
        ("[],,,,,", {}, "finding_categories: is no list of names"),
        ("[1],,,,,", {}, "finding_categories: is no list of names"),
        ("(" * 900 + ",,,,,", {}, "finding_categories: is no list of names"),
        ("[" * 5000 + ",,,,,", {}, "finding_categories: is no list of names"),
        ("['Mass'],BI-RADS 4,a,1,2,3", {}, "line 2, column xmin: must be a number .found 'a'"),
        ("['Mass'],BI-RADS 4,inf,1,2,3", {}, "xmin: must be a number"),
        ("['Mass'],BI-RADS 4,1,1,1e300,3", {}, "xmax: lies beyond any image"),
        (NONE, {"size": "96,0"}, "width and height must be whole numbers"),
        (NONE, {"size": "96.5,80"}, "width and height must be whole numbers"),
        (NONE, {"size": "96,1e300"}, "width and height must be whole numbers"),
        (NONE, {"size": ",80"}, "height: must be a number"),
        (NONE, {"side": "B"}, "laterality: must be L or R .found 'B'"),
        (NONE, {"split": "val"}, "split: must be training or test .found 'val'"),
        (NONE, {"study": ""}, "study_id: is missing"),
    ],
)
def test_odd_rows_are_told_by_line_and_column(
    release: Release, finding: str, words: dict[str, Any], problem: str
) -> None:
    release.image("i1")
    release.row("i1", finding, **words)
    with pytest.raises(InputError, match=problem):
        release.convert()


def test_rows_of_one_image_must_agree_on_its_size(release: Release) -> None:
    release.image("i1")
    release.row("i1")
    release.row("i1", size="80,96")
    with pytest.raises(InputError, match="the same in all rows of an image"):
        release.convert()


def test_a_folder_without_the_table_is_refused(release: Release) -> None:
    release.image("i1")
    with pytest.raises(InputError, match=r"finding_annotations\.csv is not there; give the folder"):
        release.convert()


@pytest.mark.parametrize("image", ["../../secret", "/etc/passwd", "a/b"])
def test_names_never_leave_the_folder(release: Release, image: str) -> None:
    release.image("i1")
    release.image("i2")
    release.row("i1")
    release.row(image, study="..")
    coco, audit = release.convert()
    assert len(coco.images) == 1
    assert audit.dropped == {"no such image file": {image: 1}}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_a_table_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "vindr-fuzz"
    root.mkdir(exist_ok=True)
    write_png(root / "a.png", np.zeros((8, 9), dtype=np.uint8))
    (root / "finding_annotations.csv").write_bytes(HEADER.encode() + b"\n" + content)
    with pytest.raises(InputError):
        convert(load_source("vindr-mammo"), root, root / "coco.json")


def test_the_shared_tables(release: Release, shared_data: Path) -> None:
    folder = shared_data / "formats" / "vindr"
    for name in ("finding_annotations.csv", "breast-level_annotations.csv"):
        (release.root / name).write_bytes((folder / name).read_bytes())
    for number in range(1, 6):
        study = f"s{1 if number < 4 else 2:031d}"
        size = (3518, 2800) if number < 4 else (2812, 2012)
        release.image(f"i{number:031d}", study, np.full(size, 50, dtype=np.uint8))
    coco, audit = release.convert()
    assert (audit.rows_read, audit.rows_used, audit.dropped) == (5, 5, {})
    assert [image["label"] for image in coco.images] == [
        "malignant",
        "malignant",
        "normal",
        "benign",
        "normal",
    ]
    assert [image["split"] for image in coco.images] == ["train", "train", "train", "test", "test"]
    assert [image["density"] for image in coco.images] == ["C", "C", "C", "B", "B"]
    first, second, third = coco.annotations
    assert first["bbox"] == pytest.approx([2355.14, 1731.64, 127.84, 121.11])
    assert second["bbox"] == pytest.approx([2386.67, 1240.61, 413.33, 113.43])  # xmax 2803.80 of 2800
    assert third["bbox"] == pytest.approx([0, 900.5, 210, 199.5])  # xmin -3.2
    assert [lesion["finding"] for lesion in coco.annotations] == ["mass", "calcification", "asymmetry"]
    assert [lesion["category_id"] for lesion in coco.annotations] == [2, 2, 1]
    assert len(audit.clipped) == 2
    text = coco.path.read_text()
    assert not any(secret in text for secret in ("Smith", "19600101", "ACC99"))
