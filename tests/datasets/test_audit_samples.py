"""Lesions at random on the audit's page: which are taken, what their captions say, and their pictures."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mammodet.datasets.audit.run import Look, read_for_audit, write_audit
from mammodet.datasets.audit.samples import caption, pick_images, pick_lesions
from mammodet.datasets.coco import Coco, profile_categories
from mammodet.datasets.drawing import COLOURS, write_png


def coco_of(lesions: list[dict[str, Any]], images: int = 40, **keys: Any) -> Coco:
    """Return a set in which two successive images are of one patient."""
    films: list[Any] = [
        {"id": n, "file_name": f"{n}.png", "width": 900, "height": 900, "patient_id": str(n // 2), **keys}
        for n in range(images)
    ]
    boxes: list[Any] = [
        {"category_id": 1, "bbox": [9, 9, 20, 30], **one, "id": n} for n, one in enumerate(lesions)
    ]
    return Coco(films, boxes, Path("coco.json"))


def test_every_category_and_finding_is_there_and_patients_differ() -> None:
    common = [{"image_id": n, "finding": "mass", "category_id": 1 + n % 2} for n in range(36)]
    rare = [
        {"image_id": 37, "finding": "distortion"},
        {"image_id": 38, "finding": "asymmetry", "category_id": 2},
        {"image_id": 39, "finding": "mass", "ignore": 1},
    ]
    coco = coco_of([*common, *rare])
    chosen = pick_lesions(coco, 12)
    assert len({one["id"] for one in chosen}) == 12
    kinds = [(one["category_id"], one["finding"], bool(one.get("ignore"))) for one in chosen]
    assert kinds.count((1, "distortion", False)) == 1
    assert kinds.count((2, "asymmetry", False)) == 1
    assert kinds.count((1, "mass", True)) == 1
    assert abs(kinds.count((1, "mass", False)) - kinds.count((2, "mass", False))) <= 1
    patients = [one["image_id"] // 2 for one in chosen]
    assert len(set(patients)) >= 11  # the last two rare ones are of one patient
    assert [one["id"] for one in pick_lesions(coco, 12)] == [
        one["id"] for one in chosen
    ]  # the same each time
    assert [one["id"] for one in pick_lesions(coco, 12, seed=1)] != [one["id"] for one in chosen]


def test_few_lesions_are_all_taken_and_another_image_comes_first() -> None:
    lesions = [{"image_id": 0}, {"image_id": 0}, {"image_id": 0}, {"image_id": 1}]
    coco = coco_of(lesions)
    assert sorted(one["id"] for one in pick_lesions(coco, 12)) == [0, 1, 2, 3]
    assert 3 in [one["id"] for one in pick_lesions(coco, 2)]  # the other image of the patient
    assert pick_lesions(coco, 0) == []
    assert [one["id"] for one in pick_lesions(coco, 12, without={0})] == [3]  # its file cannot be read


def test_images_without_lesions_are_of_different_patients() -> None:
    coco = coco_of([{"image_id": n, "ignore": n % 2} for n in range(20)])
    chosen = [image["id"] for image in pick_images(coco, 4)]
    assert min(chosen) >= 20  # an ignored lesion is one too
    assert len({number // 2 for number in chosen}) == 4
    assert [image["id"] for image in pick_images(coco, 9, without=set(range(21, 40)))] == [20]


@pytest.mark.parametrize(
    ("keys", "spacing", "text"),
    [
        ({"finding": "mass"}, [0.1, 0.05], "a/1.png: benign mass, 1 x 3 mm, 20 x 30 px"),
        ({"finding": "mass", "category_id": 2}, None, "a/1.png: malignant mass, mm unknown, 20 x 30 px"),
        ({}, [0.5, 10], "a/1.png: benign, finding unknown, 200 x 15 mm, 20 x 30 px"),
        ({"ignore": 1, "finding": "mass"}, None, "a/1.png: benign mass, ignored, mm unknown, 20 x 30 px"),
        (
            {"provenance": {"point": [19, 24]}, "finding": "mass"},
            [1, 1],
            "a/1.png: benign mass, a point without size",
        ),
    ],
)
def test_captions(keys: dict[str, Any], spacing: Any, text: str) -> None:
    coco = coco_of([{"image_id": 1, **keys}], 2, spacing_mm=spacing)
    coco.images[1]["file_name"] = "set/a/1.png"
    assert caption(coco, coco.annotations[0], "set") == text


def test_a_caption_counts_the_other_lesions_of_the_image() -> None:
    coco = coco_of([{"image_id": 1, "finding": "mass"}, {"image_id": 1, "finding": "mass"}])
    assert caption(coco, coco.annotations[1], "").endswith("px, one of 2 lesions of the image")


def test_the_page_shows_them_with_their_box(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images, lesions = [], []
    for number in range(1, 6):
        pixels = random.integers(80, 120, (800, 600)).astype(np.uint8)
        write_png(tmp_path / f"{number}.png", pixels)
        images.append(
            {
                "id": number,
                "file_name": f"{number}.png",
                "width": 600,
                "height": 800,
                "patient_id": str(number),
            }
        )
        if number < 4:
            box = {"bbox": [300, 400, 40, 40], "category_id": 2, "finding": "mass"}
            lesions.append({"id": number, "image_id": number, **box})
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:5000])  # cannot be read
    path = tmp_path / "coco.json"
    content = {"images": images, "annotations": lesions, "categories": profile_categories()}
    path.write_text(json.dumps(content))
    text = write_audit(read_for_audit(path), None, Look(workers=1))[1].read_text()
    section = text[text.index("<h2>Lesions at random</h2>") :]
    section = section[: section.index("<h2>", 5)]
    captions = [unescape(one) for one in re.findall(r"<figcaption>(.*?)</figcaption>", section)]
    assert sorted(captions) == [
        "1.png: malignant mass, mm unknown, 40 x 40 px",
        "2.png: malignant mass, mm unknown, 40 x 40 px",
        "4.png: label unknown",
        "5.png: label unknown",
    ]
    pictures = [decoded(uri) for uri in re.findall(r'src="data:image/jpeg;base64,(.*?)"', section)]
    assert len(pictures) == 6  # two of each lesion, one of each other image
    frame, crop = pictures[:2]
    assert frame.shape[:2] == (320, 240)
    # The box starts at 300, 400 of 600 x 800: at 120, 160 of the thumbnail, and is 16 px wide there.
    assert coloured(frame) == pytest.approx([120, 160, 136, 176], abs=4)
    # The crop is 100 px of the file wide, with the box in its middle 40.
    assert coloured(crop) == pytest.approx([96, 96, 224, 224], abs=4)
    none = write_audit(read_for_audit(path), None, Look(workers=1, pictures=0))[1].read_text()
    assert "at random" not in none


def decoded(coded: str) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(coded), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture[:, :, ::-1].astype(int)


def coloured(picture: np.ndarray) -> list[int]:
    """Return [x1, y1, x2, y2] around what has the colour of malignant lesions."""
    rows, columns = np.nonzero(np.abs(picture - np.array(COLOURS[2])).max(axis=2) < 90)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
