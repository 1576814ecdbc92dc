"""The loss of a region's class against numbers and code from elsewhere."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from mammodet.datasets.errors import InputError
from mammodet.detection.losses import LossConfig, classification_loss, focal_loss, weigh_losses


def regions(count=64, classes=3, seed=0, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator) * spread
    return logits, torch.randint(classes, (count,), generator=generator)


def of_probability(p):
    """Return logits [1, 3] whose softmax gives class 1 the probability p."""
    return torch.tensor([[(1 - p) / 2, p, (1 - p) / 2]]).log()


def test_well_classified_regions_count_as_little_as_in_the_paper():
    """Lin et al. 2017, section 3.2: with gamma 2, 100 times less at p 0.9, about 1000 times at 0.968."""
    label = torch.tensor([1])
    for p, times, within in ((0.9, 100, 1e-3), (0.968, 1000, 0.03), (0.5, 4, 1e-3)):
        focal, entropy = focal_loss(of_probability(p), label, 2.0), F.cross_entropy(of_probability(p), label)
        assert float(entropy / focal) == pytest.approx(times, rel=within)


def test_two_regions_computed_by_hand():
    """0.25 * 0.8^2 * -ln 0.2 and 1 * 0.3^2 * -ln 0.7, divided by two regions whatever the weights."""
    logits = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.7, 0.2]]).log()
    by_hand = (0.25 * 0.64 * 1.6094379 + 0.09 * 0.3566749) / 2
    alpha = torch.tensor([0.25, 1.0, 3.0])
    assert float(focal_loss(logits, torch.tensor([0, 1]), 2.0, alpha)) == pytest.approx(by_hand, rel=1e-6)


@given(
    st.integers(1, 40), st.integers(2, 5), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]), st.integers(0, 10**6)
)
def test_equation_5_in_double_precision(count, classes, gamma, seed):
    logits, labels = regions(count, classes, seed)
    alpha = np.linspace(0.25, 2, classes)
    exact = np.exp(logits.double().numpy())
    own = (exact / exact.sum(axis=1, keepdims=True))[np.arange(count), labels]
    expected = np.mean(-alpha[labels] * (1 - own) ** gamma * np.log(own))
    got = focal_loss(logits, labels, gamma, torch.from_numpy(alpha))
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, 0.9), (0.0, 0.5)])
def test_with_two_classes_it_is_torchvisions_sigmoid_focal_loss(gamma, alpha):
    """The softmax over (0, x) is the sigmoid of x."""
    x, labels = regions(50, 2)
    x = x[:, 1]
    expected = sigmoid_focal_loss(x, labels.float(), alpha, gamma, reduction="mean")
    got = focal_loss(torch.stack([0 * x, x], 1), labels, gamma, torch.tensor([1 - alpha, alpha]))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("count", [1, 7, 512])
@pytest.mark.parametrize(
    "config", [LossConfig(), LossConfig("focal", 0.0), LossConfig("focal", 0, (1, 1, 1))]
)
def test_without_gamma_and_weights_it_is_cross_entropy_to_the_last_bit(count, config):
    logits, labels = regions(count)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    got, expected = classification_loss(ours, labels, config), F.cross_entropy(theirs, labels)
    got.backward()
    expected.backward()
    assert torch.equal(got, expected) and torch.equal(ours.grad, theirs.grad)


def test_class_weights_are_no_part_of_the_divisor():
    logits, labels = regions()
    once, twice = ((0.25, 1.0, 1.0), (0.5, 2.0, 2.0))
    loss = classification_loss(logits, labels, LossConfig(class_weights=once))
    torch.testing.assert_close(classification_loss(logits, labels, LossConfig(class_weights=twice)), 2 * loss)
    summed = F.cross_entropy(logits, labels, torch.tensor(once), reduction="sum")
    torch.testing.assert_close(loss, summed / len(labels))
    background = torch.zeros_like(labels)
    torch.testing.assert_close(
        classification_loss(logits, background, LossConfig(class_weights=once)),
        0.25 * F.cross_entropy(logits, background),
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_regions_beyond_doubt_have_finite_losses_and_slopes(gamma, dtype):
    logits = torch.tensor([[200.0, 0, 0], [200, 0, 0], [30, 0, 0]], dtype=dtype, requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 1, 0]), gamma)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(200 / 3, rel=1e-3)
    assert torch.isfinite(logits.grad).all()


def test_slopes_are_those_of_the_values():
    logits, labels = regions(5, spread=1.0)
    alpha = torch.tensor([0.25, 1.0, 2.0])
    step = 1e-2
    exact = logits.clone().requires_grad_()
    focal_loss(exact, labels, 2.0, alpha).backward()
    for place in np.ndindex(5, 3):
        moved = torch.zeros_like(logits)
        moved[place] = step
        up, down = (focal_loss(logits + sign * moved, labels, 2.0, alpha) for sign in (1, -1))
        assert float(exact.grad[place]) == pytest.approx(float(up - down) / (2 * step), abs=2e-3)


def test_each_loss_has_its_weight():
    losses = {name: torch.tensor(1.0) for name in NAMES}
    config = LossConfig(**{name.replace("loss", "weight", 1): 2.0 + i for i, name in enumerate(NAMES)})
    assert {name: float(one) for name, one in weigh_losses(losses, config).items()} == dict(
        zip(NAMES, (2, 3, 4, 5), strict=True)
    )


NAMES = ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"classification": "hinge"}, "loss.classification"),
        ({"gamma": -1}, "loss.gamma"),
        ({"gamma": math.nan}, "loss.gamma"),
        ({"class_weights": (1.0, 1.0)}, "loss.class_weights"),
        ({"class_weights": (0.0, 1.0, 1.0)}, "loss.class_weights"),
        ({"class_weights": (1.0, math.inf, 1.0)}, "loss.class_weights"),
        ({"weight_box_reg": -0.1}, "loss.weight_box_reg"),
        ({"weight_objectness": math.inf}, "loss.weight_objectness"),
        ({"hard_negative_share": 1.5}, "loss.hard_negative_share"),
    ],
)
def test_impossible_options_are_named(options, field):
    with pytest.raises(InputError, match=field):
        LossConfig(**options)
