"""The LightningModule of classifiers: cross-entropy, and metrics on the validation cases of every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mammodet.classification.classifier import Classifier
from mammodet.classification.data_module import Batch
from mammodet.datasets.errors import InputError
from mammodet.networks.loading import seed_of
from mammodet.networks.optim import OptimConfig
from mammodet.networks.training import TrainedModule, of_all_processes

# Takes outputs int64 [N] and probabilities float64 [N, K], returns metrics by name. Given by the caller,
# since evaluation is another room.
Evaluate = Callable[[NDArray[np.int64], NDArray[np.float64]], Mapping[str, float]]


class ClassifierModule(TrainedModule):
    """Trains a classifier; batches are those of ``mammodet.classification.data_module.collate``.

    Logs ``train/loss`` per step and, when ``evaluate`` is given, its metrics and the loss as ``val/...`` per
    epoch. What is random in a step (dropout) follows from ``seed``, the epoch and the batch, so that a run
    that goes on draws what the uninterrupted one would have drawn.

    Parameters
    ----------
    class_weights:
        Weight of every output in the loss; None weighs all alike.
    label_smoothing:
        Share of the target that is spread over all outputs.
    """

    model: Classifier

    def __init__(
        self,
        network: Classifier,
        optim: OptimConfig,
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        evaluate: Evaluate | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optim)
        self.model = network.to(memory_format=torch.channels_last)
        self.register_buffer(
            "class_weights",
            None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32),
            persistent=False,
        )
        self.label_smoothing = label_smoothing
        self.evaluate = evaluate
        self.seed = seed
        self._found: dict[int, tuple[int, list[float]]] = {}

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Seed the dropout of this batch."""
        torch.manual_seed(seed_of(self.seed, self.current_epoch, batch_index, self.global_rank, 1))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the cross-entropy of a batch, each case weighed by its class."""
        logits = self.model(batch["pixels"].contiguous(memory_format=torch.channels_last))
        loss = self._loss(logits, batch["target"])
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {float(loss.detach())}", batch["id"].tolist())
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(logits))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self._found = {}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect the probabilities of a batch."""
        logits = self.model(batch["pixels"].contiguous(memory_format=torch.channels_last))
        told = logits.double().softmax(dim=1).cpu().tolist()
        for number, target, one in zip(batch["id"].tolist(), batch["target"].tolist(), told, strict=True):
            self._found[number] = (target, one)

    def on_validation_epoch_end(self) -> None:
        """Evaluate what all processes collected, every case once."""
        self.validated_step = self.trainer.global_step
        if self.evaluate is None or self.trainer.sanity_checking:
            return
        collected = of_all_processes(self._found, self.trainer.world_size)
        ordered = [collected[number] for number in sorted(collected)]
        targets = np.array([target for target, _ in ordered], dtype=np.int64)
        probabilities = np.array([one for _, one in ordered], dtype=np.float64)
        if not np.isfinite(probabilities).all():
            odd = [number for number in sorted(collected) if not np.isfinite(collected[number][1]).all()]
            raise self._diverged("the network gives no numbers", odd[:10])
        for name, value in self.evaluate(targets, probabilities).items():
            self.log(f"val/{name}", value, prog_bar=True)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        smoothing = self.label_smoothing
        each = functional.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
        # torch's own weights are divided by their sum over the batch, which takes them from a batch of one.
        weights = self.class_weights
        return (each * weights[target]).mean() if isinstance(weights, Tensor) else each.mean()

    def _diverged(self, problem: str, ids: Sequence[int]) -> InputError:
        optimizers: list[Any] = [] if self._trainer is None else self._trainer.optimizers
        rates = [group["lr"] for one in optimizers for group in one.param_groups]
        told = "".join(f", learning rate {rate:.3g}" for rate in rates[:1])
        return InputError(
            f"{problem} at step {self.global_step}{told}",
            field="ids",
            value=list(ids),
            remedy="start again with a lower optim.lr, a longer optim.warmup_steps, or --precision fp32",
        )
