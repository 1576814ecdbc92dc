"""The cases of a training reach its batches as the options say."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from mammodet.classification.data_module import ClassifierData
from mammodet.classification.examples import ImageExamples, find_examples
from mammodet.classification.task import Task
from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe

TASK = Task(classes={"other": ("normal", "benign"), "malignant": ("malignant",)})


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> ImageExamples:
    """Return ten images of other classes and two malignant ones, of three sizes."""
    folder = tmp_path_factory.mktemp("images")
    images = []
    for number in range(1, 13):
        side = 40 + 8 * (number % 3)
        pixels = np.random.default_rng(number).integers(0, 255, (side, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        label = "malignant" if number > 10 else "benign"
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": 48, "height": side, "label": label}
        )
    coco = Coco(images, [], folder / "coco.json")
    return ImageExamples(coco, find_examples(coco, TASK), TASK, Recipe(crop=False))


def _data(examples: ImageExamples, *, balanced: bool = True) -> ClassifierData:
    return ClassifierData(examples, examples, balanced=balanced, batch_size=4, workers=0, seed=0)


@pytest.mark.parametrize("balanced", [True, False])
def test_batches_are_balanced_when_wanted(examples: ImageExamples, balanced: bool):
    batches = [
        Counter(batch["target"].tolist()) for batch in _data(examples, balanced=balanced).train_dataloader()
    ]
    if balanced:
        assert batches == [{0: 2, 1: 2}] * 3
    else:
        assert sum(batches, Counter()) == {0: 10, 1: 2}


def test_validation_looks_at_one_image_at_a_time_and_pads_none(examples: ImageExamples):
    batches = list(_data(examples).val_dataloader())
    assert [batch["id"].tolist() for batch in batches] == [[number] for number in range(1, 13)]
    assert [batch["pixels"].shape[2] for batch in batches] == [40 + 8 * (n % 3) for n in range(1, 13)]


def test_an_epoch_goes_on_after_the_batches_it_has_had(examples: ImageExamples):
    data, later = _data(examples), _data(examples)
    loader = data.train_dataloader()
    first = [batch["id"].tolist() for batch in islice(loader, 2)]
    later.load_state_dict(data.state_dict())
    rest = [batch["id"].tolist() for batch in later.train_dataloader()]
    assert [*first, *rest] == [batch["id"].tolist() for batch in _data(examples).train_dataloader()]


def test_other_cases_are_not_gone_on_with(examples: ImageExamples):
    fewer = ImageExamples(examples.coco, examples.examples[1:], TASK, Recipe(crop=False))
    state = _data(examples).state_dict()
    earlier = {"examples": state["images"], "place": state["place"]}  # as an earlier version wrote it
    for one in (state, earlier):
        _data(examples).load_state_dict(one)
        with pytest.raises(InputError, match="holds other cases or classes"):
            _data(fewer).load_state_dict(one)
