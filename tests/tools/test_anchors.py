"""``mammodet anchors``: tables, a recipe that train-det takes, one line for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from mammodet.datasets.coco import profile_categories, read_coco
from mammodet.tools import cli
from mammodet.tools.anchors import main
from mammodet.tools.command import given_options
from mammodet.tools.detector_arguments import Arguments as TrainArguments


def write(path: Path, sides: list[tuple[float, float]], **keys: Any) -> Path:
    """Write a COCO file with one image and a lesion of each (width, height)."""
    image = {"id": 1, "file_name": "a.png", "width": 2000, "height": 2000, "patient_id": "p", **keys}
    lesions = [
        {"id": number, "image_id": 1, "category_id": 1 + number % 2, "bbox": [100 + number, 90, *side]}
        for number, side in enumerate(sides, 1)
    ]
    content = {"images": [image], "annotations": lesions, "categories": profile_categories()}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def long_lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 120 lesions, all about three times as high as they are wide."""
    random = np.random.default_rng(0)
    widths = 20 * np.exp(random.normal(0, 0.5, 120))
    sides = [
        (float(one), float(one * ratio))
        for one, ratio in zip(widths, random.uniform(2.5, 3.5, 120), strict=True)
    ]
    return write(tmp_path_factory.mktemp("long") / "coco.json", sides, spacing_mm=[0.1, 0.1])


def test_what_out_holds_and_that_it_repeats(
    long_lesions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "anchors"
    assert main([str(long_lesions), "--out", str(out)]) == 0
    names = ["anchors.json", "anchors.png", "anchors.yaml", "config.yaml"]
    assert sorted(one.name for one in out.iterdir()) == names
    printed = capsys.readouterr()
    assert (out / "anchors.yaml").read_text() in printed.out
    record = json.loads((out / "anchors.json").read_text())
    proposal, default = record["proposal"], record["default"]
    model = yaml.safe_load((out / "anchors.yaml").read_text())["model"]
    assert model == {"anchor_sizes": proposal["sizes"], "anchor_ratios": proposal["ratios"]}
    assert 2.5 < np.median(proposal["ratios"]) < 3.5
    # the default anchors have no such shape: what the command is for
    assert default["share_placed"][">= 0.7"] < 0.2 < 0.6 < proposal["share_placed"][">= 0.7"]
    assert record["groups"]["all"]["side_mm"]["50"] == pytest.approx(
        record["groups"]["all"]["side_px"]["50"] / 10, abs=0.01
    )
    free = [one["mean_iou_centred"] for one in record["free"]]
    assert len(free) == 15
    assert all(free[one["anchors"] - 1] >= one["mean_iou"]["centred"] for one in [*record["fitted"], default])
    picture = cv2.imread(str(out / "anchors.png"))
    assert picture is not None
    assert picture.std() > 10
    before = {name: (out / name).read_bytes() for name in names}
    assert main(["--config", str(out / "config.yaml")]) == 0
    assert {name: (out / name).read_bytes() for name in names} == before


def test_training_takes_the_recipe(long_lesions: Path, tmp_path: Path) -> None:
    options = ["--spacing-mm", "0.2", "--assumed-spacing-mm", "0.3", "--max-anchors", "5"]
    assert main([str(long_lesions), "--out", str(tmp_path), *options]) == 0
    argv = ["--config", str(tmp_path / "anchors.yaml"), "--train", "train.json", "--out", "runs"]
    given = given_options(TrainArguments, argv, prog="mammodet train-det")
    record = json.loads((tmp_path / "anchors.json").read_text())["proposal"]
    assert list(given.model.anchor_sizes) == record["sizes"]
    assert list(given.model.anchor_ratios) == record["ratios"]
    assert (given.recipe.spacing_mm, given.recipe.assumed_spacing_mm) == (0.2, 0.3)


def test_a_detector_trains_with_the_anchors_of_a_phantom(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = str(phantom / "coco.json")
    lesions = len(read_coco(coco).annotations)
    assert cli.main(["anchors", coco, "--out", str(tmp_path / "a"), "--max-anchors", "5"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"lesions: {lesions} on ")
    assert f"warning: {lesions} lesions are few to fit 6 numbers to" in captured.err
    configs = ["--config", str(recipe), "--config", str(tmp_path / "a" / "anchors.yaml")]
    run = ["--train", coco, "--out", str(tmp_path / "run"), "--max-steps", "1"]
    assert cli.main(["train-det", *configs, *run]) == 0
    used = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["model"]
    told = yaml.safe_load((tmp_path / "a" / "anchors.yaml").read_text())["model"]
    assert {name: list(used[name]) for name in told} == told


def test_the_number_of_ratios_can_be_asked_for(
    long_lesions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(long_lesions), "--ratios", "3"]) == 0
    captured = capsys.readouterr()
    assert len(yaml.safe_load(captured.out.partition("for the recipe:\n")[2])["model"]["anchor_ratios"]) == 3
    assert "start weights" not in captured.err  # those of COCO have three
    assert [line.split(",")[0] for line in captured.out.splitlines() if line.startswith("fitted, ")]
    assert "fitted, 3 ratios *" in captured.out


@pytest.mark.parametrize(
    ("sides", "options", "told"),
    [
        ([], [], "annotations: holds no box to fit anchors to (it has no annotations)"),
        ([(30, 30)] * 4, [], "are fewer than the 5 sizes to fit"),
        ([(30, 30)] * 9, ["--max-anchors", "4"], "--max-anchors: must be 5 to 100"),
        ([(30, 30)] * 9, ["--max-anchors", "5", "--ratios", "2"], "--max-anchors: is too few (found 5)"),
        ([(30, 30)] * 9, ["--ratios", "0"], "--ratios: must be 1 or more"),
        ([(30, 30)] * 9, ["--seed", "-1"], "--seed: must not be negative"),
        ([(30, 30)] * 9, ["--spacing-mm", "0"], "recipe.spacing_mm: is no pixel size in mm"),
        ([(30, 30)] * 9, ["--spacing-mm", "0.1"], "the pixel size is not known"),
        ([(30, 0)] * 9, [], "a box must have a width and a height above 0"),
        ([(30, 30)] * 9, ["--sides", "2"], "--sides"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    sides: list[tuple[float, float]],
    options: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert main([str(write(tmp_path / "coco.json", sides)), "--out", str(out), *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mammodet anchors: error: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err
    assert not out.exists()


def test_lesions_of_one_shape_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "coco.json", [(30, 30)] * 9)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert "warning: the lesions have no more than 1 different shapes" in err
    assert "no lesion has its best anchor on level" in err


def test_neither_fit_nor_tool_needs_torch(long_lesions: Path) -> None:
    code = (
        "import sys; from mammodet.tools.anchors import main; "
        "assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    )
    arguments = [str(long_lesions), "--max-anchors", "5"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_what_is_lost_of_a_group_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two malignant lesions that the default anchors fit exactly, among many larger ones that pull all sizes."""
    random = np.random.default_rng(0)
    sides = [(float(side), float(side)) for side in random.uniform(80, 400, 120) for _ in range(2)]
    path = write(tmp_path / "coco.json", sides)
    content = json.loads(path.read_text())
    for lesion in content["annotations"]:
        lesion["category_id"] = 1
    for lesion in content["annotations"][:2]:
        lesion.update(category_id=2, bbox=[100, 100, 32, 32])
    path.write_text(json.dumps(content))
    assert main([str(path), "--max-anchors", "5"]) == 0
    err = capsys.readouterr().err
    assert (
        "warning: an anchor of IoU >= 0.5 has 0.0 % of malignant, with the default anchors 100.0 %\n" in err
    )
