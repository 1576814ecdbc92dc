"""From cases to the numbers of every level, and how many cases there are of each truth."""

from __future__ import annotations

from collections import Counter

from mammodet.datasets.coco import Coco, counts
from mammodet.evaluation.cases import MISSED, Cases
from mammodet.evaluation.levels import Judged, Level, Uncertainty, lesions, malignant_or_not


def case_levels(cases: Cases, uncertainty: Uncertainty) -> dict[str, Level]:
    """Return the numbers of images, breasts and patients, by level."""
    images, breasts = cases.patient_of_image, cases.patient_of_breast
    return {
        "image": malignant_or_not(
            "Images",
            [Judged(c.truth, c.predicted, c.score, images[c.image_id]) for c in cases.images],
            uncertainty,
        ),
        "breast": malignant_or_not(
            "Breasts",
            [Judged(c.truth, c.predicted, c.score, breasts[c.breast]) for c in cases.breasts],
            uncertainty,
        ),
        "patient": malignant_or_not(
            "Patients",
            [Judged(c.truth, c.predicted, c.score, c.patient) for c in cases.patients],
            uncertainty,
        ),
    }


def lesion_levels(cases: Cases, uncertainty: Uncertainty) -> dict[str, Level]:
    """Return the numbers of lesions under both protocols, by level."""
    images = cases.patient_of_image
    all_lesions = [Judged(c.truth, c.predicted, c.score, images[c.image_id]) for c in cases.lesions]
    matched = [case for case in all_lesions if case.predicted != MISSED]
    return {
        "lesion_published": lesions("Lesions, matched", matched, (), uncertainty),
        "lesion_all": lesions("Lesions, all", all_lesions, (MISSED,), uncertainty),
    }


def data_counts(coco: Coco) -> dict[str, int]:
    """Return how many images and lesions there are, whatever is predicted."""
    return {
        "images": len(coco.images),
        "lesions": sum(counts(one) for one in coco.annotations),
        "lesions_ignored": sum(not counts(one) for one in coco.annotations),
        "images_without_patient": sum(image.get("patient_id") is None for image in coco.images),
    }


def truth_counts(cases: Cases) -> dict[str, int]:
    """Return how many images and breasts there are of each truth."""
    tally: dict[str, int] = {}
    for name, truths in (
        ("images", Counter(case.truth for case in cases.images)),
        ("breasts", Counter(case.truth for case in cases.breasts)),
    ):
        tally |= {f"{name}_{truth}": truths[truth] for truth in ("malignant", "benign", "normal")}
        tally[f"{name}_unknown"] = truths[None]
    return tally | {"breasts": len(cases.breasts)}


def lesion_counts(cases: Cases) -> dict[str, int]:
    """Return how many lesions there are of each class, and how many of them were missed."""
    tally = {
        f"lesions_{truth}": sum(case.truth == truth for case in cases.lesions)
        for truth in ("malignant", "benign")
    }
    missed = Counter(case.truth for case in cases.lesions if case.predicted == MISSED)
    return tally | {"lesions_missed": missed.total(), "lesions_missed_benign": missed["benign"]}
