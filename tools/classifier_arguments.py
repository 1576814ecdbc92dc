"""What mammodet train-cls can be told, on the command line or in a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mammodet.classification.task import Task
from mammodet.classification.variation import VariationConfig
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.tools.training_options import TrainingOptions


@dataclass(frozen=True)
class NetworkOptions:
    """What a network is built with; null takes the usual value of the model.

    Args:
        backbone: of sppnet, the ResNet under its pooling; null means resnet18, as published.
        levels: of sppnet, bins along a side of each grid of the pooling; null means 1, 2 and 4.
        dropout: share of features that training leaves out in front of the last layer; null means 0.5 for
            alexnet and 0 for the others.
        channels: of the first convolution; 3 gets the grey image three times, 1 gets it once.
        image_mean: mean of the pixels, 0 to 1; null means measured on the training cases.
        image_std: their standard deviation; null means measured on the training cases.
        blur: of patches, standard deviation in pixels of the Gaussian that they are blurred with; 0 does not.
        resize: of patches, side in pixels that they are resized to after that; null keeps their size.
    """

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] | None = None
    levels: tuple[int, ...] | None = None
    dropout: float | None = None
    channels: Literal[1, 3] = 3
    image_mean: float | None = None
    image_std: float | None = None
    blur: float = 0.0
    resize: int | None = None


@dataclass(frozen=True)
class ClassLoss:
    """Cross-entropy, and what it does about classes that are rare.

    Args:
        class_weights: weight of every output in the order of task.classes; balanced makes rare classes count
            as much as frequent ones; null weighs all cases alike.
        label_smoothing: share of the target that is spread over all outputs, 0 to below 1.
        balanced_batches: draw every class as often as any other.
    """

    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    label_smoothing: float = 0.0
    balanced_batches: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError("must be 0 to below 1", field="loss.label_smoothing", value=self.label_smoothing)
        weights = self.class_weights
        if isinstance(weights, tuple) and not all(0 < one < float("inf") for one in weights):
            raise InputError("must be above 0", field="loss.class_weights", value=weights)


@dataclass(frozen=True, kw_only=True)
class Arguments(TrainingOptions):
    """Train a classifier of whole mammograms, of patches or of lesions.

    Args:
        train: for whole mammograms and lesions a COCO file, for patches a patch store.
        val: the same for validation; a patch store may hold both splits, and null takes its split val.
        train_split: of a patch store, the split that is learned.
        val_split: of a patch store, the split that is validated.
        model: network; sppnet takes whole mammograms or lesions of any size, the others take patches.
        weights: where training starts: imagenet, none, or a file (model, checkpoint or state dict).
        batch_size: cases per step.
        monitor: validation metric that chooses the best epoch.
        task: what is told apart.
        network: how the network is built.
        recipe: how mammograms become pixels; patches have that of their store.
        augment: how training cases are varied.
        loss: rare classes.
    """

    train: str
    val: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    model: Literal["sppnet", "alexnet", "resnet18", "resnet34", "resnet50", "resnet101"] = "sppnet"
    weights: str = "imagenet"
    batch_size: int = 4
    monitor: Literal["AUC", "accuracy", "loss"] = "AUC"
    task: Task = field(default_factory=Task)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    recipe: Recipe = field(default_factory=Recipe)
    augment: VariationConfig = field(default_factory=VariationConfig)
    loss: ClassLoss = field(default_factory=ClassLoss)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.model == "sppnet") == (self.task.source == "patches"):
            raise InputError(
                f"does not take {self.task.source}",
                field="--model",
                value=self.model,
                remedy="give sppnet for images and lesions, another network for patches",
            )
        weights = self.loss.class_weights
        if isinstance(weights, tuple) and len(weights) != len(self.task.names):
            raise InputError(
                f"must be {len(self.task.names)} numbers, one per class ({', '.join(self.task.names)})",
                field="--loss.class_weights",
                value=weights,
            )
        self._refuse_what_does_not_belong()

    def _refuse_what_does_not_belong(self) -> None:
        """Refuse options that would be ignored."""
        network, task = self.network, self.task
        patches, lesions = task.source == "patches", task.source == "lesions"
        for name, value, default, belongs in (
            ("--task.margin", task.margin, Task.margin, lesions),
            ("--task.smallest", task.smallest, Task.smallest, lesions),
            ("--train_split", self.train_split, "train", patches),
            ("--val_split", self.val_split, "val", patches),
            ("--network.backbone", network.backbone, None, not patches),
            ("--network.levels", network.levels, None, not patches),
            ("--network.blur", network.blur, NetworkOptions.blur, patches),
            ("--network.resize", network.resize, None, patches),
        ):
            if value != default and not belongs:
                raise InputError(
                    f"is not an option for {task.source}", field=name, value=value, remedy="leave it out"
                )
