"""Commands as child processes: their exit codes, signals that reach them, and no child that outlives a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mammodet.datasets.errors import InputError
from mammodet.datasets.sole_run import sole_run
from mammodet.tools.child_process import run_child

# Holds the folder and runs a command that takes minutes, as a cross-validation does; 77 when it was stopped.
_PARENT = """
import signal, sys
from pathlib import Path
from mammodet.datasets.sole_run import sole_run
from mammodet.tools.child_process import Stopped, run_child
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
out = sys.argv[1]
with sole_run(Path(out)) as lock:
    try:
        run_child(["phantom", out, "--patients", "3000", "--workers", "1"], keep_open=(lock,))
    except Stopped:
        sys.exit(77)
"""


def test_the_exit_code_of_the_command_comes_back(capfd: pytest.CaptureFixture[str]):
    assert run_child(["--version"]) == 0
    assert run_child(["no-such-command"]) == 2
    shown = capfd.readouterr()
    assert shown.out.startswith("mammodet ") and "no command 'no-such-command'" in shown.err


def _started(out: Path) -> subprocess.Popen[bytes]:
    """Start the parent and return it when its child has written the first image."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(out.glob("images/**/*.dcm")):
        assert parent.poll() is None and time.monotonic() < deadline, "the child writes nothing"
        time.sleep(0.1)
    return parent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_is_told_afterwards(number: signal.Signals, tmp_path: Path):
    parent = _started(tmp_path)
    parent.send_signal(number)
    assert parent.wait(timeout=60) == 77
    with sole_run(tmp_path):  # nobody holds the folder: the child has ended before its parent
        pass


def test_a_command_does_not_outlive_a_kill_of_its_parent(tmp_path: Path):
    parent = _started(tmp_path)
    with pytest.raises(InputError, match="another run is writing to it"), sole_run(tmp_path):
        pass
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    with sole_run(tmp_path, wait_s=60):  # the child held it, and lets go by ending
        pass
