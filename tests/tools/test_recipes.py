"""Every recipe that comes with the program is one that its command takes."""

from pathlib import Path

import pytest

from mammodet.tools import cli

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OF_PHANTOMS = {"demo_phantom.yaml"}
OF_CLASSIFIERS = {"sppnet", "pesapane", "mracko", "subtype"}
ALL = sorted(path.name for path in CONFIGS.glob("*.yaml") if path.name not in OF_PHANTOMS)
CLASSIFIERS = [name for name in ALL if name.partition("_")[0].removesuffix(".yaml") in OF_CLASSIFIERS]
TRAINING = [name for name in ALL if name not in CLASSIFIERS]


def printed(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--print_config"])
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    return shown.out


def test_there_are_recipes():
    assert {"lin2023.yaml", "lin2023_code.yaml", "fullres.yaml", "demo.yaml", "debug.yaml"} <= set(TRAINING)
    published = {"sppnet", "pesapane_task1", "pesapane_task2", "mracko", "subtype_invasive", "subtype_er"}
    assert {f"{name}.yaml" for name in published} <= set(CLASSIFIERS)


@pytest.mark.parametrize("name", TRAINING)
def test_training_takes_the_recipe(name, capsys):
    shown = printed(capsys, "train-det", "--config", str(CONFIGS / name), "--train", "a", "--out", "b")
    assert "train: a" in shown


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_training_of_classifiers_takes_the_recipe(name, capsys):
    shown = printed(capsys, "train-cls", "--config", str(CONFIGS / name), "--train", "a", "--out", "b")
    assert "train: a" in shown


@pytest.mark.parametrize("name", sorted(OF_PHANTOMS))
def test_phantom_takes_the_recipe(name, capsys):
    assert "out: a" in printed(capsys, "phantom", "a", "--config", str(CONFIGS / name))
