"""CBIS-DDSM: trees as the three kinds of downloads lay them out, with real rows and hand-made ones."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.converters.cbis_ddsm import TABLES
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.masks import segmentation_to_mask

HEIGHT, WIDTH = 60, 40
STUDY = "1.3.6.1.4.1.9590.100.1.2."
COMMON = "patient_id,{density},left or right breast,image view,abnormality id,abnormality type,{described},"
COMMON += "assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
HEADERS = {
    "calc": COMMON.format(density="breast density", described="calc type,calc distribution"),
    "mass": COMMON.format(density="breast_density", described="mass shape,mass margins"),
}
Box = tuple[int, int, int, int]


def film(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 60000, (height, width), dtype=np.uint16)


def mask(*boxes: Box, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    drawn = np.zeros((height, width), dtype=np.uint8)
    for x, y, box_width, box_height in boxes:
        drawn[y : y + box_height, x : x + box_width] = 255
    return drawn


def crop(height: int = 12, width: int = 10) -> NDArray[np.uint8]:
    return np.random.default_rng(9).integers(1, 255, (height, width), dtype=np.uint8)


class Tree:
    """Writes the tables and files of a download; rows carry the newline that every real one has."""

    def __init__(self, root: Path, make_dicom: Callable[..., Path]) -> None:
        self.root, self.make_dicom = root, make_dicom
        self.rows: dict[str, list[str]] = {}

    def image(self, name: str, values: NDArray[Any]) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            write_png(path, values.astype(np.uint8))
        else:
            uid = f"1.2.{sum(map(ord, name))}"  # every image has a study of its own
            tags = {"PatientID": path.relative_to(self.root).parts[0], "StudyInstanceUID": uid}
            self.make_dicom(values, name=str(path), **tags)

    def row(self, table: str, folder: str, number: int = 1, **words: Any) -> None:
        """Add a row about the lesion ``number`` of the film ``folder``, Mass-Test_P_00001_LEFT_CC."""
        kind, split = table.split("-")
        _, patient, side, view = (
            folder.replace("_P_", "/P_").replace("_LEFT_", "/LEFT/").replace("_RIGHT_", "/RIGHT/").split("/")
        )
        lesion = f"{folder}_{number}/{STUDY}2/{STUDY}3"
        names = ("000001", "000000") if kind == "calc" else ("000000", "000001")  # crop, mask
        cells = {
            "patient": patient,
            "density": 3,
            "side": side,
            "view": view,
            "id": number,
            "type": "calcification" if kind == "calc" else "mass",
            "one": "PLEOMORPHIC" if kind == "calc" else "OVAL",
            "two": "N/A",
            "assessment": 4,
            "pathology": "BENIGN",
            "subtlety": 5,
            "image": f"{folder}/{STUDY}0/{STUDY}1/000000.dcm",
            "crop": f'"{lesion}/{names[0]}.dcm\n"',
            "mask": f"{lesion}/{names[1]}.dcm",
            **words,
        }
        self.rows.setdefault(f"{kind}_case_description_{split}_set.csv", []).append(
            ",".join(str(cell) for cell in cells.values())
        )

    def convert(self, encoding: str = "utf-8", end: str = "\n") -> tuple[Coco, Audit]:
        for name, rows in self.rows.items():
            text = "\n".join([HEADERS[name[:4]], *rows, ""])
            (self.root / name).write_bytes(text.replace("\n", end).encode(encoding))
        out = self.root.parent / "out" / "coco.json"
        coco, audit = convert(load_source("cbis-ddsm"), self.root, out)
        assert read_coco(out).annotations == coco.annotations
        return coco, audit


@pytest.fixture
def tree(tmp_path: Path, make_dicom: Callable[..., Path]) -> Tree:
    (tmp_path / "data").mkdir()
    return Tree(tmp_path / "data", make_dicom)


FILM, LESION = "Mass-Training_P_00001_LEFT_CC", "Mass-Training_P_00001_LEFT_CC_1"
LAYOUTS: Mapping[str, tuple[str, str, str]] = {  # film, mask, crop
    "as in the tables": (
        f"{FILM}/{STUDY}0/{STUDY}1/000000.dcm",
        f"{LESION}/{STUDY}2/{STUDY}3/000001.dcm",
        f"{LESION}/{STUDY}2/{STUDY}3/000000.dcm",
    ),
    "renamed files": (
        f"CBIS-DDSM/{FILM}/{STUDY}0/{STUDY}1/1-1.dcm",
        f"CBIS-DDSM/{LESION}/{STUDY}2/{STUDY}3/1-1.dcm",
        f"CBIS-DDSM/{LESION}/{STUDY}2/{STUDY}3/1-2.dcm",
    ),
    "renamed folders": (
        f"manifest/CBIS-DDSM/{FILM}/07-20-2016-DDSM-NA-74994/1.000000-full mammogram images-24515/1-1.dcm",
        f"manifest/CBIS-DDSM/{LESION}/07-20-2016-DDSM-NA-39106/1.000000-cropped images-99650/1-2.dcm",
        f"manifest/CBIS-DDSM/{LESION}/07-20-2016-DDSM-NA-39106/1.000000-cropped images-99650/1-1.dcm",
    ),
    "mask and crop in two series": (
        f"{FILM}/07-20-2016-DDSM-NA-74994/1.000000-full mammogram images-24515/1-1.dcm",
        f"{LESION}/07-21-2016-DDSM-NA-14412/1.000000-ROI mask images-11111/1-1.dcm",
        f"{LESION}/07-20-2016-DDSM-NA-20213/1.000000-cropped images-58924/1-1.dcm",
    ),
    "exported by series": (f"jpeg/{STUDY}1/1-234.png", f"jpeg/{STUDY}3/2-17.png", f"jpeg/{STUDY}3/1-172.png"),
    "exported flat": (f"{FILM}.png", f"{LESION}.png", "crops/c.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_of_download_gives_the_box_of_the_mask(tree: Tree, layout: str) -> None:
    names = LAYOUTS[layout]
    tree.image(names[0], film())
    tree.image(names[1], mask((5, 7, 6, 9), (20, 30, 4, 2)))  # one lesion in two parts
    tree.image(names[2], crop())
    words = {
        "assessment": 5,
        "pathology": "MALIGNANT",
        "one": "IRREGULAR-ARCHITECTURAL_DISTORTION",
        "two": "SPICULATED",
    }
    tree.row("mass-train", FILM, **words)
    coco, audit = tree.convert()
    (image,), (lesion,) = coco.images, coco.annotations
    assert coco.image_path(image).resolve() == (tree.root / names[0]).resolve()
    assert lesion["bbox"] == [5, 7, 19, 25]  # from (5, 7) to (24, 32)
    assert lesion["area"] == 6 * 9 + 4 * 2
    drawn = segmentation_to_mask(lesion["segmentation"], WIDTH, HEIGHT)
    assert drawn.sum() == 62
    assert drawn[7:16, 5:11].all()
    assert (lesion["category_id"], lesion["pathology"], lesion["birads"]) == (2, "malignant", "5")
    assert (lesion["finding"], lesion["lesion_id"]) == ("mass", "P_00001-L-mass-1")
    assert lesion["subtype"] == {
        "mass_shape": "IRREGULAR-ARCHITECTURAL_DISTORTION",
        "mass_margins": "SPICULATED",
    }
    stated = {
        "pathology": "MALIGNANT",
        "abnormality_id": "1",
        "assessment": "5",
        "subtlety": "5",
        "mask": names[1],
    }
    assert lesion["provenance"] == stated
    assert (image["patient_id"], image["study_id"], image["breast_id"]) == ("P_00001", "P_00001", "P_00001-L")
    assert (image["laterality"], image["view"], image["density"]) == ("L", "CC", "C")
    assert (image["split"], image["label"]) == ("train", "malignant")
    assert (audit.rows_read, audit.rows_used) == (1, 1)
    assert audit.unlisted == (["crops/c.png"] if layout == "exported flat" else [])
    assert list(audit.notes) == ["a table is not there, its lesions are missing"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_from_windows_are_read(tree: Tree, encoding: str, end: str) -> None:
    names = LAYOUTS["as in the tables"]
    for name, values in zip(names, (film(), mask((5, 7, 6, 9)), crop()), strict=True):
        tree.image(name, values)
    tree.row("mass-train", FILM)
    coco, audit = tree.convert(encoding, end)
    assert [one["bbox"] for one in coco.annotations] == [[5, 7, 6, 9]]
    assert not any("swapped" in note for note in audit.notes)


def test_a_mask_under_the_name_of_the_crop_is_found_and_told(tree: Tree) -> None:
    names = LAYOUTS["as in the tables"]
    for name, values in zip(names, (film(), crop(), mask((5, 7, 6, 9))), strict=True):
        tree.image(name, values)
    tree.row("mass-train", FILM)
    coco, audit = tree.convert()
    assert coco.annotations[0]["bbox"] == [5, 7, 6, 9]
    assert audit.notes["the mask lies under the name of the crop: swapped"] == {names[2]: 1}


def test_a_crop_as_large_as_the_film_is_told_from_the_mask_by_its_values(tree: Tree) -> None:
    names = LAYOUTS["renamed files"]
    for name, values in zip(names, (film(), crop(HEIGHT, WIDTH), mask((5, 7, 6, 9))), strict=True):
        tree.image(name, values)
    tree.row("mass-train", FILM)
    coco, _ = tree.convert()
    assert coco.annotations[0]["bbox"] == [5, 7, 6, 9]
    assert coco.annotations[0]["provenance"]["mask"] == names[2]


def test_a_mask_of_the_size_of_the_film_goes_before_one_of_its_shape(tree: Tree) -> None:
    names = LAYOUTS["renamed files"]
    half = mask((1, 1, 2, 2), height=30, width=20)
    for name, values in zip(names, (film(), mask((5, 7, 6, 9)), half), strict=True):
        tree.image(name, values)
    tree.row("mass-train", FILM)
    coco, audit = tree.convert()
    assert coco.annotations[0]["bbox"] == [5, 7, 6, 9]
    assert list(audit.notes) == ["a table is not there, its lesions are missing"]


def test_a_row_whose_mask_and_crop_have_one_name_is_no_swap(tree: Tree) -> None:
    name = LAYOUTS["as in the tables"][1]
    tree.image(LAYOUTS["as in the tables"][0], film())
    tree.image(name, mask((5, 7, 6, 9)))
    tree.row("mass-train", FILM, crop=name)
    coco, audit = tree.convert()
    assert coco.annotations[0]["bbox"] == [5, 7, 6, 9]
    assert list(audit.notes) == ["a table is not there, its lesions are missing"]


def test_masks_exported_to_jpeg_are_told_from_crops_although_their_values_are_not_exact(tree: Tree) -> None:
    tree.image(f"jpeg/{STUDY}1/1-1.png", film())
    for name, values in (("1-1", mask((8, 16, 16, 24))), ("2-1", crop(HEIGHT, WIDTH))):
        path = tree.root / "jpeg" / f"{STUDY}3" / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(path, quality=80)
    tree.row("mass-train", FILM)
    coco, _ = tree.convert()
    assert [one["bbox"] for one in coco.annotations] == [[8, 16, 16, 24]]


def test_a_mask_of_another_size_is_rescaled_and_both_sizes_are_told(tree: Tree) -> None:
    names = LAYOUTS["renamed files"]
    # half the size: (5, 7, 6, 9) of 20 x 30 is (10, 14, 12, 18) of 40 x 60; a crop of the film's shape is no mask
    small = mask((5, 7, 6, 9), height=30, width=20)
    for name, values in zip(names, (film(), small, crop(15, 10)), strict=True):
        tree.image(name, values)
    tree.row("mass-train", FILM)
    coco, audit = tree.convert()
    assert coco.annotations[0]["bbox"] == [10, 14, 12, 18]
    assert coco.annotations[0]["area"] == 12 * 18
    assert coco.annotations[0]["segmentation"]["size"] == [HEIGHT, WIDTH]
    told = audit.notes["the mask is of another size than its image: rescaled"]
    assert list(told) == [f"{names[1]} 20 x 30 to 40 x 60"]


def test_a_lesion_with_a_mask_of_another_shape_is_refused_and_its_film_keeps_the_label(tree: Tree) -> None:
    names = LAYOUTS["renamed files"]
    for name, values in zip(names, (film(), mask((5, 7, 6, 9)), crop()), strict=True):
        tree.image(name, values)
    tree.image(f"{FILM}_2/{STUDY}2/{STUDY}4/1-1.dcm", mask((1, 1, 5, 5), height=60, width=42))
    tree.image(f"{FILM}_2/{STUDY}2/{STUDY}4/1-2.dcm", crop())
    tree.row("mass-train", FILM)
    tree.row("mass-train", FILM, 2, pathology="MALIGNANT")
    coco, audit = tree.convert()
    (image,), (lesion,) = coco.images, coco.annotations
    assert (image["label"], lesion["category_id"]) == ("malignant", 1)
    assert image["provenance"]["findings_without_box"] == ["mass-2 MALIGNANT"]
    ((reason, counted),) = audit.dropped.items()
    (what,) = counted
    assert reason == "no file has two values and the shape of the image, so none is its mask"
    assert what.startswith("mass_case_description_train_set.csv line 5: image 40 x 60, ")
    assert "42 x 60" in what
    assert (audit.rows_read, audit.rows_used, audit.rows_dropped) == (2, 1, 1)
    assert audit.unlisted == []


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (None, "no mask file"),
        (mask(), "the mask is empty"),
        (crop(HEIGHT, WIDTH), "no file has two values and the shape of the image, so none is its mask"),
    ],
)
def test_a_film_without_any_mask_is_dropped_with_the_reason(
    tree: Tree, second: NDArray[np.uint8] | None, reason: str
) -> None:
    good = "Mass-Training_P_00002_LEFT_CC"
    for name, number in ((FILM, 1), (good, 2)):
        tree.image(f"{name}/a/b/1-1.dcm", film(number))
        tree.row("mass-train", name)
    tree.image(f"{good}_1/a/b/1-1.dcm", mask((5, 7, 6, 9)))
    if second is not None:
        tree.image(f"{LESION}/a/b/1-1.dcm", second)
    coco, audit = tree.convert()
    assert [one["patient_id"] for one in coco.images] == ["P_00002"]
    assert {key: counted.total() for key, counted in audit.dropped.items()} == {reason: 1}


def test_a_mask_that_is_there_twice_is_taken_once_and_two_that_differ_are_not_guessed(tree: Tree) -> None:
    names = LAYOUTS["as in the tables"]
    for name, values in zip(names, (film(), mask((5, 7, 6, 9)), crop()), strict=True):
        tree.image(name, values)
    tree.image(f"{LESION}/again/1-1.dcm", mask((5, 7, 6, 9)))
    tree.row("mass-train", FILM)
    coco, _ = tree.convert()
    assert [one["provenance"]["mask"] for one in coco.annotations] == [names[1]]
    tree.image(f"{LESION}/again/1-1.dcm", mask((5, 7, 6, 8)))
    with pytest.raises(InputError, match="several files can be the mask, and they differ"):
        tree.convert()


def both(tree: Tree, calc: str, masses: str, *, same: bool = True) -> None:
    """Lay out one film as a calcification and as a mass copy, with a lesion each."""
    for number, (name, box) in enumerate(((calc, (2, 3, 4, 5)), (masses, (10, 20, 8, 6)))):
        tree.image(f"{name}/a/b/1-1.dcm", film(0 if same else number))
        tree.image(f"{name}_{number + 1}/a/b/1-1.dcm", mask(box))


def test_both_copies_of_a_film_become_one_image_in_the_later_split(tree: Tree) -> None:
    calc, masses = "Calc-Training_P_00016_LEFT_CC", "Mass-Test_P_00016_LEFT_CC"
    both(tree, calc, masses)
    tree.row("calc-train", calc, 1, pathology="MALIGNANT", one="PLEOMORPHIC", two="CLUSTERED")
    tree.row("mass-test", masses, 2, pathology="BENIGN_WITHOUT_CALLBACK", assessment=2)
    other = "Calc-Training_P_00016_RIGHT_CC"
    tree.image(f"{other}/a/b/1-1.dcm", film(5))
    tree.image(f"{other}_1/a/b/1-1.dcm", mask((1, 1, 2, 2)))
    tree.row("calc-train", other)
    coco, audit = tree.convert()
    joined, right = coco.images
    found = [(one["finding"], one["category_id"], one["bbox"]) for one in coco.annotations_of[joined["id"]]]
    assert found == [("calcification", 2, [2, 3, 4, 5]), ("mass", 1, [10, 20, 8, 6])]
    assert (joined["split"], joined["label"]) == ("test", "malignant")
    assert joined["file_name"].endswith("data/Mass-Test_P_00016_LEFT_CC/a/b/1-1.dcm")
    assert joined["provenance"]["copies"] == [f"{calc}/a/b/1-1.dcm", f"{masses}/a/b/1-1.dcm"]
    assert (right["split"], right["provenance"]["official_split"]) == (None, "train")
    told = {f"{calc}/a/b/1-1.dcm = {masses}/a/b/1-1.dcm": 1}
    assert audit.notes["one film published as calcification and as mass: joined"] == told
    assert audit.notes["joined copies are of both official splits: test taken"] == told
    assert (audit.rows_read, audit.rows_used, audit.unlisted) == (3, 3, [])


def test_different_films_of_one_view_stay_apart(tree: Tree) -> None:
    calc, masses = "Calc-Training_P_00016_LEFT_CC", "Mass-Training_P_00016_LEFT_CC"
    both(tree, calc, masses, same=False)
    tree.row("calc-train", calc, 1)
    tree.row("mass-train", masses, 2)
    coco, audit = tree.convert()
    assert [len(coco.annotations_of[image["id"]]) for image in coco.images] == [1, 1]
    remark = "several films of one breast and view, of different pixels: kept apart"
    assert audit.notes[remark] == {"P_00016-L-CC": 1}


def test_views_share_the_lesion_and_images_that_are_not_there_are_told(tree: Tree) -> None:
    for view in ("CC", "MLO"):
        name = f"Calc-Test_P_00038_RIGHT_{view}"
        tree.image(f"{name}/a/b/1-1.dcm", film())
        for number in (1, 2):
            tree.image(f"{name}_{number}/a/b/1-1.dcm", mask((number, 3, 4, 5)))
            tree.row("calc-test", name, number)
    tree.row("calc-test", "Calc-Test_P_00100_RIGHT_MLO")
    coco, audit = tree.convert()
    by_view = [[one["lesion_id"] for one in coco.annotations_of[image["id"]]] for image in coco.images]
    assert by_view == [["P_00038-R-calc-1", "P_00038-R-calc-2"]] * 2
    missing = f"Calc-Test_P_00100_RIGHT_MLO/{STUDY}0/{STUDY}1/000000.dcm"
    assert audit.dropped == {"no such image file": {missing: 1}}
    assert audit.without_pixels == [missing]


@pytest.mark.parametrize(
    ("shape", "finding"),
    [
        ("ARCHITECTURAL_DISTORTION", "distortion"),
        ("FOCAL_ASYMMETRIC_DENSITY", "asymmetry"),
        ("ASYMMETRIC_BREAST_TISSUE", "asymmetry"),
        ("IRREGULAR-FOCAL_ASYMMETRIC_DENSITY", "mass"),
        ("LYMPH_NODE", "mass"),
        ("", "mass"),
    ],
)
def test_the_shape_tells_distortions_and_asymmetries(tree: Tree, shape: str, finding: str) -> None:
    tree.image(f"{FILM}/a/b/1-1.dcm", film())
    tree.image(f"{LESION}/a/b/1-1.dcm", mask((1, 2, 3, 4)))
    tree.row("mass-train", FILM, one=shape)
    coco, _ = tree.convert()
    assert [one["finding"] for one in coco.annotations] == [finding]
    assert coco.annotations[0]["subtype"] == ({"mass_shape": shape} if shape else {})


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"side": "BOTH"}, "left or right breast: must be LEFT or RIGHT .found 'BOTH'"),
        ({"pathology": "benign"}, "pathology: must be MALIGNANT or BENIGN or BENIGN_WITHOUT_CALLBACK"),
        ({"patient": ""}, "line 3, column patient_id: is missing"),
    ],
)
def test_odd_rows_are_told_by_line_and_column(tree: Tree, words: dict[str, Any], problem: str) -> None:
    tree.image(f"{FILM}/a/b/1-1.dcm", film())
    tree.row("mass-train", FILM, **words)
    with pytest.raises(InputError, match=problem):
        tree.convert()


def test_a_folder_without_tables_or_with_one_twice_is_refused(tree: Tree) -> None:
    tree.image(f"{FILM}/a/b/1-1.dcm", film())
    with pytest.raises(InputError, match="none of the tables of CBIS-DDSM is there; put calc_case"):
        tree.convert()
    (tree.root / "csv").mkdir()
    (tree.root / "csv" / "mass_case_description_train_set.csv").write_text(HEADERS["mass"])
    tree.row("mass-train", FILM)
    with pytest.raises(InputError, match="there are several files of this name"):
        tree.convert()


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "C:\\x\\y.dcm", "", "a//b", "x" * 5000, "../1-1.dcm"]
)
def test_paths_never_leave_the_folder(tree: Tree, path: str) -> None:
    tree.image(f"{FILM}/a/b/1-1.dcm", film())
    tree.image("1-1.dcm", film())
    tree.row("mass-train", FILM, image=path)
    with pytest.raises(InputError, match=r"no image .* could be used: rows: 1 read, 0 used, 1 dropped"):
        tree.convert()


def test_the_real_tables_on_two_patients(tree: Tree, shared_data: Path) -> None:
    """P_00016 and P_00041 are in training with one kind of lesion and in the test set with the other."""
    folder = shared_data / "formats" / "cbis_ddsm"
    boxes = {"calcification": (2, 3, 4, 5), "mass": (10, 20, 8, 6)}
    for name in TABLES:
        (tree.root / name).write_bytes((folder / name).read_bytes())
        with (folder / name).open(newline="") as stream:
            for row in csv.DictReader(stream):
                if row["patient_id"] in {"P_00016", "P_00041"}:
                    tree.image(row["image file path"], film(int(row["patient_id"][-2:])))
                    tree.image(row["ROI mask file path"].strip(), mask(boxes[row["abnormality type"]]))
                    tree.image(row["cropped image file path"].strip(), crop())
    coco, audit = tree.convert()
    assert (audit.rows_read, audit.rows_used, audit.rows_dropped) == (240, 8, 232)
    assert set(audit.dropped) == {"no such image file"}
    assert audit.unlisted == []
    seen = {
        (one["patient_id"], one["laterality"], one["view"], one["split"], one["label"]) for one in coco.images
    }
    assert seen == {
        ("P_00016", "L", "CC", "test", "malignant"),
        ("P_00016", "L", "MLO", "test", "malignant"),
        ("P_00041", "L", "CC", "test", "benign"),
        ("P_00041", "L", "MLO", "test", "benign"),
    }
    for image in coco.images:
        found = {one["finding"]: one["bbox"] for one in coco.annotations_of[image["id"]]}
        assert found == {"calcification": [2, 3, 4, 5], "mass": [10, 20, 8, 6]}
    assert {one["lesion_id"] for one in coco.annotations if one["finding"] == "mass"} == {
        "P_00016-L-mass-1",
        "P_00041-L-mass-1",
    }
    text = coco.path.read_text()
    assert not any(secret in text for secret in ("Smith", "19600101", "ACC99"))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_a_table_give_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    write_png(root / "a.png", np.zeros((8, 9), dtype=np.uint8))
    (root / "mass_case_description_train_set.csv").write_bytes(HEADERS["mass"].encode() + b"\n" + content)
    with pytest.raises(InputError):
        convert(load_source("cbis-ddsm"), root, root / "coco.json")
