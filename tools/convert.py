"""Turn a data set into one COCO file: ``mammodet convert mini-mias FOLDER --out coco.json``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from mammodet.datasets.coco import CATEGORY_NAMES, Coco, counts
from mammodet.datasets.converters import CONVERTERS, load_source
from mammodet.datasets.converters.base import Film, convert
from mammodet.datasets.converters.options import Options
from mammodet.datasets.drawing import draw_boxes, write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram
from mammodet.tools.command import run, write_config


@dataclass(frozen=True)
class Arguments:
    """Turn a mammography data set into one COCO file, with an audit of it and of what was used and dropped.

    Parameters
    ----------
    source:
        The format of the data set; --list shows them.
    root:
        Folder of the data set.
    out:
        COCO file to write, ending in .json; the arguments go beside it with the suffix .yaml, the audit with
        the suffixes .audit.html and .audit.json.
    audit:
        How far the audit looks at the image files: every pixel; headers only, for their sizes; or no audit.
    benign_up_to:
        The highest BI-RADS of a benign finding, in data sets without pathology.
    malignant_from:
        The lowest BI-RADS of a malignant finding, 4 meaning 4A; what lies between the two gets ignore: 1.
    classes:
        What the class names of a generic format stand for: benign, malignant, ignore (a lesion of unknown
        truth) or leave-out (no lesion), such as '{"tumour": "malignant", "nipple": "leave-out"}'.
    overlays:
        Folder for one PNG per image with its lesions drawn.
    workers:
        Processes that read pixels for the audit; by default one per core.
    list:
        Show the formats and stop.
    """

    source: str
    root: Path
    out: Path
    audit: Literal["pixels", "headers", "no"] = "pixels"
    benign_up_to: str = Options.benign_up_to
    malignant_from: str = Options.malignant_from
    classes: dict[str, str] = field(default_factory=dict)
    overlays: Path | None = None
    workers: int | None = None
    list: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--list" in arguments:  # before parsing, which would ask for the source and the folder
        print(list_sources())
        return 0
    return run(Arguments, convert_folder, arguments, prog="mammodet convert", positional=("source", "root"))


def list_sources() -> str:
    """Return the source formats, one per line."""
    width = max(map(len, CONVERTERS))
    return "\n".join(f"{name:<{width}}  {line}" for name, (_, line) in CONVERTERS.items())


def convert_folder(arguments: Arguments) -> int:
    """Convert, print what was read, used and dropped, draw what was asked for, and audit the file."""
    if arguments.out.suffix.lower() != ".json":
        remedy = f"call it {arguments.out.stem or 'coco'}.json"
        raise InputError("must end in .json", field="--out", value=str(arguments.out), remedy=remedy)
    overlays = arguments.overlays
    if overlays is not None and overlays.resolve().is_relative_to(arguments.root.resolve()):
        problem = "lies inside the folder of the data set, whose images the drawings would become"
        raise InputError(problem, field="--overlays", value=str(overlays), remedy="give a folder elsewhere")
    from mammodet.datasets.audit.run import Look, audit_paths, write_audit  # noqa: PLC0415 (imports much)
    from mammodet.tools.audit import bar, print_summary  # noqa: PLC0415

    options = Options(arguments.benign_up_to, arguments.malignant_from, arguments.classes)
    look = None if arguments.audit == "no" else Look(arguments.audit, workers=arguments.workers)
    coco, audit = convert(
        load_source(arguments.source), arguments.root, arguments.out, options, progress=_bar
    )
    for stale in audit_paths(arguments.out):  # of the file that was replaced
        stale.unlink(missing_ok=True)
    write_config(arguments, arguments.out.with_suffix(".yaml"))
    print("\n".join([*audit.lines(), *summary(coco), str(arguments.out)]))
    if arguments.overlays is not None:
        draw_overlays(coco, arguments.overlays)
    if look is not None:
        print_summary(*write_audit(coco, None, look, progress=bar))
    return 0


def summary(coco: Coco) -> list[str]:
    """Return two lines on the images, patients and lesions of a data set."""
    patients = {image["patient_id"] for image in coco.images if image.get("patient_id") is not None}
    labels = Counter(image.get("label") or "unknown" for image in coco.images)
    lesions = Counter(
        CATEGORY_NAMES[one["category_id"]] if counts(one) else "ignored" for one in coco.annotations
    )
    return [
        f"images: {len(coco.images)} of {len(patients)} patients ({_counted(labels)})",
        f"lesions: {len(coco.annotations)} ({_counted(lesions)})",
    ]


def draw_overlays(coco: Coco, folder: Path) -> None:
    """Write one PNG per image; an image that cannot be read is named on stderr and left out.

    Drawings of an earlier run that this one did not make are told: they may be of other boxes.
    """
    written = set()
    for image in tqdm(coco.images, desc="drawing", unit="image", disable=None):
        path = coco.image_path(image)
        try:
            pixels = read_mammogram(path).pixels
        except InputError as error:
            tqdm.write(f"no overlay: {error}", file=sys.stderr)
            continue
        drawn = draw_boxes(pixels, coco.annotations_of.get(image["id"], []))
        written.add(folder / f"{image['id']:05d}_{path.stem}.png")
        write_png(folder / f"{image['id']:05d}_{path.stem}.png", drawn)
    others = [path for path in folder.glob("*.png") if path not in written]
    if others:
        print(f"note: {len(others)} PNG files in {folder} are not of this run, such as {others[0].name}")


def _bar(films: Iterable[Film]) -> Iterable[Film]:
    bar: Iterable[Film] = tqdm(films, desc="reading", unit="image", disable=None)
    return bar


def _counted(numbers: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items())) or "none"


if __name__ == "__main__":
    raise SystemExit(main())
