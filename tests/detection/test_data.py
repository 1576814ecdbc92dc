"""The Dataset: pixels and boxes in one frame, and the way back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mammodet.datasets.coco import to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepare_folder import prepare_folder
from mammodet.datasets.standardise import Recipe
from mammodet.detection.augment import AugmentConfig
from mammodet.detection.data import LesionDataset, collate, measure_images

RECIPE = Recipe(crop_margin_px=4)


@pytest.mark.parametrize(
    "recipe", [RECIPE, Recipe(crop=False), Recipe(spacing_mm=0.25, assumed_spacing_mm=0.5)]
)
def test_boxes_lie_on_their_lesions_and_lead_back_to_the_source(coco, recipe):
    dataset = LesionDataset(coco, recipe)
    for index in (0, 1):
        pixels, target = dataset[index]
        x1, y1, x2, y2 = target["boxes"][0].round().int().tolist()
        inside = pixels[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
        assert inside.min() > 0.95
        assert pixels[0, max(0, y1 - 6) : max(0, y1 - 3), x1:x2].max() < 0.6
        back = target["geometry"].boxes_to_source(target["boxes"].numpy())
        own = coco.annotations_of[target["image_id"]][0]
        np.testing.assert_allclose(back, to_xyxy([own["bbox"]]), atol=1e-3)
        assert target["labels"].tolist() == [own["category_id"]]


def test_the_crop_keeps_the_breast_and_drops_the_air(coco):
    pixels, target = LesionDataset(coco, RECIPE)[0]
    assert pixels.shape[1] < 160 and pixels.shape[2] < 120
    assert (target["geometry"].width, target["geometry"].height) == (pixels.shape[2], pixels.shape[1])


def test_a_normal_image_has_empty_targets(coco):
    _, target = LesionDataset(coco, RECIPE)[2]
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(spacing_mm=0.7, orient_left=True), Recipe(crop=False)])
def test_prepared_images_give_the_same_items_and_statistics(coco, recipe, tmp_path):
    coco.images[1]["laterality"] = "R"  # mirrored where the recipe asks for it
    prepared = prepare_folder(coco, recipe, tmp_path / "out", workers=1, progress=False).coco
    fresh, kept = LesionDataset(coco, recipe), LesionDataset(prepared, recipe)
    assert len(fresh) == len(kept) == 3
    for index in range(3):
        (pixels, target), (same_pixels, same_target) = fresh[index], kept[index]
        assert pixels.dtype == same_pixels.dtype and pixels.shape == same_pixels.shape
        assert (pixels - same_pixels).abs().max() <= 1 / 65535
        np.testing.assert_allclose(same_target["boxes"], target["boxes"], atol=1e-3)
        assert same_target["labels"].tolist() == target["labels"].tolist()
        assert same_target["image_id"] == target["image_id"]
        # What is predicted on a prepared image stays in its frame, which is that of the prepared COCO file.
        geometry = same_target["geometry"]
        assert (geometry.source_height, geometry.source_width) == same_pixels.shape[1:] and not geometry.steps
    measured, same = measure_images(coco, recipe), measure_images(prepared, recipe)
    assert (same.mean, same.std) == pytest.approx((measured.mean, measured.std), abs=1 / 65535)
    assert (same.largest, same.spacing_mm, same.boxes) == (
        measured.largest,
        measured.spacing_mm,
        measured.boxes,
    )


def test_images_prepared_with_another_recipe_are_refused(coco, tmp_path):
    prepared = prepare_folder(coco, RECIPE, tmp_path / "out", workers=1, progress=False).coco
    with pytest.raises(InputError, match=r"recipe\.crop_margin_px"):
        LesionDataset(prepared, Recipe())
    with pytest.raises(InputError, match=r"recipe\.crop_margin_px"):
        measure_images(prepared, Recipe())


def test_ignored_and_crowd_findings_are_no_training_boxes(coco):
    coco.annotations[0]["ignore"] = 1
    coco.annotations[1]["iscrowd"] = 1
    dataset = LesionDataset(coco, RECIPE)
    assert len(dataset[0][1]["boxes"]) == len(dataset[1][1]["boxes"]) == 0


def test_augmented_items_collate(coco):
    dataset = LesionDataset(coco, RECIPE, AugmentConfig(horizontal_flip=1, rotation=0))
    images, targets = collate([dataset[0], dataset[2]])
    assert [image.ndim for image in images] == [3, 3]
    assert [len(target["boxes"]) for target in targets] == [1, 0]


def test_statistics_are_those_of_the_cropped_pixels(coco):
    measured = measure_images(coco, RECIPE)
    pixels = [LesionDataset(coco, RECIPE)[index][0].numpy() for index in range(3)]
    assert measured.images == 3
    assert measured.mean == pytest.approx(np.mean([one.mean() for one in pixels]), rel=1e-5)
    assert measured.std == pytest.approx(
        np.sqrt(np.mean([(one.astype(float) ** 2).mean() for one in pixels]) - measured.mean**2), rel=1e-4
    )
    assert measured.largest == (max(one.shape[2] for one in pixels), max(one.shape[1] for one in pixels))


def test_lesions_that_the_crop_loses_are_counted(coco):
    assert (measure_images(coco, RECIPE).boxes, measure_images(coco, RECIPE).lost_boxes) == (2, 0)
    coco.annotations[0]["bbox"] = [110.0, 2.0, 8.0, 8.0]  # in the air
    assert measure_images(coco, RECIPE).lost_boxes == 1


@pytest.mark.parametrize(("said", "used"), [(None, 0.2), ([0.5, 0.5], 0.5)])
def test_the_data_set_knows_the_pixel_size_better_than_the_recipe(coco, said, used):
    for image in coco.images:
        image["spacing_mm"] = said
    measured = measure_images(coco, Recipe(assumed_spacing_mm=0.2))
    assert set(measured.spacing_mm) == {(used, used)}


def test_an_image_of_another_size_than_stated_is_refused(coco):
    coco.images[0]["width"] = 121
    with pytest.raises(InputError, match=r"1\.png.*120 x 160.*121 x 160"):
        LesionDataset(coco, RECIPE)[0]


def test_a_data_set_without_images_is_refused(coco):
    with pytest.raises(InputError, match="no images"):
        LesionDataset(replace(coco, images=[]), RECIPE)


def test_geometries_survive_json(coco):
    geometry = LesionDataset(coco, RECIPE)[0][1]["geometry"]
    assert type(geometry).from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry
