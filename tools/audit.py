"""Audit a COCO file and its images: ``mammodet audit coco.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from mammodet.datasets.audit.report import Report
from mammodet.datasets.audit.run import Look, read_for_audit, write_audit
from mammodet.datasets.audit.sizes import ANCHOR_PX
from mammodet.tools.command import run

EXIT_CODES: Mapping[str, int] = {"clean": 0, "warnings": 1, "errors": 2}


@dataclass(frozen=True)
class Arguments:
    """Tell what is odd about a COCO file and its images, in NAME.audit.html and NAME.audit.json.

    Exits with 0 when there is nothing worse than a note, 1 with warnings, 2 with errors or when the file
    cannot be read.

    Parameters
    ----------
    coco:
        The COCO file.
    out:
        Folder for the two files; by default that of the COCO file.
    files:
        What to look at of the image files: every pixel; headers only, for their sizes; or no, nothing.
    anchor:
        Side of the detector's smallest anchor in pixels, which the sizes of boxes are compared with.
    pictures:
        How many cases of each finding the page shows as pictures; with 0 it shows no lesions at random
        either.
    workers:
        Processes that read pixels; by default one per core. A run that was killed goes on where it was.
    """

    coco: Path
    out: Path | None = None
    files: Literal["pixels", "headers", "no"] = "pixels"
    anchor: int = ANCHOR_PX
    pictures: int = 8
    workers: int | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, audit, argv, prog="mammodet audit", positional=("coco",))


def audit(arguments: Arguments) -> int:
    """Audit the file, and print the verdict and where the page is."""
    look = Look(arguments.files, arguments.anchor, arguments.pictures, arguments.workers)
    report, page = write_audit(read_for_audit(arguments.coco), arguments.out, look, progress=bar)
    print_summary(report, page)
    return EXIT_CODES[report.verdict]


def print_summary(report: Report, page: Path) -> None:
    """Print the verdict, the worst findings and the path of the page."""
    print("\n".join([*report.lines(), str(page)]))


def bar(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """Wrap what is worked through into a progress bar with rate and time left."""
    wrapped: Iterable[Any] = tqdm(items, desc=what, total=total, unit="image", disable=None)
    return wrapped


if __name__ == "__main__":
    raise SystemExit(main())
