"""The file of a classifier: what goes in comes out, and damage is named."""

import json
import subprocess
import sys

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from mammodet.classification.model_file import (
    ClassifierHeader,
    build_network,
    load_classifier,
    read_header,
    write_model,
)
from mammodet.classification.patch_networks import PatchNetworkConfig
from mammodet.classification.sppnet import SPPNetConfig
from mammodet.classification.task import Task
from mammodet.datasets.errors import InputError
from mammodet.datasets.standardise import Recipe
from mammodet.networks.tensor_file import read_tensors

SPP = SPPNetConfig(
    levels=(1, 3), classes=("normal", "benign", "malignant"), channels=1, image_mean=0.1, image_std=0.2
)
PATCH = PatchNetworkConfig("resnet18", size=64, image_mean=0.1, image_std=0.2)
TASK = Task(classes={name: (name,) for name in SPP.classes}, positive="malignant")
HEADER = ClassifierHeader(SPP, TASK, Recipe(crop_margin_px=7, resize_px=(800, 1333)), "abc", {"epoch": 3})


@pytest.mark.parametrize("config", [SPP, PATCH], ids=["sppnet", "patch"])
def test_a_network_computes_the_same_after_the_round_trip(tmp_path, config):
    built = build_network(config).eval()
    task = Task(classes={name: (name,) for name in config.classes})
    header = ClassifierHeader(config, task, Recipe(spacing_mm=0.1), "abc", {"epoch": 3, "auc": 0.5})
    write_model(tmp_path / "model.safetensors", built.state_dict(), header)
    loaded, read = load_classifier(tmp_path / "model.safetensors")
    assert read == header and not loaded.training
    images = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), built(images))


def test_tensors_keep_their_values_whatever_their_layout_and_others_may_read_them(tmp_path):
    tensors = {"a": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "b": torch.tensor(3)}
    write_model(tmp_path / "model.safetensors", tensors, HEADER)
    (tmp_path / "beside.txt").write_text("")
    assert read_header(tmp_path / "model.safetensors") == HEADER
    read = read_tensors(tmp_path / "model.safetensors")
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], tensors[name]) for name in tensors)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["model.safetensors"] == modes["beside.txt"]


def _rewrite(path, change):
    write_model(path, {"a": torch.zeros(1)}, HEADER)
    with safetensors.safe_open(path, "pt") as reader:
        content = json.loads(reader.metadata()["mammodet"])
    change(content)
    save_file({"a": torch.zeros(1)}, path, {"mammodet": json.dumps(content)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="mammodet.detector/1"), "format"),
        (lambda c: c.update(kind="transformer"), "kind"),
        (lambda c: c.pop("kind"), "damaged header"),
        (lambda c: c["config"].update(heads=3), "heads"),
        (lambda c: c["config"].update(levels="abc"), "levels"),
        (lambda c: c["config"].update(levels=3), "damaged header"),
        (lambda c: c["config"].update(classes=[1, 2]), "classes"),
        (lambda c: c["config"].update(image_std=None), "no normalisation"),
        (lambda c: c["config"].update(image_std="x"), "damaged header"),
        (lambda c: c["config"].update(dropout="x"), "damaged header"),
        (lambda c: c.pop("recipe"), "damaged header"),
        (lambda c: c["recipe"].update(zoom=3), "zoom"),
        (lambda c: c.update(config=[]), "damaged header"),
        (lambda c: c.update(training=c.pop("config")), "damaged header"),
    ],
)
def test_a_header_that_cannot_be_used_is_named(tmp_path, change, message):
    path = tmp_path / "model.safetensors"
    _rewrite(path, change)
    with pytest.raises(InputError, match=message) as caught:
        read_header(path)
    assert "model.safetensors" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", b"x" * 100])
def test_a_file_that_is_no_safetensors_is_named(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        read_header(tmp_path / "model.safetensors")


def test_a_header_that_is_no_dictionary_is_named(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", {"mammodet": "[1]"})
    with pytest.raises(InputError, match=r"model\.safetensors.*damaged header"):
        read_header(tmp_path / "model.safetensors")


def test_a_file_without_our_header_or_none_at_all_is_named(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no mammodet header"):
        read_header(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no such model file"):
        read_header(tmp_path / "missing.safetensors")


def test_tensors_that_do_not_fit_the_header_are_named(tmp_path):
    write_model(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, HEADER)
    with pytest.raises(InputError, match="do not fit its own header"):
        load_classifier(tmp_path / "model.safetensors")


def test_the_room_is_entered_without_torch_and_windows_and_boxes_need_none():
    code = (
        "import sys, mammodet.classification, mammodet.classification.window_heat, "
        "mammodet.classification.heatmap_pictures; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_the_room_imports_neither_detection_nor_evaluation_nor_tools():
    code = (
        "import pkgutil, sys, importlib, mammodet.classification as room\n"
        "for one in pkgutil.iter_modules(room.__path__, room.__name__ + '.'): importlib.import_module(one.name)\n"
        "print([n for n in sys.modules if n.startswith('mammodet.') and n.split('.')[1] in"
        " ('detection', 'evaluation', 'tools')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_other_outputs_than_those_of_the_task_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    _rewrite(path, lambda content: content["task"]["classes"].update(other=["other"]))
    with pytest.raises(InputError, match=r"task\.classes.*other outputs|other outputs.*task"):
        read_header(path)
