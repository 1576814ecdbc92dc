"""Boxes in the frame of the detector, read from the COCO file alone; standardise and training are the judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammodet.datasets.anchor_boxes import frame_boxes
from mammodet.datasets.coco import Coco
from mammodet.datasets.converters import load_source
from mammodet.datasets.converters.base import convert
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepared import FORMAT
from mammodet.datasets.standardise import Recipe
from mammodet.detection.data import LesionDataset


def coco_of(*lesions: dict[str, Any], spacing: Any = ((0.1, 0.1),), info: Any = None) -> Coco:
    """Return a COCO file with an image of 400 x 600 pixels for each spacing, lesions on the first by default."""
    images: list[Any] = [
        {"id": number, "file_name": f"{number}.png", "width": 400, "height": 600, "spacing_mm": one}
        for number, one in enumerate(spacing, 1)
    ]
    annotations: list[Any] = [
        {"id": number, "image_id": 1, "category_id": 1, **one} for number, one in enumerate(lesions, 1)
    ]
    return Coco(images, annotations, Path("coco.json"), info=info or {})


@pytest.fixture(scope="module")
def mias(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Coco:
    out = tmp_path_factory.mktemp("mias") / "coco.json"
    return convert(load_source("mini-mias"), shared_data / "mini-mias", out)[0]


@pytest.mark.parametrize("spacing_mm", [None, 0.35])
def test_sizes_are_those_of_training(mias: Coco, spacing_mm: float | None) -> None:
    """On films of mini-MIAS: what training sees after crop and resampling, within the rounding of whole pixels."""
    chosen = [image["id"] for image in mias.images if mias.annotations_of[image["id"]]][:4]
    few = mias.subset(chosen, mias.path)
    # without cropping, so that every box is whole and the frames are the same
    dataset = LesionDataset(few, Recipe(crop=False, spacing_mm=spacing_mm))
    trained = np.concatenate([dataset[number][1]["boxes"].numpy() for number in range(len(dataset))])
    found = frame_boxes(few, spacing_mm)
    ordered = [one["image_id"] for one in few.annotations]
    assert ordered == sorted(ordered)
    np.testing.assert_allclose(found.boxes, trained, atol=1e-3)
    if spacing_mm is None:
        assert found.boxes[0].tolist() == [338, 402, 338 + 394, 402 + 394]  # mdb001, by hand from Info.txt
        assert found.side_mm[0] == pytest.approx(394 * 0.2)
    else:
        assert found.side_px[0] == pytest.approx(394 * 0.2 / 0.35, rel=0.002)
        assert found.side_mm[0] == pytest.approx(394 * 0.2)


def test_mini_mias_as_a_whole(mias: Coco) -> None:
    found = frame_boxes(mias)
    assert (len(found.boxes), found.left_out, found.notes) == (57, {}, ())
    assert found.common_spacing_mm == 0.2
    groups = {name: int(members.sum()) for name, members in found.groups().items()}
    assert groups == {
        "all": 57,
        "benign": 30,
        "malignant": 27,
        "asymmetry": 6,
        "calcification": 13,
        "distortion": 9,
        "mass": 29,
    }


def test_rows_and_columns_are_scaled_apart() -> None:
    found = frame_boxes(coco_of({"bbox": [10, 20, 30, 40]}, spacing=[(0.2, 0.1)]), spacing_mm=0.1)
    assert found.boxes.tolist() == [[10, 40, 40, 120]]  # rows of 0.2 mm: twice as high
    assert found.frames.tolist() == [[400, 1200]]
    assert found.side_mm == pytest.approx([np.sqrt(3.0 * 8.0)])


def test_what_is_left_out_is_counted() -> None:
    found = frame_boxes(
        coco_of(
            {"bbox": [0, 0, 20, 20]},
            {"bbox": [0, 0, 20, 20], "ignore": 1},
            {"bbox": [0, 0, 20, 20], "iscrowd": 1},
            {"bbox": [0, 0, 20, 20], "iscrowd": 1, "ignore": 1},
            {"bbox": [0, 0, 20, 20], "provenance": {"point": [10, 10]}},
            {"bbox": [5, 5, 0.5, 20]},
        )
    )
    assert len(found.boxes) == 1
    assert found.left_out == {"ignored": 1, "crowd": 2, "single points": 1, "under a pixel": 1}


@pytest.mark.parametrize(
    ("lesions", "told"),
    [
        ([], "it has no annotations"),
        ([{"bbox": [0, 0, 9, 9], "ignore": 1}], "1 ignored"),
        ([{"bbox": [0, 0, 0.5, 9]}], "1 under a pixel"),
    ],
)
def test_no_box_at_all(lesions: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(InputError, match=rf"coco\.json: annotations: holds no box .*\({told}\)"):
        frame_boxes(coco_of(*lesions))


def test_mixed_pixel_sizes_are_noted_until_they_are_made_one() -> None:
    coco = coco_of(
        {"bbox": [0, 0, 20, 20]}, {"bbox": [0, 0, 20, 20], "image_id": 2}, spacing=[(0.1, 0.1), (0.05, 0.05)]
    )
    found = frame_boxes(coco)
    assert found.common_spacing_mm is None
    (note,) = found.notes
    assert note.startswith("pixels are 0.05 to 0.1 mm")
    assert "--spacing-mm" in note
    resampled = frame_boxes(coco, 0.1)
    assert resampled.notes == ()
    assert resampled.side_px.tolist() == [20, 10]


def test_an_unknown_pixel_size() -> None:
    coco = coco_of(
        {"bbox": [0, 0, 20, 20]}, {"bbox": [0, 0, 20, 20], "image_id": 2}, spacing=[(0.1, 0.1), None]
    )
    found = frame_boxes(coco)
    assert found.notes == ("the pixel size of 1 of 2 lesions is unknown",)
    assert np.isnan(found.side_mm).tolist() == [False, True]
    with pytest.raises(InputError, match=r"images\[id=2\]\.spacing_mm: the pixel size is not known"):
        frame_boxes(coco, 0.1)
    assert frame_boxes(coco, 0.1, 0.2).side_px.tolist() == [20, 40]


def test_images_without_lesions_need_no_pixel_size() -> None:
    coco = coco_of({"bbox": [0, 0, 20, 20]}, spacing=[(0.1, 0.1), None])
    assert frame_boxes(coco, 0.2).side_px.tolist() == [10]


def test_prepared_images_are_not_resampled_again() -> None:
    info = {"prepared": {"format": FORMAT, "recipe": Recipe(spacing_mm=0.1).to_dict()}}
    coco = coco_of({"bbox": [0, 0, 20, 20]}, spacing=[(0.1002, 0.0999)], info=info)
    for spacing_mm in (None, 0.1):
        assert frame_boxes(coco, spacing_mm).boxes.tolist() == [[0, 0, 20, 20]]
    with pytest.raises(InputError, match=r"--spacing-mm: its images were prepared with 0\.1"):
        frame_boxes(coco, 0.2)
