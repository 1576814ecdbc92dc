"""hotcoco, the fast COCO evaluator, in the shape of pycocotools' one; it is installed or it is not.

hotcoco (MIT licence, written in Rust) gives the numbers of pycocotools to the last digits; a test holds it to
that. It does not know ``ignore`` lesions, so files with any stay with pycocotools.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import hotcoco
except ImportError:  # no wheel for this machine
    hotcoco = None  # type: ignore[assignment]


def available() -> bool:
    """Return whether hotcoco is installed."""
    return hotcoco is not None


class FastParams:
    """What pycocotools calls ``params``, with arrays where it has arrays."""

    def __init__(self, params: Any) -> None:
        self.iouThrs: NDArray[np.float64] = np.asarray(params.iou_thrs)
        self.recThrs: NDArray[np.float64] = np.asarray(params.rec_thrs)
        self.maxDets: list[int] = list(params.max_dets)
        self.areaRng: list[list[float]] = list(params.area_rng)
        self.areaRngLbl: list[str] = list(params.area_rng_lbl)
        self.catIds: list[int] = list(params.cat_ids)
        self.imgIds: list[int] = list(params.img_ids)


class FastEvaluator:
    """The part of COCOeval that mammodet uses, computed by hotcoco.

    ``truth`` is a data set as pycocotools' ``COCO.dataset`` holds it, ``predictions`` a COCO results list;
    neither is changed. Ids must be below 2**53, where a float is exact.
    """

    def __init__(self, truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> None:
        known = hotcoco.COCO(dict(truth))
        rows = [(one["image_id"], *one["bbox"], one["score"], one["category_id"]) for one in predictions]
        table = np.array(rows, dtype=np.float64).reshape(-1, 7)  # much faster than dictionaries
        self._evaluator = hotcoco.COCOeval(known, known.load_res(table), "bbox")
        self.eval: dict[str, Any] = {}

    def evaluate(self) -> None:
        """Match boxes with lesions."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._evaluator.evaluate()
        self.params = FastParams(self._evaluator.params)

    def accumulate(self) -> None:
        """Fill ``eval``, with the arrays of pycocotools."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._evaluator.accumulate()
        found: Any = self._evaluator.eval
        self.eval = {name: np.asarray(found[name]) for name in ("precision", "recall")}
