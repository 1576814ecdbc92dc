"""Detector: results in the source frame, whatever the crop."""

import numpy as np
import pytest
import torch

from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.standardise import Recipe
from mammodet.detection.inference import Detector, results_of
from mammodet.detection.model import build_detector
from mammodet.detection.model_file import ModelHeader, write_model
from mammodet.networks.precision import choose_device, choose_precision, use_full_float32


def test_results_go_back_through_crop_flip_and_scale():
    geometry = Geometry(1000, 800).crop(100, 50, 600, 400).flip().scale(300, 200)
    source = np.array([[150.0, 60.0, 250.0, 160.0], [300.0, 100.0, 400.0, 140.0]])
    output = {
        "boxes": torch.from_numpy(geometry.boxes_to_model(source)),
        "labels": torch.tensor([1, 2]),
        "scores": torch.tensor([0.4, 0.9]),
    }
    results = results_of(7, output, geometry)
    assert [one["score"] for one in results] == pytest.approx([0.9, 0.4])
    assert [one["category_id"] for one in results] == [2, 1]
    assert results[0]["bbox"] == pytest.approx([300, 100, 100, 40])
    assert results[1]["bbox"] == pytest.approx([150, 60, 100, 100])
    assert {one["image_id"] for one in results} == {7}


def test_boxes_in_padding_alone_are_dropped_and_others_clipped():
    geometry = Geometry(100, 100).pad(0, 0, 50, 50)
    output = {
        "boxes": torch.tensor([[110.0, 110.0, 140.0, 140.0], [80.0, 80.0, 120.0, 120.0]]),
        "labels": torch.tensor([1, 1]),
        "scores": torch.tensor([0.9, 0.8]),
    }
    results = results_of(1, output, geometry)
    assert [one["bbox"] for one in results] == [[80.0, 80.0, 20.0, 20.0]]


def test_a_loaded_model_predicts_what_the_saved_one_predicts(model_path, small_config, coco):
    detector = Detector.load(model_path, device="cpu", precision="fp32", score_threshold=0.0)
    mammogram = read_mammogram(coco.image_path(coco.images[0]), detector.header.recipe)
    results = detector.predict(mammogram, 1)
    assert results and len(results) <= small_config.max_detections
    scores = [one["score"] for one in results]
    assert scores == sorted(scores, reverse=True) and all(0 <= one <= 1 for one in scores)
    for one in results:
        x, y, width, height = one["bbox"]
        assert x >= 0 and y >= 0 and width > 0 and height > 0 and x + width <= 120 and y + height <= 160
    assert detector.predict(mammogram, 1) == results


def test_the_score_threshold_of_the_model_holds_unless_another_is_given(model_path, small_config):
    assert (
        Detector.load(model_path, device="cpu").model.roi_heads.score_thresh == small_config.score_threshold
    )
    detector = Detector.load(model_path, device="cpu", score_threshold=0.05)
    assert detector.model.roi_heads.score_thresh == 0.05
    with pytest.raises(InputError, match="score_threshold"):
        Detector.load(model_path, score_threshold=3)


def test_precision_is_chosen_only_when_asked():
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == "fp32" and choose_precision("bf16", cpu) == "bf16"
    assert choose_device("cpu") == cpu


def test_auto_takes_bf16_only_where_it_is_faster(monkeypatch):
    seconds = {torch.float32: 1.0, torch.bfloat16: 0.2}
    monkeypatch.setattr("mammodet.networks.precision._product_seconds", seconds.__getitem__)
    assert choose_precision("auto", torch.device("cpu")) == "bf16"
    seconds[torch.bfloat16] = 3.0
    assert choose_precision("auto", torch.device("cpu")) == "fp32"


def test_fp32_is_not_tf32_on_cuda():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [one.allow_tf32 for one in flags]
    try:
        for one in flags:
            one.allow_tf32 = True
        use_full_float32(torch.device("cpu"))
        assert all(one.allow_tf32 for one in flags)
        use_full_float32(torch.device("cuda"))
        assert not any(one.allow_tf32 for one in flags)
    finally:
        for one, value in zip(flags, before, strict=True):
            one.allow_tf32 = value


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(model_path, compile, value):
    detector = Detector.load(model_path, device="cpu", precision="fp32", compile=compile)
    pixels = np.zeros((64, 64), np.float32)
    pixels[3, 60] = value
    with pytest.raises(InputError, match=r"not finite.*1 of 4096"):
        detector.predict_pixels(pixels)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "meta"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match="--device"):
        choose_device(name)


def test_tensors_that_do_not_fit_their_header_are_named(model_path, small_config):
    from dataclasses import replace

    other = replace(small_config, fpn_channels=32)
    write_model(model_path, build_detector(small_config).state_dict(), ModelHeader(other, Recipe(), "none"))
    with pytest.raises(InputError, match=r"model\.safetensors: has tensors that do not fit"):
        Detector.load(model_path, device="cpu")
