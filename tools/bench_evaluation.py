"""The part of mammodet bench that measures evaluation: all metrics with intervals, beside pycocotools.

    python -m mammodet.tools.bench_evaluation '{"work": "all", "images": 5000}'   # as measure_evaluation does

Each row runs in a process of its own that imports no torch, so that its peak is that of the evaluation.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord
from mammodet.evaluation.coco_intervals import coco_intervals
from mammodet.evaluation.detection_metrics import match_boxes
from mammodet.evaluation.fusion import patients_of_images
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate, resamples_of

RESAMPLES = 1000
IMAGES = 5000
_BOXES_PER_IMAGE = 100  # predictions, as a detector with a low threshold writes them
_LESIONS_PER_IMAGE, _NEAR_A_LESION = 2, 3
_FINDINGS, _VENDORS = ("mass", "calcification", "distortion", "asymmetry"), ("A", "B", "C")


@dataclass(frozen=True)
class EvaluationRow:
    """One line of the table.

    ``processor_seconds`` adds up the cores and says more than ``seconds`` on a machine that others use.
    ``peak_gib`` is of the whole process, data included, None where not measured.
    """

    step: str
    seconds: float
    processor_seconds: float
    peak_gib: float | None


def measure_evaluation(images: int, tell: Callable[[EvaluationRow], None]) -> list[EvaluationRow]:
    """Measure on ``images`` made-up images of 100 boxes each; ``tell`` gets each row when it is there."""
    rows: list[EvaluationRow] = []

    def add(step: str, measured: tuple[float, float, float | None]) -> None:
        rows.append(EvaluationRow(step, *measured))
        tell(rows[-1])

    once = _in_own_process("pycocotools", images)
    add("pycocotools, the twelve numbers once, no intervals", once)
    add(f"{RESAMPLES:,} times that (computed)", (RESAMPLES * once[0], RESAMPLES * once[1], None))
    add(f"the twelve numbers of every class, {RESAMPLES:,} resamples", _in_own_process("coco", images))
    add(f"all metrics and subgroups, {RESAMPLES:,} resamples", _in_own_process("all", images))
    return rows


def tell_evaluation(row: EvaluationRow) -> None:
    """Say on stderr what was measured, for such a row takes a while."""
    tqdm.write(f"{row.step}: {row.seconds:.1f} s, processor {row.processor_seconds:.1f} s", file=sys.stderr)


def made_up_results(images: int) -> tuple[Coco, list[dict[str, Any]]]:
    """Return a COCO file of ``images`` with two lesions and 100 predictions each, four images a patient."""
    rng = np.random.default_rng(0)
    records: list[ImageRecord] = []
    annotations: list[AnnotationRecord] = []
    results: list[dict[str, Any]] = []
    for number in range(1, images + 1):
        patient, view = divmod(number - 1, 4)
        record: ImageRecord = {"id": number, "file_name": f"{number}.dcm", "width": 3328, "height": 4096}
        record |= {"patient_id": str(patient), "laterality": "LR"[view // 2], "view": ("CC", "MLO")[view % 2]}
        record |= {"spacing_mm": [0.07, 0.07], "density": "ABCD"[patient % 4]}
        record["manufacturer"] = _VENDORS[patient % 3]
        normal = patient // 4 % 2  # so that every density and vendor has both
        record["label"] = "normal" if normal else None
        records.append(record)
        true = rng.uniform([0, 0, 20, 20], [3000, 3800, 400, 400], (_LESIONS_PER_IMAGE, 4))
        boxes = rng.uniform([0, 0, 20, 20], [3000, 3800, 400, 400], (_BOXES_PER_IMAGE, 4))
        scores = rng.beta(1, 4, _BOXES_PER_IMAGE)
        if not normal:
            near = np.repeat(true, _NEAR_A_LESION, axis=0)
            near[:, :2] += near[:, 2:] * rng.normal(0, 0.08, (len(near), 2))
            near[:, 2:] *= rng.normal(1, 0.1, (len(near), 2))
            boxes[: len(near)] = near
            scores[: len(near)] = rng.beta(3, 2, len(near))
        for box in () if normal else true:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(rng.integers(1, 3)),
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                    "finding": _FINDINGS[len(annotations) % len(_FINDINGS)],
                }
            )
        classes = rng.integers(1, 3, _BOXES_PER_IMAGE).tolist()
        results += [
            {"image_id": number, "category_id": category, "bbox": box, "score": score}
            for category, box, score in zip(classes, boxes.tolist(), scores.tolist(), strict=True)
        ]
    return Coco(records, annotations, Path("made-up.json")), results


def _in_own_process(work: str, images: int) -> tuple[float, float, float | None]:
    words = [sys.executable, "-m", __spec__.name, json.dumps({"work": work, "images": images})]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    seconds, processor_seconds, peak = json.loads(done.stdout)
    return seconds, processor_seconds, peak


def _work(name: str, coco: Coco, results: list[dict[str, Any]]) -> None:
    bootstrap = Bootstrap(RESAMPLES)
    if name == "pycocotools":
        match_boxes(coco, results, "pycocotools").numbers()
    elif name == "coco":
        matched = match_boxes(coco, results)
        matched.numbers()
        coco_intervals(matched, patients_of_images(coco), resamples_of(coco, bootstrap))
    else:
        evaluate(coco, results, Protocol(), Options(bootstrap))


def _peak_gib() -> float | None:
    """Return the most memory that this process had; ru_maxrss would tell that of its parent too."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM")), None)


def _main(words: dict[str, Any]) -> None:
    coco, results = made_up_results(words["images"])
    start, used = time.perf_counter(), time.process_time()
    _work(words["work"], coco, results)
    print(json.dumps([time.perf_counter() - start, time.process_time() - used, _peak_gib()]))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
