"""``mammodet prepare``: what it prints and leaves, how it goes on, and that the other commands take its files."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import read_coco, to_xywh, to_xyxy
from mammodet.datasets.geometry import Geometry
from mammodet.tools import cli


def _prepare(*words: object) -> int:
    return cli.main(["prepare", *map(str, words), "--progress", "false", "--workers", "1"])


@pytest.fixture(scope="module")
def prepared(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the prepared phantom: eight images of two patients."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    assert _prepare(phantom / "coco.json", "--out", out) == 0
    return out


def _altered(phantom: Path, folder: Path, **changes: object) -> Path:
    """Write the phantom's COCO file with other content to another folder."""
    content = json.loads((phantom / "coco.json").read_text())
    content["info"]["root"] = str(phantom)
    path = folder / "altered.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_it_tells_what_it_did_and_does_it_once(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _prepare(phantom / "coco.json", "--out", out, "--recipe.crop-margin-px", 8) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("8 images prepared: 8 written, 0 there already; ") and told[0].endswith(" MB")
    assert told[-1] == str(out / "coco.json")
    assert sorted(path.name for path in out.iterdir()) == [
        "coco.json",
        "config.yaml",
        "lesions.csv",
        "pixels",
        "rejected.csv",
    ]
    recipe = read_coco(out / "coco.json").info["prepared"]["recipe"]
    assert recipe["crop_margin_px"] == 8 and recipe["crop"] is True
    assert _prepare("--config", out / "config.yaml", phantom / "coco.json") == 0
    assert "8 images prepared: 0 written, 8 there already" in capsys.readouterr().out
    assert _prepare(phantom / "coco.json", "--out", out) == 0
    assert "8 files of earlier runs" in (told := capsys.readouterr().out) and "--prune removes them" in told
    assert _prepare(phantom / "coco.json", "--out", out, "--prune") == 0
    assert "belong to no image any more: removed" in capsys.readouterr().out
    assert len(list((out / "pixels").iterdir())) == 8


