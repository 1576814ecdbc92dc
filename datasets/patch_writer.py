"""Writing a patch store: whole images at a time, patients in one split only, marks of a reviewer."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mammodet.datasets.errors import InputError
from mammodet.datasets.patch_records import ImagePatches, Window
from mammodet.datasets.patch_schema import connect_writer, told, transaction


class PatchWriter:
    """Adds images with their patches to a store; use as a context manager.

    Each image is one transaction, so a process that is killed loses at most the image it was adding. Readers
    may read meanwhile; a second writer waits for the first one's transaction.

    Parameters
    ----------
    path:
        The SQLite file; made when it is not there.
    settings:
        What the patches depend on, such as rule, recipe, ``storage`` ("stored" or "referenced"), ``depth``
        (8 or 16) and ``size``; plain values that JSON can hold.
    turned_splits:
        Splits whose patches get copies turned by 90, 180 and 270 degrees; they share the pixels.

    Raises
    ------
    InputError
        When the file is no patch store or was made with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], turned_splits: Iterable[str] = ()) -> None:
        self._path = path
        self._turned = frozenset(turned_splits)
        self._connection = connect_writer(path, settings)

    def __enter__(self) -> PatchWriter:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(sqlite3.Error):  # readers may be at work; then the last of them does it
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def files(self) -> dict[str, str]:
        """Return the file names of the images that are in the store already, by key."""
        with told(self._path):
            return dict(self._connection.execute("SELECT key, file FROM images").fetchall())

    def left_out(self) -> Counter[str]:
        """Return what was left out of all images of the store, by reason."""
        with told(self._path):
            rows = self._connection.execute("SELECT left_out FROM images").fetchall()
        total: Counter[str] = Counter()
        for (text,) in rows:
            total.update(json.loads(text))
        return total

    def claim(self, patients: Iterable[tuple[str, str]]) -> None:
        """Put patients, given with their split, into the store, or none of them.

        Raises InputError when one of them is in another split.
        """
        with told(self._path), transaction(self._connection):
            for patient, split in patients:
                self._patient(patient, split)

    def add(self, image: ImagePatches) -> None:
        """Add an image with its patches in one transaction.

        Raises InputError when its patient is in another split, when the image is there already, when two
        windows are the same, or when the disk is full; nothing of it is then in the store.
        """
        try:
            with told(self._path), transaction(self._connection):
                patient = self._patient(image.patient, image.split)
                number = self._insert_image(image, patient)
                for place, window in enumerate(image.windows):
                    self._insert_patches(number, image, window, image.pixels[place] if image.pixels else None)
        except InputError as error:
            if "UNIQUE constraint failed" not in str(error):
                raise
            raise InputError(
                "the image is in the store already, or has two windows at one place",
                file=self._path,
                field="image",
                value=image.key,
                remedy="add every image once",
            ) from None

    def mark(self, marks: Sequence[tuple[int, bool, str]]) -> None:
        """Set marks and remarks of patches, and close the gaps that ambiguous patches leave in their strata.

        Parameters
        ----------
        marks:
            Id of a patch, whether it is ambiguous, and a remark. The patch's turned copies are marked too.
        """
        with told(self._path), transaction(self._connection):
            touched: set[int] = set()
            for number, ambiguous, remark in marks:
                copies = self._connection.execute(
                    "SELECT id, stratum FROM patches WHERE (image, x, y, width, height) = "
                    "(SELECT image, x, y, width, height FROM patches WHERE id = ?)",
                    (number,),
                ).fetchall()
                touched |= {stratum for _, stratum in copies}
                self._connection.executemany(
                    "UPDATE patches SET ambiguous = ?, remark = ? WHERE id = ?",
                    [(int(ambiguous), remark, copy) for copy, _ in copies],
                )
            for stratum in touched:
                self._renumber(stratum)

    def _patient(self, key: str, split: str) -> int:
        """Return the number of a patient, who is added when new."""
        row = self._connection.execute("SELECT id, split FROM patients WHERE key = ?", (key,)).fetchone()
        if row is None:
            insert = "INSERT INTO patients (key, split) VALUES (?, ?)"
            return _last(self._connection.execute(insert, (key, split)))
        if row[1] != split:
            raise InputError(
                f"the patient is in split {row[1] or 'without a name'!r} already",
                file=self._path,
                field=f"split of patient {key}",
                value=split,
                remedy="split by patient with mammodet split, and give all parts of one split",
            )
        return int(row[0])

    def _insert_image(self, image: ImagePatches, patient: int) -> int:
        cursor = self._connection.execute(
            "INSERT INTO images (key, file, patient, geometry, mapped, left_out) VALUES (?, ?, ?, ?, ?, ?)",
            (
                image.key,
                image.file,
                patient,
                json.dumps(image.geometry.to_dict()),
                image.mapped,
                json.dumps(dict(image.left_out)),
            ),
        )
        return _last(cursor)

    def _insert_patches(self, image: int, record: ImagePatches, window: Window, pixels: bytes | None) -> None:
        stratum, count = self._stratum(record.split, window.label)
        turns = (0, 1, 2, 3) if record.split in self._turned else (0,)
        first = None
        for turn in turns:
            cursor = self._connection.execute(
                "INSERT INTO patches (image, x, y, width, height, turn, stratum, place, pixels, annotation) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(image, window.x, window.y, window.size, window.size, turn),
                    *(stratum, count + turn, first or 0, window.annotation),
                ),
            )
            first = first or _last(cursor)
        self._connection.execute("UPDATE patches SET pixels = id WHERE id = ?", (first,))
        self._connection.execute("UPDATE strata SET patches = ? WHERE id = ?", (count + len(turns), stratum))
        if pixels is not None:
            self._connection.execute("INSERT INTO pixels VALUES (?, ?)", (first, pixels))

    def _stratum(self, split: str, label: str) -> tuple[int, int]:
        """Return the number of a split's class, and how many of its patches can be drawn."""
        find = "SELECT id, patches FROM strata WHERE split = ? AND class = ?"
        row = self._connection.execute(find, (split, label)).fetchone()
        if row is not None:
            return int(row[0]), int(row[1])
        insert = "INSERT INTO strata (split, class) VALUES (?, ?)"
        return _last(self._connection.execute(insert, (split, label))), 0

    def _renumber(self, stratum: int) -> None:
        """Give the patches that can be drawn places without gaps, in the order of their ids."""
        kept = self._connection.execute(
            "SELECT id FROM patches WHERE stratum = ? AND NOT ambiguous ORDER BY id", (stratum,)
        ).fetchall()
        self._connection.execute("UPDATE patches SET place = NULL WHERE stratum = ?", (stratum,))
        self._connection.executemany(
            "UPDATE patches SET place = ? WHERE id = ?", [(place, one) for place, (one,) in enumerate(kept)]
        )
        self._connection.execute("UPDATE strata SET patches = ? WHERE id = ?", (len(kept), stratum))


def _last(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid
