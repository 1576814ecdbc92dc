"""Prepared images: the same pixels and boxes as from the source, and never stale ones."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets import prepare_images
from mammodet.datasets.coco import Coco, ImageRecord, check_coco, check_files, read_coco, to_xyxy, write_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.isolation import Casualty
from mammodet.datasets.mammogram import image_size, read_mammogram
from mammodet.datasets.masks import mask_to_bbox, mask_to_rle, segmentation_to_mask
from mammodet.datasets.prepare_folder import Prepared, prepare_folder
from mammodet.datasets.prepare_images import read_record
from mammodet.datasets.prepare_lesions import clip_polygon, move_lesions, polygon_area
from mammodet.datasets.prepared import load_standardised, prepared_recipe, require_recipe
from mammodet.datasets.standardise import Recipe

RECIPE = Recipe(crop_margin_px=4)


@pytest.fixture
def source(tmp_path: Path) -> Coco:
    """Three 120 x 160 images: breasts at the left, left and right edge; two with a lesion that is all 250."""
    images: list[ImageRecord] = []
    annotations = []
    for number, side in enumerate("LLR", start=1):
        pixels = np.zeros((160, 120), np.uint8)
        cv2.ellipse(pixels, (0 if side == "L" else 119, 80), (80, 60), 0, 0, 360, 90, -1)
        pixels[80 + number, 10] = 91  # no two files have the same content
        if number != 2:
            x = 25 if side == "L" else 75
            pixels[70:86, x : x + 20] = 250
            mask = pixels == 250
            lesion = {"id": number, "image_id": number, "category_id": 2, "bbox": [x, 70.0, 20.0, 16.0]}
            annotations.append({**lesion, "segmentation": mask_to_rle(mask), "area": 320.0, "iscrowd": 0})
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        images.append(
            {
                "id": number,
                "file_name": f"{number}.png",
                "width": 120,
                "height": 160,
                "patient_id": f"p{number}",
                "laterality": side,
                "spacing_mm": [0.5, 0.5],
                "provenance": {"film": number},
            }
        )
    return read_coco(write_coco(Coco(images, annotations, tmp_path / "source" / "coco.json")))


def _prepare(coco: Coco, out: Path, recipe: Recipe = RECIPE, **options: bool) -> Prepared:
    return prepare_folder(coco, recipe, out, workers=1, progress=False, **options)


def _written(out: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of every file of pixels: equal for a file that nobody wrote again."""
    states = {path.name: path.stat() for path in (out / "pixels").iterdir()}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        Recipe(crop=False, intensity="percentile"),
        Recipe(orient_left=True),
        Recipe(spacing_mm=0.8),
        Recipe(spacing_mm=0.3, crop_margin_px=0, orient_left=True),
    ],
)
def test_pixels_and_boxes_are_those_of_the_source(source: Coco, tmp_path: Path, recipe: Recipe) -> None:
    _prepare(source, tmp_path / "out", recipe)
    prepared = read_coco(tmp_path / "out" / "coco.json")
    assert check_files(prepared, image_size) == []
    for image in source.images:
        ours = prepared.image_by_id[image["id"]]
        fresh = load_standardised(source, image, recipe)
        kept = load_standardised(prepared, ours, recipe)
        assert kept.pixels.dtype == np.float32
        np.testing.assert_allclose(kept.pixels, fresh.pixels, rtol=0, atol=1 / 65535)
        assert kept.spacing_mm == fresh.spacing_mm
        assert kept.geometry == Geometry(*kept.pixels.shape[::-1])
        for before, after in zip(
            source.annotations_of[image["id"]], prepared.annotations_of[image["id"]], strict=True
        ):
            x, y, width, height = before["bbox"]
            moved = fresh.geometry.boxes_to_model([[x, y, x + width, y + height]])[0]
            x, y, width, height = after["bbox"]
            np.testing.assert_allclose([x, y, x + width, y + height], moved, atol=1e-3)
            # Where the box is, is the lesion, and its mask fills it.
            inside = kept.pixels[round(y) + 1 : round(y + height) - 1, round(x) + 1 : round(x + width) - 1]
            assert inside.size and inside.min() > 0.98
            mask = segmentation_to_mask(after["segmentation"], ours["width"], ours["height"])
            np.testing.assert_allclose(to_xyxy([mask_to_bbox(mask)]), [moved], atol=0.5001)
            assert after["area"] == mask.sum()


