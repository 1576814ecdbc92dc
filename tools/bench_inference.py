"""The part of mammodet bench that measures detection, step by step from stock torchvision to ours.

Weights are random, with the seed fixed: they cost what learned ones cost. All steps get the same pixels.
"""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mammodet.datasets.standardise import Recipe
from mammodet.detection.bands import occupied_bands, whole_frame
from mammodet.detection.calibration import measure_ranges
from mammodet.detection.fused_detector import FusedDetector
from mammodet.detection.inference import Detector
from mammodet.detection.model import DetectorConfig, build_detector
from mammodet.detection.model_file import ModelHeader, write_model
from mammodet.detection.quantised import has_exact_int8
from mammodet.networks.tensor_file import read_tensors
from mammodet.tools.bench_machine import Row, forget_peak, keep_memory, measure, median_seconds, peak_gib
from mammodet.tools.bench_stock import Pixels, measure_stock, stock_prediction


def measure_inference(
    pixels: Pixels, runs: int, folder: Path, device: torch.device, tell: Callable[[Row], None]
) -> list[Row]:
    """Measure every step from stock torchvision to ours on one image, float32 [H, W].

    Stock torchvision runs in a process of its own, see ``bench_stock``. ``tell`` gets each row when it is
    there.
    """
    path = write_random_model(folder, pixels)
    rows = [measure_stock("inference", pixels, runs, folder, device)]
    tell(rows[0])

    def add(step: str, precision: str, work: Callable[[], Any]) -> None:
        rows.append(measure(step, precision, work, runs, device, first=rows[0]))
        tell(rows[-1])

    if keep_memory(device):
        add("+ memory kept by the allocator", "fp32", stock_prediction(pixels, device))
    for name, detector in _steps(path, pixels, device):
        add(name, detector.precision, lambda detector=detector: detector.predict_pixels(pixels))  # type: ignore[misc]
    return rows


def _steps(path: Path, pixels: Pixels, device: torch.device) -> Iterator[tuple[str, Detector]]:
    """Yield the detectors in between, each made when it is its turn."""
    where = str(device)
    yield (
        "+ bf16 (autocast), channels_last",
        Detector.load(path, device=where, precision="bf16", compile=False),
    )
    fused = Detector.load(path, device=where, precision="bf16", skip_air=False)
    yield "+ convolutions fused", _with_stock_heads(fused)
    yield "+ proposals and RoIAlign without copies", fused
    yield "+ air left out", Detector.load(path, device=where, precision="bf16")
    if device.type == "cpu":
        if has_exact_int8():
            calibrated = _calibrated(path, pixels)
            yield "int8 instead of bf16", Detector.load(calibrated, device=where, precision="int8")
        yield "fp32 instead of bf16", Detector.load(path, device=where, precision="fp32")


def measure_gpu(pixels: Pixels, runs: int, folder: Path, device: torch.device) -> list[Row]:
    """Measure the plain network on a GPU in fp32, TF32 and bf16, for batches of 1, 2 and 4; per image."""
    model = Detector.load(write_random_model(folder, pixels), device=str(device), precision="fp32").model
    image = torch.from_numpy(pixels)[None].to(device)
    rows: list[Row] = []
    for precision in ("fp32", "tf32", "bf16"):
        for batch in (1, 2, 4):
            images = [image] * batch
            with _arithmetic(precision, device), torch.inference_mode():
                forget_peak(device)
                seconds = median_seconds(lambda images=images: model(images), runs, device) / batch  # type: ignore[misc]
            ratio = rows[0].seconds / seconds if rows else None
            name = f"plain network, {precision}, batch {batch}"
            rows.append(Row(name, precision, seconds, peak_gib(device), ratio))
    return rows


@contextmanager
def _arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def count_tflop(height: int, width: int) -> float:
    """Return the floating-point operations of one image, in 10^12: two per multiplication and sum."""
    model = build_detector(_config(0.5, 0.25)).to("meta").eval()
    rows, columns = (-(-side // 32) * 32 for side in (height, width))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        features = model.backbone(torch.empty(1, 3, rows, columns, device="meta"))
        model.rpn.head(list(features.values()))
        regions = torch.empty(model.rpn.post_nms_top_n(), 256, 7, 7, device="meta")
        model.roi_heads.box_predictor(model.roi_heads.box_head(regions))
    return counter.get_total_flops() / 1e12


def computed_share(pixels: Pixels) -> float:
    """Return the share of the frame that is left when air is left out."""
    return sum(band.cells for band in occupied_bands(pixels)[0]) / whole_frame(*pixels.shape)[0].cells


def first_result_seconds(pixels: Pixels, folder: Path, device: torch.device) -> float:
    """Return the seconds from starting a new process to its first result, imports and loading included."""
    path = write_random_model(folder, pixels)
    np.save(folder / "pixels.npy", pixels)
    code = (
        "import sys, numpy as np\n"
        "from mammodet.detection.inference import Detector\n"
        "detector = Detector.load(sys.argv[1], device=sys.argv[3], precision='bf16')\n"
        "detector.predict_pixels(np.load(sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", code, str(path), str(folder / "pixels.npy"), str(device)]
    return median_seconds(lambda: subprocess.run(words, check=True), 1, torch.device("cpu"))


def write_random_model(folder: Path, pixels: Pixels) -> Path:
    """Write a model file of the default architecture with random weights; the same at every call."""
    torch.manual_seed(0)
    config = _config(float(pixels.mean()), float(pixels.std()))
    path = folder / "model.safetensors"
    write_model(path, build_detector(config).state_dict(), ModelHeader(config, Recipe(), "random weights"))
    return path


def _config(mean: float, std: float) -> DetectorConfig:
    return DetectorConfig(norm="frozen", image_mean=mean, image_std=std)


def _calibrated(path: Path, pixels: Pixels) -> Path:
    detector = Detector.load(path, device="cpu")
    header = replace(detector.header, calibration={"ranges": measure_ranges(detector, [pixels])})
    calibrated = path.with_name("calibrated.safetensors")
    write_model(calibrated, read_tensors(path), header)
    return calibrated


def _with_stock_heads(detector: Detector) -> Detector:
    """Return a detector with the fused network, but torchvision's own proposals, RoIAlign and box head."""
    assert detector.fused is not None
    model = build_detector(detector.header.config).to(detector.device).eval()
    backbone = _FusedBackbone(detector.fused)
    model.backbone, model.rpn.head = backbone, _FusedHead(backbone)
    return Detector(model, detector.header, detector.device, "bf16")


class _FusedBackbone(nn.Module):
    """The fused network in the place of torchvision's backbone; keeps the anchors' scores for the head."""

    def __init__(self, fused: FusedDetector) -> None:
        super().__init__()
        self.fused = fused
        self.scores: list[Tensor] = []

    def forward(self, batch: Tensor) -> OrderedDict[str, Tensor]:
        height, width = batch.shape[-2:]
        levels = self.fused.network(batch[0, 0], whole_frame(height, width), 0.0)
        self.scores = [level.scores.whole() for level in levels]
        return OrderedDict((str(number), level.features.whole()) for number, level in enumerate(levels))


class _FusedHead(nn.Module):
    """Hands out the scores and box shifts that the fused network computed already."""

    def __init__(self, backbone: _FusedBackbone) -> None:
        super().__init__()
        self._backbone = [backbone]  # in a list, so that it is no sub-module twice

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores = self._backbone[0].scores
        anchors = [one.shape[1] // 5 for one in scores]
        return (
            [one[:, :count] for one, count in zip(scores, anchors, strict=True)],
            [one[:, count:] for one, count in zip(scores, anchors, strict=True)],
        )
