"""A trained classifier, ready to run: grey pixels in, the probability of every class out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mammodet.classification.classifier import Classifier
from mammodet.classification.model_file import ClassifierHeader, load_classifier
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.datasets.errors import InputError
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.standardise import Recipe
from mammodet.networks.allocator import keep_freed_memory
from mammodet.networks.precision import choose_device, choose_precision, use_full_float32

# Of a recipe; these tell which files are taken, not what becomes of their pixels.
_PERMISSIONS = {"allow_for_processing", "allow_secondary_capture"}


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network in evaluation mode on its device, and the header of its file.

    ``header.recipe`` is the recipe that mammograms must be read with, ``precision`` fp32 or bf16.
    """

    network: Classifier
    header: ClassifierHeader
    device: torch.device
    precision: str

    @classmethod
    def load(cls, path: Path, *, device: str = "auto", precision: str = "auto") -> Predictor:
        """Load a model file.

        ``precision`` is fp32, bf16 or auto, see ``choose_precision``. On CUDA fp32 turns TF32 off in the
        whole process; on a CPU the allocator of the whole process is told to keep freed memory.

        Raises InputError for a damaged file, one of another kind, and a device that is not there.
        """
        network, header = load_classifier(path)
        where = choose_device(device)
        chosen = choose_precision(precision, where)
        if chosen == "fp32":
            use_full_float32(where)
        if where.type == "cpu":
            keep_freed_memory()
        network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network, header, where, chosen)

    def probabilities(self, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of every class, float64 [N, K], of pixels float32 [N, h, w] of 0 to 1.

        Raises InputError when the network gives what is no number.
        """
        images = torch.from_numpy(np.ascontiguousarray(pixels))[:, None].to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            logits = self.network(images)
        found: NDArray[np.float64] = logits.cpu().double().softmax(dim=1).numpy()
        if not np.isfinite(found).all():
            remedy = "its weights or the pixels are not finite; train it again"
            raise InputError("gives probabilities that are no numbers", field="model", remedy=remedy)
        return found


def patch_probabilities(
    predictor: Predictor, store: PatchStore, ids: Sequence[int], batch: int = 64
) -> Iterator[NDArray[np.float64]]:
    """Yield the probabilities float64 [n, K] of patches of a store, batch by batch, in order."""
    for start in range(0, len(ids), batch):
        yield predictor.probabilities(store.pixels(ids[start : start + batch]))


def require_store(header: ClassifierHeader, store: PatchStore) -> None:
    """Refuse a store whose patches are not what a network was trained on.

    Raises
    ------
    InputError
        When they are of another size than the network's, or their pixels were made by another recipe.
    """
    config, size = header.config, int(store.info["size"])
    if isinstance(config, PatchNetworkConfig) and config.size != size:
        raise InputError(
            f"its patches have {size} px, the network was trained on {config.size} px",
            file=store.path,
            field="size",
            value=size,
            remedy=f"make a store with mammodet patches --size {config.size}",
        )
    theirs, wanted = Recipe.from_dict(store.info["recipe"]).to_dict(), header.recipe.to_dict()
    for name in sorted(wanted.keys() - _PERMISSIONS):
        if theirs[name] != wanted[name]:
            raise InputError(
                f"its pixels were made with {theirs[name]!r}, the network was trained with {wanted[name]!r}",
                file=store.path,
                field=f"recipe.{name}",
                value=theirs[name],
                remedy=f"make a store with mammodet patches --recipe.{name.replace('_', '-')}",
            )
