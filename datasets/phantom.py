"""Synthetic screening mammograms with known lesions, written as DICOM and COCO ground truth.

Nothing of a phantom comes from a patient. It serves the demo, the tests and the benchmarks: a set that anyone
may have, whose truth is known to the pixel. The files of patient k of seed S are the same bytes on every run,
with any number of workers and in a set of any size.

    OUT/coco.json                       the ground truth, following the COCO profile
    OUT/images/PHANTOM-0-0001/L_CC.dcm  four images per patient
    OUT/records/PHANTOM-0-0001.json     what is in them; written when all four are whole
    OUT/phantom.json                    the configuration that wrote them
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from mammodet.datasets.atomic import atomic_path, write_json
from mammodet.datasets.coco import BENIGN, MALIGNANT, Coco, read_json, write_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.masks import mask_to_bbox, mask_to_rle
from mammodet.datasets.phantom_config import SIDES, VIEWS, PhantomConfig
from mammodet.datasets.phantom_dicom import MANUFACTURER, Acquisition, write_mammogram
from mammodet.datasets.phantom_view import Patient, RenderedLesion, plan_patient, render_view

__all__ = ["PhantomConfig", "plan_patient", "render_view", "write_phantom"]

# Part of every UID and of phantom.json: raise it when the pixels of a seed change.
RENDERING = 1


def write_phantom(
    out: str | os.PathLike[str], config: PhantomConfig, workers: int | None = None, progress: bool = True
) -> Path:
    """Write a phantom set to the folder ``out`` and return the path of its ``coco.json``.

    A set that was interrupted goes on: patients that are whole are kept. A set can also be made larger.

    Parameters
    ----------
    workers:
        How many processes render; None is one per core. 1 renders in this process.
    progress:
        Whether to show a progress bar on stderr, in images.

    Raises
    ------
    InputError
        When ``out`` holds the phantom of another configuration or something else, or memory ran out.
    """
    out = Path(out)
    _claim(out, config)
    numbers = range(1, config.patients + 1)
    finished = {number for number in numbers if _is_whole(out, config.patient_id(number))}
    missing = [number for number in numbers if number not in finished]
    per_patient = len(SIDES) * len(VIEWS)
    with tqdm(
        total=config.patients * per_patient,
        initial=len(finished) * per_patient,
        unit="image",
        disable=not progress,
        desc="phantom",
    ) as bar:
        for _ in _rendered(out, config, missing, workers or os.cpu_count() or 1):
            bar.update(per_patient)
    return write_coco(_collect(out, config))


def write_patient(out: Path, config: PhantomConfig, number: int) -> None:
    """Render and write the images of one patient, counted from 1, and then its record."""
    patient = plan_patient(config, number)
    patient_id = config.patient_id(number)
    record: dict[str, Any] = {"files": {}, "images": []}
    for side in SIDES:
        for view in VIEWS:
            name = f"images/{patient_id}/{side}_{view}.dcm"
            image = _write_view(out / name, config, patient, side, view)
            record["images"].append({"file_name": name, **image})
            record["files"][name] = _digest(out / name)
    write_json(_record_path(out, patient_id), record)


def _write_view(path: Path, config: PhantomConfig, patient: Patient, side: str, view: str) -> dict[str, Any]:
    """Write one image; return its COCO record without id, with its annotations under ``annotations``."""
    rendered = render_view(config, patient, side, view)
    patient_id = config.patient_id(patient.number)
    acquisition = Acquisition(
        patient_id=patient_id,
        age=patient.age,
        side=side,
        view=view,
        spacing_mm=config.spacing_mm,
        thickness_mm=rendered.thickness_mm,
        inverted=patient.number % 2 == 0,
        entropy=(
            "mammodet phantom",
            str(RENDERING),
            *(f"{k}={v!r}" for k, v in config.fingerprint().items()),
        ),
    )
    with atomic_path(path) as temporary:
        write_mammogram(temporary, rendered.pixels, acquisition)
    pathologies = {one.lesion.pathology for one in rendered.lesions}
    label = "malignant" if "malignant" in pathologies else "benign" if pathologies else "normal"
    breast_id = f"{patient_id}-{side}"
    return {
        "width": config.width,
        "height": config.height,
        "patient_id": patient_id,
        "study_id": f"{patient_id}-1",
        "breast_id": f"{patient_id}-1-{side}",
        "laterality": side,
        "view": view,
        "spacing_mm": [config.spacing_mm, config.spacing_mm],
        "density": patient.density,
        "age": patient.age,
        "manufacturer": MANUFACTURER,
        "dataset": "phantom",
        "split": None,
        "label": label,
        "sop_instance_uid": str(acquisition.sop_uid),
        "annotations": [_annotation(one, breast_id) for one in rendered.lesions],
    }


def _annotation(rendered: RenderedLesion, breast_id: str) -> dict[str, Any]:
    lesion = rendered.lesion
    return {
        "category_id": MALIGNANT if lesion.pathology == "malignant" else BENIGN,
        "bbox": mask_to_bbox(rendered.mask),
        "area": float(rendered.mask.sum()),
        "iscrowd": 0,
        "segmentation": mask_to_rle(rendered.mask),
        "finding": lesion.finding,
        "lesion_id": f"{breast_id}-{lesion.number}",
        "pathology": lesion.pathology,
        "birads": None,
        "subtype": {"morphology": lesion.morphology},
        "geometry_source": "mask",
        "provenance": {"behind_nipple_mm": round(lesion.centre[0], 2)},
    }


def _collect(out: Path, config: PhantomConfig) -> Coco:
    """Join the records of all patients; ids count from 1 in the order of the patients."""
    images: list[Any] = []
    annotations: list[Any] = []
    for number in range(1, config.patients + 1):
        for image in read_json(_record_path(out, config.patient_id(number)))["images"]:
            found = image.pop("annotations")
            images.append({"id": len(images) + 1, **image})
            annotations += [
                {"id": len(annotations) + index, "image_id": len(images), **one}
                for index, one in enumerate(found, start=1)
            ]
    info = {
        "description": "mammodet phantom: synthetic mammograms, no patient's data",
        "phantom": {"patients": config.patients, **config.fingerprint()},
    }
    return Coco(images, annotations, out / "coco.json", info=info)


def _claim(out: Path, config: PhantomConfig) -> None:
    """Note which configuration writes to ``out``; refuse a folder of another one or of somebody else."""
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", file=out, remedy="name a new folder")
    note = out / "phantom.json"
    mine = {"rendering": RENDERING, **config.fingerprint()}
    if note.exists():
        theirs = read_json(note)
        if not isinstance(theirs, dict):
            raise InputError("is no phantom's configuration", file=note, remedy="write to a new folder")
        for key, value in mine.items():
            if theirs.get(key) != value:
                problem = f"this folder's phantom was written with another value than {value!r}"
                remedy = "give that value, or write to a new folder"
                raise InputError(problem, file=note, field=key, value=theirs.get(key), remedy=remedy)
    elif out.is_dir() and any(out.iterdir()):
        raise InputError("is not empty and holds no phantom", file=out, remedy="write to a new folder")
    else:
        write_json(note, mine)


def _record_path(out: Path, patient_id: str) -> Path:
    return out / "records" / f"{patient_id}.json"


def _is_whole(out: Path, patient_id: str) -> bool:
    """Whether the record of a patient is there and all its files are what it says."""
    path = _record_path(out, patient_id)
    if not path.exists():
        return False
    try:
        files = read_json(path)["files"]
        return all(_digest(out / name) == digest for name, digest in files.items())
    except (InputError, OSError, TypeError, KeyError, AttributeError):
        return False  # rendered anew, which mends it


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rendered(out: Path, config: PhantomConfig, numbers: list[int], workers: int) -> Iterator[None]:
    """Write these patients, yielding after each."""
    work = partial(write_patient, out, config)
    if min(workers, len(numbers)) <= 1:
        for number in numbers:
            work(number)
            yield
        return
    with _pool(min(workers, len(numbers))) as pool:
        futures: list[Future[None]] = [pool.submit(work, number) for number in numbers]
        for future in as_completed(futures):
            future.result()
            yield


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, because a fork of a process with threads (torch, a notebook) may hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield pool
    except BrokenProcessPool:
        raise InputError(
            "a worker died, most likely because memory ran out",
            field="workers",
            value=workers,
            remedy="give fewer workers; what is finished is kept",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # one core each
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is killed, which tells no worker to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
