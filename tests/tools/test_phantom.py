"""The command ``mammodet phantom``."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammodet.tools.phantom import main

SMALL = ["--height", "240", "--width", "200", "--spacing-mm", "0.8", "--workers", "1", "--progress", "false"]


def test_writes_the_set_and_tells_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    arguments = [str(out), "--patients", "2", "--lesion-rate", "1", "--second-lesion-rate", "0", *SMALL]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("8 images of 2 patients: ")
    benign, malignant = int(lines[1].split()[0]), int(lines[2].split()[0])
    assert benign + malignant == 4
    assert lines[-1] == str(out / "coco.json")
    assert (out / "coco.json").is_file()


def test_bad_value_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "set"), "--lesion-rate", "2", *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "lesion_rate" in error
    assert not (tmp_path / "set").exists()


def test_a_second_configuration_in_the_same_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "set")
    assert main([out, "--patients", "1", *SMALL]) == 0
    assert main([out, "--patients", "1", "--seed", "4", *SMALL]) == 2
    assert "seed" in capsys.readouterr().err
