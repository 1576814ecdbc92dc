"""INbreast: the real layout with the shared table and a hand-made one, boxes worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from mammodet.datasets.converters.osirix import Roi, read_rois
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError

HEIGHT, WIDTH = 96, 80
HEADER = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads"
DOCTYPE = '<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">'
SQUARE = ((10.0, 20.0), (30.0, 20.0), (30.5, 40.25), (10.0, 40.0))


def plist(*rois: tuple[str | None, Sequence[tuple[float, float]]], doctype: str = DOCTYPE) -> str:
    entries = ""
    for name, points in rois:
        named = "" if name is None else f"<key>Name</key><string>{name}</string>"
        strings = "".join(f"<string>({x:f}, {y:f})</string>" for x, y in points)
        entries += f"<dict><key>IndexInImage</key><integer>0</integer>{named}"
        entries += f"<key>NumberOfPoints</key><integer>{len(points)}</integer>"
        entries += f"<key>Point_px</key><array>{strings}</array></dict>"
    count = f"<key>NumberOfROIs</key><integer>{len(rois)}</integer>"
    body = f"<dict><key>ImageIndex</key><integer>0</integer>{count}<key>ROIs</key><array>{entries}</array></dict>"
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n{doctype}\n'
    return f'{head}<plist version="1.0"><dict><key>Images</key><array>{body}</array></dict></plist>\n'


class Release:
    """Writes the folder of the release: INbreast.csv, AllDICOMs and AllXML."""

    def __init__(self, root: Path, make_dicom: Callable[..., Path]) -> None:
        self.root, self.make_dicom = root, make_dicom
        self.rows: list[str] = []
        for name in ("AllDICOMs", "AllXML", "PectoralMuscle"):
            (root / name).mkdir(parents=True)

    def image(
        self, number: str, *, side: str = "L", view: str = "ML", patient: str = "6c613a14b80a8591"
    ) -> str:
        """Write an image; its header holds neither patient nor side, as in the release."""
        name = f"AllDICOMs/{number}_{patient}_MG_{side}_{view}_ANON.dcm"
        self.make_dicom(name=str(self.root / name), PatientID="", StudyInstanceUID=f"1.2.{number}")
        return name

    def row(self, number: str, birads: str, *, side: str = "L", view: str = "MLO", acr: str = "2") -> None:
        self.rows.append(f"removed;removed;{side};{view};201001;{number};{acr};{birads}")

    def outlines(self, number: str, *rois: tuple[str | None, Sequence[tuple[float, float]]]) -> None:
        (self.root / "AllXML" / f"{number}.xml").write_text(plist(*rois))

    def convert(self, options: Options | None = None) -> tuple[Coco, Audit]:
        if self.rows:
            (self.root / "INbreast.csv").write_text("\n".join([HEADER, *self.rows, ""]))
        out = self.root.parent / "coco.json"
        coco, audit = convert(load_source("inbreast"), self.root, out, options or Options())
        assert read_coco(out).annotations == coco.annotations
        return coco, audit


@pytest.fixture
def release(tmp_path: Path, make_dicom: Callable[..., Path]) -> Release:
    return Release(tmp_path / "INbreast Release 1.0", make_dicom)


def one(
    release: Release,
    birads: str,
    *rois: tuple[str | None, Sequence[tuple[float, float]]],
    options: Options | None = None,
) -> tuple[Coco, Audit]:
    release.image("22678622")
    release.row("22678622", birads)
    release.outlines("22678622", *rois)
    return release.convert(options)


def test_an_outline_becomes_a_polygon_with_its_box(release: Release) -> None:
    coco, audit = one(release, "4a", ("Mass", SQUARE))
    (image,), (lesion,) = coco.images, coco.annotations
    assert lesion["bbox"] == [10, 20, 20.5, 20.25]  # from (10, 20) to (30.5, 40.25)
    # shoelace: (10*20-30*20) + (30*40.25-30.5*20) + (30.5*40-10*40.25) + (10*20-10*40) = 815, halved
    assert lesion["area"] == pytest.approx(407.5)
    assert lesion["segmentation"] == [[10, 20, 30, 20, 30.5, 40.25, 10, 40]]
    assert (lesion["finding"], lesion["geometry_source"], lesion["category_id"]) == ("mass", "polygon", 2)
    assert (lesion["birads"], lesion.get("ignore")) == ("4A", None)
    assert lesion["provenance"] == {"name": "Mass"}
    assert image["file_name"].endswith("AllDICOMs/22678622_6c613a14b80a8591_MG_L_ML_ANON.dcm")
    assert (image["patient_id"], image["study_id"]) == ("6c613a14b80a8591", "6c613a14b80a8591-201001")
    assert image["breast_id"] == "6c613a14b80a8591-201001-L"
    assert (image["laterality"], image["view"], image["density"]) == ("L", "MLO", "B")
    assert (image["label"], image["provenance"]) == ("malignant", {"birads": "4a"})
    assert audit.notes == {}


@pytest.mark.parametrize(
    ("name", "finding", "ignore"),
    [
        ("Mass", "mass", None),
        ("Spiculated Region", "mass", None),
        ("Espiculated Region", "mass", None),
        ("Spiculated region", "mass", None),
        ("Cluster", "calcification", None),
        ("Distortion", "distortion", None),
        ("Asymmetry", "asymmetry", None),
        ("Assymetry", "asymmetry", None),
        ("Calcification", "calcification", 1),
        ("Calcifications", "calcification", 1),
        ("Unnamed", "other", 1),
        ("Point 1", "other", 1),
        (None, "other", 1),
        ("Nipple", "other", 1),
    ],
)
def test_names_of_outlines(release: Release, name: str | None, finding: str, ignore: int | None) -> None:
    coco, audit = one(release, "5", (name, SQUARE))
    (lesion,) = coco.annotations
    assert (lesion["finding"], lesion.get("ignore")) == (finding, ignore)
    assert lesion["provenance"] == {"name": name or ""}
    assert lesion["category_id"] == 2
    unknown = {"unknown name of an outline: kept with ignore": {"22678622 Nipple": 1}}
    assert audit.notes == (unknown if name == "Nipple" else {})


@pytest.mark.parametrize(
    ("birads", "category", "ignore", "label"),
    [
        ("1", 1, None, "benign"),
        ("2", 1, None, "benign"),
        ("3", 1, None, "benign"),
        ("4a", 2, None, "malignant"),
        ("4c", 2, None, "malignant"),
        ("6", 2, None, "malignant"),
        ("", 1, 1, None),
    ],
)
def test_the_birads_of_the_image_decides(
    release: Release, birads: str, category: int, ignore: int | None, label: str | None
) -> None:
    coco, _ = one(release, birads, ("Cluster", SQUARE), ("Calcification", ((5.2, 6.7),)))
    cluster, single = coco.annotations
    assert (cluster["category_id"], cluster.get("ignore")) == (category, ignore)
    assert single["ignore"] == 1
    assert coco.images[0]["label"] == label


def test_the_convention_can_be_changed(release: Release) -> None:
    chosen = Options(benign_up_to="2", malignant_from="4B")
    coco, _ = one(release, "4a", ("Mass", SQUARE), options=chosen)
    assert (coco.annotations[0]["ignore"], coco.images[0]["label"]) == (1, None)
    assert coco.info["options"]["malignant_from"] == "4B"


def test_marks_without_area_are_the_pixels_under_them_and_ignored(release: Release) -> None:
    coco, audit = one(
        release,
        "5",
        ("Calcification", ((5.25, 6.75),)),
        ("Calcification", ((5.5, 6.5), (9.25, 6.75))),
        ("Mass", ((5.0, 6.0), (7.0, 6.0), (9.0, 6.0))),  # on a line
        ("Mass", ()),
        ("PectoralMuscle", SQUARE),
        ("Mass", ((70.0, 90.0), (90.0, 90.0), (90.0, 100.0))),  # runs over the edge
    )
    assert [(lesion["bbox"], lesion.get("ignore")) for lesion in coco.annotations] == [
        ([5, 6, 1, 1], 1),
        ([5, 6, 5, 1], 1),
        ([5, 6, 5, 1], 1),
        ([70, 90, 10, 6], None),
    ]
    assert coco.annotations[1]["provenance"] == {
        "points": [[5.5, 6.5], [9.25, 6.75]],
        "name": "Calcification",
    }
    assert audit.lesions_dropped == {"the outline has no points": {"22678622 Mass": 1}}
    assert audit.notes == {"outlines of the pectoral muscle are no lesions: left out": {"22678622": 1}}
    assert len(audit.clipped) == 1


def test_what_is_missing_or_doubtful_is_told(release: Release) -> None:
    release.outlines("1", ("Mass", SQUARE))
    for number, birads in (("1", "5"), ("2", "1"), ("3", "2"), ("4", "2"), ("5", "2"), ("5", "2"), ("", "2")):
        release.row(number, birads)
    for number in ("1", "2", "3"):
        release.image(number, side="R" if number == "2" else "L")
    release.image("4")
    release.image("4", view="CC")
    write_png(release.root / "AllDICOMs" / "5.png", np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    release.row("6", "2")
    (release.root / "PectoralMuscle" / "2_muscle.xml").write_text(plist(("PectoralMuscle", SQUARE)))
    coco, audit = release.convert()
    assert [image["label"] for image in coco.images] == ["malignant", "normal", "benign", "benign"]
    assert len(coco.annotations) == 1
    assert coco.images[3].get("patient_id") is None
    assert {reason: list(what) for reason, what in audit.dropped.items()} == {
        "several files of one kind start with the number of one image": [
            "AllDICOMs/4_6c613a14b80a8591_MG_L_CC_ANON.dcm, AllDICOMs/4_6c613a14b80a8591_MG_L_ML_ANON.dcm"
        ],
        "the image has a row already": ["5"],
        "the row names no image": ["line 8"],
        "no such image file": ["6"],
    }
    assert {remark: list(what) for remark, what in audit.notes.items()} == {
        "the file name tells another side: that of the table taken": ["2_6c613a14b80a8591_MG_R_ML_ANON"],
        "no XML file although the BI-RADS is above 1: an image without boxes": ["3", "5"],
        "no patient in the file name: images of one woman may end up in several splits": ["5"],
    }


def test_a_table_saved_from_the_spreadsheet_with_commas_is_read(release: Release) -> None:
    release.image("22678622", view="FB")
    release.outlines("22678622", ("Mass", SQUARE))
    text = HEADER.replace(";", ",") + ",Findings Notes\r\nremoved,removed,L,FB,201001.0,22678622.0,3.0,2,\r\n"
    (release.root / "INbreast.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    coco, _ = release.convert()
    (image,) = coco.images
    assert (image["view"], image["density"], image["study_id"]) == ("FB", "C", "6c613a14b80a8591-201001")


def test_missing_tables_name_the_remedy(release: Release) -> None:
    release.image("1")
    with pytest.raises(
        InputError, match=r"INbreast.csv is not there; give the folder that holds INbreast.csv"
    ):
        release.convert()
    (release.root / "INbreast.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(InputError, match=r"open INbreast.xls and save it as INbreast.csv"):
        release.convert()
    release.row("1", "5")
    with pytest.raises(InputError, match="no XML file with outlines; give the folder"):
        release.convert()
    release.outlines("1", ("Mass", SQUARE))
    release.rows = ["removed;removed;both;CC;201001;1;2;2"]
    with pytest.raises(InputError, match=r"row at line 2, column Laterality: must be L or R .found 'both'"):
        release.convert()


ENTITIES = '<!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE plist [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xml",
        b"<plist></plist>",
        b"\xff\xfe\x00",
        plist(("&b;", SQUARE), doctype=ENTITIES).encode(),
        plist(("&a;", SQUARE), doctype=EXTERNAL).encode(),
        plist(("Mass", SQUARE)).replace("(10.0", "(nan").encode(),
        plist(("Mass", SQUARE)).replace("(10.0", "(__import__('os')").encode(),
        plist(("Mass", SQUARE)).replace("(10.0", "(1e99").encode(),
        plist(("Mass", SQUARE)).replace("<integer>4</integer>", "<integer>5</integer>").encode(),
        plist(("Mass", SQUARE)).replace("<key>Point_px</key>", "<key>Point_mm</key>").encode(),
        plist(("Mass", SQUARE)).replace("Images", "Pictures").encode(),
        plist(("Mass", SQUARE))[:-40].encode(),
        plist(("Mass", SQUARE)).replace("<integer>0</integer>", "<date>x</date>").encode(),
        b"<plist>" + b"<array>" * 100_000,
    ],
)
def test_damaged_and_hostile_outlines_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "22678622.xml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"22678622\.xml") as caught:
        read_rois(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_an_address_of_a_grammar_is_not_fetched(tmp_path: Path) -> None:
    path = tmp_path / "1.xml"
    path.write_text(plist(("Mass", SQUARE), (None, ((1.5, 2.5),))))
    assert read_rois(path) == [Roi("Mass", list(SQUARE)), Roi("", [(1.5, 2.5)])]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_outlines_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(plist(("Mass", SQUARE), ("Cluster", SQUARE)).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 30))
        content[start : start + length] = data.draw(st.binary(max_size=30))
    path = tmp_path_factory.getbasetemp() / "mutated.xml"
    path.write_bytes(content)
    try:
        rois = read_rois(path)
    except InputError:
        return
    assert all(np.isfinite(roi.points).all() for roi in rois)


def test_the_shared_table_and_outlines(release: Release, shared_data: Path) -> None:
    """22678622 is BI-RADS 1 with three outlines in the hand-made XML: benign, and so is the image."""
    folder = shared_data / "formats" / "inbreast"
    (release.root / "INbreast.csv").write_bytes((folder / "INbreast.csv").read_bytes())
    (release.root / "AllXML" / "22678622.xml").write_bytes((folder / "22678622.xml").read_bytes())
    name = release.image("22678622", side="R", view="CC")
    large: Any = np.full((2300, 1600), 900, dtype=np.uint16)
    release.make_dicom(large, name=str(release.root / name), PatientID="", StudyInstanceUID="1.2.9")
    release.image("22614074", side="R", view="CC", patient="036aff49b8ac84f0")
    coco, audit = release.convert()
    assert (audit.rows_read, audit.rows_used) == (40, 2)
    first, second = coco.images
    assert (first["label"], first["density"], second["label"], second["density"]) == (
        "benign",
        "D",
        "malignant",
        "B",
    )
    found = [(lesion["finding"], lesion["bbox"], lesion.get("ignore")) for lesion in coco.annotations]
    assert found == [
        ("mass", [1000, 1500, 200.5, 200.25], None),
        ("calcification", [1300, 2000, 1, 1], 1),
        ("calcification", [1400, 2100, 100, 100], None),
    ]
    assert coco.annotations[1]["provenance"]["point"] == [1300.123, 2000.456]
    assert coco.annotations[2]["area"] == pytest.approx(5000)  # a triangle of 100 by 100
    assert list(audit.notes["no XML file although the BI-RADS is above 1: an image without boxes"]) == [
        "22614074"
    ]
    text = coco.path.read_text()
    assert not any(secret in text for secret in ("Smith", "19600101", "ACC99"))
