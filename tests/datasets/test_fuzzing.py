"""Every parser of strangers' files, fuzzed: only InputError, in one line, and neither hangs nor growth."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZING = Path(__file__).parents[1] / "fuzzing"
SECONDS = int(os.environ.get("MAMMODET_FUZZ_SECONDS", "600"))


def _targets() -> list[str]:
    spec = importlib.util.spec_from_file_location("targets", FUZZING / "targets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["targets"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return list(module.TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("target", _targets())
def test_a_fuzzed_file_is_read_or_refused(target: str, tmp_path: Path) -> None:
    """Runs for 10 minutes each, or as many seconds as MAMMODET_FUZZ_SECONDS says."""
    pytest.importorskip("atheris", reason="atheris has no wheel for this platform")
    command = [sys.executable, str(FUZZING / "run.py"), target, str(SECONDS), str(tmp_path)]
    done = subprocess.run(command, cwd=FUZZING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stat::number_of_executed_units" in done.stderr
