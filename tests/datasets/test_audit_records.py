"""What the audit finds in the records of a COCO file alone: boxes, labels, patients, views, conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammodet.datasets.audit.boxes import box_cases, mask_bounds
from mammodet.datasets.audit.conversion import conversion_cases, conversion_of
from mammodet.datasets.audit.kinds import GROUPS, KINDS
from mammodet.datasets.audit.labels import pathology_category
from mammodet.datasets.audit.pixels import Pixels
from mammodet.datasets.audit.report import Case, Report, group
from mammodet.datasets.audit.run import Look, audit_coco, read_for_audit
from mammodet.datasets.coco import Coco, CocoError, profile_categories
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.errors import InputError
from mammodet.datasets.inspection import Inspection
from mammodet.datasets.masks import mask_to_rle

SIDE = 1000


def image(number: int, **keys: Any) -> dict[str, Any]:
    view = "CC" if number % 2 else "MLO"
    whole = {"file_name": f"{number}.png", "patient_id": "p", "laterality": "L", "view": view}
    return {"id": number, "width": SIDE, "height": SIDE, **whole, **keys}


def lesion(number: int, bbox: list[float], **keys: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 2, "bbox": bbox, "lesion_id": "a", **keys}


def coco_of(images: list[Any], annotations: list[Any], **info: Any) -> Coco:
    return Coco(images, annotations, Path("coco.json"), info={"audit": Audit().record(), **info})


def report_of(images: list[Any], annotations: list[Any] = [], **info: Any) -> Report:  # noqa: B006
    return audit_coco(coco_of(images, annotations, **info), Look("no"))[0]


def kinds_of(report: Report) -> dict[str, int]:
    return {finding.name: finding.count for finding in report.findings}


PAIR = [image(1), image(2)]
BOTH = [lesion(1, [100, 100, 50, 60]), lesion(2, [100, 100, 50, 60], image_id=2)]


def test_a_sound_file_has_no_finding() -> None:
    report = report_of(PAIR, BOTH)
    assert kinds_of(report) == {}
    assert report.verdict == "clean"
    assert report.counts == {"error": 0, "warning": 0, "note": 0}
    assert "image files" in report.not_checked[0]


BOX = [100, 100, 50, 60]


@pytest.mark.parametrize(
    ("bbox", "keys", "kind"),
    [
        ([100, 100, 4.9, 60], {}, "tiny-box"),
        ([100, 100, 5, 60], {}, None),
        ([100, 100, 4, 4], {"provenance": {"point": [102, 102]}}, None),
        ([0, 0, 900, 556], {}, "huge-box"),  # 500,400 of 1,000,000 pixels
        ([0, 0, 900, 555], {}, None),
        (BOX, {"provenance": {"bbox_before_clipping": [90, 100, 60, 60]}}, "clipped"),
        (BOX, {"provenance": {"bbox_before_clipping": [0, 100, 101, 60]}}, "mostly-clipped"),  # 3000 of 6060
        (BOX, {"provenance": {"bbox_before_clipping": "nonsense"}}, None),
        (BOX, {"provenance": {"bbox_before_clipping": [0, 0, float("nan"), 1]}}, None),
        (BOX, {"segmentation": [[100, 100, 150, 100, 150, 160]]}, None),
        (BOX, {"segmentation": [[97.9, 100, 150, 100, 150, 160]]}, "mask-box"),  # 2.1 px
        (BOX, {"segmentation": [[98, 100, 150, 100, 150, 160]]}, None),
        ([0, 0, 50, 60], {"segmentation": [[-9, 0, 50, 0, 50, 60]]}, None),  # clipped as the box is
        (BOX, {"birads": "5"}, None),
        (BOX, {"birads": "BI-RADS 2"}, "birads-against-truth"),
        (BOX, {"birads": "3"}, "birads-3-malignant"),
        (BOX, {"birads": "6", "pathology": "Benign", "ignore": 1}, "birads-against-truth"),
        (BOX, {"birads": "2", "ignore": 1}, None),
        (BOX, {"pathology": "BENIGN_WITHOUT_CALLBACK"}, "pathology-against-category"),
        (BOX, {"pathology": "MALIGNANT"}, None),
        (BOX, {"pathology": "benign", "ignore": 1}, None),
        (BOX, {"pathology": "high risk"}, "pathology-not-understood"),
    ],
)
def test_a_box_and_its_truth(bbox: list[float], keys: dict[str, Any], kind: str | None) -> None:
    report = report_of(PAIR, [lesion(1, bbox, **keys), BOTH[1]])
    assert kinds_of(report) == ({} if kind is None else {kind: 1})
    for finding in report.findings:
        assert (finding.images, finding.annotations) == ([1], [1])
        assert "1.png" in finding.cases[0].text


def test_tiny_in_mm_needs_a_pixel_size_and_takes_row_and_column() -> None:
    images = [image(1, spacing_mm=[0.05, 0.2]), image(2)]
    low = report_of(images, [lesion(1, [10, 10, 30, 19]), BOTH[1]])  # 6 mm wide, 0.95 mm high
    assert kinds_of(low) == {"tiny-box-mm": 1}
    assert low.findings[0].cases[0].text == "1.png: box of 30 x 19 px, 6 x 0.95 mm"
    assert kinds_of(report_of(images, [lesion(1, [10, 10, 30, 21]), BOTH[1]])) == {}


@pytest.mark.parametrize(
    ("second", "keys", "kind"),
    [
        ([100, 100, 100, 90], {}, "duplicate-box"),  # IoU 9000 / 10000
        ([100, 100, 100, 90], {"category_id": 1}, "label-conflict"),
        ([100, 100, 100, 89], {}, "nested-box"),
        ([150, 150, 53, 20], {}, None),  # 50 of its 53 columns inside: 94 %
        ([150, 150, 52, 20], {}, "nested-box"),  # 96 %
        ([150, 150, 4, 4], {"provenance": {"point": [152, 152]}}, None),
        ([100, 100, 100, 100], {"image_id": 2}, None),
    ],
)
def test_two_boxes_of_one_image(second: list[float], keys: dict[str, Any], kind: str | None) -> None:
    report = report_of(
        PAIR, [lesion(1, [100, 100, 100, 100]), lesion(2, second, **keys), {**BOTH[1], "id": 3}]
    )
    found = kinds_of(report)
    if keys.get("image_id") == 2:
        assert found == {"nested-box": 1}  # with lesion 3, which is on the second image too
        assert report.findings[0].annotations == [2, 3]
        return
    assert found == ({} if kind is None else {kind: 1})
    if kind is not None:
        assert report.findings[0].annotations == [1, 2]


def test_bounds_of_masks_are_half_open_and_inside_the_image() -> None:
    mask = np.zeros((40, 30), dtype=bool)
    mask[5:12, 8:20] = True
    compressed = mask_to_rle(mask)
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    for segmentation in (compressed, {"size": [40, 30], "counts": runs}):
        bounds = mask_bounds(segmentation, 30, 40)
        assert bounds is not None
        assert bounds.tolist() == [8, 5, 20, 12]
    assert mask_bounds(mask_to_rle(np.zeros((40, 30), dtype=bool)), 30, 40) is None
    polygon = mask_bounds([[-5, 2, 10, 2, 10, 99], [3, 1, 4, 1, 4, 2]], 30, 40)
    assert polygon is not None
    assert polygon.tolist() == [0, 1, 10, 40]


def seen(breast: tuple[int, int, int, int] | None, thumbnail: np.ndarray) -> Inspection:
    return Inspection(Path("1.png"), width=SIDE, height=SIDE, breast=breast, thumbnail=thumbnail)


def test_a_box_outside_the_breast_or_in_air() -> None:
    thumbnail = np.zeros((100, 100), dtype=np.uint8)  # 10 px of the file each
    thumbnail[20:80, :40] = 200
    breast = (0, 200, 500, 600)  # wider than the tissue, so that some air lies inside
    tissue, air, beside, edge = (
        [100, 300, 50, 50],
        [440, 300, 40, 40],
        [600, 300, 50, 50],
        [360, 300, 200, 50],
    )
    lesions = [lesion(n, box) for n, box in enumerate((tissue, air, beside, edge), 1)]
    coco = coco_of(PAIR, lesions)
    pixels = Pixels()
    pixels.add(1, seen(breast, thumbnail), coco.annotations_of[1])
    assert pixels.seen[1].thumbnail is None  # it would take gigabytes for large sets
    assert pixels.brightness[1] == 1
    assert pixels.brightness[2] == 0
    cases = [case for case in box_cases(coco, pixels) if case.kind == "outside-breast"]
    assert [case.annotations for case in cases] == [(2,), (3,)]
    assert "as dark as air (0% of the tissue's brightness)" in cases[0].text
    assert "100% of it outside the breast's rectangle" in cases[1].text
    nothing_known = Pixels()
    nothing_known.add(1, seen(None, np.full((100, 100), 9, dtype=np.uint8)), [])
    assert not list(box_cases(coco_of(PAIR, lesions[:1]), nothing_known))


def test_a_box_with_its_centre_outside() -> None:
    pixels = Pixels({1: seen((0, 0, 480, 1000), np.zeros((9, 9), np.uint8))}, {})
    inside = [400, 10, 159, 50]  # 80 of 159 columns inside, the centre at 479.5
    outside = [400, 10, 160, 50]  # exactly half inside, the centre on the edge
    coco = coco_of(PAIR, [lesion(1, inside), lesion(2, [400, 500, 162, 50])])
    assert [case.annotations for case in box_cases(coco, pixels)] == [(2,)]
    assert not list(box_cases(coco_of(PAIR, [lesion(1, outside)]), pixels))


def test_huge_is_measured_on_the_breast_where_it_is_known() -> None:
    pixels = Pixels({1: seen((0, 0, 200, 200), np.zeros((9, 9), np.uint8))}, {})
    coco = coco_of(PAIR, [lesion(1, [0, 0, 150, 134])])  # 20,100 of 40,000 pixels
    assert [case.kind for case in box_cases(coco, pixels)] == ["huge-box"]


@pytest.mark.parametrize(
    ("label", "category", "kind"),
    [
        ("malignant", 2, None),
        (None, 2, None),
        ("normal", 1, "normal-with-lesion"),
        ("benign", 2, "label-below-lesion"),
        ("malignant", 1, "label-above-lesion"),
        ("benign", None, "labels-only"),
        ("normal", None, None),
    ],
)
def test_label_against_lesions(label: str | None, category: int | None, kind: str | None) -> None:
    lesions = [] if category is None else [{**one, "category_id": category} for one in BOTH]
    found = kinds_of(report_of([image(1, label=label), image(2)], lesions))
    assert found == ({} if kind is None else {kind: 1})


def test_ignored_lesions_do_not_contradict_a_label() -> None:
    lesions = [{**one, "ignore": 1} for one in BOTH]
    assert kinds_of(report_of([image(1, label="normal"), image(2)], lesions)) == {}
    assert kinds_of(report_of([image(1, label="malignant"), image(2)], lesions)) == {}  # it has a box


def test_a_label_without_box_is_a_warning_where_others_have_boxes() -> None:
    images = [image(n, patient_id=str(n), label="malignant", view=None) for n in (1, 2, 3)]
    report = report_of(images, [lesion(1, BOX)])
    found = {one.name: one for one in report.findings}
    assert found["label-without-box"].kind.severity == "warning"
    assert found["label-without-box"].images == [2, 3]
    assert "learns them as empty" in found["label-without-box"].kind.remedy
    assert report.verdict == "warnings"


def test_a_set_of_labels_only_is_told_once_and_is_no_warning() -> None:
    labels = ["malignant", "benign", "benign", "normal", None]
    images = [image(n, patient_id=str(n), label=one, view=None) for n, one in enumerate(labels, 1)]
    report = report_of(images)
    found = {one.name: one for one in report.findings}
    assert "label-without-box" not in found
    assert [case.text for case in found["labels-only"].cases] == ["2 benign, 1 malignant; no image has a box"]
    assert (found["labels-only"].count, found["labels-only"].images) == (3, [1, 2, 3])
    assert report.verdict == "clean"


def test_notes_are_counted_by_kind_and_image() -> None:
    """Files times remarks would make hundreds of notes of a data set that is as its makers meant it."""
    images = [image(n, patient_id=str(n), view="MLO" if n > 1 else "CC") for n in (1, 2, 3)]
    report = report_of(images, [lesion(1, BOX, birads="3"), lesion(2, [110, 110, 20, 20])])
    notes = {one.name: one.images for one in report.findings}
    assert notes == {"nested-box": [1], "birads-3-malignant": [1], "incomplete-breast": [1, 2, 3]}
    assert report.tally() == "0 errors, 0 warnings, 3 kinds of notes on 3 images"
    assert report_of(PAIR, BOTH).tally() == "0 errors, 0 warnings, 0 notes"
    unconverted = report_of(PAIR, BOTH, audit=None)
    assert unconverted.tally() == "0 errors, 0 warnings, 1 kind of notes"  # of no image


def test_the_remarks_of_the_converter_say_what_to_do_with_them() -> None:
    kind = KINDS["conversion-note"]
    assert kind.title == "entries of the source that the converter remarked on"
    assert kind.remedy == "read what it says of them: what you expected of this data set needs no action"


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("MALIGNANT", 2),
        ("malignant, invasive ductal", 2),
        ("M", 2),
        (" benign ", 1),
        ("B", 1),
        ("BENIGN_WITHOUT_CALLBACK", 1),
        ("non-malignant", None),
        ("premalignant", None),
        ("B3", None),
        ("", None),
    ],
)
def test_pathologies(text: str, category: int | None) -> None:
    assert pathology_category(text) == category


LONG = "1.2.840.113619.2.255"


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        ({"split": "train"}, {"split": "test"}, {"patient-in-several-splits"}),
        ({"split": "train"}, {"split": "train"}, set()),
        (
            {"split": "train", "study_id": LONG},
            {"split": "test", "study_id": LONG, "patient_id": "q", "laterality": "R"},
            {"study-in-several-splits", "study-of-several-patients", "incomplete-breast"},
        ),
        (
            {"study_id": LONG},
            {"study_id": LONG, "patient_id": "q"},
            {"study-of-several-patients", "incomplete-breast"},
        ),
        ({"study_id": "1"}, {"study_id": "1", "patient_id": "q"}, {"incomplete-breast"}),
        ({"breast_id": "b"}, {"breast_id": "b", "patient_id": "q"}, {"breast-of-several-patients"}),
        ({"sop_instance_uid": "1.2"}, {"sop_instance_uid": "1.2"}, {"instance-twice"}),
        ({"study_id": "1", "age": 50}, {"study_id": "1", "age": 51}, set()),
        ({"study_id": "1", "age": 50}, {"study_id": "1", "age": 53}, {"ages-in-study"}),
        ({"study_id": "1", "age": 50}, {"study_id": "2", "age": 53}, {"incomplete-breast"}),
        ({"patient_id": None}, {}, {"image-without-patient", "incomplete-breast"}),
        (
            {"split": None, "provenance": {"official_split": "train"}},
            {"split": "test"},
            {"official-split-taken-out"},
        ),
        ({"view": "MLO"}, {}, {"view-twice", "incomplete-breast"}),
        ({"view": "CC"}, {"view": "ML"}, set()),
        ({"view": "XCCL"}, {"view": "AT"}, set()),
    ],
)
def test_patients_splits_and_views(first: dict[str, Any], second: dict[str, Any], kinds: set[str]) -> None:
    assert set(kinds_of(report_of([image(1, **first), image(2, **second)]))) == kinds


def test_lesions_in_one_view() -> None:
    other = lesion(3, [500, 500, 60, 60], lesion_id="b")
    report = report_of(PAIR, [*BOTH, other])
    assert kinds_of(report) == {"lesion-in-one-view": 1}
    case = report.findings[0].cases[0]
    assert case.text == "patient p, left breast: lesion b in CC only, none in MLO"
    assert (case.images, case.annotations) == ((1, 2), (3,))
    unnamed = [{**lesion(1, BOX), "lesion_id": None}, {**lesion(2, [500, 500, 60, 60]), "lesion_id": None}]
    assert kinds_of(report_of(PAIR, unnamed)) == {"lesion-in-one-view": 1}  # told once for the breast
    assert kinds_of(report_of(PAIR, [unnamed[0], {**unnamed[1], "image_id": 2}])) == {}
    assert kinds_of(report_of([image(1)], unnamed)) == {"incomplete-breast": 1}  # nothing to compare with


def test_a_data_set_without_a_view_is_told_once() -> None:
    films = [image(n, patient_id=str(n), view="MLO") for n in range(1, 8)]
    report = report_of(films)
    assert kinds_of(report) == {"incomplete-breast": 7}
    assert [case.text for case in report.findings[0].cases] == ["no image is a CC"]


def test_conversion_record() -> None:
    audit = Audit(rows_used=5)
    audit.drop("no such image file", "a.png", 2)
    audit.drop_lesion("the box is empty", "b.png")
    audit.note("rescaled", "c.png")
    audit.note("rescaled", "d.png")
    audit.without_pixels.append("a.png")
    audit.unlisted.extend(f"{n}.png" for n in range(70))
    report = report_of(PAIR, BOTH, audit=audit.record())
    assert kinds_of(report) == {
        "rows-dropped": 2,
        "lesions-dropped": 1,
        "images-without-pixels": 1,
        "files-without-row": 70,
        "conversion-note": 2,
    }
    texts = {finding.name: finding.cases[0].text for finding in report.findings}
    assert texts["rows-dropped"] == "no such image file (a.png and 1 more)"
    assert texts["files-without-row"] == "0.png, 1.png, 2.png, 3.png, 4.png and 65 more"
    assert report.conversion is not None
    assert report.conversion["rows_read"] == 7


@pytest.mark.parametrize("record", [None, 7, {}, {"rows_read": "7"}, {"rows_read": True}])
def test_a_file_of_another_hand_has_no_record(record: Any) -> None:
    assert kinds_of(report_of(PAIR, BOTH, audit=record)) == {"not-converted": 1}


def test_a_record_of_another_hand_is_taken_as_far_as_it_goes() -> None:
    record = {
        "rows_read": 3,
        "notes": {"odd": 5, "good": {"count": 1}},
        "rows_dropped": [1],
        "x": float("nan"),
    }
    kept = conversion_of(coco_of(PAIR, [], audit=record))
    json.dumps(kept, allow_nan=False)
    assert [case.text for case in conversion_cases(kept)] == ["odd ()", "good ( and 1 more)"]


def test_every_kind_is_told_worst_first_and_by_count() -> None:
    cases = [Case(kind, f"case of {kind}", (number,)) for number, kind in enumerate(KINDS)]
    findings = group([*cases, Case("clipped", "another", (0,), count=4)])
    severities = [finding.kind.severity for finding in findings]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert {finding.name for finding in findings} == set(KINDS)
    assert {finding.name: finding.count for finding in findings}["clipped"] == 5
    assert {kind.group for kind in KINDS.values()} == set(GROUPS)
    for kind in KINDS.values():
        assert kind.title
        assert not kind.remedy.endswith(".")


def test_the_common_folder_is_left_out_of_texts() -> None:
    images = [
        image(n, file_name=f"../data/set/{n}/a.png", label="benign", split=s) for n, s in ((1, "a"), (2, "b"))
    ]
    report = report_of(images, [lesion(1, BOX, image_id=2)])
    assert report.folder == "../data/set"
    texts = [case.text for finding in report.findings for case in finding.cases]
    assert "1/a.png: benign, no box" in texts
    assert not any("../data" in text for text in texts)


def test_tables() -> None:
    images = [
        image(1, split="train", label="malignant", density="B"),
        image(2, split="train", label="normal", spacing_mm=[0.1, 0.1]),
        image(3, split="test", patient_id="q"),
    ]
    report = report_of(images, [lesion(1, BOX), lesion(2, [1, 1, 9, 9], category_id=1, ignore=1)])
    train, *_ = [row for row in report.splits if row["split"] == "train"]
    assert (train["patients"], train["images"], train["lesions_ignored"]) == (1, 2, 1)
    assert train["labels"] == {"normal": 1, "benign": 0, "malignant": 1, "unknown": 0}
    assert train["lesion_categories"] == {"benign": 0, "malignant": 1}
    assert report.images_per_patient == {1: 1, 2: 1}
    assert report.completeness["density"] == {"known": 1, "of": 3}
    assert report.completeness["label"] == {"known": 2, "of": 3}
    assert report.completeness["lesion birads"] == {"known": 0, "of": 2}
    assert report.overview["image_sizes"] == [{"width": SIDE, "height": SIDE, "images": 3}]
    assert report_of(PAIR).splits == ()
    json.dumps(report.to_dict(), allow_nan=False)


def write(path: Path, images: list[Any], **more: Any) -> Path:
    content = {"images": images, "annotations": [], "categories": profile_categories(), **more}
    path.write_text(json.dumps(content))
    return path


def test_reading_takes_leaking_splits_and_refuses_other_faults(tmp_path: Path) -> None:
    leaking = [image(1, split="train"), image(2, split="test")]
    coco = read_for_audit(write(tmp_path / "a.json", leaking))
    assert kinds_of(audit_coco(coco, Look("no"))[0]) == {"patient-in-several-splits": 1, "not-converted": 1}
    with pytest.raises(CocoError, match=r"label.*mammodet check"):
        read_for_audit(write(tmp_path / "b.json", [*leaking, image(3, label="cancer")]))
    with pytest.raises(InputError, match="no file can be called so"):
        read_for_audit(write(tmp_path / "c.json", [image(1, file_name="\ud800.png")]))


def test_an_empty_file_is_audited(tmp_path: Path) -> None:
    report = audit_coco(read_for_audit(write(tmp_path / "a.json", [])))[0]
    assert kinds_of(report) == {"not-converted": 1}
    assert report.sizes["below_anchor"] == []


@pytest.mark.parametrize("field", [{"anchor": 0}, {"pictures": -1}, {"workers": 0}])
def test_absurd_choices_are_refused(field: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(field))}"):
        Look(**field)


def test_a_patient_in_two_splits_is_told_once_and_a_study_of_two_patients_too() -> None:
    study = "1.2.840.99999.1.2.3"
    images = [image(n, split="train" if n < 3 else "test", study_id=study) for n in (1, 2, 3)]
    found = {one.name: one for one in report_of(images).findings if one.kind.severity == "error"}
    assert set(found) == {"patient-in-several-splits"}
    assert found["patient-in-several-splits"].images == [1, 3, 2]  # one of each part first, for the page
    images[2]["patient_id"] = "q"
    kinds = {one.name for one in report_of(images).findings if one.kind.severity == "error"}
    assert kinds == {"study-in-several-splits", "study-of-several-patients"}


def test_lesions_without_id_are_in_one_view_only_when_the_other_has_none() -> None:
    nameless = lesion(3, [300, 300, 50, 60], lesion_id=None)
    assert kinds_of(report_of(PAIR, [*BOTH, nameless])) == {}  # it may be lesion a of the other view
    alone = report_of(PAIR, [{**nameless, "id": 1}])
    assert [case.text for one in alone.findings for case in one.cases] == [
        "patient p, left breast: lesions in CC only, none in MLO"
    ]


def test_a_coco_file_of_other_categories_is_led_to_the_converter(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    categories = [{"id": 1, "name": "mass"}, {"id": 2, "name": "calcification"}]
    path.write_text(json.dumps({"images": PAIR, "annotations": BOTH, "categories": categories}))
    with pytest.raises(CocoError, match="mammodet convert coco FOLDER --classes"):
        read_for_audit(path)
