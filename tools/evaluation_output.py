"""Where an evaluation writes: refused before the work if it cannot, and whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mammodet.datasets.errors import InputError

Named = Mapping[str, str | Path | None]  # by option, such as --fit-fusion; None where it is not given


def check_outputs(out: Path, written: Named, read: Named, *, others: Collection[str]) -> None:
    """Refuse outputs that cannot be written or would replace an input; nothing is made here.

    Parameters
    ----------
    out:
        Folder of ``--out``.
    written, read:
        Files that are written beside it, and inputs.
    others:
        Names of files that other commands always write, whose results must not be mixed with these.

    Raises
    ------
    InputError
        When a file stands where a folder must be or the reverse, a folder cannot be written, or a file that
        is written is an input or written twice.
    """
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", file=out, field="--out", remedy="give a folder")
    for other in others:
        if (out / other).is_file():
            remedy = "give another folder, since both commands write files of the same names"
            told = "holds the results of another command"
            raise InputError(told, file=out / other, field="--out", remedy=remedy)
    _require_writable("--out", out)
    taken = {path.resolve(): option for option, path in _given(read)}
    for option, path in _given(written):
        if path.is_dir():
            remedy = "give the name of a file in it"
            raise InputError("is a folder, not a file", file=path, field=option, remedy=remedy)
        if path.parent.resolve() == out.resolve():
            remedy = "give a place outside of --out, where results are replaced"
            raise InputError("lies among the results", file=path, field=option, remedy=remedy)
        same = taken.setdefault(path.resolve(), option)
        if same != option:
            remedy = "give another file"
            raise InputError(f"is the file of {same} too", file=path, field=option, remedy=remedy)
        _require_writable(option, path.parent)


@contextmanager
def new_results(out: Path, earlier: Callable[[Path], list[Path]], read: Named) -> Iterator[Path]:
    """Yield an empty folder inside ``out`` whose files replace the earlier results once all are written.

    Until then, and when writing fails or is interrupted, ``out`` keeps what it had. Files of others stay,
    also those in folders of results.

    Parameters
    ----------
    earlier:
        Tells which files in ``out`` an earlier run left; those that are not written again are removed.
    read:
        Inputs; one that would be replaced or removed is an error.

    Raises
    ------
    InputError
        Also when a folder stands where a file must be, or the reverse.
    """
    out.mkdir(parents=True, exist_ok=True)
    _remove_rests(out)
    staging = out / f".new.{os.getpid()}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        written = {out / one.relative_to(staging): one for one in staging.rglob("*") if one.is_file()}
        gone = [path for path in earlier(out) if path not in written]
        _require_free(written, gone, read)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    for target, source in written.items():
        target.parent.mkdir(exist_ok=True)
        source.replace(target)
    for path in gone:
        path.unlink()
    for folder in {path.parent for path in gone} - {out}:
        if not any(folder.iterdir()):
            folder.rmdir()
    shutil.rmtree(staging, ignore_errors=True)


def _require_free(written: Iterable[Path], gone: Iterable[Path], read: Named) -> None:
    """Refuse to replace or remove an input, and a file where a folder is or the reverse."""
    inputs = {path.resolve(): option for option, path in _given(read)}
    for target in [*written, *gone]:
        if (option := inputs.get(target.resolve())) is not None:
            remedy = "give --out another folder"
            raise InputError("would be replaced by a result", file=target, field=option, remedy=remedy)
        if target.is_dir() or (target.parent.exists() and not target.parent.is_dir()):
            remedy = "move it away, or give --out another folder"
            raise InputError("stands where a result must be written", file=target, remedy=remedy)


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
