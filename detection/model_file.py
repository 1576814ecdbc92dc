"""The model file: safetensors with a JSON header, so that loading runs no pickle."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mammodet.datasets.coco import CATEGORY_NAMES, Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.model import DetectorConfig
from mammodet.networks.tensor_file import read_content, write_tensor_file

FORMAT = "mammodet.detector/1"
_REMEDY = "give the model.safetensors that mammodet train-det wrote"


@dataclass(frozen=True)
class ModelHeader:
    """What must be known to run a model and to tell where it comes from.

    ``fingerprint`` is the SHA-256 of the training data's images and boxes; ``training`` is free for the
    trainer's notes (epoch, metric, command). ``calibration`` is empty or what int8 needs to know:
    ``ranges`` (smallest and largest output of every convolution), and on which images they were seen.
    """

    config: DetectorConfig
    recipe: Recipe
    fingerprint: str
    training: dict[str, Any] = field(default_factory=dict)
    categories: Mapping[int, str] = field(default_factory=lambda: dict(CATEGORY_NAMES))
    mammodet_version: str = field(default_factory=lambda: version("mammodet"))
    calibration: dict[str, Any] = field(default_factory=dict)


def write_model(path: Path, tensors: Mapping[str, Tensor], header: ModelHeader) -> None:
    """Write a model file atomically; tensors are stored contiguous, on the CPU, in their own dtype."""
    content = {"format": FORMAT, **asdict(header), "recipe": header.recipe.to_dict()}
    write_tensor_file(path, tensors, content)


def is_model_file(path: Path) -> bool:
    """Tell by the suffix whether ``path`` is a model file."""
    return path.suffix == ".safetensors"


def read_header(path: Path) -> ModelHeader:
    """Read and check the header; raises InputError for a damaged file or other categories than ours."""
    content = read_content(path, FORMAT, _REMEDY)
    try:
        return _parse(content, path)
    except InputError as error:
        raise InputError(
            error.problem, file=path, field=error.field, value=error.value, remedy=error.remedy or _REMEDY
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"has a damaged header: {error!r}", file=path, remedy=_REMEDY) from None


def fingerprint(coco: Coco) -> str:
    """Return the SHA-256 of names, sizes, boxes and classes of a data set, whatever folder it lies in."""
    digest = hashlib.sha256()
    for image in sorted(coco.images, key=lambda one: one["id"]):
        own = sorted((one["category_id"], *one["bbox"]) for one in coco.annotations_of[image["id"]])
        name = image.get("sop_instance_uid") or Path(image["file_name"]).name
        digest.update(json.dumps([image["id"], name, image["width"], image["height"], own]).encode())
    return digest.hexdigest()


def is_range(low: float, high: float) -> bool:
    """Tell whether outputs from ``low`` to ``high`` can be quantised, which is done in float32."""
    largest = torch.finfo(torch.float32).max
    return (
        math.isfinite(low) and math.isfinite(high) and low <= high and max(high, 0) - min(low, 0) <= largest
    )


def _parse(content: dict[str, Any], path: Path) -> ModelHeader:
    categories = {int(number): name for number, name in content["categories"].items()}
    if categories != dict(CATEGORY_NAMES):
        raise InputError(
            f"was trained on other categories than {dict(CATEGORY_NAMES)}",
            file=path,
            field="categories",
            value=categories,
            remedy="train a model on benign and malignant lesions",
        )
    known = {one.name for one in fields(DetectorConfig)}
    config: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content["config"].items()
    }
    if unknown := config.keys() - known:
        raise InputError(
            "has options this version does not know",
            file=path,
            field="config",
            value=sorted(unknown),
            remedy=f"it was written by mammodet {content.get('mammodet_version')}, use that",
        )
    return ModelHeader(
        config=DetectorConfig(**config),
        recipe=Recipe.from_dict(content["recipe"]),
        fingerprint=content["fingerprint"],
        training=content["training"],
        categories=categories,
        mammodet_version=content["mammodet_version"],
        calibration=_calibration(content.get("calibration", {})),
    )


def _calibration(content: Mapping[str, Any]) -> dict[str, Any]:
    if not content:
        return {}
    ranges = {name: (float(low), float(high)) for name, (low, high) in content["ranges"].items()}
    for name, (low, high) in ranges.items():
        if not is_range(low, high):
            raise InputError(
                "is no range of numbers",
                field=f"calibration.ranges.{name}",
                value=(low, high),
                remedy="run mammodet calibrate again",
            )
    return {**content, "ranges": ranges}
