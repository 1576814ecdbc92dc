"""What is odd about image files: ``mammodet doctor PATH... [--out DIR]``.

    mammodet doctor exams/                  # prints a summary
    mammodet doctor exams/ --out checked    # and writes doctor.json and contact sheets doctor_001.png, ...

Headers and pixels of every file are read, in parallel. The exit code is 0 when nothing is odd (notes are
allowed), 1 when there are warnings, and 2 when there are errors, such as a file that cannot be read, or bad
arguments. With --out a run that was killed goes on where it was when it is started again; what was found is
kept in inspections.sqlite. Patient, study and instance ids are written as hashes, and names, birth dates and
accession numbers not at all; file names are written as they are, and pixels may have text burned in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mammodet.datasets.atomic import write_json
from mammodet.datasets.discover import search
from mammodet.datasets.doctor import Diagnosis, diagnose, short_names, view_name
from mammodet.datasets.doctor_sheet import PER_SHEET, Tile, draw_sheet
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.inspection import Inspection, inspect_files, recall
from mammodet.datasets.problem import KINDS, SEVERITIES, Severity
from mammodet.tools.command import run, write_config

_EXIT_CODES: Mapping[Severity | None, int] = {None: 0, "note": 0, "warning": 1, "error": 2}
_SHOWN = 3


@dataclass(frozen=True)
class Arguments:
    """Tell what is odd about image files: exit code 0 nothing, 1 warnings, 2 errors.

    Parameters
    ----------
    paths:
        Image files and folders (searched with their sub-folders).
    out:
        Folder for doctor.json and the contact sheets; without it the summary is only printed.
    workers:
        Number of processes; by default one per core.
    progress:
        Whether to show a progress bar.
    """

    paths: list[Path]
    out: Path | None = None
    workers: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError("must be 1 or more", field="--workers", value=self.workers)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, examine, argv, prog="mammodet doctor", positional=("paths",))


def examine(arguments: Arguments) -> int:
    """Inspect all files, print what was found, and write the report and the contact sheets."""
    found = search(arguments.paths)
    store = None if arguments.out is None else arguments.out / "inspections.sqlite"
    bar = partial(
        tqdm, total=len(found.images), desc="inspecting", unit="image", disable=not arguments.progress or None
    )
    inspections = inspect_files(found.images, workers=arguments.workers, progress=bar, store=store)
    diagnosis = diagnose(inspections)  # drops the thumbnails, which the sheets take from the store
    print("\n".join(summary(diagnosis, len(found.skipped))))
    if arguments.out is not None and store is not None:
        write_config(arguments, arguments.out / "config.yaml")
        write_json(arguments.out / "doctor.json", report(diagnosis, found.skipped), indent=None)
        sheets = write_sheets(diagnosis, store, arguments.out)
        print(f"\n{arguments.out / 'doctor.json'}\n{_first(sheets, 1)}")
    return _EXIT_CODES[diagnosis.worst]


def summary(diagnosis: Diagnosis, skipped: int = 0) -> list[str]:
    """Return the lines to print: what there is, then a table of what is odd and what to do."""
    counts = diagnosis.counts()
    lines = [
        f"{counts['files']} files, {counts['readable']} readable, of {counts['patients']} patients in "
        f"{counts['studies']} studies"
        + (" by their file names" if counts["ids_from_names"] else "")
        + (f"; {skipped} other files skipped" if skipped else "")
    ]
    for title, key in (("views", "views"), ("vendors", "manufacturers"), ("pixel sizes, mm", "spacing_mm")):
        if counts[key]:
            lines.append(f"{title}: {_counted(counts[key])}")
    if not diagnosis.kinds:
        return [*lines, "", "nothing odd found"]
    names = short_names([one.path for one in diagnosis.inspections])
    lines += ["", f"{'':<8} {'what':<21} {'files':>6}  first"]
    for (severity, kind), paths in diagnosis.kinds.items():
        first = _first([names[path] for path in paths], _SHOWN)
        lines.append(f"{severity:<8} {kind:<21} {len(paths):>6}  {first}")
        lines.append(f"{'':<8} -> {KINDS[kind][1]}")
    return lines


def report(diagnosis: Diagnosis, skipped: Mapping[Path, str]) -> dict[str, Any]:
    """Return all that was found as values that JSON can hold: counts, kinds, groups, and every file."""
    return {
        "worst": diagnosis.worst,
        "counts": diagnosis.counts(),
        "kinds": [
            {
                "severity": severity,
                "kind": kind,
                "files": len(paths),
                "first": [str(path) for path in paths[:50]],
                "advice": KINDS[kind][1],
            }
            for (severity, kind), paths in diagnosis.kinds.items()
        ],
        "groups": [
            {
                "severity": group.problem.severity,
                "kind": group.problem.kind,
                "text": group.problem.text,
                "files": [str(path) for path in group.paths],
            }
            for group in diagnosis.groups
        ],
        "skipped": {str(path): reason for path, reason in skipped.items()},
        "files": [_file(one) for one in diagnosis.inspections],
    }


def write_sheets(diagnosis: Diagnosis, store: Path, out: Path) -> list[Path]:
    """Write the contact sheets, 60 files on each, remove older ones beyond them, and return their paths."""
    pages = -(-len(diagnosis.inspections) // PER_SHEET)
    tiles = _tiles(diagnosis, store)
    counts = dict.fromkeys(SEVERITIES, 0)
    for (severity, _), paths in diagnosis.kinds.items():
        counts[severity] += len(paths)
    found = ", ".join(f"{severity}s {count}" for severity, count in counts.items())
    written = []
    for page in range(1, pages + 1):
        title = f"mammodet doctor   {len(diagnosis.inspections)} files: {found}   page {page} of {pages}"
        written.append(out / f"doctor_{page:03d}.png")
        write_png(written[-1], draw_sheet(list(islice(tiles, PER_SHEET)), title))
    for path in sorted(out.glob("doctor_[0-9][0-9][0-9].png")):
        if path not in written:
            path.unlink()
    return written


def _tiles(diagnosis: Diagnosis, store: Path) -> Iterator[Tile]:
    names = short_names([one.path for one in diagnosis.inspections])
    kept = recall((one.path for one in diagnosis.inspections), store)
    for one, stored in zip(diagnosis.inspections, kept, strict=True):
        yield Tile(
            name=names[one.path],
            facts=_facts(one),
            problems=diagnosis.problems[one.path],
            picture=None if stored is None else stored.thumbnail,
            chest_side=one.chest_side,
        )


def _facts(one: Inspection) -> str:
    if not one.width:
        return str(one.facts.get("modality", one.facts.get("file_kind", "")))
    parts = [view_name(one), f"{one.width} x {one.height}", one.facts.get("manufacturer", "")]
    return "   ".join(part for part in parts if part)


def _file(one: Inspection) -> dict[str, Any]:
    record = one.to_record()
    del record["thumbnail"]
    return {"file": str(one.path), **record}


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count}" for name, count in islice(counts.items(), 8)]
    return ", ".join(shown) + (f", and {len(counts) - 8} more" if len(counts) > 8 else "")


def _first(names: Iterable[object], shown: int) -> str:
    every = [str(name) for name in names]
    return ", ".join(every[:shown]) + (f" and {len(every) - shown} more" if len(every) > shown else "")


if __name__ == "__main__":
    raise SystemExit(main())
