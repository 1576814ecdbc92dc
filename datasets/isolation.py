"""A function over many files in processes of their own: a file that kills or hangs one costs only itself.

Decoders are C code: a damaged file can make one abort, read out of bounds or never return, and Python's own
process pools end with the first worker that dies.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

import cv2

from mammodet.datasets.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 64  # results per worker that may wait for a slower one before them
_START_S = 120.0


@dataclass(frozen=True)
class Casualty:
    """What came of an item whose worker did not live to return: it died, or it was ended after the limit."""

    how: Literal["died", "hung"]


def map_isolated(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    limit_s: float = 60.0,
) -> Iterator[Result | Casualty]:
    """Yield ``function(item)`` for every item, in the order of the items.

    Parameters
    ----------
    function:
        Importable by name, and it raises nothing; items and results are pickled.
    workers:
        Processes, each with one thread; by default one per core. They start with the first item.
    limit_s:
        Seconds that one item may take.

    Yields
    ------
    The result, or a Casualty where the worker died or hung; another worker then takes its place. At most 64
    results per worker are held back for the sake of the order, so memory does not grow with the items.

    Raises
    ------
    InputError
        When workers die before their first item: nothing can be done then.
    """
    count = workers or os.cpu_count() or 1
    if count < 1:
        raise InputError("must be at least 1", field="workers", value=workers)
    crew: list[_Worker[Item, Result]] = []
    try:
        yield from _run(crew, function, iter(items), count, limit_s)
    finally:
        for worker in crew:
            worker.stop()


def _run(
    crew: list[_Worker[Item, Result]],
    function: Callable[[Item], Result],
    items: Iterator[Item],
    count: int,
    limit_s: float,
) -> Iterator[Result | Casualty]:
    order: deque[int] = deque()  # numbers of the items that are handed out and not yet yielded
    done: dict[int, Result | Casualty] = {}
    number, exhausted = 0, False
    while True:
        idle = [worker for worker in crew if worker.number is None]
        while not exhausted and len(order) < _AHEAD * count and (idle or len(crew) < count):
            try:
                item = next(items)
            except StopIteration:
                exhausted = True
                break
            if not idle:
                crew.append(_Worker(function, limit_s))
                idle.append(crew[-1])
            idle.pop().hand(number, item)
            order.append(number)
            number += 1
        while order and order[0] in done:
            yield done.pop(order.popleft())
        if not order:
            if exhausted:
                return
            continue
        for worker in _settled(crew, limit_s):
            position = worker.number
            assert position is not None
            done[position] = worker.collect()
            if not worker.alive:
                crew.remove(worker)
                worker.stop()


def _settled(crew: list[_Worker[Item, Result]], limit_s: float) -> list[_Worker[Item, Result]]:
    """Wait until some worker has a result, is dead, or has used up its time."""
    busy = [worker for worker in crew if worker.number is not None]
    remaining = min(worker.deadline for worker in busy) - time.monotonic()
    handles = {handle: worker for worker in busy for handle in (worker.pipe, worker.process.sentinel)}
    ready = wait(list(handles), timeout=max(0.0, remaining))
    found = {id(handles[handle]): handles[handle] for handle in ready}  # type: ignore[index]
    late = [worker for worker in busy if time.monotonic() >= worker.deadline]
    return list((found | {id(worker): worker for worker in late}).values())


class _Worker(Generic[Item, Result]):
    """One process and what it is doing; ``number`` is None while it is idle."""

    def __init__(self, function: Callable[[Item], Result], limit_s: float) -> None:
        # Spawned, because a fork of a process with threads (torch, a notebook) may hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.limit_s = limit_s
        self.process = context.Process(target=_work, args=(theirs, function), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()
        if not self._hears_first():
            self.stop()
            remedy = "give fewer workers; memory may have run out"
            raise InputError("a worker could not start", field="workers", remedy=remedy)
        self.number: int | None = None
        self.deadline = float("inf")
        self.alive = True

    def hand(self, number: int, item: Item) -> None:
        self.number, self.deadline = number, time.monotonic() + self.limit_s
        with suppress(OSError):  # it died while idle: collect tells
            self.pipe.send(item)

    def collect(self) -> Result | Casualty:
        self.number = None
        try:
            if self.pipe.poll():
                result: Result = self.pipe.recv()
                return result
        except (EOFError, OSError):
            self.alive = False
            return Casualty("died")
        self.alive = False
        return Casualty("hung" if time.monotonic() >= self.deadline else "died")

    def stop(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()

    def _hears_first(self) -> bool:
        try:
            return self.pipe.poll(_START_S) and bool(self.pipe.recv())
        except (EOFError, OSError):
            return False


def _work(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Answer every item of the pipe until it closes; runs in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    cv2.setNumThreads(1)
    pipe.send(True)
    _silence()
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(function(item))


def _silence() -> None:
    """Drop what decoders print about damaged files: it could hold a header's values, and tears the bar."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            os.dup2(nowhere, stream.fileno())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start here use one thread each in NumPy's libraries, which read this on import."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
