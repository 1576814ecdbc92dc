"""A ledger of finished work in one SQLite file, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from mammodet.datasets.errors import InputError


class Ledger:
    """Results by key, each committed as soon as it is recorded; use as a context manager.

    Parameters
    ----------
    path:
        The SQLite file; made when it is not there.
    fingerprint:
        What the results depend on besides their key (model, options). A ledger with another fingerprint is
        refused, since its results would be mixed with those of this run.

    Raises
    ------
    InputError
        When the file is no ledger or has another fingerprint.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._connection = sqlite3.connect(path)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        # A commit then waits for no disk, and what a power cut takes is the last results, never the file.
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = NORMAL")
        self._execute("CREATE TABLE IF NOT EXISTS run (fingerprint TEXT NOT NULL)")
        self._execute(
            "CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY, result TEXT NOT NULL) WITHOUT ROWID"
        )
        row = self._execute("SELECT fingerprint FROM run")
        if row is None:
            self._execute("INSERT INTO run VALUES (?)", fingerprint)
        elif row[0] != fingerprint:
            self._connection.close()
            raise InputError(
                "holds results of another model or other options, or of another version",
                file=path.parent,
                field="--out",
                remedy="give another --out, or delete this folder",
            )

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def get(self, key: str) -> Any | None:
        """Return the result recorded under ``key``, or None."""
        row = self._execute("SELECT result FROM done WHERE key = ?", key)
        return None if row is None else json.loads(row[0])

    def record(self, key: str, result: Any) -> None:
        """Record a JSON-able result under ``key`` and commit it; raises InputError when the disk is full."""
        self._execute("INSERT OR REPLACE INTO done VALUES (?, ?)", key, json.dumps(result))

    def _execute(self, statement: str, *values: str) -> Any:
        """Run one statement, commit it, and return its first row."""
        try:
            with self._connection:
                return self._connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error) -> InputError:
        return InputError(
            f"cannot be used: {error}",
            file=self._path,
            remedy="free space on the disk, end the other run that uses it, or give another --out",
        )


def file_key(path: Path) -> str:
    """Return a key that changes when a file is replaced: its absolute path, size and time of change."""
    state = path.stat()
    return json.dumps([str(path.absolute()), state.st_size, state.st_mtime_ns])
