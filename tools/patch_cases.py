"""The patches of a store as cases of a classifier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mammodet.classification.model_file import ClassifierHeader
from mammodet.classification.predict import require_store
from mammodet.datasets.errors import InputError
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patch_records import Patch
from mammodet.datasets.patch_store import PatchStore
from mammodet.tools.case_views import Cases, ClassifierCase, View, in_contrast

STORE_SUFFIX = ".sqlite"


def patch_cases(paths: Sequence[str], header: ClassifierHeader, split: str | None) -> Cases:
    """Return the patches of a store, without turned copies and ambiguous ones.

    Raises InputError when the input is no store, or one that does not fit the network, or has no such split.
    """
    if len(paths) > 1 or not paths[0].endswith(STORE_SUFFIX):
        problem = "this classifier looks at patches"
        remedy = f"give one patch store, STORE{STORE_SUFFIX}, as mammodet patches writes it"
        raise InputError(problem, field="PATH", value=list(paths), remedy=remedy)
    store = PatchStore(paths[0])
    require_store(header, store)
    patches = list(store.patches(split, turned=False, ambiguous=False))
    if not patches:
        known = ", ".join(f"{name or 'none'} ({count})" for name, count in _splits(store).items())
        raise InputError(
            f"holds no patch of this split; it has {known or 'none at all'}",
            file=store.path,
            field="split",
            value=split,
        )
    told = [(patch, header.task.index(patch.label)) for patch in patches]
    cases = [_patch(store, patch, truth) for patch, truth in told if truth is not None]
    return Cases(cases, len(told) - len(cases))


def _patch(store: PatchStore, patch: Patch, truth: int) -> ClassifierCase:
    window = [patch.x, patch.y, patch.width, patch.height]
    return ClassifierCase(
        id=patch.id,
        name=f"{patch.id:06d}_{Path(patch.file).stem[:40]}",
        path=store.path,
        file=patch.file,
        image=patch.image,
        patient=patch.patient,
        truth=truth,
        key=json.dumps([str(store.path.absolute()), store.info, patch.id, patch.image, *window, truth]),
        read=partial(_patch_view, store, patch.id),
        frame=patch.frame,
    )


def _patch_view(store: PatchStore, number: int) -> View:
    pixels = store.pixels([number])[0]
    return View(in_contrast(pixels), pixels, Geometry(pixels.shape[1], pixels.shape[0]))


def _splits(store: PatchStore) -> dict[str, int]:
    splits: dict[str, int] = {}
    for (name, _), count in store.counts().items():
        splits[name] = splits.get(name, 0) + count
    return splits
