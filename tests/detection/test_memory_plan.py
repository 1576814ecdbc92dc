"""What training needs is known beforehand, and a budget says what to switch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.errors import InputError
from mammodet.detection.checkpointing import checkpoint_activations
from mammodet.detection.memory_plan import (
    describe_setup,
    fitting_switches,
    parse_budget,
    plan_lines,
    plan_memory,
)
from mammodet.detection.memory_trace import TensorMemory
from mammodet.detection.model import DetectorConfig, build_detector, move
from mammodet.detection.rehearsal import TrainingSetup, rehearse

CPU = torch.device("cpu")
GPU = torch.device("cuda")
SMALL = DetectorConfig("resnet18", "batch", fpn_channels=32, rpn_proposals=200, roi_batch=64)
PLAIN = TrainingSetup(SMALL, 512, 384, precision="fp32")


def _counted(setup: TrainingSetup) -> int:
    """Return the peak of the tensors of a real step that is not the first one."""
    torch.manual_seed(0)
    model = move(build_detector(replace(setup.config, image_mean=0.3, image_std=0.2)), CPU).train()
    if setup.checkpointing:
        checkpoint_activations(model)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[setup.optimizer](trained, lr=1e-6)
    if setup.optimizer == "sgd":
        optimizer.param_groups[0]["momentum"] = 0.9
    for one in trained:
        one.grad = torch.zeros_like(one)
    optimizer.step()
    images = [torch.rand(1, setup.height, setup.width) for _ in range(setup.batch_size)]
    boxes = torch.tensor([[40.0, 50, 90, 100]]) + torch.arange(setup.boxes)[:, None] * 30
    target = {"boxes": boxes, "labels": torch.ones(setup.boxes, dtype=torch.int64)}
    states = [value for state in optimizer.state.values() for value in state.values()]
    memory = TensorMemory()
    memory.hold([*model.parameters(), *model.buffers(), *images, *(one.grad for one in trained)])
    memory.hold([one for one in states if isinstance(one, torch.Tensor)])
    with memory:
        with torch.autocast("cpu", torch.bfloat16, enabled=setup.precision == "bf16"):
            loss = torch.stack([*model(images, [target] * setup.batch_size).values()]).sum()
        optimizer.zero_grad()
        loss.backward()
    return memory.peak


@pytest.mark.parametrize(
    "setup",
    [
        PLAIN,
        replace(PLAIN, precision="bf16", checkpointing=True),
        replace(PLAIN, checkpointing=True, batch_size=2, height=256),
        replace(PLAIN, config=replace(SMALL, norm="frozen", trainable_layers=3), precision="bf16"),
        replace(PLAIN, config=replace(SMALL, norm="group"), optimizer="adamw", boxes=6),
        replace(PLAIN, config=replace(SMALL, backbone="resnet50"), height=384, width=256, checkpointing=True),
    ],
    ids=describe_setup,
)
@pytest.mark.long
def test_the_plan_is_within_fifteen_percent_of_a_real_step(setup: TrainingSetup):
    assert rehearse(setup).peak == pytest.approx(_counted(setup), rel=0.15)


def test_weights_and_what_belongs_to_them_are_exact():
    setup = replace(PLAIN, optimizer="adamw", ema=True)
    model = build_detector(replace(SMALL, image_mean=0.0, image_std=1.0))
    plan = plan_memory(setup, GPU)
    learned = sum(one.numel() for one in model.parameters()) * 4
    kept = sum(one.nbytes for one in model.state_dict().values())
    assert plan.gradients == learned and plan.optimizer == 2 * learned
    assert plan.weights == plan.ema == kept
    assert plan.total == 3 * learned + 2 * kept + plan.activations


def test_a_whole_mammogram_is_planned_without_its_memory_and_grows_with_its_area():
    whole = TrainingSetup(SMALL, 4096, 3328, precision="fp32")
    quarter = replace(whole, height=2048, width=1664)
    large, small = (plan_memory(one, GPU).activations for one in (whole, quarter))
    assert large == pytest.approx(4 * small, rel=0.02)
    assert large > 5e9  # a real step at this size would not fit where these tests run


def test_the_published_set_up_fits_eleven_gigabytes():
    config = DetectorConfig("resnet50", "batch")
    setup = TrainingSetup(config, 4096, 3328, checkpointing=True)
    assert plan_memory(setup, CPU, resident=900_000_000).total < 9.5e9
    frozen = replace(setup, config=replace(config, norm="frozen", trainable_layers=3), boxes=20)
    assert plan_memory(frozen, CPU, resident=900_000_000).total < 9.5e9
    assert plan_memory(replace(setup, precision="fp32", checkpointing=False), GPU).total > 25e9


def test_every_switch_lowers_the_need_and_more_of_them_lower_it_further():
    setup = TrainingSetup(DetectorConfig("resnet18", "batch"), 2048, 1664, 2, "fp32", optimizer="adamw")
    need = plan_memory(setup, GPU).total
    budget = need // 3
    fit = fitting_switches(setup, budget, GPU)
    assert fit.alone[0].option == "--precision bf16" and fit.alone[-1].option == "--input crop:512"
    assert all(one.total < need for one in fit.alone)
    assert fit.together is not None and fit.together[0] == "--precision bf16"
    assert fit.total <= budget < min(one.total for one in fit.alone if one.option in fit.together)
    lines = plan_lines(plan_memory(setup, GPU), budget, fit)
    assert "more than --memory-budget" in lines[0] and " ".join(fit.together) in lines[-1]


def test_nothing_is_switched_when_it_fits_and_the_impossible_is_said():
    need = plan_memory(PLAIN, GPU).total
    assert fitting_switches(PLAIN, need, GPU).together == ()
    assert "; fits --memory-budget" in plan_lines(plan_memory(PLAIN, GPU), need)[0]
    fit = fitting_switches(PLAIN, 1000, GPU)
    assert fit.together is None
    assert "nothing of this fits" in plan_lines(plan_memory(PLAIN, GPU), 1000, fit)[-1]


def test_the_process_counts_on_a_cpu_and_is_named():
    plan = plan_memory(PLAIN, CPU, resident=500_000_000)
    assert plan.total > plan_memory(PLAIN, GPU).total + 500_000_000
    assert "peak of this process" in plan_lines(plan)[0] and "512 x 384 px" in plan_lines(plan)[0]
    assert plan_memory(PLAIN, CPU).process > 100_000_000  # torch alone takes more


def test_budgets_are_read():
    assert parse_budget("11GB") == 11_000_000_000
    assert parse_budget(" 10.5 gib ") == 21 * 2**29
    assert parse_budget("800MB") == 800_000_000


@given(
    st.sampled_from(
        ["", "11", "GB", "-1GB", "0GB", "11 apples", "1e400GB", "nanGB", "11GB and more", "1.2.3GB"]
    )
)
def test_nonsense_is_refused(text: str):
    with pytest.raises(InputError, match="memory-budget"):
        parse_budget(text)


def test_a_set_up_is_checked():
    for change in (
        {"height": 0},
        {"batch_size": 0},
        {"precision": "fp8"},
        {"optimizer": "lion"},
        {"boxes": 0},
    ):
        with pytest.raises(InputError):
            replace(PLAIN, **change)
