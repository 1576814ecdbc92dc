"""How much memory a training will take, told before it starts, and which switches bring it under a budget."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mammodet.datasets.errors import InputError
from mammodet.detection.rehearsal import TrainingSetup, rehearse

# What a process on the CPU takes beside its tensors: compiled kernels and their scratch memory, and freed
# blocks below glibc's 32 MiB that are not given back. Measured: 0.13 to 0.39 GB, see docs/memory.md.
_CPU_OVERHEAD = 300_000_000
_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_CROPS = (2048, 1536, 1024, 768, 512)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a training step needs, by part.

    ``activations`` are what tensors take at the worst moment beyond the other four; ``process`` is what the
    process takes without training (0 on a GPU).
    """

    setup: TrainingSetup
    device: str
    weights: int
    gradients: int
    optimizer: int
    ema: int
    activations: int
    process: int

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.state + self.activations + self.process

    @property
    def state(self) -> int:
        """What does not depend on the images."""
        return self.weights + self.gradients + self.optimizer + self.ema


@dataclass(frozen=True)
class Switch:
    """A change of the set-up: what to type, and what would be needed with it (bytes)."""

    option: str
    setup: TrainingSetup
    total: int


@dataclass(frozen=True)
class Fit:
    """Switches that lower the need, each alone, the cheapest in quality first, and the fewest that fit.

    ``together`` is None when no combination fits, and empty when none is needed; ``total`` is the need with
    it (or with all of them), in bytes.
    """

    alone: tuple[Switch, ...]
    together: tuple[str, ...] | None
    total: int


def plan_memory(setup: TrainingSetup, device: torch.device, resident: int | None = None) -> MemoryPlan:
    """Return what a training step needs on a device, before anything is computed; takes seconds.

    Parameters
    ----------
    setup:
        Of the training; its height and width are those of the largest image or of the crop.
    device:
        On "cpu" the plan is of the peak of this process; on a GPU of the bytes allocated for tensors there,
        without its context (about 0.5 GB) and the scratch memory of its kernels.
    resident:
        Bytes that this process takes without training; None measures what it takes now.
    """
    counted = rehearse(setup)
    state = counted.weights + counted.gradients + counted.optimizer + counted.ema
    process = 0
    if device.type != "cuda":
        process = (_resident_bytes() if resident is None else resident) + _CPU_OVERHEAD
    return MemoryPlan(
        setup,
        device.type,
        counted.weights,
        counted.gradients,
        counted.optimizer,
        counted.ema,
        max(0, counted.peak - state),
        process,
    )


