"""Prepare the images of a COCO file for training: ``mammodet prepare coco.json --out DIR``.

DIR gets coco.json (any trainer reads it), pixels/ (16-bit PNG), rejected.csv (images that cannot be read,
with reasons), lesions.csv (lesions that the crop lost or cut) and config.yaml. A run that was killed goes on
where it was when it is started again.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepare_folder import Prepared, prepare_folder
from mammodet.datasets.standardise import Recipe
from mammodet.tools.command import BAD_INPUT, run, write_config
from mammodet.tools.score_tables import write_csv

LESION_COLUMNS = ("image_id", "annotation_id", "what", "kept", "bbox")


@dataclass(frozen=True)
class Arguments:
    """Write standardised, cropped pixels of a COCO file's images once, for training.

    Parameters
    ----------
    coco:
        COCO file whose images are prepared.
    out:
        Folder to write to: a new one, or one of an earlier run, whose pixels are kept.
    workers:
        Number of processes; by default one per core.
    prune:
        Remove pixel files of earlier runs that no image of the new coco.json uses.
    progress:
        Whether to show a progress bar.
    recipe:
        How mammograms become pixels; training takes it over.
    """

    coco: Path
    out: Path
    workers: int | None = None
    prune: bool = False
    progress: bool = True
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError("must be 1 or more", field="--workers", value=self.workers)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 when no image could be prepared."""
    return run(Arguments, prepare, argv, prog="mammodet prepare", positional=("coco",))


def prepare(arguments: Arguments) -> int:
    """Prepare the images, and tell what was written, rejected, lost and left over."""
    coco, out = read_coco(arguments.coco), arguments.out
    done = prepare_folder(
        coco,
        arguments.recipe,
        out,
        workers=arguments.workers,
        progress=arguments.progress,
        prune=arguments.prune,
    )
    _write_tables(coco, done, out)
    if done.coco is None:
        first = done.rejected[0][1]
        line = f"none of {len(coco.images)} images could be prepared; the first: {first}"
        print(f"mammodet prepare: error: {line}", file=sys.stderr)
        return BAD_INPUT
    write_config(arguments, out / "config.yaml")
    print("\n".join(_told(coco, done, out)))
    return 0


def _write_tables(coco: Coco, done: Prepared, out: Path) -> None:
    rejected = [
        {"image_id": image["id"], "file": image["file_name"], "reason": reason}
        for image, reason in done.rejected
    ]
    write_csv(out / "rejected.csv", ["image_id", "file", "reason"], rejected)
    changes = [
        {**asdict(change), "bbox": " ".join(f"{side:g}" for side in change.bbox)} for change in done.changes
    ]
    write_csv(out / "lesions.csv", LESION_COLUMNS, changes)


def _told(coco: Coco, done: Prepared, out: Path) -> list[str]:
    assert done.coco is not None
    lines = [
        f"{len(done.coco.images)} images prepared: {done.written} written, {done.kept} there already; "
        f"{_megabytes(done.bytes)}"
    ]
    if done.rejected:
        ids = {image["id"] for image, _ in done.rejected}
        lesions = sum(one["image_id"] in ids for one in coco.annotations)
        lines.append(f"{len(ids)} images could not be read, with {lesions} lesions: {out / 'rejected.csv'}")
    what: Counter[str] = Counter(change.what for change in done.changes)
    for name, told in _CHANGES.items():
        if what[name]:
            lines.append(f"{what[name]} of {len(coco.annotations)} lesions {told}: {out / 'lesions.csv'}")
    lines += [f"note: {count}: {note}" for note, count in sorted(done.notes.items())]
    if done.duplicates:
        lines.append(f"note: {done.duplicates}: the same content as another image")
    if done.stale:
        fate = "removed" if done.pruned else "kept; --prune removes them"
        count = f"{len(done.stale)} files of earlier runs ({_megabytes(done.stale_bytes)})"
        lines.append(f"{count} belong to no image any more: {fate}")
    return [*lines, str(done.coco.path)]


_CHANGES = {
    "lost": "lie outside the crop and are left out",
    "cut": "are cut by the crop",
    "mask lost": "keep their box but not their mask, which has no pixel at this resolution",
}


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    raise SystemExit(main())
