"""A file of tensors that is none of the expected kind says what it is and who takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mammodet.datasets.errors import InputError
from mammodet.networks.tensor_file import read_content, write_tensor_file

DETECTOR, CLASSIFIER = "mammodet.detector/1", "mammodet.classifier/1"
REMEDY = "give the right one"


def _problem(path: Path, found: object, stated: str) -> str:
    write_tensor_file(path, {"a": torch.zeros(1)}, {"format": found})
    with pytest.raises(InputError) as caught:
        read_content(path, stated, REMEDY)
    return str(caught.value)


def test_a_file_of_the_other_kind_says_which_command_takes_it(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    told = _problem(path, CLASSIFIER, DETECTOR)
    assert told.startswith(f"{path}: format: is a classifier, not a detector")
    assert told.endswith("mammodet classify or mammodet heatmap run it") and REMEDY not in told
    told = _problem(path, DETECTOR, CLASSIFIER)
    assert told.startswith(f"{path}: format: is a detector, not a classifier")
    assert told.endswith("mammodet score runs it") and REMEDY not in told


@pytest.mark.parametrize("found", ["mammodet.detector/2", "another.program/1", None, 3, ["a"]])
def test_another_version_and_another_program_get_the_remedy_of_the_caller(tmp_path: Path, found: object):
    told = _problem(tmp_path / "model.safetensors", found, DETECTOR)
    assert "is not of format mammodet.detector/1" in told and told.endswith(REMEDY)


def test_a_file_of_the_format_is_read(tmp_path: Path):
    content = {"format": DETECTOR, "more": [1, None]}
    write_tensor_file(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, content)
    assert read_content(tmp_path / "model.safetensors", DETECTOR, REMEDY) == content
