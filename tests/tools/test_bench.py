"""The speed table: every step is measured, none is promised."""

import json

import pytest

from mammodet.tools import cli


@pytest.mark.slow
def test_the_table_has_every_step_and_ratios_to_stock_torchvision(tmp_path, capsys):
    words = "--height 512 --width 400 --spacing-mm 0.4 --runs 1"
    assert cli.main(["bench", *words.split(), "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    content = json.loads((tmp_path / "bench.json").read_text())
    steps = {row["step"]: row for row in content["rows"]}
    assert len(steps) == 5 and all(row["seconds"] > 0 and step in table for step, row in steps.items())
    stock = steps["detect: torchvision as it comes, fp32, same pixels"]["seconds"]
    ours = steps["detect: mammodet, bf16"]
    assert ours["ratio"] == pytest.approx(stock / ours["seconds"])
    assert content["machine"]["torch"] and content["machine"]["cores"] >= 1


@pytest.mark.slow
def test_preparing_is_measured_beside_decoding_alone(tmp_path, capsys):
    words = "--prepare 5 --height 288 --width 208 --spacing-mm 0.4"
    assert cli.main(["bench", *words.split(), "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    content = json.loads((tmp_path / "bench.json").read_text())
    rates = {rate["step"]: rate for rate in content["rates"]}
    assert len(rates) == 7
    assert all(rate["images_per_second"] > 0 and step in table for step, rate in rates.items())
    one, alone = rates["prepare, 1 process"], rates["decode alone, 1 process"]
    assert one["ratio"] == pytest.approx(one["images_per_second"] / alone["images_per_second"])
    assert content["source_mb"] > 0.01 and content["prepared_mb"] > 0.01


def test_bad_options_are_one_line(capsys):
    assert cli.main(["bench", "--prepare", "0"]) == 2
    capsys.readouterr()
    assert cli.main(["bench", "--runs", "0"]) == 2
    assert cli.main(["bench", "--height", "100"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
