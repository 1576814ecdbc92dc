"""The cases that mammodet classify runs a classifier on: whole images, or the patches of a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mammodet.classification.predict import Predictor, patch_probabilities, require_store
from mammodet.datasets.coco import Coco, ImageRecord
from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger
from mammodet.datasets.mammogram import IdentifyBy
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.standardise import Recipe
from mammodet.datasets.truth import image_truth
from mammodet.evaluation.fusion import breast_name, patients_of_images
from mammodet.tools.batch import Done, Outcome, done_cases, image_record, images_of, outcomes, run_fingerprint
from mammodet.tools.cases import Case, read_case, rejection, require_split

PROG = "mammodet classify"
IMAGE_COLUMNS = (
    *("image_id", "file", "patient_id", "study_id", "breast_id", "laterality", "view"),
    *("split", "image_truth", "notes"),
)
PATCH_COLUMNS = ("id", "image", "file", "patient", "split", "class")
_FROM_IMAGE = ("patient_id", "study_id", "laterality", "view", "split")


@dataclass(frozen=True)
class ScoredCase:
    """One case that a classifier was run on.

    Parameters
    ----------
    row:
        What ``scores.csv`` says of it beside truth and scores.
    label:
        Of the data, None where it is unknown.
    patient:
        Cases of one patient are not independent.
    """

    row: Mapping[str, Any]
    label: str | None
    patient: str
    probabilities: Sequence[float]


@dataclass(frozen=True)
class Scoring:
    """What the probabilities of an image depend on beside the image; ``boxes`` names detections."""

    model: str
    id: IdentifyBy
    allow_for_processing: bool
    allow_secondary_capture: bool
    precision: str
    device: str
    boxes: str | None = None


@dataclass(frozen=True)
class ImageScorer:
    """Runs a classifier on whole images; ``recipe`` is the model's with the permissions of the command."""

    predictor: Predictor
    recipe: Recipe
    identify_by: IdentifyBy

    def score(self, case: Case) -> Outcome:
        """Return ``{"image", "probabilities", "notes"}``, or ``{"rejected": reason}``."""
        try:
            opened = read_case(case, self.recipe, self.identify_by)
            (found,) = self.predictor.probabilities(opened.standardised.pixels[None])
        except Exception as error:
            return {"rejected": rejection(error, case.path)}
        return {
            "image": image_record(case, opened.mammogram),
            "probabilities": found.tolist(),
            "notes": list(opened.standardised.notes),
        }


def score_images(
    work: Callable[[Case], Outcome], cases: Sequence[Case], scoring: Scoring, folder: Path
) -> Done:
    """Do all cases, with a ledger and ``rejected.csv`` in ``folder``; return those that were done."""
    with Ledger(folder / "ledger.sqlite", run_fingerprint(scoring, {"model"})) as ledger:
        found = list(outcomes(cases, work, ledger, verb="classifying", with_lesions=True))
    return done_cases(list(zip(cases, found, strict=True)), folder, PROG)


def image_cases(done: Done) -> list[ScoredCase]:
    """Return the images that were done, with the truth that a COCO file tells of them."""
    patients = patients_of(done)
    return [
        ScoredCase(
            {
                **image_row(case, outcome["image"]),
                "image_truth": (label := _truth(case)),
                "notes": "; ".join(outcome["notes"]),
            },
            label,
            patients.get(case.image_id, ""),
            outcome["probabilities"],
        )
        for case, outcome in done
    ]


def image_row(case: Case, image: ImageRecord) -> dict[str, Any]:
    """Return what ``scores.csv`` says of the image of a case."""
    return {
        **{name: image.get(name) for name in _FROM_IMAGE},
        "image_id": case.image_id,
        "file": str(case.path.absolute()),
        "breast_id": breast_name(image),
    }


def patients_of(done: Done) -> dict[int, str]:
    """Return the patient of every image of a COCO file, as ``mammodet evaluate`` does; of others none."""
    if not done or done[0][0].record is None:
        return {}
    coco: Coco = images_of(done, Path("images.json"))
    return patients_of_images(coco)


def score_patches(predictor: Predictor, path: Path, split: str | None, batch: int) -> list[ScoredCase]:
    """Run a classifier on the patches of a store, without turned copies and ambiguous ones.

    Raises InputError when the store does not fit the network, or has no such split or no patch.
    """
    store = PatchStore(path)
    require_store(predictor.header, store)
    if split is not None:
        require_split(split, {name for name, _ in store.counts()}, path)
    patches = list(store.patches(split, turned=False, ambiguous=False))
    if not patches:
        raise InputError("has no patches", file=path, remedy="give a store that mammodet patches filled")
    ids = [patch.id for patch in patches]
    found: list[list[float]] = []
    with tqdm(total=len(ids), unit="patch", desc="classifying") as bar:
        for some in patch_probabilities(predictor, store, ids, batch):
            found += some.tolist()
            bar.update(len(some))
    store.close()
    return [
        ScoredCase(
            {
                **{name: getattr(patch, name) for name in PATCH_COLUMNS if name != "class"},
                "class": patch.label,
            },
            patch.label,
            patch.patient,
            probabilities,
        )
        for patch, probabilities in zip(patches, found, strict=True)
    ]


def _truth(case: Case) -> str | None:
    return None if case.record is None else image_truth(case.record, case.lesions)
