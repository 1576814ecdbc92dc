"""``mammodet doctor``: what it prints, writes and returns, and what it never writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest

from mammodet.tools import cli, doctor

SECRETS = ("Zebrafink", "Quintéssa", "19531224", "ACC4711QX")


def _run(*words: str | Path) -> int:
    return cli.main(["doctor", *map(str, words), "--workers", "1", "--progress", "false"])


@pytest.fixture
def exams(phantom: Path, tmp_path: Path) -> Path:
    """Return a folder with the eight files of the phantom's two patients, free to be changed."""
    for path in phantom.rglob("*.dcm"):
        target = tmp_path / "exams" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "exams"


def _edit(path: Path, **tags: Any) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.save_as(path)


def _some(exams: Path, name: str) -> Path:
    return sorted(exams.rglob(name))[0]


def test_the_exit_code_tells_warnings_and_errors(phantom: Path, exams: Path, capsys: Any) -> None:
    # The phantom of these tests is smaller than a mammogram, which is the only thing to warn of.
    assert _run(exams) == 1
    printed = capsys.readouterr().out
    assert "8 files, 8 readable, of 2 patients in 2 studies" in printed
    assert "warning  small                      8" in printed
    assert "L-CC 2, L-MLO 2, R-CC 2, R-MLO 2" in printed
    (exams / "broken.dcm").write_bytes(b"")
    assert _run(exams) == 2
    printed = capsys.readouterr().out
    assert "error    unreadable                 1  broken.dcm" in printed
    assert "9 files, 8 readable" in printed


def test_a_clean_folder_gives_0(tmp_path: Path, capsys: Any) -> None:
    rows, columns = np.mgrid[:700, :600]
    inside = (columns / 400) ** 2 + ((rows - 350) / 280) ** 2 < 1
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (700, 600)), (0, 0), 15)
    values = np.where(inside, 30000 + 9000 * noise / noise.std(), 0).clip(0, 65535).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "p1_L_CC.png"), values)
    assert _run(tmp_path) == 0  # missing views are a note
    assert "note     missing-views" in capsys.readouterr().out


