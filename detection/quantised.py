"""int8: convolutions on 8-bit activations and weights, calibrated on images after training.

Weights are symmetric per output channel, activations are asymmetric per map with ranges seen on calibration
images, sums are 32 bit, as usual (Jacob et al. 2018). The first convolution, the box head and everything on
boxes stay in bfloat16 or float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from mammodet.datasets.errors import InputError
from mammodet.detection.banded import BandedMap, Quantisation
from mammodet.detection.bands import Band
from mammodet.detection.fused_convolution import FusedConvolution, Weights, size_class, subsampled
from mammodet.detection.fused_network import FusedNetwork, MapConvolution

Ranges = dict[str, tuple[float, float]]  # smallest and largest output by convolution

_STEM = "stem"
_LAST = "scores"  # its output is read by no convolution and stays in bfloat16


def quantisation_of(low: float, high: float) -> Quantisation:
    """Return the finest quantisation that holds 0 and the range from ``low`` to ``high``."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-6) / 255
    return Quantisation(scale, round(-low / scale))


class QuantisedConvolution:
    """A convolution on uint8 maps, with its bias, a sum, ReLU and requantisation in one pass (oneDNN).

    Parameters
    ----------
    weights:
        Kernel and bias, float32.
    output:
        Quantisation of the output; None returns bfloat16.

    Besides its kernel it holds at most three packed copies for every quantisation of inputs that it met.
    """

    def __init__(self, weights: Weights, stride: int, relu: bool, output: Quantisation | None) -> None:
        kernel, self.bias = weights
        self.stride, self.relu, self.output = stride, relu, output
        self.padding = kernel.shape[-1] // 2
        self.scales = (kernel.abs().amax(dim=(1, 2, 3)) / 127).clamp(min=1e-12)
        stored = (kernel / self.scales[:, None, None, None]).round().clamp(-127, 127)
        self._kernel = stored.to(torch.int8)
        self._summed = (stored * self.scales[:, None, None, None]).sum(dim=(2, 3))
        self._zeros = torch.zeros(len(kernel), dtype=torch.int64)
        self._packed: dict[tuple[Quantisation, int], Tensor] = {}

    def on_map(self, x: BandedMap, add: BandedMap | None = None) -> BandedMap:
        """Return the output on every band; the parts of ``add`` are overwritten."""
        assert x.quantisation is not None
        parts = []
        for index in range(len(x.parts)):
            padding, source = x.padded(index, self.padding, self.stride)
            parts.append(self._run(source, x.quantisation, padding, add, index))
        size = (x.size[0] // self.stride, x.size[1] // self.stride)
        air = self._summed @ x.air + self.bias
        air = air if add is None else air + add.air
        air = air.relu() if self.relu else air
        return BandedMap(parts, x.bands, x.stride * self.stride, size, air, self.output)

    def _run(
        self, x: Tensor, stored: Quantisation, padding: int, add: BandedMap | None, index: int
    ) -> Tensor:
        x, stride = subsampled(x, self.stride, self.padding)
        geometry = [stride, stride], [padding, padding], [1, 1], 1
        scale, zero = (1.0, 0) if self.output is None else (self.output.scale, self.output.zero)
        dtype = torch.bfloat16 if self.output is None else None
        after = "relu" if self.relu else "none"
        weights = self._kernel_for(x, stored), self.scales, self._zeros
        source = x, stored.scale, stored.zero
        if add is None:
            plain = torch.ops.onednn.qconv2d_pointwise.default
            return plain(*source, *weights, self.bias, *geometry, scale, zero, dtype, after, [], "")
        assert add.quantisation is not None
        kept = add.quantisation.scale, add.quantisation.zero
        summed = torch.ops.onednn.qconv2d_pointwise.binary
        return summed(
            *source, *weights, add.parts[index], self.bias, *geometry, scale, zero, dtype, *kept,
            "sum", 1.0, after, [], "",
        )  # fmt: skip

    def _kernel_for(self, x: Tensor, stored: Quantisation) -> Tensor:
        """Return the kernel packed for inputs of one size and quantisation, which its zero is folded into."""
        key = stored, size_class(x)
        if key not in self._packed:
            around, stride = [self.padding, self.padding], self.stride if self.padding else 1
            self._packed[key] = torch.ops.onednn.qconv_prepack(
                self._kernel, self.scales, stored.scale, stored.zero,
                [stride, stride], around, [1, 1], 1, list(x.shape),
            )  # fmt: skip
        return self._packed[key]


class QuantisedNetwork(FusedNetwork):
    """The fused network with all convolutions but the first in int8.

    Parameters
    ----------
    ranges:
        Of the model's calibration; see ``RecordingNetwork``.
    """

    def __init__(self, model: FasterRCNN, ranges: Mapping[str, tuple[float, float]]) -> None:
        self._after_stem = quantisation_of(*ranges[_STEM])

        def build(name: str, weights: Weights, stride: int, relu: bool) -> MapConvolution:
            output = None if name == _LAST else quantisation_of(*ranges[name])
            return QuantisedConvolution(weights, stride, relu, output)

        super().__init__(model, torch.bfloat16, torch.device("cpu"), build)

    def _stem(self, frame: Tensor, bands: tuple[Band, ...], air: float) -> BandedMap:
        x = super()._stem(frame, bands, air)
        parts = [self._after_stem.store(part) for part in x.parts]
        return BandedMap(parts, x.bands, x.stride, x.size, x.air, self._after_stem)


class RecordingNetwork(FusedNetwork):
    """The fused network in bfloat16, which notes the range of every convolution's output in ``ranges``."""

    def __init__(self, model: FasterRCNN) -> None:
        self.ranges: Ranges = {}

        def build(name: str, weights: Weights, stride: int, relu: bool) -> MapConvolution:
            device = torch.device("cpu")
            inner = FusedConvolution(weights, stride, relu=relu, dtype=torch.bfloat16, device=device)
            return _Recorder(name, inner, self)

        super().__init__(model, torch.bfloat16, torch.device("cpu"), build)

    def note(self, name: str, x: BandedMap) -> None:
        """Widen the range of a convolution by the values of its output."""
        extremes = [torch.aminmax(part) for part in x.parts]
        low, high = self.ranges.get(name, (0.0, 0.0))
        # numpy's minimum keeps what is not a number, which Python's may lose
        lows, highs = [float(one.min) for one in extremes], [float(one.max) for one in extremes]
        self.ranges[name] = (float(np.min([low, *lows])), float(np.max([high, *highs])))

    def _stem(self, frame: Tensor, bands: tuple[Band, ...], air: float) -> BandedMap:
        x = super()._stem(frame, bands, air)
        self.note(_STEM, x)
        return x


class _Recorder:
    def __init__(self, name: str, inner: FusedConvolution, network: RecordingNetwork) -> None:
        self.name, self.inner, self.network = name, inner, network

    def on_map(self, x: BandedMap, add: BandedMap | None = None) -> BandedMap:
        y = self.inner.on_map(x, add)
        self.network.note(self.name, y)
        return y


@cache
def has_exact_int8() -> bool:
    """Tell whether int8 convolutions work here, with and without a sum, and their products add up exactly.

    Without VNNI pairs of products overflow 16 bits. The operations are private to torch, so they are tried.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    kernel = torch.full((64, 64, 3, 3), 1.0)
    output = quantisation_of(0, 64 * 9)
    quantised = QuantisedConvolution((kernel, torch.zeros(64)), 1, False, output)
    x = torch.full((1, 64, 32, 32), 255, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    brightest = BandedMap([x], (Band(0, 4, 0, 4),), 4, (32, 32), torch.ones(64), quantisation_of(0, 1))
    nothing = replace(brightest, parts=[torch.zeros_like(x)], air=torch.zeros(64))
    try:
        with torch.inference_mode():
            found = [quantised.on_map(brightest, add).parts[0].float() for add in (None, nothing)]
    except (
        RuntimeError,
        AttributeError,
        TypeError,
    ):  # missing, of another signature, or not on this processor
        return False
    return all(bool((one[:, :, 1:-1, 1:-1] >= 253).all()) for one in found)  # stored; the whole range is 255


def int8_problem() -> str:
    """Return why this machine cannot run in int8; empty when it can."""
    if has_exact_int8():
        return ""
    return "this processor or torch has no 8-bit convolutions that add up without overflow (VNNI)"


def require_int8(calibration: Mapping[str, Any], path: Any, device: torch.device, compiled: bool) -> None:
    """Raise InputError when this machine, this model or plain mode cannot run in int8."""
    problem, remedy = "", "give --precision auto"
    if device.type != "cpu":
        problem = f"int8 runs on CPUs only, not on {device.type}"
    elif not compiled:
        problem, remedy = "int8 has no plain mode", "leave out --no-compile, or give --precision auto"
    elif int8_problem():
        problem = int8_problem()
    elif not calibration:
        problem = "is not calibrated for int8"
        remedy = "run mammodet calibrate on your own images, or give --precision auto"
    if problem:
        raise InputError(problem, file=path, field="--precision", value="int8", remedy=remedy)
