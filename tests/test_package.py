"""What an installation owns: the namespace mammodet and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "mammodet"
    # A copy, because setuptools leaves build/ behind, whose stale files would get into the wheel.
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for name in tracked:
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel without its dependencies into an empty folder."""
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        target,
        wheel,
    ]
    subprocess.run(command, check=True)
    return target


def test_an_installed_wheel_owns_mammodet_and_nothing_else(installed: Path):
    owned = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert owned == {"mammodet", "bin"}
    assert {path.name for path in (installed / "bin").iterdir()} == {"mammodet"}


def test_every_source_file_is_in_the_wheel(wheel: Path):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for room in ("classification", "configs", "datasets", "detection", "evaluation", "networks", "tools"):
        for path in (ROOT / room).rglob("*"):
            if path.suffix in {".py", ".yaml", ".html", ".json", ".js", ".css"} or path.name == "py.typed":
                assert f"mammodet/{path.relative_to(ROOT).as_posix()}" in inside


def test_the_installed_copy_is_the_one_that_runs(installed: Path, tmp_path: Path):
    code = "import mammodet.datasets.coco as one; import mammodet.tools.cli as two; print(one.__file__, two.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert all(path.startswith(str(installed)) for path in done.stdout.split())


def test_the_checkout_is_not_importable_by_its_folder_names():
    """A top-level ``datasets`` or ``tools`` of ours would break other people's packages."""
    code = "import importlib.util as u; print([n for n in ('datasets', 'tools', 'evaluation', 'classification') if u.find_spec(n)])"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_license_is_in_the_wheel(wheel: Path):
    assert any(name.endswith("LICENSE") for name in zipfile.ZipFile(wheel).namelist())
