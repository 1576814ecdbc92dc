"""The images of a training: read and checked before hours of it."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepared import prepared_recipe, require_recipe
from mammodet.datasets.standardise import Recipe
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


def warn_of_leaks(prog: str, train: Coco, val: Coco | None) -> None:
    """Say when a patient is in both files: validation would flatter the model."""
    if val is not None and is_first():
        patients = {image.get("patient_id") for image in train.images} - {None}
        both = patients & {image.get("patient_id") for image in val.images}
        same = {str(train.image_path(one).resolve()) for one in train.images} & {
            str(val.image_path(one).resolve()) for one in val.images
        }
        if same:
            print(f"{prog}: warning: {len(same)} images are in --train and in --val", file=sys.stderr)
        if both:
            line = f"{len(both)} patients are in --train and in --val; split by patient with mammodet split"
            print(f"{prog}: warning: {line}", file=sys.stderr)
