"""The speed tables: every step is measured, none is promised."""

import json
from pathlib import Path

import pytest
import torch

from mammodet.tools import cli
from mammodet.tools.bench_figure import draw_waterfall
from mammodet.tools.bench_inference import STOCK, count_tflop, stock_detector
from mammodet.tools.bench_machine import forget_peak, peak_gib
from mammodet.tools.bench_pipeline import made_up_results
from mammodet.tools.bench_report import markdown, roofline_share


@pytest.mark.slow
def test_the_tables_have_every_step_and_ratios_to_stock_torchvision(tmp_path, capsys):
    assert cli.main(["bench", "--shrink", "8", "--runs", "1", "--device", "cpu", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "bench.json").read_text())
    assert len(content["inference"]) == 2
    for table in content["inference"]:
        rows = table["rows"]
        assert rows[0]["step"] == STOCK and rows[0]["ratio"] is None and len(rows) >= 7
        for row in rows[1:]:
            assert row["ratio"] == pytest.approx(rows[0]["seconds"] / row["seconds"])
            assert row["peak_gib"] > 0.1 and row["step"] in printed
    assert content["inference"][0]["height"] == 416 and content["inference"][1]["width"] == 416
    assert content["training"][1]["ratio"] > 0 and content["first_result_s"] > 0
    assert {one["step"] for one in content["pipeline"]} >= {"read DICOM, JPEG 2000", "crop to the breast"}
    assert (tmp_path / "bench.md").read_text().strip() in printed
    assert (tmp_path / "waterfall.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_preparing_is_measured_beside_decoding_alone(tmp_path, capsys):
    assert cli.main(["bench", "--prepare", "5", "--shrink", "8", "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    content = json.loads((tmp_path / "bench.json").read_text())
    rates = {rate["step"]: rate for rate in content["rates"]}
    assert len(rates) == 7
    assert all(rate["images_per_second"] > 0 and step in table for step, rate in rates.items())
    one, alone = rates["prepare, 1 process"], rates["decode alone, 1 process"]
    assert one["ratio"] == pytest.approx(one["images_per_second"] / alone["images_per_second"])
    assert content["source_mb"] > 0.01 and content["prepared_mb"] > 0.01


def test_bad_options_are_one_line(capsys):
    for words in ("--prepare 0", "--runs 0", "--shrink 9", "--parts [speed]", "--device tpu"):
        assert cli.main(["bench", *words.split()]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_operations_are_counted_as_the_design_counted_them():
    # Measured with another tool before the first line was written: 1.79 TFLOP.
    assert count_tflop(3328, 1408) == pytest.approx(1.79, abs=0.03)
    assert count_tflop(3328 // 2, 1408) < 0.53 * count_tflop(3328, 1408)


def test_stock_torchvision_is_not_made_to_shrink_the_image():
    import numpy as np

    model = stock_detector(np.zeros((96, 64), np.float32)).eval()
    images, _ = model.transform([torch.zeros(3, 96, 64)])
    assert images.image_sizes == [(96, 64)]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_the_peak_is_that_since_it_was_forgotten():
    device = torch.device("cpu")
    forget_peak(device)
    before = peak_gib(device)
    block = torch.ones(128 * 2**20)  # half a GiB
    held = peak_gib(device)
    assert held > before + 0.4
    del block
    assert peak_gib(device) == pytest.approx(held, abs=0.1)
    forget_peak(device)
    assert peak_gib(device) < held - 0.4


CONTENT = {
    "machine": {
        "processor": "a processor",
        "instructions": "AVX2",
        "bf16_instructions": [],
        "cores": 2,
        "memory_gib": 8.0,
        "torch": "2",
    },
    "runs": 3,
    "matrix_tflops": {"fp32": 1.0, "bf16": 2.0},
    "inference": [
        {
            "height": 64,
            "width": 32,
            "tflop": 4.0,
            "computed_share": 0.5,
            "rows": [
                {"step": STOCK, "seconds": 8.0, "peak_gib": 1.0, "ratio": None},
                {"step": "+ air left out", "seconds": 2.0, "peak_gib": 1.0, "ratio": 4.0},
                {"step": "int8 instead of bf16", "seconds": 1.0, "peak_gib": 1.0, "ratio": 8.0},
            ],
        }
    ],
}


def test_each_row_is_held_to_the_roofline_of_its_own_precision(tmp_path):
    table = CONTENT["inference"][0]
    shares = [roofline_share(table, row, CONTENT["matrix_tflops"]) for row in table["rows"]]
    assert shares == [2.0, 1.0, None]
    text = markdown(CONTENT)
    assert "| + air left out | 2.000 | 4.00 | 1.00 | 1.0 |" in text
    assert "50% of the frame is computed" in text and "a processor (AVX2)" in text
    draw_waterfall(table, CONTENT["machine"], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_made_up_results_hold_some_hits():
    coco, results = made_up_results(3)
    assert len(results) == 300 and len(coco.annotations) == 6
    assert {one["image_id"] for one in results} == {1, 2, 3}
