"""Which DICOM files are single grey mammograms, told by their headers before their pixels are touched."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset

from mammodet.datasets.dicom import number, shown, text
from mammodet.datasets.errors import InputError
from mammodet.datasets.raster import check_size
from mammodet.datasets.standardise import Recipe

_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"  # Digital Mammography X-Ray Image Storage - For Processing
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds, which go on with a dot
_GREY = {"MONOCHROME1", "MONOCHROME2"}
_DIGITISED = {"CR", "DX", "RG", "SC", "OT"}  # modalities that films and plates of breasts also come under


def check_mammogram(data: Dataset, path: Path, recipe: Recipe) -> None:
    """Refuse what is no single grey mammogram for presentation.

    Raises InputError for other modalities, multi-frame (tomosynthesis) and colour images, for scans of films
    whose header does not speak of a breast unless ``recipe.allow_secondary_capture``, and for raw images
    unless ``recipe.allow_for_processing``.
    """
    _check_modality(data, path, recipe)
    check_single_grey(data, path)
    photometric = text(data, "PhotometricInterpretation") or "MONOCHROME2"
    if photometric not in _GREY:
        raise _coloured(photometric, path)
    if is_for_processing(data) and not recipe.allow_for_processing:
        raise InputError(
            "is a raw image FOR PROCESSING",
            file=path,
            field="(0008,0068) Presentation Intent Type",
            remedy="give the FOR PRESENTATION image, or set allow_for_processing in the recipe",
        )


def check_single_grey(data: Dataset, path: Path) -> None:
    """Refuse files of several frames and of several values per pixel; raises InputError."""
    frames = number(data, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise InputError(
            "is a multi-frame image (tomosynthesis), not a single mammogram",
            file=path,
            field="(0028,0008) Number of Frames",
            value=shown(int(frames)),
            remedy="give the 2D or synthetic 2D image of the study",
        )
    if (number(data, "SamplesPerPixel") or 1) > 1:
        raise _coloured(text(data, "PhotometricInterpretation"), path)


def frame_size(data: Dataset, path: Path) -> tuple[int, int]:
    """Return (width, height); raises InputError when there is none, or one that no mammogram has."""
    sizes = []
    for keyword, field in (("Columns", "(0028,0011) Columns"), ("Rows", "(0028,0010) Rows")):
        size = number(data, keyword)
        if size is None:
            raise InputError(
                "is missing", file=path, field=field, remedy="it is no image, or it is cut off; leave it out"
            )
        if not 1 <= size <= 65535 or size != int(size):
            problem = "must be a whole number from 1 to 65535"
            remedy = "the header is broken; fetch the file again or leave it out"
            raise InputError(problem, file=path, field=field, value=shown(size), remedy=remedy)
        sizes.append(int(size))
    check_size(sizes[0], sizes[1], path)
    return sizes[0], sizes[1]


def is_for_processing(data: Dataset) -> bool:
    """Tell whether the values are those of the detector, which no vendor's processing has seen yet."""
    intent = (text(data, "PresentationIntentType") or "").upper()
    return intent == "FOR PROCESSING" or (not intent and text(data, "SOPClassUID") == _FOR_PROCESSING)


def _check_modality(data: Dataset, path: Path, recipe: Recipe) -> None:
    modality, part = text(data, "Modality"), (text(data, "BodyPartExamined") or "").upper()
    if modality in {None, "MG"} or (modality in _DIGITISED and "BREAST" in part):
        return
    captured = (text(data, "SOPClassUID") or "").startswith(_SECONDARY_CAPTURE)
    # Nothing in such a header speaks of a breast, nor of another part: only the user can know.
    silent = not part and (modality in {"SC", "OT"} or (modality in _DIGITISED and captured))
    if silent and recipe.allow_secondary_capture:
        return
    remedy = "leave the file out; MG is read, and CR or DX of the body part BREAST"
    if silent:
        remedy = "if it is the scan of a mammogram, set allow_secondary_capture in the recipe"
    raise InputError(
        "is no mammogram", file=path, field="(0008,0060) Modality", value=shown(modality), remedy=remedy
    )


def _coloured(photometric: str | None, path: Path) -> InputError:
    return InputError(
        "is a colour image, such as a screenshot",
        file=path,
        field="(0028,0004) Photometric Interpretation",
        value=shown(photometric),
        remedy="leave the file out",
    )
