"""The model file: what goes in comes out, and damage is named."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.detection.model import DetectorConfig
from mammodet.detection.model_file import ModelHeader, fingerprint, read_header, write_model
from mammodet.networks.tensor_file import read_tensors

HEADER = ModelHeader(
    DetectorConfig(
        "resnet18", norm="batch", anchor_sizes=(8, 16, 32, 64, 128), image_mean=0.1, image_std=0.2
    ),
    Recipe(crop_margin_px=7),
    "abc",
    {"epoch": 3},
)


def test_header_and_tensors_survive_the_round_trip(tmp_path):
    tensors = {"a": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "b": torch.tensor(3)}
    write_model(tmp_path / "model.safetensors", tensors, HEADER)
    assert read_header(tmp_path / "model.safetensors") == HEADER
    read = read_tensors(tmp_path / "model.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(read[name], tensor)


def test_others_may_read_the_file(tmp_path):
    (tmp_path / "beside.txt").write_text("")
    write_model(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, HEADER)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["model.safetensors"] == modes["beside.txt"]


def _rewrite(path, change):
    write_model(path, {"a": torch.zeros(1)}, HEADER)
    import safetensors

    with safetensors.safe_open(path, "pt") as reader:
        content = json.loads(reader.metadata()["mammodet"])
    change(content)
    save_file({"a": torch.zeros(1)}, path, {"mammodet": json.dumps(content)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["categories"].update({"2": "mass"}), "other categories"),
        (lambda c: c["categories"].update({"3": "cyst"}), "other categories"),
        (lambda c: c.update(format="other/1"), "format"),
        (lambda c: c["config"].update(heads=3), "heads"),
        (lambda c: c.pop("recipe"), "damaged header"),
        (lambda c: c["recipe"].update(zoom=3), "zoom"),
        (lambda c: c.update(config=[]), "damaged header"),
    ],
)
def test_a_header_that_cannot_be_used_is_named(tmp_path, change, message):
    path = tmp_path / "model.safetensors"
    _rewrite(path, change)
    with pytest.raises(InputError, match=message) as caught:
        read_header(path)
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", b"x" * 100])
def test_a_file_that_is_no_safetensors_is_named(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        read_header(path)


def test_a_file_without_our_header_is_named(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no mammodet header"):
        read_header(tmp_path / "other.safetensors")


def test_the_fingerprint_follows_the_boxes_and_not_the_folder(tmp_path):
    image = {"id": 1, "file_name": "a.png", "width": 10, "height": 10}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1.0, 1.0, 2.0, 2.0]}
    here = fingerprint(Coco([image], [box], tmp_path / "a.json"))
    there = fingerprint(Coco([{**image, "file_name": "far/a.png"}], [box], tmp_path / "b.json"))
    other = fingerprint(Coco([image], [{**box, "bbox": [1.0, 1.0, 2.0, 3.0]}], tmp_path / "a.json"))
    assert here == there != other
