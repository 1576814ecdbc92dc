"""What an evaluation reads of a ground truth beyond plain COCO: names of classes, labels, pixel spacings.

A file that does not follow the profile may hold anything under the profile's keys. What is not used is left
alone; a value that would be taken for a truth or a length is refused.
"""

from __future__ import annotations

from mammodet.datasets.coco import CATEGORY_NAMES, Coco
from mammodet.datasets.coco_values import IMAGE_KEYS
from mammodet.datasets.errors import InputError


def check_ground_truth(coco: Coco) -> None:
    """Refuse names of classes, labels and spacings that an evaluation cannot take at their word.

    ``spacing_mm`` is read of every file; ``label`` is a truth only beside the categories benign and
    malignant, so other files may use that name for something else.

    Raises
    ------
    InputError
        For the first category or image with such a value, with the number of the other images.
    """
    for category in coco.categories:
        if "name" in category and not isinstance(category["name"], str):
            raise InputError(
                "must be a text",
                file=coco.path,
                field=f"categories[id={category['id']}].name",
                value=category["name"],
                remedy="give every category a name, or leave the key out",
            )
    keys = ["spacing_mm"]
    if {one["id"]: one.get("name") for one in coco.categories} == dict(CATEGORY_NAMES):
        keys.append("label")
    for key in keys:
        fits, expected = IMAGE_KEYS[key]
        told = [(image["id"], image.get(key)) for image in coco.images]
        bad = [(number, value) for number, value in told if value is not None and not fits(value)]
        if bad:
            number, value = bad[0]
            more = f" (and {len(bad) - 1} more images)" if len(bad) > 1 else ""
            raise InputError(
                f"must be {expected}{more}",
                file=coco.path,
                field=f"images[id={number}].{key}",
                value=value,
                remedy="correct it in the file; leave the key out where it is not known",
            )
