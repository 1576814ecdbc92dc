"""The part of mammodet bench that measures the heatmap of a mammogram beside its network alone.

The network is a ResNet18 with random weights, which cost what learned ones cost. Network and heatmap take
turns, so that other programs slow both down.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mammodet.classification.heatmap import HeatmapConfig, Scorer, class_probability, mammogram_heat
from mammodet.classification.patch_networks import PatchNetworkConfig, build_patch_network
from mammodet.classification.windows import search_mask, window_starts, windows_over
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.standardise import Standardised
from mammodet.networks.precision import choose_precision
from mammodet.tools.bench_machine import keep_memory

Times = tuple[float, float]  # seconds by the clock, and of the processor


@dataclass(frozen=True)
class HeatmapRow:
    """One line of the table: medians; ``ratio`` is how many times as long as the first line it takes."""

    step: str
    seconds: float
    processor_seconds: float
    ratio: float | None = None


def measure_heatmap(
    pixels: NDArray[np.float32], window: int, runs: int, device: torch.device
) -> dict[str, Any]:
    """Measure the heatmap of one mammogram, float32 [H, W], with windows that overlap by half.

    The first line is the network alone: as many windows in batches as large, all cut beforehand. The heatmap
    is all from the mammogram to float32 [H, W]: breast, windows, scores, average. Ratios are of the clock.
    """
    keep_memory(device)
    precision = choose_precision("auto", device)
    config = HeatmapConfig(window, max(1, window // 2), precision="bf16" if precision == "bf16" else "fp32")
    scorer = _scorer(window, device)
    prepared = Standardised(pixels, Geometry(pixels.shape[1], pixels.shape[0]), None)
    height, width = pixels.shape
    windows = windows_over(search_mask(pixels), height, width, window, config.step)
    grid = len(window_starts(height, window, config.step)) * len(window_starts(width, window, config.step))
    batch = torch.rand(min(config.batch, len(windows)), 1, window, window, device=device)

    def network() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"),
        ):
            found = [scorer(batch[: len(windows) - start]) for start in range(0, len(windows), config.batch)]
            torch.cat(found).cpu()  # waits for a GPU

    def heatmap() -> None:
        mammogram_heat(scorer, prepared, config, device).to_source()

    alone, whole = _in_turns(network, heatmap, runs)
    return {
        "height": height,
        "width": width,
        "window": window,
        "stride": config.step,
        "windows": len(windows),
        "grid": grid,
        "precision": config.precision,
        "rows": [
            asdict(HeatmapRow(f"ResNet18 alone, {len(windows):,} windows", *alone)),
            asdict(HeatmapRow("heatmap in the frame of the file", *whole, ratio=whole[0] / alone[0])),
        ],
    }


def heatmap_markdown(content: Mapping[str, Any]) -> str:
    """Return the table of ``--heatmap``."""
    machine = content["machine"]
    share = content["windows"] / content["grid"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        f"{content['height']} x {content['width']} px, windows of {content['window']} px every "
        f"{content['stride']} px, {content['precision']}; "
        f"{share:.0%} of {content['grid']:,} windows show breast",
        "",
        "| step | seconds | of the processor | times the first |",
        "|---|---|---|---|",
    ]
    for row in content["rows"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"| {row['step']} | {row['seconds']:.2f} | {row['processor_seconds']:.2f} | {ratio} |")
    return "\n".join(lines)


def _scorer(window: int, device: torch.device) -> Scorer:
    torch.manual_seed(0)
    network = build_patch_network(PatchNetworkConfig(size=window, image_mean=0.2, image_std=0.2)).eval()
    network.to(device).to(memory_format=torch.channels_last)
    return class_probability(network, ["malignant"])


def _in_turns(first: Callable[[], None], second: Callable[[], None], runs: int) -> tuple[Times, Times]:
    """Return the median times of both, after one run of each that is not counted."""
    times = [(_timed(first), _timed(second)) for _ in range(runs + 1)][1:]
    alone, whole = zip(*times, strict=True)
    return _median(alone), _median(whole)


def _timed(work: Callable[[], None]) -> Times:
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def _median(times: tuple[Times, ...]) -> Times:
    return statistics.median(one[0] for one in times), statistics.median(one[1] for one in times)
