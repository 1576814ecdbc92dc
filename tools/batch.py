"""A batch of images: one after the other, each recorded when it is done, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.datasets.ledger import Ledger, file_key
from mammodet.datasets.mammogram import Mammogram
from mammodet.evaluation.fusion import breast_name
from mammodet.tools.cases import Case
from mammodet.tools.score_tables import write_csv

Outcome = dict[str, Any]  # as JSON can hold it; {"rejected": reason} of an image that was not done
Done = Sequence[tuple[Case, Outcome]]


def run_fingerprint(arguments: Any, free: Collection[str]) -> str:
    """Return what the outcomes of a run depend on besides their images: model, options, version.

    ``arguments`` is the dataclass of a command, with ``model`` among its fields; those named ``free`` change
    no outcome.
    """
    digest = hashlib.sha256(Path(arguments.model).read_bytes())
    options = {key: value for key, value in asdict(arguments).items() if key not in free}
    digest.update(json.dumps([version("mammodet"), options], sort_keys=True).encode())
    return digest.hexdigest()


def outcomes(
    cases: Sequence[Case],
    work: Callable[[Case], Outcome],
    ledger: Ledger,
    *,
    verb: str,
    with_lesions: bool = False,
    is_whole: Callable[[Outcome], bool] = lambda outcome: True,
) -> Iterator[Outcome]:
    """Yield the outcome of every case in turn, from the ledger where it is finished, with a progress bar.

    Parameters
    ----------
    work:
        Does one case.
    verb:
        What is being done, for the bar.
    with_lesions:
        Whether a case is done again when the COCO file tells other lesions of it.
    is_whole:
        Tells of a recorded outcome whether the files that belong to it are still there.
    """
    for case in tqdm(cases, unit="image", desc=verb):
        # With the record, since a corrected side or pixel size in the COCO file changes the outcome.
        known = [case.image_id, case.record, case.prepared, *([case.lesions] if with_lesions else [])]
        key = json.dumps([*known, file_key(case.path)]) if case.path.is_file() else ""
        outcome = ledger.get(key)
        if outcome is None or not is_whole(outcome):
            outcome = work(case)
            # What failed, for want of memory perhaps, is tried again by the next run.
            if key and "rejected" not in outcome:
                ledger.record(key, outcome)
        yield outcome


def done_cases(batch: Done, out: Path, prog: str) -> Done:
    """Write ``rejected.csv`` and return what is not in it; when that is nothing, tell so on stderr."""
    rejected = [
        {"file": str(case.path), "reason": outcome["rejected"]}
        for case, outcome in batch
        if "rejected" in outcome
    ]
    write_csv(out / "rejected.csv", ["file", "reason"], rejected)
    if len(rejected) == len(batch):
        first = rejected[0]["reason"]
        print(f"{prog}: error: none of {len(batch)} files could be read; the first: {first}", file=sys.stderr)
    return [(case, outcome) for case, outcome in batch if "rejected" not in outcome]


def print_rejected(batch: Done, done: Done, out: Path) -> None:
    """Tell how many files are in ``rejected.csv``, and what becomes of them."""
    if rejected := len(batch) - len(done):
        print(f"{rejected} files could not be read: {out / 'rejected.csv'}")
        print("mammodet evaluate would count them as images in which nothing was found")


def images_of(done: Done, path: Path) -> Coco:
    """Return the images that the ids of results mean, whose outcomes hold a record called ``image``."""
    images = [{**outcome["image"], "file_name": str(case.path.absolute())} for case, outcome in done]
    prepared = done[0][0].prepared
    info = {} if prepared is None else {"prepared": prepared}
    return Coco(images, [], path.absolute(), info=info)  # type: ignore[arg-type]


def picture_name(case: Case) -> str:
    """Return the name, without suffix, of the pictures of a case."""
    return f"{case.image_id:05d}_{case.path.stem[:50]}"


def image_record(case: Case, mammogram: Mammogram | None) -> ImageRecord:
    """Return what a COCO file says of the case, or else what its own file says."""
    if case.record is not None:
        return case.record
    assert mammogram is not None  # prepared images have a record
    side = mammogram.laterality
    record: ImageRecord = {
        "id": case.image_id,
        "file_name": str(case.path.absolute()),
        "width": mammogram.source_width,
        "height": mammogram.source_height,
        "patient_id": mammogram.patient_id,
        "study_id": mammogram.study_id,
        "laterality": side,
        "view": mammogram.view,
        "spacing_mm": None if mammogram.spacing_mm is None else list(mammogram.spacing_mm),
        "age": mammogram.age,
        "manufacturer": mammogram.manufacturer,
        "sop_instance_uid": mammogram.sop_instance_uid,
        "label": None,
    }
    if side is not None:
        record["breast_id"] = breast_name(record)
    return record
