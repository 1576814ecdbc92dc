"""The SQLite file of a patch store: its tables, and connections whose errors are told in one line.

Pixels lie in a table of their own, so that what is asked of patches without pixels touches few pages. A patch
has a ``place``, from 0 without gaps, in its ``stratum`` (split and class): through the index over both, the
patch at any place is found in a few steps, so a batch costs the same in a store of any size.

A page has room for three patches, or 32 KiB. Measured on 40,000 patches of 112 x 112 px of 16 bits
(25 KB each, 1.3 GB), a batch of 256 read from a disk of which nothing is in memory, and from memory
(milliseconds):

    pages of  4 KiB   150   7
    pages of 16 KiB    81   9
    pages of 32 KiB    33   3   <- this one
    pages of 64 KiB    54   8

SQLite's ``mmap_size`` makes the first batches of a cold store take a second, since the system then reads
ahead around every page, so it is left alone.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mammodet.datasets.errors import InputError

FORMAT = "mammodet.patches/1"
_WAIT_S = 30.0  # for another process that writes

_TABLES = (
    "CREATE TABLE info (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE patients (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, split TEXT NOT NULL)",
    """CREATE TABLE images (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, file TEXT NOT NULL,
        patient INTEGER NOT NULL REFERENCES patients, geometry TEXT NOT NULL, mapped TEXT,
        left_out TEXT NOT NULL)""",
    """CREATE TABLE strata (
        id INTEGER PRIMARY KEY, split TEXT NOT NULL, class TEXT NOT NULL, patches INTEGER NOT NULL DEFAULT 0,
        UNIQUE (split, class))""",
    """CREATE TABLE patches (
        id INTEGER PRIMARY KEY, image INTEGER NOT NULL REFERENCES images,
        x INTEGER NOT NULL, y INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
        turn INTEGER NOT NULL, stratum INTEGER NOT NULL REFERENCES strata, place INTEGER,
        pixels INTEGER NOT NULL, annotation INTEGER, ambiguous INTEGER NOT NULL DEFAULT 0,
        remark TEXT NOT NULL DEFAULT '')""",
    # With all that a batch needs, so that the table itself is not read.
    "CREATE INDEX patch_places ON patches (stratum, place, pixels, turn, height, width)",
    "CREATE UNIQUE INDEX patch_addresses ON patches (image, x, y, width, height, turn)",
    "CREATE TABLE pixels (id INTEGER PRIMARY KEY, content BLOB NOT NULL)",
)


def connect_writer(path: Path, settings: Mapping[str, Any]) -> sqlite3.Connection:
    """Open a store for writing; make it when it is not there.

    Raises InputError when the file is no patch store, or was made with other ``settings`` than these.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size == 0
    with told(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=_WAIT_S)
        if fresh:
            connection.execute(f"PRAGMA page_size = {page_bytes(settings)}")
        connection.execute("PRAGMA foreign_keys = ON")
        # Readers go on while a process writes. A commit waits for no disk: a killed process loses the
        # transaction it was in, a power cut may take the last ones too, neither harms the file.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(connection):
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                for table in _TABLES:
                    connection.execute(table)
                wanted = {"format": FORMAT, **settings}
                rows = [(key, json.dumps(value, sort_keys=True)) for key, value in wanted.items()]
                connection.executemany("INSERT INTO info VALUES (?, ?)", rows)
        _check_settings(path, read_info(connection, path), settings)
    return connection


def page_bytes(settings: Mapping[str, Any]) -> int:
    """Return the size of a page for patches of ``size`` px and ``depth`` bits: three, in 4 to 32 KiB."""
    stored = settings.get("storage") == "stored"
    content = int(settings["size"]) ** 2 * int(settings["depth"]) // 8 if stored else 0
    return next((size for size in (4096, 8192, 16384) if 4 * content <= size), 32768)


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a store for reading by one thread at a time.

    Raises InputError when the file is not there or is no patch store.
    """
    if not path.is_file():
        raise InputError("no such file", file=path, remedy="make it with mammodet patches")
    with told(path):
        name = f"{path.absolute().as_uri()}?{_reading(path)}"
        connection = sqlite3.connect(
            name, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        read_info(connection, path)
    return connection


def _reading(path: Path) -> str:
    """Return how to open a store for reading.

    SQLite keeps two small files beside a store that is in use, and removes them only when it may write. Where
    the folder cannot be written it must be told that nobody else changes the store.
    """
    if os.access(path.parent, os.W_OK):
        return "mode=rw"
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        problem = "was not closed, and its folder cannot be written"
        raise InputError(problem, file=path, remedy="run mammodet patches on it again where it can be")
    return "immutable=1"


def read_info(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """Return what a store was made with; raises InputError when it is no patch store."""
    found: dict[str, Any] = {}
    with suppress(sqlite3.OperationalError, ValueError):  # no such table
        found = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM info")}
    if found.get("format") != FORMAT:
        remedy = "give a file made by this version of mammodet patches"
        raise InputError(f"is no {FORMAT}", file=path, value=found.get("format"), remedy=remedy)
    return found


def _check_settings(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in json.loads(json.dumps(wanted)).items():
        if found.get(key) != value:
            problem = f"was made with {found.get(key)!r}"
            remedy = "give that value, or another --out"
            raise InputError(problem, file=path, field=key, value=value, remedy=remedy)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all that is done within, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """Yield a cursor that sees one state of the store; the file is locked once, not for every statement."""
    connection.execute("BEGIN")
    try:
        yield connection.cursor()
    finally:
        connection.execute("COMMIT")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into InputErrors that name the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(
            f"cannot be used: {error}",
            file=path,
            remedy="free space on the disk, end the other run that writes to it, or give another file",
        ) from None
