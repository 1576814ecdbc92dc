"""The images of mammodet train-det: read and checked before hours of training, and evaluated on the way."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from mammodet.datasets.coco import Coco, read_coco, read_results
from mammodet.datasets.errors import InputError
from mammodet.datasets.hard_negatives import false_positives
from mammodet.datasets.prepared import prepared_recipe, require_recipe
from mammodet.datasets.standardise import Recipe
from mammodet.detection.crops import Boxes
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.tools.training_arguments import Arguments
from mammodet.tools.training_output import is_first, say


def read_images(path: str) -> Coco:
    """Read a COCO file and make sure that all its images are there, before hours of training."""
    coco = read_coco(path)
    if not coco.images:
        raise InputError("has no images", file=path, field="images", remedy="give a COCO file with images")
    for image in coco.images:
        if not coco.image_path(image).is_file():
            raise InputError(
                "no such image file",
                file=coco.image_path(image),
                field=f"{path} images[id={image['id']}].file_name",
                value=image["file_name"],
                remedy="names are relative to the COCO file's folder, or to info.root",
            )
    return coco


def shared_recipe(asked: Recipe, given: Collection[str], *files: Coco | None) -> Recipe:
    """Return the recipe of prepared images, which the model file must record; else the one asked for."""
    recipes = [recipe for coco in files if coco is not None and (recipe := prepared_recipe(coco)) is not None]
    if not recipes:
        return asked
    wanted = replace(recipes[0], **{name: getattr(asked, name) for name in given})
    for coco in files:
        if coco is not None:
            require_recipe(coco, wanted)
    say("images are prepared: their recipe becomes that of the model")
    return wanted


def hard_negatives(arguments: Arguments, coco: Coco) -> dict[int, Boxes]:
    """Read the false positives of a previous model, in the frame of the training file."""
    asked = arguments.sampling
    if asked.hard_negatives is None:
        return {}
    found = false_positives(
        coco,
        read_results(asked.hard_negatives, coco),
        min_score=asked.hard_score,
        per_image=asked.hard_per_image,
    )
    count = sum(map(len, found.values()))
    say(f"{count} hard negatives on {len(found)} of {len(coco.images)} images: {asked.hard_negatives}")
    return dict(found)


def warn_of_leaks(train: Coco, val: Coco | None) -> None:
    """Say when a patient is in both files: validation would flatter the detector."""
    if val is not None and is_first():
        patients = {image.get("patient_id") for image in train.images} - {None}
        both = patients & {image.get("patient_id") for image in val.images}
        if both:
            line = f"{len(both)} patients are in --train and in --val; split by patient with mammodet split"
            print(f"mammodet train-det: warning: {line}", file=sys.stderr)


class Validation:
    """COCO AP and AP50 of results on the validation images."""

    def __init__(self, coco: Coco) -> None:
        self.coco = coco

    def __call__(self, results: list[dict[str, Any]]) -> Mapping[str, float]:
        """Return the metrics by name; one that is not defined counts as 0."""
        metrics = coco_metrics(self.coco, results)["all"]
        return {name: metrics[name] or 0.0 for name in ("AP", "AP50")}

    def __deepcopy__(self, memo: dict[int, Any]) -> Validation:
        """Stay one: averaging the weights copies the module, but the data set need not be there twice."""
        return self