def test_names_of_any_bytes_are_printed_on_one_line(tmp_path: Path) -> None:
    for name in (b"new\nline.png", b"esc\x1b[2J.png", b"latin-\xff.png", "\u00fc".encode() * 120 + b".png"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    (tmp_path / "real.dcm").write_bytes(b"")
    command = [sys.executable, "-m", "mammodet.tools.doctor", str(tmp_path), "--workers", "1"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 2
    assert b"5 files, 0 readable" in done.stdout
    assert b"Traceback" not in done.stderr
    assert b"\x1b[2J" not in done.stdout
    assert sum(b"line.png" in line for line in done.stdout.splitlines()) <= 1


def test_bad_arguments_are_told_in_one_line(tmp_path: Path, capsys: Any) -> None:
    assert _run(tmp_path / "nowhere") == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err
    assert cli.main(["doctor", str(tmp_path), "--workers", "0"]) == 2
    assert "--workers: must be 1 or more" in capsys.readouterr().err


def test_out_gets_a_report_and_contact_sheets(exams: Path, tmp_path: Path, capsys: Any) -> None:
    mirrored = _some(exams, "L_CC.dcm")
    _edit(mirrored, ImageLaterality="R")
    (exams / "broken.dcm").write_bytes(b"")
    (exams / "readme.txt").write_text("hello")
    out = tmp_path / "out"
    assert _run(exams, "--out", out) == 2
    report = json.loads((out / "doctor.json").read_text())
    assert report["worst"] == "error"
    assert report["counts"]["files"] == len(report["files"]) == 9
    kinds = {one["kind"]: one for one in report["kinds"]}
    assert kinds["mirrored"]["first"] == [str(mirrored)]
    assert kinds["unreadable"]["severity"] == "error"
    assert kinds["repeated-view"]["files"] == 2  # the study now has two R-CC
    by_file = {one["file"]: one for one in report["files"]}
    assert by_file[str(mirrored)]["chest_side"] == "L"
    assert by_file[str(exams / "broken.dcm")]["width"] == 0
    assert [Path(path).name for path in report["skipped"]] == ["readme.txt"]
    sheet = cv2.imread(str(out / "doctor_001.png"))
    assert sheet is not None and min(sheet.shape[:2]) > 500
    assert (out / "config.yaml").is_file()
    assert "doctor.json" in capsys.readouterr().out


def test_many_files_go_on_several_sheets_and_old_sheets_are_removed(
    exams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PER_SHEET", 3)
    out = tmp_path / "out"
    _run(exams, "--out", out)
    assert sorted(path.name for path in out.glob("*.png")) == [f"doctor_00{page}.png" for page in (1, 2, 3)]
    _run(_some(exams, "L_CC.dcm").parent, "--out", out)  # one patient: four files
    assert sorted(path.name for path in out.glob("*.png")) == ["doctor_001.png", "doctor_002.png"]


def test_a_second_run_goes_on_and_gives_the_same(exams: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "out", tmp_path / "whole"
    _run(_some(exams, "L_CC.dcm"), "--out", first)  # as if killed after one file
    seen = _some(exams, "L_CC.dcm")
    state = seen.stat()
    whole = seen.read_bytes()
    seen.write_bytes(bytes(state.st_size))  # a second look at it would find it unreadable
    os.utime(seen, ns=(state.st_atime_ns, state.st_mtime_ns))
    _run(exams, "--out", first)
    seen.write_bytes(whole)
    _run(exams, "--out", second)
    assert json.loads((first / "doctor.json").read_text()) == json.loads((second / "doctor.json").read_text())
    assert (first / "doctor_001.png").read_bytes() == (second / "doctor_001.png").read_bytes()


def test_no_name_birth_date_or_accession_number_is_written(
    exams: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, given, born, accession = SECRETS
    for path in exams.rglob("*.dcm"):
        who = {"PatientName": f"{name}^{given}", "PatientBirthDate": born, "AccessionNumber": accession}
        _edit(path, **who, OtherPatientIDs=accession)
    files = sorted(exams.rglob("*.dcm"))
    _edit(files[0], Manufacturer=f"of {name}", ViewPosition=given.upper())
    _edit(files[1], Modality="CT", StudyDescription=name)
    _edit(files[2], NumberOfFrames=3, PhotometricInterpretation=accession)
    _edit(files[3], Rows=7)
    files[4].write_bytes(files[4].read_bytes()[:1500])
    drawn: list[Any] = []
    draw = doctor.draw_sheet
    monkeypatch.setattr(doctor, "draw_sheet", lambda tiles, title: drawn.extend(tiles) or draw(tiles, title))
    out = tmp_path / "out"
    assert _run(exams, "--out", out) == 2
    captured = capsys.readouterr()
    tiles = "\n".join(f"{tile.name} {tile.facts} {tile.problems}" for tile in drawn)
    outputs = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    outputs["printed"] = (captured.out + captured.err).encode()
    outputs["written on tiles"] = tiles.encode()
    assert {"doctor.json", "inspections.sqlite", "doctor_001.png", "config.yaml"} <= set(outputs)
    assert b"identifying" in outputs["doctor.json"]  # that they are there is told
    for where, content in outputs.items():
        for secret in SECRETS:
            for form in (secret, secret.upper(), secret.lower(), json.dumps(secret)[1:-1]):
                for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
                    assert form.encode(encoding) not in content, f"{form} in {where}"


def test_the_real_exam_and_dicom_file(shared_data: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert _run(shared_data / "exam", shared_data / "dicom", "--out", out) == 1
    report = json.loads((out / "doctor.json").read_text())
    warnings = [one for one in report["kinds"] if one["severity"] != "note"]
    assert [(one["kind"], [Path(path).name for path in one["first"]]) for one in warnings] == [
        ("mirrored", ["R-CC.png", "R-MLO.png"])
    ]
    assert "warning  mirrored                   2  exam/R-CC.png, exam/R-MLO.png" in capsys.readouterr().out
