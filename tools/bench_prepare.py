"""The part of mammodet bench that measures mammodet prepare: images per second, beside decoding alone.

It imports no torch, since its functions run in worker processes too.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless
from tqdm import tqdm

from mammodet.datasets.coco import Coco, read_json, write_coco
from mammodet.datasets.dicom import open_dicom, quiet_pydicom
from mammodet.datasets.dicom_pixels import decode
from mammodet.datasets.errors import InputError
from mammodet.datasets.isolation import Casualty, map_isolated
from mammodet.datasets.phantom import PhantomConfig, write_patient
from mammodet.datasets.prepare_folder import Prepared, prepare_folder
from mammodet.datasets.standardise import Recipe

_LOADED = 24  # images that are loaded for training, which needs no more for a rate

Load = Callable[[Coco], None]  # reads every image of a COCO file as training does


@dataclass(frozen=True)
class Rate:
    """One line of the table: images per second, and how that compares with another line."""

    step: str
    images_per_second: float
    ratio: float | None = None
    of: str = ""


def measure_prepare(config: PhantomConfig, images: int, folder: Path, load: Load) -> dict[str, Any]:
    """Measure on ``images`` phantoms of ``config``, written to ``folder`` in JPEG 2000.

    Files are read from memory, as far as the machine keeps what it just wrote there. Returns the rates, and
    the mean MB of a source file and of a prepared one.
    """
    workers = os.cpu_count() or 1
    coco = _write_phantoms(config, images, folder, workers)
    paths = [coco.image_path(image) for image in coco.images]
    alone = _rate(images, partial(_decode_all, paths, 1))
    alone_all = _rate(images, partial(_decode_all, paths, workers))
    one = _rate(images, partial(_prepare, coco, folder / "one", 1))
    shutil.rmtree(folder / "one")
    out = folder / "all"
    every = _rate(images, partial(_prepare, coco, out, workers))
    again = _rate(images, partial(_prepare, coco, out, workers))
    done = _prepare(coco, out, workers)
    assert done.coco is not None
    some = {image["id"] for image in coco.images[:_LOADED]}
    source = coco.subset(some, coco.path)
    raw = _rate(len(some), partial(load, source))
    kept = _rate(len(some), partial(load, done.coco.subset(some, done.coco.path)))
    processes = f"{workers} processes"
    rates = [
        Rate("decode alone, 1 process", alone),
        Rate(f"decode alone, {processes}", alone_all, alone_all / alone, "1 process"),
        Rate("prepare, 1 process", one, one / alone, "decoding alone"),
        Rate(f"prepare, {processes}", every, every / one, "1 process"),
        Rate(f"prepare again, {processes}", again, again / every, "the first time"),
        Rate("load for training: JPEG 2000, 1 process", raw),
        Rate("load for training: prepared, 1 process", kept, kept / raw, "JPEG 2000"),
    ]
    source_mb = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
    return {"rates": rates, "source_mb": source_mb, "prepared_mb": done.bytes / images / 1e6}


def write_compressed_patient(folder: Path, config: PhantomConfig, number: int) -> None:
    """Write one patient of a phantom, with its DICOM files compressed by JPEG 2000 without loss."""
    write_patient(folder, config, number)
    for path in (folder / "images" / config.patient_id(number)).iterdir():
        data = dcmread(path)
        data.compress(JPEG2000Lossless, generate_instance_uid=False)
        data.save_as(path)


def decode_file(path: Path) -> int:
    """Decode the stored values of a DICOM file, and nothing else; return their number."""
    with quiet_pydicom():
        return decode(open_dicom(path), path).size


def _write_phantoms(config: PhantomConfig, images: int, folder: Path, workers: int) -> Coco:
    numbers = range(1, -(-images // 4) + 1)
    work = partial(write_compressed_patient, folder, config)
    _exhaust(map_isolated(work, numbers, workers=workers, limit_s=600), len(numbers), "patient")
    records: list[Any] = []
    annotations: list[Any] = []
    for number in numbers:
        for image in read_json(folder / "records" / f"{config.patient_id(number)}.json")["images"]:
            if len(records) == images:
                break
            found = image.pop("annotations")
            records.append({"id": len(records) + 1, **image})
            annotations += [
                {"id": len(annotations) + index, "image_id": len(records), **one}
                for index, one in enumerate(found, start=1)
            ]
    coco = Coco(records, annotations, folder / "coco.json")
    write_coco(coco)
    return coco


def _prepare(coco: Coco, out: Path, workers: int) -> Prepared:
    return prepare_folder(coco, Recipe(), out, workers=workers, progress=True)


def _decode_all(paths: Sequence[Path], workers: int) -> None:
    results = map(decode_file, paths) if workers == 1 else map_isolated(decode_file, paths, workers=workers)
    _exhaust(results, len(paths), "image")


def _exhaust(results: Iterable[Any], total: int, unit: str) -> None:
    for result in tqdm(results, total=total, unit=unit):
        if isinstance(result, Casualty):
            raise InputError("a process died, most likely because memory ran out", field="--prepare")


def _rate(images: int, work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)
