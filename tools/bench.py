"""mammodet bench: how fast this machine searches mammograms at full resolution, beside stock torchvision.

    mammodet bench --out bench          # everything; minutes
    mammodet bench --quick              # half the sides, one run; about two minutes
    mammodet bench --prepare 200
    mammodet bench --patches 100000     # the patch store: balanced batches of 256
    mammodet bench --heatmap            # windows over a whole mammogram, beside their network alone
    mammodet bench --parts [memory]     # does training need what is planned? half an hour, 12 GB
    mammodet bench --parts [evaluation] # 5,000 images, 500,000 boxes, 1,000 resamples; minutes

Speeds are measured here and now, one after the other, on a phantom and with random weights (which cost what
learned ones cost, but for the few boxes that come out). Stock torchvision runs in a process of its own.
OUT gets bench.json, bench.md, waterfall.png and config.yaml.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mammodet.detection  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision
import numpy as np
import torch
from tqdm import tqdm

from mammodet.datasets.atomic import write_json, write_text
from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.phantom import PhantomConfig, write_patient
from mammodet.datasets.prepared import prepared_recipe
from mammodet.datasets.standardise import Recipe
from mammodet.detection.data import LesionDataset
from mammodet.networks.precision import choose_device
from mammodet.tools.bench_evaluation import IMAGES, measure_evaluation, tell_evaluation
from mammodet.tools.bench_figure import draw_waterfall
from mammodet.tools.bench_heatmap import heatmap_markdown, measure_heatmap
from mammodet.tools.bench_inductor import measure_inductor
from mammodet.tools.bench_inference import (
    computed_share,
    count_tflop,
    first_result_seconds,
    measure_gpu,
    measure_inference,
    write_random_model,
)
from mammodet.tools.bench_machine import Row, describe, matrix_rates
from mammodet.tools.bench_memory import measure_memory, memory_setups, tell_memory
from mammodet.tools.bench_patches import measure_patches, patches_markdown
from mammodet.tools.bench_pipeline import measure_pipeline
from mammodet.tools.bench_prepare import measure_prepare
from mammodet.tools.bench_report import markdown, prepare_markdown
from mammodet.tools.bench_stock import Pixels
from mammodet.tools.bench_training import measure_training
from mammodet.tools.command import run, write_config

WHOLE = (4096, 3328)  # height, width of a frame at 0.07 mm
CROPPED = (3328, 1408)  # of a breast
SPACING_MM = 0.07
PARTS = ("inference", "training", "pipeline")
OTHER_PARTS = ("memory", "evaluation")  # only when asked for


@dataclass(frozen=True)
class Arguments:
    """Measure how fast this machine reads and searches mammograms, beside stock torchvision.

    Args:
        parts: what to measure, of inference, training and pipeline; only when asked for: memory holds the
            memory plan of training to real steps, evaluation measures all metrics with intervals.
        runs: timed runs of each step, after one that is not counted; the median is told.
        shrink: divide the sides of all images by this.
        quick: half the sides and one run; about two minutes.
        device: cpu, cuda, or auto.
        inductor: put torch's compiler beside our own preparation too; needs a C++ compiler.
        prepare: measure mammodet prepare instead, on this many phantoms in JPEG 2000.
        patches: measure the patch store instead, with this many patches of noise.
        heatmap: measure the heatmap of a patch classifier on one mammogram instead.
        patch_size: side of the patches, and of the windows of the heatmap, in pixels.
        out: folder for bench.json, the tables and the figure; null writes nothing.
    """

    parts: tuple[str, ...] = PARTS
    runs: int = 3
    shrink: int = 1
    quick: bool = False
    device: str = "auto"
    inductor: bool = False
    prepare: int | None = None
    patches: int | None = None
    heatmap: bool = False
    patch_size: int = 112
    out: str | None = None

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise InputError("must be 1 or more", field="--runs", value=self.runs)
        if not 1 <= self.shrink <= 8:
            raise InputError("must be 1 to 8", field="--shrink", value=self.shrink)
        if self.prepare is not None and self.prepare < 1:
            raise InputError("must be 1 or more", field="--prepare", value=self.prepare)
        if self.patches is not None and self.patches < 1000:
            raise InputError("must be 1000 or more", field="--patches", value=self.patches)
        if not 8 <= self.patch_size <= 4096:
            raise InputError("must be 8 to 4096", field="--patch-size", value=self.patch_size)
        unknown = [part for part in self.parts if part not in PARTS + OTHER_PARTS]
        if unknown or not self.parts:
            remedy = f"choose among {', '.join(PARTS + OTHER_PARTS)}"
            raise InputError("unknown part", field="--parts", value=list(self.parts), remedy=remedy)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet bench`` and return its exit code."""
    return run(Arguments, bench, argv, prog="mammodet bench")


