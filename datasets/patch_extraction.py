"""Patches of a whole COCO file put into a store, image by image; what was stopped or killed goes on.

    STORE              the SQLite file
    STORE.pixels/      of a store of references: each image's standardised pixels, 16 bits, mapped by readers

Prepared images are PNG files, which can only be decoded as a whole (some 30 ms for a full-field image), so a
store of references unpacks each of them once.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.datasets.errors import InputError
from mammodet.datasets.image_work import casualty_refusal, each_image, refusal
from mammodet.datasets.isolation import Casualty
from mammodet.datasets.patch_records import (
    ImagePatches,
    encode,
    image_key,
    mapped_folder,
    patient_key,
    quantise,
)
from mammodet.datasets.patch_sampling import SamplingRule, sample_windows
from mammodet.datasets.patch_writer import PatchWriter
from mammodet.datasets.prepared import load_standardised
from mammodet.datasets.standardise import Recipe, Standardised


@dataclass(frozen=True)
class Extraction:
    """How images become patches: rule, recipe, and how pixels are kept.

    ``mapped`` is the folder for the pixels of a store of references; None stores the pixels of the patches,
    with ``depth`` bits (8 or 16).
    """

    rule: SamplingRule
    recipe: Recipe
    depth: int = 16
    mapped: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one image: its patches, or why it could not be read, or why nothing could be written."""

    image_id: int
    patches: ImagePatches | None = None
    rejected: str | None = None
    failed: tuple[int, str, str] | None = None


@dataclass
class Extracted:
    """What a run added to a store: images, patches, images that cannot be read, notes by their number."""

    images: int = 0
    patches: int = 0
    kept: int = 0
    rejected: list[tuple[ImageRecord, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def extract_patches(
    writer: PatchWriter,
    coco: Coco,
    extraction: Extraction,
    *,
    split: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Extracted:
    """Add the patches of all images of ``coco`` to a store, but for images that it has already.

    Parameters
    ----------
    split:
        The split of all images; None takes that of each image, "" where it has none.
    workers:
        Processes that read images; None is one per core. 1 works in this process.

    Raises
    ------
    InputError
        Before any image is read, when a patient would be in two splits, or when the store has another image
        of the same data set and id.
    OSError
        When nothing can be written, such as on a full disk.
    """
    splits = {image["id"]: image.get("split") or "" if split is None else split for image in coco.images}
    _check_names(splits)
    held = writer.files()
    todo = [image for image in coco.images if not _is_held(image, held, coco)]
    writer.claim((patient_key(image), splits[image["id"]]) for image in coco.images)
    done = Extracted(kept=len(coco.images) - len(todo))
    if extraction.mapped is not None:
        extraction.mapped.mkdir(parents=True, exist_ok=True)
        for unfinished in extraction.mapped.glob(".*.part*"):
            unfinished.unlink(missing_ok=True)
    count = min(workers or os.cpu_count() or 1, max(1, len(todo)))
    with closing(
        each_image(partial(extract_image, extraction), _tasks(coco, todo, splits), count)
    ) as outcomes:
        bar = tqdm(outcomes, total=len(todo), unit="image", desc="patches", disable=not progress)
        for image, found in zip(todo, bar, strict=True):
            if isinstance(found, Casualty):
                outcome = Outcome(image["id"], rejected=casualty_refusal(coco.image_path(image), found))
            else:
                outcome = found
            if outcome.failed is not None:
                raise OSError(*outcome.failed)
            if outcome.patches is None:
                done.rejected.append((image, str(outcome.rejected)))
                continue
            writer.add(outcome.patches)
            done.images += 1
            done.patches += len(outcome.patches.windows)
            done.notes.update(outcome.patches.notes)
    return done


def extract_image(extraction: Extraction, source: Coco) -> Outcome:
    """Return the patches of the one image of ``source``, whose ``split`` is the store's; raises nothing.

    For a store of references, the image's pixels are written to its folder.
    """
    image = source.images[0]
    path = source.image_path(image)
    try:
        standardised = load_standardised(source, image, extraction.recipe)
        sampled = sample_windows(extraction.rule, image, source.annotations, standardised)
    except Exception as error:  # one file must not end a batch of thousands
        return Outcome(image["id"], rejected=refusal(path, error))
    pixels: tuple[bytes, ...] = ()
    mapped = None
    if extraction.mapped is None:
        pixels = tuple(
            encode(standardised.pixels[one.y : one.y + one.size, one.x : one.x + one.size], extraction.depth)
            for one in sampled.windows
        )
    elif sampled.windows:
        mapped = _mapped_name(image)
        try:
            _write_mapped(extraction.mapped / mapped, standardised)
        except OSError as error:
            failed = (error.errno or errno.EIO, error.strerror or str(error), str(extraction.mapped))
            return Outcome(image["id"], failed=failed)
    patches = ImagePatches(
        image_key(image),
        Path(image["file_name"]).name,
        patient_key(image),
        image.get("split") or "",
        standardised.geometry,
        sampled.windows,
        pixels,
        mapped,
        sampled.left_out,
        standardised.notes,
    )
    return Outcome(image["id"], patches)


def mapped_target(store: Path, storage: str) -> Path | None:
    """Return the folder for the pixels of a store of references; None for one that stores pixels."""
    return mapped_folder(store).absolute() if storage == "referenced" else None


def _write_mapped(path: Path, standardised: Standardised) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, quantise(standardised.pixels, 16), allow_pickle=False)


def _mapped_name(image: ImageRecord) -> str:
    """Return a file name for the pixels of an image, whatever its data set is called."""
    return f"{hashlib.sha256(image_key(image).encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.npy"


def _check_names(splits: dict[int, str]) -> None:
    for name in set(splits.values()):
        if not isinstance(name, str) or len(name) > 100:
            raise InputError("is no name of a split", field="split", value=name, remedy="give a short name")


def _is_held(image: ImageRecord, held: dict[str, str], coco: Coco) -> bool:
    """Tell whether a store has an image; raises InputError when it has another one under the same key."""
    name = Path(image["file_name"]).name
    other = held.get(image_key(image), name)
    if other != name:
        raise InputError(
            f"the store has {other!r} under the same data set and id",
            file=coco.path,
            field=f"images[id={image['id']}].file_name",
            value=name,
            remedy="give images[].dataset different names, or write to another store",
        )
    return image_key(image) in held


def _tasks(coco: Coco, images: Sequence[ImageRecord], splits: dict[int, str]) -> Iterator[Coco]:
    """Return one COCO file per image, so that a worker gets no more than it needs."""
    info = {key: coco.info[key] for key in ("root", "prepared") if coco.info.get(key)}
    for image in images:
        own: ImageRecord = {**image, "split": splits[image["id"]]}
        yield Coco([own], coco.annotations_of.get(image["id"], []), coco.path, coco.categories, info)
