"""``mammodet cross-validate``: real trainings of one step, what they leave, what goes on and what is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mammodet.classification.model_file import read_header as read_classifier
from mammodet.datasets.coco import read_coco
from mammodet.datasets.errors import InputError
from mammodet.detection.model_file import read_header
from mammodet.tools import cli
from mammodet.tools.cross_validation_folds import require_same_settings, write_folds

FOLDS = 2


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the COCO file of four patients."""
    out = tmp_path_factory.mktemp("patients")
    # This seed leaves malignant and other images in every part of both folds.
    options = "--patients 4 --seed 17 --height 160 --width 128 --spacing-mm 0.8 --lesion-rate 1 --workers 1"
    assert cli.main(["phantom", str(out), *options.split()]) == 0
    return out / "coco.json"


def _words(coco: Path, recipe: Path, out: Path, *more: object) -> list[str]:
    options = ["--folds", FOLDS, "--config", recipe, "--max-steps", 1, "--val-share", 0.5]
    return ["cross-validate", *map(str, [coco, "--out", out, *options, *more])]


@pytest.fixture(scope="module")
def finished(coco: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a whole cross-validation."""
    out = tmp_path_factory.mktemp("finished") / "cv"
    assert cli.main(_words(coco, recipe, out)) == 0
    return out


def _state(out: Path) -> dict[str, int]:
    """Return when every file was last changed, but for the locks and logs of SQLite."""
    return {
        path.relative_to(out).as_posix(): path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and "ledger" not in path.name
    }


def _steps(shown: str) -> list[str]:
    return re.findall(r"^fold \d of \d: (?:training|scoring|evaluation).*$", shown, re.MULTILINE)


@pytest.mark.long
def test_every_image_is_predicted_by_the_model_that_has_not_seen_it(coco: Path, finished: Path):
    whole = read_coco(coco)
    tested: list[int] = []
    for number in range(1, FOLDS + 1):
        parts = {
            name: read_coco(finished / "folds" / f"fold_{number}_{name}.json")
            for name in ("train", "val", "test")
        }
        patients = [{image["patient_id"] for image in part.images} for part in parts.values()]
        assert not patients[0] & patients[1] and not (patients[0] | patients[1]) & patients[2]
        trained = yaml.safe_load((finished / f"fold_{number}/train/config.yaml").read_text())
        assert Path(trained["train"]).samefile(parts["train"].path)
        assert Path(trained["val"]).samefile(parts["val"].path)
        scored = read_coco(finished / f"fold_{number}/scores/images.json")
        assert set(scored.image_by_id) == set(parts["test"].image_by_id)
        tested += parts["test"].image_by_id
    assert sorted(tested) == sorted(whole.image_by_id)


@pytest.mark.long
def test_the_numbers_are_those_of_each_folds_report(finished: Path):
    document = json.loads((finished / "cross_validation.json").read_text())
    reports = [
        json.loads((finished / f"fold_{number}/report/metrics.json").read_text())
        for number in range(1, FOLDS + 1)
    ]
    assert [fold["metrics"] for fold in document["folds"]] == reports
    assert [fold["test"]["images"] for fold in document["folds"]] == [8, 8]
    assert all(fold["test"]["unread"] == 0 and fold["test"]["breasts"] == 4 for fold in document["folds"])
    assert document["pooled"]["counts"]["images"] == 16
    with (finished / "table3.csv").open() as stream:
        rows = {(row["level"], row["fold"]): row for row in csv.DictReader(stream)}
    accuracies = [report["breast"]["accuracy"] for report in reports]
    assert float(rows["breast", "fold 2"]["accuracy"]) == accuracies[1]
    assert float(rows["breast", "average"]["accuracy"]) == pytest.approx(sum(accuracies) / FOLDS)
    assert "### Breast level" in (finished / "table3.md").read_text()
    assert r"\textit{Breast level}" in (finished / "table3.tex").read_text()


@pytest.mark.long
def test_the_pooled_predictions_can_be_evaluated(coco: Path, finished: Path, tmp_path: Path):
    words = [
        "--ground-truth",
        coco,
        "--predictions",
        finished / "predictions.json",
        "--out",
        tmp_path / "report",
    ]
    assert cli.main(["evaluate", *map(str, words)]) == 0


@pytest.mark.long
def test_a_finished_run_does_nothing_again(coco: Path, recipe: Path, finished: Path, capfd):
    before = _state(finished)
    assert cli.main(_words(coco, recipe, finished)) == 0
    steps = _steps(capfd.readouterr().out)
    assert steps == [
        f"fold {number} of 2: {step} is done"
        for number in (1, 2)
        for step in ("training", "scoring", "evaluation")
    ]
    after = _state(finished)
    assert {name for name in before if before[name] != after[name] and name.startswith("fold")} == set()


@pytest.mark.long
def test_the_written_configuration_repeats_the_run(finished: Path, capfd):
    assert cli.main(["cross-validate", "--config", str(finished / "config.yaml")]) == 0
    assert "fold 2 of 2: evaluation is done" in capfd.readouterr().out


@pytest.mark.long
def test_what_is_not_finished_is_done_and_the_rest_is_kept(
    coco: Path, recipe: Path, finished: Path, tmp_path: Path, capfd
):
    out = tmp_path / "cv"
    shutil.copytree(finished, out)
    before = _state(out)
    for name in ("fold_2/scored.json", "fold_2/evaluated.json", "table3.md", "predictions.json"):
        (out / name).unlink()
    assert cli.main(_words(coco, recipe, out)) == 0
    steps = _steps(capfd.readouterr().out)
    assert steps[3:] == [
        "fold 2 of 2: training is done",
        "fold 2 of 2: scoring",
        "fold 2 of 2: evaluation",
    ]
    after = _state(out)
    assert all(before[name] == after[name] for name in before if name.startswith(("fold_1", "fold_2/train")))
    assert (out / "predictions.json").read_text() == (finished / "predictions.json").read_text()
    assert (out / "table3.md").read_text() == (finished / "table3.md").read_text()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--folds", 3], "folds"),
        (["--split-seed", 1], "split_seed"),
        (["--val-share", 0.25], "val_share"),
        (["--optim.lr", 0.5], "optim.lr"),
        (["--recipe.crop", "false"], "recipe.crop"),
        (["--score-threshold", 0.5], "score_threshold"),
    ],
)
@pytest.mark.long
def test_other_settings_are_refused(
    more: list[object], told: str, coco: Path, recipe: Path, finished: Path, capfd
):
    before = _state(finished)
    assert cli.main(_words(coco, recipe, finished, *more)) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and f": {told}: " in error and "another --out" in error
    assert _state(finished) == before


@pytest.mark.long
def test_other_data_are_refused(coco: Path, recipe: Path, finished: Path, capfd):
    other = coco.with_name("other.json")
    other.write_text(coco.read_text() + "\n")
    assert cli.main(_words(other, recipe, finished)) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "other.json" in error


@pytest.mark.long
def test_where_it_runs_may_change(coco: Path, recipe: Path, finished: Path, capfd):
    assert cli.main(_words(coco, recipe, finished, "--workers", 1)) == 0
    assert cli.main(_words(coco, recipe, finished)) == 0
    assert "error" not in capfd.readouterr().err


@pytest.mark.long
def test_an_error_of_the_training_is_told_once_and_ends_the_run(
    coco: Path, recipe: Path, tmp_path: Path, capfd
):
    words = _words(coco, recipe, tmp_path / "cv", "--pixels", "false", "--weights", tmp_path / "none.pth")
    assert cli.main(words) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 2
    assert lines[0].startswith("mammodet train-det: error: ") and "none.pth" in lines[0]
    assert lines[1].startswith("mammodet cross-validate: error: fold 1: train-det ended with exit code 2")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--folds", 1], "folds"),
        (["--folds", 5], "patients"),
        (["--val-share", 1], "val_share"),
        (["--score-threshold", 2], "score_threshold"),
        (["--epochs", 0], "--epochs"),
        (["--train", "a.json"], "train"),
        (["--resume", "true"], "resume"),
    ],
)
def test_bad_options_are_one_line(
    more: list[object], told: str, coco: Path, recipe: Path, tmp_path: Path, capfd
):
    assert cli.main(_words(coco, recipe, tmp_path / "cv", *more)) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and told in error


def test_folds_that_share_pixels_are_refused_before_anything_is_trained(
    coco: Path, recipe: Path, tmp_path: Path, capfd
):
    content = json.loads(coco.read_text())
    shutil.copy(coco.parent / content["images"][0]["file_name"], coco.with_name("copy.dcm"))
    content["images"][-1]["file_name"] = "copy.dcm"
    shared = coco.with_name("shared.json")
    shared.write_text(json.dumps(content))
    out = tmp_path / "cv"
    assert cli.main(_words(shared, recipe, out, "--folds", 4)) == 2
    assert "the same pixels in several parts" in capfd.readouterr().err
    assert not (out / "fold_1").exists() and not (out / "folds").exists()
    # Nothing is done yet, so a corrected file may be given.
    assert cli.main(_words(shared, recipe, out, "--folds", 4, "--score-threshold", 0.4)) == 2
    assert "the same pixels in several parts" in capfd.readouterr().err


def test_prepared_images_bind_the_recipe_of_all_folds(coco: Path, recipe: Path, tmp_path: Path, capfd):
    words = [
        coco,
        "--out",
        tmp_path / "prepared",
        "--workers",
        1,
        "--progress",
        "false",
        "--recipe.crop",
        "false",
    ]
    assert cli.main(["prepare", *map(str, words)]) == 0
    words = _words(tmp_path / "prepared" / "coco.json", recipe, tmp_path / "cv", "--recipe.crop", "true")
    capfd.readouterr()
    assert cli.main(words) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "recipe.crop" in error and not (tmp_path / "cv").exists()


def _start(words: list[str], stop: Path, number: signal.Signals) -> tuple[int, str]:
    """Run the command, send the signal when the file ``stop`` is there, and return exit code and errors."""
    # A test run in the background is started with SIGINT ignored, and hands that on to what it starts.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mammodet.tools import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not stop.is_file() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(number)
        try:
            error = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    return process.returncode, error


@pytest.mark.slow
def test_an_interrupted_training_goes_on_inside_its_fold(
    coco: Path, recipe: Path, finished: Path, tmp_path: Path
):
    """Ctrl-C in fold 1, kill -9 in fold 2; every rerun keeps what was done."""
    out = tmp_path / "cv"
    words = _words(coco, recipe, out, "--max-steps", "null", "--epochs", 8, "--val-every", 20)
    first, second = (out / f"fold_{number}/train/checkpoints/last.ckpt" for number in (1, 2))

    code, error = _start(words, first, signal.SIGINT)
    assert code == 130 and "the same command goes on" in error and "Traceback" not in error
    assert not (out / "fold_1/trained.json").exists() and not (out / "fold_2").exists()

    code, _ = _start(words, second, signal.SIGKILL)
    assert code == -signal.SIGKILL
    kept = {name: when for name, when in _state(out).items() if name.startswith("fold_1/")}
    assert "fold_1/evaluated.json" in kept and not (out / "fold_2/trained.json").exists()
    # Trained further, from the checkpoint: a log of its own.
    assert len(list((out / "fold_1/train/csv").iterdir())) == 2

    assert cli.main(words) == 0
    after = _state(out)
    assert {name: after[name] for name in kept} == kept
    assert len(list((out / "fold_2/train/csv").iterdir())) == 2
    for number in (1, 2):  # 8 epochs of the 4 images of one patient, in pairs
        assert read_header(out / f"fold_{number}/train/model.safetensors").training["step"] == 16
    document = json.loads((out / "cross_validation.json").read_text())
    assert [fold["fold"] for fold in document["folds"]] == [1, 2]

    # Killed after the training, before its marker was written.
    numbers = (out / "table3.csv").read_text()
    (out / "fold_2/trained.json").unlink()
    assert cli.main(words) == 0
    assert (out / "table3.csv").read_text() == numbers


@pytest.mark.long
def test_classifiers_of_images_are_cross_validated_alike(
    coco: Path, cls_recipe: Path, finished: Path, tmp_path: Path, capfd
):
    """From the backbone of the detector of each fold, which has not seen the fold's test images either."""
    out = tmp_path / "cv"
    weights = finished / "fold_{fold}" / "train" / "model.safetensors"
    words = ["cross-validate", str(coco), "--out", str(out), "--config", str(cls_recipe)]
    assert cli.main([*words, "--weights", str(weights)]) == 0
    shown = capfd.readouterr().out
    assert "Breast level" in shown and "Lesion level" not in shown and "Boxes" not in shown
    for number in (1, 2):
        parts = [out / "folds" / f"fold_{number}_{part}.json" for part in ("train", "val", "test")]
        assert [read_coco(one).image_by_id.keys() for one in parts] == [
            read_coco(finished / "folds" / one.name).image_by_id.keys() for one in parts
        ]
        header = read_classifier(out / f"fold_{number}/train/model.safetensors")
        assert header.training["start_weights"] == str(weights).replace("{fold}", str(number))
    with (out / "scores.csv").open() as stream:
        assert sorted(int(row["image_id"]) for row in csv.DictReader(stream)) == sorted(
            read_coco(coco).image_by_id
        )
    document = json.loads((out / "cross_validation.json").read_text())
    assert document["method"] == "train-cls" and set(document["summary"]) == {"image", "breast"}
    assert [fold["test"]["images"] for fold in document["folds"]] == [8, 8]
    assert {fold["metrics"]["protocol"]["image_threshold"] for fold in document["folds"]} == {0.5}

    before = _state(out)
    assert cli.main(["cross-validate", "--config", str(out / "config.yaml")]) == 0
    assert {name for name in before if before[name] != _state(out)[name] and name.startswith("fold")} == set()
    both = [str(finished / "predictions.json"), str(out / "scores.csv"), "--names", "detector", "SPPNet"]
    assert cli.main(["compare", *both, "--ground-truth", str(coco), "--out", str(tmp_path / "both")]) == 0


def test_corrected_options_are_taken_while_nothing_is_trained(coco: Path, tmp_path: Path):
    """Also those that the folds depend on; and a state of a version without --method is one of train-det."""
    out, options = tmp_path / "cv", {"folds": 2, "weights": "none.pth", "method": "train-det"}
    require_same_settings(coco, out, options, ())
    first = write_folds(read_coco(coco), out, folds=2, val_share=0.5, seed=0, pixels=False)
    require_same_settings(coco, out, options | {"folds": 4, "weights": "none"}, ())
    assert not (out / "split.json").exists()
    write_folds(read_coco(coco), out, folds=4, val_share=0.5, seed=0, pixels=False)
    first[0].folder.mkdir()
    with pytest.raises(InputError, match=r"weights: .*started with another value, 'none'"):
        require_same_settings(coco, out, options | {"folds": 4}, ())
    state = json.loads((out / "state.json").read_text())
    del state["options"]["method"]
    (out / "state.json").write_text(json.dumps(state))
    require_same_settings(coco, out, options | {"folds": 4, "weights": "none"}, ())
