"""The part of mammodet bench that measures one training step: forward, backward, optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mammodet.detection.model import DetectorConfig, build_detector, move
from mammodet.tools.bench_inference import Pixels, Row, stock_detector
from mammodet.tools.bench_machine import forget_peak, keep_memory, median_seconds, peak_gib, stock_memory

_BOX = (0.3, 0.4, 0.36, 0.44)  # of width and height; any lesion does for the time of a step


def measure_training(pixels: Pixels, runs: int, device: torch.device) -> list[Row]:
    """Measure stock torchvision in fp32 and ours in bf16 on one image with one lesion, batch 1.

    Both train the whole network with SGD; ours has batch normalisation and channels_last as train-det has.
    """
    height, width = pixels.shape
    box = torch.tensor([_BOX]) * torch.tensor([width, height, width, height])
    target = {"boxes": box.to(device), "labels": torch.ones(1, dtype=torch.int64, device=device)}
    grey = torch.from_numpy(pixels)[None].to(device)
    stock_memory(device)
    rows: list[Row] = []
    for name, build, precision in (
        ("torchvision as it comes, fp32", lambda: stock_detector(pixels).to(device), "fp32"),
        ("mammodet, bf16, channels_last", lambda: _ours(pixels, device), "bf16"),
    ):
        forget_peak(device)
        model = build().train()
        image = grey if precision == "bf16" else grey.expand(3, -1, -1)
        if rows:
            keep_memory(device)
        seconds = median_seconds(_step(model, image, target, precision), runs, device)
        rows.append(Row(name, seconds, peak_gib(device), rows[0].seconds / seconds if rows else None))
        del model
    return rows


def _ours(pixels: Pixels, device: torch.device) -> nn.Module:
    config = DetectorConfig(norm="batch", image_mean=float(pixels.mean()), image_std=float(pixels.std()))
    return move(build_detector(config), device)


def _step(model: nn.Module, image: Tensor, target: dict[str, Tensor], precision: str) -> Callable[[], Any]:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bf16"):
            losses = model([image], [target])
            loss = torch.stack([one.float() for one in losses.values()]).sum()
        loss.backward()
        optimizer.step()

    return step
