"""What a phantom is made of: its size, its resolution, and how often and how clearly lesions show."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_type_hints

from mammodet.datasets.errors import InputError

SIDES = ("L", "R")
VIEWS = ("CC", "MLO")

# A breast is drawn to fit the field of view; in a smaller one no lesion of physical size has room.
SMALLEST_FIELD_MM = (110.0, 80.0)  # height, width
LARGEST_SIDE = 8192


@dataclass(frozen=True)
class PhantomConfig:
    """A synthetic screening set: four images (L and R, CC and MLO) of each patient.

    A patient depends on the seed and the number of the patient alone, so that a larger set holds the smaller
    one. Raises InputError when a value is out of its range.

    Parameters
    ----------
    patients:
        How many patients.
    seed:
        Another seed gives other patients, with other ids.
    height:
        Height of an image in pixels.
    width:
        Width of an image in pixels.
    spacing_mm:
        Side of a pixel in mm.
    lesion_rate:
        Share of breasts with a lesion, 0 to 1. Among each ten patients in a row the four kinds of lesion
        (benign or malignant, calcifications or mass) are as equally frequent as their number allows.
    second_lesion_rate:
        Share of the breasts with a lesion that have a second one, of the same pathology.
    distractor_rate:
        Share of breasts with a single coarse calcification and, drawn apart, share of those with a calcified
        vessel; neither is annotated.
    conspicuity:
        Factor on the contrast of the lesions: 1 is clearly seen by a human, 0.5 is subtle.
    noise:
        Factor on the quantum noise: 1 is a usual exposure, 0 is none.
    """

    patients: int = 100
    seed: int = 0
    height: int = 768
    width: int = 640
    spacing_mm: float = 0.3
    lesion_rate: float = 0.4
    second_lesion_rate: float = 0.1
    distractor_rate: float = 0.2
    conspicuity: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("patients", 1, 9999),
            ("seed", 0, 2**31 - 1),
            ("height", 1, LARGEST_SIDE),
            ("width", 1, LARGEST_SIDE),
            ("spacing_mm", 0.02, 2.0),
            ("lesion_rate", 0.0, 1.0),
            ("second_lesion_rate", 0.0, 1.0),
            ("distractor_rate", 0.0, 1.0),
            ("conspicuity", 0.05, 3.0),
            ("noise", 0.0, 10.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError("is out of range", field=name, value=value, remedy=f"give {low} to {high}")
        for name, pixels, least in zip(
            ("height", "width"), (self.height, self.width), SMALLEST_FIELD_MM, strict=True
        ):
            if pixels * self.spacing_mm < least:
                raise InputError(
                    f"times spacing_mm is less than {least:g} mm, too small for a breast",
                    field=name,
                    value=pixels,
                    remedy=f"give at least {int(-(-least // self.spacing_mm))} pixels or a larger spacing",
                )

    @property
    def field_mm(self) -> tuple[float, float]:
        """Height and width of the field of view in mm."""
        return self.height * self.spacing_mm, self.width * self.spacing_mm

    def patient_id(self, patient: int) -> str:
        """Return the id of patient ``patient``, counted from 1."""
        return f"PHANTOM-{self.seed}-{patient:04d}"

    def fingerprint(self) -> dict[str, int | float]:
        """Return all that decides the bytes of one patient: every field but ``patients``."""
        types = get_type_hints(type(self))
        return {
            one.name: types[one.name](getattr(self, one.name))
            for one in fields(self)
            if one.name != "patients"
        }
