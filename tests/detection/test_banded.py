"""Fused convolutions on bands: the numbers of the plain modules, without what is air."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from mammodet.detection import fused_convolution
from mammodet.detection.banded import BandedMap, Quantisation
from mammodet.detection.bands import Band
from mammodet.detection.fused_convolution import FusedConvolution, folded

CPU = torch.device("cpu")


def _norm(kind, channels, generator):
    norm = kind(channels)
    for name in ("weight", "bias", "running_mean", "running_var"):
        with torch.no_grad():
            getattr(norm, name).copy_(torch.rand(channels, generator=generator) + 0.5)
    return norm.eval()


@pytest.fixture(params=[True, False], ids=["onednn", "plain"])
def fused_operations(request, monkeypatch):
    if request.param and not fused_convolution.can_fuse(torch.float32):
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(fused_convolution, "can_fuse", lambda dtype: request.param)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, FrozenBatchNorm2d])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_convolution_normalisation_sum_and_relu_are_those_of_the_modules(
    fused_operations, kind, size, stride
):
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(5, 7, size, stride, size // 2, bias=False)
    norm = _norm(kind, 7, generator)
    fused = FusedConvolution(folded(convolution, norm), stride, relu=True, dtype=torch.float32, device=CPU)
    for height, width in ((8, 6), (64, 96), (8, 6)):
        x = torch.randn(1, 5, height, width, generator=generator)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            plain = norm(convolution(x))
            torch.testing.assert_close(fused(x, size // 2), plain.relu(), atol=1e-5, rtol=1e-5)
            add = torch.randn(plain.shape, generator=generator)
            expected = (plain + add).relu()
            add = add.contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(fused(x, size // 2, add), expected, atol=1e-5, rtol=1e-5)


def test_a_convolution_keeps_three_copies_of_its_kernel_whatever_sizes_it_sees():
    if not fused_convolution.can_fuse(torch.float32):
        pytest.skip("this build of torch has no oneDNN")
    torch.manual_seed(0)
    convolution = nn.Conv2d(16, 24, 3, padding=1)
    fused = FusedConvolution(folded(convolution), relu=False, dtype=torch.float32, device=CPU)
    with torch.inference_mode():
        for side in (1, 2, 3, 5, 8, 12, 17, 23, 32, 46, 64, 90, 5):
            x = torch.randn(1, 16, side, side).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(fused(x, 1), convolution(x), atol=1e-5, rtol=1e-5)
            held = [one for one in [*fused._packed.values(), fused._kernel] if one is not None]
            assert len(held) <= 3


@pytest.mark.parametrize(
    "name", ["_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight"]
)
@pytest.mark.long
def test_a_torch_without_a_private_operation_runs_plainly(name):
    code = (
        "import sys, torch\n"
        "from mammodet.detection.fused_convolution import FusedConvolution, can_fuse\n"
        "def gone(*_, **__): raise AttributeError('no such operation')\n"
        "class Gone: default = binary = __call__ = staticmethod(gone)\n"
        "setattr(torch.ops.mkldnn, sys.argv[1], Gone())\n"
        "assert not can_fuse(torch.float32)\n"
        "weights = torch.ones(4, 3, 3, 3), torch.zeros(4)\n"
        "convolution = FusedConvolution(weights, relu=True, dtype=torch.float32, device=torch.device('cpu'))\n"
        "x = torch.ones(1, 3, 8, 8)\n"
        "assert convolution(x, 1)[0, 0, 4, 4] == 27\n"
        "assert convolution(x, 1, torch.ones(1, 4, 8, 8))[0, 0, 4, 4] == 28\n"
    )
    subprocess.run([sys.executable, "-c", code, name], check=True)


BANDS = (Band(0, 1, 1, 3), Band(1, 2, 0, 4), Band(3, 4, 2, 4))  # a gap, and edges inside and at the border


def _banded(stride, channels=3, seed=0):
    """Return a map whose values outside the bands are air, whole and in bands."""
    generator = torch.Generator().manual_seed(seed)
    air = torch.rand(channels, generator=generator)
    height, width = 4 * 32 // stride, 4 * 32 // stride
    whole = air[None, :, None, None].expand(1, channels, height, width).clone()
    for band in BANDS:
        top, bottom, left, right = band.at(stride)
        whole[:, :, top:bottom, left:right] = torch.rand(
            1, channels, bottom - top, right - left, generator=generator
        )
    whole = whole.contiguous(memory_format=torch.channels_last)
    parts = []
    for band in BANDS:
        top, bottom, left, right = band.at(stride)
        part = whole[:, :, top:bottom, left:right]
        parts.append(part.contiguous(memory_format=torch.channels_last))
    return BandedMap(parts, BANDS, stride, (height, width), air), whole


@pytest.mark.parametrize("stride", [4, 16])
@pytest.mark.parametrize(("size", "step"), [(1, 1), (3, 1), (3, 2), (1, 2)])
def test_bands_see_their_neighbours_air_and_the_border_as_the_whole_map_does(
    fused_operations, stride, size, step
):
    torch.manual_seed(1)
    x, whole = _banded(stride)
    convolution = nn.Conv2d(3, 4, size, step, size // 2)
    fused = FusedConvolution(folded(convolution), step, relu=False, dtype=torch.float32, device=CPU)
    with torch.inference_mode():
        y, expected = fused.on_map(x), convolution(whole)
    assert y.size == tuple(expected.shape[2:]) and y.stride == stride * step
    for part, band in zip(y.parts, y.bands, strict=True):
        top, bottom, left, right = band.at(y.stride)
        torch.testing.assert_close(part, expected[:, :, top:bottom, left:right], atol=1e-5, rtol=1e-5)


def test_air_is_what_the_convolution_makes_of_air_far_from_everything():
    torch.manual_seed(2)
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    fused = FusedConvolution(folded(convolution), relu=True, dtype=torch.float32, device=CPU)
    air = torch.rand(3)
    far = convolution(air[None, :, None, None].expand(1, 3, 9, 9)).relu()[0, :, 4, 4]
    torch.testing.assert_close(fused.on_air(air), far.detach(), atol=1e-5, rtol=1e-5)


def test_the_whole_map_is_put_together_again():
    x, whole = _banded(8)
    torch.testing.assert_close(x.whole(), whole)
    quantisation = Quantisation(0.01, 7)
    stored = BandedMap([quantisation.store(part) for part in x.parts], BANDS, 8, x.size, x.air, quantisation)
    restored = (stored.whole().float() - 7) * 0.01
    assert (restored - whole).abs().max() <= 0.005 + 1e-6


def test_quantisation_keeps_zero_and_clips():
    quantisation = Quantisation(0.1, 100)
    stored = quantisation.store(torch.tensor([0.0, 0.04, 0.06, -100.0, 100.0]))
    assert stored.tolist() == [100, 100, 101, 0, 255]


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(TypeError, match="InstanceNorm2d"):
        folded(nn.Conv2d(1, 1, 1), nn.InstanceNorm2d(1))
