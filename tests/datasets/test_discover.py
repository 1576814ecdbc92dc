"""Which files are taken from a folder, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mammodet.datasets.discover import search, search_folder
from mammodet.datasets.errors import InputError


def _touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_folders_are_searched_in_sorted_order(tmp_path: Path) -> None:
    preamble = bytes(128) + b"DICM"
    wanted = [
        _touch(tmp_path / "a.PNG"),
        _touch(tmp_path / "b" / "IM0001", preamble),
        _touch(tmp_path / "b" / "c" / "x.dicom"),
        _touch(tmp_path / "d.TIFF"),
    ]
    _touch(tmp_path / "DICOMDIR", preamble)
    _touch(tmp_path / ".hidden.png")
    _touch(tmp_path / ".cache" / "x.png")
    _touch(tmp_path / "notes.txt")
    _touch(tmp_path / "short", b"DICM")
    assert search([tmp_path]).images == wanted


def test_files_are_taken_as_given_and_once(tmp_path: Path) -> None:
    odd = _touch(tmp_path / "odd.xyz")
    image = _touch(tmp_path / "a.png")
    assert search([odd, image, tmp_path]).images == [odd, image]


def test_a_folder_that_lies_in_a_hidden_one_is_searched(tmp_path: Path) -> None:
    image = _touch(tmp_path / ".data" / "exam" / "a.pgm")
    assert search([tmp_path / ".data" / "exam"]).images == [image]


def test_nothing_found_names_the_folder(tmp_path: Path) -> None:
    _touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="no mammograms") as caught:
        search([tmp_path])
    assert caught.value.file == str(tmp_path)
    assert caught.value.remedy


def test_missing_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png"):
        search([tmp_path / "gone.png"])
    with pytest.raises(InputError, match="no file or folder"):
        search([])


def test_real_films_are_found(shared_data: Path) -> None:
    found = search([shared_data / "mini-mias"]).images
    assert len(found) == 118
    assert {path.suffix for path in found} == {".pgm"}


def test_one_folder_in_two_spellings_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path / "exams" / "a.png")
    monkeypatch.chdir(tmp_path)
    spelled = Path("exams", "a.png")
    assert search([Path("exams"), tmp_path / "exams", spelled, Path("exams", "..", spelled)]).images == [
        spelled
    ]


def test_images_are_told_by_their_content(tmp_path: Path) -> None:
    headless = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"  # a DICOM element, no preamble
    wanted = [
        _touch(tmp_path / "1.2.840.7", headless),
        _touch(tmp_path / "IM2", headless),
        _touch(tmp_path / "film", b"P5 2 2 255\n1234"),
    ]
    assert search([tmp_path]).images == wanted


def test_what_is_skipped_is_told_with_its_reason(tmp_path: Path) -> None:
    image = _touch(tmp_path / "a.png")
    _touch(tmp_path / "b.bmp", b"BM123456")
    _touch(tmp_path / "sub" / "IM1", b"")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "twice.png").symlink_to(image)
    (tmp_path / "again").symlink_to(tmp_path / "sub")
    _touch(tmp_path / ".hidden")
    found = search([tmp_path])
    assert found.images == [image]
    assert {path.relative_to(tmp_path).as_posix(): reason for path, reason in found.skipped.items()} == {
        "b.bmp": "is no DICOM, PNG, PGM, TIFF or JPEG file",
        "sub/IM1": "is empty (0 bytes)",
        "gone.png": "is a broken link",
        "twice.png": f"is a link to {image}",
        "again": "is a link to a folder, give that folder itself",
    }


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that the system refuses to list (root may list any, so the refusal is made here)."""
    folder = tmp_path / "locked"
    _touch(folder / "b.png")
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str]) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path, locked: Path) -> None:
    image = _touch(tmp_path / "a.png")
    found = search([tmp_path])
    assert found.images == [image]
    assert found.skipped == {locked: "cannot be opened: Permission denied"}
    with pytest.raises(InputError, match="cannot be opened: Permission denied"):
        search([locked])


def test_a_folder_of_links_says_that_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "images").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match=r"links to folders are not followed \(images\)"):
        search_folder(tmp_path / "linked")
