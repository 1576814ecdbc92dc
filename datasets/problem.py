"""What can be odd about a mammogram's file: one name, one severity and one advice per kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Problem:
    """One odd thing about a file or a group of files.

    Parameters
    ----------
    kind:
        A short constant name that programs can count by, such as "air-not-dark"; ``KINDS`` has them all.
    severity:
        "error": the file cannot be used as it is; "warning": it can, and results may be wrong; "note": good
        to know.
    text:
        One line for people: what was found and what to do.
    """

    kind: str
    severity: Severity
    text: str


def problem(kind: str, found: str) -> Problem:
    """Return a problem of a kind of ``KINDS``: what was found, and the kind's advice after it."""
    severity, advice = KINDS[kind]
    return Problem(kind, severity, f"{found}; {advice}")


KINDS: Mapping[str, tuple[Severity, str]] = {
    # One file: can it be used at all
    "unreadable": ("error", "fetch the file again or leave it out"),
    "not-mammography": ("error", "leave it out; only MG, and CR, DX or SC of a breast, are mammograms"),
    "no-pixels": ("error", "leave it out; reports, marks and presentation states hold no image"),
    "tomosynthesis": ("error", "give the 2D or synthetic 2D image of the study"),
    "constant": ("error", "leave it out; it shows nothing"),
    # One file: what its pixels are
    "for-processing": ("warning", "prefer the FOR PRESENTATION image; scoring refuses raw ones by default"),
    "secondary-capture": ("warning", "check that it is a film scan and no screenshot"),
    "air-not-dark": ("warning", "look at it: the header's inversion is wrong or missing"),
    "photometric-conflict": ("warning", "the reader follows what makes the air dark; others may not"),
    "double-inversion": ("note", "invert once: MONOCHROME1 and INVERSE say the same thing twice"),
    "window": ("warning", "the reader copes as told here; other software may show something else"),
    "lossy": ("note", "fine calcifications may be lost; prefer the lossless original"),
    "strong-compression": ("warning", "get the lossless original: calcifications are lost at this ratio"),
    "8-bit": ("note", "contrast in dense tissue is limited; prefer the original of 12 bits or more"),
    "saturated": ("warning", "choose another window (recipe.voi), or export without one"),
    "low-contrast": ("warning", "choose another window (recipe.voi), or check the exposure"),
    "padding": ("note", "crop to the breast before pixel statistics are taken"),
    "burned-in": ("warning", "look at it: text in the pixels may name the patient and mislead a model"),
    "labels": ("note", "markers beside the breast; the crop to the breast leaves most of them out"),
    "bright-edge": ("note", "the edge of a film or collimator; the crop to the breast leaves it out"),
    "small": ("warning", "get the original: detectors need the full resolution"),
    "unusual-shape": ("note", "check that it is a whole, upright mammogram"),
    # One file: where the breast is
    "no-breast": ("warning", "look at it: blank, cropped to tissue, or no mammogram"),
    "cut-off": ("note", "tissue runs over the edge of the image; part of the breast is not on it"),
    "mirrored": (
        "warning",
        "mirror these images or correct the side; both breasts must not look the same way",
    ),
    # One file: what its header says
    "no-side": ("warning", "give the side in the file name (L_CC.dcm) or in the COCO file"),
    "no-view": ("warning", "give the view in the file name (L_CC.dcm) or in the COCO file"),
    "unnamed": ("note", "call files such as patient_L_CC.png, or give sides and views in the COCO file"),
    "side-conflict": (
        "warning",
        "find out which is true; the reader follows Image Laterality, then Laterality",
    ),
    "view-conflict": ("warning", "find out which is true; the reader follows View Position"),
    "odd-view": ("warning", "correct the view, or leave it out of view-wise results"),
    "special-view": ("note", "no screening view; keep it apart from CC and MLO"),
    "magnification": ("note", "sizes in mm need the magnification factor"),
    "implant": ("note", "implants are bright and large; keep them apart or out"),
    "no-spacing": ("warning", "sizes in mm need recipe.assumed_spacing_mm"),
    "spacing-conflict": ("warning", "find out which is true; the reader follows Imager Pixel Spacing"),
    "odd-spacing": ("warning", "correct the pixel size before anything is measured in mm"),
    "identifying": ("note", "take it out before files are shared"),
    "no-patient": ("warning", "give patient ids, or splits cannot keep patients apart"),
    # Several files
    "duplicate-instance": ("warning", "keep one of them"),
    "uid-clash": ("error", "give them UIDs of their own, or find out which one is genuine"),
    "duplicate-pixels": ("warning", "keep one of them, or give both one patient id"),
    "near-duplicate": ("warning", "look at them: a copy that was compressed, resized or brightened"),
    "mirrored-copy": ("warning", "look at them: one is the mirrored other"),
    "study-shared": ("warning", "several patients under one study; correct the ids before splitting"),
    "missing-views": ("note", "a screening exam has CC and MLO of both sides"),
    "repeated-view": ("note", "several images of one side and view; decide which one counts"),
    "mixed-vendors": ("note", "report results by vendor"),
    "mixed-spacing": ("note", "resample (recipe.spacing_mm), or report results by pixel size"),
    "mixed-photometric": ("note", "the reader inverts MONOCHROME1; other software may not"),
}