def test_rejected_images_and_lost_lesions_are_listed(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((phantom / "coco.json").read_text())
    used = {one["image_id"] for one in content["annotations"]}
    gone = min(used)
    other = min(used - {gone})
    images = [{**one, "file_name": "gone.dcm"} if one["id"] == gone else one for one in content["images"]]
    inside = next(one for one in content["images"] if one["id"] == other)
    # The corner opposite to the chest wall is air.
    x = inside["width"] - 5 if inside["laterality"] == "L" else 1
    lost = {"id": 999, "image_id": other, "category_id": 1, "bbox": [x, 1, 4, 4]}
    path = _altered(phantom, tmp_path, images=images, annotations=[*content["annotations"], lost])
    out = tmp_path / "out"
    assert _prepare(path, "--out", out) == 0
    told = capsys.readouterr().out
    assert "7 images prepared" in told and "1 images could not be read, with " in told
    assert "1 of " in told and "lie outside the crop and are left out" in told
    rejected = list(csv.DictReader((out / "rejected.csv").open()))
    assert [row["image_id"] for row in rejected] == [str(gone)] and "gone.dcm" in rejected[0]["reason"]
    lesions = list(csv.DictReader((out / "lesions.csv").open()))
    assert [(row["annotation_id"], row["what"]) for row in lesions if row["what"] == "lost"] == [
        ("999", "lost")
    ]
    written = read_coco(out / "coco.json")
    assert gone not in written.image_by_id and 999 not in {one["id"] for one in written.annotations}


def test_bad_input_is_one_line(
    phantom: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((phantom / "coco.json").read_text())
    gone = _altered(
        phantom, tmp_path, images=[{**one, "file_name": f"{one['id']}"} for one in content["images"]]
    )
    cases = [
        (["nowhere.json", "--out", tmp_path / "a"], "nowhere.json"),
        ([phantom / "coco.json", "--out", phantom], "no prepared COCO file"),
        ([prepared / "coco.json", "--out", tmp_path / "a"], "prepared already"),
        ([gone, "--out", tmp_path / "a"], "none of 8 images could be prepared"),
        ([phantom / "coco.json", "--out", tmp_path / "a", "--recipe.crop-margin-px", "-1"], "crop_margin_px"),
        ([phantom / "coco.json", "--out", tmp_path / "a", "--recipe.margin", "1"], "margin"),
        ([phantom / "coco.json", "--out", gone], "altered.json"),
    ]
    for words, told in cases:
        assert _prepare(*words) == 2, words
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and told in error, words
    assert cli.main(["prepare", str(gone), "--out", str(tmp_path / "a"), "--workers", "0"]) == 2
    assert "--workers" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_no_half_file(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path.write_bytes
    calls = 0

    def fills_up(path: Path, content: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            return whole(path, content)
        whole(path, content[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    monkeypatch.setattr(Path, "write_bytes", fills_up)
    assert _prepare(phantom / "coco.json", "--out", out) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "No space left" in error and str(out / "pixels") in error
    assert len(list((out / "pixels").iterdir())) == 2 and not (out / "coco.json").exists()
    monkeypatch.undo()
    assert _prepare(phantom / "coco.json", "--out", out) == 0
    assert "6 written, 2 there already" in capsys.readouterr().out


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes as Linux shows them")
def test_a_killed_run_goes_on_and_leaves_no_process(phantom: Path, tmp_path: Path) -> None:
    content = json.loads((phantom / "coco.json").read_text())
    # The same eight files under many names, each with a pixel size of its own, so that there is time for the kill.
    images = []
    for number in range(1, 321):
        image = content["images"][number % 8]
        os.link(phantom / image["file_name"], tmp_path / f"{number}.dcm")
        spacing = [0.4 + number / 1e4] * 2
        images.append(
            {**image, "id": number, "file_name": str(tmp_path / f"{number}.dcm"), "spacing_mm": spacing}
        )
    out = tmp_path / "out"
    coco = _altered(phantom, tmp_path, images=images, annotations=[])
    command = [sys.executable, "-m", "mammodet.tools.cli", "prepare", str(coco), "--out", str(out)]
    words = [*command, "--workers", "2"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("pixels/*.png"))) < 4:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        workers = _children(process.pid)
        process.send_signal(signal.SIGKILL)
    assert len(workers) >= 2
    while any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
    there = {path: path.stat().st_mtime_ns for path in out.glob("pixels/*.png")}
    assert 4 <= len(there) < len(images) and not (out / "coco.json").exists()

    again = subprocess.run(words, check=True, capture_output=True, text=True)
    assert (
        f"{len(images)} images prepared: {len(images) - len(there)} written, {len(there)} there already"
        in again.stdout
    )
    assert "image/s" in again.stderr
    assert all(path.stat().st_mtime_ns == written for path, written in there.items())
    assert not list(out.glob("pixels/.*"))
    assert len(read_coco(out / "coco.json").images) == len(images)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_prepared_file_can_be_split_and_checked(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "split"
    assert cli.main(["split", str(prepared / "coco.json"), "--out", str(out), "--folds", "2"]) == 0
    parts = [read_coco(out / "fold0" / f"{name}.json") for name in ("train", "val")]
    whole = read_coco(prepared / "coco.json")
    assert sum(len(part.images) for part in parts) == 8
    for part in parts:
        assert part.info["prepared"] == whole.info["prepared"]
        for image in part.images:
            assert part.image_path(image).resolve().parent == (prepared / "pixels").resolve()
    assert cli.main(["check", str(out / "fold0" / "train.json"), "--files", "read"]) == 0


def test_scores_of_prepared_images_are_those_of_their_sources(
    phantom: Path, prepared: Path, trained: Path, tmp_path: Path
) -> None:
    model = trained / "model.safetensors"
    found = {}
    for name, folder in (("source", phantom), ("prepared", prepared)):
        words = [folder / "coco.json", "--model", model, "--out", tmp_path / name, "--overlays", "none"]
        options = ["--min-score", "0", "--device", "cpu", "--precision", "fp32"]
        assert cli.main(["score", *map(str, words), *options]) == 0
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())
    assert found["source"]
    for image in read_coco(prepared / "coco.json").images:
        geometry = Geometry.from_dict(image["provenance"]["prepared"]["geometry"])
        best = [
            max((one for one in found[name] if one["image_id"] == image["id"]), key=lambda one: one["score"])
            for name in ("source", "prepared")
        ]
        assert best[0]["score"] == pytest.approx(best[1]["score"], abs=1e-3)
        moved = geometry.boxes_to_model(to_xyxy([best[0]["bbox"]]))
        np.testing.assert_allclose(to_xywh(moved)[0], best[1]["bbox"], atol=0.1)
    # The list of what was scored can be scored itself: it says that its images are prepared.
    again = read_coco(tmp_path / "prepared" / "images.json")
    assert again.info["prepared"] == read_coco(prepared / "coco.json").info["prepared"]


def test_a_model_of_another_recipe_is_refused(
    phantom: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _prepare(phantom / "coco.json", "--out", tmp_path / "whole", "--recipe.crop", "false") == 0
    words = [
        tmp_path / "whole" / "coco.json",
        "--model",
        trained / "model.safetensors",
        "--out",
        tmp_path / "s",
    ]
    capsys.readouterr()
    assert cli.main(["score", *map(str, words), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "recipe.crop" in error
