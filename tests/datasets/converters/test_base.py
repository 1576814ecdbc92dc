"""What all converters share: finding files, the audit, the registry, tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammodet.datasets.converters import CONVERTERS, load_source
from mammodet.datasets.converters.audit import Audit
from mammodet.datasets.converters.base import Film, Lesion, Source, convert
from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.shapes import box, polygon
from mammodet.datasets.converters.tables import read_csv
from mammodet.datasets.dicom import hash_id
from mammodet.datasets.drawing import write_png
from mammodet.datasets.errors import InputError


def image(path: Path) -> None:
    write_png(path, np.zeros((8, 9), dtype=np.uint8))


def source_of(films: list[Film]) -> Source:
    return Source("test", lambda files, audit, options: films, "no rule")


@pytest.mark.parametrize("name", CONVERTERS)
def test_every_registered_converter_loads_and_states_its_rule(name: str) -> None:
    source = load_source(name)
    assert source.dataset
    assert source.category_rule


def test_an_unknown_converter_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="mini-mias, mask-folders, seed-csv"):
        load_source("nope")


def test_the_converter_of_the_docs_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "write-a-converter.md").read_text(encoding="utf-8")
    (tmp_path / "my_set.py").write_text(page.split("```python\n")[1].split("```")[0], encoding="utf-8")
    image(tmp_path / "data" / "a.png")
    image(tmp_path / "data" / "b.png")
    rows = "file,patient,x,y,width,height,class\na,p1,1,2,3,4,1\na,p1,0,0,2,2,0\nb,p2,,,,,\n"
    (tmp_path / "data" / "boxes.csv").write_text(rows)
    source = load_source(str(tmp_path / "my_set.py"))
    coco, _ = convert(source, tmp_path / "data", tmp_path / "coco.json")
    assert [(one["bbox"], one["category_id"]) for one in coco.annotations] == [
        ([1, 2, 3, 4], 2),
        ([0, 0, 2, 2], 1),
    ]
    assert [image["label"] for image in coco.images] == ["malignant", "normal"]
    (tmp_path / "data" / "boxes.csv").write_text(rows + "b,p2,1,1,1,x,0\n")
    with pytest.raises(InputError, match="row at line 5, column height: must be a number"):
        convert(source, tmp_path / "data", tmp_path / "coco.json")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no SOURCE"),
        ("SOURCE = 3", "has no SOURCE"),
        ("import nothing_of_this_name", "ModuleNotFound"),
    ],
)
def test_a_file_that_is_no_converter_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match=problem):
        load_source(str(tmp_path / "mine.py"))
    with pytest.raises(InputError, match="no such file"):
        load_source(str(tmp_path / "absent.py"))


OWN = """
from mammodet.datasets.converters.base import Film, Lesion, Source
from mammodet.datasets.converters.shapes import box
def films(files, audit, options):
    {body}
