"""The part of mammodet bench that measures torchvision as it comes, in a process of its own.

    python -m mammodet.tools.bench_stock PART PIXELS.npy RUNS DEVICE     # PART: inference or training

glibc raises its thresholds for large blocks as a program frees some, but no longer once any of them was set,
and setting one back does not bring that again: in such a process stock torchvision takes up to a quarter
longer. So nothing here may tell the allocator anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn

from mammodet.datasets.errors import InputError
from mammodet.tools.bench_machine import Row, measure

Pixels = NDArray[np.float32]
STOCK = "torchvision as it comes, fp32"
_BOX = (0.3, 0.4, 0.36, 0.44)  # of width and height; any lesion does for the time of a step


def measure_stock(part: str, pixels: Pixels, runs: int, folder: Path, device: torch.device) -> Row:
    """Measure stock torchvision in a fresh process, on pixels float32 [H, W].

    Parameters
    ----------
    part:
        "inference", or "training" for one step with one lesion.
    folder:
        Where the pixels are written for the other process.

    Raises
    ------
    InputError
        When that process fails; memory may not suffice.
    """
    path = folder / f"stock_{part}.npy"
    np.save(path, pixels)
    words = [sys.executable, "-m", __name__, part, str(path), str(runs), str(device)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise InputError(
            f"stock torchvision failed in its own process (exit code {done.returncode})",
            field="--parts",
            value=part,
            remedy="if memory does not suffice, give --shrink 2",
        )
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure here and print the row as JSON."""
    part, path, runs, name = sys.argv[1:] if argv is None else argv
    pixels: Pixels = np.load(path)
    device = torch.device(name)
    work = stock_prediction if part == "inference" else _stock_training
    print(json.dumps(asdict(measure(STOCK, "fp32", work(pixels, device), int(runs), device))))
    return 0


def stock_detector(pixels: Pixels) -> FasterRCNN:
    """Return torchvision's detector with its own defaults, but for the shrinking of images."""
    return fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        min_size=min(pixels.shape),
        max_size=max(pixels.shape),
    )


def stock_prediction(pixels: Pixels, device: torch.device) -> Callable[[], Any]:
    """Return a function that detects on the pixels with stock torchvision."""
    model = stock_detector(pixels).eval().to(device)
    image = torch.from_numpy(pixels)[None].expand(3, -1, -1).to(device)

    def predict() -> Any:
        with torch.inference_mode():
            return model([image])

    return predict


def training_step(
    model: nn.Module, pixels: Pixels, channels: int, precision: str, device: torch.device
) -> Callable[[], Any]:
    """Return a function that trains all of a detector one step on one image with one lesion, with SGD.

    Parameters
    ----------
    channels:
        That the detector takes; the grey image is repeated.
    precision:
        "fp32", or "bf16" for autocast.
    """
    height, width = pixels.shape
    box = torch.tensor([_BOX]) * torch.tensor([width, height, width, height])
    target = {"boxes": box.to(device), "labels": torch.ones(1, dtype=torch.int64, device=device)}
    image = torch.from_numpy(pixels)[None].expand(channels, -1, -1).to(device)
    for parameter in model.train().parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            losses = model([image], [target])
            loss = torch.stack([one.float() for one in losses.values()]).sum()
        loss.backward()
        optimizer.step()

    return step


def _stock_training(pixels: Pixels, device: torch.device) -> Callable[[], Any]:
    return training_step(stock_detector(pixels).to(device), pixels, 3, "fp32", device)


if __name__ == "__main__":
    raise SystemExit(main())
