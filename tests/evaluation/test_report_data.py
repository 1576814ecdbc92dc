"""What the viewer is given: hits and suppression that hold at every threshold, pictures, and what has none."""

import base64
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation import report_data, report_images
from mammodet.evaluation.fusion import suppress_benign
from mammodet.evaluation.protocol import Protocol
from mammodet.evaluation.report_data import detection_at, match_rules, suppressors, viewer_data
from mammodet.evaluation.report_gallery import Gallery, build_viewer, json_block, with_navigation
from mammodet.evaluation.report_images import Task, code_picture
from mammodet.evaluation.resampling import Bootstrap
from mammodet.evaluation.summary import Options, evaluate

boxes = st.lists(
    st.builds(
        lambda image, category, x, y, side, score: {
            "image_id": image,
            "category_id": category,
            "bbox": [x, y, side, side],
            "score": score / 10,
        },
        st.integers(1, 2),
        st.integers(1, 2),
        *(st.integers(0, 30),) * 2,
        st.integers(5, 40),
        st.integers(0, 10),
    ),
    max_size=12,
)


@given(boxes, st.integers(0, 10), st.sampled_from([0.0, 0.3, 0.5]))
def test_one_number_tells_at_which_thresholds_a_box_is_suppressed(results, tenths, iou):
    threshold = tenths / 10
    strong = [one for one in results if one["score"] >= threshold]
    kept = {id(one) for one in suppress_benign(strong, iou)}
    for one, score in zip(results, suppressors(results, iou), strict=True):
        if one["score"] >= threshold:
            assert (id(one) not in kept) == (score >= 0 and score >= threshold)


def small(folder, number=4):
    images = [
        {"id": n, "file_name": f"{n}.png", "width": 60, "height": 80, "label": "malignant"}
        for n in range(1, number + 1)
    ]
    lesions = [
        {"id": n, "image_id": n, "category_id": 2, "bbox": [10, 10, 20, 20]} for n in range(1, number + 1)
    ]
    results = [
        {"image_id": n, "category_id": 2, "bbox": [10 * n, 10, 20, 20], "score": n / 10}
        for n in range(1, number + 1)
    ]
    return Coco(images, lesions, folder / "gt.json"), results


def test_of_too_many_boxes_the_surest_stay_and_the_page_says_from_where(tmp_path, monkeypatch):
    coco, results = small(tmp_path)
    results += [{**results[2], "image_id": 1}]  # two boxes of 0.3 go or stay together
    monkeypatch.setattr(report_data, "MOST_BOXES", 2)
    data = viewer_data(coco, results, Protocol(), match_rules(coco, results, Protocol()), judged=True)
    assert data["boxes"]["score"] == [0.4] and data["lowest"] == 0.4 and data["dropped"] == 4
    assert len(data["rules"][0]["found"]) == 1


def test_detection_at_a_threshold_counts_by_hand(tmp_path):
    coco, results = small(tmp_path)  # the centres of the first two lie in the lesion, the second on its edge
    row = detection_at(match_rules(coco, results, Protocol()), Protocol(), 0.2)["rows"][0]
    assert (row["rule"], row["found"], row["false_positives"]) == ("center", 1, 2)
    assert (row["sensitivity"], row["false_positives_per_unit"]) == (0.25, 0.5)


def viewer(coco, results, out, **options):
    evaluation = evaluate(coco, results, Protocol(), Options(Bootstrap(resamples=0)))
    return build_viewer(Gallery(coco, results, **options), evaluation, out).data["images"]


@pytest.mark.parametrize(
    ("pictures", "read"),
    [("all", [1, 2, 3, 4]), ("auto", [1, 2, 3, 4]), ("none", []), ("errors", [1, 2, 3, 4]), (2, [3, 4])],
)
def test_the_choice_of_pictures(tmp_path, pictures, read):
    # 1 and 2 are below the threshold: missed and negative. 3 and 4 hit nothing and miss their lesions.
    coco, results = small(tmp_path)
    images = viewer(coco, results, tmp_path, pictures=2 if pictures == 2 else pictures)
    asked = [n for n, image in enumerate(images, 1) if image.get("problem") == "no such file"]
    assert asked == ([1, 2] if pictures == 2 else read)
    assert [image["errors"] for image in images] == [20, 20, 11.3, 11.4]


