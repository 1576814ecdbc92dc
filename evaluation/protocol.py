"""The rules of one evaluation: what is configured, and the sentences that tell it in every output."""

from __future__ import annotations

from dataclasses import dataclass, field

from mammodet.datasets.errors import InputError
from mammodet.evaluation.froc import CPM_POINTS
from mammodet.evaluation.froc_table import FrocProtocol
from mammodet.evaluation.fusion import IMAGE_THRESHOLD, SCORE_THRESHOLD, SUPPRESSION_IOU
from mammodet.evaluation.hit_rules import HitRule

# Told wherever the AUC of all lesions is told.
MISSED_BENIGN = (
    "In the AUC of all lesions a missed benign lesion is a perfect negative: it counts as a wrong answer, "
    "but has the malignancy score 0. This AUC therefore rewards a detector that misses benign lesions, and "
    "can exceed that of the matched ones. Read it with the accuracy and the number of missed lesions."
)

_BREAST = (
    "Views of one breast with the same status keep it with the more confident score; of views that "
    "differ the malignant one decides when its score is above 0.5, otherwise the other (Lin et al. "
    "2023, section 2.7). Three or more views: those of the same status are fused first. A breast is "
    "breast_id, else patient, study and side, else the image alone."
)
_TRUTH = (
    "Positive is malignant; not malignant is benign and normal together. The truth of an image is "
    "its label, else its lesions (malignant before benign); that of a breast its images' (malignant "
    "before benign before normal). Images with neither label nor lesion are unknown and left out. "
    "With normals present, AUC is given for malignant against benign alone too."
)


