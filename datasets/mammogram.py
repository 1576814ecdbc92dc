"""Read one mammogram, whatever it is stored as."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.dicom import (
    IdentifyBy,
    hash_id,
    open_dicom,
    quiet_pydicom,
    read_facts,
    text,
)
from mammodet.datasets.dicom_bits import stored_bits
from mammodet.datasets.dicom_check import check_mammogram, frame_size
from mammodet.datasets.dicom_pixels import decode, meaning_of
from mammodet.datasets.filenames import parse_stem
from mammodet.datasets.filetype import file_kind
from mammodet.datasets.intensity import plain_meaning, to_unit
from mammodet.datasets.raster import RasterKind, raster_size, read_raster
from mammodet.datasets.standardise import Recipe


@dataclass(frozen=True, eq=False)
class Mammogram:
    """One mammogram in the frame of its file.

    Parameters
    ----------
    pixels:
        float32 [H, W], 0 = air, 1 = brightest, dense tissue bright; the full frame of the file.
    laterality:
        "L", "R" or None.
    view:
        "CC", "MLO", another code such as "ML", or None.
    spacing_mm:
        Size of a pixel, (row, column), or None; ``spacing_source`` tells where it came from
        (ImagerPixelSpacing lies at the detector, PixelSpacing may be corrected for magnification).
    bit_depth:
        Bits of a stored value.
    recipe:
        The recipe whose photometric part was followed.
    notes:
        Odd things seen, such as "air was bright: inverted".
    """

    pixels: NDArray[np.float32]
    path: Path
    laterality: str | None
    view: str | None
    patient_id: str
    study_id: str
    spacing_mm: tuple[float, float] | None
    spacing_source: str | None
    bit_depth: int
    recipe: Recipe
    sop_instance_uid: str | None = None
    manufacturer: str | None = None
    age: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def source_height(self) -> int:
        """Height of the file's frame in pixels."""
        return int(self.pixels.shape[0])

    @property
    def source_width(self) -> int:
        """Width of the file's frame in pixels."""
        return int(self.pixels.shape[1])


def read_mammogram(
    path: str | PathLike[str],
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    *,
    identify_by: IdentifyBy = "patient-id",
) -> Mammogram:
    """Read a mammogram from a DICOM, PNG, TIFF, JPEG or PGM file.

    Parameters
    ----------
    path:
        The file; its kind is told by its content, never by its suffix.
    recipe:
        Which window, inversion and scaling to use; the whole frame is read, ``standardise`` crops it.
    identify_by:
        What ``patient_id`` is: "patient-id" as it stands in the header, "hash" the first 16 hex digits of its
        SHA-256, "uid" the study instance UID. An empty Patient ID falls back to the study, which "hash"
        hashes too. Files without a header take the id from their name or folder, and "hash" and, for want of
        a UID, "uid" hash it. The hash is not salted: ids that can be listed can be guessed (``hash_id``).

    Raises
    ------
    InputError
        When the file is missing, empty, cut off, no image, really coloured, multi-frame, of another modality,
        raw (FOR PROCESSING, unless the recipe allows it), or larger than any mammogram.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "dicom":
        return _read_dicom(path, recipe, identify_by)
    return _read_raster(path, kind, recipe, identify_by)


def read_mask(path: str | PathLike[str]) -> NDArray[np.bool_]:
    """Read a lesion mask, bool [H, W], from any image file that ``read_mammogram`` reads.

    Every value above 0 is inside, except in JPEG files, whose zeros are not exact: there the brighter half
    is. Raises InputError like ``read_mammogram``; a DICOM mask may be of any modality.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "dicom":
        with quiet_pydicom():
            data = open_dicom(path)
            stored = decode(data, path)
            inverted = text(data, "PhotometricInterpretation") == "MONOCHROME1"
        return np.asarray(stored != stored.max() if inverted else stored != 0)
    raster = read_raster(path, kind)
    if kind == "jpeg":
        return np.asarray(raster.stored > 127)
    return np.asarray(raster.stored != raster.stored.max() if raster.inverted else raster.stored != 0)


def image_size(path: str | PathLike[str]) -> tuple[int, int]:
    """Return (width, height) of an image file from its header alone; raises InputError like the readers."""
    path = Path(path)
    kind = file_kind(path)
    if kind != "dicom":
        return raster_size(path, kind)
    with quiet_pydicom():
        data = open_dicom(path, header_only=True)
        return frame_size(data, path)


def _read_dicom(path: Path, recipe: Recipe, identify_by: IdentifyBy) -> Mammogram:
    with quiet_pydicom():
        # The header decides first, so that no gigabytes of tomosynthesis are read to be refused.
        check_mammogram(open_dicom(path, header_only=True), path, recipe)
        data = open_dicom(path)
        facts = read_facts(data, path, identify_by)
        stored = decode(data, path)
        meaning, voi_notes = meaning_of(data, stored, recipe, path)
        depth = stored_bits(data, stored.dtype.itemsize * 8)
    pixels, notes = to_unit(stored, meaning, recipe, path)
    named = parse_stem(path.stem)
    spacing, source = _assumed(facts.spacing_mm, facts.spacing_source, recipe)
    return Mammogram(
        pixels=pixels,
        path=path,
        laterality=facts.laterality or named.laterality,
        view=facts.view or named.view,
        patient_id=facts.patient_id,
        study_id=facts.study_id,
        spacing_mm=spacing,
        spacing_source=source,
        bit_depth=depth,
        recipe=recipe,
        sop_instance_uid=facts.sop_instance_uid,
        manufacturer=facts.manufacturer,
        age=facts.age,
        notes=(*facts.notes, *voi_notes, *notes),
    )


def _read_raster(path: Path, kind: RasterKind, recipe: Recipe, identify_by: IdentifyBy) -> Mammogram:
    raster = read_raster(path, kind)
    meaning = plain_meaning(raster.stored, raster.highest, inverted=raster.inverted)
    pixels, notes = to_unit(raster.stored, meaning, recipe, path)
    named = parse_stem(path.stem)
    folder = path.absolute().parent.name
    patient = named.rest or folder
    spacing, source = _assumed(None, None, recipe)
    return Mammogram(
        pixels=pixels,
        path=path,
        laterality=named.laterality,
        view=named.view,
        patient_id=patient if identify_by == "patient-id" else hash_id(patient),
        study_id=folder,
        spacing_mm=spacing,
        spacing_source=source,
        bit_depth=raster.bit_depth,
        recipe=recipe,
        notes=(*raster.notes, *notes),
    )


def _assumed(
    spacing: tuple[float, float] | None, source: str | None, recipe: Recipe
) -> tuple[tuple[float, float] | None, str | None]:
    if spacing is None and recipe.assumed_spacing_mm is not None:
        return (recipe.assumed_spacing_mm, recipe.assumed_spacing_mm), "given"
    return spacing, source
