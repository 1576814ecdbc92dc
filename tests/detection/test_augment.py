"""Boxes move with the pixels: proved on a rendered lesion."""

import numpy as np
import pytest
import torch

from mammodet.datasets.errors import InputError
from mammodet.detection.augment import AugmentConfig, build_augmentation, sample

OFF = dict(horizontal_flip=0, vertical_flip=0, rotation=0, brightness=0, contrast=0, gamma=0, noise=0)


def _lesion(x1, y1, x2, y2, height=120, width=90):
    pixels = torch.zeros(height, width)
    pixels[y1:y2, x1:x2] = 1
    return sample(pixels, torch.tensor([[x1, y1, x2, y2]], dtype=torch.float32), torch.tensor([2]))


def _bright_bbox(image, above):
    rows, columns = np.nonzero(np.asarray(image[0]) > above)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    "options",
    [
        {"horizontal_flip": 1},
        {"vertical_flip": 1},
        {"horizontal_flip": 1, "vertical_flip": 1},
        {"gamma": 0.5},
    ],
)
def test_flips_move_boxes_exactly_with_the_pixels(options):
    transform = build_augmentation(AugmentConfig(**{**OFF, **options}))
    image, target = transform(*_lesion(10, 20, 34, 31))
    assert tuple(target["boxes"][0].tolist()) == _bright_bbox(image, 0.5)


def test_a_turned_lesion_stays_inside_its_box_and_fills_most_of_it():
    torch.manual_seed(0)
    transform = build_augmentation(AugmentConfig(**{**OFF, "rotation": 10}))
    for _ in range(20):
        image, target = transform(*_lesion(30, 40, 60, 70))
        x1, y1, x2, y2 = _bright_bbox(image, 0.5)
        box = target["boxes"][0]
        assert box[0] <= x1 + 1 and box[1] <= y1 + 1 and box[2] >= x2 - 1 and box[3] >= y2 - 1
        assert (x2 - x1) * (y2 - y1) >= 0.85 * float((box[2] - box[0]) * (box[3] - box[1]))


def test_intensity_changes_pixels_and_leaves_boxes():
    torch.manual_seed(0)
    config = AugmentConfig(**{**OFF, "brightness": 0.3, "contrast": 0.3, "gamma": 0.3, "noise": 0.05})
    image, target = _lesion(10, 20, 34, 31)
    changed, moved = build_augmentation(config)(image, target)
    assert not torch.equal(image, changed)
    assert torch.equal(target["boxes"], moved["boxes"])
    assert changed.min() >= 0 and changed.max() <= 1


def test_no_boxes_is_a_normal_image():
    transform = build_augmentation(AugmentConfig(horizontal_flip=1, rotation=5))
    _, target = transform(*sample(torch.rand(40, 30), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)


@pytest.mark.parametrize("options", [{"horizontal_flip": 2}, {"rotation": 90}, {"noise": -1}])
def test_impossible_options_are_named(options):
    with pytest.raises(InputError, match=f"augment.{next(iter(options))}"):
        AugmentConfig(**options)
