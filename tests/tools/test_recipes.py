"""Every recipe that comes with the program is one that its command takes."""

from pathlib import Path

import pytest

from mammodet.tools import cli

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OF_PHANTOMS = {"demo_phantom.yaml"}
TRAINING = sorted(path.name for path in CONFIGS.glob("*.yaml") if path.name not in OF_PHANTOMS)


def printed(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--print_config"])
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    return shown.out


def test_there_are_recipes():
    assert {"lin2023.yaml", "lin2023_code.yaml", "fullres.yaml", "demo.yaml", "debug.yaml"} <= set(TRAINING)


@pytest.mark.parametrize("name", TRAINING)
def test_training_takes_the_recipe(name, capsys):
    shown = printed(capsys, "train-det", "--config", str(CONFIGS / name), "--train", "a", "--out", "b")
    assert "train: a" in shown


@pytest.mark.parametrize("name", sorted(OF_PHANTOMS))
def test_phantom_takes_the_recipe(name, capsys):
    assert "out: a" in printed(capsys, "phantom", "a", "--config", str(CONFIGS / name))
