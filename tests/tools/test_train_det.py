"""Training from the command line: what it leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from mammodet.datasets.standardise import Recipe
from mammodet.detection.inference import Detector
from mammodet.detection.model_file import read_header, write_model
from mammodet.networks.tensor_file import read_tensors
from mammodet.tools import cli


def _train(*words: object) -> int:
    return cli.main(["train-det", *map(str, words)])


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("mammodet train-det: error: ")]
    assert len(lines) == 1 and "Traceback" not in error
    return lines[0]


def test_a_training_leaves_model_configuration_checkpoints_and_curves(trained: Path):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    header = read_header(trained / "model.safetensors")
    assert header.config.norm == "batch" and header.config.image_mean == pytest.approx(
        config["model"]["image_mean"]
    )
    assert header.training["step"] == 4 and len(header.fingerprint) == 64
    assert (trained / "checkpoints" / "last.ckpt").is_file()
    assert list(trained.glob("logs/*/events*")) and list(trained.glob("csv/*/metrics.csv"))
    assert Detector.load(trained / "model.safetensors", device="cpu").header == header


def test_the_resolution_is_told(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert (
        _train(
            "--config", recipe, "--train", phantom / "coco.json", "--out", tmp_path / "run", "--max-steps", 1
        )
        == 0
    )
    assert "without resizing" in (told := capsys.readouterr().out) and "at 0.4 to 0.4 mm per pixel" in told


def test_an_average_of_the_weights_is_what_is_kept(
    trained: Path, phantom: Path, recipe: Path, tmp_path: Path
):
    """By hand, from the weights after every step of the training itself."""
    coco, run = phantom / "coco.json", tmp_path / "run"
    words = ["--config", recipe, "--train", coco, "--val", coco, "--out", run, "--ema", 0.9]
    assert _train(*words) == 0
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    plain = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    kept = read_tensors(run / "model.safetensors")
    name = "rpn.head.cls_logits.weight"
    current, average = (last[part][f"model.{name}"] for part in ("current_model_state", "state_dict"))
    assert torch.equal(current, plain[f"model.{name}"])  # training goes on with the weights themselves
    assert torch.equal(kept[name], average) and not torch.equal(average, current)
    assert last["callbacks"]["MovingAverage"]["latest_update_step"] == 4


def test_a_run_goes_on_from_its_last_epoch(trained: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert _train("--config", run / "config.yaml", "--out", run, "--epochs", 2, "--resume") == 0
    assert read_header(run / "model.safetensors").training["step"] == 8
    assert len(list(run.glob("csv/*/metrics.csv"))) == 2

    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8


def test_a_run_does_not_go_on_as_another_training(
    trained: Path, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    words = ["--config", run / "config.yaml", "--out", run, "--resume", "--epochs", 2]
    for option, value in (("optim.lr", 1e-5), ("batch_size", 1), ("seed", 1), ("loss.gamma", 1)):
        assert _train(*words, f"--{option}", value) == 2
        line = _one_line(capsys)
        assert f"config.yaml: {option}: differs" in line and "another --out" in line
    content = json.loads((phantom / "coco.json").read_text())
    fewer = phantom / "fewer.json"
    fewer.write_text(json.dumps({**content, "annotations": content["annotations"][1:]}))
    mean = yaml.safe_load((run / "config.yaml").read_text())["model"]["image_mean"]
    assert _train(*words, "--train", fewer, "--model.image-mean", mean) == 2
    assert "other images or boxes" in _one_line(capsys)


def test_a_folder_with_a_model_is_not_trained_into(
    trained: Path, phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Its score would be the one to beat."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(trained / "model.safetensors", run)
    assert _train("--config", recipe, "--train", phantom / "coco.json", "--out", run) == 2
    assert "holds a training already" in _one_line(capsys)


def test_a_limit_of_time_ends_after_a_whole_step(phantom: Path, recipe: Path, tmp_path: Path):
    words = ["--config", recipe, "--train", phantom / "coco.json", "--out", tmp_path / "run"]
    assert _train(*words, "--batch_size", 1, "--accumulate", 3, "--max-minutes", 0.00001) == 0
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 1


def test_a_run_out_of_patience_stays_so(phantom: Path, recipe: Path, tmp_path: Path):
    coco, run = phantom / "coco.json", tmp_path / "run"
    words = ["--config", recipe, "--train", coco, "--val", coco, "--out", run, "--epochs", 9]
    assert _train(*words, "--patience", 1, "--optim.lr", 1e-9) == 0
    step = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert step < 9 * 4
    assert _train("--config", run / "config.yaml", "--resume") == 0
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == step


def test_a_run_does_not_go_on_with_another_model_or_a_damaged_checkpoint(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    words = ["--config", run / "config.yaml", "--out", run, "--resume"]
    assert _train(*words, "--model.fpn-channels", 32) == 2
    assert "model.fpn_channels" in _one_line(capsys)
    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert _train(*words) == 2
    assert "last.ckpt: is damaged" in _one_line(capsys)


def test_the_written_configuration_repeats_the_run(trained: Path, tmp_path: Path):
    assert _train("--config", trained / "config.yaml", "--out", tmp_path / "again") == 0
    first, second = (
        Detector.load(one / "model.safetensors", device="cpu") for one in (trained, tmp_path / "again")
    )
    assert first.header.config == second.header.config
    for name, tensor in first.model.state_dict().items():
        torch.testing.assert_close(tensor, second.model.state_dict()[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(("own", "expected"), [(None, 1e-5), (1e-5, 1e-5), (0.0, 0.0)])
def test_a_trained_model_is_a_start_for_the_next(
    own: float | None, expected: float, trained: Path, phantom: Path, recipe: Path, tmp_path: Path
):
    """Its frozen normalisation goes on with the epsilon that it was trained with."""
    header = read_header(trained / "model.safetensors")
    model, out = tmp_path / "model.safetensors", tmp_path / "run"
    config = replace(header.config, frozen_eps=own)
    write_model(model, read_tensors(trained / "model.safetensors"), replace(header, config=config))
    words = [
        "--config",
        recipe,
        "--train",
        phantom / "coco.json",
        "--out",
        out,
        "--weights",
        model,
        "--max-steps",
        1,
    ]
    assert _train(*words) == 0
    config = read_header(out / "model.safetensors").config
    assert (config.norm, config.frozen_eps) == ("frozen", expected)


def _prepared(phantom: Path, out: Path, *options: object) -> Path:
    words = [phantom / "coco.json", "--out", out, "--workers", 1, "--progress", "false", *options]
    assert cli.main(["prepare", *map(str, words)]) == 0
    return out / "coco.json"


def test_prepared_images_hand_their_recipe_to_the_model(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco = _prepared(phantom, tmp_path / "prepared", "--recipe.crop-margin-px", 3)
    words = ["--config", recipe, "--train", coco, "--out", tmp_path / "run", "--max-steps", 1]
    assert _train(*words) == 0
    assert "their recipe becomes that of the model" in capsys.readouterr().out
    header = read_header(tmp_path / "run" / "model.safetensors")
    assert header.recipe == Recipe(crop_margin_px=3)
    # The written configuration names it, and goes on with it.
    config = tmp_path / "run" / "config.yaml"
    assert yaml.safe_load(config.read_text())["recipe"]["crop_margin_px"] == 3
    assert _train("--config", config, "--resume", "--max-steps", 2) == 0
    # The sources themselves are read as the prepared images were.
    words = [
        phantom / "coco.json",
        "--model",
        tmp_path / "run" / "model.safetensors",
        "--out",
        tmp_path / "scores",
    ]
    assert (
        cli.main(["score", *map(str, words), "--overlays", "none", "--device", "cpu", "--precision", "fp32"])
        == 0
    )


def test_prepared_validation_images_bind_the_recipe_of_source_images(
    phantom: Path, recipe: Path, tmp_path: Path
):
    coco = _prepared(phantom, tmp_path / "prepared", "--recipe.crop", "false")
    words = ["--config", recipe, "--train", phantom / "coco.json", "--val", coco, "--max-steps", 1]
    assert _train(*words, "--out", tmp_path / "run") == 0
    assert read_header(tmp_path / "run" / "model.safetensors").recipe == Recipe(crop=False)


def test_another_recipe_than_that_of_prepared_images_is_refused(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    whole = _prepared(phantom, tmp_path / "whole", "--recipe.crop", "false")
    cropped = _prepared(phantom, tmp_path / "cropped")
    asked = tmp_path / "asked.yaml"
    asked.write_text(recipe.read_text() + "recipe: {crop: true}\n")
    cases = [
        # True is the default too, but here it was asked for.
        (["--config", recipe, "--train", whole, "--recipe.crop", "true"], "recipe.crop"),
        (["--config", asked, "--train", whole], "recipe.crop"),
        (["--config", recipe, "--train", whole, "--recipe.intensity", "percentile"], "recipe.intensity"),
        (["--config", recipe, "--train", whole, "--val", cropped], "recipe.crop"),
    ]
    for words, told in cases:
        assert _train(*words, "--out", tmp_path / "run") == 2, words
        assert told in _one_line(capsys), words
    assert not (tmp_path / "run" / "config.yaml").exists()
    words = ["--config", recipe, "--train", whole, "--out", tmp_path / "run", "--max-steps", 1]
    assert _train(*words, "--recipe.crop", "false") == 0


def test_an_existing_training_is_not_overwritten(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert _train("--config", trained / "config.yaml", "--out", trained) == 2
    assert "holds a training already" in _one_line(capsys)


def test_bad_input_is_one_line(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, out = phantom / "coco.json", tmp_path / "run"
    content = json.loads(coco.read_text())

    def altered(name: str, **changes: object) -> Path:
        path = phantom / f"{name}.json"
        path.write_text(json.dumps({**content, **changes}))
        return path

    flat = [dict(content["annotations"][0], bbox=[5, 5, 0, 9]), *content["annotations"][1:]]
    gone = [dict(content["images"][0], file_name="gone.dcm"), *content["images"][1:]]
    other = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malign"}]
    missing = {key: value for key, value in content.items() if key != "images"}
    (phantom / "no_images.json").write_text(json.dumps(missing))
    unknown_key = tmp_path / "unknown.yaml"
    unknown_key.write_text(recipe.read_text() + "learning_rate: 3\n")
    cases = [
        (["--train", phantom / "no_images.json"], "images"),
        (["--train", altered("flat", annotations=flat)], "above 0"),
        (["--train", altered("gone", images=gone)], "gone.dcm"),
        (["--train", altered("other", categories=other)], "malign"),
        (["--train", phantom / "nowhere.json"], "nowhere.json"),
        (["--train", coco, "--config", unknown_key], "learning_rate"),
        (["--train", coco, "--weights", tmp_path / "none.pth"], "none.pth"),
        (["--train", coco, "--weights", "coco"], "resnet50 only"),
        (["--train", coco, "--model.norm", "frozen"], "frozen"),
        (["--train", coco, "--resume"], "no checkpoint"),
        (["--train", coco, "--epochs", 0], "--epochs"),
        (["--train", coco, "--optim.lr", -1], "optim.lr"),
        (["--train", coco, "--compile", "true", "--checkpointing", "true"], "--compile"),
        (["--train", coco, "--input", "crop:8"], "crop:SIZE"),
        (["--train", coco, "--ema", 1], "--ema"),
        (["--train", coco, "--max-steps", 0], "--max_steps"),
        (["--train", coco, "--seed", 99999999999], "--seed"),
        (["--train", coco, "--trainer.devices", -1], "trainer.devices"),
        (["--train", coco, "--trainer.devices", 2, "--model.norm", "sync"], "model.norm"),
        (["--train", coco, "--trainer.devices", 0], "trainer.devices"),
        (["--train", coco, "--sampling.lesion-share", 2], "sampling.lesion_share"),
    ]
    for words, told in cases:
        assert _train("--config", recipe, "--out", out, *words) == 2, words
        assert told in _one_line(capsys), words


def test_boxes_given_as_corners_are_recognised(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = json.loads((phantom / "coco.json").read_text())
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]
    path = phantom / "corners.json"
    path.write_text(json.dumps(content))
    assert _train("--config", recipe, "--train", path, "--out", tmp_path / "run") == 2
    assert "would fit as corners [x1, y1, x2, y2]" in _one_line(capsys)


def test_a_set_with_nothing_to_learn_is_refused(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = json.loads((phantom / "coco.json").read_text())
    ignored = [{**one, "ignore": 1} for one in content["annotations"]]
    right = {image["id"] for image in content["images"] if image["laterality"] == "R"}
    air = [
        {**one, "bbox": [0 if one["image_id"] in right else 206, 0, 2, 2]} for one in content["annotations"]
    ]
    for name, boxes in (("normal", []), ("ignored", ignored), ("outside", air)):
        path = phantom / f"{name}.json"
        path.write_text(json.dumps({**content, "annotations": boxes}))
        words = ["--config", recipe, "--train", path, "--out", tmp_path / "run", "--recipe.crop-margin-px", 0]
        assert _train(*words) == 2
        line = _one_line(capsys)
        assert "has no lesion to learn" in line and path.name in line


def test_a_loss_that_is_no_number_keeps_the_batch(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    words = ["--config", recipe, "--train", phantom / "coco.json", "--out", out, "--optim.lr", 1e30]
    assert _train(*words, "--optim.optimizer", "sgd", "--optim.warmup-steps", 0) == 2
    line = _one_line(capsys)
    assert "not finite at step" in line and "learning rate" in line and "loss_" in line
    (kept,) = out.glob("not_finite_step_*.pt")
    batch = torch.load(kept, weights_only=True)
    assert str(kept) in line and len(batch["images"]) == len(batch["targets"]) and batch["losses"]


def test_too_little_memory_names_the_switches(phantom: Path, recipe: Path, tmp_path: Path):
    """The allocator really fails: the address space of the process is limited."""
    code = (
        "import resource, sys, torch; from mammodet.tools import cli, train_det, training_run\n"
        "fit = training_run.fit\n"
        "def limited(*given):\n"
        "    used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20, resource.RLIM_INFINITY))\n"
        "    fit(*given)\n"
        "training_run.fit = limited; sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["train-det", "--config", recipe, "--train", phantom / "coco.json", "--out", tmp_path / "run"]
    command = [sys.executable, "-c", code, *map(str, words), "--model.fpn-channels", "512"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--checkpointing" in done.stderr and "Traceback" not in done.stderr


def test_a_budget_is_held_or_the_switches_are_named(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--config", recipe, "--train", phantom / "coco.json", "--max-steps", 1]
    assert _train(*words, "--out", tmp_path / "run", "--memory-budget", "100 GB") == 0
    assert "fits --memory-budget 100.0 GB" in capsys.readouterr().out
    assert _train(*words, "--out", tmp_path / "tight", "--memory-budget", "50MB") == 2
    told = capsys.readouterr()
    assert "with --checkpointing: " in told.out and "nothing of this fits" in told.out
    assert "a step needs" in told.err and not (tmp_path / "tight" / "checkpoints").exists()
    assert _train(*words, "--out", tmp_path / "odd", "--memory-budget", "11") == 2
    assert "--memory-budget" in _one_line(capsys)


def test_weights_that_cannot_be_downloaded_are_one_line(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert _train("--train", phantom / "coco.json", "--out", tmp_path / "run", "--device", "cpu") == 2
    assert "download" in (line := _one_line(capsys)) and "--weights none" in line


def test_an_output_that_cannot_be_written_is_one_line(
    phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert _train("--config", recipe, "--train", phantom / "coco.json", "--out", blocked / "run") == 2
    assert os.fspath(blocked) in _one_line(capsys)


def _interrupt(process: subprocess.Popen[str], checkpoint: Path) -> str:
    """Press Ctrl-C after the first epoch, again and again as people do, and return what the run says."""
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    while True:
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=5)[1]
        except subprocess.TimeoutExpired:
            assert time.monotonic() < deadline + 60, "Ctrl-C does not end the run"


@pytest.mark.long
def test_an_interrupted_run_says_how_it_goes_on_and_does(phantom: Path, recipe: Path, tmp_path: Path):
    out = tmp_path / "run"
    coco = str(phantom / "coco.json")
    words = ["--config", recipe, "--train", coco, "--val", coco, "--out", out, "--val-every", 10]
    # A test run in the background is started with SIGINT ignored, and hands that on to what it starts.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mammodet.tools import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "train-det", *map(str, words), "--epochs", "1000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            error = _interrupt(process, out / "checkpoints" / "last.ckpt")
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in error and "--resume" in error and "Traceback" not in error
    done = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    epochs = done["epoch"] + 2
    assert _train("--config", out / "config.yaml", "--resume", "--epochs", epochs) == 0
    again = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert again["global_step"] == 4 * epochs
    # The steps since the last validation are validated at the end, and not lost.
    assert read_header(out / "model.safetensors").training["step"] == again["global_step"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_line_whatever_process_reads_it(
    workers: int, phantom: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The images that are measured beforehand are whole; one of the validation images is cut off."""
    content = json.loads((phantom / "coco.json").read_text())
    content["info"]["root"] = str(tmp_path)
    shutil.copytree(phantom / "images", tmp_path / "images")
    coco = tmp_path / "val.json"
    coco.write_text(json.dumps(content))
    broken = tmp_path / content["images"][-1]["file_name"]
    broken.write_bytes(broken.read_bytes()[:20000])
    words = ["--config", recipe, "--train", phantom / "coco.json", "--val", coco, "--out", tmp_path / "run"]
    assert _train(*words, "--workers", workers) == 2
    line = _one_line(capsys)
    assert broken.name in line and "Traceback" not in line and "Caught" not in line


def test_patience_and_a_limit_inside_the_first_epoch_go_together(phantom: Path, recipe: Path, tmp_path: Path):
    coco = phantom / "coco.json"
    words = ["--config", recipe, "--train", coco, "--val", coco, "--out", tmp_path / "run"]
    assert _train(*words, "--patience", 1, "--max-steps", 1) == 0
    assert read_header(tmp_path / "run" / "model.safetensors").training["step"] == 1


def test_patients_in_both_sets_are_told(trained: Path, phantom: Path, recipe: Path, tmp_path: Path, capsys):
    coco = phantom / "coco.json"
    words = ["--config", recipe, "--train", coco, "--val", coco, "--out", tmp_path / "run", "--max-steps", 1]
    assert _train(*words) == 0
    told = capsys.readouterr()
    assert "2 patients are in --train and in --val" in told.err
    assert "model of step 1, validation AP50 " in told.out
