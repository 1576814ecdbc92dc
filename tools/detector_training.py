"""What mammodet train-det learns from, and how its validation images are evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mammodet.datasets.coco import Coco, read_results
from mammodet.datasets.hard_negatives import false_positives
from mammodet.detection.crops import Boxes, TrainingInput
from mammodet.detection.data_module import LesionData
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.tools.detector_arguments import Arguments
from mammodet.tools.training_output import say


def build_data(
    arguments: Arguments, training: Coco, validation: Coco | None, hard_negatives: Mapping[int, Boxes]
) -> LesionData:
    """Return the loaders of both sets, the training images drawn and varied as asked."""
    return LesionData(
        training,
        validation,
        arguments.recipe,
        augment=arguments.augment,
        window=TrainingInput.parse(arguments.input),
        hard_negatives=hard_negatives,
        lesion_share=arguments.sampling.lesion_share,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        seed=arguments.seed,
    )


def hard_negatives(arguments: Arguments, coco: Coco) -> dict[int, Boxes]:
    """Read the false positives of a previous model, in the frame of the training file."""
    asked = arguments.sampling
    if asked.hard_negatives is None:
        return {}
    found = false_positives(
        coco,
        read_results(asked.hard_negatives, coco),
        min_score=asked.hard_score,
        per_image=asked.hard_per_image,
    )
    count = sum(map(len, found.values()))
    say(f"{count} hard negatives on {len(found)} of {len(coco.images)} images: {asked.hard_negatives}")
    return dict(found)


class Validation:
    """COCO AP and AP50 of results on the validation images."""

    def __init__(self, coco: Coco) -> None:
        self.coco = coco

    def __call__(self, results: list[dict[str, Any]]) -> Mapping[str, float]:
        """Return the metrics by name; one that is not defined counts as 0."""
        metrics = coco_metrics(self.coco, results)["all"]
        return {name: metrics[name] or 0.0 for name in ("AP", "AP50")}

    def __deepcopy__(self, memo: dict[int, Any]) -> Validation:
        """Stay one: averaging the weights copies the module, but the data set need not be there twice."""
        return self
