"""Frozen normalisation gives torchvision's numbers, in the dtype of what it was given."""

from __future__ import annotations

import torch
from torchvision.ops.misc import FrozenBatchNorm2d

from mammodet.detection.frozen_norm import FrozenNorm


def _pair() -> tuple[FrozenBatchNorm2d, FrozenNorm]:
    torch.manual_seed(0)
    own, theirs = FrozenNorm(7), FrozenBatchNorm2d(7)
    for tensor in own.buffers():
        tensor.copy_(torch.rand(7) + 0.5)
    theirs.load_state_dict(own.state_dict())
    return theirs, own


def test_float32_is_torchvisions_bit_for_bit_with_its_gradient():
    theirs, own = _pair()
    given = torch.randn(2, 7, 9, 5, requires_grad=True)
    before = given.detach().clone()
    expected, result = theirs(given), own.train()(given)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    torch.testing.assert_close(given.detach(), before, rtol=0, atol=0)
    weights = torch.randn_like(result)
    for output in (expected, result):
        (gradient,) = torch.autograd.grad(output, given, weights)
        torch.testing.assert_close(
            gradient, weights * (own.weight * (own.running_var + own.eps).rsqrt())[:, None, None]
        )


def test_bfloat16_is_rounded_once_in_training_and_wide_in_inference():
    theirs, own = _pair()
    given = torch.randn(2, 7, 9, 5).bfloat16()
    before = given.clone()
    wide = theirs(given)
    torch.testing.assert_close(own.eval()(given), wide, rtol=0, atol=0)
    torch.testing.assert_close(own.train()(given), wide.bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(given, before, rtol=0, atol=0)
