"""The part of mammodet bench that measures what surrounds the network: reading, cropping, scoring."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.phantom import PhantomConfig, write_patient
from mammodet.datasets.standardise import Recipe, standardise
from mammodet.evaluation import fast_coco
from mammodet.evaluation.detection_metrics import match_boxes
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate
from mammodet.tools.bench_evaluation import made_up_results
from mammodet.tools.bench_prepare import write_compressed_patient
from mammodet.tools.score import Arguments, score


@dataclass(frozen=True)
class PipelineRate:
    """One line of the table."""

    step: str
    per_second: float
    unit: str


def measure_pipeline(
    config: PhantomConfig, model: Path, images: int, folder: Path, device: str
) -> list[PipelineRate]:
    """Measure on the four views of a phantom patient, and metrics on ``images`` made-up images."""
    write_patient(folder / "plain", config, 1)
    write_compressed_patient(folder / "jpeg2000", config, 1)
    rates = []
    for name, kind in (("uncompressed", "plain"), ("JPEG 2000", "jpeg2000")):
        paths = sorted((folder / kind).rglob("*.dcm"))
        rates.append(_rate(f"read DICOM, {name}", paths, read_mammogram))
    read = [read_mammogram(path) for path in sorted((folder / "plain").rglob("*.dcm"))]
    rates.append(_rate("crop to the breast", read, lambda one: standardise(one, Recipe())))
    rates += metric_rates(images)
    arguments = Arguments(
        [str(folder / "plain")], str(model), str(folder / "scores"), device=device, precision="bf16"
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        seconds = _seconds(lambda: score(arguments))
    rates.append(PipelineRate("mammodet score, DICOM to overlays", len(read) / seconds, "images"))
    return rates


def metric_rates(images: int) -> list[PipelineRate]:
    """Measure COCO metrics by both engines, and a whole evaluation with 1,000 bootstrap resamples."""
    coco, results = made_up_results(images)
    work: dict[str, Callable[[], Any]] = {
        "COCO metrics (pycocotools)": lambda: match_boxes(coco, results, "pycocotools").numbers()
    }
    if fast_coco.available():
        work["COCO metrics (hotcoco)"] = lambda: match_boxes(coco, results, "hotcoco").numbers()
    options = Options(Bootstrap(resamples=1000))
    name = "all metrics with intervals, 1,000 resamples"
    work[name] = lambda: evaluate(coco, results, Protocol(), options)
    return [PipelineRate(step, images / _seconds(one), "images") for step, one in work.items()]


def _rate(step: str, items: list[Any], work: Callable[[Any], Any]) -> PipelineRate:
    work(items[0])
    return PipelineRate(step, len(items) / _seconds(lambda: [work(one) for one in items]), "images")


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
