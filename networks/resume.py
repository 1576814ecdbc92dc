"""The point from which a killed training goes on, and stopping at such a point when asked to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from mammodet.datasets.atomic import atomic_path

_STOPPING = [signal.SIGTERM, signal.SIGINT] + ([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])


class Stopped(Exception):
    """A signal ended the training; ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class ResumePoint(Checkpoint):
    """Writes one checkpoint again and again, after optimiser steps, so that a kill loses little.

    It is written every ``minutes``, every ``steps`` steps when given, before the last step of an epoch that
    ends with a validation (a kill in the validation loses that one step), at the end of every epoch, and when
    a limit or a signal ends the training. The file is either the old one or the new one, also when the
    machine fails while it is written.

    On SIGTERM, SIGINT and SIGUSR1 (what SLURM sends before its limit) every process of the training finishes
    its step, the checkpoint is written, and ``Stopped`` is raised. A second SIGINT ends at once.
    """

    def __init__(self, path: Path, *, minutes: float, steps: int | None = None) -> None:
        self.path = path
        self.minutes = minutes
        self.steps = steps
        self._signal = 0
        self._handlers: dict[int, Any] = {}
        self._saved_at = time.monotonic()

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Remove what a kill has left of a checkpoint half written."""
        if trainer.is_global_zero:
            for rest in self.path.parent.glob(f".{self.path.stem}.*.part{self.path.suffix}"):
                rest.unlink(missing_ok=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen to signals from here on; Lightning sets its own handlers before."""
        self._saved_at = time.monotonic()
        for number in _STOPPING:
            self._handlers[number] = signal.signal(number, self._note)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        """Save when it is time to, or stop when asked to."""
        number = self._asked(trainer)
        epoch = trainer.fit_loop.epoch_loop
        left = int(trainer.num_training_batches) - epoch.batch_progress.current.ready
        # In the middle of an accumulation there are gradients that a checkpoint does not hold. After the last
        # step comes the validation first: what is saved at the end of the epoch knows its outcome.
        if epoch._should_accumulate():
            trainer.should_stop = False  # a limit of time comes again after the step
            return
        if left == 0:
            return
        ends = trainer.should_stop or trainer.global_step == trainer.max_steps
        before_validation = left <= trainer.accumulate_grad_batches and self._validates(trainer)
        if number or ends or before_validation or self._due(trainer):
            self._save(trainer)
        if number:
            raise self._stop(number)

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        """Stop in the middle of a validation when asked to; it is run again."""
        if number := self._asked(trainer):
            raise self._stop(number)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save a whole epoch; one that a limit ended early is saved already, as the middle that it is."""
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready < int(trainer.num_training_batches):
            return
        self._save(trainer)
        if number := self._asked(trainer):
            raise self._stop(number)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _stop(self, number: int) -> Stopped:
        """Ignore more signals from here on: people press Ctrl-C again, and the process is about to end."""
        for one in self._handlers:
            signal.signal(one, signal.SIG_IGN)
        self._handlers = {}
        return Stopped(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number

    def _asked(self, trainer: lightning.Trainer) -> int:
        """Return the signal that any process of the training got, or 0; all of them must stop together."""
        if trainer.world_size == 1:
            return self._signal
        number = torch.tensor(self._signal, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
        return int(number)

    def _due(self, trainer: lightning.Trainer) -> bool:
        if self.steps is not None and trainer.global_step % self.steps == 0:
            return True
        late = time.monotonic() - self._saved_at >= 60 * self.minutes
        return bool(trainer.strategy.broadcast(late)) if trainer.world_size > 1 else late

    def _validates(self, trainer: lightning.Trainer) -> bool:
        epochs = trainer.check_val_every_n_epoch
        return bool(trainer.enable_validation and epochs and (trainer.current_epoch + 1) % epochs == 0)

    def _save(self, trainer: lightning.Trainer) -> None:
        if trainer.is_global_zero:
            with atomic_path(self.path) as temporary:
                trainer.save_checkpoint(temporary, weights_only=False)
                _flush(temporary)
        else:  # collects its part of the state, and writes nothing
            trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_at = time.monotonic()


def requeue_job() -> bool:
    """Ask SLURM to start this job again (``scontrol requeue``); False when this is no SLURM job."""
    job, array, task = (
        os.environ.get(name) for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
    )
    command = shutil.which("scontrol")
    if job is None or command is None:
        return False
    name = job if array is None else f"{array}_{task}"
    return subprocess.run([command, "requeue", name], check=False).returncode == 0


def _flush(path: Path) -> None:
    """Have the system write the file to disk before it takes the place of the one before."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
