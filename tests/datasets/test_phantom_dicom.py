"""The phantom's files as other programs see them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_voi_lut

from mammodet.datasets.phantom_dicom import Acquisition, write_mammogram


def acquisition(side: str = "L", view: str = "CC", inverted: bool = False) -> Acquisition:
    return Acquisition("PHANTOM-1-0001", 55, side, view, 0.3, 52.0, inverted, ("test",))


def picture() -> np.ndarray:
    pixels = np.zeros((40, 30), np.float32)
    pixels[5:35, :20] = np.random.default_rng(0).uniform(0.01, 1, (30, 20)).astype(np.float32)
    return pixels


@pytest.mark.parametrize("inverted", [False, True])
def test_window_and_inversion_give_the_pixels_back(tmp_path: Path, inverted: bool) -> None:
    pixels = picture()
    write_mammogram(tmp_path / "a.dcm", pixels, acquisition(inverted=inverted))
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert dataset.PhotometricInterpretation == ("MONOCHROME1" if inverted else "MONOCHROME2")
    assert dataset.PresentationLUTShape == ("INVERSE" if inverted else "IDENTITY")
    assert dataset.pixel_array.max() <= 4095
    shown = apply_voi_lut(dataset.pixel_array, dataset) / 4095.0
    shown = 1 - shown if inverted else shown
    assert np.abs(shown - pixels).max() < 3e-4  # half a code of 3200


@pytest.mark.parametrize(
    ("side", "view", "orientation", "code"),
    [
        ("L", "CC", ["A", "R"], "399162004"),
        ("R", "CC", ["P", "L"], "399162004"),
        ("L", "MLO", ["A", "FR"], "399368009"),
        ("R", "MLO", ["P", "FL"], "399368009"),
    ],
)
def test_header_tells_side_and_view(
    tmp_path: Path, side: str, view: str, orientation: list[str], code: str
) -> None:
    write_mammogram(tmp_path / "a.dcm", picture(), acquisition(side, view))
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert (dataset.ImageLaterality, dataset.ViewPosition) == (side, view)
    assert list(dataset.PatientOrientation) == orientation
    assert dataset.ViewCodeSequence[0].CodeValue == code
    assert list(dataset.ImagerPixelSpacing) == [0.3, 0.3]


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        write_mammogram(tmp_path / name, picture(), acquisition())
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_images_of_a_patient_share_the_study_alone() -> None:
    one, other = acquisition("L", "CC"), acquisition("L", "MLO")
    assert one.study_uid == other.study_uid
    assert len({one.study_uid, one.series_uid, other.series_uid, one.sop_uid, other.sop_uid}) == 5


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_dciodvfy_finds_no_error(tmp_path: Path, view: str, inverted: bool) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("dciodvfy is not on PATH; CI installs it with the Debian package dicom3tools")
        pytest.skip("dciodvfy is not on PATH (Debian package dicom3tools)")
    write_mammogram(tmp_path / "a.dcm", picture(), acquisition("R", view, inverted))
    done = subprocess.run([program, str(tmp_path / "a.dcm")], capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert lines[0] == "MammographyImageForPresentation"
    # ViewPosition CC and MLO are defined terms of the mammography module; the program knows those of general X-ray.
    assert [line for line in lines[1:] if "View Position" not in line] == []
    assert not any(line.startswith("Error") for line in lines)
