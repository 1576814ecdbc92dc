"""The speed tables: every step is measured, none is promised."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mammodet.datasets.errors import InputError
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.tools import bench_inference, bench_machine, cli
from mammodet.tools.bench_evaluation import made_up_results, measure_evaluation
from mammodet.tools.bench_figure import draw_waterfall
from mammodet.tools.bench_inference import count_tflop, measure_inference
from mammodet.tools.bench_machine import forget_peak, matrix_rates, median_seconds, peak_gib
from mammodet.tools.bench_memory import measure_memory, memory_setups
from mammodet.tools.bench_report import markdown, roofline_share
from mammodet.tools.bench_stock import STOCK, measure_stock, stock_detector
from mammodet.tools.bench_training import measure_training


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
        assert {row["precision"] for row in rows} >= {"fp32", "bf16"}
    assert content["inference"][0]["height"] == 416 and content["inference"][1]["width"] == 416
    assert content["training"][1]["ratio"] > 0 and content["first_result_s"] > 0
    assert {one["step"] for one in content["pipeline"]} >= {
        "read DICOM, JPEG 2000",
        "crop to the breast",
        "COCO metrics (pycocotools)",
        "all metrics with intervals, 1,000 resamples",
    }
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


def test_the_patch_store_is_measured_with_few_patches_too(tmp_path, capsys):
    words = ["bench", "--patches", "1000", "--patch-size", "16", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    table = capsys.readouterr().out
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["rows"][0]["step"] == "patch store, batch of 256 of 1,000"
    assert len(content["rows"]) == 4 and all(row["step"] in table for row in content["rows"])
    assert all(row["milliseconds"] > 0 for row in content["rows"]) and content["store_mb"] > 0.5


def test_the_heatmap_is_measured_beside_its_network(tmp_path, capsys):
    words = ["bench", "--heatmap", "--shrink", "8", "--runs", "1", "--patch-size", "64", "--device", "cpu"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    content = json.loads((tmp_path / "bench.json").read_text())
    network, heatmap = content["rows"]
    assert heatmap["ratio"] == pytest.approx(heatmap["seconds"] / network["seconds"])
    assert f"ResNet18 alone, {content['windows']} windows" in table and heatmap["step"] in table
    assert (content["height"], content["width"], content["stride"]) == (512, 416, 32)
    assert 0 < content["windows"] < content["grid"] == 15 * 12


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_the_memory_plan_holds_for_a_real_process():
    setups = [replace(one, height=512, width=384) for one in memory_setups(1)[1:3]]
    told = []
    rows = measure_memory(setups, torch.device("cpu"), told.append)
    assert rows == told and "512 x 384 px" in rows[0].setup
    for row in rows:
        assert row.planned == pytest.approx(row.measured, rel=0.15)
    table = markdown(CONTENT | {"memory": [{"setup": "a set-up", "planned": 3e9, "measured": 2e9}]})
    assert "| a set-up | 3.00 | 2.00 | 1.50 |" in table


def test_bad_options_are_one_line(capsys):
    for words in ("--prepare 0", "--patches 9", "--runs 0", "--shrink 9", "--parts [speed]", "--device tpu"):
        assert cli.main(["bench", *words.split()]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_operations_are_counted_as_the_design_counted_them():
    # Measured with another tool before the first line was written: 1.79 TFLOP.
    assert count_tflop(3328, 1408) == pytest.approx(1.79, abs=0.03)
    assert count_tflop(3328 // 2, 1408) < 0.53 * count_tflop(3328, 1408)


def test_stock_torchvision_is_not_made_to_shrink_the_image():
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


SMALL = np.random.default_rng(0).random((64, 96), dtype=np.float32)
CPU = torch.device("cpu")


@pytest.mark.long
def test_nothing_tells_the_allocator_where_stock_torchvision_is_measured(tmp_path):
    np.save(tmp_path / "pixels.npy", SMALL)
    code = """
import ctypes, sys
class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        assert name != "mallopt", "glibc raises its thresholds no longer"
        return super().__getattr__(name)
ctypes.CDLL = Watched
from mammodet.tools.bench_stock import main
for part in ("inference", "training"):
    main([part, sys.argv[1], "1", "cpu"])
