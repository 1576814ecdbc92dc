"""Work on many images, in processes of their own where there are several, and why one gave nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.isolation import Casualty, map_isolated

Result = TypeVar("Result")

_LIMIT_S = 600.0  # for one image; the largest take a few seconds


def each_image(
    work: Callable[[Coco], Result], tasks: Iterator[Coco], workers: int
) -> Generator[Result | Casualty, None, None]:
    """Yield what ``work`` makes of every task, in order; with one worker in this process."""
    if workers == 1:
        yield from map(work, tasks)
    else:
        yield from map_isolated(work, tasks, workers=workers, limit_s=_LIMIT_S)


def refusal(path: Path, error: Exception) -> str:
    """Tell in a line why reading ``path`` failed; one file must not end a batch of thousands."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return f"{path}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return f"{path}: out of memory; run again with fewer --workers"
    return f"{path}: unexpected {type(error).__name__}: {error}; please report this file"


def casualty_refusal(path: Path, casualty: Casualty) -> str:
    """Tell in a line how reading ``path`` ended its process."""
    reason = {
        "died": "reading it ended the process: a fault in a decoder, or memory ran out",
        "hung": f"reading it took more than {_LIMIT_S:g} s",
    }[casualty.how]
    return f"{path}: {reason}"
