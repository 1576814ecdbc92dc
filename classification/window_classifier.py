"""A trained classifier of patches, ready to search mammograms window by window."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mammodet.classification.heatmap import HeatmapConfig, Scorer, class_probability, mammogram_heat
from mammodet.classification.model_file import ClassifierHeader
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.classification.predict import Predictor
from mammodet.classification.window_heat import WindowHeat
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Standardised

_LOOKS_AT = {"images": "whole images", "lesions": "lesions"}


@dataclass(frozen=True)
class WindowClassifier:
    """A trained classifier of patches on its device.

    Parameters
    ----------
    scorer:
        See ``class_probability``.
    header:
        Of its file; ``header.recipe`` is the recipe that mammograms must be read with.
    classes:
        Those whose probability, together, is the score.
    config:
        Its windows.
    device:
        Where it computes.
    """

    scorer: Scorer
    header: ClassifierHeader
    classes: tuple[str, ...]
    config: HeatmapConfig
    device: torch.device

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        stride: int | None = None,
        batch: int = 32,
        device: str = "auto",
        precision: str = "auto",
    ) -> WindowClassifier:
        """Load the file of a classifier that was trained on patches.

        Parameters
        ----------
        classes:
            Those whose probability, together, is the score; None takes the score class of its task.
        stride, batch:
            See ``HeatmapConfig``; a window has the side of the patches that the network was trained on.
        precision:
            "fp32", "bf16" or "auto", see ``choose_precision``. On CUDA "fp32" turns TF32 off in the whole
            process; on a CPU the allocator of the process is told to keep freed memory.

        Raises
        ------
        InputError
            When the file is damaged or of another kind of network, when a class is unknown or none is left
            out, and when the stride does not fit.
        """
        found = Predictor.load(Path(path), device=device, precision=precision)
        side = _window_of(found.header, path)
        config = HeatmapConfig(side, stride, batch, "bf16" if found.precision == "bf16" else "fp32")
        names = _score_classes(found.header, classes, path)
        return cls(class_probability(found.network, names), found.header, names, config, found.device)

    def heat(self, prepared: Standardised) -> WindowHeat:
        """Search a mammogram that ``header.recipe`` has standardised, see ``mammogram_heat``."""
        return mammogram_heat(self.scorer, prepared, self.config, self.device)


def _window_of(header: ClassifierHeader, path: str | os.PathLike[str]) -> int:
    """Return the side of the patches that a network was trained on."""
    if isinstance(header.config, PatchNetworkConfig) and header.task.source == "patches":
        return header.config.size
    source = header.task.source
    raise InputError(
        f"is a classifier of {_LOOKS_AT[source]}"
        if source in _LOOKS_AT
        else "is an SPPNet, which has no size of patches",
        file=path,
        field="task.source",
        value=source,
        remedy="a heatmap needs a classifier of patches; other classifiers are run by mammodet classify",
    )


def _score_classes(
    header: ClassifierHeader, classes: Sequence[str] | None, path: str | os.PathLike[str]
) -> tuple[str, ...]:
    known = header.task.names
    names = (header.task.score_class,) if classes is None else tuple(dict.fromkeys(classes))
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            "the network has no such class",
            file=path,
            field="classes",
            value=unknown[0],
            remedy=f"choose among {', '.join(known)}",
        )
    if not 1 <= len(names) < len(known):
        raise InputError(
            "must be one or more of the network's classes, but not all",
            field="classes",
            value=list(names),
            remedy=f"choose among {', '.join(known)}",
        )
    return names