"""
    words = [sys.executable, "-c", code, str(tmp_path / "pixels.npy")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        row = json.loads(line)
        assert row["step"] == STOCK and row["seconds"] > 0 and row["precision"] == "fp32"


class TestStockIsMeasuredInAnotherProcess:
    @pytest.mark.long
    def test_before_it_is_built_here(self, tmp_path, monkeypatch):
        class Stop(Exception):
            pass

        def built_here(*_):
            raise Stop

        monkeypatch.setattr(bench_inference, "stock_prediction", built_here)
        told = []
        with pytest.raises(Stop):
            measure_inference(SMALL, 1, tmp_path, CPU, told.append)
        assert [row.step for row in told] == [STOCK] and told[0].seconds > 0

    @pytest.mark.long
    def test_in_training_too(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            "mammodet.tools.bench_stock.fasterrcnn_resnet50_fpn", None
        )  # none can be built here
        stock, ours = measure_training(SMALL, 1, tmp_path, CPU)
        assert stock.step == STOCK and stock.precision == "fp32" and ours.precision == "bf16"
        assert ours.ratio == pytest.approx(stock.seconds / ours.seconds)

    @pytest.mark.long
    def test_and_its_failure_is_told(self, tmp_path, capfd):
        with pytest.raises(InputError, match=r"stock torchvision.*--shrink"):
            measure_stock("inference", np.zeros((0, 0), np.float32), 1, tmp_path, CPU)


def test_a_system_that_tells_no_peak_gets_a_dash(monkeypatch):
    class Closed:
        def __init__(self, *_):
            pass

        def read_text(self):
            raise PermissionError

        def write_text(self, text):
            raise PermissionError

    monkeypatch.setattr(bench_machine, "Path", Closed)
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    forget_peak(CPU)
    assert peak_gib(CPU) is None
    rows = [{"step": "one", "precision": "fp32", "seconds": 1.0, "peak_gib": None, "ratio": None}]
    text = markdown({**CONTENT, "training": rows})
    assert "| one | 1.000 |  | - |" in text


def test_a_status_without_a_peak_is_none_or_that_of_the_whole_run(monkeypatch, tmp_path):
    class Short(type(Path())):
        def read_text(self):
            return "VmRSS: 5 kB\n"

    monkeypatch.setattr(bench_machine, "Path", Short)
    assert peak_gib(CPU) > 0.1
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_gib(CPU) is None


def test_the_tools_of_bench_load_where_there_is_no_resource_module():
    code = "import sys; sys.modules['resource'] = None; import mammodet.tools.bench_machine"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rates_do_without_a_private_int8_product(monkeypatch):
    monkeypatch.setattr(bench_machine, "_SIDE", 64)
    assert "int8" in matrix_rates(CPU)
    monkeypatch.delattr(torch, "_int_mm")
    assert matrix_rates(CPU).keys() == {"fp32", "bf16"}


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_clock_waits_for_the_device(monkeypatch, kind):
    waited = []
    monkeypatch.setattr(getattr(torch, kind), "synchronize", lambda *_: waited.append(1))
    median_seconds(lambda: None, 2, torch.device(kind))
    assert len(waited) == 3


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
                {"step": STOCK, "precision": "fp32", "seconds": 8.0, "peak_gib": 1.0, "ratio": None},
                {
                    "step": "+ air left out",
                    "precision": "bf16",
                    "seconds": 2.0,
                    "peak_gib": 1.0,
                    "ratio": 4.0,
                },
                {
                    "step": "int8 instead of bf16",
                    "precision": "int8",
                    "seconds": 1.0,
                    "peak_gib": 1.0,
                    "ratio": 8.0,
                },
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


def test_made_up_results_hold_hits_and_normal_patients():
    coco, results = made_up_results(20)
    assert len(results) == 2000 and len(coco.annotations) == 32
    assert {one["image_id"] for one in results} == set(range(1, 21))
    assert {one["image_id"] for one in coco.annotations} == set(range(1, 17))  # the last patient is normal
    assert coco_metrics(coco, results)["all"]["AR_100"] > 0.3


@pytest.mark.slow
def test_evaluation_is_measured_beside_pycocotools():
    told = []
    rows = measure_evaluation(40, told.append)
    assert rows == told and len(rows) == 4
    assert rows[1].seconds == pytest.approx(1000 * rows[0].seconds)
    assert all(row.seconds > 0 for row in rows)
    content = {"images": 40, "rows": [asdict(row) for row in rows]}
    table = markdown(CONTENT | {"evaluation": content})
    assert "evaluation of 40 images, 4,000 boxes" in table
    assert all(f"| {row.step} | {row.seconds:.1f} | {row.processor_seconds:.1f} |" in table for row in rows)