@dataclass(frozen=True)
class Protocol:
    """The rules of an evaluation; thresholds are from 0 to 1, by default those of Lin et al. 2023.

    ``score_threshold`` is that of boxes, ``image_threshold`` that of scores of images.
    """

    score_threshold: float = SCORE_THRESHOLD
    suppression_iou: float = SUPPRESSION_IOU
    lesion_iou: float = 0.0
    froc: FrocProtocol = field(default_factory=FrocProtocol)
    error_iou: float = 0.5  # error analysis: a box finds a lesion from here, as in TIDE (Bolya et al. 2020)
    error_background_iou: float = 0.1  # and is background below this
    image_threshold: float = IMAGE_THRESHOLD

    def __post_init__(self) -> None:
        if not 0 < self.error_background_iou <= self.error_iou <= 1:
            raise InputError(
                "must be above 0, and error_iou from it to 1",
                field="error_background_iou",
                value=f"{self.error_background_iou:g} with error_iou {self.error_iou:g}",
                remedy="TIDE's values are 0.1 and 0.5",
            )
        for name in ("score_threshold", "suppression_iou", "lesion_iou", "image_threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # NaN fails too
                raise InputError(
                    "must be from 0 to 1",
                    field=name,
                    value=value,
                    remedy=f"the published value is {Protocol.__dataclass_fields__[name].default}",
                )


def statements(protocol: Protocol, *, boxes: bool = True, scores: bool = False) -> dict[str, str]:
    """Return the rules in words, by topic, for metrics.json and the report.

    ``boxes`` and ``scores`` tell what is judged by them: predicted boxes, scores of images, or both.
    """
    told = _box_statements(protocol) if boxes else {}
    if scores:
        told |= _score_statements(protocol)
    return told


def _score_statements(protocol: Protocol) -> dict[str, str]:
    return {
        "scores of images": (
            f"A score is the probability of malignant. An image is predicted malignant with a score of at "
            f"least {protocol.image_threshold:g}, and the score is its malignancy score. Without boxes there "
            "are no COCO, FROC, lesion and error numbers."
        ),
        "breast": _BREAST,
        "truth": _TRUTH,
        "subgroups of images": "AUC, sensitivity and specificity of the images of the group alone.",
    }


def _box_statements(protocol: Protocol) -> dict[str, str]:
    return {
        "detection": (
            "COCO bounding box AP and AR as pycocotools defines them, over all predictions as given (no "
            "score threshold, no suppression), at most 100 boxes per image and class; sizes by lesion area "
            "in pixels: small below 32 x 32, large above 96 x 96. A number without any such true box is n/a."
        ),
        "subgroups": (
            "COCO AP50, AP and AR. By size and finding: lesions of other groups are ignored, and a "
            "box that finds nothing is wrong in every group (by size in px: when the box is of this size, as "
            "COCO has it). By view, density and manufacturer: only the images of the group."
        ),
        "boxes": (
            f"For images, breasts and lesions, boxes with a score of at least {protocol.score_threshold:g} "
            "count; a benign box whose IoU with a malignant box of the same image is above "
            f"{protocol.suppression_iou:g} is dropped (Lin et al. 2023, section 2.6)."
        ),
        "image": (
            "An image is predicted malignant when it has a malignant box, with the highest malignant score; "
            "otherwise not malignant, with 1 minus the highest benign score; without a box the malignancy "
            "score is 0 (Lin et al. 2023, section 2.7)."
        ),
        "breast": _BREAST,
        "truth": _TRUTH,
        "lesion": (
            "Each true lesion takes class and score of the box with the highest IoU above "
            f"{protocol.lesion_iou:g}. Matched (the published protocol): lesions without such a box are left "
            "out. All: they count as missed, a wrong answer with malignancy score 0. False boxes beside the "
            "lesions do not enter here."
        ),
        "lesion warning": MISSED_BENIGN,
        "ignored": (
            "Lesions with ignore or iscrowd are left out everywhere; in COCO AP and FROC, boxes that find "
            "them are neither right nor wrong."
        ),
        "froc": _froc_statement(protocol.froc),
        "errors": _error_statement(protocol),
        "afroc": (
            "The chance that a lesion has a higher score than the highest false positive of a normal image, "
            "ties counting half; a lesion or an image without one has no score, the lowest of all. wAFROC: "
            "the lesions of one image share the weight 1 (Chakraborty and Zhai 2016). AFROC1 and wAFROC1 "
            "compare with the positive images too."
        ),
    }


def _froc_statement(protocol: FrocProtocol) -> str:
    rules = "; ".join(f"{rule}: {HitRule.parse(rule).describe()}" for rule in protocol.hit_rules)
    classes = (
        "Each class by itself: predictions of the class, lesions of the class."
        if protocol.class_aware
        else "Any prediction may find any lesion, whatever the classes."
    )
    return (
        f"All predictions as given. Sensitivity by lesion against false positives per {protocol.unit}. "
        f"{classes} A prediction hits a lesion by the rule ({rules}). By falling score each prediction finds "
        "the lesion that it hits best and that is not found yet; a further hit on a found lesion is neither "
        "a hit nor a false positive. Equal scores are one threshold and every threshold is kept. "
        "Sensitivity at x: the highest of a threshold with at most x false "
        f"positives, not interpolated; CPM: its mean at {', '.join(f'{one:g}' for one in CPM_POINTS)}."
    )


def _error_statement(protocol: Protocol) -> str:
    return (
        f"At IoU {protocol.error_iou:g}, boxes matched with lesions of their class as for COCO AP. A false "
        "positive is, in this order: a duplicate (of a found lesion), of the wrong class, a poor box (IoU "
        f"{protocol.error_background_iou:g} or more with a lesion of its class), both (with one of another "
        "class), or background. A lesion not found is missed unless a box of the wrong class or a poor box "
        f"is about it. Counts: boxes with a score of at least {protocol.score_threshold:g}. Cost: the AP of "
        "all predictions when one kind alone is put right, less the AP as it is; the costs do not add up "
        "(TIDE, Bolya et al. 2020). A lesion on two views: same breast and lesion_id, else the only lesions "
        "of their class on the CC and the MLO view."
    )
