"""What a user may rely on in a phantom set: its truth, its layout, its repeatability."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mammodet.datasets.coco import BENIGN, MALIGNANT, Coco, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.mammogram import read_mammogram
from mammodet.datasets.masks import mask_to_bbox, segmentation_to_mask
from mammodet.datasets.phantom import PhantomConfig, plan_patient, render_view, write_patient, write_phantom

SMALL = PhantomConfig(patients=3, seed=5, height=240, width=200, spacing_mm=0.8, lesion_rate=1.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Coco:
    path = write_phantom(tmp_path_factory.mktemp("phantom"), SMALL, workers=1, progress=False)
    return read_coco(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }


def test_every_image_has_the_keys_of_the_profile(written: Coco) -> None:
    assert len(written.images) == 12
    for image in written.images:
        assert written.image_path(image).is_file()
        assert image["patient_id"].startswith("PHANTOM-5-")
        assert image["breast_id"] == f"{image['study_id']}-{image['laterality']}"
        assert image["spacing_mm"] == [0.8, 0.8]
        assert image["dataset"] == "phantom"
        assert image["density"] in {"A", "B", "C", "D"}
        assert 40 <= image["age"] <= 79
    assert len({image["sop_instance_uid"] for image in written.images}) == 12
    assert Counter((image["laterality"], image["view"]) for image in written.images) == {
        (side, view): 3 for side in "LR" for view in ("CC", "MLO")
    }


def test_file_names_tell_nothing_of_the_truth(written: Coco) -> None:
    names = {Path(image["file_name"]).name for image in written.images}
    assert names == {"L_CC.dcm", "L_MLO.dcm", "R_CC.dcm", "R_MLO.dcm"}


def test_label_follows_from_the_annotations(written: Coco) -> None:
    for image in written.images:
        categories = {one["category_id"] for one in written.annotations_of[image["id"]]}
        assert image["label"] == {frozenset(): "normal"}.get(
            frozenset(categories), "malignant" if MALIGNANT in categories else "benign"
        )


def test_box_and_area_are_those_of_the_mask(written: Coco) -> None:
    for one in written.annotations:
        mask = segmentation_to_mask(one["segmentation"], SMALL.width, SMALL.height)
        assert one["bbox"] == mask_to_bbox(mask)
        assert one["area"] == mask.sum()


def test_a_lesion_shows_on_both_views_of_its_breast(written: Coco) -> None:
    seen = defaultdict(list)
    for one in written.annotations:
        seen[one["lesion_id"]].append((written.image_by_id[one["image_id"]], one))
    assert seen
    for shown in seen.values():
        assert sorted(image["view"] for image, _ in shown) == ["CC", "MLO"]
        assert len({image["breast_id"] for image, _ in shown}) == 1
        assert len({(one["category_id"], one["finding"], str(one["subtype"])) for _, one in shown}) == 1


def test_kinds_are_dealt_evenly_and_at_the_rate_asked_for() -> None:
    config = replace(SMALL, lesion_rate=0.4, second_lesion_rate=0.0)
    sides = [side for k in range(1, 21) for side in plan_patient(config, k).sides.values()]
    kinds = Counter((one.pathology, one.finding) for side in sides for one in side.lesions)
    assert sum(bool(side.lesions) for side in sides) == 16
    assert set(kinds.values()) == {4}


def test_number_of_workers_and_of_patients_changes_no_byte(written: Coco, tmp_path: Path) -> None:
    write_phantom(tmp_path / "two", replace(SMALL, patients=2), workers=2, progress=False)
    first, second = contents(written.path.parent), contents(tmp_path / "two")
    shared = [name for name in second if name != "coco.json"]
    assert len(shared) == 2 * 4 + 2 + 1
    assert all(first[name] == second[name] for name in shared)
    again = write_phantom(tmp_path / "two", SMALL, workers=1, progress=False)
    assert again.read_bytes() == written.path.read_bytes()
    assert contents(tmp_path / "two") == first


def test_another_seed_is_other_patients(written: Coco, tmp_path: Path) -> None:
    other = read_coco(write_phantom(tmp_path, replace(SMALL, seed=6, patients=1), workers=1, progress=False))
    for key in ("patient_id", "sop_instance_uid"):
        assert not {image[key] for image in other.images} & {image[key] for image in written.images}


def test_finished_patients_are_kept_and_damaged_ones_mended(tmp_path: Path) -> None:
    config = replace(SMALL, patients=2)
    path = write_phantom(tmp_path, config, workers=1, progress=False)
    before = contents(tmp_path)
    kept = tmp_path / "images/PHANTOM-5-0001/L_CC.dcm"
    written_at = kept.stat().st_mtime_ns
    (tmp_path / "images/PHANTOM-5-0002/R_MLO.dcm").write_bytes(b"cut off")
    path.unlink()
    write_phantom(tmp_path, config, workers=1, progress=False)
    assert contents(tmp_path) == before
    assert kept.stat().st_mtime_ns == written_at


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    config = replace(SMALL, patients=200)
    script = (
        "from mammodet.datasets.phantom import PhantomConfig, write_phantom\n"
        f"write_phantom({str(tmp_path)!r}, {config!r}, workers=1, progress=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    record = tmp_path / "records" / "PHANTOM-5-0001.json"
    deadline = time.monotonic() + 60
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert record.exists()
    assert not (tmp_path / "coco.json").exists()
    coco = read_coco(write_phantom(tmp_path, replace(config, patients=2), workers=1, progress=False))
    assert len(coco.images) == 8


def test_the_folder_of_another_configuration_is_refused(written: Coco) -> None:
    with pytest.raises(InputError, match=r"phantom\.json: noise: .*new folder"):
        write_phantom(written.path.parent, replace(SMALL, noise=2.0), workers=1, progress=False)


def test_the_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_phantom(tmp_path, SMALL, workers=1, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("patients", 0), ("lesion_rate", 1.5), ("spacing_mm", 0.0), ("height", 100), ("seed", -1)],
)
def test_a_value_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        replace(SMALL, **{field: value})


def test_record_names_every_file_of_the_patient(tmp_path: Path) -> None:
    write_patient(tmp_path, SMALL, 2)
    record = json.loads((tmp_path / "records/PHANTOM-5-0002.json").read_text())
    assert all((tmp_path / name).is_file() for name in record["files"])
    assert {one["category_id"] for image in record["images"] for one in image["annotations"]} <= {
        BENIGN,
        MALIGNANT,
    }
    assert np.array([image["label"] != "normal" for image in record["images"]]).all()


def test_the_reader_of_mammograms_sees_what_was_rendered(written: Coco) -> None:
    seen = set()
    for image in written.images:
        number = int(image["patient_id"][-4:])
        read = read_mammogram(written.image_path(image))
        rendered = render_view(SMALL, plan_patient(SMALL, number), image["laterality"], image["view"])
        tissue = rendered.pixels > 0
        assert (
            np.corrcoef(read.pixels[tissue], rendered.pixels[tissue])[0, 1] > 0.9999
        )  # the reader may stretch
        assert read.pixels[~tissue].max() == 0
        assert (read.laterality, read.view) == (image["laterality"], image["view"])
        assert (read.patient_id, read.age) == (image["patient_id"], image["age"])
        assert read.spacing_mm == pytest.approx((0.8, 0.8))
        seen.add(pydicom.dcmread(written.image_path(image)).PhotometricInterpretation)
    assert seen == {"MONOCHROME1", "MONOCHROME2"}
