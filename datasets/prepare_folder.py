"""A whole COCO file prepared: pixels written once, and a COCO file whose images and lesions are these.

    DIR/coco.json        the COCO profile in the frame of the prepared images; ids are those of the source
    DIR/pixels/KEY.png   16-bit grey pixels; KEY is the SHA-256 of all that they depend on

A key never stands for two contents, so what is there is kept, after a kill too, and a changed file or recipe
gets a new key. Files of other keys stay until they are pruned.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.coco import Coco, ImageRecord, read_coco, write_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.image_work import casualty_refusal, each_image
from mammodet.datasets.isolation import Casualty
from mammodet.datasets.prepare_images import Outcome, prepare_image
from mammodet.datasets.prepare_lesions import Change
from mammodet.datasets.prepared import FORMAT, prepared_recipe
from mammodet.datasets.sole_run import sole_run
from mammodet.datasets.standardise import Recipe


@dataclass(frozen=True)
class Prepared:
    """What a run did.

    Parameters
    ----------
    coco:
        The file that was written; None when no image could be prepared, and nothing was written.
    written, kept:
        Images whose pixels this run wrote, and those whose pixels were there.
    rejected:
        Images that cannot be read, with the reason; they and their lesions are not in ``coco``.
    changes:
        Lesions that the crop lost or cut.
    notes:
        How many images each note of reading and standardising was made for.
    duplicates:
        Images whose source has the same content as one before.
    bytes:
        Of the pixel files of ``coco``.
    stale:
        Files in ``DIR/pixels`` that no image of ``coco`` uses; removed when ``pruned``.
    """

    coco: Coco | None
    written: int
    kept: int
    rejected: list[tuple[ImageRecord, str]]
    changes: list[Change]
    notes: Counter[str]
    duplicates: int = 0
    bytes: int = 0
    stale: tuple[Path, ...] = ()
    stale_bytes: int = 0
    pruned: bool = False


def prepare_folder(
    coco: Coco,
    recipe: Recipe,
    out: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
    prune: bool = False,
) -> Prepared:
    """Prepare the images of ``coco`` in the folder ``out``; a run that was killed goes on where it was.

    Parameters
    ----------
    workers:
        Processes; None is one per core. 1 works in this process.
    progress:
        Whether to show a bar with rate and time left on stderr.
    prune:
        Remove pixel files that no image uses.

    Raises
    ------
    InputError
        When ``coco`` is prepared already or has no images, or ``out`` holds a ``coco.json`` that was not
        prepared or is written to by another run.
    OSError
        When ``out`` cannot be written, such as on a full disk.
    """
    _check_source(coco)
    pixels = out / "pixels"
    pixels.mkdir(parents=True, exist_ok=True)
    with sole_run(out):
        _check_target(out / "coco.json")
        for unfinished in pixels.glob(".*.part*"):
            unfinished.unlink(missing_ok=True)
        outcomes = _outcomes(coco, recipe, pixels, workers or os.cpu_count() or 1, progress)
        found = _summary(coco, outcomes)
        if len(found.rejected) == len(coco.images):
            return found
        prepared, duplicates = _collect(coco, recipe, outcomes, out)
        write_coco(prepared)
        used = {Path(image["file_name"]).name for image in prepared.images}
        stale = tuple(path for path in sorted(pixels.glob("*.png")) if path.name not in used)
        stale_bytes = sum(path.stat().st_size for path in stale)
        for path in stale if prune else ():
            path.unlink(missing_ok=True)
    size = sum((pixels / name).stat().st_size for name in used)
    return replace(
        found,
        coco=prepared,
        duplicates=duplicates,
        bytes=size,
        stale=stale,
        stale_bytes=stale_bytes,
        pruned=prune,
    )


def _check_source(coco: Coco) -> None:
    if not coco.images:
        raise InputError("has no images", file=coco.path, field="images")
    if prepared_recipe(coco) is not None:
        raise InputError(
            "is prepared already",
            file=coco.path,
            field="info.prepared",
            remedy="give the COCO file of the source images",
        )


def _check_target(path: Path) -> None:
    """Refuse to overwrite a COCO file that no ``mammodet prepare`` wrote, such as the source."""
    if path.exists():
        with suppress(InputError):
            if prepared_recipe(read_coco(path)) is not None:
                return
        remedy = "give another folder with --out"
        raise InputError("is there already and is no prepared COCO file", file=path, remedy=remedy)


def _tasks(coco: Coco) -> Iterator[Coco]:
    """Return one COCO file per image, so that a worker gets no more than it needs."""
    root = {"root": coco.info["root"]} if coco.info.get("root") else {}
    for image in coco.images:
        yield Coco([image], coco.annotations_of[image["id"]], coco.path, coco.categories, root)


def _outcomes(coco: Coco, recipe: Recipe, pixels: Path, workers: int, progress: bool) -> dict[int, Outcome]:
    work = partial(prepare_image, recipe, pixels.absolute())
    workers = min(workers, len(coco.images))
    outcomes: dict[int, Outcome] = {}
    with closing(each_image(work, _tasks(coco), workers)) as done:
        bar = tqdm(done, total=len(coco.images), unit="image", desc="prepare", disable=not progress)
        for image, found in zip(coco.images, bar, strict=True):
            if isinstance(found, Casualty):
                outcome = Outcome(image["id"], rejected=casualty_refusal(coco.image_path(image), found))
            else:
                outcome = found
            if outcome.failed is not None:
                raise OSError(*outcome.failed)
            outcomes[image["id"]] = outcome
    return outcomes


def _summary(coco: Coco, outcomes: dict[int, Outcome]) -> Prepared:
    ordered = [outcomes[image["id"]] for image in coco.images]
    whole = [outcome for outcome in ordered if outcome.rejected is None]
    rejected = [
        (image, outcome.rejected)
        for image, outcome in zip(coco.images, ordered, strict=True)
        if outcome.rejected is not None
    ]
    return Prepared(
        coco=None,
        written=sum(outcome.written for outcome in whole),
        kept=sum(not outcome.written for outcome in whole),
        rejected=rejected,
        changes=[change for outcome in whole for change in outcome.changes],
        notes=Counter(note for outcome in whole for note in outcome.notes),
    )


def _collect(coco: Coco, recipe: Recipe, outcomes: dict[int, Outcome], out: Path) -> tuple[Coco, int]:
    """Join the outcomes in the order of the source; return the COCO file and the number of duplicates."""
    seen: Counter[str] = Counter()
    images: list[ImageRecord] = []
    for source in coco.images:
        outcome = outcomes[source["id"]]
        if outcome.image is not None:
            images.append(_with_own_file(outcome.image, outcome.key, seen[outcome.key], out))
            seen[outcome.key] += 1
    moved = {one["id"]: one for outcome in outcomes.values() for one in outcome.annotations}
    annotations = [moved[one["id"]] for one in coco.annotations if one["id"] in moved]
    info = {key: value for key, value in coco.info.items() if key != "root"}
    info["prepared"] = {"format": FORMAT, "recipe": recipe.to_dict(), "source": coco.path.name}
    return Coco(images, annotations, out / "coco.json", coco.categories, info), _repeats(seen.values())


def _repeats(counts: Iterable[int]) -> int:
    return sum(count - 1 for count in counts)


def _with_own_file(image: ImageRecord, key: str, before: int, out: Path) -> ImageRecord:
    """Give an image of the same content as one before a file of its own, as a COCO file asks for."""
    if not before:
        return image
    name = f"pixels/{key}-{before + 1}.png"
    with atomic_path(out / name) as temporary:
        try:
            os.link(out / image["file_name"], temporary)
        except OSError:  # a file system without links
            shutil.copyfile(out / image["file_name"], temporary)
    return {**image, "file_name": name}
