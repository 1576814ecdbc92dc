"""Heatmap of a whole mammogram: a patch classifier on one window after the other (Pesapane et al. 2023).

Published without overlap. With a ``stride`` below the side of a window they overlap, and scores are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammodet.classification.classifier import Classifier
from mammodet.classification.window_heat import WindowHeat, average_windows
from mammodet.classification.windows import Places, search_mask, window_starts, windows_over
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Standardised

Scorer = Callable[[Tensor], Tensor]  # float32 [N, 1, size, size], 0 to 1 -> scores [N], 0 to 1

_ROUNDING = 1e-3  # what sums of probabilities may be off


@dataclass(frozen=True)
class HeatmapConfig:
    """How a mammogram is searched with windows.

    Args:
        window: side of a window in pixels of the model frame; that of the patches the network was trained on.
        stride: pixels from one window to the next; null means as many as the window has, without overlap.
        batch: windows that the network gets at once.
        precision: arithmetic of the network, fp32 or bf16.
    """

    window: int = 112
    stride: int | None = None
    batch: int = 32
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        for name in ("window", "batch"):
            if getattr(self, name) < 1:
                raise InputError("must be 1 or more", field=name, value=getattr(self, name))
        window_starts(self.window, self.window, self.step)
        if self.precision not in ("fp32", "bf16"):
            remedy = "choose fp32 or bf16"
            raise InputError("unknown choice", field="precision", value=self.precision, remedy=remedy)

    @property
    def step(self) -> int:
        """Pixels from one window to the next."""
        return self.window if self.stride is None else self.stride


def class_probability(network: Classifier, classes: Sequence[str]) -> Scorer:
    """Return a scorer that tells the probability of some classes together, such as ``["malignant"]``.

    A class that is named twice counts once. InputError for a class that the network does not tell.
    """
    chosen = [network.class_index(name) for name in dict.fromkeys(classes)]

    def score(windows: Tensor) -> Tensor:
        return network(windows).softmax(dim=1)[:, chosen].sum(dim=1)

    return score


def mammogram_heat(
    scorer: Scorer,
    prepared: Standardised,
    config: HeatmapConfig,
    device: torch.device | str = "cpu",
    *,
    mask: NDArray[np.bool_] | None = None,
) -> WindowHeat:
    """Score every window that shows breast, and average where windows overlap.

    Parameters
    ----------
    scorer:
        See ``class_probability``; its network is in evaluation mode on ``device``.
    prepared:
        The mammogram, standardised by the recipe that the network was trained with.
    mask:
        Where to look, bool [r, c] over the standardised image, as coarse as wanted; None finds the breast.

    Returns
    -------
    WindowHeat
        ``to_source`` makes it a heatmap in the source frame, ``heat_boxes`` boxes.

    Raises
    ------
    InputError
        When a window is larger than the image, pixels are not finite, or scores are not 0 to 1.
    """
    height, width = prepared.pixels.shape
    where = search_mask(prepared.pixels) if mask is None else mask
    windows = windows_over(where, height, width, config.window, config.step)
    scores = window_scores(scorer, prepared.pixels, windows, config, device)
    return average_windows(windows, scores, config.window, prepared.geometry)


def window_scores(
    scorer: Scorer,
    pixels: NDArray[np.float32],
    windows: Places,
    config: HeatmapConfig,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Return the scores float32 [N] of windows int64 [N, 2] (x, y) of pixels float32 [h, w].

    Besides the image, a batch of windows is all that is held.
    """
    if not np.isfinite(pixels.sum()):
        raise InputError("pixels are not finite", field="pixels")
    where = torch.device(device)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).to(where)
    view = image.unfold(0, config.window, 1).unfold(1, config.window, 1)  # [rows, columns, size, size]
    places = torch.from_numpy(windows).to(where)
    # One place for all scores: small results that are kept one by one would lie between the large blocks of
    # freed batches, and the next batch would need new memory each time.
    found = torch.empty(len(windows), device=where)
    with (
        torch.inference_mode(),
        torch.autocast(where.type, torch.bfloat16, enabled=config.precision == "bf16"),
    ):
        for start in range(0, len(windows), config.batch):
            x, y = places[start : start + config.batch].unbind(1)
            found[start : start + config.batch] = scorer(view[y, x][:, None])
    scores: NDArray[np.float32] = found.cpu().numpy()  # one transfer, after all are queued
    odd = scores[~((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING))]  # NaN too
    if odd.size:
        raise InputError("the network gives scores that are not 0 to 1", field="scores", value=float(odd[0]))
    return scores
