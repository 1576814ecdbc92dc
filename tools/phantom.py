"""Write a synthetic screening set: ``mammodet phantom OUT --patients 100 --seed 0``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from mammodet.datasets.coco import CATEGORY_NAMES, Coco, read_coco
from mammodet.datasets.phantom import PhantomConfig, write_phantom
from mammodet.tools.command import run


@dataclass(frozen=True, kw_only=True)
class Arguments(PhantomConfig):
    """Write synthetic mammograms with known lesions, as DICOM files and COCO ground truth.

    Parameters
    ----------
    out:
        Folder to write to: a new one, or one where the same phantom was begun.
    workers:
        Number of processes; by default one per core.
    progress:
        Whether to show a progress bar.
    """

    out: Path
    workers: int | None = None
    progress: bool = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, write, argv, prog="mammodet phantom", positional=("out",))


def write(arguments: Arguments) -> int:
    """Write the set and print what is in it."""
    config = PhantomConfig(**{one.name: getattr(arguments, one.name) for one in fields(PhantomConfig)})
    path = write_phantom(arguments.out, config, arguments.workers, arguments.progress)
    print(summary(read_coco(path)))
    print(path)
    return 0


def summary(coco: Coco) -> str:
    """Return three lines on the images, patients and lesions of a set; a lesion on two views counts once."""
    patients = {image.get("patient_id") for image in coco.images}
    labels = Counter(str(image.get("label")) for image in coco.images)
    lesions = {one.get("lesion_id"): one for one in coco.annotations}.values()
    lines = [f"{len(coco.images)} images of {len(patients)} patients: {_counts(labels)}"]
    for category, name in CATEGORY_NAMES.items():
        findings = Counter(str(one.get("finding")) for one in lesions if one["category_id"] == category)
        lines.append(f"{sum(findings.values())} {name} lesions: {_counts(findings)}")
    return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items())) or "none"


if __name__ == "__main__":
    raise SystemExit(main())