def test_full_scale_is_65535_and_other_readers_see_it(source: Coco, tmp_path: Path) -> None:
    done = _prepare(source, tmp_path / "out")
    assert done.coco is not None
    stored = cv2.imread(str(done.coco.image_path(done.coco.images[0])), cv2.IMREAD_UNCHANGED)
    # 0 is air; 90 and 250 of 250 are breast and lesion: 65535 * 90 / 250 = 23592.6
    assert stored.dtype == np.uint16
    assert {0, 23593, 65535} <= set(np.unique(stored).tolist())
    again = read_mammogram(
        done.coco.image_path(done.coco.images[0]), Recipe(invert="never", intensity="full")
    )
    np.testing.assert_array_equal(again.pixels, (stored / 65535).astype(np.float32))


def test_the_coco_file_keeps_ids_and_tells_where_images_come_from(source: Coco, tmp_path: Path) -> None:
    source.info["audit"] = {"rows": 3}
    done = _prepare(source, tmp_path / "out")
    assert (done.written, done.kept, done.rejected, done.changes) == (3, 0, [], [])
    prepared = read_coco(tmp_path / "out" / "coco.json")
    assert check_coco(prepared) == []
    assert prepared.info["audit"] == {"rows": 3}
    assert prepared.info["prepared"] == {
        "format": "mammodet.prepared/1",
        "recipe": RECIPE.to_dict(),
        "source": "coco.json",
    }
    assert prepared_recipe(prepared) == RECIPE and prepared_recipe(source) is None
    assert [one["id"] for one in prepared.images] == [1, 2, 3]
    assert [one["id"] for one in prepared.annotations] == [1, 3]
    first = prepared.images[0]
    assert first["provenance"]["film"] == 1
    origin = first["provenance"]["prepared"]
    assert (origin["file_name"], origin["width"], origin["height"]) == ("1.png", 120, 160)
    assert first["file_name"] == f"pixels/{origin['key']}.png"
    geometry = Geometry.from_dict(origin["geometry"])
    assert (geometry.width, geometry.height) == (first["width"], first["height"])
    # The ellipse is 80 wide and 120 high around row 80, the margin 4; finding the breast adds a few pixels.
    assert 84 <= first["width"] <= 92 and 128 <= first["height"] <= 140


