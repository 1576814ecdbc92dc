"""``mammodet patches``: what it prints and leaves, how it goes on, and that real films become patches."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.coco import read_coco, to_xyxy
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.standardise import Recipe
from mammodet.tools import cli


def _patches(*words: object) -> int:
    return cli.main(["patches", *map(str, words), "--progress", "false", "--workers", "1"])


@pytest.fixture(scope="module")
def mini_mias(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mias") / "coco.json"
    words = ["convert", "mini-mias", str(shared_data / "mini-mias"), "--out", str(out), "--audit", "no"]
    assert cli.main(words) == 0
    return out


def _part(coco: Path, out: Path, count: int, start: int = 0, **more: object) -> Path:
    """Write the images ``start`` to ``start + count`` that have a lesion as a COCO file of their own."""
    source = read_coco(coco)
    used = [image for image in source.images if source.annotations_of.get(image["id"])]
    part = source.subset({image["id"] for image in used[start : start + count]}, out)
    content = {
        "info": part.info,
        "images": [{**image, **more} for image in part.images],
        "annotations": part.annotations,
        "categories": part.categories,
    }
    out.write_text(json.dumps(content))
    return out


def test_pesapane_on_real_films(mini_mias: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All 13 calcifications of the 118 films, each with one negative; windows of 112 px around them."""
    coco, store = read_coco(mini_mias), tmp_path / "store.sqlite"
    calcifications = {one["id"]: one for one in coco.annotations if one["finding"] == "calcification"}
    part = coco.subset({one["image_id"] for one in calcifications.values()}, tmp_path / "part.json")
    part.path.write_text(
        json.dumps({"images": part.images, "annotations": part.annotations, "categories": part.categories})
    )
    assert _patches(part.path, "--out", store, "--kind", "pesapane", "--min-breast", 0.7) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{len(part.images)} images read, 0 there already; 26 windows of 112 px added"
    assert told[-3].split() == ["split", "benign", "malignant", "normal"]
    assert told[-2].split() == ["-", "6", "7", "13"] and told[-1] == str(store)
    opened = PatchStore(store)
    found = {patch.annotation: patch for patch in opened.patches() if patch.annotation is not None}
    assert found.keys() == calcifications.keys()
    for number, patch in found.items():
        x1, y1, x2, y2 = to_xyxy([calcifications[number]["bbox"]])[0]
        x, y, width, height = patch.frame
        assert (width, height) == (112, 112)
        assert abs(x + 56 - (x1 + x2) / 2) <= 1 and abs(y + 56 - (y1 + y2) / 2) <= 1
    patch = next(iter(found.values()))
    image = next(one for one in part.images if one["file_name"].endswith(patch.file))
    film = read_mammogram(part.image_path(image), Recipe(crop=False)).pixels
    np.testing.assert_allclose(
        opened.pixels([patch.id])[0], patch.geometry.pixels_to_model(film), atol=1 / 65535
    )
    assert {path.name for path in tmp_path.iterdir()} >= {"store.yaml", "store.rejected.csv"}


def test_references_give_the_pixels_that_are_stored(mini_mias: Path, tmp_path: Path) -> None:
    part = _part(mini_mias, tmp_path / "part.json", 4)
    options = ["--kind", "mracko", "--size", 200, "--all-findings", "--turns", "--recipe.orient-left", "true"]
    for storage in ("stored", "referenced"):
        out = tmp_path / f"{storage}.sqlite"
        assert _patches(part, "--out", out, *options, "--storage", storage) == 0
    stored, referenced = (PatchStore(tmp_path / f"{one}.sqlite") for one in ("stored", "referenced"))
    ids = [patch.id for patch in stored.patches()]
    assert len(ids) >= 16 and list(stored.patches()) == list(referenced.patches())
    np.testing.assert_array_equal(stored.pixels(ids), referenced.pixels(ids))
    groups = [["normal"], ["benign", "malignant"]]
    ours, theirs = (one.batch(one.draws("", groups), 12, 0, 3) for one in (stored, referenced))
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)


