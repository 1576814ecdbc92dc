"""Synthetic DICOM mammograms for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

JPEG = "1.2.840.10008.1.2.4."
NOT_COMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}


def encode_frame(values: np.ndarray, syntax: str, bits: int, **options: Any) -> bytes:
    """Compress an image by transfer syntax; by other encoders than the decoders' own where there are some."""
    patterns = values.view(f"u{values.itemsize}") & np.array(2**bits - 1, f"u{values.itemsize}")
    if syntax in {JPEG + "50", JPEG + "51"}:
        return bytes(imagecodecs.jpeg8_encode(patterns, bitspersample=bits, **{"level": 95, **options}))
    if syntax in {JPEG + "57", JPEG + "70"}:
        return bytes(imagecodecs.jpeg8_encode(patterns, bitspersample=bits, lossless=True, **options))
    if syntax == JPEG + "81":
        return bytes(imagecodecs.jpegls_encode(patterns, **{"level": 2, **options}))
    if syntax == JPEG + "91":
        lossy = {"level": 50, "reversible": False, "codecformat": "j2k", "bitspersample": bits}
        return bytes(imagecodecs.jpeg2k_encode(values, **lossy | options))
    if syntax in {JPEG + "201", JPEG + "202", JPEG + "203"}:
        encode = getattr(imagecodecs, "htj2k_encode", None)
        if encode is None:
            pytest.skip("this imagecodecs writes no HTJ2K")
        return bytes(encode(values, **options))
    if syntax == "1.2.840.10008.1.2.1.98":
        return values.tobytes()
    data = Dataset()  # RLE by pydicom, JPEG-LS by pyjpegls, JPEG 2000 by pylibjpeg-openjpeg
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = *values.shape, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * values.itemsize, bits, bits - 1
    data.PixelRepresentation = int(np.issubdtype(values.dtype, np.signedinteger))
    data.PixelData = values.tobytes()
    data.compress(UID(syntax), generate_instance_uid=False)
    return next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))


class DicomMaker:
    """Writes DICOM mammograms of a 12-bit breast, 96 x 80 pixels: half an ellipse of 1000 to 3000 on air of 50."""

    encode = staticmethod(encode_frame)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows, columns = np.mgrid[:96, :80]
        self.inside = (columns / 50) ** 2 + ((rows - 48) / 44) ** 2 < 1
        texture = np.random.default_rng(0).normal(0, 60, self.inside.shape)
        tissue = 1000 + 40 * (50 - columns) + texture
        self.breast = np.where(self.inside, tissue, 50).clip(0, 4095).astype(np.uint16)

    def __call__(
        self,
        values: np.ndarray | None = None,
        *,
        syntax: str = ExplicitVRLittleEndian,
        name: str = "a.dcm",
        frame: bytes | None = None,
        fragments: int = 1,
        **tags: Any,
    ) -> Path:
        """Write ``values`` (the breast by default); further keywords set elements, or delete them by None.

        ``frame`` takes the place of the compressed values.
        """
        values = self.breast if values is None else values
        path = self.folder / name
        data = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=bytes(128))
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.3.4"
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.Modality, data.PatientID, data.StudyInstanceUID = "MG", "P7", "1.2.3"
        data.PatientName, data.PatientBirthDate, data.AccessionNumber = "Smith^Jane", "19600101", "ACC99"
        data.PresentationIntentType, data.PhotometricInterpretation = "FOR PRESENTATION", "MONOCHROME2"
        data.Rows, data.Columns, data.SamplesPerPixel = *values.shape[:2], 1
        data.BitsAllocated, data.BitsStored, data.HighBit = 8 * values.itemsize, 8 * values.itemsize, 15
        data.PixelRepresentation = int(np.issubdtype(values.dtype, np.signedinteger))
        if values.dtype == np.uint16:
            data.BitsStored = 12
        data.HighBit = data.BitsStored - 1
        data.PixelData = values.tobytes()
        for keyword, value in tags.items():
            if value is None:
                delattr(data, keyword)
            else:
                setattr(data, keyword, value)
        if syntax not in NOT_COMPRESSED:
            coded = encode_frame(values, syntax, data.BitsStored) if frame is None else frame
            data.PixelData = encapsulate([coded], fragments_per_frame=fragments)
        elif syntax == ExplicitVRBigEndian:
            words = values if values.itemsize == 2 else values.view(np.uint16)  # OW turns pairs of bytes
            data.PixelData = words.byteswap().tobytes()
        data.file_meta.TransferSyntaxUID = syntax
        if "PixelData" in data:
            data["PixelData"].VR = "OW" if syntax in NOT_COMPRESSED else "OB"
        pydicom.dcmwrite(path, data, enforce_file_format=True)
        return path


@pytest.fixture
def make_dicom(tmp_path: Path) -> DicomMaker:
    """Return a writer of DICOM mammograms; see ``DicomMaker``."""
    return DicomMaker(tmp_path)
