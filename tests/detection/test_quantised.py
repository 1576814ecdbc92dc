"""int8: close to the numbers it stands for, refused where it cannot run."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mammodet.datasets.errors import InputError
from mammodet.detection.banded import BandedMap
from mammodet.detection.bands import Band
from mammodet.detection.calibration import measure_ranges
from mammodet.detection.fused_convolution import folded
from mammodet.detection.inference import Detector
from mammodet.detection.model_file import read_header, write_model
from mammodet.detection.quantised import QuantisedConvolution, has_exact_int8, int8_problem, quantisation_of
from mammodet.networks.tensor_file import read_tensors

# What int8 computes can only be looked at where it is not refused.
computes_int8 = pytest.mark.skipif(not has_exact_int8(), reason=f"no exact int8 here: {int8_problem()}")

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN"
)


def _map(real, quantisation):
    stored = quantisation.store(real).contiguous(memory_format=torch.channels_last)
    size = tuple(real.shape[2:])
    return BandedMap(
        [stored],
        (Band(0, size[0] // 8, 0, size[1] // 8),),
        4,
        size,
        real.new_zeros(real.shape[1]),
        quantisation,
    )


def _real(x):
    return (
        x.parts[0].float()
        if x.quantisation is None
        else (x.parts[0].float() - x.quantisation.zero) * x.quantisation.scale
    )


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (3, 2), (1, 2)])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("signed", [True, False])
@computes_int8
def test_a_convolution_is_within_its_steps_of_the_real_one(size, stride, relu, signed):
    torch.manual_seed(0)
    real = torch.randn(1, 16, 32, 24) if signed else torch.rand(1, 16, 32, 24)
    convolution = nn.Conv2d(16, 24, size, stride, size // 2)
    with torch.inference_mode():
        expected = convolution(real)
        other = torch.randn_like(expected)
        for add in (None, other):
            wanted = expected if add is None else expected + add
            wanted = wanted.relu() if relu else wanted
            output = quantisation_of(float(wanted.min()), float(wanted.max()))
            quantised = QuantisedConvolution(folded(convolution), stride, relu, output)
            x = _map(real, quantisation_of(float(real.min()), float(real.max())))
            summed = (
                None if add is None else replace(_map(add, quantisation_of(-4.5, 4.5)), stride=4 * stride)
            )
            found = _real(quantised.on_map(x, summed))
            assert (found - wanted).norm() < 0.02 * wanted.norm()
            assert (found - wanted).abs().max() < 0.1


@pytest.mark.parametrize("stride", [4, 16])
@pytest.mark.parametrize(("size", "step"), [(1, 1), (3, 1), (3, 2), (1, 2)])
def test_bands_give_the_bytes_of_the_whole_map(stride, size, step):
    torch.manual_seed(0)
    quantisation, side = quantisation_of(-2, 4), 4 * 32 // stride
    bands = (
        Band(0, 1, 1, 3),
        Band(1, 2, 0, 4),
        Band(3, 4, 2, 4),
    )  # a gap, and edges inside and at the border
    air = (torch.randint(0, 256, (16,)) - quantisation.zero) * quantisation.scale
    real = air[None, :, None, None].expand(1, 16, side, side).clone()
    for band in bands:
        top, bottom, left, right = band.at(stride)
        real[:, :, top:bottom, left:right] = torch.rand(1, 16, bottom - top, right - left) * 6 - 2
    stored = quantisation.store(real).contiguous(memory_format=torch.channels_last)
    parts = []
    for band in bands:
        top, bottom, left, right = band.at(stride)
        parts.append(stored[:, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last))
    some = BandedMap(parts, bands, stride, (side, side), air, quantisation)
    every = BandedMap([stored], (Band(0, 4, 0, 4),), stride, (side, side), air, quantisation)
    convolution = nn.Conv2d(16, 24, size, step, size // 2)
    quantised = QuantisedConvolution(folded(convolution), step, False, quantisation_of(-5, 5))
    with torch.inference_mode():
        found, whole = quantised.on_map(some), quantised.on_map(every).parts[0]
    for part, band in zip(found.parts, bands, strict=True):
        top, bottom, left, right = band.at(found.stride)
        assert torch.equal(part, whole[:, :, top:bottom, left:right])


def test_the_last_convolution_returns_real_numbers():
    torch.manual_seed(0)
    real = torch.rand(1, 8, 16, 16)
    convolution = nn.Conv2d(8, 15, 1)
    quantised = QuantisedConvolution(folded(convolution), 1, False, None)
    with torch.inference_mode():
        found = quantised.on_map(_map(real, quantisation_of(0, 1)))
        assert found.parts[0].dtype == torch.bfloat16 and found.quantisation is None
        wanted = convolution(real)
        assert (found.parts[0].float() - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize(("low", "high"), [(0, 0), (-1, 3), (0.5, 2), (-3, -1)])
def test_a_quantisation_holds_zero_exactly_and_its_range(low, high):
    quantisation = quantisation_of(low, high)
    values = torch.tensor([0.0, float(low), float(high)])
    restored = (quantisation.store(values).float() - quantisation.zero) * quantisation.scale
    assert restored[0] == 0 and (restored - values).abs().max() <= quantisation.scale / 2 + 1e-6


def _breast():
    pixels = np.random.default_rng(0).random((352, 256), dtype=np.float32)
    pixels[:, 150:] = 0
    return pixels


@computes_int8
def test_a_calibrated_model_runs_in_int8_and_stays_close(model_path):
    detector = Detector.load(model_path, device="cpu", precision="bf16", score_threshold=0.0)
    ranges = measure_ranges(detector, [_breast()])
    header = replace(detector.header, calibration={"ranges": ranges, "images": 1})
    write_model(model_path, detector.model.state_dict(), header)
    assert read_header(model_path).calibration["ranges"] == ranges
    quantised = Detector.load(model_path, device="cpu", precision="int8", score_threshold=0.0)
    frame = detector.fused.frame(_breast())
    bands = [Band(0, 11, 0, 8)]
    pairs = zip(
        detector.fused.network(frame, bands, -1.5), quantised.fused.network(frame, bands, -1.5), strict=True
    )
    for exact, rounded in pairs:
        wanted = exact.features.parts[0].float()
        assert (_real(rounded.features) - wanted).norm() < 0.15 * wanted.norm()
    assert len(quantised.predict_pixels(_breast())["boxes"]) > 0


@pytest.mark.parametrize(("options", "message"), [({}, "calibrat"), ({"compile": False}, "no plain mode")])
def test_int8_needs_a_calibration_and_has_no_plain_mode(model_path, options, message):
    with pytest.raises(InputError, match=f"int8.*{message}|{message}.*int8"):
        Detector.load(model_path, device="cpu", precision="int8", **options)


@computes_int8
def test_a_calibration_of_another_architecture_is_named(model_path):
    header = replace(read_header(model_path), calibration={"ranges": {"stem": (0.0, 1.0)}})
    write_model(model_path, read_tensors(model_path), header)
    with pytest.raises(InputError, match=r"model\.safetensors.*calibration\.ranges.*layer1\.0\.conv1"):
        Detector.load(model_path, device="cpu", precision="int8")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([1], "damaged header"),
        ("ab", "damaged header"),
        ([0.0, float("nan")], r"calibration\.ranges\.stem.*nan"),
        ([float("-inf"), 1.0], r"calibration\.ranges\.stem.*inf"),
        ([2.0, 1.0], r"calibration\.ranges\.stem"),
        ([0.0, 1e300], r"calibration\.ranges\.stem.*1e\+300"),
        ([-1e300, 1e300], r"calibration\.ranges\.stem"),
        ([-3e38, 3e38], r"calibration\.ranges\.stem"),
    ],
)
def test_a_damaged_calibration_is_named(model_path, limits, message):
    header = replace(read_header(model_path), calibration={"ranges": {"stem": limits}})
    write_model(model_path, read_tensors(model_path), header)
    with pytest.raises(InputError, match=message):
        read_header(model_path)


def test_calibration_needs_images_and_finite_outputs(model_path):
    detector = Detector.load(model_path, device="cpu", precision="bf16")
    with pytest.raises(InputError, match="no image"):
        measure_ranges(detector, [])
    with pytest.raises(InputError, match="pixels are not finite"):
        measure_ranges(detector, [np.full((64, 64), np.nan, np.float32)])
    with torch.no_grad():
        detector.model.backbone.body.layer1[0].conv1.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        measure_ranges(detector, [_breast()])


def test_calibration_runs_the_network_alone(model_path, monkeypatch):
    detector = Detector.load(model_path, device="cpu", precision="bf16")
    monkeypatch.setattr("mammodet.detection.fused_heads.FusedHeads.__call__", None)
    assert "scores" in measure_ranges(detector, [_breast()])


@pytest.mark.parametrize("name", ["qconv2d_pointwise", "qconv_prepack"])
@pytest.mark.long
def test_a_torch_without_a_private_operation_has_no_int8(name):
    code = (
        "import sys, torch\n"
        "from mammodet.detection.quantised import has_exact_int8, int8_problem\n"
        "def gone(*_, **__): raise AttributeError('no such operation')\n"
        "class Gone: default = binary = __call__ = staticmethod(gone)\n"
        "setattr(torch.ops.onednn, sys.argv[1], Gone())\n"
        "assert not has_exact_int8() and 'VNNI' in int8_problem()\n"
    )
    subprocess.run([sys.executable, "-c", code, name], check=True)


def test_a_processor_without_bf16_and_vnni_runs_bf16_plainly_and_refuses_int8():
    code = (
        "import torch\n"
        "from mammodet.detection.fused_convolution import FusedConvolution\n"
        "from mammodet.detection.quantised import has_exact_int8\n"
        "weights = torch.ones(4, 3, 3, 3), torch.zeros(4)\n"
        "convolution = FusedConvolution(weights, relu=True, dtype=torch.bfloat16, device=torch.device('cpu'))\n"
        "assert convolution(torch.ones(1, 3, 8, 8, dtype=torch.bfloat16), 1)[0, 0, 4, 4] == 27\n"
        "assert not has_exact_int8()\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
