"""Split a COCO file by patient: ``mammodet split coco.json --out DIR``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mammodet.datasets.coco import CATEGORY_NAMES, LABELS, Coco, ImageRecord, read_coco, read_json, write_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.leaks import check_leaks, pixel_digests
from mammodet.datasets.splits import (
    folds_by_patient,
    group_by_patient,
    left_out,
    official_split,
    split_by_patient,
    worst_label,
)
from mammodet.tools.command import run, write_config

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Arguments:
    """Split a COCO file by patient into parts or folds, each a COCO file of its own.

    Parameters
    ----------
    coco:
        COCO file to split.
    out:
        Folder for train.json, val.json, test.json, or for fold0/train.json, fold0/val.json and so on. It may
        hold parts of an earlier split only when this one replaces them all.
    fractions:
        Fraction of the patients by part; by default {train: 0.7, val: 0.1, test: 0.2}.
    folds:
        Number of folds of a cross-validation, instead of fractions.
    official:
        Keep the split that the data set came with, instead of fractions.
    seed:
        Another seed gives another split.
    pixels:
        Whether to read all images and refuse parts that share pixels under two names, besides patients,
        studies and files.
    workers:
        Processes that read images; by default one per core.
    """

    coco: Path
    out: Path
    fractions: dict[str, float] | None = None
    folds: int | None = None
    official: bool = False
    seed: int = 0
    pixels: bool = True
    workers: int | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, split, argv, prog="mammodet split", positional=("coco",))


def split(arguments: Arguments) -> int:
    """Write the parts and print who is in them."""
    coco = read_coco(arguments.coco)
    parts = [_part(coco, name, ids, arguments) for name, ids in _split(coco, arguments).items()]
    for part in parts:
        if part.path.resolve() == arguments.coco.resolve():
            remedy = "give another folder with --out"
            raise InputError(
                "the split would overwrite the file it is made from", file=part.path, remedy=remedy
            )
    _check_stale(arguments.out, {part.path for part in parts})
    _check_leaks(coco, parts, arguments)
    for part in parts:
        write_coco(part)
    write_config(arguments, arguments.out / "split.yaml")
    aside = left_out(coco) if arguments.official else ()
    if aside:
        print(f"left out: {len(aside)} images of patients who are in a later official part as well")
    print(table({part.path.relative_to(arguments.out).with_suffix("").as_posix(): part for part in parts}))
    return 0


def table(parts: Mapping[str, Coco]) -> str:
    """Return the patients (by their worst label), images and lesions of every part, as aligned columns."""
    rows = [["part", "patients", *LABELS, "images", *(f"{name} lesions" for name in CATEGORY_NAMES.values())]]
    for name, part in parts.items():
        patients = group_by_patient(part)
        labels = Counter(worst_label(part, images) for images in patients.values())
        lesions = Counter(one["category_id"] for one in part.annotations)
        counts = [len(patients), *(labels[label] for label in LABELS), len(part.images)]
        rows.append([name, *map(str, counts), *(str(lesions[category]) for category in CATEGORY_NAMES)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line) for line in lines)


def _split(coco: Coco, arguments: Arguments) -> dict[str, set[int]]:
    """Return the image ids by the name of the file, such as train or fold0/train."""
    asked = {
        "fractions": arguments.fractions,
        "folds": arguments.folds,
        "official": arguments.official or None,
    }
    given = [f"--{name}" for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise InputError("only one way to split can be asked for", field=", ".join(given), remedy="give one")
    if arguments.official:
        return official_split(coco)
    if arguments.folds is not None:
        folds = folds_by_patient(coco, arguments.folds, arguments.seed)
        return {
            f"fold{number}/{name}": ids for number, fold in enumerate(folds) for name, ids in fold.items()
        }
    return split_by_patient(coco, arguments.fractions or FRACTIONS, arguments.seed)


def _check_leaks(coco: Coco, parts: Sequence[Coco], arguments: Arguments) -> None:
    """Refuse parts that share a patient, a study, a file or pixels; folds by what each of them holds out."""
    held_out = [part for part in parts if arguments.folds is None or part.path.stem == "val"]
    names = {part.path.relative_to(arguments.out).with_suffix("").as_posix(): part for part in held_out}
    refuse_leaks(coco, names, pixels=arguments.pixels, workers=arguments.workers)


def refuse_leaks(coco: Coco, parts: Mapping[str, Coco], *, pixels: bool, workers: int | None = None) -> None:
    """Raise InputError when parts of ``coco`` share a patient, a study, a file or, if asked for, pixels."""
    check_leaks(parts)  # before the images are read
    if not pixels:
        return
    bar = partial(tqdm, total=len(coco.images), desc="comparing pixels", unit="image", disable=None)
    digests = pixel_digests(coco, workers=workers, progress=bar)
    check_leaks(parts, digests)
    unread = len(coco.images) - len(digests)
    if unread:
        print(f"note: {unread} images cannot be read, so their pixels were not compared", file=sys.stderr)


def _check_stale(out: Path, parts: Set[Path]) -> None:
    """Refuse a folder where parts of an earlier split would stay, with patients of the new parts in them."""
    stale = [path for path in sorted([*out.glob("*.json"), *out.glob("fold*/*.json")]) if path not in parts]
    names = [name for name in (path.relative_to(out).as_posix() for path in stale) if _is_part(out, name)]
    if names:
        remedy = "remove them, or give another folder with --out"
        raise InputError(
            "holds parts of an earlier split that this one would not replace",
            file=out,
            value=", ".join(names),
            remedy=remedy,
        )


def _is_part(out: Path, name: str) -> bool:
    """Tell whether this tool wrote a file: it records in every part which part it is."""
    try:
        content = read_json(out / name)
    except (InputError, OSError):
        return False
    info = content.get("info") if isinstance(content, dict) else None
    how = info.get("split") if isinstance(info, dict) else None
    return isinstance(how, dict) and how.get("part") == name.removesuffix(".json")


def _part(coco: Coco, name: str, ids: set[int], arguments: Arguments) -> Coco:
    part = coco.subset(ids, arguments.out / f"{name}.json")
    images: list[ImageRecord] = [{**image, "split": name.rsplit("/", 1)[-1]} for image in part.images]
    how: dict[str, object] = {"part": name}
    if arguments.official:
        how["official"] = True
    elif arguments.folds is not None:
        how |= {"folds": arguments.folds, "seed": arguments.seed}
    else:
        how |= {"fractions": arguments.fractions or FRACTIONS, "seed": arguments.seed}
    return replace(part, images=images, info={**part.info, "split": how})


if __name__ == "__main__":
    raise SystemExit(main())
