"""The prepared detector beside the plain one: the same boxes, with torchvision's own modules as the oracle."""

import platform
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import MultiScaleRoIAlign

from mammodet.datasets.standardise import Recipe
from mammodet.detection.banded import BandedMap
from mammodet.detection.bands import occupied_bands, whole_frame
from mammodet.detection.fused_convolution import FusedConvolution
from mammodet.detection.fused_detector import FusedDetector
from mammodet.detection.fused_heads import pool_regions
from mammodet.detection.fused_network import FusedNetwork
from mammodet.detection.inference import Detector
from mammodet.detection.model import DetectorConfig, build_detector, set_thresholds
from mammodet.detection.model_file import ModelHeader, write_model
from mammodet.networks.allocator import keep_freed_memory

CPU = torch.device("cpu")


def _model(backbone, seed=0):
    torch.manual_seed(seed)
    config = DetectorConfig(
        backbone,
        norm="batch",
        fpn_channels=32,
        anchor_sizes=(16, 32, 64, 96, 128),
        rpn_proposals=100,
        image_mean=0.3,
        image_std=0.2,
    )
    model = build_detector(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as after training, not 0 and 1
            with torch.no_grad():
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1)
    with torch.no_grad():  # random box heads give every region the same scores; these tell them apart
        model.roi_heads.box_predictor.cls_score.weight.mul_(20)
    set_thresholds(model, score=0.01)
    return model


