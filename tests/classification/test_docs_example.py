"""The example of docs/classification.md runs as it stands there."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "classification.md"


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["probabilities"].shape == (1, 3) and names["features"].shape == (1, 512 * 21)
    assert names["heat"].windows > 4 and names["header"].config == names["config"]
    assert (tmp_path / "out" / "overlays" / "L_MLO.png").is_file()
    assert (tmp_path / "out" / "heatmaps" / "L_MLO.png").is_file()
