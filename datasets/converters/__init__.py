"""Data sets to the COCO profile: one module per source format, and the table of them all.

A converter is a module with ``SOURCE``, a ``base.Source``: what the data set is called, by which rule lesions
get their category, how its films are listed, and what to cite. ``write-a-converter.md`` in docs shows how to
add one, here or in a file of your own.
"""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammodet.datasets.errors import InputError

if TYPE_CHECKING:
    from mammodet.datasets.converters.base import Film, Source

# name -> (module in this folder, one line for people)
CONVERTERS: Mapping[str, tuple[str, str]] = {
    "mini-mias": ("mini_mias", "mini-MIAS: Info.txt and 1024 x 1024 PGM films, lesions as circles"),
    "mask-folders": ("mask_folders", "images beside folders of masks, NAME_benign.png or NAME_malignant.png"),
    "seed-csv": ("seed_csv", "annotations.csv with a box per cell, as FPNNet of Lin et al. reads it"),
    "cbis-ddsm": ("cbis_ddsm", "CBIS-DDSM: four tables, a mask per calcification or mass, proven pathology"),
    "inbreast": ("inbreast", "INbreast: INbreast.csv, outlines in AllXML, BI-RADS per image"),
    "vindr-mammo": ("vindr", "VinDr-Mammo: finding_annotations.csv with boxes, BI-RADS per finding"),
    "cdd-cesm": ("cdd_cesm", "CDD-CESM: contrast-enhanced images, hand-drawn regions, pathology per image"),
    "ddsm": ("ddsm", "DDSM: .ics and .OVERLAY files with chain codes, films converted from .LJPEG"),
    "omi-db": ("omi_db", "OMI-DB through the package omidb: marks with histology from NBSS records"),
    "embed": ("embed", "EMBED Open Data: boxes on 2D images, tissue or BI-RADS per finding of a breast"),
    "cmmd": ("cmmd", "CMMD: benign or malignant per breast, sides from DICOM headers, no boxes"),
    "rsna": ("rsna", "RSNA Screening Mammography: train.csv with cancer and biopsy per breast, no boxes"),
    "csaw-cc": ("csaw_cc", "CSAW-CC: screening exams of women with and without cancer, some with masks"),
    "voc": ("pascal_voc", "Pascal VOC: an XML file per image, as LabelImg and CVAT write it"),
    "yolo": ("yolo", "YOLO: a text file per image, classes named by data.yaml, classes.txt or obj.names"),
    "labelme": ("labelme", "LabelMe: a JSON file per image with polygons, boxes, circles and masks"),
    "coco": ("coco_export", "COCO detection files as CVAT, Label Studio and others export them"),
}


def load_source(name: str) -> Source:
    """Return the converter called ``name``, or the ``SOURCE`` of a Python file of one's own, ``my_set.py``.

    Such a file is run, like any program. Raises InputError when there is no such converter or file, and when
    the file cannot be imported or has no ``SOURCE``.
    """
    if name.endswith(".py"):
        return _own_source(Path(name))
    if name not in CONVERTERS:
        remedy = f"choose one of {', '.join(CONVERTERS)}, or give a Python file of your own"
        raise InputError("no such converter", field="source", value=name, remedy=remedy)
    module = importlib.import_module(f"mammodet.datasets.converters.{CONVERTERS[name][0]}")
    source: Source = module.SOURCE
    return source


def _own_source(path: Path) -> Source:
    from mammodet.datasets.converters.base import Source  # noqa: PLC0415 (base imports much)

    if not path.is_file():
        raise InputError("no such file", file=path, remedy="give the Python file of your converter")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # the suffix is .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a program can raise
        problem = f"cannot be imported: {type(error).__name__}: {error}"
        raise InputError(problem, file=path, remedy="correct the file") from error
    source = getattr(module, "SOURCE", None)
    if not isinstance(source, Source):
        remedy = "end it with SOURCE = Source(dataset, films, category_rule)"
        raise InputError("has no SOURCE", file=path, field="SOURCE", value=source, remedy=remedy)
    return replace(source, films=_told_in_one_line(source.films, path))


def _told_in_one_line(films: Callable[..., Iterable[Film]], path: Path) -> Callable[..., Iterable[Film]]:
    """Wrap a converter of one's own, so that what it raises names its file and line."""

    def told(*arguments: Any) -> Iterator[Film]:
        try:
            yield from films(*arguments)
        except (InputError, OSError):
            raise
        except Exception as error:
            lines = [
                one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == str(path)
            ]
            raise InputError(
                f"the converter failed: {type(error).__name__}: {error}",
                file=path,
                field=f"line {lines[-1]}" if lines else None,
                remedy="correct the converter",
            ) from error

    return told
