"""The main numbers of an evaluation as plain text, for a terminal."""

from __future__ import annotations

from mammodet.evaluation.summary import Evaluation

_CLASSES_SHOWN = 4  # all and three more; the rest is in coco.csv


def overview(evaluation: Evaluation) -> list[str]:
    """Return the main numbers as lines, then what was left out and what could not be given."""
    lines = [*_detection_lines(evaluation), ""]
    if evaluation.reason is not None:
        return [*lines, evaluation.reason]
    return [*lines, *_level_lines(evaluation), *_remarks(evaluation)]


def _detection_lines(evaluation: Evaluation) -> list[str]:
    lines = [f"{'COCO boxes':<18}" + "".join(f"{head:>9}" for head in ("AP", "AP50", "AP75", "AR100"))]
    for name, numbers in list(evaluation.coco.items())[:_CLASSES_SHOWN]:
        values = (numbers[key] for key in ("AP", "AP50", "AP75", "AR_100"))
        lines.append(f"{name[:17]:<18}" + "".join(map(_cell, values)))
    more = len(evaluation.coco) - _CLASSES_SHOWN
    return [*lines, f"... {more} more classes in coco.csv"] if more > 0 else lines


def _level_lines(evaluation: Evaluation) -> list[str]:
    heads = ("cases", "positive", "AUC", "accuracy", "sens.", "spec.")
    lines = [f"{'malignant or not':<18}" + "".join(f"{head:>9}" for head in heads)]
    for level in evaluation.levels.values():
        table = level.classification
        negative, positive = (table.per_class[name] for name in table.classes)
        values = (level.roc.auc, table.accuracy, positive.sensitivity, negative.sensitivity)
        counts = f"{table.cases:>9}{positive.support:>9}"
        lines.append(f"{level.title:<18}{counts}" + "".join(map(_cell, values)))
    return lines


def _remarks(evaluation: Evaluation) -> list[str]:
    counts = evaluation.counts
    told = {
        "images of unknown truth left out": counts["images_unknown"],
        "lesions marked ignore or crowd left out": counts["lesions_ignored"],
        "lesions without an overlapping box": counts["lesions_missed"],
        "images without any prediction": counts["images_without_prediction"],
    }
    remarks = [f"{count} {what}" for what, count in told.items() if count]
    for level in evaluation.levels.values():
        if level.roc.note:
            remarks.append(f"{level.title}: AUC {level.roc.note}")
    everything, benign = evaluation.levels["lesion_all"], counts["lesions_missed_benign"]
    if benign and everything.roc.auc is not None:
        remarks.append(
            f"warning: {everything.title}: {benign} missed benign lesions are perfect negatives, which can "
            "raise the AUC"
        )
    return ["", *remarks] if remarks else []


def _cell(value: float | None) -> str:
    return f"{'n/a' if value is None else format(value, '.3f'):>9}"
