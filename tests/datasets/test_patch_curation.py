"""The curation list: what a reviewer marks, in a spreadsheet or on the page, is drawn no more."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patch_curation import COLUMNS, apply_curation, write_curation
from mammodet.datasets.patch_records import ImagePatches, Window, encode
from mammodet.datasets.patch_sheet import write_sheets
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.patch_writer import PatchWriter

SETTINGS = {"storage": "stored", "depth": 16, "size": 16}
GROUPS = [["normal"], ["benign"]]
HOSTILE = '</script><img src=x onerror="document.title=1">&"\'.png'


def fill(path: Path, turned: tuple[str, ...] = (), file: str = "a.png") -> PatchStore:
    shown = np.random.default_rng(0).random((60, 200), dtype=np.float32)
    with PatchWriter(path, SETTINGS, turned) as writer:
        for number in range(3):
            windows = tuple(
                Window(20 * index, 5, 16, label)
                for index, label in enumerate(["normal"] * 4 + ["benign"] * 3)
            )
            pixels = tuple(encode(shown[one.y : one.y + 16, one.x : one.x + 16], 16) for one in windows)
            writer.add(
                ImagePatches(
                    *(f"set/{number}", file, f"set/{number}", "train", Geometry(200, 60), windows, pixels)
                )
            )
    return PatchStore(path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def save(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def apply(path: Path, store: PatchStore) -> int:
    with PatchWriter(store.path, SETTINGS) as writer:
        return apply_curation(path, store, writer).ambiguous


@pytest.mark.parametrize("turned", [(), ("train",)])
def test_marked_patches_and_their_copies_are_drawn_no_more(tmp_path: Path, turned: tuple[str, ...]) -> None:
    store = fill(tmp_path / "a.sqlite", turned)
    copies = 4 if turned else 1
    write_curation(tmp_path / "list.csv", store.patches(turned=False))
    rows = rows_of(tmp_path / "list.csv")
    assert len(rows) == 21 and tuple(rows[0]) == COLUMNS
    for row in rows[:2]:
        row |= {"ambiguous": "x", "remark": 'skin fold; "see" film, side'}
    # As a German spreadsheet saves it: semicolons and a byte order mark.
    assert apply(save(tmp_path / "marked.csv", rows, ";"), store) == 2 * copies
    assert store.counts() == {("train", "normal"): 10 * copies, ("train", "benign"): 9 * copies}
    gone = {patch.id for patch in store.patches() if patch.ambiguous}
    assert {patch.remark for patch in store.patches() if patch.ambiguous} == {'skin fold; "see" film, side'}
    draws = store.draws("train", GROUPS)
    drawn = {int(one) for step in range(20) for one in store.batch(draws, 20, 0, step).ids}
    assert drawn == {patch.id for patch in store.patches(ambiguous=False)} and not drawn & gone
    # A list of some patches leaves the others as they are, and a mark can be taken back.
    rows[0] |= {"ambiguous": "0", "remark": ""}
    assert apply(save(tmp_path / "some.csv", rows[:1]), store) == copies
    assert store.counts()["train", "normal"] == 11 * copies


def test_a_list_fits_a_store_that_was_made_anew(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite")
    write_curation(tmp_path / "list.csv", store.patches())
    rows = [{**row, "id": "0"} for row in rows_of(tmp_path / "list.csv")]  # ids of the new store differ
    marked = [{**row, "ambiguous": "1" if row["class"] == "benign" else "0"} for row in rows]
    other = fill(tmp_path / "b.sqlite", ("train",))
    assert apply(save(tmp_path / "marked.csv", marked), other) == 36
    assert other.counts()["train", "benign"] == 0
    with pytest.raises(InputError, match="no patches of this group"):
        other.draws("train", GROUPS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ambiguous": "perhaps"}, "ambiguous: must be 1 or 0"),
        ({"x": "1"}, "the store has no patch at 1, 5"),
        ({"x": "left"}, "x: must be a number"),
        ({"class": "malignant"}, "the patch is normal in the store"),
        ({"image": "set/9"}, "the store has no patch"),
    ],
)
def test_faults_are_told_by_line_and_change_nothing(
    tmp_path: Path, change: dict[str, str], told: str
) -> None:
    store = fill(tmp_path / "a.sqlite")
    write_curation(tmp_path / "list.csv", store.patches())
    rows = rows_of(tmp_path / "list.csv")
    rows[0]["ambiguous"] = "1"
    rows[1] |= change
    with pytest.raises(InputError, match=f"row at line 3.*{told}"):
        apply(save(tmp_path / "marked.csv", rows), store)
    assert store.ambiguous() == 0
    twice = [{**rows[0], "ambiguous": mark} for mark in "10"]
    with pytest.raises(InputError, match="two rows with different marks"):
        apply(save(tmp_path / "twice.csv", twice), store)


def test_a_list_with_marks_is_not_overwritten(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite")
    assert [path.name for path in write_sheets(store, tmp_path / "review")] == ["page-1.html"]
    with pytest.raises(InputError, match="may hold marks"):
        write_sheets(store, tmp_path / "review")


def test_a_page_needs_nothing_else_and_escapes_what_users_named(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.sqlite", file=HOSTILE)
    page = write_sheets(store, tmp_path / "review")[0].read_text(encoding="utf-8")
    assert "<img src=x" not in page and page.count("</script>") == 2
    assert page.count("data:image/jpeg;base64,") == 21
    assert not re.search(r"""(?:src|href)=["']?(?:https?:|//)|@import|url\(""", page)


def test_marks_set_by_keyboard_come_back_through_the_download(tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium here")
    store = fill(tmp_path / "a.sqlite", file=HOSTILE)
    path = write_sheets(store, tmp_path / "review")[0]
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        context = opened.new_context(offline=True, accept_downloads=True)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(path.as_uri())
        for key in ("ArrowRight", "Space", "ArrowRight", "ArrowRight", "Space", "Tab"):
            page.keyboard.press(key)
        page.keyboard.type('a fold, "here"')
        assert page.locator("#told").text_content() == "2 of 21 marked, not saved"
        with page.expect_download() as download:
            page.keyboard.press("Control+s")
        download.value.save_as(tmp_path / "saved.csv")
        assert download.value.suggested_filename == "curation-1.csv" and faults == []
        assert page.title().startswith("Patches of a.sqlite")
        opened.close()
    rows = rows_of(tmp_path / "saved.csv")
    assert [row["ambiguous"] for row in rows[:4]] == ["1", "0", "1", "0"]
    assert rows[2]["remark"] == 'a fold, "here"' and rows[0]["file"] == HOSTILE
    assert apply(tmp_path / "saved.csv", store) == 2
    marked = [patch.id for patch in store.patches() if patch.ambiguous]
    assert marked == sorted(int(row["id"]) for row in rows if row["ambiguous"] == "1")
