"""The main numbers of an evaluation as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mammodet.evaluation.calibrated_levels import NUMBERS
from mammodet.evaluation.error_cases import UNKNOWN
from mammodet.evaluation.error_pixels import NO_FILE, NOT_READ, OTHER_SIZE
from mammodet.evaluation.resampling import PERCENTILE, Interval, primary
from mammodet.evaluation.summary import Evaluation

_CLASSES_SHOWN = 4  # all and three more; the rest is in coco.csv
_STARRED = "* where the bootstrap has no width: Wilson's interval, of an AUC Newcombe's"
_RULE_WIDTH = 22  # of the hit rules and the title above them


def overview(evaluation: Evaluation) -> list[str]:
    """Return the main numbers as lines, then what was left out and what could not be given."""
    lines = []
    if evaluation.without_boxes is None:
        lines = [*_detection_lines(evaluation), "", *_froc_lines(evaluation), ""]
    if evaluation.reason is None:
        lines += [*_level_lines(evaluation), *_calibrated_lines(evaluation)]
    starred = any(line.endswith("*") or "* " in line for line in lines)
    lines += [*_interval_remarks(evaluation), *([_STARRED] if starred else [])]
    lines += _remarks(evaluation) if evaluation.reason is None else [evaluation.reason]
    return [*lines, *_unseen(evaluation)]


def _detection_lines(evaluation: Evaluation) -> list[str]:
    shown = ("AP", "AP50", "AP75", "AR_100")
    lines = [f"{'COCO boxes':<18}" + "".join(f"{head:>13}" for head in ("AP", "AP50", "AP75", "AR100"))]
    for name, numbers in list(evaluation.coco.items())[:_CLASSES_SHOWN]:
        lines.append(f"{name[:17]:<18}" + "".join(_cell(numbers[key]) for key in shown))
        if name in evaluation.coco_intervals:
            found = [evaluation.coco_intervals[name][key] for key in shown]
            lines += _interval_line(evaluation, found, "")
    more = len(evaluation.coco) - _CLASSES_SHOWN
    return [*lines, f"... {more} more classes in coco.csv"] if more > 0 else lines


def _froc_lines(evaluation: Evaluation) -> list[str]:
    table = evaluation.froc
    heads = {f"sensitivity at {point:g}": f"at {point:g}" for point in (0.3, 1.0, 4.0)}
    heads |= {"cpm": "CPM", "wafroc": "wAFROC"}
    lines = []
    for name in table.classes[:_CLASSES_SHOWN]:
        title = f"FROC per {table.protocol.unit}, {name}"
        if len(title) > _RULE_WIDTH:  # such as FROC per positive image, malignant
            lines.append(title)
            title = ""
        lines.append(f"{title:<{_RULE_WIDTH}}" + "".join(f"{head:>13}" for head in heads.values()))
        for row in table.of(name):
            lines.append(
                f"{row.rule[:_RULE_WIDTH]:<{_RULE_WIDTH}}" + "".join(_cell(row.numbers[key]) for key in heads)
            )
            found = [one for key in heads if (one := primary(row.kinds(key))) is not None]
            lines += _interval_line(evaluation, found, " " * (_RULE_WIDTH - 18))
        lines += table.of(name)[0].notes
    more = len(table.classes) - _CLASSES_SHOWN
    return [*lines, f"... {more} more classes in froc.csv"] if more > 0 else lines


def _level_lines(evaluation: Evaluation) -> list[str]:
    heads = ("AUC", "accuracy", "sens.", "spec.")
    lines = [
        f"{'malignant or not':<18}{'cases':>9}{'positive':>9}" + "".join(f"{head:>13}" for head in heads)
    ]
    for level in evaluation.levels.values():
        table = level.classification
        negative, positive = (table.per_class[name] for name in table.classes)
        values = (level.roc.auc, table.accuracy, positive.sensitivity, negative.sensitivity)
        counts = f"{table.cases:>9}{positive.support:>13}"
        lines.append(f"{level.title:<18}{counts}" + "".join(map(_cell, values)))
        other, malignant = (level.class_intervals[name]["sensitivity"] for name in table.classes)
        kinds = (level.intervals["auc"], level.intervals["accuracy"], malignant, other)
        found = [one for one in map(primary, kinds) if one is not None]
        lines += _interval_line(evaluation, found, " " * 18)
    return lines


def _calibrated_lines(evaluation: Evaluation) -> list[str]:
    calibrated = evaluation.calibrated
    if calibrated is None:
        return []
    title = f"probabilities by {calibrated.kind}"
    heads = ("ECE raw", "calibrated", "Brier raw", "calibrated")
    lines = ["", f"{title:<36}" + "".join(f"{head:>13}" for head in heads)]
    for level in calibrated.levels.values():
        counts = f"{level.title:<18}{level.cases:>9}{level.positives:>9}"
        if level.reason is not None:
            lines.append(f"{counts}  {level.reason}")
            continue
        numbers = [level.numbers[name] for name in NUMBERS]
        lines.append(counts + "".join(_cell(x) for one in numbers for x in (one.raw, one.calibrated)))
        intervals = [x for one in numbers for x in (one.raw_interval, one.calibrated_interval)]
        lines += _interval_line(evaluation, [one for one in intervals if one is not None], " " * 18)
    lines.append(f"fitted on {calibrated.source}")
    for level in calibrated.levels.values():
        if level.reason is None:
            there, here = level.fitted_positives / level.fitted_cases, level.positives / level.cases
            told = f"{there:.0%} of {level.fitted_cases} {level.title.lower()} malignant, {here:.0%} here"
            lines.append(f"  {told}; ECE by chance alone {_cell(level.ece_by_chance, 0)}")
    return lines


def _interval_line(evaluation: Evaluation, found: Sequence[Interval], gap: str) -> list[str]:
    cells = [
        "" if one.low is None else f"{one.low:.3f}-{one.high:.3f}{'' if one.method == PERCENTILE else '*'}"
        for one in found
    ]
    if not any(cells):
        return []
    title = f"  {evaluation.bootstrap.confidence * 100:g} % interval"
    return [f"{title:<18}{gap}" + "".join(f"{cell:>13}" for cell in cells)]


def _interval_remarks(evaluation: Evaluation) -> list[str]:
    bootstrap, patients = evaluation.bootstrap, evaluation.counts["patients"]
    if not bootstrap.resamples:
        return []
    if patients < 2:
        return ["", "no intervals: they need two patients or more, there is one"]
    made = f"intervals: {bootstrap.resamples} bootstrap resamples of {patients} patients"
    level = evaluation.levels.get("image")
    images = None if level is None else level.intervals["auc"].get("bootstrap")
    if images is None:
        return ["", made]
    if images.reason is not None:
        return ["", made, f"no interval of the AUC of images: {images.reason}"]
    return ["", made + (f", {images.undefined} with images of one class only" if images.undefined else "")]


def _remarks(evaluation: Evaluation) -> list[str]:
    counts = evaluation.counts
    told = {
        "images of unknown truth left out": counts["images_unknown"],
        "lesions marked ignore or crowd left out": counts["lesions_ignored"],
        "lesions without an overlapping box": counts.get("lesions_missed", 0),
        "images without any prediction": counts.get("images_without_prediction", 0),
        "images without patient_id, their breast stands for a patient": counts["images_without_patient"],
    }
    remarks = [f"{count} {what}" for what, count in told.items() if count]
    for level in evaluation.levels.values():
        if level.roc.note:
            remarks.append(f"{level.title}: AUC {level.roc.note}")
    everything, benign = evaluation.levels.get("lesion_all"), counts.get("lesions_missed_benign", 0)
    if benign and everything is not None and everything.roc.auc is not None:
        remarks.append(
            f"warning: {everything.title}: {benign} missed benign lesions are perfect negatives, which can "
            "raise the AUC"
        )
    if evaluation.without_boxes is not None:
        at = f"malignant from {evaluation.protocol.image_threshold:g} on"
        remarks.insert(0, f"{evaluation.without_boxes}; {at}")
    return ["", *remarks] if remarks else []


def _unseen(evaluation: Evaluation) -> list[str]:
    """Say of how many background boxes the place is not known because of their image file."""
    places = {} if evaluation.errors is None else evaluation.errors.places()
    told = [(places.get(f"{UNKNOWN}: {why}", 0), why) for why in (NO_FILE, NOT_READ, OTHER_SIZE)]
    return [f"{count} background boxes of unknown place: {why}" for count, why in told if count]


def _cell(value: float | None, width: int = 13) -> str:
    return f"{'n/a' if value is None else format(value, '.3f'):>{width}}"
