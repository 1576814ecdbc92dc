"""Masks beside images: every layout, one lesion per component, faults named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mammodet.datasets.coco import Coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import convert
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.masks import segmentation_to_mask

HEIGHT, WIDTH = 60, 40


def image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    random = np.random.default_rng(0)
    write_png(path, random.integers(0, 256, (height, width), dtype=np.uint8))


def mask(path: Path, *boxes: tuple[int, int, int, int], height: int = HEIGHT, width: int = WIDTH) -> None:
    drawn: NDArray[np.uint8] = np.zeros((height, width), dtype=np.uint8)
    for x, y, box_width, box_height in boxes:
        drawn[y : y + box_height, x : x + box_width] = 255
    write_png(path, drawn)


def converted(tmp_path: Path) -> tuple[Coco, Audit]:
    return convert(load_source("mask-folders"), tmp_path / "data", tmp_path / "coco.json")


def test_every_component_is_a_lesion_with_its_mask(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("0_R-CC", "0_L-CC", "1_R-MLO"):
        image(root / "images" / f"{name}.png")
    mask(root / "masks" / "0_R-CC_benign.png", (2, 3, 5, 7), (20, 30, 4, 4))
    mask(root / "masks" / "0_R-CC_malignant.png", (10, 50, 6, 5))
    mask(root / "masks" / "0_L-CC_malignant.png")
    coco, audit = converted(tmp_path)
    by_name = {Path(one["file_name"]).stem: one for one in coco.images}
    right = by_name["0_R-CC"]
    assert (right["patient_id"], right["laterality"], right["view"], right["label"]) == (
        "0",
        "R",
        "CC",
        "malignant",
    )
    assert right["breast_id"] == "0-R"
    assert by_name["0_L-CC"]["label"] == by_name["1_R-MLO"]["label"] == "normal"
    found = [(one["category_id"], one["bbox"], one["area"]) for one in coco.annotations]
    assert found == [(1, [2, 3, 5, 7], 35), (1, [20, 30, 4, 4], 16), (2, [10, 50, 6, 5], 30)]
    decoded = segmentation_to_mask(coco.annotations[2]["segmentation"], WIDTH, HEIGHT)
    assert decoded.sum() == 30
    assert decoded[50:55, 10:16].all()
    assert (audit.rows_read, audit.rows_used) == (4, 4)
    assert audit.notes == {"the mask is empty": {"0_L-CC_malignant.png": 1}}
    assert audit.unlisted == []


@pytest.mark.parametrize(
    ("image_path", "mask_path", "patient", "study", "split"),
    [
        ("images/0_R-CC.png", "masks/0_R-CC_benign.png", "0", None, None),
        ("cropped_images/0_R-CC.png", "segmentation/0_R-CC_benign.png", "0", None, None),
        ("0_R-CC.png", "masks/0_R-CC_benign.png", "0", None, None),
        ("train/images/0_R-CC.png", "train/masks/0_R-CC_Benign_2.png", "0", None, "train"),
        ("patient7/R-CC.png", "patient7/masks/R-CC_benign.png", "patient7", None, None),
        ("patient7/images/R-CC.png", "patient7/masks/R-CC_benign.png", "patient7", None, None),
        ("patient7/2019/R-CC.png", "patient7/2019/masks/R-CC_benign.png", "patient7", "2019", None),
        ("images/patient7/R-CC.png", "masks/patient7/R-CC_benign.png", "patient7", None, None),
        ("test/images/patient7/R-CC.png", "test/masks/patient7/R-CC-benign1.png", "patient7", None, "test"),
    ],
)
def test_layouts(
    tmp_path: Path, image_path: str, mask_path: str, patient: str, study: str | None, split: str | None
) -> None:
    image(tmp_path / "data" / image_path)
    mask(tmp_path / "data" / mask_path, (1, 2, 3, 4))
    coco, _ = converted(tmp_path)
    (one,) = coco.images
    assert one["file_name"] == f"data/{image_path}"
    assert (one["patient_id"], one.get("study_id"), one.get("split")) == (patient, study, split)
    assert (one["laterality"], one["view"], one["label"]) == ("R", "CC", "benign")
    assert [lesion["bbox"] for lesion in coco.annotations] == [[1, 2, 3, 4]]


def test_images_of_one_name_in_several_folders_keep_their_own_masks(tmp_path: Path) -> None:
    for patient, x in (("a", 1), ("b", 9)):
        image(tmp_path / "data" / patient / "R-CC.png")
        mask(tmp_path / "data" / patient / "masks" / "R-CC_benign.png", (x, 2, 3, 4))
    coco, _ = converted(tmp_path)
    boxes = {one["patient_id"]: coco.annotations_of[one["id"]][0]["bbox"] for one in coco.images}
    assert boxes == {"a": [1, 2, 3, 4], "b": [9, 2, 3, 4]}


def test_a_mask_of_another_size_is_an_error_naming_both(tmp_path: Path) -> None:
    image(tmp_path / "data" / "images" / "0_R-CC.png")
    mask(tmp_path / "data" / "masks" / "0_R-CC_benign.png", (1, 2, 3, 4), height=30, width=20)
    with pytest.raises(InputError, match=r"0_R-CC_benign\.png: .*is 20 x 30, its image .* is 40 x 60"):
        converted(tmp_path)


def test_an_empty_mask_of_another_size_is_an_error_too(tmp_path: Path) -> None:
    image(tmp_path / "data" / "images" / "0_R-CC.png")
    mask(tmp_path / "data" / "masks" / "0_R-CC_benign.png", height=30, width=20)
    with pytest.raises(InputError, match=r"is 20 x 30, its image .* is 40 x 60"):
        converted(tmp_path)


def test_a_mask_without_class_is_named(tmp_path: Path) -> None:
    image(tmp_path / "data" / "images" / "0_R-CC.png")
    mask(tmp_path / "data" / "masks" / "0_R-CC.png", (1, 2, 3, 4))
    with pytest.raises(InputError, match=r"0_R-CC\.png: file name: no class"):
        converted(tmp_path)


def test_a_mask_without_image_is_dropped_and_told(tmp_path: Path) -> None:
    image(tmp_path / "data" / "images" / "0_R-CC.png")
    mask(tmp_path / "data" / "masks" / "1_R-CC_benign.png", (1, 2, 3, 4))
    coco, audit = converted(tmp_path)
    assert len(coco.images) == 1
    assert audit.dropped == {"no image of this mask": {"masks/1_R-CC_benign.png": 1}}


def test_images_without_any_folder_of_masks_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "data" / "0_R-CC.png")
    with pytest.raises(InputError, match="no folder with masks"):
        converted(tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "data" / "images" / "0_R-CC.png")
    (tmp_path / "data" / "images" / "0_R-CC.dcm").write_bytes(b"x")
    mask(tmp_path / "data" / "masks" / "0_R-CC_benign.png", (1, 2, 3, 4))
    with pytest.raises(InputError, match="two images of one name"):
        converted(tmp_path)


def test_an_unreadable_image_is_dropped_and_told(tmp_path: Path) -> None:
    image(tmp_path / "data" / "images" / "0_R-CC.png")
    (tmp_path / "data" / "images" / "1_R-CC.png").write_bytes(b"")
    mask(tmp_path / "data" / "masks" / "1_R-CC_benign.png", (1, 2, 3, 4))
    coco, audit = converted(tmp_path)
    assert [one["patient_id"] for one in coco.images] == ["0"]
    assert audit.without_pixels == ["images/1_R-CC.png"]


def test_a_dicom_image_tells_its_header(tmp_path: Path, shared_data: Path) -> None:
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    (folder / "case.dcm").symlink_to(shared_data / "dicom" / "ge_essential_r_mlo.dcm")
    mask(tmp_path / "data" / "masks" / "case_malignant.png", (100, 200, 30, 40), height=3062, width=2394)
    coco, _ = converted(tmp_path)
    (one,) = coco.images
    assert (one["laterality"], one["view"], one["width"], one["height"]) == ("R", "MLO", 2394, 3062)
    assert one["spacing_mm"] is not None
    assert len(one["patient_id"]) == 16  # a hash
    assert coco.annotations[0]["bbox"] == [100, 200, 30, 40]
