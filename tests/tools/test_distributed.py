"""Training by two processes over gloo: one model, and every validation image counted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mammodet.datasets.coco import read_coco, write_coco

# Runs the command as users do; beside it, keeps what every process ends with and what it evaluated.
PROGRAM = """
import functools, json, os, sys
from pathlib import Path
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from mammodet.tools import cli, train_det, training_run

folder = Path(os.environ["KEPT"])
fit, validate = training_run.fit, train_det.Validation.__call__

def kept_fit(trainer, module, *others):
    fit(trainer, module, *others)
    torch.save(module.model.state_dict(), folder / f"weights{trainer.global_rank}.pt")

def kept_results(self, results):
    rank = getattr(rank_zero_only, "rank", 0)
    (folder / f"results{rank}.json").write_text(json.dumps(results))
    return validate(self, results)

training_run.fit, train_det.Validation.__call__ = kept_fit, kept_results
# Every image has boxes then, also the one that comes twice.
train_det.DetectorModule = functools.partial(train_det.DetectorModule, validation_score=0.0)
sys.exit(cli.main(sys.argv[1:]))
"""


def _run(program: Path, folder: Path, *words: object) -> str:
    folder.mkdir()
    command = list(map(str, [sys.executable, program, "train-det", *words]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KEPT": str(folder)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def runs(phantom: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Train with two processes, then validate the same weights with one; 7 images do not halve."""
    base = tmp_path_factory.mktemp("distributed")
    coco = read_coco(phantom / "coco.json")
    write_coco(coco.subset([image["id"] for image in coco.images][:7], base / "seven.json"))
    program = base / "program.py"
    program.write_text(PROGRAM)
    data = ["--train", base / "seven.json", "--val", base / "seven.json", "--batch_size", 1]
    several = ["--config", recipe, *data, "--trainer.devices", 2, "--out", base / "two", "--epochs", 2]
    told = _run(program, base / "kept2", *several, "--model.norm", "group", "--model.score_threshold", 0.0)
    weights = base / "two" / "checkpoints" / "last.ckpt"
    # One more step at a rate of nothing: the weights stay, and the end is validated.
    still = ["--optim.lr", 1e-12, "--optim.weight_decay", 0, "--max-steps", 1]
    single = ["--config", recipe, *data, "--out", base / "one", "--weights", weights, *still]
    _run(program, base / "kept1", *single, "--model.norm", "group", "--model.trainable_layers", 5)
    return base / "kept2", base / "kept1", told


@pytest.mark.long
def test_all_processes_end_with_the_same_weights(runs: tuple[Path, Path, str]):
    first, second = (torch.load(runs[0] / f"weights{rank}.pt") for rank in (0, 1))
    assert len(first) > 50
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    before = torch.load(runs[1] / "weights0.pt")
    assert all(torch.allclose(first[name], before[name], atol=1e-6) for name in first)
    assert "2 processes" in runs[2] and runs[2].count("model of step") == 1  # told by one of them


@pytest.mark.long
def test_every_image_is_evaluated_once_and_alike(runs: tuple[Path, Path, str]):
    both, other, alone = (
        json.loads((folder / f"results{rank}.json").read_text())
        for folder, rank in ((runs[0], 0), (runs[0], 1), (runs[1], 0))
    )
    assert both == other
    assert len({one["image_id"] for one in both}) == 7
    assert [(one["image_id"], one["category_id"]) for one in both] == [
        (one["image_id"], one["category_id"]) for one in alone
    ]
    for one, same in zip(both, alone, strict=True):
        assert one["score"] == pytest.approx(same["score"], abs=1e-4)
        assert one["bbox"] == pytest.approx(same["bbox"], abs=0.05)
