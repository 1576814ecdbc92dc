"""The console script: every command answers, none imports what it does not need."""

import os
import subprocess
import sys

import pytest

from mammodet.tools import cli


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"mammodet {command}" in shown and "--config" in shown


@pytest.mark.parametrize("command", ["evaluate", "convert", "split", "check", "phantom"])
def test_help_does_not_import_torch(command):
    code = (
        "import sys\nfrom mammodet.tools import cli\n"
        f"try:\n    cli.main([{command!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_help_lists_the_commands(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in cli.COMMANDS)


def test_without_a_command_help_is_shown_and_the_exit_code_is_2(capsys):
    assert cli.main([]) == 2


def test_an_unknown_command_is_one_line(capsys):
    assert cli.main(["trian"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "trian" in error and "train-det" in error


@pytest.mark.parametrize("command", ["score", "train-det"])
def test_a_pair_of_torch_and_torchvision_that_does_not_fit_is_one_line(command, tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    done = subprocess.run(
        [sys.executable, "-m", "mammodet.tools.cli", command, "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "constraints.txt" in done.stderr
