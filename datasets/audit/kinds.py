"""What the audit can find: how bad it is, what it is called, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mammodet.datasets.problem import Severity

GROUPS = ("files", "splits", "labels", "boxes", "views", "conversion")


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Parameters
    ----------
    group:
        Where the page shows it, one of ``GROUPS``.
    severity:
        "error": training or evaluation on this file would be wrong; "warning": it may be; "note": good to
        know.
    title:
        What was found, as a plural: "boxes outside the breast".
    remedy:
        What to do, as a sentence without the final stop.
    pictures:
        Whether a look at the images helps.
    """

    group: str
    severity: Severity
    title: str
    remedy: str
    pictures: bool = True


# What the inspection of single files finds has kinds of its own: "file-" and the kind of the problem.
FILE_PROBLEM = "file-"

KINDS: Mapping[str, Kind] = {
    # files
    "missing-file": Kind(
        "files", "error", "image files that are not there", "restore them, or convert again", pictures=False
    ),
    "unreadable-file": Kind(
        "files",
        "error",
        "image files that cannot be read",
        "fetch them again, or take the images out",
        pictures=False,
    ),
    "size-mismatch": Kind(
        "files",
        "error",
        "image files of another size than the COCO file says",
        "boxes do not fit such a file: find the original, or convert again",
    ),
    "duplicate-pixels": Kind(
        "files",
        "warning",
        "pictures that are there twice, under two names",
        "keep one of them, or make sure that they stay in one part of a split",
    ),
    "duplicate-pixels-conflict": Kind(
        "files",
        "error",
        "pictures that are there twice, with different truth",
        "find out which label and boxes are right and take the other image out",
    ),
    "near-duplicate": Kind(
        "files",
        "warning",
        "pictures that look the same",
        "compare them: a copy that was compressed, resized or brightened leaks between the parts of a split",
    ),
    "mirrored-duplicate": Kind(
        "files",
        "warning",
        "pictures that look like the mirror image of another",
        "compare them: a mirrored copy leaks between parts of a split and may have the wrong side",
    ),
    "chest-wall-side": Kind(
        "files",
        "warning",
        "breasts whose chest wall lies on the side of the other breast",
        "check whether the file is stored mirrored or the laterality is wrong; recipe.orient_left would turn"
        " it the wrong way round",
    ),
    # splits
    "patient-in-several-splits": Kind(
        "splits", "error", "patients in several splits", "split by patient: mammodet split"
    ),
    "study-in-several-splits": Kind(
        "splits", "error", "studies in several splits", "give their images one patient_id and split again"
    ),
    "file-in-several-splits": Kind("splits", "error", "files in several splits", "list each file once"),
    "pixels-in-several-splits": Kind(
        "splits", "error", "the same picture in several splits", "take out all but one of the copies"
    ),
    "near-duplicate-across-splits": Kind(
        "splits",
        "warning",
        "pictures of different splits that look the same",
        "compare them and give copies of one picture one patient_id",
    ),
    "official-split-taken-out": Kind(
        "splits",
        "note",
        "images taken out of their official split, because their patient is in a later one too",
        "numbers on the official parts stay comparable; such images are in no part of split --official",
        pictures=False,
    ),
    "image-without-patient": Kind(
        "splits",
        "warning",
        "images without patient_id",
        "give them one: without it the images of one woman can end up in training and test",
        pictures=False,
    ),
    "study-of-several-patients": Kind(
        "splits",
        "error",
        "studies of several patients",
        "correct patient_id, or the split may leak",
        pictures=False,
    ),
    "breast-of-several-patients": Kind(
        "splits",
        "error",
        "breasts of several patients",
        "make breast_id unique: it takes patient, study and side",
    ),
    "instance-twice": Kind(
        "splits", "error", "DICOM instances listed twice", "keep one image per SOP instance UID"
    ),
    "ages-in-study": Kind(
        "labels",
        "warning",
        "studies whose images tell different ages",
        "check that they are of one patient",
        pictures=False,
    ),
    # labels
    "normal-with-lesion": Kind(
        "labels",
        "error",
        "images labelled normal that have lesions",
        "correct the label or take the boxes out",
    ),
    "label-below-lesion": Kind(
        "labels",
        "warning",
        "images whose label is better than their worst lesion",
        "correct one of the two; the evaluation of images takes the label",
    ),
    "label-above-lesion": Kind(
        "labels",
        "warning",
        "images labelled malignant whose lesions are all benign",
        "check whether the box of the malignant lesion is missing",
    ),
    "label-without-box": Kind(
        "labels",
        "warning",
        "images labelled benign or malignant that have no box",
        "a detector learns them as empty: draw the boxes or leave them out of training",
    ),
    "labels-only": Kind(
        "labels",
        "note",
        "images labelled benign or malignant in a set without any box",
        "the labels serve to train and judge whole images; no detector can be trained on the set",
        pictures=False,
    ),
    "pathology-against-category": Kind(
        "labels",
        "error",
        "lesions whose category contradicts their pathology",
        "pathology is the better truth: correct category_id",
    ),
    "pathology-not-understood": Kind(
        "labels",
        "note",
        "pathologies that are neither benign nor malignant",
        "the category could not be checked",
    ),
    "birads-against-truth": Kind(
        "labels",
        "warning",
        "lesions whose BI-RADS contradicts their truth",
        "check the linking of report and biopsy: BI-RADS 1 and 2 are hardly ever malignant, 5 and 6 hardly"
        " ever benign",
    ),
    "birads-3-malignant": Kind(
        "labels",
        "note",
        "malignant lesions of BI-RADS 3",
        "expected in up to 2 % of BI-RADS 3; more speaks for a linking fault",
    ),
    # boxes
    "outside-breast": Kind(
        "boxes",
        "warning",
        "boxes outside the breast",
        "look at them: y counted upwards, a mirrored file or swapped coordinates do this",
    ),
    "mostly-clipped": Kind(
        "boxes",
        "warning",
        "boxes of which more than half lay outside the image",
        "look at them: the coordinates may belong to another image or scale",
    ),
    "clipped": Kind(
        "boxes",
        "note",
        "boxes clipped to their image",
        "the box before is in provenance.bbox_before_clipping",
    ),
    "label-conflict": Kind(
        "boxes",
        "warning",
        "lesions marked twice with different categories",
        "keep the right one: a detector is punished for either answer",
    ),
    "duplicate-box": Kind(
        "boxes",
        "warning",
        "lesions marked twice",
        "keep one of the boxes, or merge their findings: twins count twice in training and in FROC",
    ),
    "nested-box": Kind(
        "boxes",
        "note",
        "boxes inside another box",
        "decide whether a mass and its calcifications, or a cluster and its members, are one lesion or two",
    ),
    "huge-box": Kind(
        "boxes", "warning", "boxes of more than half the breast", "look at them: such a box marks no place"
    ),
    "tiny-box": Kind(
        "boxes",
        "warning",
        "boxes of fewer than 5 pixels",
        "give such lesions ignore: 1, or enlarge the boxes: no anchor fits them",
    ),
    "tiny-box-mm": Kind(
        "boxes",
        "note",
        "boxes below 1 mm",
        "single calcifications are so small; if they are masses the pixel size is wrong",
    ),
    "mask-box": Kind(
        "boxes",
        "warning",
        "boxes that do not fit their segmentation",
        "find out which of the two is right: box and mask should bound the same lesion",
    ),
    # views
    "lesion-in-one-view": Kind(
        "views",
        "note",
        "lesions marked in one view of a breast that has CC and MLO",
        "a lesion that is visible but unmarked in the other view is learned as background there",
    ),
    "incomplete-breast": Kind(
        "views",
        "note",
        "breasts without CC or without MLO",
        "scores per breast rest on one view there",
        pictures=False,
    ),
    "view-twice": Kind(
        "views",
        "note",
        "views that a breast has more than once",
        "repeats and magnifications: check that lesions are marked in each, or take them out",
    ),
    # conversion
    "not-converted": Kind(
        "conversion",
        "note",
        "no record of a conversion in the file",
        "what was dropped on the way here is not known",
        pictures=False,
    ),
    "rows-dropped": Kind(
        "conversion",
        "warning",
        "rows of the source that were not used",
        "check the reasons, and that they are few",
        pictures=False,
    ),
    "lesions-dropped": Kind(
        "conversion",
        "warning",
        "lesions of the source that were not used",
        "check the reasons",
        pictures=False,
    ),
    "images-without-pixels": Kind(
        "conversion",
        "warning",
        "images of the source without a readable file",
        "fetch the files and convert again",
        pictures=False,
    ),
    "files-without-row": Kind(
        "conversion",
        "note",
        "image files that no row of the source names",
        "they are not in the COCO file",
        pictures=False,
    ),
    "conversion-note": Kind(
        "conversion",
        "note",
        "entries of the source that the converter remarked on",
        "read what it says of them: what you expected of this data set needs no action",
        pictures=False,
    ),
}