def test_parts_of_a_split_go_into_one_store_and_patients_stay_apart(
    mini_mias: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store.sqlite"
    options = ["--out", store, "--kind", "pesapane", "--all-findings", "--turns"]
    train = _part(mini_mias, tmp_path / "train.json", 4, split="train")
    val = _part(mini_mias, tmp_path / "val.json", 3, 6, split="val")
    assert _patches(train, *options) == 0 and _patches(val, *options) == 0
    counts = PatchStore(store).counts()
    assert {split for split, _ in counts} == {"train", "val"}
    assert all(count % 4 == 0 for (split, _), count in counts.items() if split == "train")
    assert {patch.turn for patch in PatchStore(store).patches("val")} == {0}
    capsys.readouterr()
    # One image of a training patient among those of test: refused before anything is read.
    mixed = _part(mini_mias, tmp_path / "mixed.json", 7, 3)
    assert _patches(mixed, *options, "--split", "test") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "mammodet split" in error and "patient" in error
    assert PatchStore(store).counts() == counts


def test_a_second_run_adds_nothing_and_another_rule_is_refused(
    mini_mias: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, out = _part(mini_mias, tmp_path / "part.json", 3), tmp_path / "a.sqlite"
    words = [part, "--out", out, "--kind", "pesapane", "--all-findings"]
    assert _patches(*words) == 0
    before = list(PatchStore(out).patches())
    capsys.readouterr()
    assert _patches("--config", out.with_suffix(".yaml"), part) == 0
    assert "0 images read, 3 there already; 0 windows" in capsys.readouterr().out
    assert list(PatchStore(out).patches()) == before
    for change, named in (
        (["--size", 64], "size"),
        (["--negatives", 2], "negatives"),
        (["--storage", "referenced"], "storage"),
        (["--recipe.intensity", "full"], "recipe"),
    ):
        assert _patches(*words, *change) == 2
        assert f"a.sqlite: {named}: was made with" in capsys.readouterr().err


def test_prepared_images_keep_their_recipe(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = tmp_path / "prepared"
    words = ["prepare", phantom / "coco.json", "--out", prepared, "--progress", "false", "--workers", "1"]
    assert cli.main([str(word) for word in words]) == 0
    options = ["--kind", "pesapane", "--size", 32, "--all-findings", "--storage", "referenced"]
    assert _patches(prepared / "coco.json", "--out", tmp_path / "a.sqlite", *options) == 0
    assert PatchStore(tmp_path / "a.sqlite").info["recipe"]["crop"] is True
    capsys.readouterr()
    other = [*options, "--recipe.crop-margin-px", 3]
    assert _patches(prepared / "coco.json", "--out", tmp_path / "b.sqlite", *other) == 2
    assert "recipe.crop" in capsys.readouterr().err


def test_what_gives_no_patch_is_said(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = phantom / "coco.json"
    assert _patches(coco, "--out", tmp_path / "a.sqlite", "--kind", "mracko") == 2  # 288 x 208 px
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "8 images smaller than a patch" in error
    gone = json.loads(coco.read_text())
    gone["info"]["root"] = str(tmp_path)
    (tmp_path / "gone.json").write_text(json.dumps(gone))
    assert _patches(tmp_path / "gone.json", "--out", tmp_path / "b.sqlite", "--kind", "pesapane") == 2
    assert "no such file" in capsys.readouterr().err.lower()
    assert (tmp_path / "b.rejected.csv").read_text().count("\n") == 9
    for words, named in (
        (["--min-mean", 2], "min_mean"),
        (["--size", 3], "size"),
        (["--all-findings", "--findings", "[mass]"], "--all-findings"),
        (["--storage", "referenced", "--depth", 8], "--depth"),
    ):
        assert _patches(coco, "--out", tmp_path / "c.sqlite", "--kind", "pesapane", *words) == 2
        assert named in (error := capsys.readouterr().err) and error.count("\n") == 1


def test_a_review_goes_round(mini_mias: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part, out = _part(mini_mias, tmp_path / "part.json", 3), tmp_path / "a.sqlite"
    words = [part, "--out", out, "--kind", "pesapane", "--all-findings"]
    assert _patches(*words, "--review", tmp_path / "review") == 0
    listed = (tmp_path / "review" / "curation.csv").read_text()
    (tmp_path / "marked.csv").write_text(re.sub(r",0,\r?$", ",1,", listed, count=1, flags=re.MULTILINE))
    total = sum(PatchStore(out).counts().values())
    capsys.readouterr()
    assert _patches(*words, "--curation", tmp_path / "marked.csv") == 0
    assert f"{total} rows of {tmp_path / 'marked.csv'}; 1 patches are ambiguous" in capsys.readouterr().out
    assert sum(PatchStore(out).counts().values()) == total - 1
    assert _patches(*words, "--review", tmp_path / "review") == 2
    assert "may hold marks" in capsys.readouterr().err


def _images(path: Path) -> int:
    """Return how many images a store has that may not be there yet."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM images").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(mini_mias: Path, tmp_path: Path) -> None:
    part = _part(mini_mias, tmp_path / "part.json", 24)
    options = ["--kind", "pesapane", "--all-findings", "--progress", "false", "--workers", "2"]
    whole, killed = tmp_path / "whole.sqlite", tmp_path / "killed.sqlite"
    code = "import sys; from mammodet.tools import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "patches", str(part), "--out", str(killed), *options]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and _images(killed) < 3:
        assert time.monotonic() < deadline, "nothing was written in two minutes"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    held = _images(killed)
    assert 0 < held < 24
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert _patches(part, "--out", whole, *options[:3]) == 0
    one, other = PatchStore(whole), PatchStore(killed)
    ids = [patch.id for patch in one.patches()]
    assert list(one.patches()) == list(other.patches())
    np.testing.assert_array_equal(one.pixels(ids), other.pixels(ids))
