"""A detector whose result comes from several runs of the network: over tiles, over mirror images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mammodet.detection.bands import AIR_LEVEL, AIR_SPREAD
from mammodet.detection.flips import FLIPS, Flips, fuse_runs
from mammodet.detection.inference import Detector
from mammodet.detection.tiling import Tiles, merge_tiles, no_boxes, suppress, tile_windows

# Scores are means over mirror images, so boxes that one of them is unsure of are needed too.
LOWEST_SCORE = 0.01


class ComposedDetector(Detector):
    """A loaded detector that looks at an image in tiles, in mirror images, or both.

    Parameters
    ----------
    detector:
        Its network, thresholds and recipe stay in force.
    tiles:
        None looks at whole images. With tiles, the network's memory is that of one tile, whatever the image.
    flips:
        "none", "horizontal" (as it is, and left and right exchanged), or "all" (top and bottom too: four
        runs).
    """

    def __init__(self, detector: Detector, tiles: Tiles | None = None, flips: Flips = "none") -> None:
        super().__init__(detector.model, detector.header, detector.device, detector.precision, detector.fused)
        self.tiles = tiles
        self.flips: Flips = flips

    def predict_pixels(self, pixels: NDArray[np.float32]) -> dict[str, Tensor]:
        """Return ``boxes``, ``labels``, ``scores`` of standardised pixels [h, w], in that frame."""
        if self.flips == "none":
            return self._run(pixels)
        heads = self.model.roi_heads
        height, width = pixels.shape
        runs = []
        with self._unsure_boxes_too() as threshold:
            for flip in FLIPS[self.flips]:
                output = self._run(flip.pixels(pixels))
                boxes = flip.boxes(output["boxes"].double(), height, width)
                runs.append({**output, "boxes": boxes})
        fused = fuse_runs(runs, heads.nms_thresh)
        sure = {name: values[fused["scores"] > threshold] for name, values in fused.items()}
        return suppress(sure, heads.nms_thresh, heads.detections_per_img)

    def _run(self, pixels: NDArray[np.float32]) -> dict[str, Tensor]:
        if self.tiles is None:
            return self._on_cpu(pixels)
        height, width = pixels.shape
        windows = tile_windows(height, width, self.tiles.size, self.tiles.overlap)
        outputs = [self._on_cpu(pixels[one.top : one.bottom, one.left : one.right]) for one in windows]
        heads = self.model.roi_heads
        return merge_tiles(
            outputs,
            windows,
            height,
            width,
            nms_threshold=heads.nms_thresh,
            max_detections=heads.detections_per_img,
        )

    def _on_cpu(self, pixels: NDArray[np.float32]) -> dict[str, Tensor]:
        if self.fused is not None and self.fused.skip_air and _is_air(pixels):
            return no_boxes()
        return {name: values.cpu() for name, values in super().predict_pixels(pixels).items()}

    @contextmanager
    def _unsure_boxes_too(self) -> Iterator[float]:
        """Lower the score threshold for a while, and give the one that holds for the result."""
        heads = self.model.roi_heads
        threshold: float = heads.score_thresh
        heads.score_thresh = min(threshold, LOWEST_SCORE)
        try:
            yield threshold
        finally:
            heads.score_thresh = threshold


def _is_air(pixels: NDArray[np.float32]) -> bool:
    darkest, brightest = pixels.min(), pixels.max()
    return bool(brightest <= AIR_LEVEL and brightest - darkest <= AIR_SPREAD)
