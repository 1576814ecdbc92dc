"""The part of mammodet bench that measures one training step: forward, backward, optimiser."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mammodet.detection.model import DetectorConfig, build_detector, move
from mammodet.tools.bench_machine import Row, keep_memory, measure
from mammodet.tools.bench_stock import Pixels, measure_stock, training_step


def measure_training(pixels: Pixels, runs: int, folder: Path, device: torch.device) -> list[Row]:
    """Measure stock torchvision in fp32 and ours in bf16 on one image with one lesion, batch 1.

    Both train the whole network with SGD; ours has batch normalisation and channels_last as train-det has.
    Stock runs in a process of its own, see ``bench_stock``.
    """
    stock = measure_stock("training", pixels, runs, folder, device)
    keep_memory(device)
    step = training_step(_ours(pixels, device), pixels, 1, "bf16", device)
    return [stock, measure("mammodet, bf16, channels_last", "bf16", step, runs, device, first=stock)]


def _ours(pixels: Pixels, device: torch.device) -> nn.Module:
    config = DetectorConfig(norm="batch", image_mean=float(pixels.mean()), image_std=float(pixels.std()))
    return move(build_detector(config), device)
