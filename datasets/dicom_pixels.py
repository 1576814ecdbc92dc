"""The pixels of a DICOM mammogram: decode -> modality LUT -> window -> padding, ready to be scaled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import UID, ImplicitVRLittleEndian

from mammodet.datasets.dicom import element, items, number, text
from mammodet.datasets.dicom_window import apply_voi
from mammodet.datasets.errors import InputError
from mammodet.datasets.intensity import Meaning, Stored, present_values
from mammodet.datasets.jpeg_stream import check_jpeg
from mammodet.datasets.raster import check_size
from mammodet.datasets.standardise import Recipe

_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"  # Digital Mammography X-Ray Image Storage - For Processing
# Which of pydicom's plugins decodes what. gdcm reads most of it as well, but damaged JPEG-LS and JPEG 2000
# data make it abort the whole process, where the others raise.
_PLUGINS: Mapping[str, tuple[str, str]] = {  # transfer syntax: plugin, package
    "1.2.840.10008.1.2.4.51": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.57": ("gdcm", "python-gdcm"),
    "1.2.840.10008.1.2.4.70": ("gdcm", "python-gdcm"),
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "pyjpegls"),
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "pyjpegls"),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.202": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.5": ("pydicom", ""),
}


def decode(data: Dataset, path: Path) -> Stored:
    """Return the stored values as bit patterns, uint8 or uint16 [H, W]; signed values in two's complement.

    Raises InputError when pixels are missing, cut off, of another size than the header claims, deeper than 16
    bits, or in a compression that no installed decoder reads.
    """
    _check_claims(data, path)
    syntax = data.file_meta.TransferSyntaxUID
    plugin, package = _PLUGINS.get(syntax, ("", ""))
    try:
        if plugin == "gdcm":
            frame = next(generate_frames(data.PixelData, number_of_frames=1))
            check_jpeg(frame, int(data.Columns), int(data.Rows))
        values = pixel_array(data, decoding_plugin=plugin)
    except Exception as error:  # decoders raise RuntimeError, ValueError, AttributeError, their own ...
        decoder = f"check that {package} is installed, or " if package else ""
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"pixels cannot be decoded ({reason})",
            file=path,
            field="(0002,0010) Transfer Syntax UID",
            value=f"{syntax.name} {syntax}",
            remedy=f"{decoder}fetch the file again",
        ) from None
    if values.ndim != 2 or values.shape != (int(data.Rows), int(data.Columns)):
        problem = f"pixels are not the {data.Rows} x {data.Columns} that the header claims"
        raise InputError(problem, file=path, value=values.shape, remedy="fetch the file again")
    # pydicom hands out big-endian files as they are, and views would swap their bytes.
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    return values.view(np.uint8) if values.dtype.itemsize == 1 else values.view(np.uint16)


def meaning_of(data: Dataset, stored: Stored, recipe: Recipe, path: Path) -> tuple[Meaning, tuple[str, ...]]:
    """Return what the bit patterns of ``decode`` mean after modality LUT and window, and notes.

    Raises InputError for FOR PROCESSING images unless the recipe allows them, and for a window that the file
    does not have.
    """
    raw = _is_for_processing(data)
    if raw and not recipe.allow_for_processing:
        raise InputError(
            "is a raw image FOR PROCESSING",
            file=path,
            field="(0008,0068) Presentation Intent Type",
            remedy="give the FOR PRESENTATION image, or set allow_for_processing in the recipe",
        )
    patterns = np.arange(256 if stored.dtype == np.uint8 else 65536)
    signed = number(data, "PixelRepresentation") == 1
    domain = patterns - patterns.size * (signed & (patterns >= patterns.size // 2))
    valid = ~_padding(data, domain)
    notes: list[str] = []
    values = _modality(data, domain, notes)
    if raw:
        values, inverted = _present(data, values, present_values(stored) > 0, notes)
        return Meaning(values, valid, (float(values.min()), float(values.max())), inverted), tuple(notes)
    seen = (present_values(stored) > 0) & valid
    values, full, voi_notes = apply_voi(data, values, seen, recipe.voi, path)
    if full is None:
        depth = int(number(data, "BitsStored") or 16)
        scale = (domain >= -(2 ** (depth - 1))) & (domain < 2 ** (depth - 1)) if signed else domain < 2**depth
        full = (float(values[scale].min()), float(values[scale].max()))
    inverted = text(data, "PhotometricInterpretation") == "MONOCHROME1"
    # Either of the two asks for the inversion, and files that carry both ask for it once.
    inverted |= (text(data, "PresentationLUTShape") or "").upper() == "INVERSE"
    return Meaning(values, valid, full, inverted), (*notes, *voi_notes)


def _check_claims(data: Dataset, path: Path) -> None:
    rows, columns = number(data, "Rows"), number(data, "Columns")
    if rows is None or columns is None or not element(data, "PixelData"):
        missing = "(7FE0,0010) Pixel Data" if rows and columns else "(0028,0010) Rows, (0028,0011) Columns"
        kind = text(data, "Modality") or "unknown"
        remedy = "it is no image, or it is cut off; leave it out or fetch it again"
        raise InputError(
            "is missing or empty", file=path, field=missing, value=f"modality {kind}", remedy=remedy
        )
    check_size(int(columns), int(rows), path)
    bits = int(number(data, "BitsAllocated") or 0)
    if bits not in {8, 16}:
        raise InputError(
            "must be 8 or 16",
            file=path,
            field="(0028,0100) Bits Allocated",
            value=bits,
            remedy="mammograms have 8 or 16 bits; export the image again",
        )
    # Implicit VR Little Endian is the default of DICOM (PS3.5 10.1).
    syntax = UID(text(data.file_meta, "TransferSyntaxUID") or ImplicitVRLittleEndian)
    data.file_meta.TransferSyntaxUID = syntax
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise InputError(
            "is unknown",
            file=path,
            field="(0002,0010) Transfer Syntax UID",
            value=str(syntax),
            remedy="export the file with a transfer syntax of the DICOM standard",
        )
    expected = int(rows) * int(columns) * bits // 8
    if not syntax.is_encapsulated and len(data.PixelData) < expected:
        raise InputError(
            f"is cut off: {len(data.PixelData)} of {expected} bytes are there",
            file=path,
            field="(7FE0,0010) Pixel Data",
            remedy="fetch the file again",
        )


def _is_for_processing(data: Dataset) -> bool:
    intent = (text(data, "PresentationIntentType") or "").upper()
    return intent == "FOR PROCESSING" or (not intent and text(data, "SOPClassUID") == _FOR_PROCESSING)


def _padding(data: Dataset, domain: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stored values are padding (PS3.3 C.7.5.1.1.2), before any rescaling."""
    value = number(data, "PixelPaddingValue")
    if value is None:
        return np.zeros(domain.size, dtype=bool)
    limit = number(data, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    # Signed padding is sometimes written as unsigned: -2000 as 63536.
    wrapped = domain + domain.size
    return ((domain >= low) & (domain <= high)) | ((domain < 0) & (wrapped >= low) & (wrapped <= high))


def _modality(data: Dataset, domain: NDArray[np.int64], notes: list[str]) -> NDArray[np.float64]:
    if items(data, "ModalityLUTSequence"):
        try:
            return np.asarray(apply_modality_lut(domain, data), dtype=np.float64)
        except Exception as error:
            notes.append(f"(0028,3000) Modality LUT Sequence is broken and was ignored ({error})")
    slope, intercept = number(data, "RescaleSlope"), number(data, "RescaleIntercept")
    if slope == 0:
        notes.append("(0028,1053) Rescale Slope is 0: ignored")
        slope = None
    return domain.astype(np.float64) * (1.0 if slope is None else slope) + (intercept or 0.0)


def _present(
    data: Dataset, values: NDArray[np.float64], seen: NDArray[np.bool_], notes: list[str]
) -> tuple[NDArray[np.float64], bool]:
    """Give a raw image the look of one for presentation: the logarithm of the signal, dense tissue bright."""
    notes.append("FOR PROCESSING: logarithm and inversion applied, no vendor's processing")
    relationship = (text(data, "PixelIntensityRelationship") or "LIN").upper()
    # PS3.3 C.8.11.3.1.2: sign 1 = lower values are less X-ray intensity, so dense tissue is dark.
    dense_is_dark = (number(data, "PixelIntensityRelationshipSign") or 1) > 0
    if relationship == "LOG":
        return values, dense_is_dark
    # The logarithm of the signal is the attenuation; only negative values have to be lifted for it.
    lowest = min(0.0, float(values[seen].min()))
    attenuation: NDArray[np.float64] = np.log1p(np.maximum(values - lowest, 0))
    return attenuation, dense_is_dark
