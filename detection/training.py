"""The LightningModule: losses, schedules, and COCO mAP on the validation images of every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from mammodet.datasets.atomic import atomic_path
from mammodet.datasets.errors import InputError
from mammodet.detection.checkpointing import checkpoint_activations
from mammodet.detection.data import Batch
from mammodet.detection.inference import results_of
from mammodet.detection.losses import LossConfig
from mammodet.detection.model import DetectorConfig, build_detector, move, set_thresholds
from mammodet.networks.loading import seed_of
from mammodet.networks.optim import OptimConfig
from mammodet.networks.training import TrainedModule, of_all_processes

# Takes COCO results, returns metrics by name. Given by the caller, since evaluation is another room.
Evaluate = Callable[[list[dict[str, Any]]], Mapping[str, float]]


_LEARNED = ("boxes", "labels", "hard_negatives", "image_id")


class DetectorModule(TrainedModule):
    """Trains a detector; batches are those of ``mammodet.detection.data.collate``.

    Logs ``train/loss`` and its parts per step and, when ``evaluate`` is given, its metrics as ``val/...`` per
    epoch. Validation keeps boxes down to ``validation_score``, since average precision needs the whole curve.
    What is random in a step follows from ``seed``, the epoch and the batch, so that a run that goes on draws
    what the uninterrupted one would have drawn.

    Parameters
    ----------
    checkpointing:
        Keep only what enters the blocks of the backbone, see ``checkpoint_activations``.
    faults:
        Folder for the batch that gave a loss that is no number; None keeps none.
    """

    model: FasterRCNN

    def __init__(
        self,
        config: DetectorConfig,
        optim: OptimConfig,
        *,
        loss: LossConfig | None = None,
        evaluate: Evaluate | None = None,
        validation_score: float = 0.01,
        checkpointing: bool = False,
        seed: int = 0,
        faults: Path | None = None,
    ) -> None:
        super().__init__(optim)
        self.config = config
        self.model = move(build_detector(config, loss), torch.device("cpu"))
        if checkpointing:
            checkpoint_activations(self.model)
        self.evaluate = evaluate
        self.validation_score = validation_score
        self.seed = seed
        self.faults = faults
        self._results: dict[int, list[dict[str, Any]]] = {}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move images, boxes and labels; ids and geometries stay where they are."""
        images, targets = batch
        moved = [
            {key: value.to(device) if isinstance(value, Tensor) else value for key, value in target.items()}
            for target in targets
        ]
        return [image.to(device) for image in images], moved

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Seed the choice of regions that the losses are computed on."""
        torch.manual_seed(seed_of(self.seed, self.current_epoch, batch_index, self.global_rank, 1))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the sum of the four losses."""
        images, targets = batch
        learned = [{key: one[key] for key in _LEARNED if key in one} for one in targets]
        losses = self.model(images, learned)
        loss: Tensor = sum(losses.values(), start=torch.zeros((), device=self.device))
        if not torch.isfinite(loss):
            raise self._not_finite(losses, batch)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(images))
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(images)
        )
        return loss

    def _not_finite(self, losses: Mapping[str, Tensor], batch: Batch) -> InputError:
        """Say what became no number, where, and at which rate; keep the batch for whoever looks into it."""
        images, targets = batch
        bad = {name: float(one.detach()) for name, one in losses.items() if not torch.isfinite(one)}
        optimizers = [] if self._trainer is None else self._trainer.optimizers
        rates = [group["lr"] for one in optimizers for group in one.param_groups]
        told = "".join(f", learning rate {rate:.3g}" for rate in rates[:1])
        if self.faults is not None:
            path = self.faults / f"not_finite_step_{self.global_step}.pt"
            with atomic_path(path) as temporary:
                kept = [{key: one.get(key) for key in ("boxes", "labels", "image_id")} for one in targets]
                torch.save({"images": images, "targets": kept, "losses": bad}, temporary)
            told += f", batch kept in {path}"
        named = ", ".join(f"{name} is {value}" for name, value in bad.items()) or "their sum overflows"
        return InputError(
            f"the loss is not finite at step {self.global_step}: {named}{told}",
            field="images",
            value=[one["image_id"] for one in targets],
            remedy="start again with a lower optim.lr, a longer optim.warmup_steps, or --precision fp32",
        )

    def on_validation_epoch_start(self) -> None:
        """Lower the score threshold for the time of the validation."""
        self._results = {}
        set_thresholds(self.model, score=self.validation_score)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect the predictions of a batch, in the source frame."""
        images, targets = batch
        for output, target in zip(self.model(images), targets, strict=True):
            self._results[target["image_id"]] = results_of(target["image_id"], output, target["geometry"])

    def on_validation_epoch_end(self) -> None:
        """Evaluate what all processes collected, every image once, and restore the threshold."""
        self.validated_step = self.trainer.global_step
        set_thresholds(self.model, score=self.config.score_threshold)
        if self.evaluate is not None and not self.trainer.sanity_checking:
            collected = of_all_processes(self._results, self.trainer.world_size)
            results = [one for image_id in sorted(collected) for one in collected[image_id]]
            for name, value in self.evaluate(results).items():
                self.log(f"val/{name}", value, prog_bar=name in {"AP", "AP50"})