@pytest.mark.parametrize("wrong", ["some", -1])
def test_other_choices_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match=r"--images: is no choice of images .*choose auto, all"):
        Gallery(*small(tmp_path), wrong)


def test_level_1_is_the_picture_itself_and_further_levels_are_half_as_large(tmp_path):
    rng = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (1500, 1101), np.uint8), (0, 0), 2)
    pixels[0, :2] = (0, 255)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    picture = code_picture(Task(str(tmp_path / "a.png"), 1101, 1500))
    decoded = {n: cv2.imdecode(np.frombuffer(content, np.uint8), -1) for n, content in picture.levels}
    assert {n: level.shape for n, level in decoded.items()} == {1: (1500, 1101), 2: (750, 551), 4: (375, 276)}
    low, high = pixels.min(), pixels.max()
    wanted = np.round((pixels - low) / (high - low) * 255.0)
    assert np.abs(decoded[1] - wanted).max() <= 1
    thumbnail = cv2.imdecode(np.frombuffer(picture.thumbnail, np.uint8), 0)
    assert thumbnail.shape == (256, 188)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "empty"), (b"no picture at all", ""), (None, "61 x 80 pixels, the ground truth says 60 x 80")],
)
def test_a_file_that_does_not_do_gives_its_problem(tmp_path, content, problem):
    path = tmp_path / "a.png"
    if content is None:
        cv2.imwrite(str(path), np.eye(80, 61, dtype=np.uint8) * 200)
    else:
        path.write_bytes(content)
    picture = code_picture(Task(str(path), 60, 80))
    assert picture.problem and problem in picture.problem and not picture.levels


def test_a_reader_that_dies_costs_only_its_own_picture(tmp_path, monkeypatch):
    coco, results = small(tmp_path)
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.eye(80, 60, dtype=np.uint8) * 200)
    casualty = report_images.Casualty("died")
    good = code_picture(Task(str(tmp_path / "2.png"), 60, 80))
    monkeypatch.setattr(report_images, "map_isolated", lambda *_, **__: iter([casualty, good]))
    images = viewer(coco, results, tmp_path)
    assert images[0]["problem"] == "the reader died on this file"
    prefix, _, coded = images[1]["levels"][0][1].partition(",")
    assert prefix == "data:image/png;base64" and base64.b64decode(coded) == good.levels[0][1]


def test_where_no_reader_starts_the_evaluation_goes_on_without_pictures(tmp_path, monkeypatch):
    coco, results = small(tmp_path)
    cv2.imwrite(str(tmp_path / "2.png"), np.eye(80, 60, dtype=np.uint8) * 200)

    def refuse(*_, **__):
        raise InputError("a worker could not start", field="workers")
        yield

    monkeypatch.setattr(report_images, "map_isolated", refuse)
    assert viewer(coco, results, tmp_path)[1]["problem"] == "a worker could not start"


@given(st.text())
def test_data_cannot_end_their_block_and_are_read_back(text):
    told = json_block({"a": text, "b": "</script><!--\u2028"})
    assert not set("<>&\u2028\u2029") & set(told)
    assert json.loads(told)["a"] == text


def test_contents_list_every_heading_once():
    heads = ("<h2>One &amp; two</h2>", "<h2>One<br>&amp; two</h2>", '<h2 id="own">3</h2>')
    page = with_navigation(f"<ul><!-- contents --></ul>{''.join(heads)}")
    assert page == (
        '<ul><li><a href="#one-amp-two">One &amp; two</a></li>\n'
        '<li><a href="#one-amp-two-2">One&amp; two</a></li>\n<li><a href="#own">3</a></li></ul>'
        '<h2 id="one-amp-two">One &amp; two</h2><h2 id="one-amp-two-2">One<br>&amp; two</h2><h2 id="own">3</h2>'
    )
