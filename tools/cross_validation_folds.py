"""The folder of a cross-validation: settings that must stay the same, and the COCO files of the folds."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import Coco, read_json, write_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.splits import cross_validation_by_patient
from mammodet.tools.split import refuse_leaks

STATE = "state.json"
_SPLIT_DONE = "split.json"


@dataclass(frozen=True)
class Fold:
    """One fold: its number from 1, its folder, and the COCO files of its parts; ``val`` may be None."""

    number: int
    folder: Path
    train: Path
    val: Path | None
    test: Path

    @property
    def is_trained(self) -> bool:
        """Whether its training has ended."""
        return self.marker("trained").is_file()

    @property
    def scores(self) -> Path:
        """The folder of what the fold's model says of the test images."""
        return self.folder / "scores"

    def marker(self, done: str) -> Path:
        """Return the file that says that a step is done: trained, scored or evaluated."""
        return self.folder / f"{done}.json"


def require_same_settings(
    coco: Path, out: Path, options: Mapping[str, Any], changeable: Collection[str]
) -> None:
    """Record the data and the options in ``out``, or refuse when it holds folds made with others.

    Parameters
    ----------
    options:
        All options as plain values, groups as dicts; where they lie (``coco``, ``out``) does not count.
    changeable:
        Options that may differ, because no result depends on them.
    """
    recorded = {key: value for key, value in options.items() if key not in {"coco", "out", *changeable}}
    now = {
        "mammodet": version("mammodet"),
        "coco_sha256": hashlib.sha256(coco.read_bytes()).hexdigest(),
        "options": recorded,
    }
    path = out / STATE
    if not any(out.glob("fold_*")):  # nothing is trained yet
        if path.is_file() and read_json(path) != now:
            (out / _SPLIT_DONE).unlink(missing_ok=True)
        write_json(path, now)
        return
    before = read_json(path) if path.is_file() else None
    if not isinstance(before, dict) or not isinstance(before.get("options"), dict):
        raise InputError("is no state of a cross-validation", file=path, remedy="give another --out")
    before["options"].setdefault("method", "train-det")  # the only one of earlier versions
    if before.get("coco_sha256") != now["coco_sha256"]:
        problem = "differs from the file that this cross-validation was started with"
        raise InputError(
            problem, file=coco, field="COCO", remedy=f"give that file, or another --out than {out}"
        )
    old, new = _flat(before["options"]), _flat(recorded)
    for name in (*new, *old):
        if old.get(name, _MISSING) != new.get(name, _MISSING):
            was = repr(old[name]) if name in old else "not known"
            raise InputError(
                f"this cross-validation was started with another value, {was}",
                file=out,
                field=name,
                value=new.get(name, "nothing"),
                remedy="give that value, or another --out",
            )


_MISSING = object()


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def write_folds(
    coco: Coco, out: Path, *, folds: int, val_share: float, seed: int, pixels: bool
) -> list[Fold]:
    """Write the COCO files of all folds below ``out``, unless an earlier run has, and return the folds.

    Raises InputError when two test parts share a patient, a study, a file or, with ``pixels``, pixels.
    """
    planned = planned_folds(out, folds, val_share)
    if (out / _SPLIT_DONE).is_file():
        return planned
    how = {"folds": folds, "val_share": val_share, "seed": seed}
    parts: list[Coco] = []
    for fold, ids in zip(planned, cross_validation_by_patient(coco, folds, val_share, seed), strict=True):
        paths = {"train": fold.train, "val": fold.val, "test": fold.test}
        parts += [_part(coco, ids[name], path, name, how) for name, path in paths.items() if path is not None]
    held_out = {part.path.stem: part for part in parts if part.path.stem.endswith("test")}
    refuse_leaks(coco, held_out, pixels=pixels)
    for part in parts:
        write_coco(part)
    write_json(out / _SPLIT_DONE, how)
    return planned


def planned_folds(out: Path, folds: int, val_share: float) -> list[Fold]:
    """Return the folds, whether their files are there or not."""
    return [_fold(out, number, bool(val_share)) for number in range(1, folds + 1)]


def _fold(out: Path, number: int, validates: bool) -> Fold:
    train, val, test = (out / "folds" / f"fold_{number}_{part}.json" for part in ("train", "val", "test"))
    return Fold(number, out / f"fold_{number}", train, val if validates else None, test)


def _part(coco: Coco, ids: set[int], path: Path, name: str, how: Mapping[str, Any]) -> Coco:
    part = coco.subset(ids, path)
    info = {**part.info, "split": {"part": path.stem, **how}}
    return replace(part, images=[{**image, "split": name} for image in part.images], info=info)
