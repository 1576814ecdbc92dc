"""mini-MIAS on its real films, and on rows that the shared films do not have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Coco, Audit]:
    out = tmp_path_factory.mktemp("mias") / "coco.json"
    return convert(load_source("mini-mias"), shared_data / "mini-mias", out)


def film(coco: Coco, name: str) -> dict[str, object]:
    return dict(next(image for image in coco.images if image["provenance"]["film"] == name))


def lesions(coco: Coco, name: str) -> list[dict[str, object]]:
    return [dict(one) for one in coco.annotations_of[film(coco, name)["id"]]]  # type: ignore[index]


def test_all_films_of_all_patients_are_there(real: tuple[Coco, Audit]) -> None:
    coco, audit = real
    assert read_coco(coco.path).images == coco.images
    assert len(coco.images) == 118
    assert len({image["patient_id"] for image in coco.images}) == 59
    # 122 rows: 63 normal, 2 without coordinates, 57 circles on 53 films
    assert (audit.rows_read, audit.rows_used, audit.rows_dropped) == (122, 122, 0)
    assert len(coco.annotations) == 57
    labels = [image["label"] for image in coco.images]
    assert [labels.count(label) for label in ("normal", "benign", "malignant")] == [63, 27, 28]
    assert all(coco.image_path(image).is_file() for image in coco.images)


@pytest.mark.parametrize(
    ("name", "patient", "side", "label", "boxes"),
    [
        # worked out by hand from Info.txt: y = 1024 - y, box = centre -/+ radius
        ("mdb001", "1", "R", "benign", [(338, 402, 394, 394)]),  # 535 425 197
        ("mdb002", "1", "L", "benign", [(453, 675, 138, 138)]),  # 522 280 69
        ("mdb005", "3", "R", "benign", [(447, 861, 60, 60), (474, 830, 52, 52)]),  # 477 133 30, 500 168 26
        ("mdb058", "29", "L", "malignant", [(291, 638, 54, 54)]),  # 318 359 27
        ("mdb270", "135", "L", "malignant", [(284, 7, 144, 144)]),  # 356 945 72
        ("mdb006", "3", "L", "normal", []),
        ("mdb233", "117", "R", "malignant", []),  # *NOTE 3*
        ("mdb245", "123", "R", "malignant", []),  # *NOTE 3*
    ],
)
def test_films_worked_out_by_hand(
    real: tuple[Coco, Audit], name: str, patient: str, side: str, label: str, boxes: list[tuple[int, ...]]
) -> None:
    coco, _ = real
    image = film(coco, name)
    found = (image["patient_id"], image["laterality"], image["view"], image["label"], image["spacing_mm"])
    assert found == (patient, side, "MLO", label, [0.2, 0.2])
    assert [tuple(one["bbox"]) for one in lesions(coco, name)] == boxes  # type: ignore[arg-type]


def test_classes_tissue_and_circles_are_kept(real: tuple[Coco, Audit]) -> None:
    coco, _ = real
    lesion = lesions(coco, "mdb238")[0]
    assert (lesion["category_id"], lesion["finding"]) == (2, "calcification")
    assert lesion["provenance"] == {"circle": [522, 471, 17], "class": "CALC", "severity": "M"}
    image = film(coco, "mdb238")
    assert image["provenance"] == {"film": "mdb238", "tissue": "F"}
    assert "density" not in image  # F, G, D are no BI-RADS letters
    findings = {one["provenance"]["class"]: one["finding"] for one in coco.annotations}
    assert findings == {
        "CALC": "calcification",
        "CIRC": "mass",
        "SPIC": "mass",
        "MISC": "mass",
        "ARCH": "distortion",
        "ASYM": "asymmetry",
    }


def test_films_with_a_class_and_no_coordinates_are_told(real: tuple[Coco, Audit]) -> None:
    coco, audit = real
    noted = [set(films) for remark, films in audit.notes.items() if "no coordinates" in remark]
    assert noted == [{"mdb233", "mdb245"}]
    assert film(coco, "mdb233")["provenance"]["findings_without_box"] == ["CALC M"]  # type: ignore[index]


def test_lesions_are_brighter_than_the_place_mirrored_top_to_bottom(real: tuple[Coco, Audit]) -> None:
    """The origin is the bottom-left corner: read from the top, most circles would lie in darker tissue."""
    coco, _ = real
    brighter = []
    for image in coco.images:
        located = coco.annotations_of[image["id"]]
        pixels = read_mammogram(coco.image_path(image)).pixels if located else None
        for one in located:
            assert pixels is not None
            x, y, _ = one["provenance"]["circle"]
            around = [
                pixels[max(0, row - 7) : row + 8, max(0, x - 7) : x + 8].mean() for row in (y, 1023 - y)
            ]
            brighter.append(around[0] > around[1])
    assert len(brighter) == 57
    assert sum(brighter) >= 45  # 49 here; 68 of the 85 of all 322 films


def lay_out(folder: Path, rows: str, films: list[str]) -> Path:
    folder.mkdir()
    (folder / "Info.txt").write_text(f"INFORMATION: mdb numbers below\n\n{rows}\n=====\n")
    for name in films:
        write_png(folder / f"{name}.png", np.zeros((1024, 1024), dtype=np.uint8))
    return folder


def test_listed_films_without_a_file_are_dropped_and_told(tmp_path: Path) -> None:
    rows = "mdb005 F CIRC B 477 133 30 \nmdb005 F CIRC B 500 168 26\nmdb006 F NORM \nmdb007 G NORM"
    root = lay_out(tmp_path / "mias", rows, ["mdb006", "mdb300"])
    coco, audit = convert(load_source("mini-mias"), root, tmp_path / "coco.json")
    assert [image["file_name"] for image in coco.images] == ["mias/mdb006.png"]
    assert (audit.rows_read, audit.rows_used, audit.rows_dropped) == (4, 1, 3)
    assert audit.without_pixels == ["mdb005", "mdb007"]
    assert audit.unlisted == ["mdb300.png"]
    assert coco.info["audit"]["rows_dropped"] == {
        "no such image file": {"count": 3, "first": ["mdb005", "mdb007"]}
    }


def test_a_circle_over_the_edge_is_clipped_and_kept(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "mias", "mdb274 F MISC M 100 1000 123\nmdb059 F CIRC B", ["mdb274", "mdb059"])
    coco, audit = convert(load_source("mini-mias"), root, tmp_path / "coco.json")
    (lesion,) = coco.annotations
    assert lesion["bbox"] == [0, 0, 223, 147]
    assert lesion["provenance"]["circle"] == [100, 24, 123]
    assert lesion["provenance"]["bbox_before_clipping"] == [-23, -99, 246, 246]
    assert audit.clipped == ["mdb274"]
    assert film(coco, "mdb059")["label"] == "benign"


@pytest.mark.parametrize(
    "row",
    [
        "mdb001 G CIRC B 535 425",
        "mdb001 X NORM",
        "mdb001 G CIRC 535 425 197",
        "mdb001 G LUMP B 1 2 3",
        "mdb1 G NORM",
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: str) -> None:
    root = lay_out(tmp_path / "mias", f"mdb006 F NORM\n{row}", ["mdb001", "mdb006"])
    with pytest.raises(InputError, match=r"Info\.txt: line 4: .*mdb1?"):
        convert(load_source("mini-mias"), root, tmp_path / "coco.json")


def test_the_annotations_must_be_there(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "mias", "", ["mdb001"])
    (root / "Info.txt").unlink()
    with pytest.raises(InputError, match=r"Info\.txt: no such file"):
        convert(load_source("mini-mias"), root, tmp_path / "coco.json")


def test_circles_are_rescaled_to_films_of_another_size(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "mias", "mdb001 G CIRC B 400 424 100", ["mdb001"])
    write_png(root / "mdb001.png", np.zeros((512, 512), dtype=np.uint8))
    coco, audit = convert(load_source("mini-mias"), root, tmp_path / "coco.json")
    assert coco.annotations[0]["bbox"] == [150, 250, 100, 100]  # half of 300, 1024 - 424 - 100, 200, 200
    assert coco.images[0]["spacing_mm"] == [0.4, 0.4]
    assert list(audit.notes) == ["the annotations were drawn on an image of another size: rescaled"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_hides_no_row(tmp_path: Path, encoding: str) -> None:
    root = lay_out(tmp_path / "mias", "", ["mdb001", "mdb002"])
    (root / "Info.txt").write_text("mdb001 G NORM\nmdb002 G NORM\n", encoding=encoding)
    coco, _ = convert(load_source("mini-mias"), root, tmp_path / "coco.json")
    assert len(coco.images) == 2


@pytest.mark.parametrize("text", ["", "nothing here\n", "mdb001 G CIRC B 535 425 " + "9" * 5000])
def test_a_table_without_rows_or_with_absurd_numbers_is_refused(tmp_path: Path, text: str) -> None:
    root = lay_out(tmp_path / "mias", "", ["mdb001"])
    (root / "Info.txt").write_text(text)
    with pytest.raises(InputError, match=r"Info\.txt: .*rows look like"):
        convert(load_source("mini-mias"), root, tmp_path / "coco.json")
