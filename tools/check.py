"""List every fault of a COCO file: ``mammodet check coco.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mammodet.datasets.coco import CocoError, check_files, read_coco
from mammodet.datasets.mammogram import image_size
from mammodet.tools.command import BAD_INPUT, run


@dataclass(frozen=True)
class Arguments:
    """List every fault of a COCO file, one per line, and exit with 2 when there is one.

    Parameters
    ----------
    coco:
        The COCO file.
    files:
        Whether the image files must exist, be of the size that the COCO file says (reads their headers), or
        neither.
    profile:
        Whether the file must follow mammodet's profile (categories benign and malignant, types of the keys).
    """

    coco: Path
    files: Literal["exist", "size", "no"] = "exist"
    profile: bool = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, check, argv, prog="mammodet check", positional=("coco",))


def check(arguments: Arguments) -> int:
    """Print the faults, or that there are none."""
    try:
        coco = read_coco(arguments.coco, profile=arguments.profile)
    except CocoError as error:
        print("\n".join(map(str, error.faults)))
        return BAD_INPUT
    size_of = image_size if arguments.files == "size" else None
    faults = [] if arguments.files == "no" else check_files(coco, size_of)
    if faults:
        print("\n".join(map(str, faults)))
        return BAD_INPUT
    print(f"{arguments.coco}: no fault in {len(coco.images)} images and {len(coco.annotations)} annotations")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
