"""One view of a phantom as a valid 12-bit MG object, For Presentation, the same bytes for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

# Tissue takes the codes 400 to 3600 of the 12 bits; the window shows just these. Air is 0.
TISSUE_LOW, TISSUE_HIGH, WHITE = 400, 3600, 4095
MANUFACTURER = "mammodet phantom"
IMPLEMENTATION_UID = generate_uid(entropy_srcs=["mammodet", "implementation"])

# SNOMED CT codes of DICOM PS3.16, context groups 4014 (view) and 4 (anatomic region).
VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
# Towards the right and the lower edge of the image (PS3.3, C.7.6.1.1.1); on a CC lateral is up.
ORIENTATION = {
    ("L", "CC"): ["A", "R"],
    ("R", "CC"): ["P", "L"],
    ("L", "MLO"): ["A", "FR"],
    ("R", "MLO"): ["P", "FL"],
}


@dataclass(frozen=True)
class Acquisition:
    """What the header of one image says. ``entropy`` decides all UIDs, ``inverted`` is MONOCHROME1."""

    patient_id: str
    age: int
    side: str
    view: str
    spacing_mm: float
    thickness_mm: float
    inverted: bool
    entropy: tuple[str, ...]

    @property
    def study_uid(self) -> UID:
        """The Study Instance UID, the same for all images of the patient."""
        return generate_uid(entropy_srcs=[*self.entropy, self.patient_id, "study"])

    @property
    def series_uid(self) -> UID:
        """The Series Instance UID: a series of its own for each image, as at most vendors."""
        return generate_uid(entropy_srcs=[*self.entropy, self.patient_id, self.side, self.view, "series"])

    @property
    def sop_uid(self) -> UID:
        """The SOP Instance UID of this image."""
        return generate_uid(entropy_srcs=[*self.entropy, self.patient_id, self.side, self.view, "image"])


def write_mammogram(path: Path, pixels: NDArray[np.float32], acquisition: Acquisition) -> None:
    """Write ``pixels`` float32 [H, W], 0 = air and 1 = white, to a DICOM file.

    MONOCHROME1 stores 4095 minus the code, with the window mirrored. No clock is read: dates are fixed.
    """
    dataset = Dataset()
    dataset.file_meta = _file_meta(acquisition)
    _add_identity(dataset, acquisition)
    _add_acquisition(dataset, acquisition)
    _add_mammography(dataset, acquisition)
    _add_pixels(dataset, pixels, acquisition.inverted)
    dcmwrite(path, dataset, enforce_file_format=True)


def _file_meta(acquisition: Acquisition) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = acquisition.sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "MAMMODET"
    return meta


def _add_identity(dataset: Dataset, acquisition: Acquisition) -> None:
    """Patient, study, series and equipment modules."""
    side, view = acquisition.side, acquisition.view
    date = "20250101"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = acquisition.sop_uid
    dataset.PatientName = acquisition.patient_id.replace("-", "^", 1)
    dataset.PatientID = acquisition.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "F"
    dataset.PatientAge = f"{acquisition.age:03d}Y"
    dataset.StudyInstanceUID = acquisition.study_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "120000"
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.StudyDescription = "Synthetic screening mammogram, not a patient"
    dataset.Modality = "MG"
    dataset.SeriesInstanceUID = acquisition.series_uid
    dataset.SeriesNumber = 1 + ["CC", "MLO"].index(view) + 2 * ["L", "R"].index(side)
    dataset.InstanceNumber = 1
    dataset.SeriesDescription = f"{side} {view}"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = MANUFACTURER
    dataset.InstitutionName = "mammodet"
    dataset.ManufacturerModelName = "phantom"
    dataset.DeviceSerialNumber = "1"
    dataset.SoftwareVersions = "1"


def _add_acquisition(dataset: Dataset, acquisition: Acquisition) -> None:
    """DX image, detector and positioning modules."""
    spacing = f"{acquisition.spacing_mm:.6g}"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.DerivationDescription = "Rendered, not acquired"
    dataset.AcquisitionNumber = 1
    dataset.KVP = "29"
    dataset.ExposureTime = "1000"
    dataset.XRayTubeCurrent = "80"
    dataset.Exposure = "80"
    dataset.AnodeTargetMaterial = "TUNGSTEN"
    dataset.FilterMaterial = "RHODIUM"
    dataset.FocalSpots = "0.3"
    dataset.Grid = ["RECIPROCATING", "FOCUSED"]
    dataset.ImagerPixelSpacing = [spacing, spacing]
    dataset.PixelSpacing = [spacing, spacing]
    dataset.PixelSpacingCalibrationType = "GEOMETRY"
    dataset.PixelSpacingCalibrationDescription = "Magnification 1"
    dataset.DetectorType = "DIRECT"
    dataset.DetectorConfiguration = "AREA"
    dataset.DetectorTemperature = None
    dataset.FieldOfViewShape = "RECTANGLE"
    dataset.FieldOfViewOrigin = ["0", "0"]
    dataset.FieldOfViewRotation = "0"
    dataset.FieldOfViewHorizontalFlip = "NO"
    dataset.DistanceSourceToDetector = "660"
    dataset.DistanceSourceToPatient = "660"
    dataset.EstimatedRadiographicMagnificationFactor = "1"
    dataset.BodyPartThickness = f"{acquisition.thickness_mm:g}"
    dataset.CompressionForce = "100"
    dataset.BodyPartExamined = "BREAST"
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.PositionerPrimaryAngle = _angle(acquisition)
    dataset.AcquisitionContextSequence = Sequence()


def _add_mammography(dataset: Dataset, acquisition: Acquisition) -> None:
    """DX anatomy and mammography image modules."""
    dataset.ImageLaterality = acquisition.side
    dataset.ViewPosition = acquisition.view
    dataset.PatientOrientation = ORIENTATION[acquisition.side, acquisition.view]
    dataset.OrganExposed = "BREAST"
    dataset.BreastImplantPresent = "NO"
    dataset.PartialView = "NO"
    view = _code(*VIEW_CODES[acquisition.view])
    view.ViewModifierCodeSequence = Sequence()
    dataset.ViewCodeSequence = Sequence([view])
    dataset.AnatomicRegionSequence = Sequence([_code("76752008", "Breast")])


def _add_pixels(dataset: Dataset, pixels: NDArray[np.float32], inverted: bool) -> None:
    codes = np.round(TISSUE_LOW + pixels * np.float32(TISSUE_HIGH - TISSUE_LOW)).astype(np.uint16)
    codes[pixels <= 0] = 0
    low, high = TISSUE_LOW, TISSUE_HIGH
    if inverted:
        codes = np.uint16(WHITE) - codes
        low, high = WHITE - TISSUE_HIGH, WHITE - TISSUE_LOW
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverted else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.QualityControlImage = "NO"
    # PS3.3 C.11.2.1.2.1: a linear window is (width - 1) / 2 to both sides of centre - 0.5.
    dataset.WindowCenter = f"{(low + high) / 2 + 0.5:g}"
    dataset.WindowWidth = f"{high - low + 1:g}"
    dataset.WindowCenterWidthExplanation = "NORMAL"
    dataset.VOILUTFunction = "LINEAR"
    dataset.PixelData = codes.astype("<u2").tobytes()


def _angle(acquisition: Acquisition) -> str:
    if acquisition.view == "CC":
        return "0"
    return "45" if acquisition.side == "R" else "-45"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item
