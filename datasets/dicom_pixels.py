"""The pixels of a DICOM mammogram: decode -> modality LUT -> window -> padding, ready to be scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from mammodet.datasets.dicom import element, items, number, shown, text
from mammodet.datasets.dicom_bits import stored_domain
from mammodet.datasets.dicom_check import check_single_grey, frame_size, is_for_processing
from mammodet.datasets.dicom_frame import SYNTAXES, FrameLayout, decode_frame, only_frame
from mammodet.datasets.dicom_window import apply_voi
from mammodet.datasets.errors import InputError
from mammodet.datasets.intensity import Meaning, Stored, present_values
from mammodet.datasets.standardise import Recipe

_NOT_ENCAPSULATED = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
}


def decode(data: Dataset, path: Path) -> Stored:
    """Return the stored values as bit patterns, uint8 or uint16 [H, W]; signed values in two's complement.

    Raises InputError when pixels are missing, cut off, of another size than the header claims, deeper than 16
    bits, of several frames or colours, or in a compression that is not read.
    """
    syntax = _syntax(data, path)
    content = _content(data, path)
    layout = _layout(data, syntax, path)
    encapsulated = syntax not in _NOT_ENCAPSULATED
    if not encapsulated and data["PixelData"].is_undefined_length:
        raise InputError(
            "says that pixels are not compressed, yet they are in fragments like compressed ones",
            file=path,
            field="(0002,0010) Transfer Syntax UID",
            value=f"{syntax.name} {syntax}",
            remedy="export the file again",
        )
    if not encapsulated and len(content) < layout.bytes:
        raise InputError(
            f"is cut off: {len(content)} of {layout.bytes} bytes are there",
            file=path,
            field="(7FE0,0010) Pixel Data",
            remedy="fetch the file again",
        )
    try:
        return decode_frame(only_frame(content) if encapsulated else content, syntax, layout)
    except Exception as error:  # decoders raise RuntimeError, ValueError, MemoryError, their own ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"pixels cannot be decoded ({reason})",
            file=path,
            field="(0002,0010) Transfer Syntax UID",
            value=f"{syntax.name} {syntax}",
            remedy="fetch the file again",
        ) from None


def meaning_of(data: Dataset, stored: Stored, recipe: Recipe, path: Path) -> tuple[Meaning, tuple[str, ...]]:
    """Return what the bit patterns of ``decode`` mean after modality LUT and window, and notes.

    A raw image gets the look of one for presentation. Raises InputError for a window that the file does not
    have.
    """
    raw = is_for_processing(data)
    present = present_values(stored) > 0
    domain = stored_domain(data, present)
    valid = ~_padding(data, domain.values)
    notes = list(domain.notes)
    values = _modality(data, domain.values, notes)
    if raw:
        values, inverted = _present(data, values, present, notes)
        return Meaning(values, valid, (float(values.min()), float(values.max())), inverted), tuple(notes)
    values, full, voi_notes = apply_voi(data, values, present & valid, recipe.voi, path)
    if full is None:
        scale = (domain.values >= domain.scale[0]) & (domain.values <= domain.scale[1])
        full = (float(values[scale].min()), float(values[scale].max()))
    inverted = text(data, "PhotometricInterpretation") == "MONOCHROME1"
    # Either of the two asks for the inversion, and files that carry both ask for it once.
    inverted |= (text(data, "PresentationLUTShape") or "").upper() == "INVERSE"
    return Meaning(values, valid, full, inverted), (*notes, *voi_notes)


def _layout(data: Dataset, syntax: UID, path: Path) -> FrameLayout:
    """Read what the header claims about the frame; raises InputError for claims that cannot be met."""
    width, height = frame_size(data, path)
    check_single_grey(data, path)
    bits = int(number(data, "BitsAllocated") or 0)
    if bits not in {8, 16}:
        raise InputError(
            "must be 8 or 16",
            file=path,
            field="(0028,0100) Bits Allocated",
            value=shown(bits),
            remedy="mammograms have 8 or 16 bits; export the image again",
        )
    signed = number(data, "PixelRepresentation") == 1
    words = data.get_item("PixelData").VR == "OW"
    return FrameLayout(width, height, bits, signed, syntax == ExplicitVRBigEndian, words)


def _syntax(data: Dataset, path: Path) -> UID:
    told = text(getattr(data, "file_meta", Dataset()), "TransferSyntaxUID")
    if told is None:
        # Implicit VR Little Endian is the default (PS3.5 10.1); pydicom tells big endian from the tags.
        return ExplicitVRBigEndian if data.original_encoding[1] is False else ImplicitVRLittleEndian
    syntax = UID(told)
    if not syntax.is_private and syntax.is_transfer_syntax and syntax in SYNTAXES:
        return syntax
    standard = not syntax.is_private and syntax.is_transfer_syntax
    raise InputError(
        "is not read" if standard else "is unknown",
        file=path,
        field="(0002,0010) Transfer Syntax UID",
        value=f"{syntax.name} {syntax}" if standard else shown(told),
        remedy="export the file uncompressed, or as JPEG Lossless, JPEG-LS or JPEG 2000",
    )


def _content(data: Dataset, path: Path) -> bytes:
    content = element(data, "PixelData")
    if isinstance(content, bytes) and content:
        return content
    raise InputError(
        "is missing or empty",
        file=path,
        field="(7FE0,0010) Pixel Data",
        value=f"modality {shown(text(data, 'Modality')) or 'unknown'}",
        remedy="it is no image, or it is cut off; leave it out or fetch it again",
    )


def _padding(data: Dataset, domain: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stored values are padding (PS3.3 C.7.5.1.1.2), before any rescaling."""
    value = number(data, "PixelPaddingValue")
    if value is None:
        return np.zeros(domain.size, dtype=bool)
    limit = number(data, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    # Padding is sometimes written with the other sign: -2000 as 63536, or, of unsigned pixels, 65535 as -1.
    turned = np.where(domain < 0, domain + domain.size, domain - domain.size)
    return ((domain >= low) & (domain <= high)) | ((turned >= low) & (turned <= high))


def _modality(data: Dataset, domain: NDArray[np.int64], notes: list[str]) -> NDArray[np.float64]:
    if items(data, "ModalityLUTSequence"):
        try:
            looked_up = np.asarray(apply_modality_lut(domain, data), dtype=np.float64)
        except Exception:  # pydicom raises AttributeError, IndexError, ValueError ...
            looked_up = np.empty(0)
        if looked_up.shape == domain.shape:
            return looked_up
        notes.append("(0028,3000) Modality LUT Sequence is broken: ignored")
    slope, intercept = number(data, "RescaleSlope"), number(data, "RescaleIntercept") or 0.0
    if slope == 0:
        notes.append("(0028,1053) Rescale Slope is 0: ignored")
        slope = None
    rescaled = domain * (1.0 if slope is None else slope) + intercept
    # Where numbers are that large or small, differences between grey values drown.
    if 1e-9 < np.ptp(rescaled) < 1e30 and np.abs(rescaled).max() < 1e12 * np.ptp(rescaled):
        return np.asarray(rescaled, dtype=np.float64)
    notes.append("(0028,1053) Rescale Slope and (0028,1052) Rescale Intercept are senseless: ignored")
    return domain.astype(np.float64)


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
