"""What two parts of a split must not share: patients, studies, files, pixels."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.datasets.errors import InputError
from mammodet.datasets.fingerprint import pixel_digest
from mammodet.datasets.isolation import map_isolated
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe

# Study Instance UIDs and hashes name one study everywhere; shorter ids, such as the folder "1" of every
# patient, only say which of a patient's studies is meant.
_LONG_ID = 16


@dataclass(frozen=True)
class Leak:
    """Something that images of several parts share.

    Parameters
    ----------
    kind:
        "patient", "study", "file" or "pixels".
    shared:
        Its id, path or digest.
    images:
        The images that share it, by name of the part: their file names.
    """

    kind: str
    shared: str
    images: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        where = "; ".join(f"{part}: {_first(names)}" for part, names in self.images.items())
        called = "the same pixels" if self.kind == "pixels" else f"{self.kind} {self.shared}"
        return f"{called} in several parts ({where})"


def find_leaks(parts: Mapping[str, Coco], digests: Mapping[int, str] | None = None) -> list[Leak]:
    """Return everything that images of different parts share, patients first.

    Parameters
    ----------
    parts:
        COCO files by the name of the part; image ids are those of the file that was split.
    digests:
        What identifies the pixels of an image (``fingerprint.pixel_digest``), by image id; images without one
        are not compared by pixels.
    """
    digests = digests or {}
    keys: Mapping[str, Callable[[Coco, ImageRecord], str | None]] = {
        "patient": lambda coco, image: image.get("patient_id"),
        "study": lambda coco, image: _study(image),
        "file": lambda coco, image: os.path.realpath(coco.image_path(image)),
        "pixels": lambda coco, image: digests.get(image["id"]),
    }
    return [leak for kind, key in keys.items() for leak in _shared(parts, kind, key)]


def check_leaks(parts: Mapping[str, Coco], digests: Mapping[int, str] | None = None) -> None:
    """Raise InputError when parts share a patient, a study, a file or pixels; see ``find_leaks``."""
    leaks = find_leaks(parts, digests)
    if leaks:
        more = f" (and {len(leaks) - 1} more leaks)" if len(leaks) > 1 else ""
        path = next(iter(parts.values())).path
        raise InputError(
            f"{leaks[0]}{more}",
            file=path.parent,
            field="split",
            remedy="give such images one patient_id in the COCO file, or take out all but one of them",
        )


def pixel_digests(
    coco: Coco,
    *,
    workers: int | None = None,
    progress: Callable[[Iterable[object]], Iterable[object]] = iter,
) -> dict[int, str]:
    """Read every image and return the digest of its pixels by image id, for ``find_leaks``.

    Images that cannot be read, and those of one grey value, have none. ``workers`` processes read, by default
    one per core; ``progress`` wraps the images as they are read.
    """
    there = [image for image in coco.images if coco.image_path(image).is_file()]
    digests = progress(map_isolated(file_digest, map(coco.image_path, there), workers=workers))
    pairs = zip(there, digests, strict=True)
    return {image["id"]: digest for image, digest in pairs if isinstance(digest, str)}


def file_digest(path: Path) -> str | None:
    """Return the digest of a file's pixels; None when they cannot be read."""
    try:
        recipe = Recipe(allow_for_processing=True, allow_secondary_capture=True)
        return pixel_digest(read_mammogram(path, recipe).pixels)
    except (InputError, OSError):
        return None


def _study(image: ImageRecord) -> str | None:
    study = image.get("study_id")
    return study if study is not None and len(study) >= _LONG_ID else None


def _shared(
    parts: Mapping[str, Coco], kind: str, key: Callable[[Coco, ImageRecord], str | None]
) -> list[Leak]:
    holders: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, coco in parts.items():
        for image in coco.images:
            shared = key(coco, image)
            if shared is not None:
                holders[shared][name].append(image["file_name"])
    return [
        Leak(kind, shared, {part: tuple(names) for part, names in by_part.items()})
        for shared, by_part in holders.items()
        if len(by_part) > 1
    ]


def _first(names: tuple[str, ...]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
