"""Images of a COCO file as a model sees them: standardised now, or by ``mammodet prepare`` before.

A prepared image is a 16-bit grey PNG of standardised pixels, 0 = 0.0 and 65535 = 1.0, named by a COCO file
that carries ``info.prepared``: the recipe, and the format below. Its boxes lie in the frame of the PNG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.datasets.errors import InputError
from mammodet.datasets.filetype import file_kind
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.mammogram import Mammogram, read_mammogram
from mammodet.datasets.raster import read_raster
from mammodet.datasets.standardise import Recipe, Standardised, standardise

FORMAT = "mammodet.prepared/1"
FULL_SCALE = 65535
_REMEDY = "run mammodet prepare again"


def prepared_recipe(coco: Coco) -> Recipe | None:
    """Return the recipe that the images of ``coco`` were prepared with; None when they are source files.

    Raises InputError when ``info.prepared`` is broken or of another format.
    """
    record = coco.info.get("prepared")
    if record is None:
        return None
    told = record.get("format") if isinstance(record, Mapping) else record
    if told != FORMAT:
        field = "info.prepared.format"
        raise InputError(f"is not {FORMAT}", file=coco.path, field=field, value=told, remedy=_REMEDY)
    try:
        return Recipe.from_dict(record["recipe"])
    except (InputError, KeyError, TypeError, ValueError) as error:
        field = "info.prepared.recipe"
        raise InputError(f"is broken: {error}", file=coco.path, field=field, remedy=_REMEDY) from None


def require_recipe(coco: Coco, recipe: Recipe) -> None:
    """Raise InputError when the images of ``coco`` were prepared with another recipe than ``recipe``."""
    own = prepared_recipe(coco)
    for field in fields(Recipe) if own is not None else ():
        theirs, wanted = getattr(own, field.name), getattr(recipe, field.name)
        if theirs != wanted:
            raise InputError(
                f"its images were prepared with {theirs!r}",
                file=coco.path,
                field=f"recipe.{field.name}",
                value=wanted,
                remedy="give that value, or prepare the images again with this one",
            )


def load_standardised(coco: Coco, image: ImageRecord, recipe: Recipe) -> Standardised:
    """Return one image of a COCO file as a model sees it, read from its source file or from its prepared one.

    The frame of the geometry's source is that of the COCO file's boxes. Notes are those of reading and of
    standardising. Raises InputError when the image cannot be read, when its size is not the one that the COCO
    file states, or when it was prepared with another recipe.
    """
    path = coco.image_path(image)
    if prepared_recipe(coco) is not None:
        require_recipe(coco, recipe)
        return read_prepared(path, image)
    mammogram = read_mammogram(path, recipe)
    size = (mammogram.source_width, mammogram.source_height)
    if size != (image["width"], image["height"]):
        raise InputError(
            f"is {size[0]} x {size[1]} but {coco.path} says {image['width']} x {image['height']}",
            file=path,
            field=f"images[id={image['id']}]",
            remedy="convert the data set again",
        )
    standardised = standardise(complete(mammogram, image), recipe)
    return replace(standardised, notes=(*mammogram.notes, *standardised.notes))


def complete(mammogram: Mammogram, image: ImageRecord) -> Mammogram:
    """Take pixel size and side from the COCO file where the image file, such as a PNG, does not say them.

    What a data set says of its images goes before the recipe's general ``assumed_spacing_mm``.
    """
    spacing = image.get("spacing_mm")
    if mammogram.spacing_source in {None, "given"} and spacing is not None:
        mammogram = replace(mammogram, spacing_mm=(spacing[0], spacing[1]), spacing_source="COCO file")
    if mammogram.laterality is None:
        mammogram = replace(mammogram, laterality=image.get("laterality"))
    return mammogram


def read_prepared(path: Path, image: ImageRecord) -> Standardised:
    """Read the pixels that ``mammodet prepare`` wrote: nothing is cropped, windowed or scaled again.

    Raises InputError when the file is missing, broken, no 16-bit PNG, or not of the size of ``image``.
    """
    kind = file_kind(path)
    stored = read_raster(path, kind).stored if kind == "png" else None
    if stored is None or stored.dtype != np.uint16:
        raise InputError("is no prepared image, which is a 16-bit grey PNG", file=path, remedy=_REMEDY)
    height, width = stored.shape
    if (width, height) != (image["width"], image["height"]):
        problem = f"is {width} x {height} but the COCO file says {image['width']} x {image['height']}"
        raise InputError(problem, file=path, field=f"images[id={image['id']}]", remedy=_REMEDY)
    spacing = image.get("spacing_mm")
    return Standardised(
        pixels=np.divide(stored, np.float32(FULL_SCALE), dtype=np.float32),
        geometry=Geometry(width, height),
        spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
    )
