"""Predictions of any detector: every format gives the same results, and every fault is named."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammodet.datasets.coco import Coco, read_results, to_xyxy
from mammodet.datasets.errors import InputError
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.evaluation.prediction_rows import PredictionError
from mammodet.evaluation.predictions import read_predictions

NUMBERS = {"benign": 0, "malignant": 1}
SIZES = {1: (3328, 2560), 2: (2000, 3000), 7: (400, 512), 9: (640, 480)}


def image(number, name, **keys):
    width, height = SIZES[number]
    return {"id": number, "file_name": name, "width": width, "height": height, **keys}


def truth(images=None):
    images = images or [
        image(1, "train/p1_L_CC.png", patient_id="p1", study_id="s1", laterality="L", view="CC"),
        image(2, "train/p1_R_MLO.dcm", patient_id="p1", study_id="s1", laterality="R", view="MLO"),
        image(7, "test/a.png"),
        image(9, "test/b.png"),
    ]
    annotations = [
        {
            "id": index,
            "image_id": one["id"],
            "category_id": 1 + index % 2,
            "bbox": [50, 60, 80, 90],
            "area": 7200,
            "iscrowd": 0,
        }
        for index, one in enumerate(images, start=1)
    ]
    return Coco(images, annotations, Path("gt.json"))


def result(image_id, category_id, bbox, score):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


@pytest.fixture
def write(tmp_path):
    """Write one file and return its path; a folder from a dict of texts."""

    def write(content, name="dt.csv"):
        path = tmp_path / name
        if isinstance(content, dict):
            for one, text in content.items():
                (path / one).parent.mkdir(parents=True, exist_ok=True)
                (path / one).write_text(text)
            path.mkdir(exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def refused(path, coco=None, **options):
    """Return the one line that a file is refused with."""
    with pytest.raises(InputError) as caught:
        read_predictions(path, coco or truth(), **options)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


def told(path, coco=None, **options):
    notices = []
    results = read_predictions(path, coco or truth(), tell=notices.append, **options)
    return results, [f"{one.severity}: {one.text}" for one in notices]


# ---- one set of predictions in every format


@st.composite
def predictions(draw):
    """Boxes on a grid of 1/8 pixel, inside images whose sides are no powers of two, with distinct scores."""
    count = draw(st.integers(1, 12))
    scores = draw(st.lists(st.integers(1, 10_000), min_size=count, max_size=count, unique=True))
    found = []
    for score in scores:
        number = draw(st.sampled_from(sorted(SIZES)))
        width, height = SIZES[number]
        x, y = draw(st.integers(0, 8 * (width - 20))) / 8, draw(st.integers(0, 8 * (height - 20))) / 8
        w, h = (
            draw(st.integers(16, int(8 * (width - x)))) / 8,
            draw(st.integers(16, int(8 * (height - y)))) / 8,
        )
        found.append(result(number, draw(st.sampled_from([1, 2])), [x, y, w, h], score / 10_000))
    return found


def as_coco(found, coco, root):
    (root / "dt.json").write_text(json.dumps(found))
    return root / "dt.json", {}


def as_csv(found, coco, root):
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["label", "score", "file_name", "x0", "y0", "x1", "y1"])
    for one in found:
        name, corners = coco.image_by_id[one["image_id"]]["file_name"], to_xyxy([one["bbox"]])[0].tolist()
        table.writerow([["benign", "malignant"][one["category_id"] - 1], one["score"], name, *corners])
    (root / "dt.csv").write_text(stream.getvalue())
    return root / "dt.csv", {}


def as_spreadsheet(found, coco, root):
    """Semicolons, decimal commas, a byte order mark, line ends of Windows, sizes instead of corners, ids."""
    lines = ["ID;p;left;top;w;h;kind"]
    for one in found:
        numbers = [str(value).replace(".", ",") for value in (one["score"], *one["bbox"])]
        lines.append(";".join([str(one["image_id"]), *numbers, f"class {one['category_id']}"]))
    (root / "dt.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    columns = {"image": "id", "score": "p", "x": "left", "y": "top", "category": "kind"}
    return root / "dt.csv", {"columns": columns, "categories": {"benign": "class 1", "malignant": "class 2"}}


def as_tsv(found, coco, root):
    """Centres in parts of the image, stems, percent."""
    lines = ["img\tconf\tcls\txc\tyc\tw\th"]
    for one in found:
        x, y, w, h = one["bbox"]
        entry = coco.image_by_id[one["image_id"]]
        width, height = entry["width"], entry["height"]
        box = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
        cells = [Path(entry["file_name"]).stem.upper(), 100 * one["score"], one["category_id"] - 1, *box]
        lines.append("\t".join(map(repr, cells)).replace("'", ""))
    (root / "dt.tsv").write_text("\n".join(lines) + "\n", encoding="utf-16")
    return root / "dt.tsv", {"categories": NUMBERS, "boxes": "cxcywh-relative", "scores": "percent"}


def as_yolo(found, coco, root):
    for one in found:
        x, y, w, h = one["bbox"]
        entry = coco.image_by_id[one["image_id"]]
        width, height = entry["width"], entry["height"]
        row = [
            one["category_id"] - 1,
            (x + w / 2) / width,
            (y + h / 2) / height,
            w / width,
            h / height,
            one["score"],
        ]
        file = root / "labels" / f"{Path(entry['file_name']).stem}.txt"
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as stream:
            stream.write(" ".join(map(repr, row)) + "\n")
    return root / "labels", {"categories": NUMBERS}


def as_torchvision(found, coco, root):
    content = {}
    for one in found:
        entry = content.setdefault(
            coco.image_by_id[one["image_id"]]["file_name"], {"boxes": [], "scores": [], "labels": []}
        )
        entry["boxes"].append(to_xyxy([one["bbox"]])[0].tolist())
        entry["scores"].append(one["score"])
        entry["labels"].append(one["category_id"])
    (root / "dt.json").write_text(json.dumps(content))
    return root / "dt.json", {"categories": {"benign": 1, "malignant": 2}}


@settings(max_examples=15, deadline=None)
@given(found=predictions())
def test_every_format_gives_the_same_results_and_metrics(found, tmp_path_factory):
    coco = truth()
    metrics = coco_metrics(coco, found)
    found.sort(key=lambda one: one["score"])
    for form in (as_coco, as_csv, as_spreadsheet, as_tsv, as_yolo, as_torchvision):
        path, options = form(found, coco, tmp_path_factory.mktemp("form"))
        read = sorted(read_predictions(path, coco, **options), key=lambda one: one["score"])
        for name in ("image_id", "category_id"):
            assert [one[name] for one in read] == [one[name] for one in found]
        numbers = [np.array([[*one["bbox"], one["score"]] for one in each]) for each in (read, found)]
        np.testing.assert_allclose(*numbers, rtol=0, atol=1e-9)
        for name, expected in coco_metrics(coco, read).items():
            assert expected == pytest.approx(metrics[name], abs=1e-12)


def test_coco_results_are_read_as_before(shared_data):
    from mammodet.datasets.coco import read_coco

    coco = read_coco(shared_data / "coco" / "instances_val2014_100.json", profile=False)
    path = shared_data / "coco" / "instances_val2014_fakebbox100_results.json"
    assert read_predictions(path, coco) == [
        {name: one[name] for name in ("image_id", "category_id", "bbox", "score")}
        for one in read_results(path, coco)
    ]


# ---- files in the style of those who write them


def test_labels_of_ultralytics(write):
    """``yolo predict save_txt=True save_conf=True``: one file per image with boxes, six digits, %g."""
    folder = write({"labels/a.txt": "1 0.5 0.25 0.1 0.2 0.873047\n0 0.0625 0.5 0.125 0.5 0.25\n"}, "predict")
    results, lines = told(folder, categories={"benign": 0, "malignant": 1})
    assert [(one["image_id"], one["category_id"], one["score"]) for one in results] == [
        (7, 2, 0.873047),
        (7, 1, 0.25),
    ]
    np.testing.assert_allclose([one["bbox"] for one in results], [[180, 76.8, 40, 102.4], [0, 128, 50, 256]])
    assert "2 boxes on 1 of 4 images, 3 without any; read as yolo, boxes cxcywh-relative" in lines[0]


def test_results_of_ultralytics_with_stems_as_image_ids(write):
    """``yolo val save_json=True`` writes the stem of the file as image_id, as a number where it is one."""
    coco = truth([image(1, "20586908.dcm"), image(2, "20586934.dcm")])
    found = [result(20586934, 2, [10, 20, 30, 40], 0.5), result(20586908, 1, [1, 2, 3, 4], 0.25)]
    assert [one["image_id"] for one in read_predictions(write(found, "dt.json"), coco)] == [2, 1]
    found = [result("p1_L_CC", 2, [10, 20, 30, 40], 0.5)]
    assert read_predictions(write(found, "dt.json"), truth()) == [result(1, 2, [10, 20, 30, 40], 0.5)]


def test_a_table_of_a_notebook(write):
    path = write(
        "file name,x0,y0,x1,y1,score\nC:\\data\\test\\A.PNG,10,20,30,60,0.9\n/mnt/test/b.jpg,1.5,2,3,4,1e-1\n"
    )
    assert read_predictions(path, truth(), categories={"malignant": "all"}) == [
        result(7, 2, [10, 20, 20, 40], 0.9),
        result(9, 2, [1.5, 2, 1.5, 2], 0.1),
    ]


def test_the_columns_of_the_issue(write):
    path = write("fn;p;x0;y0;x1;y1;what\na.png;0.5;10;20;30;60;B\n")
    columns = {
        "image": "fn",
        "score": "p",
        "x1": "x0",
        "y1": "y0",
        "x2": "x1",
        "y2": "y1",
        "category": "what",
    }
    read = read_predictions(path, truth(), columns=columns, categories={"benign": "b", "malignant": "m"})
    assert read == [result(7, 1, [10, 20, 20, 40], 0.5)]


def test_the_table_of_the_tomosynthesis_challenge(write):
    """The columns of a submission to DBTex; scores of any scale, slices in Z and Depth are not looked at."""
    path = write(
        "PatientID,StudyUID,View,X,Width,Y,Height,Z,Depth,Score\n"
        "p1,s1,LCC,100,50,200,60,12,5,0.91\np1,s1,rmlo,10,20,30,40,3,3,0.5\n"
    )
    assert read_predictions(path, truth(), categories={"malignant": "all"}) == [
        result(1, 2, [100, 200, 50, 60], 0.91),
        result(2, 2, [10, 30, 20, 40], 0.5),
    ]
    line = refused(
        write("PatientID,View,X,Width,Y,Height,Score\np1,RCC,1,2,3,4,0.5\n"), categories={"malignant": "all"}
    )
    assert "line 2, columns PatientID, View: no such image (found ['p1', 'RCC'])" in line


def test_pandas_tables_of_yolo(write):
    path = write(
        ",xmin,ymin,xmax,ymax,confidence,class,name,image\n0,10.5,20,30.5,60,0.75,1,malignant,a.png\n"
    )
    assert read_predictions(path, truth(), categories=NUMBERS) == [result(7, 2, [10.5, 20, 20, 40], 0.75)]


def test_a_list_of_boxes_per_image(write):
    content = [
        {"image_id": 7, "boxes": [[10, 20, 30, 60]], "scores": [0.5]},
        {"image_id": 9, "boxes": [], "scores": []},
    ]
    assert read_predictions(write(content, "dt.json"), truth(), categories={"malignant": "all"}) == [
        result(7, 2, [10, 20, 20, 40], 0.5)
    ]


# ---- what names an image


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("test/a.png", 7), ("a.png", 7), ("A.PNG", 7), ("a", 7), ("a.jpeg", 7), ("./test/a.png", 7), ("7", 7), ("7.0", 7),
        ("/home/me/test/a.png", 7), ("..\\test\\a.png", 7), ("p1_R_MLO", 2), ("train/p1_r_mlo.png", 2),
    ],
)  # fmt: skip
def test_names_of_images(write, name, number):
    path = write(f"image,x,y,w,h,score\n{name},1,2,3,4,0.5\n")
    assert read_predictions(path, truth(), categories={"malignant": "all"})[0]["image_id"] == number


def test_uids_are_not_cut_at_their_last_point(write):
    coco = truth(
        [image(1, "1.2.840.1"), image(2, "1.2.840.2"), image(7, "x.dcm", sop_instance_uid="1.2.840.3")]
    )
    path = write("image,x,y,w,h,score\n1.2.840.2,1,2,3,4,0.5\n1.2.840.3.dcm,1,2,3,4,0.5\n")
    assert [one["image_id"] for one in read_predictions(path, coco, categories={"malignant": "all"})] == [
        2,
        7,
    ]


def test_a_stem_of_two_images_is_refused_and_the_folder_tells_them_apart(write):
    coco = truth([image(1, "left/cc.png"), image(2, "right/cc.png"), image(7, "other.png")])
    rows = "image,x,y,w,h,score\n{},1,2,3,4,0.5\n"
    assert "column image: may be 'left/cc.png' or 'right/cc.png' (found 'cc.png')" in refused(
        write(rows.format("cc.png")), coco, categories={"malignant": "all"}
    )
    read = read_predictions(write(rows.format("/x/right/CC.tif")), coco, categories={"malignant": "all"})
    assert read[0]["image_id"] == 2


def test_numbers_that_are_ids_and_names_of_other_images_are_refused(write):
    coco = truth([image(1, "2.png"), image(2, "1.png")])
    path = write("image,x,y,w,h,score\n1,1,2,3,4,0.5\n")
    line = refused(path, coco, categories={"malignant": "all"})
    assert "is the id of '2.png' and the name of '1.png' (found '1')" in line
    path = write("image,x,y,w,h,score\n1.png,1,2,3,4,0.5\n")
    assert read_predictions(path, coco, categories={"malignant": "all"})[0]["image_id"] == 2


def test_two_names_that_could_only_mean_one_image_are_refused(write):
    coco = truth([image(1, "test/a.png"), image(2, "test/b.png")])
    rows = "image,x,y,w,h,score\ntest/a.png,1,2,3,4,0.5\n{},1,2,3,4,0.5\n"
    line = refused(write(rows.format("train/a.png")), coco, categories={"malignant": "all"})
    assert "line 3, column image: means 'test/a.png', and so does 'test/a.png' (found 'train/a.png')" in line
    for name in ("a.png", "/data/test/A.png"):
        read = read_predictions(write(rows.format(name)), coco, categories={"malignant": "all"})
        assert [one["image_id"] for one in read] == [1, 1]


@pytest.mark.parametrize("image_id", [1, 1.0, "1"])
def test_whole_numbers_with_a_point_are_ids(write, image_id):
    """As pandas writes a column of ids that once had a gap."""
    entry = {"image_id": image_id, "category_id": 2.0, "bbox": [1, 2, 30, 40], "score": 0.5}
    [read] = read_predictions(write(json.dumps([entry])), truth())
    assert (read["image_id"], read["category_id"]) == (1, 2)
    assert type(read["image_id"]) is int and type(read["category_id"]) is int


def test_a_fraction_is_no_id(write):
    entry = {"image_id": 1.5, "category_id": 2, "bbox": [1, 2, 30, 40], "score": 0.5}
    with pytest.raises(InputError, match=r"results\[0\].image_id: no such image \(found 1.5\)"):
        read_predictions(write(json.dumps([entry])), truth())


# ---- which class


ROWS = "image,x,y,w,h,score,label\na,1,2,3,4,0.5,{}\nb,1,2,3,4,0.5,{}\n"


@pytest.mark.parametrize(
    ("labels", "categories", "expected"),
    [
        (("Benign", "MALIGNANT "), {}, [1, 2]),
        (("0", "1.0"), {"benign": 0, "malignant": 1}, [1, 2]),
        (("3", "4"), {"1": "3", "2": "4"}, [1, 2]),
        (("3", "4"), {"malignant": "3,4"}, [2, 2]),
        (("mass", "calc"), {"malignant": "all"}, [2, 2]),
        (("mass", "calc"), {"malignant": "all", "benign": "calc"}, [2, 1]),
        (("mass", "node"), {"malignant": "mass", "none": "node"}, [2]),
    ],
)
def test_categories(write, labels, categories, expected):
    read = read_predictions(write(ROWS.format(*labels)), truth(), categories=categories)
    assert [one["category_id"] for one in read] == expected


@pytest.mark.parametrize(
    ("labels", "categories", "says"),
    [
        (("0", "1"), {}, "no such category ('0' x 1, '1' x 1), the ground truth has 1 benign, 2 malignant"),
        (("0", "1"), {}, "such as --categories benign=0 malignant=1"),
        (("1", "1"), {}, "no such category ('1' x 2)"),  # YOLO's 1 is malignant, the id 1 benign
        (("mass", "calc"), {"malignant": "mass"}, "malignant=mass does not name it; add it, or none=calc"),
        (("mass", "calc"), {"lesion": "mass"}, "--categories: no such category, the ground truth has 1 benign, 2 malignant (found 'lesion')"),
        (("mass", "calc"), {"mass": "malignant"}, "the name of the ground truth comes first: malignant=mass"),
        (("mass", "calc"), {"benign": "mass", "malignant": "mass"}, "is given to two categories (found 'mass')"),
        (("", "benign"), {}, "line 2, column label: no such category"),
    ],
)  # fmt: skip
def test_unknown_categories_are_named(write, labels, categories, says):
    assert says in refused(write(ROWS.format(*labels)), categories=categories)


def test_predictions_without_a_class_need_a_word(write):
    path = write("image,x,y,w,h,score\na,1,2,3,4,0.5\n")
    assert "--categories malignant=all takes all predictions as malignant" in refused(path)
    coco = truth()
    only = Coco(coco.images, [], coco.path, [{"id": 5, "name": "lesion"}])
    assert read_predictions(path, only)[0]["category_id"] == 5


def test_a_class_that_never_occurs_is_told(write):
    _, lines = told(write(ROWS.format("0", "1")), categories={"benign": 0, "malignant": "1,2"})
    assert lines[1:] == ["note: no prediction is of class 2 of --categories"]


# ---- faults


def table(*rows, header="image,x1,y1,x2,y2,score,label"):
    return "\n".join([header, *rows, ""])


def many(count, row, **options):
    return table(*(row(index) for index in range(count)), **options)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table("a,1,2,30,40,nan,benign", "a,1,2,30,40,0.5,benign"), "dt.csv: line 2, column score: must be a number from 0 to 1 (found 'nan'); a score is"),
        (table("a,1,2,30,40,0.5,benign", "b,1,2,30,40,-inf,benign"), "line 3, column score: must be a number from 0 to 1 (found '-inf')"),
        (table("a,1,2,30,40,,benign"), "column score: must be a number from 0 to 1 (found '')"),
        (table("a,1,2,30,40,1_0,benign"), "column score: must be a number from 0 to 1 (found '1_0')"),
        (many(9, lambda index: f"a,1,2,30,40,{10 * index},benign"), "must be a number from 0 to 1, as in 7 more (found '10'); these look like percentages: --scores percent"),
        (many(9, lambda index: f"a,1,2,30,40,{index - 4.5},benign"), "these look like logits: --scores logit"),
        (many(9, lambda index: f"a,1,2,30,40,{'1.0000001' if index == 4 else 0.5},benign"), "line 6, column score: must be a number from 0 to 1 (found '1.0000001'); clip"),
        (table("c,1,2,30,40,0.5,benign", "d,1,2,30,40,0.5,benign"), "line 2, column image: no such image (2 names are unknown), as in 1 more (found 'c'); give the ground truth that the detector was run on (gt.json has 4, such as 'train/p1_L_CC.png' (id 1))"),
        (table(",1,2,30,40,0.5,benign"), "line 2, column image: no such image (found '')"),
        (table("a,1,2,x,40,0.5,benign"), "columns x1, y1, x2, y2: must be four finite numbers, xyxy [x1, y1, x2, y2] in pixels (found ['1', '2', 'x', '40'])"),
        (table("a,1,2,inf,40,0.5,benign"), "must be four finite numbers"),
        (table("a,1,2,1e308,40,0.5,benign"), "must be four finite numbers"),
        (table("a,30,2,1,40,0.5,benign"), "1 of 1 boxes leave their image or have a size below 0 when read as xyxy [x1, y1, x2, y2] in pixels (found ['30', '2', '1', '40']); they would fit with --boxes xywh"),
        (table("a,30,2,30,40,0.5,benign", *["a,1,2,30,40,0.5,benign"] * 9), "line 2, columns x1, y1, x2, y2: a box must have a width and a height above 0 (found ['30', '2', '30', '40']); boxes are read as xyxy [x1, y1, x2, y2] in pixels; --boxes says otherwise"),
        (table("a,1,2,30,40,0.5,benign", "b,1,2,30"), "line 3: ends after 4 of 7 cells (found '30'); write every row to its end"),
        ("a.png,1,2,30,40,0.9\nb.png,1,2,30,40,0.8\n", "has no column for image (found 'a.png, 1, 2, 30, 40, 0.9'); the first line must name the columns"),
        ("name,x1,y1,x2,y2,score\n", "has no column for image; say which it is, such as --columns image=NAME; the columns are name, x1, y1, x2, y2, score"),
        ("image,x1,y1,x2,y2,p\n", "such as --columns score=NAME"),
        ("image,x1,y1,x2,score\n", "has no column for x1 y1 x2 y2 (or x y width height, or cx cy width height)"),
        ("image,score,score,x1,y1,x2,y2\na,1,2,3,4,5,6\n", "column score: is there twice"),
        ('image,x1,y1,x2,y2,score\n"a,1,2,3,4,0.5\n', "is no table"),
        (b"\xff\xfe\x00", "is no text"),
        (b"image,x1\xe9\n", "is no text in UTF-8"),
        (b"image\0", "holds zero characters"),
        ("[{", "dt.csv: is no JSON"),
        ('{"annotations": []}', "a results file is a JSON list"),
    ],
)  # fmt: skip
def test_faults_of_a_table(write, content, says):
    assert says in refused(write(content))


def test_all_kinds_of_faults_come_in_one_line(write):
    path = write(
        table(
            "c,1,2,30,40,0.5,benign",
            "a,1,2,30,40,2,benign",
            "a,1,2,30,40,0.5,cyst",
            "a,5,2,3,40,0.5,benign",
            "a",
        )
    )
    with pytest.raises(PredictionError) as caught:
        read_predictions(path, truth())
    assert [(one.where.partition(",")[0], one.count) for one in caught.value.faults] == [
        ("line 6", 1), ("line 2", 1), ("line 4", 1), ("line 3", 1), ("line 5", 1)
    ]  # fmt: skip
    line = str(caught.value)
    assert line.count("dt.csv") == 1
    assert all(str(fault).partition(": ")[2].partition(";")[0] in line for fault in caught.value.faults)


RNG = np.random.default_rng(0)
CORNERS = np.sort(RNG.uniform(0, 400, (40, 2, 2)), axis=1)
CORNERS[:, 1] += 5  # [N, corner, xy] on image 1


def as_rows(boxes, names="x1,y1,x2,y2"):
    rows = [
        f"p1_L_CC,{','.join(f'{one:.4f}' for one in box)},0.5{index:03}" for index, box in enumerate(boxes)
    ]
    return table(*rows, header=f"image,{names},score")


def as_layout(layout, scale=1.0, shift=2000.0):
    corners = CORNERS * scale + np.array([shift, shift])
    low, high = corners[:, 0], corners[:, 1]
    kind, _, relative = layout.partition("-")
    box = {
        "xyxy": [low, high],
        "xywh": [low, high - low],
        "cxcywh": [(low + high) / 2, high - low],
    }[kind]
    return np.concatenate(box, axis=1) / (np.tile(SIZES[1], 2) if relative else 1)


@pytest.mark.parametrize(
    "real", ["xywh", "xyxy", "cxcywh", "xywh-relative", "xyxy-relative", "cxcywh-relative"]
)
@pytest.mark.parametrize("read", ["xywh", "xyxy", "xywh-relative", "xyxy-relative", "cxcywh-relative"])
def test_boxes_of_another_layout_are_recognised(write, real, read):
    path = write(as_rows(as_layout(real)))
    kinds = {read.partition("-")[0], real.partition("-")[0]}
    if kinds == {"xywh", "cxcywh"} and ("-" in read) == ("-" in real):
        return  # centres and sizes are corners and sizes too, of boxes half a box further away
    if read == real:
        results = read_predictions(path, truth(), boxes=read, categories={"malignant": "all"})
        expected = as_layout("xywh")
        np.testing.assert_allclose([one["bbox"] for one in results], expected, atol=0.5)
        return
    line = refused(path, boxes=read, categories={"malignant": "all"})
    assert "they would fit with" in line
    assert f"--boxes {real} " in line or ("xyxy" not in kinds and "--boxes " in line)


def test_corners_as_coco_results(write):
    found = [result(1, 2, box.tolist(), 0.5 + index / 100) for index, box in enumerate(as_layout("xyxy"))]
    line = refused(write(found, "dt.json"))
    assert (
        "results[0].bbox: 40 of 40 boxes leave their image or have a size below 0 when read as xywh [x, y, width, height]"
        in line
    )
    assert "they would fit with --boxes xyxy ([x1, y1, x2, y2] in pixels)" in line
    read = read_predictions(write(found, "dt.json"), truth(), boxes="xyxy")
    np.testing.assert_allclose([one["bbox"] for one in read], as_layout("xywh"), atol=1e-6)


def test_boxes_of_pixels_in_a_yolo_folder(write):
    folder = write({"p1_L_CC.txt": "1 500 600 50 60 0.5\n1 700 800 50 60 0.25\n"}, "labels")
    assert "they would fit with --boxes cxcywh (" in refused(folder, categories=NUMBERS)


def test_an_unclipped_detector_is_no_slip_of_layout(write):
    """A third of the boxes reach some pixels beyond the right edge, as those of YOLO at the chest wall do."""
    boxes = [[3000 + 100 * (index % 3), 100, 150, 200] for index in range(30)]
    found = [result(1, 2, box, 0.5 + index / 100) for index, box in enumerate(boxes)]
    _, lines = told(write(found, "dt.json"))
    assert lines == [
        "warning: 10 of 30 boxes reach beyond their image, first results[2].bbox [3200, 100, 150, 200]"
    ]


def test_boxes_beside_their_image(write):
    found = [result(9, 2, [100, 100, 50 + index, 50], 0.5) for index in range(9)]
    _, lines = told(write([*found, result(9, 2, [900, 100, 50, 50], 0.5)], "dt.json"))
    assert lines == [
        "warning: 1 of 10 boxes lie outside their image, first results[9].bbox [900, 100, 50, 50]"
    ]
    line = refused(write([result(9, 2, [900, 100, 50 + index, 50], 0.5) for index in range(9)], "dt.json"))
    assert "results[0].bbox: lies with its centre outside its image of 640 x 480, as in 8 more" in line


def framed(scale):
    """Eight images of other sizes with a lesion each, and predictions on it in the frame ``scale`` makes."""
    rng = np.random.default_rng(3)
    images = [
        {
            "id": index,
            "file_name": f"{index}.png",
            "width": 2000 + 150 * index,
            "height": 3000 + 70 * index**2,
        }
        for index in range(1, 9)
    ]
    low, size = rng.uniform(900, 1500, (8, 2)), rng.uniform(80, 200, (8, 2))
    boxes = np.concatenate([low, size], axis=1)
    annotations = [
        {"id": one["id"], "image_id": one["id"], "category_id": 2, "bbox": box.tolist()}
        for one, box in zip(images, boxes, strict=True)
    ]
    found = [
        result(one["id"], 2, (box * np.tile(scale(one["width"], one["height"]), 2)).tolist(), 0.9)
        for one, box in zip(images, boxes, strict=True)
    ]
    return Coco(images, annotations, Path("gt.json")), found


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        (lambda w, h: (0.25, 0.25), "multiplied by 4 they would meet 100% of the lesions"),
        (
            lambda w, h: (512 / w, 512 / h),
            "as boxes of images resized to 512 x 512 pixels they would meet 100%",
        ),
        (lambda w, h: (1024 / max(w, h),) * 2, "as boxes of images resized to a longest side of 1024 pixels"),
        (lambda w, h: (800 / w,) * 2, "as boxes of images resized to a width of 800 pixels"),
    ],
)
def test_boxes_of_resized_images_are_recognised(write, scale, says):
    coco, found = framed(scale)
    _, lines = told(write(found, "dt.json"), coco)
    assert [line for line in lines if says in line and line.startswith("warning: ")]


def test_boxes_of_enlarged_images_are_refused_with_the_scale(write):
    coco, found = framed(lambda w, h: (4, 4))
    assert "multiplied by 0.25 they would meet 100% of the lesions" in refused(write(found, "dt.json"), coco)


def test_boxes_in_the_right_frame_get_no_hint(write):
    coco, found = framed(lambda w, h: (1, 1))
    assert told(write(found, "dt.json"), coco)[1] == []


def test_repeated_predictions_are_counted(write):
    found = [
        result(7, 2, [1, 2, 3, 4], 0.5),
        result(7, 1, [1, 2, 3, 4], 0.5),
        result(9, 2, [1, 2, 3, 4], 0.5),
    ]
    assert told(write(found, "dt.json"))[1] == []
    results, lines = told(write([*found, *found[1:]], "dt.json"))
    assert len(results) == 5
    assert lines == [
        "warning: 2 of 5 predictions are there twice or more, first results[3].bbox [1, 2, 3, 4]; "
        "each repetition counts as a false positive"
    ]


@pytest.mark.parametrize(
    ("content", "name"),
    [("", "a.csv"), ("\n \n", "b.csv"), ("image,x1,y1,x2,y2,score,label\n", "c.csv"), ([], "d.json")],
)
def test_no_predictions_are_allowed_with_a_warning(write, content, name):
    path = write(content, name)
    assert told(path) == ([], [f"warning: {path} holds no prediction"])


def test_folders_without_text_files(write):
    folder = write({"picture.png": "", "classes.txt": "benign\n"}, "labels")
    assert "holds no text file" in refused(folder)
    assert told(folder, format="yolo")[0] == []
    assert told(write({"a.txt": "\n"}, "other"))[0] == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.txt": "1 0.5 0.5 0.1 0.1\n", "b.txt": "1 0.5 0.5 0.1 0.1\n"}, "a.txt: line 1: has no confidence, as in 1 more (found '1 0.5 0.5 0.1 0.1'); predict with save_conf=True"),
        ({"a.txt": "1 0.5 0.5 0.1 0.1 0.5 0.5 0.9\n"}, "has 8 numbers instead of 6"),
        ({"a.txt": "1 0.5 0.5 0.1 0.1 x\n"}, "a.txt: line 1, confidence: must be a number from 0 to 1 (found 'x')"),
        ({"zz.txt": "1 0.5 0.5 0.1 0.1 0.5\n"}, "zz.txt: line 1: no such image (found 'zz')"),
        ({"a.txt": "2 0.5 0.5 0.1 0.1 0.5\n"}, "a.txt: line 1, class: no such category ('2' x 1)"),
    ],
)  # fmt: skip
def test_faults_of_a_yolo_folder(write, files, says):
    assert says in refused(write(files, "labels"), categories=NUMBERS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a": {"boxes": [[1, 2, 3, 4]], "scores": []}}, "['a']: has 1 boxes, 0 scores (found 'dict of 2')"),
        ({"a": {"boxes": [[1, 2, 3, 4]], "scores": [2], "labels": [1]}}, "['a'].scores[0]: must be a number from 0 to 1 (found 2)"),
        ({"a": {"boxes": [[1, 2, 3]], "scores": [1], "labels": [1]}}, "['a'].boxes[0]: must be four finite numbers"),
        ({"c": {"boxes": [[1, 2, 3, 4]], "scores": [1], "labels": [1]}}, "['c']: no such image (found 'c')"),
        ({"a": {"boxes": [[1, 2, 3, 4]], "scores": [1]}}, "the predictions tell no class"),
        ({"a": {"boxes": 1, "scores": []}}, "must be lists"),
    ],
)  # fmt: skip
def test_faults_of_boxes_per_image(write, content, says):
    categories = {} if "scores" in content.get("a", {}) and "labels" not in content["a"] else {"benign": 1}
    assert says in refused(write(json.dumps(content), "dt.json"), categories=categories)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"format": "excel"}, "--format: no such choice (found 'excel')"),
        ({"boxes": "polar"}, "--boxes: no such choice"),
        ({"scores": "odds"}, "--scores: no such choice"),
        ({"format": "yolo"}, "is no folder"),
        (
            {"columns": {"picture": "image"}},
            "--columns: no such column (found 'picture'); known are image, score",
        ),
        ({"columns": {"image": "photo"}}, "has no column 'photo'; its columns are image, x1, y1"),
        ({"columns": {"image": "label", "score": "label"}}, "label"),
    ],
)
def test_options_that_do_not_fit(write, options, says):
    assert says in refused(write(table("a,1,2,30,40,0.5,benign")), **options)


def test_missing_files_and_columns_for_json(write, tmp_path):
    assert "no such file" in refused(tmp_path / "no.csv")
    assert "are for tables only" in refused(write([], "dt.json"), columns={"image": "image_id"})


# ---- whatever is in the file


CELL = st.one_of(
    st.sampled_from(
        ["a", "b.png", "7", "", "nan", "inf", "0.5", "1e400", "-1", "benign", '"', "0,5", "é", "1_0"]
    ),
    st.text(max_size=6),
)
ANY_TABLE = st.builds(
    lambda head, rows, sep, end: end.join(sep.join(row) for row in [head, *rows]),
    st.permutations(["image", "x1", "y1", "x2", "y2", "score", "label", "x", "width"]),
    st.lists(st.lists(CELL, max_size=10), max_size=6),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["a", "7", "benign", 10**400])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["image_id", "category_id", "bbox", "score", "boxes", "scores", "labels", "a", "b"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=25,
)


def read_or_refused(path, **options):
    try:
        results = read_predictions(path, truth(), **options)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        ids = {one["image_id"] for one in results}
        assert ids <= set(SIZES)
        assert all(0 <= one["score"] <= 1 and min(one["bbox"][2:]) > 0 for one in results)
        assert all(np.isfinite(one["bbox"]).all() for one in results)


FORMATS = st.sampled_from(["auto", "coco", "csv", "torchvision"])
CATEGORIES = st.sampled_from([{}, {"malignant": "all"}, {"benign": "benign"}])
BOXES = st.sampled_from(["auto", "xyxy", "cxcywh-relative"])


@settings(max_examples=80, deadline=None)
@given(
    st.one_of(st.binary(max_size=60), ANY_TABLE.map(lambda text: text.encode(errors="surrogatepass"))),
    FORMATS,
    CATEGORIES,
    BOXES,
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, kind, categories, boxes):
    path = tmp_path_factory.mktemp("fuzz") / "dt"
    path.write_bytes(content)
    read_or_refused(path, format=kind, categories=categories, boxes=boxes)


@settings(max_examples=80, deadline=None)
@given(JSON, FORMATS, CATEGORIES)
def test_any_json_is_read_or_refused(tmp_path_factory, content, kind, categories):
    path = tmp_path_factory.mktemp("fuzz") / "dt.json"
    path.write_text(json.dumps(content))
    read_or_refused(path, format=kind, categories=categories)


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.lists(CELL, max_size=7).map(" ".join)).map(lambda rows: "\n".join(rows).encode()),
    )
)
def test_any_label_file_is_read_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.txt").write_bytes(content)
    read_or_refused(folder, categories=NUMBERS)
