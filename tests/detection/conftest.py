"""A small COCO file with real PNG files, and a small detector."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mammodet.datasets.coco import Coco, read_coco, write_coco
from mammodet.datasets.standardise import Recipe
from mammodet.detection.model import DetectorConfig, build_detector
from mammodet.detection.model_file import ModelHeader, write_model


@pytest.fixture
def small_config() -> DetectorConfig:
    return DetectorConfig(
        "resnet18",
        norm="batch",
        fpn_channels=16,
        anchor_sizes=(8, 16, 32, 64, 128),
        rpn_proposals=50,
        roi_batch=16,
        image_mean=0.3,
        image_std=0.2,
    )


@pytest.fixture
def model_path(tmp_path: Path, small_config: DetectorConfig) -> Path:
    """Return a model file of the small detector with random weights."""
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    write_model(path, build_detector(small_config).state_dict(), ModelHeader(small_config, Recipe(), "none"))
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    """Three images of two patients: a breast at the left with one bright lesion, and a normal one."""
    images, annotations = [], []
    for number in (1, 2, 3):
        pixels = np.zeros((160, 120), np.uint8)
        cv2.ellipse(pixels, (0, 80), (80, 60), 0, 0, 360, 90, -1)
        lesion = (20 + 5 * number, 70, 20, 16)
        if number < 3:
            x, y, w, h = lesion
            pixels[y : y + h, x : x + w] = 250
            box = {
                "id": number,
                "image_id": number,
                "category_id": number,
                "bbox": [float(one) for one in lesion],
            }
            annotations.append({**box, "area": float(w * h), "iscrowd": 0})
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
        images.append(
            {
                "id": number,
                "file_name": f"{number}.png",
                "width": 120,
                "height": 160,
                "patient_id": f"p{number // 2}",
                "laterality": "L",
                "view": "CC",
                "spacing_mm": [0.5, 0.5],
                "label": ("benign", "malignant", "normal")[number - 1],
            }
        )
    return read_coco(write_coco(Coco(images, annotations, tmp_path / "coco.json")))
