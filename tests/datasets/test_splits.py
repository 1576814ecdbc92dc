"""Splits by patient: no leak, fair shares of every label, the same split for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import AnnotationRecord, Coco, ImageRecord
from mammodet.datasets.errors import InputError
from mammodet.datasets.splits import (
    Split,
    cross_validation_by_patient,
    folds_by_patient,
    group_by_patient,
    left_out,
    official_split,
    patient_of,
    split_by_patient,
    stratum_of,
    worst_label,
)

THREE = {"train": 0.7, "val": 0.1, "test": 0.2}


def coco_of(labels: list[str | None], images_each: int = 2) -> Coco:
    """Return one patient per label, each with that label on the last image only."""
    images: list[ImageRecord] = []
    for patient, label in enumerate(labels):
        for number in range(images_each):
            last = number == images_each - 1
            images.append(
                {
                    "id": len(images) + 1,
                    "file_name": f"{patient}_{number}.png",
                    "width": 10,
                    "height": 10,
                    "patient_id": f"p{patient}",
                    "label": label if last or label is None else "normal",
                }
            )
    return Coco(images, [], Path("coco.json"))


def patients_of(coco: Coco, ids: set[int]) -> set[str]:
    return {coco.image_by_id[one]["patient_id"] for one in ids}


def check_partition(coco: Coco, parts: Split) -> None:
    assert sorted(one for ids in parts.values() for one in ids) == sorted(coco.image_by_id)
    patients = [patient for ids in parts.values() for patient in patients_of(coco, ids)]
    assert len(patients) == len(set(patients))


_labels = st.lists(st.sampled_from(["malignant", "benign", "normal", None]), min_size=3, max_size=60)


@settings(max_examples=80, deadline=None)
@given(
    labels=_labels,
    weights=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    seed=st.integers(0, 5),
)
def test_every_part_gets_its_share_of_whole_patients(
    labels: list[str | None], weights: list[int], seed: int
) -> None:
    coco = coco_of(labels)
    fractions = {f"part{index}": weight / sum(weights) for index, weight in enumerate(weights)}
    parts = split_by_patient(coco, fractions, seed)
    assert list(parts) == list(fractions)
    check_partition(coco, parts)
    label_of = {f"p{patient}": label for patient, label in enumerate(labels)}
    for name, fraction in fractions.items():
        members = patients_of(coco, parts[name])
        assert members
        quota = fraction * len(labels)
        assert abs(len(members) - quota) < 1 or quota < 1 or len(labels) < 3 * len(weights)
        # Only shares that had to be forced above 0 may pull the strata away from their quota.
        if all(one * len(labels) >= 1 for one in fractions.values()):
            for label, total in Counter(labels).items():
                count = sum(label_of[member] == label for member in members)
                assert abs(count - fraction * total) < 2


def test_the_default_fractions_of_a_hundred_patients_are_exact_in_every_label() -> None:
    coco = coco_of(["malignant"] * 20 + ["benign"] * 30 + ["normal"] * 50)
    parts = split_by_patient(coco, THREE, seed=3)
    for name, fraction in THREE.items():
        patients = group_by_patient(coco.subset(parts[name], Path("x.json")))
        counts = Counter(worst_label(coco, images) for images in patients.values())
        assert counts == {
            "malignant": round(20 * fraction),
            "benign": round(30 * fraction),
            "normal": round(50 * fraction),
        }


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_the_file() -> None:
    coco = coco_of(["malignant", "benign", "normal", "normal"] * 10)
    shuffled = random.Random(0).sample(coco.images, len(coco.images))
    other_order = Coco(shuffled, [], coco.path)
    assert split_by_patient(coco, THREE, 1) == split_by_patient(other_order, THREE, 1)
    assert split_by_patient(coco, THREE, 1) != split_by_patient(coco, THREE, 2)


def test_images_without_patient_are_patients_of_their_own() -> None:
    coco = coco_of(["normal", "normal"], images_each=1)
    for image in coco.images:
        del image["patient_id"]
    parts = split_by_patient(coco, {"a": 0.5, "b": 0.5}, 0)
    assert sorted(map(len, parts.values())) == [1, 1]
    named_like_an_image: ImageRecord = {"id": 1, "patient_id": f"{1:020d}"}
    assert patient_of({"id": 1}) != patient_of(named_like_an_image)


def test_a_part_is_never_empty_when_patients_suffice() -> None:
    parts = split_by_patient(coco_of(["normal"] * 3), {"train": 0.98, "val": 0.01, "test": 0.01}, 0)
    assert [len(ids) for ids in parts.values()] == [2, 2, 2]
    with pytest.raises(InputError, match="3 parts need at least as many patients"):
        split_by_patient(coco_of(["normal"] * 2), THREE, 0)


@pytest.mark.parametrize(
    "fractions",
    [
        {},
        {"train": 0.5},
        {"train": 0.9, "val": 0.2},
        {"train": 1.5, "val": -0.5},
        {"train": 1.0, "val": 0.0},
        {"train": float("nan"), "val": 0.5},
        {"../train": 0.5, "val": 0.5},
        {"": 0.5, "val": 0.5},
    ],
)
def test_fractions_that_make_no_split_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(InputError):
        split_by_patient(coco_of(["normal"] * 10), fractions, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed"):
        split_by_patient(coco_of(["normal"] * 10), THREE, -1)


@settings(max_examples=30, deadline=None)
@given(labels=_labels, folds=st.integers(2, 5), seed=st.integers(0, 3))
def test_folds_hold_every_patient_out_once(labels: list[str | None], folds: int, seed: int) -> None:
    coco = coco_of(labels)
    if len(labels) < folds:
        with pytest.raises(InputError, match="as many patients"):
            folds_by_patient(coco, folds, seed)
        return
    found = folds_by_patient(coco, folds, seed)
    check_partition(coco, {str(number): fold["val"] for number, fold in enumerate(found)})
    sizes = []
    for fold in found:
        check_partition(coco, fold)
        sizes.append(len(patients_of(coco, fold["val"])))
    assert max(sizes) - min(sizes) <= 3  # StratifiedGroupKFold puts fair strata before equal sizes
    assert min(sizes) >= 1


def described(kinds: list[tuple[str, str | None, str]], each: int) -> Coco:
    """Return ``each`` patients of one image for every (label, finding, density)."""
    coco = coco_of([label for label, _, _ in kinds for _ in range(each)], images_each=1)
    for index, image in enumerate(coco.images):
        _, finding, image["density"] = kinds[index // each]
        if finding is not None:
            lesion: AnnotationRecord = {"id": index + 1, "image_id": image["id"], "category_id": 2}
            coco.annotations.append({**lesion, "bbox": [0, 0, 1, 1], "finding": finding})
    return coco


KINDS = [("malignant", "mass", "A"), ("malignant", "mass", "B"), ("malignant", "calcification", "A")]


@pytest.mark.parametrize("seed", range(4))
def test_findings_and_densities_are_shared_out_too(seed: int) -> None:
    coco = described([*KINDS, ("normal", None, "A"), ("normal", None, "B")], each=20)
    folds = [fold["val"] for fold in folds_by_patient(coco, 5, seed)]
    tenths = split_by_patient(coco, {"a": 0.5, "b": 0.25, "c": 0.25}, seed)
    for part, share in [(fold, 4) for fold in folds] + [
        (tenths["a"], 10),
        (tenths["b"], 5),
        (tenths["c"], 5),
    ]:
        strata = Counter((one - 1) // 20 for one in part)
        assert strata == dict.fromkeys(range(5), share)


def test_a_stratum_is_worst_label_kinds_of_finding_and_commonest_density() -> None:
    coco = described([KINDS[0], ("malignant", "calcification", "C"), ("normal", None, "C")], each=1)
    assert stratum_of(coco, coco.images) == ("malignant", "calcification+mass", "C")
    assert stratum_of(coco, coco.images[2:]) == ("normal", "", "C")
    coco.annotations[0]["ignore"] = 1
    assert stratum_of(coco, coco.images[:1]) == ("malignant", "", "A")


def test_images_without_patient_are_grouped_by_their_study() -> None:
    coco = coco_of(["normal"] * 2, images_each=2)
    for image in coco.images:
        image["study_id"] = f"s{image.pop('patient_id')}"
    assert [len(images) for images in group_by_patient(coco).values()] == [2, 2]


def test_one_fold_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        folds_by_patient(coco_of(["normal"] * 10), 1, 0)


def test_the_official_split_is_kept_and_must_be_whole() -> None:
    coco = coco_of(["normal", "benign", "normal"], images_each=1)
    for image, name in zip(coco.images, ["train", "test", "train"], strict=True):
        image["split"] = name
    assert official_split(coco) == {"train": {1, 3}, "test": {2}}
    coco.images[1]["split"] = None
    with pytest.raises(InputError, match=r"images\[id=2\]\.split"):
        official_split(coco)
    coco.images[1]["provenance"] = {"official_split": "train"}  # the patient is in a later part as well
    assert official_split(coco) == {"train": {1, 3}}
    assert left_out(coco) == {2}
    coco.images[1]["split"] = "../x"
    with pytest.raises(InputError, match="file name"):
        official_split(coco)


def test_the_worst_label_counts_lesions_but_not_ignored_ones() -> None:
    coco = coco_of(["normal"], images_each=1)
    lesion: AnnotationRecord = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1]}
    assert worst_label(coco, coco.images) == "normal"
    assert worst_label(Coco(coco.images, [lesion], coco.path), coco.images) == "malignant"
    assert worst_label(Coco(coco.images, [{**lesion, "ignore": 1}], coco.path), coco.images) == "normal"
    assert worst_label(coco_of([None]), coco_of([None]).images) is None


@settings(max_examples=60, deadline=None)
@given(
    labels=_labels,
    folds=st.integers(2, 6),
    share=st.sampled_from([0.0, 0.1, 0.125, 0.5]),
    seed=st.integers(0, 5),
)
def test_no_patient_is_in_two_parts_of_a_fold_and_each_is_tested_once(
    labels: list[str | None], folds: int, share: float, seed: int
) -> None:
    coco = coco_of(labels)
    folds = min(folds, len(labels))
    if share and len(labels) < 2 + -(-len(labels) // folds):
        share = 0.0  # a fold that leaves one patient cannot have a validation
    split = cross_validation_by_patient(coco, folds, share, seed)
    assert len(split) == folds
    for parts in split:
        assert list(parts) == (["train", "val", "test"] if share else ["train", "test"])
        assert all(parts.values())
        check_partition(coco, parts)
    tested = [patient for parts in split for patient in patients_of(coco, parts["test"])]
    assert sorted(tested) == sorted(patients_of(coco, set(coco.image_by_id)))
    assert [parts["test"] for parts in split] == [one["val"] for one in folds_by_patient(coco, folds, seed)]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_of_validation_is_below_one(share: float) -> None:
    with pytest.raises(InputError, match="val_share"):
        cross_validation_by_patient(coco_of(["normal"] * 9), 3, share, 0)
