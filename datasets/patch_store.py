"""The patch store: windows on images in one SQLite file, read in balanced batches without loading it.

    store = PatchStore("patches.sqlite")
    draws = store.draws("train", [["normal"], ["benign", "malignant"]], seed=0)
    batch = store.batch(draws, size=256, epoch=0, step=17)  # the same in every process and every run

``mammodet patches`` makes stores. Pixels are stored in the file, or referenced: windows on 16-bit images in a
folder beside it, which are mapped into memory.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patch_draws import BalancedDraws, Drawn, Pool
from mammodet.datasets.patch_records import Patch, decode, mapped_folder, pixel_type
from mammodet.datasets.patch_schema import connect_reader, read_info, snapshot, told

# A batch is read over so many connections at once, because a disk answers several questions at a time.
_LANES, _LANES_FROM = 4, 64  # and from so many patches on
_MAPPED = 64  # images that a process keeps mapped
_INHERITED: list[sqlite3.Connection] = []  # of a parent process; closing them here would harm its file

_PATCH = (
    "SELECT p.id, i.key, i.file, n.key, s.split, s.class, p.x, p.y, p.width, p.height, p.turn, i.geometry, "
    "p.annotation, p.ambiguous, p.remark FROM patches p JOIN images i ON i.id = p.image "
    "JOIN patients n ON n.id = i.patient JOIN strata s ON s.id = p.stratum "
)
_PATCH_FIELDS = ("id", "image", "file", "patient", "split", "label", "x", "y", "width", "height", "turn")
_STORED = "SELECT p.id, p.height, p.width, p.turn, c.content FROM patches p JOIN pixels c ON c.id = p.pixels "
_REFERENCED = (
    "SELECT p.id, p.height, p.width, p.turn, i.mapped, p.x, p.y "
    "FROM patches p JOIN images i ON i.id = p.image "
)


@dataclass(frozen=True)
class PatchBatch:
    """Patches to learn from: ``pixels`` float32 [N, H, W] of 0 to 1, ``groups`` int64 [N], ``ids`` int64 [N].

    ``groups`` holds for each patch the index of the group that it was drawn for.
    """

    pixels: NDArray[np.float32]
    groups: NDArray[np.int64]
    ids: NDArray[np.int64]


class PatchStore:
    """A patch store, opened for reading.

    It may be handed to other processes, forked or spawned: each opens the file for itself when it first
    reads. Any number of processes may read while one writes.

    Raises
    ------
    InputError
        When the file is not there or is no patch store.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._local = threading.local()
        self.info: dict[str, Any] = read_info(self._connection(), self.path)
        self._depth = 16 if self.info["storage"] == "referenced" else int(self.info["depth"])

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "info": self.info, "_depth": self._depth}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def close(self) -> None:
        """Close the connections of this process and thread; the next reading opens others."""
        if getattr(self._local, "process", None) == os.getpid():
            for connection in self._local.connections:
                connection.close()
        self._local = threading.local()

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the number of patches that can be drawn, by split ("" for none) and class.

        Patches that are marked as ambiguous are not among them.
        """
        return {(split, label): count for _, split, label, count in self._strata()}

    def draws(self, split: str, groups: Sequence[Sequence[str]], *, seed: int = 0) -> BalancedDraws:
        """Return the draws of balanced batches from a split.

        Parameters
        ----------
        groups:
            Classes of each group that gets its equal share of a batch, such as ``[["normal"], ["benign",
            "malignant"]]``; one group of all classes takes the patches as often as they are.

        Raises
        ------
        InputError
            When a class is in two groups, or a group has no patches in the split.
        """
        named = [label for group in groups for label in group]
        if len(set(named)) < len(named) or not groups:
            raise InputError("a class belongs to one group", field="groups", value=groups)
        pools = {(name, label): Pool(number, count) for number, name, label, count in self._strata()}
        found: list[tuple[Pool, ...]] = []
        for group in groups:
            mine = [pools[split, label] for label in group if (split, label) in pools]
            found.append(tuple(pool for pool in mine if pool.patches))
            if not found[-1]:
                known = ", ".join(
                    f"{count} {label} in {name or 'no split'}"
                    for (name, label), count in self.counts().items()
                )
                raise InputError(
                    f"there are no patches of this group in split {split!r}",
                    file=self.path,
                    field="groups",
                    value=list(group),
                    remedy=f"the store holds {known or 'none at all'}",
                )
        return BalancedDraws(tuple(found), seed)

    def batch(self, draws: BalancedDraws, size: int, epoch: int, step: int) -> PatchBatch:
        """Return batch number ``step`` of ``size`` patches of an epoch, both counted from 0.

        It depends on nothing but the store, ``draws`` and these numbers.
        """
        return self.read(draws.draw(size, epoch, step))

    def read(self, drawn: Drawn) -> PatchBatch:
        """Return the patches that were drawn."""
        where = "WHERE p.stratum = ? AND p.place = ?"
        ids, pixels = self._pixels(
            where, list(zip(drawn.strata.tolist(), drawn.places.tolist(), strict=True))
        )
        return PatchBatch(pixels, drawn.groups, ids)

    def pixels(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the pixels of these patches, float32 [N, H, W] of 0 to 1; raises InputError for no patch."""
        return self._pixels("WHERE p.id = ?", [(int(one),) for one in ids])[1]

    def patch(self, number: int) -> Patch:
        """Return what the store knows of a patch; raises InputError when there is none of this id."""
        for found in self._patches("WHERE p.id = ?", (int(number),)):
            return found
        raise InputError("no such patch", file=self.path, field="id", value=number)

    def find(self, image: str, window: Sequence[float]) -> Patch | None:
        """Return the patch, not turned, at ``[x, y, width, height]`` of an image (its key), or None."""
        where = "WHERE i.key = ? AND (p.x, p.y, p.width, p.height, p.turn) = (?, ?, ?, ?, 0)"
        return next(self._patches(where, (image, *window)), None)

    def ambiguous(self) -> int:
        """Return how many patches are marked as ambiguous, turned copies included."""
        with told(self.path):
            query = "SELECT count(*) FROM patches WHERE ambiguous"
            return int(self._connection().execute(query).fetchone()[0])

    def patches(
        self, split: str | None = None, *, turned: bool = True, ambiguous: bool = True
    ) -> Iterator[Patch]:
        """Yield the patches by id, of all splits or one, with or without turned copies and ambiguous ones."""
        terms = ["(? IS NULL OR s.split = ?)"]
        terms += [] if turned else ["p.turn = 0"]
        terms += [] if ambiguous else ["NOT p.ambiguous"]
        yield from self._patches(f"WHERE {' AND '.join(terms)} ORDER BY p.id", (split, split))

    def _patches(self, where: str, values: Sequence[Any]) -> Iterator[Patch]:
        with told(self.path):
            for row in self._connection().execute(_PATCH + where, values):
                x, y, width, height, turn = row[6:11]
                geometry = Geometry.from_dict(json.loads(row[11])).crop(x, y, width, height).turn(turn)
                yield Patch(
                    **dict(zip(_PATCH_FIELDS, row[:11], strict=True)),
                    geometry=geometry,
                    annotation=row[12],
                    ambiguous=bool(row[13]),
                    remark=row[14],
                )

    def labels(self) -> dict[int, str]:
        """Return the class of each stratum that draws name."""
        return {number: label for number, _, label, _ in self._strata()}

    def _strata(self) -> list[tuple[int, str, str, int]]:
        with told(self.path):
            query = "SELECT id, split, class, patches FROM strata ORDER BY split, class"
            return self._connection().execute(query).fetchall()

    def _pixels(
        self, where: str, keys: Sequence[tuple[int, ...]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids [N] and pixels [N, H, W] of the patches that ``where`` finds for each of ``keys``."""
        referenced = self.info["storage"] == "referenced"
        query = (_REFERENCED if referenced else _STORED) + where
        side = int(self.info["size"])
        stored = np.empty((len(keys), side, side), pixel_type(self._depth))
        ids = np.empty(len(keys), np.int64)
        lanes = 1 if referenced or len(keys) < _LANES_FROM else _LANES
        connections = self._connections(lanes)

        def read(lane: int) -> None:
            with told(self.path), snapshot(connections[lane]) as cursor:
                for index in range(lane, len(keys), lanes):
                    row = cursor.execute(query, keys[index]).fetchone()
                    if row is None:
                        remedy = "it was changed since the draws were made; make them again"
                        raise InputError("no such patch", file=self.path, value=keys[index], remedy=remedy)
                    ids[index], height, width, turn = row[:4]
                    window = (
                        self._mapped(row[4])[row[6] : row[6] + height, row[5] : row[5] + width]
                        if referenced
                        else decode(row[4], height, width, self._depth)
                    )
                    stored[index] = np.rot90(window, turn) if turn else window

        if lanes == 1:
            read(0)
        else:  # threads of this batch alone, since a process that has threads is no good one to fork
            with ThreadPoolExecutor(lanes) as pool:
                list(pool.map(read, range(lanes)))
        return ids, np.divide(stored, np.float32(2**self._depth - 1), dtype=np.float32)

    def _mapped(self, name: str) -> NDArray[np.uint16]:
        """Return an image of a store of references, uint16 [H, W], mapped into memory."""
        maps: OrderedDict[str, NDArray[np.uint16]] = self._local.__dict__.setdefault("maps", OrderedDict())
        if name not in maps:
            path = mapped_folder(self.path) / name
            try:
                maps[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                remedy = "keep the folder beside the store, or make the store again"
                raise InputError(f"cannot be read: {error}", file=path, remedy=remedy) from None
            if len(maps) > _MAPPED:
                maps.popitem(last=False)
        maps.move_to_end(name)
        return maps[name]

    def _connection(self) -> sqlite3.Connection:
        """Return the first connection of this process and thread."""
        return self._connections(1)[0]

    def _connections(self, count: int) -> list[sqlite3.Connection]:
        """Return at least ``count`` connections of this process and thread, which no other thread takes."""
        held = self._local.__dict__
        if held.get("process") != os.getpid():
            _INHERITED.extend(held.get("connections", ()))
            held["connections"], held["process"] = [], os.getpid()
        connections: list[sqlite3.Connection] = held["connections"]
        while len(connections) < count:
            connections.append(connect_reader(self.path))
        return connections
