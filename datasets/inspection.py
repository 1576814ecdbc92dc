"""What a careful person sees in one image file: its facts, its thumbnail, and what is odd about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mammodet.datasets.dicom import hash_id, open_dicom, quiet_pydicom
from mammodet.datasets.errors import InputError
from mammodet.datasets.filenames import parse_stem
from mammodet.datasets.filetype import file_kind
from mammodet.datasets.fingerprint import difference_hash, pixel_digest
from mammodet.datasets.inspection_header import header_facts, header_problems, secrets
from mammodet.datasets.inspection_pixels import look, thumbnail
from mammodet.datasets.inspection_record import Inspection
from mammodet.datasets.isolation import Casualty, map_isolated
from mammodet.datasets.ledger import Ledger, file_key
from mammodet.datasets.mammogram import Mammogram, read_mammogram
from mammodet.datasets.problem import Problem, problem
from mammodet.datasets.standardise import Recipe

__all__ = ["RAW_TOO", "Inspection", "inspect_file", "inspect_files", "recall", "store_fingerprint"]

LIMIT_S = 60.0  # the largest film scan in the slowest compression takes a few seconds
# What is odd about a raw image or a scan under another modality is told, so they are read.
RAW_TOO = Recipe(allow_for_processing=True, allow_secondary_capture=True)
_HASHES = frozenset({"patient_id", "study_id", "series_id", "sop_instance"})
_FORMAT = 2  # of the records in a store; raise it with every change of what is found


def inspect_file(path: Path, recipe: Recipe = RAW_TOO) -> Inspection:
    """Inspect one file; whatever is wrong with it becomes a problem, and nothing is raised.

    ``recipe`` says how the pixels are read; by default raw images and scans under other modalities are read
    too. A damaged file may still kill or hang the process: ``inspect_files`` takes care of that.
    """
    facts: dict[str, Any] = {}
    hidden: list[str] = []
    try:
        with quiet_pydicom():
            found = _header(path, facts, hidden)
        if any(one.severity == "error" for one in found):
            return _without(hidden, Inspection(path, facts, tuple(found)))
        return _without(hidden, _with_pixels(path, read_mammogram(path, recipe), facts, found))
    except InputError as error:
        reason = _reason(error, path, header_known=len(facts) > 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except MemoryError:
        reason = "memory ran out"
    except Exception as error:  # its text could hold a value of the header
        reason = f"unexpected {type(error).__name__}"
    return _without(hidden, Inspection(path, facts, (Problem("unreadable", "error", reason),)))


def inspect_files(
    paths: Sequence[Path],
    recipe: Recipe = RAW_TOO,
    *,
    workers: int | None = None,
    progress: Callable[[Iterable[Inspection]], Iterable[Inspection]] = iter,
    store: Path | None = None,
    limit_s: float = LIMIT_S,
) -> Iterator[Inspection]:
    """Inspect many files in parallel and yield what was found, in the order of the paths.

    Parameters
    ----------
    workers:
        Processes; by default one per core.
    progress:
        Wraps the inspections as they come, such as ``partial(tqdm, total=len(paths))``.
    store:
        SQLite file to keep the inspections in: a run that was killed goes on where it was, and a file that
        changed is inspected again.
    limit_s:
        Seconds that one file may take.

    Yields
    ------
    One Inspection per path. A file whose decoder crashed or hung is unreadable, and tried again by the next
    run.
    """
    yield from progress(_inspections(paths, recipe, workers, store, limit_s))


def _inspections(
    paths: Sequence[Path], recipe: Recipe, workers: int | None, store: Path | None, limit_s: float
) -> Iterator[Inspection]:
    inspect = partial(inspect_file, recipe=recipe)
    if store is None:
        fresh = map_isolated(inspect, paths, workers=workers, limit_s=limit_s)
        for path, result in zip(paths, fresh, strict=True):
            yield _settle(path, result, limit_s)
        return
    with Ledger(store, store_fingerprint(recipe)) as ledger:
        keys = [_key(path) for path in paths]
        known = [ledger.get(key) is not None for key in keys]
        missing = [path for path, done in zip(paths, known, strict=True) if not done]
        fresh = map_isolated(inspect, missing, workers=workers, limit_s=limit_s)
        for path, key, done in zip(paths, keys, known, strict=True):
            if done:
                yield Inspection.from_record(path, ledger.get(key) or {})
                continue
            result = next(fresh)
            inspection = _settle(path, result, limit_s)
            if not isinstance(result, Casualty):
                ledger.record(key, inspection.to_record())
            yield inspection


def recall(paths: Iterable[Path], store: Path, recipe: Recipe = RAW_TOO) -> Iterator[Inspection | None]:
    """Yield what ``inspect_files`` kept of each path; None for a file that crashed its decoder."""
    with Ledger(store, store_fingerprint(recipe)) as ledger:
        for path in paths:
            record = ledger.get(_key(path))
            yield None if record is None else Inspection.from_record(path, record)


def store_fingerprint(recipe: Recipe) -> str:
    """Return what kept inspections depend on besides their files."""
    return f"doctor {version('mammodet')} {_FORMAT} {recipe.to_dict()}"


def _key(path: Path) -> str:
    try:
        return file_key(path)
    except OSError:
        return str(path)


def _settle(path: Path, result: Inspection | Casualty, limit_s: float) -> Inspection:
    if isinstance(result, Inspection):
        return result
    reason = (
        "its decoder crashed the process, or memory ran out"
        if result.how == "died"
        else f"its decoder did not end within {limit_s:g} s"
    )
    return Inspection(path, problems=(problem("unreadable", reason),))


def _header(path: Path, facts: dict[str, Any], hidden: list[str]) -> list[Problem]:
    """Fill in the facts and what must be struck out of messages, and return the problems of the header."""
    kind = file_kind(path)
    facts["file_kind"] = kind
    if kind == "dicom":
        data = open_dicom(path, header_only=True)
        hidden += secrets(data)
        facts.update(header_facts(data, path))
        return header_problems(data, facts, path)
    named = parse_stem(path.stem)
    folder = path.absolute().parent.name
    patient, study = (named.rest or folder), folder
    facts["patient_id"], facts["study_id"] = hash_id(_unicode(patient)), hash_id(_unicode(study))
    if named.laterality:
        facts.update(laterality=named.laterality, laterality_source="file name")
    if named.view:
        facts.update(view=named.view, view_source="file name")
    found = []
    if not (named.laterality and named.view):
        missing = " and ".join(
            name for name, value in (("side", named.laterality), ("view", named.view)) if not value
        )
        found.append(problem("unnamed", f"the file name does not tell the {missing}"))
    if kind == "jpeg":
        facts["lossy"] = True
        found.append(problem("lossy", "stored as JPEG"))
    return found


def _unicode(name: str) -> str:
    """Spell out the bytes of a file name that are no UTF-8; other names stay."""
    return name.encode(errors="backslashreplace").decode()


def _with_pixels(path: Path, mammogram: Mammogram, facts: dict[str, Any], found: list[Problem]) -> Inspection:
    pixels = mammogram.pixels
    facts.setdefault("bit_depth", mammogram.bit_depth)
    if facts["bit_depth"] <= 8 and not any(one.kind == "8-bit" for one in found):
        found.append(problem("8-bit", f"{facts['bit_depth']} bits per pixel"))
    seen = look(pixels)
    found = [*found, *_from_notes(mammogram.notes), *seen.problems]
    mirrored = _mirrored(facts, seen.chest_side)
    facts.update(seen.facts)
    digest = pixel_digest(pixels)
    return Inspection(
        path=path,
        facts=facts,
        problems=tuple(found if mirrored is None else [*found, mirrored]),
        width=mammogram.source_width,
        height=mammogram.source_height,
        breast=seen.breast,
        chest_side=seen.chest_side,
        pixel_digest=digest,
        difference_hash=None if digest is None else difference_hash(pixels, seen.breast),
        thumbnail=thumbnail(pixels),
    )


def _from_notes(notes: Sequence[str]) -> list[Problem]:
    """Return the reader's notes about inversion, window and rescaling as problems."""
    found = []
    for note in notes:
        if note == "air was bright: inverted":
            told = "air is bright, yet the header asks for no inversion"
            found.append(problem("photometric-conflict", told))
        elif note.startswith("the header asks for an inversion"):
            found.append(problem("photometric-conflict", "the header asks for an inversion, yet air is dark"))
        elif note.startswith(("(0028,105", "(0028,30", "the window leaves")):
            found.append(problem("window", note.partition(" (")[0] if "3000" in note else note))
    return found