def parse_budget(text: str) -> int:
    """Return the bytes of a budget such as "11GB" (10^9 bytes each) or "10.5 GiB" (2^30).

    Raises
    ------
    InputError
        When it is no number above 0 with one of the units MB, GB, TB, MiB, GiB, TiB.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]+)\s*", text)
    size = float(found[1]) * _UNITS.get(found[2].upper(), 0) if found else 0.0
    if size < 1:
        remedy = "give a number with a unit, MB, GB, MiB or GiB, such as 11GB"
        raise InputError("is no amount of memory", field="--memory-budget", value=text, remedy=remedy)
    return int(size)


def fitting_switches(setup: TrainingSetup, budget: int, device: torch.device) -> Fit:
    """Return the switches that lower the need of a set-up, and the fewest that bring it under a budget.

    They are added one by one, the cheapest in quality first, until the set-up fits; then those that turn out
    not to be needed are left out again, the dearest first. Takes seconds for each switch.
    """
    resident = 0 if device.type == "cuda" else _resident_bytes()

    def need(one: TrainingSetup) -> int:
        return plan_memory(one, device, resident).total

    before = need(setup)
    changes = list(_changes(setup))
    tried = [Switch(option, change(setup), need(change(setup))) for option, change in changes]
    alone = tuple(one for one in tried if one.total < before)
    useful = [pair for pair, one in zip(changes, tried, strict=True) if one.total < before]
    if before <= budget:
        return Fit(alone, (), before)
    chosen: list[tuple[str, Callable[[TrainingSetup], TrainingSetup]]] = []
    total = before
    for pair in useful:
        chosen.append(pair)
        total = need(_applied(setup, chosen))
        if total <= budget:
            break
    else:
        return Fit(alone, None, total)
    for pair in reversed(chosen[:-1]):
        fewer = [one for one in chosen if one is not pair]
        lower = need(_applied(setup, fewer))
        if lower <= budget:
            chosen, total = fewer, lower
    return Fit(alone, tuple(option for option, _ in chosen), total)


def plan_lines(plan: MemoryPlan, budget: int | None = None, fit: Fit | None = None) -> list[str]:
    """Return the plan as text for people: a line, and below it the switches when it does not fit."""
    where = "peak of this process" if plan.process else "allocated on the GPU, without its context"
    parts = [f"weights, gradients, optimiser {_gb(plan.state)}", f"activations {_gb(plan.activations)}"]
    parts += [f"process {_gb(plan.process)}"] if plan.process else []
    line = f"memory: {_gb(plan.total)} GB ({where}) for {describe_setup(plan.setup)} ({', '.join(parts)})"
    if budget is None:
        return [line]
    fits = plan.total <= budget
    lines = [f"{line}; {'fits' if fits else 'more than'} --memory-budget {_gb(budget)} GB"]
    if fit is None or fits:
        return lines
    lines += [f"  with {one.option}: {_gb(one.total)} GB" for one in fit.alone]
    if fit.together is None:
        return [*lines, f"  nothing of this fits; with all of it {_gb(fit.total)} GB"]
    return [*lines, f"  fits: {' '.join(fit.together)}: {_gb(fit.total)} GB"]


def describe_setup(setup: TrainingSetup) -> str:
    """Return a set-up in words."""
    config = setup.config
    words = [f"{config.backbone}, {setup.height} x {setup.width} px, batch {setup.batch_size}"]
    words += [setup.precision] + ["checkpointing"] * setup.checkpointing
    words += [f"norm {config.norm}"] + (
        [] if config.trainable_layers in {None, 5} else [f"{config.trainable_layers} layers"]
    )
    words += [setup.optimizer] + ["EMA"] * setup.ema
    return ", ".join(words)


def _changes(setup: TrainingSetup) -> Iterator[tuple[str, Callable[[TrainingSetup], TrainingSetup]]]:
    """Yield options and what they change, the cheapest in quality first."""
    config = setup.config
    if setup.precision == "fp32":
        yield "--precision bf16", lambda one: replace(one, precision="bf16")
    if not setup.checkpointing:
        yield "--checkpointing", lambda one: replace(one, checkpointing=True)
    if setup.batch_size > 1:
        together = setup.batch_size * setup.accumulate
        yield (
            f"--batch-size 1 --accumulate {together}",
            lambda one: replace(one, batch_size=1, accumulate=together),
        )
    if config.roi_batch > 256 or config.rpn_proposals > 500:
        small: dict[str, Any] = {
            "roi_batch": min(config.roi_batch, 256),
            "rpn_proposals": min(config.rpn_proposals, 500),
        }
        option = f"--model.roi-batch {small['roi_batch']} --model.rpn-proposals {small['rpn_proposals']}"
        yield option, lambda one: replace(one, config=replace(one.config, **small))
    if setup.optimizer != "sgd":
        yield "--optim.optimizer sgd", lambda one: replace(one, optimizer="sgd")
    if setup.ema:
        yield "--ema null", lambda one: replace(one, ema=False)
    if config.trainable_layers is None or config.trainable_layers > 3:
        yield (
            "--model.trainable-layers 3",
            lambda one: replace(one, config=replace(one.config, trainable_layers=3)),
        )
    for size in _CROPS:
        if size * size < setup.height * setup.width:
            yield (
                f"--input crop:{size}",
                lambda one, size=size: replace(  # type: ignore[misc]
                    one, height=min(size, one.height), width=min(size, one.width)
                ),
            )


def _applied(
    setup: TrainingSetup, chosen: list[tuple[str, Callable[[TrainingSetup], TrainingSetup]]]
) -> TrainingSetup:
    for _, change in chosen:
        setup = change(setup)
    return setup


def _resident_bytes() -> int:
    """Return what this process has in memory now; where the system does not say, its peak so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmRSS"))
        return int(line.split()[1]) * 1024
    import resource  # noqa: PLC0415  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"
