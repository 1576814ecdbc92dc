"""Detector: load a model file once, then turn mammograms into boxes in their source frame."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from mammodet.datasets.coco import clip_bbox, to_xywh
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.mammogram import Mammogram
from mammodet.datasets.standardise import Standardised, standardise
from mammodet.detection.fused_detector import FusedDetector
from mammodet.detection.fused_network import FusedNetwork
from mammodet.detection.model import build_detector, move, set_thresholds
from mammodet.detection.model_file import ModelHeader, read_header
from mammodet.detection.quantised import QuantisedNetwork, require_int8
from mammodet.networks.allocator import keep_freed_memory
from mammodet.networks.precision import choose_device, choose_precision, use_full_float32
from mammodet.networks.tensor_file import read_tensors


class Detector:
    """A trained detector, ready to predict.

    ``header.recipe`` is the recipe that mammograms must be read with. ``fused`` is the network prepared for
    inference, None in plain mode: torchvision's own modules, the oracle that the prepared one is held to.
    """

    def __init__(
        self,
        model: FasterRCNN,
        header: ModelHeader,
        device: torch.device,
        precision: str,
        fused: FusedDetector | None = None,
    ) -> None:
        self.model = model
        self.header = header
        self.device = device
        self.precision = precision
        self.fused = fused

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "auto",
        compile: bool = True,
        skip_air: bool = True,
        score_threshold: float | None = None,
    ) -> Detector:
        """Load a ``model.safetensors``.

        Parameters
        ----------
        precision:
            "fp32", "bf16", "int8" (of a calibrated model, on a CPU) or "auto", see ``choose_precision``. On
            CUDA "fp32" turns TF32 off in the whole process, see ``use_full_float32``.
        compile:
            Prepare the network for inference: normalisations folded, sums and ReLU inside the convolutions,
            one grey channel in, regions pooled in place. On a CPU this also tells the allocator of the whole
            process to keep freed memory. False runs torchvision's modules as they are.
        skip_air:
            Leave out what is nothing but air; only when prepared.
        score_threshold:
            Boxes with a lower score are not returned; None takes the model's own (published: 0.3).

        Raises
        ------
        InputError
            When the file is damaged, was trained on other categories, or does not fit its own header.
        """
        header = read_header(Path(path))
        model = build_detector(header.config)
        try:
            model.load_state_dict(read_tensors(Path(path)))
        except RuntimeError as error:
            raise InputError(
                f"has tensors that do not fit its own header: {str(error).splitlines()[-1]}",
                file=path,
                remedy="give the model.safetensors that mammodet train-det wrote",
            ) from None
        set_thresholds(model, score=score_threshold)
        where = choose_device(device)
        chosen = choose_precision(precision, where)
        if chosen == "int8":
            require_int8(header.calibration, path, where, compile)
        if chosen == "fp32":
            use_full_float32(where)
        model = move(model.eval(), where)
        # Not tried on MPS; group normalisation cannot be folded into a convolution.
        if not compile or where.type == "mps" or header.config.norm == "group":
            return cls(model, header, where, chosen)
        if where.type == "cpu":
            keep_freed_memory()
        network = _network(model, header, chosen, where, path)
        return cls(model, header, where, chosen, FusedDetector(model, network, skip_air=skip_air))

    def predict(self, mammogram: Mammogram, image_id: int) -> list[dict[str, Any]]:
        """Return the lesions of one mammogram as COCO results, in the source frame, by falling score.

        ``mammogram`` must have been read with ``header.recipe``.
        """
        return self.predict_standardised(standardise(mammogram, self.header.recipe), image_id)

    def predict_standardised(self, prepared: Standardised, image_id: int) -> list[dict[str, Any]]:
        """Return the lesions of a mammogram that ``header.recipe`` has standardised already."""
        return results_of(image_id, self.predict_pixels(prepared.pixels), prepared.geometry)

    def predict_pixels(self, pixels: NDArray[np.float32]) -> dict[str, Tensor]:
        """Run the network on standardised pixels [h, w]; ``boxes``, ``labels``, ``scores`` in that frame.

        Raises InputError when a pixel is not finite.
        """
        pixels = require_finite(np.ascontiguousarray(pixels))
        if self.fused is not None:
            return self.fused(pixels)
        image = torch.from_numpy(pixels)[None].to(self.device)
        with torch.inference_mode(), self._autocast():
            output: dict[str, Tensor] = self.model([image])[0]
        return output

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def require_finite(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pixels as they are; InputError when some are not finite, since boxes would mean nothing."""
    if not np.isfinite(pixels.sum()):
        count = pixels.size - int(np.isfinite(pixels).sum())
        raise InputError("pixels are not finite", field="pixels", value=f"{count} of {pixels.size}")
    return pixels


def _network(
    model: FasterRCNN,
    header: ModelHeader,
    precision: str,
    device: torch.device,
    path: str | os.PathLike[str],
) -> FusedNetwork:
    if precision != "int8":
        return FusedNetwork(model, torch.bfloat16 if precision == "bf16" else torch.float32, device)
    try:
        return QuantisedNetwork(model, header.calibration["ranges"])
    except KeyError as error:
        raise InputError(
            "its calibration does not name a convolution of its own architecture",
            file=path,
            field="calibration.ranges",
            value=error.args[0],
            remedy="run mammodet calibrate again",
        ) from None


def results_of(image_id: int, output: dict[str, Tensor], geometry: Geometry) -> list[dict[str, Any]]:
    """Turn a detector's output for one image into COCO results in the source frame.

    Boxes go back through ``geometry`` and are clipped to the source image; what lies in padding alone is
    dropped.
    """
    boxes = geometry.boxes_to_source(output["boxes"].detach().cpu().double().numpy())
    rows: Iterable[tuple[Any, int, float]] = zip(
        to_xywh(boxes).tolist(), output["labels"].tolist(), output["scores"].float().tolist(), strict=True
    )
    results = []
    for bbox, label, score in rows:
        clipped = clip_bbox(bbox, geometry.source_width, geometry.source_height)
        if clipped is not None:
            results.append({"image_id": image_id, "category_id": label, "bbox": clipped, "score": score})
    return sorted(results, key=lambda one: -float(one["score"]))