def _mirrored(facts: Mapping[str, Any], chest_side: str | None) -> Problem | None:
    """Tell when the chest wall lies on the other side than in a display with the side's own orientation.

    Unmirrored, a left breast has its chest wall on the left of the image, and a right breast on the right.
    """
    side = facts.get("laterality")
    # Spot views show a disc of tissue, and specimens have no chest wall.
    partial_view = {"spot compression", "magnification"} & set(facts.get("view_modifiers", ()))
    if side is None or chest_side is None or side == chest_side or partial_view:
        return None
    where = {"L": "left", "R": "right"}
    text = f"says {side} ({facts['laterality_source']}), yet the chest wall is on the {where[chest_side]}"
    posterior = facts.get("patient_orientation", "").partition("\\")[0][:1]
    if posterior in {"A", "P"}:
        told = "R" if posterior == "P" else "L"
        agrees = "agrees with the pixels" if told == chest_side else "does not"
        text += f" (Patient Orientation {agrees})"
    return problem("mirrored", text)


def _reason(error: InputError, path: Path, *, header_known: bool) -> str:
    """Return an error's line without the path, which stands beside it.

    Where the header could not be parsed, nothing that the parser quotes is taken over: it may be a name.
    """
    if header_known:
        line = InputError(error.problem, field=error.field, value=error.value, remedy=error.remedy)
    else:
        line = InputError(error.problem.partition(" (")[0], remedy=error.remedy)
    return str(line).replace(str(path), path.name)


def _without(hidden: Sequence[str], inspection: Inspection) -> Inspection:
    """Strike out values that name a patient, wherever a damaged header has put them."""
    if not hidden:
        return inspection
    # Short ones only as whole words: three digits of an accession number occur in any size.
    parts = [re.escape(one) if len(one) > 5 else rf"(?<!\w){re.escape(one)}(?!\w)" for one in hidden]
    pattern = re.compile("|".join(parts), re.IGNORECASE)
    facts = {
        name: pattern.sub("***", value) if isinstance(value, str) and name not in _HASHES else value
        for name, value in inspection.facts.items()
    }
    problems = tuple(replace(one, text=pattern.sub("***", one.text)) for one in inspection.problems)
    return replace(inspection, facts=facts, problems=problems)
