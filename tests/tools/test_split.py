"""``mammodet split``: the files, the table, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord, read_coco, write_coco
from mammodet.datasets.drawing import write_png
from mammodet.tools.split import main


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty patients of two images: 10 with a malignant lesion on the first image, 10 normal."""
    images: list[ImageRecord] = [
        {
            "id": number + 1,
            "file_name": f"images/{number}.png",
            "width": 10,
            "height": 10,
            "patient_id": f"p{number // 2:02d}",
            "label": "malignant" if number < 20 and number % 2 == 0 else "normal",
            "split": "training" if number < 30 else "test",
        }
        for number in range(40)
    ]
    lesions: list[AnnotationRecord] = [
        {"id": number + 1, "image_id": 2 * number + 1, "category_id": 2, "bbox": [1, 1, 2, 2]}
        for number in range(10)
    ]
    return write_coco(Coco(images, lesions, tmp_path / "data" / "coco.json"))


def test_three_parts_with_their_table(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "splits"
    assert main([str(source), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "part   patients  normal  benign  malignant  images  benign lesions  malignant lesions",
        "train        14       7       0          7      28               0                  7",
        "val           2       1       0          1       4               0                  1",
        "test          4       2       0          2       8               0                  2",
    ]
    whole = read_coco(source)
    parts = {name: read_coco(out / f"{name}.json") for name in ("train", "val", "test")}
    assert sorted(one for part in parts.values() for one in part.image_by_id) == sorted(whole.image_by_id)
    for name, part in parts.items():
        assert {image["split"] for image in part.images} == {name}
        for image in part.images:
            expected = whole.image_path(whole.image_by_id[image["id"]]).resolve()
            assert part.image_path(image).resolve() == expected
        assert part.info["split"]["seed"] == 0
    assert (out / "split.yaml").is_file()


def test_the_same_seed_gives_the_same_files(source: Path, tmp_path: Path) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        assert main([str(source), "--out", str(tmp_path / "out"), "--seed", seed]) == 0
        texts.append([image["id"] for image in read_coco(tmp_path / "out" / "test.json").images])
    assert texts[0] == texts[1] != texts[2]


def test_own_fractions(source: Path, tmp_path: Path) -> None:
    assert main([str(source), "--out", str(tmp_path / "s"), "--fractions", "{a: 0.5, b: 0.5}"]) == 0
    assert [len(read_coco(tmp_path / "s" / f"{name}.json").images) for name in "ab"] == [20, 20]


def test_folds(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(source), "--out", str(tmp_path / "f"), "--folds", "5"]) == 0
    held_out: list[int] = []
    for fold in range(5):
        train, val = (read_coco(tmp_path / "f" / f"fold{fold}" / f"{name}.json") for name in ("train", "val"))
        assert not set(train.image_by_id) & set(val.image_by_id)
        assert len(train.images) + len(val.images) == 40
        assert sum(one["category_id"] == 2 for one in val.annotations) == 2
        assert val.image_path(val.images[0]).resolve().parent == source.parent / "images"
        held_out += val.image_by_id
    assert sorted(held_out) == list(range(1, 41))
    assert len(capsys.readouterr().out.splitlines()) == 11


def test_the_official_split(source: Path, tmp_path: Path) -> None:
    assert main([str(source), "--out", str(tmp_path / "o"), "--official"]) == 0
    sizes = {path.name: len(read_coco(path).images) for path in (tmp_path / "o").glob("*.json")}
    assert sizes == {"training.json": 30, "test.json": 10}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--folds", "5", "--official", "true"], "only one way"),
        (["--folds", "21"], "21 parts need at least as many patients"),
        (["--folds", "1"], "at least 2"),
        (["--fractions", "{train: 0.5}"], "add up to 1"),
        (["--fractions", "{train: many}"], "fractions"),
        (["--seed", "-1"], "seed"),
        (["--unknown", "1"], "unknown"),
    ],
)
def test_what_makes_no_split_is_one_line(
    source: Path, tmp_path: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(source), "--out", str(tmp_path / "s"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert problem in error
    assert not (tmp_path / "s").exists()


def test_the_source_is_never_overwritten(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = source.with_name("train.json")
    before.write_text(source.read_text())
    assert main([str(before), "--out", str(before.parent)]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert before.read_text() == source.read_text()
    assert not before.with_name("val.json").exists()


def drawn(source: Path, same: tuple[int, int] | None = None) -> Path:
    """Draw the images of the COCO file, each with its own pixels but for two."""
    random = np.random.default_rng(0)
    coco = read_coco(source)
    for image in coco.images:
        write_png(coco.image_path(image), random.integers(0, 256, (10, 10), dtype=np.uint8))
    if same is not None:
        first, second = (coco.image_path(coco.images[index]) for index in same)
        second.write_bytes(first.read_bytes())
    return source


def test_the_same_pixels_in_two_parts_are_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official = [str(drawn(source, (0, 39))), "--out", str(tmp_path / "s"), "--official"]
    assert main(official) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the same pixels in several parts (training: " in error
    assert "images/0.png" in error
    assert "images/39.png" in error
    assert not (tmp_path / "s").exists()
    assert main([*official, "--pixels", "false"]) == 0


def test_parts_of_different_pixels_pass_in_silence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(drawn(source)), "--out", str(tmp_path / "s"), "--folds", "2"]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_study_in_two_parts_is_refused_before_images_are_read(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads(source.read_text())
    for index in (0, 39):
        whole["images"][index]["study_id"] = "1.2.840.113619.2.77"
    source.write_text(json.dumps(whole))
    assert main([str(source), "--out", str(tmp_path / "s"), "--official"]) == 2
    assert "study 1.2.840.113619.2.77 in several parts" in capsys.readouterr().err


def test_images_of_patients_in_a_later_official_part_are_left_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads(source.read_text())
    whole["images"][0] |= {"split": None, "provenance": {"official_split": "training"}}
    source.write_text(json.dumps(whole))
    assert main([str(source), "--out", str(tmp_path / "s"), "--official"]) == 0
    assert "left out: 1 images of patients who are in a later official part" in capsys.readouterr().out
    assert len(read_coco(tmp_path / "s" / "training.json").images) == 29


def test_a_patient_in_two_official_splits_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads(source.read_text())
    whole["images"][0]["split"] = "test"
    source.write_text(json.dumps(whole))
    assert main([str(source), "--out", str(tmp_path / "s"), "--official", "true"]) == 2
    assert "one patient is in several splits" in capsys.readouterr().err


def test_parts_of_an_earlier_split_never_stay_beside_new_ones(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "mine.json").write_text("{}")  # what this tool did not write is no matter
    (out / "broken.json").write_text("{")
    assert main([str(source), "--out", str(out)]) == 0
    before = {path.name: path.read_bytes() for path in out.glob("*.json")}
    for options in (["--fractions", "{train: 0.5, val: 0.5}"], ["--folds", "2"], ["--official"]):
        capsys.readouterr()
        assert main([str(source), "--out", str(out), *options]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "earlier split" in error
        assert "test.json" in error or "train.json" in error
        assert "mine" not in error
        assert {path.name: path.read_bytes() for path in out.glob("*.json")} == before
    assert main([str(source), "--out", str(out), "--seed", "1"]) == 0


def test_fewer_folds_leave_no_stale_one(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(source), "--out", str(tmp_path / "f"), "--folds", "3"]) == 0
    assert main([str(source), "--out", str(tmp_path / "f"), "--folds", "2"]) == 2
    assert "fold2/train.json, fold2/val.json" in capsys.readouterr().err
    assert main([str(source), "--out", str(tmp_path / "f"), "--folds", "4"]) == 0
