"""Images beside folders of masks whose file names end in the class, such as 0_R-CC_benign.png.

A folder called masks, mask, segmentation or segmentations belongs to the images of the folder beside it
called images, image or cropped_images, or else to those of the folder that it lies in; sub-folders are
mirrored:

    ROOT/images/0_R-CC.png           ROOT/masks/0_R-CC_benign.png
    ROOT/train/images/0_R-CC.png     ROOT/train/masks/0_R-CC_malignant_1.png
    ROOT/patient7/R-CC.png           ROOT/patient7/masks/R-CC_benign.dcm
    ROOT/images/patient7/R-CC.png    ROOT/masks/patient7/R-CC_benign.png

An image without a mask, or with an empty one, is normal. Side and view come from the image's name or DICOM
header. A folder train, val or test is the official split. What other folder an image lies in is its patient,
and one below that its study; without one, the patient is the name before side and view.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from mammodet.datasets.coco import BENIGN, MALIGNANT
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.options import Options
from mammodet.datasets.converters.shapes import mask_shapes
from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem
from mammodet.datasets.mammogram import read_mask

MASK_FOLDERS = ("masks", "mask", "segmentation", "segmentations")
IMAGE_FOLDERS = ("images", "image", "cropped_images")
SPLITS = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test"}

_CATEGORIES = {"benign": BENIGN, "malignant": MALIGNANT}
_STEM = re.compile(r"(?P<image>.+)[_\-. ](?P<label>benign|malignant)(?:[_\-. ]?\d+)?", re.IGNORECASE)
_Masks = Sequence[tuple[Path, str]]  # file, class


def films(files: ImageFiles, audit: Audit, options: Options) -> Iterable[Film]:
    """Yield one film per image, with a lesion per connected component of its masks."""
    names = {path: PurePosixPath(files.name(path)) for path in files.paths}
    masks = {path: name for path, name in names.items() if _mask_folder(name) is not None}
    if not masks:
        remedy = f"put them into a folder called {' or '.join(MASK_FOLDERS)}"
        raise InputError("no folder with masks", file=files.root, remedy=remedy)
    images: dict[str, Path] = {}
    for path in (path for path in files.paths if path not in masks):
        other = images.setdefault(names[path].with_suffix("").as_posix().lower(), path)
        if other != path:
            remedy = f"leave one of it and {other.name} in the folder"
            raise InputError("two images of one name would share their masks", file=path, remedy=remedy)
    masks_of: defaultdict[Path, list[tuple[Path, str]]] = defaultdict(list)
    for mask, name in masks.items():
        files.use(mask)
        image_keys, label = _describe(mask, name)
        image = next((images[key] for key in image_keys if key in images), None)
        if image is None:
            audit.drop("no image of this mask", name.as_posix())
        else:
            masks_of[image].append((mask, label))
    for image in images.values():
        yield _film(image, names[image], masks_of[image], audit)


def _mask_folder(name: PurePosixPath) -> int | None:
    """Return which part of a path is the innermost folder of masks."""
    places = [index for index, part in enumerate(name.parts[:-1]) if part.lower() in MASK_FOLDERS]
    return places[-1] if places else None


def _describe(mask: Path, name: PurePosixPath) -> tuple[list[str], str]:
    """Return the paths, without suffix, that the mask's image may have, and the class."""
    stem = _STEM.fullmatch(name.stem)
    if stem is None:
        remedy = "call it as its image with _benign or _malignant, and a number if there are several"
        raise InputError("no class in the name of the mask", file=mask, field="file name", remedy=remedy)
    place = _mask_folder(name) or 0
    before, after = name.parts[:place], name.parts[place + 1 : -1]
    folders = [(*before, images, *after) for images in IMAGE_FOLDERS] + [(*before, *after)]
    return ["/".join((*folder, stem["image"])).lower() for folder in folders], stem["label"].lower()


def _film(image: Path, name: PurePosixPath, masks: _Masks, audit: Audit) -> Film:
    lesions: list[Lesion] = []
    frames: dict[Path, tuple[int, int]] = {}
    for file, label in masks:
        mask = read_mask(file)
        frames[file] = (mask.shape[1], mask.shape[0])
        shapes = list(mask_shapes(mask, file.name))
        lesions += [Lesion(shape, _CATEGORIES[label], {"pathology": label}) for shape in shapes]
        if not shapes:
            audit.note("the mask is empty", file.name)
    keys = _keys(name)
    if not lesions:
        keys["label"] = "normal"
    return Film(name.as_posix(), lesions, keys, rows=max(1, len(masks)), frames=frames)


def _keys(name: PurePosixPath) -> dict[str, object]:
    facts = parse_stem(name.stem)
    folders = [part for part in name.parts[:-1] if part.lower() not in IMAGE_FOLDERS]
    split = next((SPLITS[part.lower()] for part in folders if part.lower() in SPLITS), None)
    folders = [part for part in folders if part.lower() not in SPLITS]
    patient = folders[0] if folders else facts.rest if facts.laterality or facts.view else None
    keys = {"patient_id": patient or None, "laterality": facts.laterality, "view": facts.view, "split": split}
    if len(folders) > 1:
        keys["study_id"] = "/".join(folders[1:])
    return dict(keys)


SOURCE = Source(
    dataset="mask-folders",
    films=films,
    category_rule="the class in the mask's file name; an image without a mask, or an empty one, is normal",
)