def _breast(height, width, seed=0):
    """Return pixels with a bright half ellipse full of texture at the left, and air."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / (0.45 * height)) ** 2 + (columns / (0.6 * width)) ** 2 < 1
    texture = np.random.default_rng(seed).uniform(0.2, 1, (height, width))
    return np.where(inside, texture, 0).astype(np.float32)


def _plain(model, pixels):
    with torch.inference_mode():
        return model([torch.from_numpy(pixels)[None]])[0]


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
@pytest.mark.parametrize("shape", [(224, 160), (250, 333), (20, 20), (40, 40)])
def test_in_fp32_the_whole_frame_gives_the_boxes_of_torchvision(backbone, shape):
    model, pixels = _model(backbone), _breast(*shape)
    fused = FusedDetector(model, FusedNetwork(model, torch.float32, CPU), skip_air=False)
    ours, plain = fused(pixels), _plain(model, pixels)
    assert len(plain["boxes"]) > 5
    torch.testing.assert_close(ours["boxes"], plain["boxes"], atol=0.02, rtol=1e-4)
    torch.testing.assert_close(ours["scores"], plain["scores"], atol=1e-4, rtol=1e-3)
    assert torch.equal(ours["labels"], plain["labels"])


def test_feature_maps_inside_the_breast_do_not_change_when_air_is_left_out():
    model = _model("resnet18")
    pixels = _breast(1024, 704)
    network = FusedNetwork(model, torch.float32, CPU)
    fused = FusedDetector(model, network)
    frame = fused.frame(pixels)
    bands, grey = occupied_bands(pixels)
    assert len(bands) > 1 and grey == 0
    air = -fused.mean / fused.std
    some = network(frame, bands, air)
    every = network(frame, whole_frame(*pixels.shape), air)
    inside = torch.from_numpy(pixels > 0)
    for one, other in zip(some[:4], every[:4], strict=True):
        stride = one.features.stride
        where = inside[::stride, ::stride]
        ours, theirs = one.features.whole()[0][:, where], other.features.whole()[0][:, where]
        # What differs comes from beyond the margin, through the largest receptive fields.
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


def _air_gone_through(model, pixels):
    """Return how far a network that leaves out air is from the whole one in the breast, as a share, by level."""
    network = FusedNetwork(model, torch.float32, CPU)
    inside = torch.from_numpy(pixels > 0.1)
    pairs = [FusedDetector(model, network, skip_air=skip).levels(pixels) for skip in (True, False)]
    assert len(pairs[0][0].features.bands) > 1
    shares = []
    for one, other in zip(pairs[0][:4], pairs[1][:4], strict=True):
        where = inside[:: one.features.stride, :: one.features.stride]
        ours, theirs = one.features.whole()[0][:, where], other.features.whole()[0][:, where]
        shares.append(float((ours - theirs).norm() / theirs.norm()))
    return shares


@pytest.mark.long
def test_the_grey_air_of_a_film_is_told_to_the_network():
    model = _model("resnet18")
    black = _breast(1024, 704)
    film = np.where(black > 0, black, np.float32(0.015))
    for level in range(4):
        assert _air_gone_through(model, film)[level] < 1.5 * _air_gone_through(model, black)[level] + 1e-4


class _Asked(FusedNetwork):
    def __call__(self, frame, bands, air):
        self.air = air, float(frame[0, 703])
        return super().__call__(frame, bands, air)


@pytest.mark.parametrize("grey", [0.0, 0.015])
def test_air_has_the_value_that_it_has_in_the_frame(grey):
    model = _model("resnet18")
    network = _Asked(model, torch.float32, CPU)
    FusedDetector(model, network).levels(np.maximum(_breast(1024, 704), np.float32(grey)))
    told, true = network.air
    assert told == pytest.approx(true, abs=1e-6)


class _Watched:
    """A convolution that notes weakly what it returns, and asks when called what is still there."""

    def __init__(self, name, inner, seen, alive):
        self.name, self.inner, self.seen, self.alive = name, inner, seen, alive

    def on_map(self, x, add=None):
        self.alive[self.name] = {
            name for name, found in self.seen.items() if any(one() is not None for one in found)
        }
        y = self.inner.on_map(x, add)
        self.seen[self.name] = [weakref.ref(part) for part in y.parts]
        return y


def test_the_pyramid_lets_go_of_what_it_has_used():
    seen, alive = {}, {}

    def build(name, weights, stride, relu):
        inner = FusedConvolution(weights, stride, relu=relu, dtype=torch.float32, device=CPU)
        return _Watched(name, inner, seen, alive)

    network = FusedNetwork(_model("resnet18"), torch.float32, CPU, build)
    network(torch.rand(128, 96), whole_frame(128, 96), 0.0)
    assert "inner0" in alive["outer0"]
    assert not {name for name in alive["outer0"] if name.startswith("layer")}
    assert not alive["outer0"] & {"inner1", "inner2", "inner3"}
    assert not {name for name in alive["proposal"] if name.startswith("inner")}


def test_a_head_or_pyramid_with_other_layers_is_refused():
    model = _model("resnet18")
    model.rpn.head.conv.append(torch.nn.GELU())
    with pytest.raises(TypeError, match="GELU"):
        FusedNetwork(model, torch.float32, CPU)
    model = _model("resnet18")
    model.rpn.head.conv[0][1] = torch.nn.LeakyReLU()
    with pytest.raises(TypeError, match="LeakyReLU"):
        FusedNetwork(model, torch.float32, CPU)
    model = _model("resnet18")
    model.backbone.fpn.inner_blocks[1].append(torch.nn.ReLU())
    with pytest.raises(TypeError, match="ReLU"):
        FusedNetwork(model, torch.float32, CPU)


def test_bf16_stays_close_to_fp32():
    model, pixels = _model("resnet50"), _breast(224, 160)
    frames = {}
    for dtype in (torch.float32, torch.bfloat16):
        fused = FusedDetector(model, FusedNetwork(model, dtype, CPU))
        levels = fused.network(fused.frame(pixels), whole_frame(*pixels.shape), -1.5)
        frames[dtype] = [level.features.whole().float() for level in levels]
    for exact, rounded in zip(*frames.values(), strict=True):
        assert (exact - rounded).norm() < 0.03 * exact.norm()


boxes = st.lists(
    st.tuples(*[st.floats(-20, 300) for _ in range(2)], *[st.floats(0.5, 300) for _ in range(2)]),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(boxes, st.integers(0, 100))
def test_pooling_is_that_of_torchvision(places, seed):
    generator = torch.Generator().manual_seed(seed)
    size = (256, 320)
    regions = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in places])
    maps, features = [], OrderedDict()
    for number, stride in enumerate((4, 8, 16, 32)):
        values = torch.randn(1, 6, size[0] // stride, size[1] // stride, generator=generator)
        features[str(number)] = values
        part = values.contiguous(memory_format=torch.channels_last)
        maps.append(BandedMap([part], whole_frame(*size), stride, tuple(values.shape[2:]), torch.zeros(6)))
    theirs = MultiScaleRoIAlign(list(features), 7, 2)(features, [regions], [size])  # [N, 6, 7, 7]
    ours = pool_regions(maps, regions, torch.float32).reshape(len(regions), 7, 7, 6).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_detector_is_prepared_unless_told_otherwise(tmp_path):
    config = DetectorConfig("resnet18", norm="batch", fpn_channels=32, image_mean=0.3, image_std=0.2)
    model = _model("resnet18")
    header = ModelHeader(config, Recipe(), "none")
    path = tmp_path / "model.safetensors"
    write_model(path, model.state_dict(), header)
    fast = Detector.load(path, device="cpu", precision="fp32", score_threshold=0.0)
    plain = Detector.load(path, device="cpu", precision="fp32", compile=False, score_threshold=0.0)
    assert fast.fused is not None and fast.fused.skip_air and plain.fused is None
    pixels = _breast(192, 128)
    fast.fused.skip_air = False
    ours, theirs = fast.predict_pixels(pixels), plain.predict_pixels(pixels)
    torch.testing.assert_close(ours["scores"], theirs["scores"], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (31, 500), (700, 33)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_odd_and_empty_images_do_not_fail(shape, value):
    model = _model("resnet18")
    for dtype in (torch.float32, torch.bfloat16):
        fused = FusedDetector(model, FusedNetwork(model, dtype, CPU))
        found = fused(np.full(shape, value, np.float32))
        assert found["boxes"].shape[1] == 4 and torch.isfinite(found["boxes"]).all()


def test_the_allocator_can_be_told_on_glibc():
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
