"""What can go wrong in the middle of a training, as one line each."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import lightning
import torch

from mammodet.datasets.errors import InputError
from mammodet.networks.resume import Stopped


@contextmanager
def one_line_errors(trainer: lightning.Trainer, less_memory: str) -> Iterator[None]:
    """Turn what training and validation raise into errors that say what to do.

    ``less_memory`` is the remedy when memory is short.

    Raises
    ------
    Stopped
        When a second Ctrl-C ended it.
    InputError
        When memory is short, a reading process was killed, or another process of the training ended.
    OSError
        When the disk is full, naming the folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:  # Lightning names its temporary file
            raise OSError(error.errno, error.strerror, str(trainer.default_root_dir)) from error
        raise
    except InputError:  # a ValueError that tells all itself
        raise
    except (MemoryError, RuntimeError, ValueError) as error:
        if (told := _explained(error, less_memory)) is not None:
            raise told from error
        raise
    except SystemExit:  # how Lightning ends after Ctrl-C
        if not trainer.interrupted:
            raise
        raise Stopped(signal.SIGINT) from None


def _explained(error: BaseException, less_memory: str) -> InputError | None:
    """Tell by type, and where torch has no type for it, by what its parts say."""
    told = str(error)
    if "DataLoader worker" in told or "shared memory" in told:
        return InputError(
            "a process that reads images was killed",
            field="--workers",
            remedy="give fewer of them, or more memory (in containers also more of /dev/shm)",
        )
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in told for words in ("not enough memory", "can't allocate memory", "out of memory")
    ):
        return InputError("there is not enough memory for a training step", remedy=less_memory)
    if "more than 1 value per channel" in told:  # batch normalisation of one case whose last map is one cell
        return InputError(
            "the last batch holds a single case, too small to normalise",
            field="--batch-size",
            remedy="give another batch size, or larger patches or cut-outs",
        )
    if isinstance(error, torch.distributed.DistBackendError) or "closed by peer" in told:
        return InputError("another process of this training has ended", remedy="its own line says why")
    return None
