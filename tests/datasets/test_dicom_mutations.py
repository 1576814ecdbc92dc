"""Mutated DICOM files: each is read or rejected with a reason, by a process that survives them all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

SCRIPT = Path(__file__).with_name("dicom_mutations.py")
ROOT = "1.2.840.10008.1.2"
SYNTAXES = {
    "implicit": ROOT,
    "explicit": f"{ROOT}.1",
    "big_endian": f"{ROOT}.2",
    "deflated": f"{ROOT}.1.99",
    "encapsulated": f"{ROOT}.1.98",
    "rle": f"{ROOT}.5",
    **{f"syntax_{one}": f"{ROOT}.4.{one}" for one in (51, 57, 70, 80, 81, 90, 91, 201, 202, 203)},
}
MOST_BYTES = 4 * 2**30


def _furnished(path: Path) -> None:
    """Add what makes headers long: windows, LUTs, codes, private elements, padding, an overlay."""
    data = pydicom.dcmread(path)
    data.WindowCenter, data.WindowWidth = [2000, 1500], [2000, 500]
    data.WindowCenterWidthExplanation = ["NORMAL", "HARDER"]
    data.RescaleSlope, data.RescaleIntercept, data.VOILUTFunction = 1, 0, "SIGMOID"
    data.ImagerPixelSpacing, data.PatientAge = [0.07, 0.07], "058Y"
    data.add_new("PixelPaddingValue", "US", 0)
    data.add_new("PixelPaddingRangeLimit", "US", 30)
    lut, code, modifier = Dataset(), Dataset(), Dataset()
    lut.add_new("LUTDescriptor", "US", [256, 0, 12])
    lut.add_new("LUTData", "OW", np.linspace(0, 4095, 256).astype("<u2").tobytes())
    code.CodeValue = modifier.CodeValue = "R-10226"
    code.ViewModifierCodeSequence = [modifier]
    data.VOILUTSequence, data.ViewCodeSequence = [lut], [code]
    data.add_new((0x0009, 0x0010), "LO", "VENDOR")
    data.add_new((0x0009, 0x1001), "OB", bytes(range(256)))
    data.add_new((0x6000, 0x3000), "OW", bytes(960))
    data.save_as(path)


@pytest.fixture
def sound_files(make_dicom: Any, tmp_path: Path) -> Path:
    """Return a folder with one sound file per transfer syntax, and three of 8 bits."""
    for name, syntax in SYNTAXES.items():
        if syntax[-4:] in {".201", ".202", ".203"} and not _writes_htj2k():
            continue
        _furnished(make_dicom(syntax=syntax, name=f"{name}.dcm", ImageLaterality="R", ViewPosition="MLO"))
    eight = (make_dicom.breast // 16).astype(np.uint8)
    for name, syntax in (("jpeg_8", f"{ROOT}.4.50"), ("rle_8", f"{ROOT}.5"), ("explicit_8", f"{ROOT}.1")):
        make_dicom(eight, syntax=syntax, name=f"{name}.dcm", Modality="CR", BodyPartExamined="BREAST")
    return tmp_path


def _writes_htj2k() -> bool:
    import imagecodecs

    return hasattr(imagecodecs, "htj2k_encode")


def _run(folder: Path, seed: int, first: int, last: int) -> list[dict[str, Any]]:
    """Read mutants in a process of its own; whatever ends it is put down to the mutant it was at."""
    command = [sys.executable, str(SCRIPT), str(folder), str(seed), str(first), str(last)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    results = [line | {"done": start["done"]} for start, line in zip(lines[::2], lines[1::2], strict=False)]
    if ended.returncode:
        how = "hung" if ended.returncode == -signal.SIGALRM else f"ended with {ended.returncode}"
        assert lines, ended.stderr
        results.append({**lines[-1], "told": f"{how}: {ended.stderr[-300:]}", "seconds": 0.0, "peak": 0})
        results += _run(folder, seed, lines[-1]["index"] + 1, last)
    return results


def _judge(results: list[dict[str, Any]], count: int) -> None:
    bad = [one for one in results if one["told"] not in {"read", "rejected"}]
    assert not bad, f"{len(bad)} of {count}: " + "\n".join(str(one) for one in bad[:20])
    assert len(results) == count
    assert max(one["peak"] for one in results) < MOST_BYTES
    # Were all rejected, the test would tell nothing about decoders; were all read, nothing was mutated.
    told = Counter(one["told"] for one in results)
    assert min(told["read"], told["rejected"]) > count / 10, told


def test_sixty_mutants_are_read_or_rejected(sound_files: Path) -> None:
    _judge(_run(sound_files, 1, 0, 60), 60)


def test_the_sound_files_are_read(sound_files: Path) -> None:
    from mammodet.datasets.mammogram import read_mammogram

    for path in sorted(sound_files.glob("*.dcm")):
        assert read_mammogram(path).pixels.shape == (96, 80), path.name


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_a_thousand_mutants_are_read_or_rejected(sound_files: Path, seed: int) -> None:
    results = [one for first in range(0, 1000, 100) for one in _run(sound_files, seed, first, first + 100)]
    _judge(results, 1000)
