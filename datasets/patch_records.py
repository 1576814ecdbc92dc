"""What a patch store holds: patches, the images they lie in, and how their pixels are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.coco_records import ImageRecord
from mammodet.datasets.geometry import Geometry
from mammodet.datasets.patient_groups import patient_of

Stored = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Window:
    """A square of ``size`` x ``size`` pixels at ``x``, ``y`` of a standardised image, and what it shows.

    ``annotation`` is the id of the lesion that it is centred on; None for one without.
    """

    x: int
    y: int
    size: int
    label: str
    annotation: int | None = None


@dataclass(frozen=True)
class ImagePatches:
    """The patches of one image, as they go into a store.

    Parameters
    ----------
    key, file, patient, split:
        As ``image_key``, the COCO file, ``patient_key`` and the COCO file or the user tell them.
    geometry:
        From the frame of the COCO file's boxes to that of the windows.
    pixels:
        Bytes of each window as ``encode`` makes them; empty for a store of references.
    mapped:
        Name of the ``.npy`` file beside a store of references.
    left_out:
        How many lesions or wanted windows were left out, by reason.
    """

    key: str
    file: str
    patient: str
    split: str
    geometry: Geometry
    windows: tuple[Window, ...] = ()
    pixels: tuple[bytes, ...] = ()
    mapped: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patch:
    """One patch of a store.

    ``image`` is the image's key and ``file`` its name in the COCO file; ``geometry`` leads from the frame of
    the COCO file's boxes to the patch, quarter turns included. ``x``, ``y``, ``width`` and ``height`` are its
    window on the standardised image, which is the source image unless the recipe crops or resizes.
    """

    id: int
    image: str
    file: str
    patient: str
    split: str
    label: str
    x: int
    y: int
    width: int
    height: int
    turn: int
    geometry: Geometry
    annotation: int | None
    ambiguous: bool
    remark: str

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """The patch as ``[x, y, width, height]`` in pixels of the source, the frame of the COCO file."""
        box = self.geometry.boxes_to_source([[0, 0, self.geometry.width, self.geometry.height]])
        x1, y1, x2, y2 = box[0].tolist()
        return x1, y1, x2 - x1, y2 - y1


def image_key(image: ImageRecord) -> str:
    """Return what names an image in a store: data set and id, which stay when a COCO file is split."""
    return f"{image.get('dataset') or 'images'}/{image['id']}"


def patient_key(image: ImageRecord) -> str:
    """Return what images of one patient share in a store, also beside other data sets; see ``patient_of``."""
    kind, name = patient_of(image)
    return f"{image.get('dataset') or 'images'}/{kind} {name}"


def encode(pixels: NDArray[np.float32], depth: int) -> bytes:
    """Return pixels [H, W] of 0 to 1 as plain little-endian bytes, rounded to 1/65535 or, at 8 bits, 1/255.

    Measured on windows of 112 x 112 px of an 8-bit film, an exam in PNG and a digital mammogram in 16 bits
    (kB of each, milliseconds to decode): plain 25.1, 25.1, 25.1 and 0.001; zlib 9.6, 13.4, 19.8 and 0.16,
    0.16, 0.25; PNG 13.6, 15.6, 22.7 and 0.57, 0.27, 0.40. Decoding a batch of 256 would take 40 to 150 ms,
    more than all else, so pixels stay plain, and 8 bits are offered to halve them.
    """
    return quantise(pixels, depth).tobytes()


def quantise(pixels: NDArray[np.float32], depth: int) -> Stored:
    """Return pixels of 0 to 1 as whole numbers of 0 to 255 or 65535, little-endian."""
    return np.rint(pixels * np.float32(2**depth - 1)).astype(pixel_type(depth))


def pixel_type(depth: int) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    """Return the type of a stored pixel."""
    return np.dtype("u1") if depth == 8 else np.dtype("<u2")


def decode(content: bytes, height: int, width: int, depth: int) -> Stored:
    """Return the pixels [height, width] of ``encode``, not yet divided by their full scale."""
    pixels: Any = np.frombuffer(content, pixel_type(depth))
    window: Stored = pixels.reshape(height, width)
    return window


def mapped_folder(store: Path) -> Path:
    """Return the folder of the ``.npy`` files of a store of references: STORE.pixels."""
    return store.with_name(store.name + ".pixels")


def preview(pixels: NDArray[np.float32], side: int | None = None) -> NDArray[np.uint8]:
    """Return a patch [H, W] in the contrast of its own 0.5 and 99.8 percentiles, at most ``side`` px wide."""
    low, high = np.percentile(pixels, [0.5, 99.8])
    grey = np.clip((pixels - low) / max(high - low, 0.05), 0, 1)
    if side is not None and max(grey.shape) > side:
        scale = side / max(grey.shape)
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.rint(grey * 255).astype(np.uint8)
