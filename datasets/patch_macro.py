"""Which calcifications are macrocalcifications: what their data set calls by a typically benign form."""

from __future__ import annotations

import re

from mammodet.datasets.coco import MALIGNANT, AnnotationRecord

# Typically benign forms of BI-RADS (ACR BI-RADS Atlas 5, mammography, C), as CBIS-DDSM, DDSM and OMI-DB name
# them. Round and regular ones may be small, so they count beside one of these forms only.
FORMS = frozenset(
    {
        *("coarse", "popcorn", "large_rodlike", "eggshell", "rim", "lucent_center", "lucent_centered"),
        *("dystrophic", "vascular", "skin", "milk_of_calcium", "suture", "coarse_popcorn"),
    }
)
FLAGS = frozenset(
    {
        *("dystrophic_calcification", "milk_of_calcium", "plasma_cell_mastitis", "suture_calcification"),
        "vascular_feature",
    }
)
_INDIFFERENT = frozenset({"round_and_regular"})


def is_macrocalcification(annotation: AnnotationRecord) -> bool:
    """Tell whether a lesion is a calcification of typically benign form, by what its data set says of it.

    That is ``subtype.calc_type`` (CBIS-DDSM, DDSM) or ``subtype.morphology``, whose forms must all be such,
    or ``provenance.flags`` (OMI-DB) without suspicious calcifications. A malignant lesion is none.
    """
    if annotation.get("finding") != "calcification":
        return False
    if annotation["category_id"] == MALIGNANT and not annotation.get("ignore"):
        return False
    flags = (annotation.get("provenance") or {}).get("flags")
    if isinstance(flags, list) and "suspicious_calcifications" not in flags and FLAGS & set(map(str, flags)):
        return True
    subtype = annotation.get("subtype") or {}
    said = str(subtype.get("calc_type") or subtype.get("morphology") or "")
    forms = {re.sub(r"\W+", "_", form.strip().lower()) for form in re.split(r"[-,]", said) if form.strip()}
    return bool(forms & FORMS) and forms <= FORMS | _INDIFFERENT
