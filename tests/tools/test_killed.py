"""A training that is killed at any time ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mammodet.detection.model_file import read_header
from mammodet.networks.tensor_file import read_tensors
from mammodet.tools import cli

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
CODE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from mammodet.tools import cli; sys.exit(cli.main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a phantom whose steps take a fraction of a second."""
    out = tmp_path_factory.mktemp("tiny")
    options = "--patients 2 --seed 3 --height 128 --width 96 --spacing-mm 1.2 --lesion-rate 1 --workers 1"
    assert cli.main(["phantom", str(out), *options.split()]) == 0
    return out / "coco.json"


def _words(recipe: Path, coco: Path, out: Path, *more: object) -> list[str]:
    """Options that have something to restore: average, accumulation, schedule, order, augmentation."""
    every = ["--train", coco, "--val", coco, "--batch_size", 1, "--accumulate", 2, "--val-every", 2]
    exact = ["--ema", 0.9, "--deterministic", "true", "--checkpoint-steps", 1, "--workers", 1]
    return list(map(str, ["--config", recipe, *every, *exact, "--augment.noise", 0.05, "--out", out, *more]))


def _start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "train-det", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def _run(words: list[str]) -> str:
    process = _start(words)
    told = process.communicate(timeout=300)[0]
    assert process.returncode == 0, told[-2000:]
    return told


def _resuming(out: Path) -> list[str]:
    return ["--config", str(out / "config.yaml"), "--resume"]


def _last(out: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    return state


def _differences(first: Any, second: Any, where: str = "") -> list[str]:
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict):
        own = [] if first.keys() == second.keys() else [f"{where}: keys"]
        return own + [one for key in first for one in _differences(first[key], second[key], f"{where}.{key}")]
    if isinstance(first, list | tuple):
        return [one for a, b in zip(first, second, strict=True) for one in _differences(a, b, where)]
    return [] if first == second else [where]


def _assert_same(first: Path, second: Path) -> None:
    """Weights, their average, optimiser and schedule of both runs, and the model that is kept."""
    one, other = _last(first), _last(second)
    for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
        assert _differences(one[part], other[part], part) == []
    assert one["global_step"] == other["global_step"]
    name = "model.safetensors"
    assert _differences(read_tensors(first / name), read_tensors(second / name)) == []
    assert read_header(first / name).training == read_header(second / name).training


def _wait_for_a_new_checkpoint(process: subprocess.Popen[str], out: Path) -> None:
    path, deadline = out / "checkpoints" / "last.ckpt", time.monotonic() + 120
    before = path.stat().st_mtime_ns if path.exists() else 0
    while process.poll() is None and (path.stat().st_mtime_ns if path.exists() else 0) == before:
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        time.sleep(0.01)


@pytest.mark.long
def test_sigterm_saves_and_the_rest_gives_the_same_weights(recipe: Path, tiny: Path, tmp_path: Path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    _run(_words(recipe, tiny, whole, "--epochs", 2))
    process = _start(_words(recipe, tiny, stopped, "--epochs", 2))
    _wait_for_a_new_checkpoint(process, stopped)
    os.killpg(process.pid, signal.SIGTERM)  # as SLURM does it: the reading processes get it, too
    told = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "Traceback" not in told
    step = _last(stopped)["global_step"]
    assert (
        f"stopped; mammodet train-det --config {stopped / 'config.yaml'} --resume goes on after step {step}"
        in told
    )
    assert 0 < step < 8  # two epochs of four steps
    _run(_resuming(stopped))
    _assert_same(whole, stopped)


@pytest.mark.long
def test_a_requeued_job_goes_on_by_itself(recipe: Path, tiny: Path, tmp_path: Path):
    out, folder = tmp_path / "run", tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path / "asked"}\n')
    (folder / "scontrol").chmod(0o755)
    words = _words(recipe, tiny, out, "--epochs", 1, "--requeue", "true")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        # SLURM_JOB_ID alone, without its other variables: Lightning must not take this for a SLURM step.
        [sys.executable, "-c", f"import os; os.environ['SLURM_JOB_ID'] = '77'\n{CODE}", "train-det", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**ENVIRONMENT, **environment},
    )
    _wait_for_a_new_checkpoint(process, out)
    process.send_signal(signal.SIGUSR1)
    told = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "SLURM starts the job again" in told, told[-2000:]
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    step = _last(out)["global_step"]
    _run(words)  # the same command
    assert step < _last(out)["global_step"] == 4


@pytest.mark.slow
def test_twenty_kills_lose_nothing_but_time(recipe: Path, tiny: Path, tmp_path: Path):
    """At random moments; with a checkpoint after every step some fall into its writing."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _run(_words(recipe, tiny, whole, "--epochs", 12))
    chance = random.Random(0)
    process = _start(_words(recipe, tiny, killed, "--epochs", 12))
    steps: list[int] = []
    while len(steps) < 20:
        _wait_for_a_new_checkpoint(process, killed)
        time.sleep(chance.uniform(0, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        steps.append(_last(killed)["global_step"])  # whole at every moment
        process = _start(_resuming(killed))
    assert steps == sorted(steps) and 20 <= steps[-1] < 48
    process.kill()
    _run(_resuming(killed))
    _assert_same(whole, killed)
