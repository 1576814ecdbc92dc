"""The learning rate under a limit of time."""

import lightning
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Timer

from mammodet.networks.optim import OptimConfig, learning_rate_factor, time_gone

COSINE = OptimConfig(warmup_steps=10, schedule="cosine")


def test_a_cosine_ends_with_the_time_when_that_is_over_first():
    """Every step takes a hundredth of the limit, and a thousand steps were planned."""
    by_time = [
        learning_rate_factor(COSINE, 1000, 100, lambda step=step: step / 100)(step) for step in range(101)
    ]
    by_steps = [learning_rate_factor(COSINE, 100, 100)(step) for step in range(101)]
    assert by_time == pytest.approx(by_steps)


def test_a_warm_up_longer_than_the_time_is_shortened():
    optim = OptimConfig(warmup_steps=500, schedule="cosine")
    rates = [
        learning_rate_factor(optim, 5000, 100, lambda step=step: step / 160)(step) for step in range(161)
    ]
    assert rates.index(max(rates)) == 80 and rates[80] == 1 and rates[160] < 1e-6


@given(st.integers(0, 100), st.floats(0, 1))
def test_a_limit_that_is_far_changes_nothing_and_no_rate_is_above_the_one_asked_for(step: int, gone: float):
    plain = learning_rate_factor(COSINE, 100, 10)(step)
    limited = learning_rate_factor(COSINE, 100, 10, lambda: gone)(step)
    assert limited == plain if gone <= step / 100 else 0 <= limited <= 1
    for schedule in ("constant", "step"):
        optim = OptimConfig(warmup_steps=10, schedule=schedule)
        assert learning_rate_factor(optim, 100, 10, lambda: gone)(step) == learning_rate_factor(
            optim, 100, 10
        )(step)


def test_the_share_of_the_time_counts_what_earlier_runs_took(monkeypatch: pytest.MonkeyPatch):
    quiet = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    assert time_gone(lightning.Trainer(**quiet)) == 0
    trainer = lightning.Trainer(**quiet, max_time={"minutes": 4})
    assert time_gone(trainer) == 0
    (timer,) = (one for one in trainer.callbacks if isinstance(one, Timer))
    timer.load_state_dict({"time_elapsed": {"train": 60.0}})
    assert time_gone(trainer) == pytest.approx(0.25)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert time_gone(trainer) == 0
