"""Export COCO files for other trainers: ``mammodet export yolo train.json val.json --out DIR``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from mammodet.datasets.coco import read_coco
from mammodet.datasets.export import export, join_parts
from mammodet.datasets.export_formats import Entry
from mammodet.tools.command import run, write_config


@dataclass(frozen=True)
class Arguments:
    """Write the boxes and images of a COCO file as YOLO, Pascal VOC or plain CSV.

    Parameters
    ----------
    format:
        yolo (images, labels, data.yaml), voc (JPEGImages, Annotations, ImageSets) or csv (boxes.csv); all
        write images.csv, which tells the patient of every image.
    coco:
        COCO file to export, or several parts of one split, such as train.json and val.json. images[].split
        says what goes where, images without one go to train.
    out:
        Folder to write, empty or holding the same export, which then goes on.
    images:
        link, copy, png (8-bit grey, for trainers that read no DICOM or 16-bit files) or none; by default
        link, and none for csv.
    """

    format: Literal["yolo", "voc", "csv"]
    coco: list[Path]
    out: Path
    images: Literal["link", "copy", "png", "none"] | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, export_coco, argv, prog="mammodet export", positional=("format", "coco"))


def export_coco(arguments: Arguments) -> int:
    """Export, and print what went where and what to know about it."""
    images = arguments.images or ("none" if arguments.format == "csv" else "link")
    done = export(
        join_parts([read_coco(path) for path in arguments.coco]),
        arguments.out,
        arguments.format,
        images,
        progress=_bar,
    )
    write_config(arguments, arguments.out / "export.yaml")
    splits = ", ".join(f"{number} {split}" for split, number in done.splits.items())
    print(f"images: {done.images} ({splits})")
    print(f"boxes: {done.boxes}")
    for note in done.notes:
        print(f"note: {note}")
    print(arguments.out)
    return 0


def _bar(entries: Iterable[Entry]) -> Iterable[Entry]:
    bar: Iterable[Entry] = tqdm(entries, desc="writing", unit="image", disable=None)
    return bar


if __name__ == "__main__":
    raise SystemExit(main())
