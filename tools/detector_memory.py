"""What mammodet train-det says about memory before it starts."""

from __future__ import annotations

import torch

from mammodet.datasets.errors import InputError
from mammodet.detection.crops import TrainingInput
from mammodet.detection.memory_plan import fitting_switches, parse_budget, plan_lines, plan_memory
from mammodet.detection.rehearsal import TrainingSetup
from mammodet.tools.detector_arguments import Arguments
from mammodet.tools.training_output import say


def require_memory(arguments: Arguments, largest: tuple[int, int], boxes: int, device: torch.device) -> None:
    """Tell what a step needs, and refuse one that is over the budget.

    Without a budget a GPU's own memory is one, which is only warned of; on a CPU nothing is told.

    Parameters
    ----------
    largest:
        (width, height) of the largest image, in pixels.
    boxes:
        Most lesions of an image.

    Raises
    ------
    InputError
        With the switches that bring it under the budget.
    """
    if arguments.memory_budget is None and device.type != "cuda":
        return
    setup = _setup(arguments, largest, boxes)
    plan = plan_memory(setup, device)
    if arguments.memory_budget is None:
        say("\n".join(plan_lines(plan)))
        if plan.total > (there := torch.cuda.get_device_properties(device).total_memory):
            say(f"that is more than the {there / 1e9:.1f} GB of this GPU; --memory-budget says what fits")
        return
    budget = parse_budget(arguments.memory_budget)
    fits = plan.total <= budget
    fit = None if fits else fitting_switches(setup, budget, device)
    say("\n".join(plan_lines(plan, budget, fit)))
    if fit is not None:
        together = None if fit.together is None else " ".join(fit.together)
        raise InputError(
            f"a step needs {plan.total / 1e9:.1f} GB",
            field="--memory-budget",
            value=arguments.memory_budget,
            remedy=f"give {together}" if together else "train on smaller crops, or give a larger budget",
        )


def _setup(arguments: Arguments, largest: tuple[int, int], boxes: int) -> TrainingSetup:
    width, height = largest
    window = TrainingInput.parse(arguments.input)
    if window.kind != "whole":
        width, height = min(width, window.size), min(height, window.size)
    return TrainingSetup(
        arguments.model,
        height,
        width,
        batch_size=arguments.batch_size,
        precision="bf16" if arguments.precision == "bf16" else "fp32",
        checkpointing=arguments.checkpointing,
        optimizer=arguments.optim.optimizer,
        ema=arguments.ema is not None,
        accumulate=arguments.accumulate,
        boxes=max(1, boxes),
    )
