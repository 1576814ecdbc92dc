"""The part of mammodet bench that puts Inductor beside our own preparation, for the network alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config as inductor
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from mammodet.detection.bands import whole_frame
from mammodet.detection.inference import Detector
from mammodet.tools.bench_inference import write_random_model
from mammodet.tools.bench_machine import Row, keep_memory, measure, peak_gib
from mammodet.tools.bench_stock import Pixels


class _Network(nn.Module):
    """Backbone, pyramid and proposal head of a plain detector."""

    def __init__(self, model: FasterRCNN) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.rpn.head

    def forward(self, batch: Tensor) -> Any:
        features = list(self.backbone(batch).values())
        return features, self.head(features)


def measure_inductor(pixels: Pixels, runs: int, folder: Path) -> list[Row]:
    """Measure our fused network and ``torch.compile`` with freezing on the same frame, on the CPU, in bf16.

    The last row is the first call of the compiled one, whose compilation needs a C++ compiler.
    """
    device = torch.device("cpu")
    keep_memory(device)
    path = write_random_model(folder, pixels)
    fused = Detector.load(path, device="cpu", precision="bf16", skip_air=False).fused
    assert fused is not None
    frame = fused.frame(pixels)
    bands = whole_frame(*pixels.shape)
    ours = measure("ours", "bf16", lambda: fused.network(frame, bands, 0.0), runs, device)
    plain = _Network(Detector.load(path, device="cpu", precision="fp32", compile=False).model)
    batch = frame[None, None].expand(1, 3, -1, -1).to(torch.bfloat16)
    batch = batch.contiguous(memory_format=torch.channels_last)
    before, inductor.freezing = inductor.freezing, True
    try:
        compiled = torch.compile(plain.to(torch.bfloat16).eval())
        with torch.inference_mode():
            start = time.perf_counter()
            compiled(batch)
            first = time.perf_counter() - start
            theirs = measure(
                "Inductor with freezing", "bf16", lambda: compiled(batch), runs, device, first=ours
            )
    finally:
        inductor.freezing = before
    return [
        ours,
        theirs,
        Row("Inductor, first call", "bf16", first, peak_gib(device), ours.seconds / first),
    ]