def bench(arguments: Arguments) -> int:
    """Measure, print tables in Markdown, and write them when a folder is given."""
    if arguments.quick:
        arguments = replace(arguments, runs=1, shrink=max(2, arguments.shrink))
    device = choose_device(arguments.device)
    if device.type not in {"cpu", "cuda"}:  # nothing here is prepared for another
        device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.prepare is not None:
            text, content = _bench_prepare(arguments, Path(folder))
        elif arguments.patches is not None:
            content = {"machine": describe(torch.device("cpu"))}
            content |= measure_patches(arguments.patches, arguments.patch_size, Path(folder))
            text = patches_markdown(content)
        elif arguments.heatmap:
            text, content = _bench_heatmap(arguments, Path(folder), device)
        else:
            content = {"machine": describe(device), "runs": arguments.runs, "shrink": arguments.shrink}
            content |= _measure(arguments, Path(folder), device)
            text = markdown(content)
    print(text)
    if arguments.out is not None:
        out = Path(arguments.out)
        write_config(arguments, out / "config.yaml")
        write_json(out / "bench.json", content)
        write_text(out / "bench.md", text + "\n")
        if "inference" in content:
            draw_waterfall(content["inference"][0], content["machine"], out / "waterfall.png")
        print(f"\nwritten: {out / 'bench.json'}")
    return 0


def _measure(arguments: Arguments, folder: Path, device: torch.device) -> dict[str, Any]:
    config = _phantom(arguments.shrink)
    write_patient(folder, config, 1)
    whole, cropped = _images(folder, arguments.shrink)
    content: dict[str, Any] = {"matrix_tflops": matrix_rates(device)}
    for part in (parts := tqdm(arguments.parts, desc="measuring", unit="part")):
        parts.set_postfix_str(part)
        if part == "inference":
            tables = [_inference(pixels, arguments, folder, device) for pixels in (cropped, whole)]
            content["inference"] = tables
            content["first_result_s"] = first_result_seconds(cropped, folder, device)
            if arguments.inductor:
                compared = measure_inductor(cropped, arguments.runs, folder)
                content["inductor"] = [asdict(row) for row in compared]
            if device.type == "cuda":
                rows = measure_gpu(cropped, arguments.runs, folder, device)
                content["gpu"] = [asdict(row) for row in rows]
        elif part == "training":
            rows = measure_training(cropped, 1, folder, device)
            content["training"] = [asdict(row) for row in rows]
        elif part == "memory":
            held = measure_memory(memory_setups(arguments.shrink), device, tell_memory)
            content["memory"] = [asdict(one) for one in held]
        elif part == "evaluation":
            images = IMAGES // arguments.shrink
            measured = measure_evaluation(images, tell_evaluation)
            content["evaluation"] = {"images": images, "rows": [asdict(row) for row in measured]}
        else:
            model = write_random_model(folder, cropped)
            rates = measure_pipeline(config, model, 500, folder, str(device))
            content["pipeline"] = [asdict(rate) for rate in rates]
    return content


def _inference(pixels: Pixels, arguments: Arguments, folder: Path, device: torch.device) -> dict[str, Any]:
    def tell(row: Row) -> None:
        tqdm.write(f"{pixels.shape[0]} x {pixels.shape[1]}: {row.step}: {row.seconds:.3f} s", file=sys.stderr)

    rows = measure_inference(pixels, arguments.runs, folder, device, tell)
    return {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "tflop": count_tflop(*pixels.shape),
        "computed_share": computed_share(pixels),
        "rows": [asdict(row) for row in rows],
    }


def _phantom(shrink: int) -> PhantomConfig:
    height, width = (side // shrink for side in WHOLE)
    return PhantomConfig(1, 0, height, width, SPACING_MM * shrink, lesion_rate=1)


def _images(folder: Path, shrink: int) -> tuple[Pixels, Pixels]:
    """Return the whole frame of an MLO view, and a part of it with most of the breast."""
    pixels = read_mammogram(min(folder.rglob("L_MLO*.dcm"))).pixels
    height, width = (side // shrink for side in CROPPED)
    top = (pixels.shape[0] - height) // 2
    return pixels, np.ascontiguousarray(pixels[top : top + height, :width])


def _bench_prepare(arguments: Arguments, folder: Path) -> tuple[str, dict[str, Any]]:
    assert arguments.prepare is not None
    config = replace(_phantom(arguments.shrink), patients=-(-arguments.prepare // 4))
    measured = measure_prepare(config, arguments.prepare, folder, _load)
    rates = [asdict(rate) for rate in measured["rates"]]
    machine = describe(torch.device("cpu"))
    content = {"machine": machine, "images": arguments.prepare, **measured, "rates": rates}
    return prepare_markdown(content, config.height, config.width), content


def _bench_heatmap(arguments: Arguments, folder: Path, device: torch.device) -> tuple[str, dict[str, Any]]:
    write_patient(folder, _phantom(arguments.shrink), 1)
    whole, _ = _images(folder, arguments.shrink)
    content = {"machine": describe(device), "runs": arguments.runs}
    content |= measure_heatmap(whole, arguments.patch_size, arguments.runs, device)
    return heatmap_markdown(content), content


def _load(coco: Coco) -> None:
    """Read every image as training does, in this process."""
    dataset = LesionDataset(coco, prepared_recipe(coco) or Recipe())
    for index in range(len(dataset)):
        dataset[index]


if __name__ == "__main__":
    raise SystemExit(main())
