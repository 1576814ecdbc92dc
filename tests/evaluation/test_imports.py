"""The evaluation room works without torch, and so does the help of its command."""

import pkgutil
import subprocess
import sys

import mammodet.evaluation


def _loads_torch(code):
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint('torch' in sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1] == "True"


def test_no_module_of_the_room_imports_torch():
    names = [one.name for one in pkgutil.iter_modules(mammodet.evaluation.__path__, "mammodet.evaluation.")]
    assert "mammodet.evaluation.report" in names
    assert not _loads_torch("\n".join(f"import {name}" for name in names))


def test_help_imports_neither_torch_nor_the_slow_libraries():
    code = "\n".join(
        [
            "import contextlib, sys",
            "from mammodet.tools.cli import main",
            "with contextlib.suppress(SystemExit): main(['evaluate', '--help'])",
            "slow = {'matplotlib', 'sklearn', 'pycocotools'} & set(sys.modules)",
            "assert not slow, slow",
        ]
    )
    assert not _loads_torch(code)