def test_what_is_there_is_not_written_again_and_what_is_broken_is(source: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = _prepare(source, out).coco.path.read_text()
    before = _written(out)
    done = _prepare(source, out)
    assert (done.written, done.kept, done.stale) == (0, 3, ())
    assert _written(out) == before and (out / "coco.json").read_text() == text

    cut, whole, odd = sorted((out / "pixels").iterdir())
    content = cut.read_bytes()
    cut.write_bytes(content[:-20])  # as after a crash of the machine
    odd.write_bytes(odd.read_bytes().replace(b"geometry", b"geomatry"))
    (out / "pixels" / f".{whole.stem}.77.part.png").write_bytes(content[:100])  # as after a kill
    done = _prepare(source, out)
    assert (done.written, done.kept) == (2, 1)
    assert cut.read_bytes() == content
    assert _written(out).keys() == before.keys()
    assert _written(out)[whole.name] == before[whole.name]


def test_a_changed_file_recipe_or_side_never_reads_stale_pixels(source: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    recipe = Recipe(orient_left=True)
    assert _prepare(source, out, recipe).written == 3
    # one source file has other content, of the same size and with the time it had
    path = source.image_path(source.images[0])
    state = path.stat()
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    pixels[30, 30] = 200
    cv2.imwrite(str(path), pixels)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    done = _prepare(source, out, recipe)
    assert (done.written, done.kept, len(done.stale)) == (1, 2, 1)
    np.testing.assert_allclose(
        load_standardised(done.coco, done.coco.images[0], recipe).pixels,
        load_standardised(source, source.images[0], recipe).pixels,
        atol=1 / 65535,
    )
    # the COCO file learns that an image shows the other breast: it is mirrored now
    source.images[1]["laterality"] = "R"
    done = _prepare(source, out, recipe)
    assert (done.written, done.kept, len(done.stale)) == (1, 2, 2)
    assert {"step": "flip"} in done.coco.images[1]["provenance"]["prepared"]["geometry"]["steps"]
    # another recipe, and another pixel size
    assert _prepare(source, out, replace(recipe, crop_margin_px=5)).written == 3
    source.images[2]["spacing_mm"] = [0.4, 0.4]
    assert _prepare(source, out, replace(recipe, crop_margin_px=5)).written == 1


def test_a_side_that_only_the_file_name_tells_is_part_of_the_key(source: Coco, tmp_path: Path) -> None:
    content = source.image_path(source.images[0]).read_bytes()
    for image, name in zip(source.images, ("a_L_CC.png", "a_R_CC.png", "b_R_CC.png"), strict=True):
        (source.path.parent / name).write_bytes(content)
        image |= {"file_name": name, "laterality": None}
    done = _prepare(source, tmp_path / "out", Recipe(orient_left=True))
    left, right, same = (
        load_standardised(done.coco, one, Recipe(orient_left=True)) for one in done.coco.images
    )
    np.testing.assert_array_equal(left.pixels, right.pixels[:, ::-1])
    np.testing.assert_array_equal(right.pixels, same.pixels)
    # COCO wants a file of its own for each image
    assert done.duplicates == 1
    assert len({image["file_name"] for image in done.coco.images}) == 3
    assert _prepare(source, tmp_path / "out", Recipe(orient_left=True)).written == 0
    assert len(list((tmp_path / "out" / "pixels").iterdir())) == 3


def test_a_file_that_changes_while_it_is_read_leaves_no_pixels(
    source: Coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is that of the content before: pixels of the content after must not be filed under it."""
    path = source.image_path(source.images[0])
    load = prepare_images.load_standardised

    def changed_meanwhile(coco: Coco, image: Any, recipe: Recipe) -> Any:
        if coco.image_path(image) == path:
            path.write_bytes(path.read_bytes() + b"\0\0")
        return load(coco, image, recipe)

    monkeypatch.setattr(prepare_images, "load_standardised", changed_meanwhile)
    done = _prepare(source, tmp_path / "out")
    assert [image["id"] for image, _ in done.rejected] == [source.images[0]["id"]]
    assert "was changed while it was read" in done.rejected[0][1]
    assert len(_written(tmp_path / "out")) == len(source.images) - 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_pipe_is_rejected_and_nobody_waits_for_it(source: Coco, tmp_path: Path) -> None:
    path = source.image_path(source.images[0])
    path.unlink()
    os.mkfifo(path)
    done = _prepare(source, tmp_path / "out")
    assert [reason.partition(": ")[2] for _, reason in done.rejected] == [
        "is no regular file; give image files only"
    ]


def test_files_of_earlier_runs_stay_until_they_are_pruned(source: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _prepare(source, out, Recipe(crop=False))
    old = set((out / "pixels").iterdir())
    done = _prepare(source, out)
    assert set(done.stale) == old and done.stale_bytes == sum(path.stat().st_size for path in old)
    assert all(path.is_file() for path in old) and not done.pruned
    done = _prepare(source, out, prune=True)
    assert done.pruned and not any(path.exists() for path in old)
    assert len(list((out / "pixels").iterdir())) == 3
    assert check_files(read_coco(out / "coco.json"), image_size) == []


def test_lesions_that_the_crop_takes_are_told(source: Coco, tmp_path: Path) -> None:
    del source.annotations[0]["segmentation"]
    source.annotations[0]["bbox"] = [110.0, 2.0, 8.0, 8.0]  # in the air, far from the breast
    done = _prepare(source, tmp_path / "out")
    assert [(one.annotation_id, one.what, one.bbox) for one in done.changes] == [(1, "lost", [110, 2, 8, 8])]
    assert [one["id"] for one in done.coco.annotations] == [3]
    assert len(done.coco.images) == 3


def test_unreadable_images_are_named_and_skipped(source: Coco, tmp_path: Path) -> None:
    source.image_path(source.images[0]).write_bytes(b"")
    source.images[1]["width"] = 121
    done = _prepare(source, tmp_path / "out")
    reasons = {image["id"]: reason for image, reason in done.rejected}
    assert "1.png" in reasons[1] and "121 x 160" in reasons[2]
    assert [image["id"] for image in done.coco.images] == [3]
    assert [one["id"] for one in done.coco.annotations] == [3]

    source.image_path(source.images[2]).unlink()
    none = _prepare(source, tmp_path / "none")
    assert none.coco is None and len(none.rejected) == 3
    assert not (tmp_path / "none" / "coco.json").exists()


@pytest.mark.parametrize(("how", "told"), [("died", "ended the process"), ("hung", "600 s")])
def test_an_image_that_its_process_does_not_survive_is_rejected(
    source: Coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, told: str
) -> None:
    def second_is_lost(work, tasks, **_):
        for number, task in enumerate(tasks, start=1):
            yield Casualty(how) if number == 2 else work(task)

    monkeypatch.setattr("mammodet.datasets.image_work.map_isolated", second_is_lost)
    done = prepare_folder(source, RECIPE, tmp_path / "out", workers=2, progress=False)
    ((image, reason),) = done.rejected
    assert image["id"] == 2 and told in reason and "2.png" in reason
    assert [one["id"] for one in done.coco.images] == [1, 3]


def test_processes_write_the_same_files_as_one(source: Coco, tmp_path: Path) -> None:
    one = _prepare(source, tmp_path / "one")
    two = prepare_folder(source, RECIPE, tmp_path / "two", workers=2, progress=False)
    assert (two.written, two.rejected) == (3, [])
    assert two.coco.images == one.coco.images and two.coco.annotations == one.coco.annotations
    for path in (tmp_path / "one" / "pixels").iterdir():
        assert (tmp_path / "two" / "pixels" / path.name).read_bytes() == path.read_bytes()


def test_pixels_of_another_size_than_stated_are_refused_from_an_earlier_run_too(
    source: Coco, tmp_path: Path
) -> None:
    _prepare(source, tmp_path / "out")
    source.images[1]["width"] = 121
    assert [image["id"] for image, _ in _prepare(source, tmp_path / "out").rejected] == [2]


def test_only_sources_are_prepared_and_nothing_else_is_overwritten(source: Coco, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared = _prepare(source, out).coco
    with pytest.raises(InputError, match="prepared already"):
        _prepare(prepared, tmp_path / "twice")
    with pytest.raises(InputError, match="no prepared COCO file"):
        _prepare(source, source.path.parent)
    (out / "coco.json").write_text("{")
    with pytest.raises(InputError, match="no prepared COCO file"):
        _prepare(source, out)
    with pytest.raises(InputError, match="no images"):
        _prepare(replace(source, images=[], annotations=[]), tmp_path / "none")


def test_two_runs_never_share_a_folder(source: Coco, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    out = tmp_path / "out"
    out.mkdir()
    folder = os.open(out, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another run"):
        _prepare(source, out)
    os.close(folder)
    assert _prepare(source, out).written == 3


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("yes", "info.prepared.format"),
        ({"format": "mammodet.prepared/0", "recipe": {}}, "info.prepared.format"),
        ({"format": "mammodet.prepared/1"}, "info.prepared.recipe"),
        ({"format": "mammodet.prepared/1", "recipe": {"colour": 1}}, "colour"),
        ({"format": "mammodet.prepared/1", "recipe": {"crop_margin_px": "wide"}}, "info.prepared.recipe"),
    ],
)
def test_a_broken_note_of_the_recipe_is_refused(source: Coco, record: object, told: str) -> None:
    source.info["prepared"] = record
    with pytest.raises(InputError, match=told):
        prepared_recipe(source)


def test_another_recipe_and_files_that_are_not_prepared_are_refused(source: Coco, tmp_path: Path) -> None:
    prepared = _prepare(source, tmp_path / "out").coco
    require_recipe(prepared, RECIPE)
    require_recipe(source, Recipe(crop=False))
    with pytest.raises(InputError, match=r"recipe\.crop_margin_px.*prepared with 4.*found 16"):
        load_standardised(prepared, prepared.images[0], Recipe())
    path = prepared.image_path(prepared.images[0])
    other = np.zeros((prepared.images[0]["height"], prepared.images[0]["width"]), np.uint8)
    cv2.imwrite(str(path), other)
    with pytest.raises(InputError, match="16-bit"):
        load_standardised(prepared, prepared.images[0], RECIPE)
    cv2.imwrite(str(path), other[:-1].astype(np.uint16))
    with pytest.raises(InputError, match="but the COCO file says"):
        load_standardised(prepared, prepared.images[0], RECIPE)


def test_real_mammograms_give_the_same_pixels(shared_data: Path, tmp_path: Path) -> None:
    images: list[ImageRecord] = []
    for number, name in enumerate(("exam/R-CC.png", "dicom/ge_essential_r_mlo.dcm"), start=1):
        width, height = image_size(shared_data / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
    coco = Coco(images, [], tmp_path / "coco.json", info={"root": str(shared_data)})
    done = _prepare(coco, tmp_path / "out", Recipe())
    assert "root" not in done.coco.info
    for before, after in zip(images, done.coco.images, strict=True):
        fresh = load_standardised(coco, before, Recipe())
        kept = load_standardised(done.coco, after, Recipe())
        assert fresh.pixels.size > 1e6
        assert np.abs(kept.pixels - fresh.pixels).max() <= 0.5 / 65535 + 1e-7


def test_no_name_birth_date_or_accession_number_is_written(make_dicom, tmp_path: Path) -> None:
    path = make_dicom()
    image: ImageRecord = {"id": 1, "file_name": path.name, "width": 80, "height": 96}
    done = _prepare(Coco([image], [], path.parent / "source.json"), tmp_path / "out", Recipe())
    assert done.written == 1
    for written in (tmp_path / "out").rglob("*"):
        content = written.read_bytes() if written.is_file() else b""
        assert not any(secret in content for secret in (b"Smith", b"Jane", b"19600101", b"ACC99"))


# Lesions ------------------------------------------------------------------------------------------------------

# A crop to 60 x 40 at (10, 20), mirrored, enlarged twice: x' = 2 * (60 - (x - 10)), y' = 2 * (y - 20).
GEOMETRY = Geometry(100, 80).crop(10, 20, 60, 40).flip().scale(120, 80)


def test_a_box_a_circle_and_a_polygon_are_moved() -> None:
    circle = {"circle": [25, 35, 5]}
    lesions = [
        {
            "id": 4,
            "image_id": 1,
            "category_id": 1,
            "bbox": [20, 30, 10, 10],
            "area": 78.5,
            "provenance": circle,
        },
        {
            "id": 9,
            "image_id": 1,
            "category_id": 2,
            "bbox": [20, 30, 10, 10],
            "segmentation": [[20, 30, 30, 30, 20, 40]],
            "area": 50.0,
        },
    ]
    (first, second), changes = move_lesions(lesions, GEOMETRY)
    # x from 20..30 to 2 * (60 - 20) .. 2 * (60 - 10) = 80 .. 100; y from 30..40 to 20..40
    assert changes == []
    assert first["bbox"] == [80, 20, 20, 20] and first["area"] == pytest.approx(314)
    assert first["provenance"] == {"prepared": {"bbox": [20, 30, 10, 10], "kept": 1.0, "provenance": circle}}
    assert second["segmentation"] == [[100, 20, 80, 20, 100, 40]] and second["area"] == 200
    assert (first["id"], second["id"]) == (4, 9)
    assert lesions[0]["bbox"] == [20, 30, 10, 10] and lesions[0]["provenance"] is circle


def test_boxes_and_masks_are_clipped_and_what_is_lost_is_told() -> None:
    mask = np.zeros((80, 100), bool)
    mask[30:40, 5:15] = True
    lesions = [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 1,
            "bbox": [5, 30, 10, 10],
            "segmentation": mask_to_rle(mask),
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 1,
            "bbox": [60, 10, 20, 20],
            "segmentation": [[60, 10, 80, 10, 80, 30, 60, 30]],
        },
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 10]},
        {"id": 4, "image_id": 7, "category_id": 1, "bbox": [0, 30, 10.4, 10]},  # 0.8 px are left
    ]
    (first, second), changes = move_lesions(lesions, GEOMETRY)
    # of x 5..15 the crop leaves 10..15: 2 * (60 - 5) .. 2 * 60
    assert first["bbox"] == [110, 20, 10, 20] and first["area"] == 200
    assert mask_to_bbox(segmentation_to_mask(first["segmentation"], 120, 80)) == [110, 20, 10, 20]
    # of x 60..80, y 10..30 it leaves 60..70, 20..30
    assert second["bbox"] == [0, 0, 20, 20] and second["area"] == 400
    assert sorted(zip(*[iter(second["segmentation"][0])] * 2, strict=True)) == [
        (0, 0),
        (0, 20),
        (20, 0),
        (20, 20),
    ]
    assert [(one.annotation_id, one.what, one.kept) for one in changes] == [
        (1, "cut", 0.5),
        (2, "cut", 0.25),
        (3, "lost", 0.0),
        (4, "lost", 0.0),
    ]
    assert changes[0].bbox == [5, 30, 10, 10] and changes[0].image_id == 7


def test_a_box_smaller_than_a_pixel_that_nothing_cuts_is_kept() -> None:
    shrunk = Geometry(100, 80).scale(25, 20)
    speck = np.zeros((80, 100), bool)
    speck[41, 41] = True
    lesion = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [41, 41, 1, 1]}
    (moved,), changes = move_lesions([{**lesion, "segmentation": mask_to_rle(speck)}], shrunk)
    assert moved["bbox"] == [10.25, 10.25, 0.25, 0.25] and moved["area"] == 0.0625
    # Its mask has no pixel left at this resolution.
    assert "segmentation" not in moved and [one.what for one in changes] == ["mask lost"]


corner = st.tuples(st.floats(-20, 30, width=32), st.floats(-20, 30, width=32))


@settings(max_examples=200, deadline=None)
@given(st.lists(corner, min_size=3, max_size=9))
def test_a_clipped_polygon_has_the_same_inside(corners: list[tuple[float, float]]) -> None:
    polygon = np.array(corners, dtype=np.float64)
    clipped = clip_polygon(polygon, 10, 8)
    rows, columns = np.mgrid[:8, :10] + 0.503
    sure = (
        _distance(polygon, columns, rows) > 1e-6
    )  # which side of an edge a point on it is, rounding decides
    inside = _even_odd(polygon, columns, rows)
    np.testing.assert_array_equal(_even_odd(clipped, columns, rows)[sure], inside[sure])
    if clipped.size:
        assert clipped.min() >= 0 and (clipped <= [10, 8]).all()


def _distance(polygon: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    least = np.full(x.shape, np.inf)
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = end - start
        share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-300)
        share = np.clip(share, 0, 1)
        least = np.minimum(least, np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1]))
    return least


def _even_odd(polygon: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    inside = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y1 > y) != (y2 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < x1 + (y - y1) / (y2 - y1) * (x2 - x1))
    return inside


def test_the_area_of_a_polygon() -> None:
    assert polygon_area(np.array([[0, 0], [4, 0], [4, 3]])) == 6
    assert polygon_area(np.array([[0, 0], [0, 2], [2, 2], [2, 0]])) == 4
    assert polygon_area(np.zeros((0, 2))) == 0


def test_the_record_of_a_file_is_whole_or_not_there(source: Coco, tmp_path: Path) -> None:
    done = _prepare(source, tmp_path / "out")
    path = done.coco.image_path(done.coco.images[0])
    record = read_record(path)
    assert record is not None and record.source_size == (120, 160) and record.spacing_mm == (0.5, 0.5)
    content = path.read_bytes()
    length = struct.unpack(">I", content[33:37])[0]
    broken = tmp_path / "broken.png"
    for altered in (
        b"",
        content[:40],
        content[:-1],
        content[:41] + b"x" + content[42:],
        content[: 45 + length],
    ):
        broken.write_bytes(altered)
        assert read_record(broken) is None
    assert read_record(tmp_path / "missing.png") is None
