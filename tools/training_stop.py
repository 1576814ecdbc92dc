"""How a training ends early, and what it goes on from."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

from mammodet.datasets.atomic import write_json
from mammodet.datasets.errors import InputError
from mammodet.networks.resume import Stopped, requeue_job
from mammodet.tools.command import INTERRUPTED, config_text
from mammodet.tools.training_loop import LAST_CHECKPOINT, MODEL_NAME, STOPPED_NAME
from mammodet.tools.training_options import TrainingOptions

# What a run that goes on may change: where files lie, limits, and what does not touch the numbers. The
# training images themselves are compared by their fingerprint, which the checkpoint holds.
_MAY_CHANGE = {
    *(
        "train",
        "val",
        "out",
        "resume",
        "requeue",
        "epochs",
        "max_steps",
        "max_minutes",
        "val_every",
        "patience",
    ),
    *("workers", "device", "precision", "checkpointing", "compile", "deterministic"),
    *("checkpoint_minutes", "checkpoint_steps", "memory_budget", "weights"),
}


def checkpoint_to_resume(arguments: TrainingOptions) -> str | None:
    """Return the checkpoint to go on from, None for a new training.

    Raises InputError when there is none to go on from, or when a new training would overwrite one.
    """
    out = Path(arguments.out)
    last = out / LAST_CHECKPOINT
    resume = arguments.resume or (arguments.requeue and last.is_file())
    if resume and not last.is_file():
        raise InputError(
            "no checkpoint to go on from", file=last, field="--resume", remedy="start without --resume"
        )
    if not resume and (last.is_file() or (out / MODEL_NAME).is_file()):
        raise InputError(
            "this folder holds a training already",
            file=out,
            field="--out",
            remedy="give --resume or another --out",
        )
    return str(last) if resume else None


def require_resumable(checkpoint: str, config: Path, arguments: TrainingOptions) -> None:
    """Refuse to go on from a damaged checkpoint, or with another model than the one it holds."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types here, from zipfile's to pickle's
        raise InputError(
            f"is damaged ({type(error).__name__})", file=checkpoint, remedy="start again with another --out"
        ) from None
    before = yaml.safe_load(config.read_text()) if config.is_file() else {}
    now = _flat(yaml.safe_load(config_text(arguments)))
    for name, value in _flat(before).items():
        # Options that a later version no longer has do not matter.
        if name.partition(".")[0] not in _MAY_CHANGE and name in now and now[name] != value:
            raise InputError(
                f"differs from the training to go on with, which had {value}",
                file=config,
                field=name,
                value=now[name],
                remedy=f"give --config {config} --resume, or start again with another --out",
            )


def require_same_data(checkpoint: str, data: lightning.LightningDataModule) -> None:
    """Refuse to go on with other cases, before anything is written; raises what ``data`` raises."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    data.load_state_dict(state[type(data).__qualname__])


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with dotted names instead of groups."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        own = _flat(value) if isinstance(value, dict) else {"": value}
        flat |= {f"{name}.{key}".rstrip("."): one for key, one in own.items()}
    return flat


def tell_stop(stop: Stopped, trainer: lightning.Trainer, arguments: TrainingOptions, prog: str) -> int:
    """Say how to go on; Ctrl-C is an interruption, SIGTERM and SLURM's SIGUSR1 are an ordered end."""
    out = Path(arguments.out)
    asked_by_user = stop.signal == signal.SIGINT
    if trainer.is_global_zero:  # exit code 0 alone would look like a finished training
        write_json(out / STOPPED_NAME, {"signal": signal.Signals(stop.signal).name})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # people press it again, and this process is about to end
    if trainer.is_global_zero:
        if stop.signal == getattr(signal, "SIGUSR1", None) and arguments.requeue and requeue_job():
            print("\nsaved; SLURM starts the job again")
        else:
            stream = sys.stderr if asked_by_user else sys.stdout
            print(
                f"\n{'interrupted' if asked_by_user else 'stopped'}; {_how_to_go_on(out, prog)}", file=stream
            )
    return INTERRUPTED if asked_by_user else 0


def _how_to_go_on(out: Path, prog: str) -> str:
    last = out / LAST_CHECKPOINT
    if not last.is_file():
        return "nothing was saved yet, so the same command starts again"
    step = torch.load(last, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    return f"{prog} --config {out / 'config.yaml'} --resume goes on after step {step}"
