"""One run at a time in an output folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mammodet.datasets.errors import InputError

_POLL_S = 0.2


@contextmanager
def sole_run(out: Path, *, wait_s: float = 0) -> Iterator[int | None]:
    """Hold the folder ``out``, since two runs at once would spoil each other's unfinished files.

    Yields a file descriptor: a child process that inherits it holds the folder too, also when this process is
    killed. None where there are no locks (Windows, some network drives): then nothing is held.

    Raises InputError when another run still holds the folder after ``wait_s`` seconds.
    """
    try:
        import fcntl  # noqa: PLC0415 (not there on Windows)
    except ImportError:
        yield None
        return
    folder = os.open(out, os.O_RDONLY)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    remedy = "wait for it to end, or give another --out"
                    raise InputError("another run is writing to it", file=out, remedy=remedy) from None
                time.sleep(_POLL_S)
            except OSError:  # a network drive without locks
                break
        yield folder
    finally:
        os.close(folder)
