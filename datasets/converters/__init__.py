"""Data sets to the COCO profile: one module per source format, and the table of them all.

A converter is a module with ``SOURCE``, a ``base.Source``: what the data set is called, by which rule lesions
get their category, how its films are listed, and what to cite. ``develop.md`` in docs shows how to add one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mammodet.datasets.errors import InputError

if TYPE_CHECKING:
    from mammodet.datasets.converters.base import Source

# name -> (module in this folder, one line for people)
CONVERTERS: Mapping[str, tuple[str, str]] = {
    "mini-mias": ("mini_mias", "mini-MIAS: Info.txt and 1024 x 1024 PGM films, lesions as circles"),
    "mask-folders": ("mask_folders", "images beside folders of masks, NAME_benign.png or NAME_malignant.png"),
    "seed-csv": ("seed_csv", "annotations.csv with a box per cell, as FPNNet of Lin et al. reads it"),
}


def load_source(name: str) -> Source:
    """Return the converter called ``name``; raises InputError when there is none."""
    if name not in CONVERTERS:
        remedy = f"choose one of {', '.join(CONVERTERS)}"
        raise InputError("no such converter", field="source", value=name, remedy=remedy)
    module = importlib.import_module(f"mammodet.datasets.converters.{CONVERTERS[name][0]}")
    source: Source = module.SOURCE
    return source
