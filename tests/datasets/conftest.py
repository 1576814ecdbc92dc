"""Synthetic DICOM mammograms for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)


class DicomMaker:
    """Writes DICOM mammograms of a 12-bit breast, 96 x 80 pixels: half an ellipse of 1000 to 3000 on air of 50."""

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
        **tags: Any,
    ) -> Path:
        """Write ``values`` (the breast by default); further keywords set elements, or delete them by None."""
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
        if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
            data.compress(syntax, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            data.PixelData = values.byteswap().tobytes()
        data.file_meta.TransferSyntaxUID = syntax
        data["PixelData"].VR = "OB" if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless) else "OW"
        pydicom.dcmwrite(path, data, enforce_file_format=True)
        return path


@pytest.fixture
def make_dicom(tmp_path: Path) -> DicomMaker:
    """Return a writer of DICOM mammograms; see ``DicomMaker``."""
    return DicomMaker(tmp_path)
