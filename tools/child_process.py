"""Run a mammodet command as a process of its own that hears what this one hears, and ends with it.

A command that needs much memory gives all of it back this way, and one that is stopped can save its state
first: SIGINT, SIGTERM and SIGHUP go to the child, and this process waits until the child has ended. When this
process is killed outright, the child notices the end of its standard input and stops as by SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

# Without the current folder: in a checkout, third parties would take our ``datasets`` for another package.
_CODE = (
    "import sys; sys.path = [folder for folder in sys.path if folder]; "
    "from mammodet.tools.child_process import serve; sys.exit(serve())"
)
_RELAYED = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}
if hasattr(signal, "SIGHUP"):  # not on Windows; a closed terminal is told to the child as SIGTERM
    _RELAYED[signal.SIGHUP] = signal.SIGTERM


if hasattr(signal, "SIGUSR1"):  # what SLURM sends before its limit
    _RELAYED[signal.SIGUSR1] = signal.SIGTERM


class Stopped(Exception):
    """This process was asked to stop while the child ran; the child has ended."""


def run_child(words: Sequence[str], *, keep_open: Sequence[int] = ()) -> int:
    """Run ``mammodet WORDS...`` and return its exit code, negative when a signal ended it.

    Parameters
    ----------
    keep_open:
        File descriptors that the child inherits, such as that of a lock.

    Raises
    ------
    Stopped
        When a signal to stop came, whatever the child made of it.
    """
    command = [sys.executable, "-c", _CODE, *words]
    # In a session of its own, so that Ctrl-C in a terminal reaches the child once, through this process.
    with (
        _relayed() as relay,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True, pass_fds=tuple(keep_open)
        ) as process,
    ):
        relay.start(process)
        code = process.wait()
    if relay.received:
        raise Stopped
    return code


def serve() -> int:
    """Run the command of ``sys.argv`` as a child of ``run_child``, and return its exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from mammodet.tools.cli import main  # noqa: PLC0415 (a stop during this import works too)

    return main()


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock this thread would hold when the interpreter ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class _Relay:
    def __init__(self) -> None:
        self.received: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        self._send(number)

    def start(self, process: subprocess.Popen[bytes]) -> None:
        """Hand on what comes to ``process``, and what came before it was there."""
        self._process = process
        for number in self.received:
            self._send(number)

    def _send(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(_RELAYED[signal.Signals(number)])


@contextmanager
def _relayed() -> Iterator[_Relay]:
    """Catch the signals to stop; those that this process ignores, as under nohup, stay ignored."""
    relay = _Relay()
    if threading.current_thread() is not threading.main_thread():  # only there can signals be caught
        yield relay
        return
    caught = [number for number in _RELAYED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, relay) for number in caught}
    try:
        yield relay
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
