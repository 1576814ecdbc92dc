"""The maps of scores to probabilities of one detector under one protocol, for every level in one file.

Not to be mixed up with the calibration of a network for int8 (``mammodet calibrate``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import read_json
from mammodet.datasets.errors import InputError
from mammodet.evaluation.calibration import KINDS, Calibrator, fit_calibrator
from mammodet.evaluation.cases import BreastCase, Cases, ImageCase, PatientCase

LEVELS = ("image", "breast", "patient")
SCHEMA = "mammodet.score-calibration/1"
_FUSION = "published"  # Lin et al. 2023, the fusion whose scores are mapped
_NAMES = {"platt": ("slope", "intercept", "zero"), "temperature": ("temperature", "zero")}
_HALVES = ("scores", "probabilities")  # of an isotonic map


@dataclass(frozen=True)
class ScoreCalibration:
    """One map per level, fitted on validation data.

    ``maps`` holds a map or None by level, ``reasons`` why there is none. ``score_threshold`` and
    ``suppression_iou`` are those under which the scores were made, and ``scores_of`` what they are of,
    "boxes" or "images": a map fits no others. ``inputs`` names the files, as ``metrics.json`` does.
    """

    kind: str
    score_threshold: float
    suppression_iou: float
    maps: Mapping[str, Calibrator | None]
    reasons: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    scores_of: str = "boxes"

    def probabilities(self, level: str, scores: ArrayLike) -> NDArray[np.float64] | None:
        """Return the probabilities [N] of malignancy scores [N] of a level; None where it has no map."""
        found = self.maps[level]
        return None if found is None else found(scores)

    @property
    def source(self) -> str:
        """The ground truth that the maps were fitted on, as its path was given."""
        return str(self.inputs.get("ground_truth", {}).get("path", "unknown data"))

    @property
    def warnings(self) -> list[str]:
        """What to doubt about the maps, and which level has none."""
        told = []
        for level, found in self.maps.items():
            if found is None:
                told.append(f"{level}: {self.reasons[level]}")
            else:
                told += [f"{level}: {doubt}" for doubt in found.warnings]
        return told

    def require(
        self, score_threshold: float, suppression_iou: float, file: Path, scores_of: str = "boxes"
    ) -> None:
        """Raise InputError when scores are made under other rules than those the maps were fitted under."""
        if scores_of != self.scores_of:
            raise InputError(
                f"was fitted on scores of {self.scores_of}, the scores here are of {scores_of}",
                file=file,
                remedy="fit the calibration on validation data of the same model",
            )
        for name, own, given in (
            ("score threshold", self.score_threshold, score_threshold),
            ("suppression IoU", self.suppression_iou, suppression_iou),
        ):
            if not math.isclose(own, given, rel_tol=0, abs_tol=1e-9):
                raise InputError(
                    f"was fitted on scores made with {name} {own:g}, the scores here have {given:g}",
                    file=file,
                    remedy=f"use {name} {own:g} here, or fit the calibration again with {given:g}",
                )

    def save(self, path: Path) -> None:
        """Write the maps as JSON, see docs/evaluation-intervals.md."""
        content = {
            "schema": SCHEMA,
            "versions": {name: version(name) for name in ("mammodet", "numpy", "scipy", "scikit-learn")},
            "kind": self.kind,
            "protocol": {
                "fusion": _FUSION,
                "scores_of": self.scores_of,
                "score_threshold": self.score_threshold,
                "suppression_iou": self.suppression_iou,
            },
            "inputs": dict(self.inputs),
            "levels": {level: self._level(level) for level in LEVELS},
        }
        write_json(path, content)

    def _level(self, level: str) -> dict[str, Any]:
        found = self.maps[level]
        if found is None:
            return {"parameters": None, "reason": self.reasons[level]}
        return {
            "parameters": _named(found),
            "cases": found.cases,
            "positives": found.positives,
            "zeros": found.zeros,
            "warnings": list(found.warnings),
        }

    @classmethod
    def load(cls, path: Path) -> ScoreCalibration:
        """Read what ``save`` wrote; raises InputError for anything else."""
        content: Any = read_json(path)
        try:
            kind, protocol = content["kind"], content["protocol"]
            if content["schema"] != SCHEMA or kind not in KINDS:
                raise ValueError(f"schema {content['schema']}, kind {kind}")
            if protocol["fusion"] != _FUSION:
                raise ValueError(f"protocol.fusion {protocol['fusion']}")
            rules = (float(protocol["score_threshold"]), float(protocol["suppression_iou"]))
            scores_of = protocol.get("scores_of", "boxes")  # not in files of earlier versions
            if scores_of not in ("boxes", "images"):
                raise ValueError(f"protocol.scores_of {scores_of}")
            if not all(0 <= rule <= 1 for rule in rules):
                raise ValueError("protocol")
            levels = {level: content["levels"][level] for level in LEVELS}
            maps = {level: _read(kind, level, entry) for level, entry in levels.items()}
            str(content["inputs"]["ground_truth"]["path"])
            reasons = {level: str(levels[level]["reason"]) for level, one in maps.items() if one is None}
            return cls(kind, *rules, maps, reasons, dict(content["inputs"]), scores_of)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"is no score calibration of this version ({error})",
                file=path,
                remedy="fit one with mammodet evaluate --fit-calibration on validation data",
            ) from None


def fit_score_calibration(
    kind: str,
    cases: Cases,
    score_threshold: float,
    suppression_iou: float,
    inputs: Mapping[str, Any],
    *,
    scores_of: str = "boxes",
) -> ScoreCalibration:
    """Fit a map on the images, the breasts and the patients of known truth.

    A level that cannot be fitted, such as one without both classes, gets the reason instead.

    Raises
    ------
    InputError
        When no level can be fitted.
    """
    maps: dict[str, Calibrator | None] = {}
    refused: dict[str, InputError] = {}
    source = str(inputs.get("ground_truth", {}).get("path", "ground truth"))
    for level, found in cases_of(cases).items():
        known = [case for case in found if case.truth is not None]
        truth, scores = [case.truth == "malignant" for case in known], [case.score for case in known]
        try:
            maps[level] = fit_calibrator(kind, truth, scores, source)
        except InputError as error:
            maps[level], refused[level] = None, error
    if len(refused) == len(LEVELS):
        raise refused["image"]
    reasons = {level: error.problem for level, error in refused.items()}
    return ScoreCalibration(kind, score_threshold, suppression_iou, maps, reasons, inputs, scores_of)


def cases_of(cases: Cases) -> dict[str, Sequence[ImageCase | BreastCase | PatientCase]]:
    """Return the cases by level, ``LEVELS`` in order."""
    return {"image": cases.images, "breast": cases.breasts, "patient": cases.patients}


def _named(found: Calibrator) -> dict[str, Any]:
    if found.kind == "isotonic":
        half = len(found.parameters) // 2
        parts = (found.parameters[:half], found.parameters[half:])
        return {name: list(part) for name, part in zip(_HALVES, parts, strict=True)}
    return dict(zip(_NAMES[found.kind], found.parameters, strict=True))


def _read(kind: str, level: str, entry: Any) -> Calibrator | None:
    named = entry["parameters"]
    if named is None:
        return None
    if kind == "isotonic":
        scores, chances = ([float(one) for one in named[name]] for name in _HALVES)
        parameters = (*scores, *chances)
        sound = len(scores) == len(chances) >= 1 and min(np.diff(scores), default=1.0) >= 0
        sound = sound and min(np.diff(chances), default=0.0) >= 0 and chances[0] >= 0 and chances[-1] <= 1
    else:
        parameters = tuple(float(named[name]) for name in _NAMES[kind])
        sound = 0 <= parameters[-1] <= 1
        sound = sound and (parameters[0] >= 0 if kind == "platt" else parameters[0] > 0)
    if not sound or not np.isfinite(parameters).all():
        raise ValueError(f"levels.{level}.parameters")
    cases, positives, zeros = (int(entry[name]) for name in ("cases", "positives", "zeros"))
    warnings = tuple(str(one) for one in entry["warnings"])
    return Calibrator(kind, parameters, cases, positives, zeros, warnings)
