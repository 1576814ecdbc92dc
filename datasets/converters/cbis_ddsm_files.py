"""Which files of CBIS-DDSM are meant: downloads rename them, and the names of masks and crops are mixed up.

A path of the tables, ``Calc-Test_P_00038_LEFT_CC_1/STUDY/SERIES/000000.dcm``, is looked for in the folder of
its first part, wherever that lies: newer downloads call the files ``1-1.dcm`` and the folders in between by
date and series, and a lesion's mask and crop lie in one folder or in two. Exports without these folders are
found by the folder SERIES, or by a file called like the first part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.converters.files import ImageFiles
from mammodet.datasets.converters.shapes import same_shape
from mammodet.datasets.dicom import open_dicom, quiet_pydicom
from mammodet.datasets.dicom_pixels import decode
from mammodet.datasets.errors import InputError
from mammodet.datasets.filetype import file_kind
from mammodet.datasets.intensity import Stored
from mammodet.datasets.mammogram import image_size
from mammodet.datasets.raster import read_raster

_BINARY_SHARE = 0.99  # of a mask's pixels at its ends; only JPEG leaves some in between
_JPEG_LEVELS = 32


def image_file(files: ImageFiles, cell: str) -> Path:
    """Return the mammogram that a cell of the tables names; raises InputError when it is not one file."""
    found = _candidates(files, cell)
    if len(found) > 1:
        found = [path for path in found if is_named(files, path, cell)] or found
    if len(found) != 1:
        problem = "several files lie in the folder of one image" if found else "no such image file"
        raise InputError(problem, value=", ".join(map(files.name, found)) or None)
    return found[0]


def find_mask(
    files: ImageFiles, cells: Sequence[str], size: tuple[int, int]
) -> tuple[Path, NDArray[np.bool_]]:
    """Return the mask among the files that the cells of one row name, and its pixels [H, W].

    Neither name nor folder tells the mask from the crop. The mask has two values and the ``size`` (width,
    height) of its image or, where no such file has it, the same shape within 1 %.

    Raises
    ------
    InputError
        When there is no file, none that can be the mask, or several that differ; ``value`` lists the files
        and their sizes.
    """
    candidates = list(dict.fromkeys(path for cell in cells for path in _candidates(files, cell)))
    for path in candidates:
        files.use(path)
    sizes = {path: _size(path) for path in candidates}
    listed = ", ".join(f"{files.name(path)} {_text(sizes[path])}" for path in candidates)
    if not candidates:
        raise InputError("no mask file", value="/".join(_parts(cells[0])) or None)
    exact = [path for path in candidates if sizes[path] == size]
    alike = [path for path, found in sizes.items() if found and found != size and same_shape(found, size)]
    for group in (exact, alike):
        masks = {path: mask for path in group if (mask := _as_mask(path)) is not None}
        if masks:
            path = next((path for path in masks if is_named(files, path, cells[0])), next(iter(masks)))
            if any(not np.array_equal(masks[path], other) for other in masks.values()):
                raise InputError("several files can be the mask, and they differ", value=listed)
            return path, masks[path]
    problem = "no file has two values and the shape of the image, so none is its mask"
    raise InputError(problem, value=f"image {_text(size)}, {listed}")


def is_named(files: ImageFiles, path: Path, cell: str) -> bool:
    """Tell whether a file lies where a cell of the tables says."""
    return files.name(path).lower().endswith("/".join(_parts(cell)).lower())


def same_pixels(one: Path, other: Path) -> bool:
    """Tell whether two image files hold the same stored values; raises InputError like the readers."""
    return np.array_equal(_stored(one), _stored(other))


def _candidates(files: ImageFiles, cell: str) -> list[Path]:
    parts = _parts(cell)
    if len(parts) < 2:
        return []
    found = files.below(parts[0]) or files.below(parts[-2])
    if found:
        return found
    single = files.find(parts[0])
    return [] if single is None else [single]


def _parts(cell: str) -> list[str]:
    """Split a path of the tables, in every one of which a line ends within the quotes."""
    return [part for part in "".join(cell.split()).replace("\\", "/").split("/") if part]


def _size(path: Path) -> tuple[int, int] | None:
    """Return (width, height); None for a broken file, which does no harm when it is the crop."""
    try:
        return image_size(path)
    except InputError:
        return None


def _text(size: tuple[int, int] | None) -> str:
    return "cannot be read" if size is None else f"{size[0]} x {size[1]}"


def _as_mask(path: Path) -> NDArray[np.bool_] | None:
    """Return a mask [H, W], true inside; None for an image of more than two values."""
    stored = _stored(path)
    near = _JPEG_LEVELS if file_kind(path) == "jpeg" else 0
    low, high = int(stored.min()), int(stored.max())
    if ((stored <= low + near) | (stored >= high - near)).mean() < _BINARY_SHARE:
        return None
    return np.asarray(stored > high // 2)


def _stored(path: Path) -> Stored:
    kind = file_kind(path)
    if kind != "dicom":
        return read_raster(path, kind).stored
    with quiet_pydicom():
        return decode(open_dicom(path), path)
