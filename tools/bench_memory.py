"""The part of mammodet bench that holds the memory plan of training to real training steps.

    python -m mammodet.tools.bench_memory '{...}'   # one set-up, as measure_memory starts it

Every set-up runs in a process of its own, one after the other, since a process never gets quite small again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import mammodet.detection  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision
import lightning  # noqa: F401  # what training has in memory too
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mammodet.detection.checkpointing import checkpoint_activations
from mammodet.detection.memory_plan import describe_setup, plan_memory
from mammodet.detection.model import DetectorConfig, build_detector, move
from mammodet.detection.rehearsal import TrainingSetup
from mammodet.tools.bench_machine import forget_peak, peak_gib

WHOLE = (4096, 3328)  # height, width of a frame at 0.07 mm
_SMALL = 256  # side of the first step, which gives the optimiser its state


@dataclass(frozen=True)
class MemoryRow:
    """Planned and measured bytes of a set-up."""

    setup: str
    planned: int
    measured: int


def memory_setups(shrink: int) -> list[TrainingSetup]:
    """Return the set-ups of the table; none needs more than 13 GB at ``shrink`` 1."""
    height, width = (side // shrink for side in WHOLE)
    large, small = (DetectorConfig(backbone, "batch") for backbone in ("resnet50", "resnet18"))
    frozen = replace(large, norm="frozen", trainable_layers=3)
    half, quarter = (height // 2, width // 2), (height // 4, width // 4)
    return [
        TrainingSetup(large, *quarter, precision="fp32"),
        TrainingSetup(large, *quarter, checkpointing=True),
        TrainingSetup(small, *quarter, precision="fp32", optimizer="adamw"),
        TrainingSetup(small, *half, batch_size=2),
        TrainingSetup(small, *half, precision="fp32", checkpointing=True),
        TrainingSetup(large, *half, precision="fp32"),
        TrainingSetup(frozen, height, width, checkpointing=True),
        TrainingSetup(large, height, width, checkpointing=True),
    ]


def measure_memory(
    setups: Sequence[TrainingSetup], device: torch.device, tell: Callable[[MemoryRow], None]
) -> list[MemoryRow]:
    """Run each set-up in a process of its own; ``tell`` gets each row when it is there."""
    rows = []
    for setup in setups:
        words = [sys.executable, "-m", __spec__.name, json.dumps({**asdict(setup), "device": str(device)})]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        planned, measured = (int(word) for word in done.stdout.split()[-2:])
        rows.append(MemoryRow(describe_setup(setup), planned, measured))
        tell(rows[-1])
    return rows


def tell_memory(row: MemoryRow) -> None:
    """Say on stderr what was measured, for such a row takes minutes."""
    told = f"planned {row.planned / 1e9:.2f} GB, measured {row.measured / 1e9:.2f} GB"
    tqdm.write(f"{row.setup}: {told}", file=sys.stderr)


def measure_step(setup: TrainingSetup, device: torch.device) -> int:
    """Return the most bytes in use in one training step with all its state: of the process, or of the GPU."""
    config = replace(setup.config, image_mean=0.3, image_std=0.2)
    forget_peak(device)
    model = move(build_detector(config), device).train()
    if setup.checkpointing:
        checkpoint_activations(model)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = {
        "sgd": lambda: torch.optim.SGD(trained, 1e-6, 0.9),
        "adam": lambda: torch.optim.Adam(trained, 1e-6),
        "adamw": lambda: torch.optim.AdamW(trained, 1e-6),
    }[setup.optimizer]()
    for height, width in ((_SMALL, _SMALL), (setup.height, setup.width)):
        images = [torch.rand(1, height, width, device=device) for _ in range(setup.batch_size)]
        target = _target(height, width, setup.boxes, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=setup.precision == "bf16"):
            loss = _loss(model, images, [target] * setup.batch_size)
        optimizer.zero_grad()  # after the forward pass, as Lightning does it
        loss.backward()
        optimizer.step()
    peak = peak_gib(device)
    assert peak is not None, "this system does not tell the peak of a process"
    return round(peak * 2**30)


def _target(height: int, width: int, boxes: int, device: torch.device) -> dict[str, Tensor]:
    box = torch.tensor([0.3, 0.4, 0.36, 0.44]) * torch.tensor([width, height, width, height])
    shifted = torch.stack([box + 8 * number for number in range(boxes)])
    return {"boxes": shifted.to(device), "labels": torch.ones(boxes, dtype=torch.int64, device=device)}


def _loss(model: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
    return torch.stack([one.float() for one in model(images, targets).values()]).sum()


def _main(words: dict[str, Any]) -> None:
    device = torch.device(words.pop("device"))
    config: dict[str, Any] = words.pop("config")
    config |= {name: tuple(one) for name, one in config.items() if isinstance(one, list)}
    setup = TrainingSetup(DetectorConfig(**config), **words)
    planned = plan_memory(setup, device).total  # first, as train-det does
    print(planned, measure_step(setup, device))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
