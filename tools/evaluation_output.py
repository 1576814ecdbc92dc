"""Where an evaluation writes: refused before the work if it cannot, and whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mammodet.datasets.errors import InputError

Named = Mapping[str, str | Path | None]  # by option, such as --fit-fusion; None where it is not given


def check_outputs(out: Path, written: Named, read: Named) -> None:
    """Refuse outputs that cannot be written or would replace an input; nothing is made here.

    Parameters
    ----------
    out:
        Folder of ``--out``.
    written, read:
        Files that are written beside it, and inputs.

    Raises
    ------
    InputError
        When a file stands where a folder must be or the reverse, a folder cannot be written, or a file that
        is written is an input or written twice.
    """
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", file=out, field="--out", remedy="give a folder")
    _require_writable("--out", out)
    taken = {path.resolve(): option for option, path in _given(read)}
    for option, path in _given(written):
        if path.is_dir():
            remedy = "give the name of a file in it"
            raise InputError("is a folder, not a file", file=path, field=option, remedy=remedy)
        same = taken.setdefault(path.resolve(), option)
        if same != option:
            remedy = "give another file"
            raise InputError(f"is the file of {same} too", file=path, field=option, remedy=remedy)
        _require_writable(option, path.parent)


@contextmanager
def new_results(out: Path, remove_earlier: Callable[[Path], None], read: Named) -> Iterator[Path]:
    """Yield an empty folder inside ``out`` whose content replaces the earlier results once all is written.

    Until then, and when writing fails or is interrupted, ``out`` keeps what it had.

    Parameters
    ----------
    remove_earlier:
        Removes from ``out`` what an earlier evaluation left there.
    read:
        Inputs; one that lies in ``out`` under the name of a result is an error, so that it is not replaced.
    """
    out.mkdir(parents=True, exist_ok=True)
    _remove_rests(out)
    staging = out / f".new.{os.getpid()}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        inputs = {path.resolve(): option for option, path in _given(read)}
        results = sorted(staging.iterdir())
        for one in results:
            option = inputs.get((out / one.name).resolve())
            if option is not None:
                remedy = "give --out another folder"
                path = out / one.name
                raise InputError("would be replaced by a result", file=path, field=option, remedy=remedy)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    remove_earlier(out)
    for one in results:
        target = out / one.name
        if one.is_dir() and target.is_dir():
            shutil.rmtree(target)
        one.replace(target)
    staging.rmdir()


def _remove_rests(out: Path) -> None:
    """Remove what killed evaluations left of results half written; one that is still at it keeps its own."""
    for rest in out.glob(".new.*.part"):
        number = rest.name.split(".")[2]
        try:
            os.kill(int(number), 0)
        except (ValueError, ProcessLookupError):
            shutil.rmtree(rest, ignore_errors=True)
        except OSError:
            continue  # a process of somebody else


def _given(paths: Named) -> list[tuple[str, Path]]:
    return [(option, Path(path)) for option, path in paths.items() if path is not None]


def _require_writable(option: str, folder: Path) -> None:
    """Refuse a folder that neither can be written nor made."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        remedy = "give another folder"
        raise InputError("a folder is needed, but this is a file", file=there, field=option, remedy=remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = "give a folder that you may write to"
        raise InputError("cannot be written", file=there, field=option, remedy=remedy)
