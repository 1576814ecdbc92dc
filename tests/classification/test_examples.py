"""Which cases a classifier learns from, what they look like, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mammodet.classification.data_module import collate
from mammodet.classification.examples import ImageExamples, find_examples
from mammodet.classification.task import Task
from mammodet.classification.variation import VariationConfig
from mammodet.datasets.coco import Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.phantom import PhantomConfig, write_phantom
from mammodet.datasets.prepared import load_standardised
from mammodet.datasets.standardise import Recipe
from mammodet.networks.loading import Draw

TWO = Task(classes={"other": ("normal", "benign"), "malignant": ("malignant",)})


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Coco:
    out = tmp_path_factory.mktemp("phantom")
    config = PhantomConfig(3, 5, height=144, width=112, spacing_mm=1.0, lesion_rate=1.0)
    return read_coco(write_phantom(out, config, workers=1, progress=False))


def _labelled(*labels: str | None) -> Coco:
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 8, "height": 8, "label": label}
        for number, label in enumerate(labels, start=1)
    ]
    return Coco(images, [], Path("labels.json"))


def test_images_need_labels_but_no_boxes():
    found = find_examples(_labelled("normal", "malignant", None, "benign"), TWO)
    assert [(one.id, one.target) for one in found] == [(1, 0), (2, 1), (4, 0)]


def test_images_without_a_label_have_that_of_their_worst_lesion(coco: Coco):
    bare = Coco([{**image, "label": None} for image in coco.images], coco.annotations, coco.path)
    of_boxes = {one.id: one.target for one in find_examples(bare, Task())}
    for image in coco.images:
        kinds = {one["category_id"] for one in coco.annotations_of[image["id"]]}
        assert of_boxes.get(image["id"]) == (max(kinds) - 1 if kinds else None)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([None, None], "no case has a label"),
        (["benign", "benign"], "no case of class 'malignant'"),
        (["normal"], "no case has a label"),
    ],
)
def test_classes_without_a_case_are_refused(labels, told):
    with pytest.raises(InputError, match=told) as error:
        find_examples(_labelled(*labels), Task())
    assert "labels.json" in str(error.value) and "images[].label" in str(error.value)


def test_pixels_are_those_of_the_recipe_and_a_draw_is_the_same_every_time(coco: Coco):
    variation = VariationConfig(0.5, 0.5, rotation=30, quarter_turns=True, noise=0.05)
    examples = ImageExamples(coco, find_examples(coco, TWO), TWO, Recipe(), variation)
    pixels, target, number = examples[0]
    assert torch.equal(pixels[0], torch.from_numpy(load_standardised(coco, coco.images[0], Recipe()).pixels))
    assert number == coco.images[0]["id"] and target == examples.targets[0]
    first, again, other = (examples[Draw(0, seed)][0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not (first.shape == other.shape and torch.equal(first, other))
    assert first.dtype == torch.float32 and type(first) is torch.Tensor


def test_lesions_are_cut_out_of_their_image(coco: Coco):
    labels = sorted({one["subtype"]["morphology"] for one in coco.annotations if one["category_id"] == 2})
    task = Task("lesions", {"first": (labels[0],), "rest": tuple(labels[1:])}, subtype="morphology")
    examples = ImageExamples(coco, find_examples(coco, task), task, Recipe())
    assert len(examples) == sum(one["category_id"] == 2 for one in coco.annotations)
    for place, example in enumerate(examples.examples):
        pixels, target, number = examples[place]
        annotation = next(one for one in coco.annotations if one["id"] == number)
        assert labels.index(annotation["subtype"]["morphology"]) in ((0,) if target == 0 else (1, 2, 3))
        assert min(pixels.shape[1:]) >= min(task.smallest, example.image["width"])


def test_a_batch_is_padded_with_air():
    items = [(torch.ones(1, 2, 3), 0, 5), (torch.ones(1, 4, 1), 1, 6)]
    batch = collate(items)
    assert batch["pixels"].shape == (2, 1, 4, 3) and batch["pixels"].sum() == 10
    assert batch["pixels"][1, 0, :, 0].sum() == 4
    assert batch["target"].tolist() == [0, 1] and batch["id"].tolist() == [5, 6]


def test_other_cases_have_another_fingerprint(coco: Coco):
    found = find_examples(coco, TWO)
    one = ImageExamples(coco, found, TWO, Recipe()).fingerprint()
    assert one == ImageExamples(coco, found[::-1], TWO, Recipe()).fingerprint()
    assert one != ImageExamples(coco, found[1:], TWO, Recipe()).fingerprint()
    assert np.unique([one.target for one in found]).tolist() == [0, 1]
