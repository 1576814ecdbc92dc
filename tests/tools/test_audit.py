"""``mammodet audit``: the verdict as exit code, two files beside the COCO file, one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mammodet.datasets.coco import profile_categories
from mammodet.tools import cli
from mammodet.tools.audit import main


def write(path: Path, **keys: Any) -> Path:
    whole: dict[str, Any] = {"file_name": "a.png", "width": 900, "height": 900, "patient_id": "p", **keys}
    content = {"images": [{"id": 1, **whole}], "annotations": [], "categories": profile_categories()}
    path.write_text(json.dumps(content))
    return path


def test_exit_codes_tell_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "coco.json"
    told = {"clean": "clean as far as the COCO file tells; image files were not looked at"}
    for keys, code, verdict in (({}, 0, "clean"), ({"patient_id": None}, 1, "warnings")):
        assert main([str(write(path, **keys)), "--files", "no"]) == code
        assert capsys.readouterr().out.startswith(f"audit: {told.get(verdict, verdict)} (")
        assert json.loads((tmp_path / "coco.audit.json").read_text())["verdict"] == verdict
    assert main([str(path), "--files", "headers"]) == 2  # the image file is missing
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "audit: errors (1 error, 1 warning, 1 kind of notes)",
        "  error: image files that are not there: 1",
        "  warning: images without patient_id: 1",
        str(tmp_path / "coco.audit.html"),
    ]


def test_a_phantom_is_clean(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "audit",
        str(phantom / "coco.json"),
        "--out",
        str(tmp_path),
        "--anchor",
        "64",
        "--workers",
        "1",
    ]
    assert cli.main(arguments) in (0, 1)  # its images are small, which may be a warning
    out = capsys.readouterr().out
    assert "smaller than the smallest anchor (64 px)" in out
    assert sorted(one.name for one in tmp_path.iterdir()) == ["coco.audit.html", "coco.audit.json"]
    record = json.loads((tmp_path / "coco.audit.json").read_text())
    assert record["counts"]["error"] == 0
    assert record["sizes"]["anchor_px"] == 64
    boxes = {"outside-breast", "mask-box", "huge-box", "duplicate-box", "chest-wall-side", "near-duplicate"}
    assert not boxes & {finding["kind"] for finding in record["findings"]}


@pytest.mark.parametrize("text", ["", "[]", '{"images": []}', None])
def test_what_is_no_coco_file_is_one_line(
    tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coco.json"
    if text is not None:
        path.write_text(text)
    assert main([str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mammodet audit: error: ")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.glob("*.audit.*"))


@pytest.mark.parametrize("option", [["--anchor", "0"], ["--files", "some"], ["--workers", "0"]])
def test_absurd_options_are_one_line(
    tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path / "coco.json")), *option]) == 2
    assert capsys.readouterr().err.count("\n") == 1