SOURCE = Source("mine", films, "no rule")
"""


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("yield Film('a', [Lesion(box(1, 1, 2, 2), None)])", "category_id: a lesion must be benign .*ignore"),
        ("yield Film('a', keys={'patient_id': 7})", r"a: patient_id: an id must be a string \(found 7\)"),
        ("yield Film(nothing)", "mine.py: line 5: the converter failed: NameError"),
        ("return [1 / 0]", "mine.py: line 5: the converter failed: ZeroDivisionError"),
    ],
)
def test_a_converter_that_fails_is_told_in_one_line(tmp_path: Path, body: str, problem: str) -> None:
    image(tmp_path / "data" / "a.png")
    (tmp_path / "mine.py").write_text(OWN.format(body=body))
    with pytest.raises(InputError, match=problem):
        convert(load_source(str(tmp_path / "mine.py")), tmp_path / "data", tmp_path / "coco.json")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_of_a_spreadsheet_is_understood(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"\n\na{separator}b\r\n1{separator}2,5\r\n".replace("2,5", "2.5").encode("utf-8-sig"))
    (row,) = read_csv(path, required=["a", "b"])
    assert (row.cells, row.line, row.number("b")) == ({"a": "1", "b": "2.5"}, 4, 2.5)


def test_files_are_found_by_path_name_and_stem(tmp_path: Path) -> None:
    for name in ("a.png", "sub/A.PNG", "sub/b.png", "sub/c.png", ".hidden/d.png"):
        image(tmp_path / name)
    files = ImageFiles(tmp_path)
    assert files.find("a.png") == tmp_path / "a.png"
    assert (
        files.find("SUB\\B.png")
        == files.find("./sub/b.png")
        == files.find(" B ")
        == tmp_path / "sub" / "b.png"
    )
    assert files.find("d") is None
    assert files.find("../a.png") is None
    with pytest.raises(InputError, match=r"a\.png, sub/A\.PNG"):
        files.find("A")
    files.use(tmp_path / "a.png")
    assert files.unused() == ["sub/A.PNG", "sub/b.png", "sub/c.png"]


def test_a_missing_file_or_empty_folder_is_refused(tmp_path: Path) -> None:
    source = source_of([])
    with pytest.raises(InputError, match="no such folder"):
        convert(source, tmp_path / "missing", tmp_path / "coco.json")
    with pytest.raises(InputError, match="no mammograms"):
        convert(source, tmp_path, tmp_path / "coco.json")
    image(tmp_path / "a.png")
    with pytest.raises(InputError, match="is no folder"):
        convert(source, tmp_path / "a.png", tmp_path / "coco.json")
    with pytest.raises(InputError, match=r"no image .* could be used: rows: 1 read, 0 used, 1 dropped"):
        convert(source_of([Film("b")]), tmp_path, tmp_path / "coco.json")
    assert not (tmp_path / "coco.json").exists()


def test_the_flow_fills_the_profile(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "b.png")
    lesion = Lesion(box(1, 2, 3, 4), 2, {"finding": "mass"})
    unproven = Lesion(box(1, 2, 3, 4), 1, {"ignore": 1})
    keys = {"patient_id": "p", "study_id": "s", "laterality": "L", "view": None}
    films = [Film("a", [lesion, unproven], keys, rows=2), Film("b", [unproven])]
    seen: list[str] = []

    def progress(given: Iterable[Film]) -> Iterable[Film]:
        for film in given:
            seen.append(film.name)
            yield film

    coco, audit = convert(source_of(films), tmp_path, tmp_path / "out" / "coco.json", progress=progress)
    first, second = coco.images
    assert (first["file_name"], first["width"], first["height"]) == ("../a.png", 9, 8)
    assert (first["breast_id"], first["label"], first["view"]) == ("p-s-L", "malignant", None)
    assert second["label"] is None  # a finding without truth tells nothing
    assert [one["id"] for one in coco.annotations] == [1, 2, 3]
    assert coco.annotations[0]["area"] == 12
    assert coco.info["category_rule"] == "no rule"
    assert seen == ["a", "b"]
    assert audit.rows_used == 3


def test_outlines_of_a_copy_of_another_size_are_rescaled_or_refused(tmp_path: Path) -> None:
    for name, size in (("a", (8, 16)), ("b", (4, 9))):
        write_png(tmp_path / f"{name}.png", np.zeros(size, dtype=np.uint8))
    outline = polygon([(4, 4), (8, 4), (8, 12)])
    films = [Film(name, [Lesion(outline, 2)], size=(32, 16)) for name in ("a", "b")]
    coco, audit = convert(source_of(films), tmp_path, tmp_path / "coco.json")
    (found,) = coco.annotations
    assert (found["bbox"], found["area"]) == ([2, 2, 2, 4], 4)  # half of 4 x 8, a quarter of 16
    assert found["segmentation"] == [[2, 2, 4, 2, 4, 6]]
    assert found["provenance"]["bbox_before_scaling"] == [4, 4, 4, 8]
    assert list(audit.dropped) == ["the annotations were drawn on an image of another shape"]
    assert list(audit.notes) == ["the annotations were drawn on an image of another size: rescaled"]


def test_a_patient_of_two_official_parts_stays_in_the_later_one(tmp_path: Path) -> None:
    parts = {"a": ("p", "train"), "b": ("p", "test"), "c": ("q", "train"), "d": ("p", "val")}
    for name in parts:
        image(tmp_path / f"{name}.png")
    films = [Film(name, (), {"patient_id": one, "split": part}) for name, (one, part) in parts.items()]
    coco, audit = convert(source_of(films), tmp_path, tmp_path / "coco.json")
    assert [one["split"] for one in coco.images] == [None, "test", "train", None]
    assert [(one.get("provenance") or {}).get("official_split") for one in coco.images] == [
        "train",
        None,
        None,
        "val",
    ]
    (moved,) = audit.notes.values()
    assert moved == {"p (train)": 1, "p (val)": 1}


def test_paths_of_another_machine_are_found_by_their_end(tmp_path: Path) -> None:
    for name in ("p1/s1/x.png", "p1/s2/x.png", "p2/y.png"):
        image(tmp_path / name)
    files = ImageFiles(tmp_path)
    assert files.find_tail("/mnt/disk/p1/s2/x.png") == tmp_path / "p1" / "s2" / "x.png"
    assert files.find_tail("D:\\data\\P2\\Y.png") == tmp_path / "p2" / "y.png"
    assert files.find_tail("../../p2/y.png") == tmp_path / "p2" / "y.png"
    assert files.find_tail("/mnt/z.png") is None
    assert files.find_tail("") is None
    with pytest.raises(InputError, match="several of that name"):
        files.find_tail("/mnt/x.png")
    assert files.below("S2") == [tmp_path / "p1" / "s2" / "x.png"]
    assert len(files.below("p1")) == 2


def test_rows_read_are_those_used_and_those_dropped() -> None:
    audit = Audit(rows_used=3)
    audit.drop("no such image file", "a", 2)
    audit.drop("no such image file", "b")
    audit.drop("odd", "c")
    assert (audit.rows_read, audit.rows_dropped) == (7, 4)
    assert audit.lines()[:2] == [
        "rows: 7 read, 3 used, 4 dropped",
        "rows dropped: 3: no such image file (a, b)",
    ]


def test_tables_keep_newlines_in_quotes_and_name_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfname,path,,path\n\na,"x\ny",1,2\n b ,z\n')
    first, second = read_csv(path, required=["name"])
    assert first.cells == {"name": "a", "path": "x\ny", "column 3": "1", "column 4": "2"}
    assert (first.line, second.line) == (4, 5)
    assert second.cells == {"name": "b", "path": "z", "column 3": "", "column 4": ""}
    assert str(second.error("path", "is odd")) == f"{path}: row at line 5, column path: is odd (found 'z')"
    with pytest.raises(InputError, match="side: has no such column"):
        read_csv(path, required=["side"])


def test_what_cannot_be_read_in_the_folder_is_noted(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "rows.csv").write_text("a")
    (tmp_path / "a_mask.bmp").write_bytes(b"BM123456")
    _, audit = convert(source_of([Film("a")]), tmp_path, tmp_path / "coco.json")
    assert audit.lines() == [
        "rows: 1 read, 1 used, 0 dropped",
        "note: 1: not read: is no DICOM, PNG, PGM, TIFF or JPEG file (a_mask.bmp)",
    ]


def test_two_exams_of_one_woman_are_two_breasts(tmp_path: Path, make_dicom: Any) -> None:
    for study in ("1.2.3", "1.2.4"):
        make_dicom(name=f"{study}.dcm", StudyInstanceUID=study, ImageLaterality="L")
    make_dicom(name="none.dcm", StudyInstanceUID=None, ImageLaterality="L")
    films = [Film("1.2.3.dcm"), Film("1.2.4.dcm"), Film("none.dcm")]
    coco, _ = convert(source_of(films), tmp_path, tmp_path / "coco.json")
    patient = hash_id("P7")
    assert [(one["patient_id"], one.get("study_id"), one["breast_id"]) for one in coco.images] == [
        (patient, hash_id("1.2.3"), f"{patient}-{hash_id('1.2.3')}-L"),
        (patient, hash_id("1.2.4"), f"{patient}-{hash_id('1.2.4')}-L"),
        (patient, None, f"{patient}-L"),
    ]


def test_links_to_one_file_keep_their_names(tmp_path: Path) -> None:
    image(tmp_path / "store" / "x.png")
    for name in ("a.png", "b.png"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(tmp_path / "store" / "x.png")
    assert ImageFiles(tmp_path / "data").unused() == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a," + ",".join(f"c{number}" for number in range(20_000)), "has 20001 cells"),
        ("a,b\n1," + "," * 20_000, "has 20002 cells"),
        ("a,b\n" + "," * (2**20 + 1), "line 2: has more than 1048576 characters"),
        ("x" * (2**20 + 1), "line 1: has more than 1048576 characters"),
        ("a,b\n1,2\n3,\0", "line 3: holds zero characters"),
        ("a,b\n1,2\n3\n", "row at line 3: ends after 1 of 2 cells"),
        ("a|b\n1|2\n", r"b: has no such column .*same separator"),
    ],
)
def test_a_table_that_is_none_is_refused_at_once(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=problem):
        read_csv(path, required=["b"] if "b" in content.partition("\n")[0] else [])


def test_rows_that_stand_twice_are_one_image_and_one_lesion(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    lesions = [Lesion(box(1, 2, 3, 4), 2), Lesion(box(1, 2, 3, 4), 2), Lesion(box(1, 2, 3, 4), 1)]
    films = [Film("a", lesions, {"patient_id": "p"}), Film("a.png", lesions, {"patient_id": "p"}, rows=3)]
    coco, audit = convert(source_of(films), tmp_path, tmp_path / "coco.json")
    assert [one["category_id"] for one in coco.annotations] == [2, 1]
    assert audit.lesions_dropped == {"the same lesion twice on one image: taken once": {"a [1, 2, 3, 4]": 1}}
    assert audit.dropped == {"a second entry of one image, the same as the first": {"a.png": 3}}
    assert (audit.rows_used, audit.rows_dropped) == (1, 3)


def test_entries_of_one_image_that_differ_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    films = [Film("a", (), {"label": "normal"}), Film("a.png", (), {"label": "malignant"})]
    with pytest.raises(InputError, match=r"a\.png: image: two entries .* say different things .*'a, a\.png'"):
        convert(source_of(films), tmp_path, tmp_path / "out" / "coco.json")
    assert not (tmp_path / "out").exists()


def test_the_report_stays_on_its_lines_whatever_files_are_called() -> None:
    audit = Audit()
    audit.note("odd", "x\n\x1b[31m\udcff.png")
    (_, line) = audit.lines()
    assert line == "note: 1: odd (x??[31m?.png)"
    assert audit.record()["notes"]["odd"]["first"] == ["x\n\x1b[31m\udcff.png"]
