"""No name, birth date or accession number of a DICOM file leaves the reader, by any command."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mammodet.datasets.drawing import write_png
from mammodet.tools import cli

# Planted into headers; each is searched in every output, however it is spelled there.
SECRETS = {
    "PatientName": "Zyxwvut^Quenelda",
    "OtherPatientNames": "Formerly^Umbreworth",
    "PatientBirthDate": "19311207",
    "AccessionNumber": "ACC7719345X",
    "ReferringPhysicianName": "Dr^Gnarlthwaite",
    "PatientAddress": "17 Larchmarsh Row",
    "OtherPatientIDs": "NHS5550123987",
}
WORDS = ("zyxwvut", "quenelda", "umbreworth", "19311207", "1931-12-07", "acc7719345x", "gnarlthwaite")
WORDS += ("larchmarsh", "nhs5550123987")


def plant(source: Path, target: Path, **elements: object) -> None:
    data = pydicom.dcmread(source)
    for keyword, value in {**SECRETS, **elements}.items():
        with pydicom.config.disable_value_validation():
            setattr(data, keyword, value)
    target.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(target)


@pytest.fixture(scope="module")
def archive(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of masks and DICOM files, good and bad ones, with secrets in every header."""
    root = tmp_path_factory.mktemp("archive")
    images = sorted((phantom / "images").rglob("*.dcm"))
    sources = [*images[:2], *images[4:6]]  # two patients
    for number, source in enumerate(sources):
        plant(source, root / "images" / f"p{number // 2}" / f"{number}.dcm", PatientID="HOSP44120")
        data = pydicom.dcmread(source, stop_before_pixels=True)
        mask = np.zeros((data.Rows, data.Columns), dtype=np.uint8)
        mask[100:140, 60:90] = 255 * (number % 2)
        write_png(root / "masks" / f"p{number // 2}" / f"{number}_malignant.png", mask)
    bad = root / "bad"
    plant(sources[0], bad / "modality.dcm", Modality="CT")
    plant(sources[0], bad / "colour.dcm", PhotometricInterpretation="RGB")
    plant(sources[0], bad / "window.dcm", WindowCenter=None, VOILUTFunction="Zyxwvut")
    plant(sources[0], bad / "rows.dcm", Rows=60000, Columns=60000)
    whole = (root / "images" / "p0" / "0.dcm").read_bytes()
    (bad / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    (bad / "header.dcm").write_bytes(whole[:900])
    return root


def spellings(word: str) -> list[bytes]:
    return [word.encode(), word.encode("utf-16-le"), word.encode("utf-16-be")]


def found(folder: Path, printed: str) -> list[str]:
    """Return the secrets that stand in the printed text, in names of files, or in their bytes."""
    hits = [f"{word} printed" for word in WORDS if word in printed.lower()]
    for path in folder.rglob("*"):
        hits += [f"{word} in the name {path}" for word in WORDS if word in path.name.lower()]
        content = path.read_bytes().lower() if path.is_file() else b""
        hits += [f"{word} in {path}" for word in WORDS for spelling in spellings(word) if spelling in content]
    return hits


@pytest.mark.long
def test_no_output_of_any_command_holds_a_secret(
    archive: Path, trained: Path, classifier: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    coco = str(tmp_path / "coco.json")
    data = tmp_path / "data"
    shutil.copytree(archive / "images", data / "images")
    shutil.copytree(archive / "masks", data / "masks")
    model = str(trained / "model.safetensors")
    names = ("doctor", "prepared", "yolo", "csv", "score", "heatmap", "split")
    out = {name: str(tmp_path / "out" / name) for name in names}
    for command in (
        [
            "convert",
            "mask-folders",
            str(data),
            "--out",
            coco,
            "--overlays",
            str(tmp_path / "out" / "overlays"),
        ],
        ["check", coco, "--files", "read"],
        ["audit", coco],
        ["doctor", str(archive), "--out", out["doctor"]],
        ["split", coco, "--out", out["split"], "--fractions", "{a: 0.5, b: 0.5}"],
        ["prepare", coco, "--out", out["prepared"], "--workers", "1"],
        ["export", "yolo", coco, "--out", out["yolo"], "--images", "png"],
        ["export", "csv", coco, "--out", out["csv"]],
        ["score", str(archive), "--model", model, "--out", out["score"], "--id", "hash", "--device", "cpu"],
        ["heatmap", str(archive), "--model", str(classifier), "--out", out["heatmap"], "--id", "hash"],
    ):
        cli.main(command)  # bad files make some commands fail, and they must not tell why with a secret
    printed = "".join(capfd.readouterr())
    assert "hosp44120" not in printed.lower()
    shutil.rmtree(data)  # the input itself
    written = ["coco.json", "coco.audit.html", "out/overlays", "out/doctor/doctor.json", "out/split/a.json"]
    written += ["out/prepared/coco.json", "out/yolo/data.yaml", "out/csv/boxes.csv", "out/score/rejected.csv"]
    written += ["out/heatmap/rejected.csv", "out/heatmap/images.json"]
    assert [name for name in written if not (tmp_path / name).exists()] == []
    assert found(tmp_path, printed) == []


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"..." + "Quenelda".encode("utf-16-le"))
    (tmp_path / "acc7719345x.png").touch()
    assert len(found(tmp_path, "born 19311207")) == 3


def test_the_real_dicom_file_keeps_its_secrets(
    shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = shared_data / "dicom" / "ge_essential_r_mlo.dcm"
    data = pydicom.dcmread(source, stop_before_pixels=True)
    own = {str(data[key].value).lower() for key in ("PatientName", "AccessionNumber", "PatientBirthDate")}
    assert own == {"anon-1234", "anon-12345", "00000000"}
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    shutil.copy(source, tmp_path / "data" / "images")
    mask = np.zeros((data.Rows, data.Columns), dtype=np.uint8)
    mask[1000:1100, 1500:1600] = 255
    write_png(tmp_path / "data" / "masks" / f"{source.stem}_benign.png", mask)
    coco = str(tmp_path / "out" / "coco.json")
    for command in (
        ["convert", "mask-folders", str(tmp_path / "data"), "--out", coco],
        ["doctor", str(source), "--out", str(tmp_path / "out" / "doctor")],
        ["prepare", coco, "--out", str(tmp_path / "out" / "prepared"), "--workers", "1"],
        ["export", "voc", coco, "--out", str(tmp_path / "out" / "voc"), "--images", "png"],
    ):
        assert cli.main(command) in {0, 1}
    printed = "".join(capfd.readouterr()).lower()
    texts = [path.read_bytes().lower() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(texts) > 8
    # Not the birth date: eight zeros stand in many a file.
    assert not [secret for secret in own - {"00000000"} if secret in printed]
    assert not [secret for secret in own - {"00000000"} for text in texts if secret.encode() in text]
