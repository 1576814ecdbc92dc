"""Which files are taken from a folder, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammodet.datasets.discover import find_mammograms
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
    assert find_mammograms([tmp_path]) == wanted


def test_files_are_taken_as_given_and_once(tmp_path: Path) -> None:
    odd = _touch(tmp_path / "odd.xyz")
    image = _touch(tmp_path / "a.png")
    assert find_mammograms([odd, image, tmp_path]) == [odd, image]


def test_a_folder_that_lies_in_a_hidden_one_is_searched(tmp_path: Path) -> None:
    image = _touch(tmp_path / ".data" / "exam" / "a.pgm")
    assert find_mammograms([tmp_path / ".data" / "exam"]) == [image]


def test_nothing_found_names_the_folder(tmp_path: Path) -> None:
    _touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="no mammograms") as caught:
        find_mammograms([tmp_path])
    assert caught.value.file == str(tmp_path)
    assert caught.value.remedy


def test_missing_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png"):
        find_mammograms([tmp_path / "gone.png"])
    with pytest.raises(InputError, match="no file or folder"):
        find_mammograms([])


def test_real_films_are_found(shared_data: Path) -> None:
    found = find_mammograms([shared_data / "mini-mias"])
    assert len(found) == 118
    assert {path.suffix for path in found} == {".pgm"}
