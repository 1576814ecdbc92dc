"""mammodet bench: how fast this machine reads and searches mammograms, beside stock torchvision.

    mammodet bench
    mammodet bench --height 4096 --width 3328 --runs 5 --out bench
    mammodet bench --prepare 200

Speeds are measured here and now, one after the other in one process, on a phantom and with random weights
(which cost what learned ones cost, but for the few boxes that come out). OUT gets bench.json and config.yaml.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mammodet.detection  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.phantom import PhantomConfig, write_patient
from mammodet.datasets.prepared import prepared_recipe
from mammodet.datasets.standardise import Recipe, standardise
from mammodet.detection.data import LesionDataset
from mammodet.detection.inference import Detector
from mammodet.detection.model import DetectorConfig, build_detector
from mammodet.detection.model_file import ModelHeader, write_model
from mammodet.tools.bench_prepare import measure_prepare
from mammodet.tools.command import run, write_config


@dataclass(frozen=True)
class Arguments:
    """Measure how fast this machine reads and searches mammograms, beside stock torchvision.

    Args:
        height: of the phantom in pixels.
        width: of the phantom in pixels.
        spacing_mm: side of its pixels.
        runs: timed runs of each step, after one that is not counted; the median is told.
        prepare: measure mammodet prepare instead, on this many phantoms in JPEG 2000.
        quick: a quarter of the pixels and one run.
        out: folder for bench.json; null writes nothing.
    """

    height: int = 4096
    width: int = 3328
    spacing_mm: float = 0.07
    runs: int = 3
    prepare: int | None = None
    quick: bool = False
    out: str | None = None

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise InputError("must be 1 or more", field="--runs", value=self.runs)
        if self.prepare is not None and self.prepare < 1:
            raise InputError("must be 1 or more", field="--prepare", value=self.prepare)


@dataclass(frozen=True)
class Row:
    """One line of the table: median seconds, and how many times faster than the peer in the same run."""

    step: str
    seconds: float
    ratio: float | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet bench`` and return its exit code."""
    return run(Arguments, bench, argv, prog="mammodet bench")


def bench(arguments: Arguments) -> int:
    """Measure, print a Markdown table, and write it when a folder is given."""
    shrink = 2 if arguments.quick else 1
    runs = 1 if arguments.quick else arguments.runs
    config = PhantomConfig(
        1,
        0,
        arguments.height // shrink,
        arguments.width // shrink,
        arguments.spacing_mm * shrink,
        lesion_rate=1,
    )
    if arguments.prepare is not None:
        return _bench_prepare(replace(config, patients=-(-arguments.prepare // 4)), arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows, size = _measure(config, runs, Path(folder))
    machine = _machine()
    print(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}; median of {runs}")
    print(f"phantom {config.width} x {config.height}, cropped to {size[1]} x {size[0]} px\n")
    print("| step | seconds | times faster |\n|---|---|---|")
    for row in rows:
        print(f"| {row.step} | {row.seconds:.3f} | {'' if row.ratio is None else f'{row.ratio:.2f}'} |")
    if arguments.out is not None:
        out = Path(arguments.out)
        write_config(arguments, out / "config.yaml")
        content = {
            "machine": machine,
            "cropped": list(size),
            "runs": runs,
            "rows": [asdict(row) for row in rows],
        }
        write_json(out / "bench.json", content)
        print(f"\nwritten: {out / 'bench.json'}")
    return 0


def _bench_prepare(config: PhantomConfig, arguments: Arguments) -> int:
    assert arguments.prepare is not None
    with tempfile.TemporaryDirectory() as folder:
        measured = measure_prepare(config, arguments.prepare, Path(folder), _load)
    machine = _machine()
    print(f"{machine['processor']}, {machine['cores']} cores")
    print(
        f"{arguments.prepare} phantoms of {config.width} x {config.height} in JPEG 2000, "
        f"{measured['source_mb']:.1f} MB each, prepared {measured['prepared_mb']:.1f} MB\n"
    )
    print("| step | images per second | ratio |\n|---|---|---|")
    for rate in measured["rates"]:
        ratio = "" if rate.ratio is None else f"{rate.ratio:.2f} of {rate.of}"
        print(f"| {rate.step} | {rate.images_per_second:.2f} | {ratio} |")
    if arguments.out is not None:
        out = Path(arguments.out)
        write_config(arguments, out / "config.yaml")
        rates = [asdict(rate) for rate in measured["rates"]]
        write_json(out / "bench.json", {"machine": machine, **measured, "rates": rates})
        print(f"\nwritten: {out / 'bench.json'}")
    return 0


def _load(coco: Coco) -> None:
    """Read every image as training does, in this process."""
    dataset = LesionDataset(coco, prepared_recipe(coco) or Recipe())
    for index in range(len(dataset)):
        dataset[index]


def _measure(config: PhantomConfig, runs: int, folder: Path) -> tuple[list[Row], tuple[int, int]]:
    write_patient(folder, config, 1)
    path = min(folder.rglob("*.dcm"))
    mammogram = read_mammogram(path)
    prepared = standardise(mammogram, Recipe())
    rows = [
        Row("read a DICOM file", _median(lambda: read_mammogram(path), runs)),
        Row("crop to the breast", _median(lambda: standardise(mammogram, Recipe()), runs)),
    ]
    stock = _median(_stock(prepared.pixels), runs)
    rows.append(Row("detect: torchvision as it comes, fp32, same pixels", stock))
    for precision in ("fp32", "bf16"):
        detector = _detector(folder, precision, prepared.pixels)
        seconds = _median(partial(detector.predict_pixels, prepared.pixels), runs)
        rows.append(Row(f"detect: mammodet, {precision}", seconds, stock / seconds))
    height, width = prepared.pixels.shape
    return rows, (height, width)


def _stock(pixels: NDArray[np.float32]) -> Callable[[], Any]:
    """Return torchvision's detector with its own defaults but for the shrinking, on the same pixels."""
    model = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        min_size=min(pixels.shape),
        max_size=max(pixels.shape),
    ).eval()
    image = torch.from_numpy(pixels)[None].expand(3, -1, -1)

    def predict() -> Any:
        with torch.inference_mode():
            return model([image])

    return predict


def _detector(folder: Path, precision: str, pixels: NDArray[np.float32]) -> Detector:
    torch.manual_seed(0)
    config = DetectorConfig(norm="frozen", image_mean=float(pixels.mean()), image_std=float(pixels.std()))
    path = folder / "model.safetensors"
    write_model(path, build_detector(config).state_dict(), ModelHeader(config, Recipe(), "random weights"))
    return Detector.load(path, device="cpu", precision=precision)


def _median(step: Callable[[], Any], runs: int) -> float:
    step()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        names = [
            line.partition(":")[2].strip()
            for line in listing.read_text().splitlines()
            if "model name" in line
        ]
        processor = names[0] if names else processor
    return {"processor": processor, "cores": os.cpu_count(), "torch": torch.__version__}


if __name__ == "__main__":
    raise SystemExit(main())
