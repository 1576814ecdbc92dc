"""What the audit finds in image files, its page and JSON, and that it goes on after a kill."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mammodet.datasets import inspection
from mammodet.datasets.audit.files import file_cases
from mammodet.datasets.audit.pixels import Pixels
from mammodet.datasets.audit.report import SCHEMA, Report
from mammodet.datasets.audit.run import Look, audit_paths, read_for_audit, write_audit
from mammodet.datasets.coco import profile_categories
from mammodet.datasets.drawing import write_png
from mammodet.datasets.inspection import inspect_file

EVIL = "<script>alert(1)&'\".png"


def breast(seed: int, *, mirrored: bool = False) -> np.ndarray:
    """Return a breast of 800 x 600 pixels with its chest wall on the left: half an ellipse with blobs."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:800, :600]
    height, depth = random.integers(320, 390), random.integers(330, 480)
    inside = (columns / depth) ** 2 + ((rows - 400) / height) ** 2 < 1
    coarse = cv2.resize(random.random((10, 8)).astype(np.float32), (600, 800), interpolation=cv2.INTER_CUBIC)
    tissue = 90 + 110 * coarse - 40 * columns / depth + random.normal(0, 2, inside.shape)
    pixels = np.where(inside, tissue, 4).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels


def write_coco(folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    whole = [{"width": 600, "height": 800, **image, "id": n} for n, image in enumerate(images, 1)]
    lesions = [{"category_id": 2, **one, "id": n} for n, one in enumerate(annotations, 1)]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": whole, "annotations": lesions, "categories": profile_categories()}))
    return path


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a COCO file with one fault of every kind that pixels show."""
    folder = tmp_path_factory.mktemp("odd")
    write_png(folder / "1.png", breast(1))
    write_png(folder / "2.png", breast(2, mirrored=True))
    write_png(folder / "3.png", breast(3))
    write_png(folder / "copy.png", breast(3))
    write_png(folder / EVIL, breast(1))
    write_png(folder / "smaller.png", cv2.resize(breast(2, mirrored=True), (540, 720)))
    write_png(folder / "turned.png", np.clip(breast(3)[:, ::-1].astype(int) + 1, 0, 255).astype(np.uint8))
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:9000])
    images: list[dict[str, Any]] = [
        {"file_name": "1.png", "patient_id": "a", "laterality": "L", "view": "CC", "label": "normal"},
        {"file_name": "2.png", "patient_id": "a", "laterality": "L", "view": "MLO", "split": "train"},
        {"file_name": "3.png", "patient_id": "c", "laterality": "L", "split": "train"},
        {"file_name": "copy.png", "patient_id": "d", "laterality": "L", "split": "test"},
        {"file_name": EVIL, "patient_id": "e", "laterality": "L", "label": "malignant"},
        {"file_name": "smaller.png", "patient_id": "f", "split": "test"},
        {"file_name": "turned.png", "patient_id": "g"},
        {"file_name": "cut.png", "patient_id": "h"},
        {"file_name": "gone.png", "patient_id": "i"},
    ]
    lesions = [
        {"image_id": 5, "bbox": [100, 380, 12, 10], "finding": "calcification"},
        {"image_id": 5, "bbox": [560, 20, 30, 30], "lesion_id": EVIL},
        {"image_id": 3, "bbox": [100, 300, 90, 80]},
        {"image_id": 4, "bbox": [100, 300, 90, 80]},
    ]
    return write_coco(folder, images, lesions)


@pytest.fixture(scope="module")
def audited(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    out = tmp_path_factory.mktemp("out")
    return write_audit(read_for_audit(odd), out, Look(workers=1))


def found(report: Report) -> dict[str, list[tuple[int, ...]]]:
    return {finding.name: [case.images for case in finding.cases] for finding in report.findings}


def test_each_fault_is_found_on_its_images(audited: tuple[Report, Path]) -> None:
    cases = found(audited[0])
    assert cases["missing-file"] == [(9,)]
    assert cases["unreadable-file"] == [(8,)]
    assert cases["size-mismatch"] == [(6,)]
    assert "duplicate-pixels" not in cases  # each fault once: these copies are in several splits
    assert cases["duplicate-pixels-conflict"] == [(1, 5)]
    assert cases["pixels-in-several-splits"] == [(3, 4)]
    assert cases["near-duplicate-across-splits"] == [(2, 6)]
    assert cases["mirrored-duplicate"] == [(3, 7), (4, 7)]
    assert cases["chest-wall-side"] == [(2,)]
    assert cases["outside-breast"] == [(5,)]
    assert "near-duplicate" not in cases
    assert audited[0].verdict == "errors"


def test_look_alikes_are_no_copies_until_their_detail_agrees(tmp_path: Path) -> None:
    """The audit confirms hashes by detail, as doctor does: a copy with a third of its grey scale clipped."""
    clipped = np.clip(breast(5).astype(float) * 1.5 - 60, 0, 255).astype(np.uint8)
    for name, pixels in (("one.png", breast(5)), ("clipped.png", clipped), ("other.png", breast(6))):
        write_png(tmp_path / name, pixels)
    images = [{"file_name": name, "patient_id": name} for name in ("one.png", "clipped.png", "other.png")]
    seen = Pixels()
    for number, image in enumerate(images, 1):
        seen.add(number, inspect_file(tmp_path / image["file_name"]), [])
    whole = read_for_audit(write_coco(tmp_path, images, []))
    near = [case.images for case in file_cases(whole, seen) if case.kind == "near-duplicate"]
    assert near == [(1, 2)]
    # The same hashes over other detail are look-alikes.
    seen.sketches[2] = seen.sketches[3]
    assert not [case for case in file_cases(whole, seen) if case.kind == "near-duplicate"]


def test_what_is_kept_depends_on_what_inspections_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version starts anew, instead of asking for the folder of the data set to be deleted."""
    write_png(tmp_path / "1.png", breast(1))
    coco = read_for_audit(write_coco(tmp_path, [{"file_name": "1.png", "patient_id": "a"}], []))

    def killed(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        yield from islice(items, 1)
        raise Killed

    with pytest.raises(Killed):
        write_audit(coco, None, Look(workers=1), progress=killed)
    monkeypatch.setattr(inspection, "_FORMAT", 10**6)
    report, _ = write_audit(coco, None, Look(workers=1))
    assert "unreadable-file" not in found(report)


def test_what_the_coco_file_tells_is_not_asked_of_the_image_file(audited: tuple[Report, Path]) -> None:
    cases = found(audited[0])
    assert "file-no-patient" not in cases
    assert (1,) not in cases.get("file-no-view", [])


def test_the_json_holds_everything_and_no_path(audited: tuple[Report, Path], odd: Path) -> None:
    report, page = audited
    record = json.loads(page.with_suffix(".json").read_text())
    assert record == json.loads(json.dumps(report.to_dict()))
    assert record["schema"] == SCHEMA
    assert record["verdict"] == "errors"
    assert record["files"] == "pixels"
    assert record["counts"]["error"] == sum(
        one["count"] for one in record["findings"] if one["severity"] == "error"
    )
    assert str(odd.parent) not in page.read_text() + json.dumps(record)


class Page(HTMLParser):
    """Collects the tags and sources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_network_and_runs_no_strangers_script(audited: tuple[Report, Path]) -> None:
    text = audited[1].read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("body") == 1
    assert EVIL in page.text  # shown as it is
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert "http://" not in text
    assert "https://" not in text
    assert len(text) < 3_000_000


def test_the_page_shows_pictures_of_what_was_found(audited: tuple[Report, Path]) -> None:
    sections = re.split(r'<section class="finding', audited[1].read_text())[1:]
    pictures = {re.search(r'id="([\w-]+)"', one)[1]: one.count("<img") for one in sections}  # type: ignore[index]
    assert pictures["pixels-in-several-splits"] == 2  # both
    assert pictures["outside-breast"] == 2  # the image, and its small box enlarged
    assert pictures["missing-file"] == 0


def test_not_all_pictures_are_shown_but_all_cases_are_listed(odd: Path, tmp_path: Path) -> None:
    images = [{"file_name": "1.png", "patient_id": "a"}]
    shutil.copy(odd.parent / "1.png", tmp_path)
    lesions = [{"image_id": 1, "bbox": [100 + 5 * n, 300, 3, 3]} for n in range(7)]
    report, page = write_audit(read_for_audit(write_coco(tmp_path, images, lesions)), None, Look(pictures=2))
    assert found(report)["tiny-box"] == [(1,)] * 7
    text = page.read_text()
    section = text[text.index('id="tiny-box"') :]
    section = section[: section.index("</section>")]
    assert "2 of 7 shown." in section
    assert section.count("<li>") == 7
    assert section.count("<figure") == 2


def test_headers_and_no_say_what_was_not_checked(odd: Path, tmp_path: Path) -> None:
    coco = read_for_audit(odd)
    headers, page = write_audit(coco, tmp_path, Look("headers"))
    cases = found(headers)
    assert cases["missing-file"] == [(9,)]
    assert cases["size-mismatch"] == [(6,)]
    assert not {"duplicate-pixels", "outside-breast", "unreadable-file"} & set(cases)
    assert "Not checked" in page.read_text()
    assert any("near duplicates" in line for line in headers.not_checked)
    nothing, page = write_audit(coco, tmp_path, Look("no"))
    assert not {"missing-file", "size-mismatch"} & set(found(nothing))
    assert len(nothing.not_checked) == len(headers.not_checked) + 1


def test_what_was_not_read_is_not_called_clean(odd: Path, tmp_path: Path) -> None:
    shutil.copy(odd.parent / "1.png", tmp_path)
    coco = read_for_audit(write_coco(tmp_path, [{"file_name": "1.png", "patient_id": "a"}], []))
    words = {
        "headers": "lean as far as headers tell; pixels were not read",
        "no": "lean as far as the COCO file tells; image files were not looked at",
    }
    for files, verdict in words.items():
        report, page = write_audit(coco, None, Look(files))  # type: ignore[arg-type]
        assert report.verdict == "clean"
        assert report.lines()[0].startswith(f"audit: c{verdict} (")
        assert f"<b>C{verdict}</b>" in page.read_text()
        assert "at random" not in page.read_text()  # no pixels, no pictures
        assert "<img" not in page.read_text()
    report, page = write_audit(coco, None, Look(workers=1))
    assert report.lines()[0].startswith("audit: clean (")
    assert "<b>Clean: nothing worse than a note</b>" in page.read_text()


class Killed(BaseException):
    """What ends a run from outside."""


def test_a_killed_audit_goes_on_where_it_was(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(4)]
    for n, name in enumerate(names):
        write_png(tmp_path / name, breast(n))
    path = write_coco(tmp_path, [{"file_name": name, "patient_id": name} for name in names], [])

    def kill_after_two(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        assert total == 4
        for done, item in enumerate(items, 1):
            if done > 2:
                raise Killed
            yield item

    with pytest.raises(Killed):
        write_audit(read_for_audit(path), None, Look(workers=1), progress=kill_after_two)
    assert not any(one.exists() for one in audit_paths(path))
    state = (tmp_path / names[0]).stat()
    (tmp_path / names[0]).write_bytes(b"\0" * state.st_size)  # nothing but what was kept can read it now
    os.utime(tmp_path / names[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    report, page = write_audit(read_for_audit(path), None, Look(workers=1))
    assert "unreadable-file" not in found(report)
    assert page.is_file()
    assert not list(tmp_path.glob(".*"))  # what was kept is removed with the end
    again, _ = write_audit(read_for_audit(path), None, Look(workers=1))
    assert found(again)["unreadable-file"] == [(1,)]


def test_mini_mias_circle_in_air_is_found_by_its_pixels(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "mini-mias"
    films = ["mdb214.pgm", "mdb213.pgm", "mdb126.pgm"]
    boxes = [[571, 97, 22, 22], [502, 459, 90, 90], [168, 452, 46, 46]]  # as Info.txt has them, y downwards
    images = [
        {
            "file_name": os.path.relpath(folder / name, tmp_path),
            "width": 1024,
            "height": 1024,
            "patient_id": name,
        }
        for name in films
    ]
    lesions = [{"image_id": n, "bbox": box, "category_id": 1} for n, box in enumerate(boxes, 1)]
    report, _ = write_audit(read_for_audit(write_coco(tmp_path, images, lesions)), None, Look(workers=1))
    assert found(report)["outside-breast"] == [(1,)]
    assert report.verdict == "warnings"


def test_the_mirrored_views_of_a_real_exam_are_found(shared_data: Path, tmp_path: Path) -> None:
    views = [(side, view) for side in "LR" for view in ("CC", "MLO")]
    images = [
        {
            "file_name": os.path.relpath(shared_data / "exam" / f"{side}-{view}.png", tmp_path),
            **{"width": 2000, "height": 2600, "patient_id": "1", "laterality": side, "view": view},
        }
        for side, view in views
    ]
    report, _ = write_audit(read_for_audit(write_coco(tmp_path, images, [])), None, Look(workers=1))
    assert found(report)["chest-wall-side"] == [(3,), (4,)]  # the right ones


def test_names_and_birth_dates_of_headers_are_in_no_output(make_dicom: Any, tmp_path: Path) -> None:
    make_dicom(name="a.dcm", BurnedInAnnotation="YES", ViewPosition="Smith^Jane")
    cut = make_dicom(name="cut.dcm")
    cut.write_bytes(cut.read_bytes()[:-3000])
    images = [
        {"file_name": name, "width": 80, "height": 96, "patient_id": "p"} for name in ("a.dcm", "cut.dcm")
    ]
    report, page = write_audit(read_for_audit(write_coco(tmp_path, images, [])), None, Look(workers=1))
    assert found(report)["unreadable-file"] == [(2,)]
    assert found(report)["file-burned-in"] == [(1,)]
    written = page.read_text() + page.with_suffix(".json").read_text()
    for secret in ("Smith", "19600101", "ACC99"):
        assert secret not in written
