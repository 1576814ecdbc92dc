"""The moving average of the weights: its decay, and that statistics are not averaged."""

from __future__ import annotations

import torch

from mammodet.networks.averaging import MovingAverage


def test_the_decay_grows_up_to_its_limit():
    callback = MovingAverage(0.5)
    average = callback._kwargs["avg_fn"]
    one, other = torch.tensor(0.0), torch.tensor(1.0)
    # (1 + n) / (10 + n) of the average is kept: 2/11 after one update, half from n = 8 on
    assert torch.isclose(average(one, other, torch.tensor(1)), torch.tensor(9 / 11))
    assert torch.isclose(average(one, other, torch.tensor(8)), torch.tensor(0.5))
    assert torch.isclose(average(one, other, torch.tensor(1000)), torch.tensor(0.5))
