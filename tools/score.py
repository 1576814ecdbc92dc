"""mammodet score: score files, folders or the images of a COCO file with a trained detector.

    mammodet score exams/ --model model.safetensors --out scores
    mammodet score test.json --model model.safetensors --out scores   # keeps the image ids of test.json

OUT gets predictions.json (COCO results), images.json (the images that the ids mean, as COCO), images.csv,
breasts.csv, rejected.csv (unreadable files with reasons), skipped.csv (files that are no images), overlays/
and config.yaml. A run that was killed goes on where it was when it is started again with the same OUT.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import write_coco
from mammodet.datasets.drawing import draw_boxes, write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger
from mammodet.detection.composed import ComposedDetector
from mammodet.detection.flips import Flips
from mammodet.detection.inference import Detector
from mammodet.detection.tiling import Tiles
from mammodet.evaluation.fusion import SUPPRESSION_IOU, Fusion, fuse, suppress_benign
from mammodet.evaluation.score_calibration import ScoreCalibration
from mammodet.tools.batch import (
    Done,
    done_cases,
    image_record,
    images_of,
    outcomes,
    picture_name,
    print_rejected,
    run_fingerprint,
)
from mammodet.tools.cases import Case, allowing, find_cases, read_case, rejection
from mammodet.tools.command import BAD_INPUT, run, write_config
from mammodet.tools.score_tables import (
    BREAST_COLUMNS,
    IMAGE_COLUMNS,
    Table,
    breast_rows,
    image_rows,
    with_probabilities,
    write_csv,
)

PROG = "mammodet score"
# Options that change no image's outcome; the calibration is applied to the tables at the end, and may be
# added to a finished run.
FREE = {"paths", "model", "out", "calibration"}


@dataclass(frozen=True)
class Arguments:
    """Score files, folders or the images of a COCO file with a trained detector.

    Args:
        paths: image files, folders (searched with their sub-folders), or one COCO file.
        model: model.safetensors written by mammodet train-det.
        out: folder for the results.
        score_threshold: boxes below it do not count for images and breasts and are not drawn; null takes the
            model's own (published: 0.3).
        min_score: boxes down to this score are written to predictions.json, for curves.
        overlays: which images to draw with their boxes.
        id: which id goes into the results; uid takes the hash where a file has none, and a hash
            hides an id from readers but not from who can guess it. Names and birth dates never go in.
        allow_for_processing: take raw FOR PROCESSING images too.
        allow_secondary_capture: take scans of films that name no body part too.
        precision: fp32, bf16, int8 (of a model that mammodet calibrate wrote), or auto (bf16 where this
            machine is faster with it).
        device: cpu, cuda, mps, or auto.
        compile: prepare the network for speed; --no-compile runs torchvision's modules as they are.
        skip_air: do not compute what is nothing but air.
        tiles: SIZE,OVERLAP in pixels, such as 1024,256: look at images in tiles, for want of memory; null
            looks at whole images.
        flips: look at mirror images too and fuse what is found; horizontal takes twice as long, all four
            times.
        calibration: score calibration that mammodet evaluate --fit-calibration wrote for this model and
            these options; adds the column probability to images.csv and breasts.csv.
    """

    paths: list[str]
    model: str
    out: str
    score_threshold: float | None = None
    min_score: float = 0.01
    overlays: Literal["all", "found", "none"] = "all"
    id: Literal["patient-id", "hash", "uid"] = "patient-id"
    allow_for_processing: bool = False
    allow_secondary_capture: bool = False
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    device: str = "auto"
    compile: bool = True
    skip_air: bool = True
    tiles: str | None = None
    flips: Flips = "none"
    calibration: str | None = None

    def __post_init__(self) -> None:
        if self.tiles is not None:
            Tiles.parse(self.tiles)
        for name in ("score_threshold", "min_score"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError("must be 0 to 1", field=f"--{name}", value=value)


@dataclass(frozen=True)
class Scorer:
    """Scores one case after the other; ``threshold`` is the operating threshold of verdicts and overlays."""

    detector: Detector
    threshold: float
    arguments: Arguments

    def score(self, case: Case) -> dict[str, Any]:
        """Return ``{"image", "results", "notes"}``, or ``{"rejected": reason}`` for an unreadable file."""
        try:
            opened = read_case(case, self.detector.header.recipe, self.arguments.id)
            results = self.detector.predict_standardised(opened.standardised, case.image_id)
        except Exception as error:
            return {"rejected": rejection(error, case.path)}
        self._draw(case, opened.pixels, results)
        record = image_record(case, opened.mammogram)
        return {"image": record, "results": results, "notes": list(opened.standardised.notes)}

    def _draw(self, case: Case, pixels: NDArray[np.float32], results: list[dict[str, Any]]) -> None:
        shown = suppress_benign([one for one in results if one["score"] >= self.threshold])
        if self.arguments.overlays == "all" or (self.arguments.overlays == "found" and shown):
            path = Path(self.arguments.out, "overlays", f"{picture_name(case)}.png")
            write_png(path, draw_boxes(pixels, [], shown))


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet score`` and return its exit code."""
    return run(Arguments, score, argv, prog=PROG, positional=("paths",))


def score(arguments: Arguments) -> int:
    """Score every case, write the results, and tell how many files could not be read."""
    calibration = None
    if arguments.calibration is not None:
        calibration = ScoreCalibration.load(Path(arguments.calibration))
    detector = Detector.load(
        arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        compile=arguments.compile,
        skip_air=arguments.skip_air,
        score_threshold=arguments.min_score,
    )
    tiles = None if arguments.tiles is None else Tiles.parse(arguments.tiles)
    detector = ComposedDetector(detector, tiles, arguments.flips)
    detector.header = replace(detector.header, recipe=allowing(detector.header.recipe, arguments))
    threshold = arguments.score_threshold
    if threshold is None:
        threshold = detector.header.config.score_threshold
    if calibration is not None:
        assert arguments.calibration is not None
        # Boxes below min_score never come out of the detector.
        made_with = max(threshold, arguments.min_score)
        calibration.require(made_with, SUPPRESSION_IOU, Path(arguments.calibration))
    cases, skipped = find_cases(arguments.paths, detector.header.recipe)
    out = Path(arguments.out)
    scorer = Scorer(detector, threshold, arguments)
    with Ledger(out / "ledger.sqlite", run_fingerprint(arguments, FREE)) as ledger:
        write_config(arguments, out / "config.yaml")
        scored = list(outcomes(cases, scorer.score, ledger, verb="scoring"))
    write_csv(out / "skipped.csv", ["file", "reason"], skipped)
    return _write(out, arguments, threshold, list(zip(cases, scored, strict=True)), calibration)


def _write(
    out: Path,
    arguments: Arguments,
    threshold: float,
    scored: Done,
    calibration: ScoreCalibration | None,
) -> int:
    done = done_cases(scored, out, PROG)
    if not done:
        return BAD_INPUT
    coco = images_of(done, out / "images.json")
    results = [result for _, outcome in done for result in outcome["results"]]
    fusion = fuse(coco, results, threshold)
    write_coco(coco, coco.path)
    write_json(out / "predictions.json", results, indent=None)
    notes = {case.image_id: "; ".join(outcome["notes"]) for case, outcome in done}
    images_table: Table = (IMAGE_COLUMNS, image_rows(coco, fusion, notes))
    breasts_table: Table = (BREAST_COLUMNS, breast_rows(coco, fusion))
    if calibration is not None:
        by_image = [verdict.score for verdict in fusion.images.values()]
        by_breast = [verdict.score for verdict in fusion.breasts.values()]
        images_table = _calibrated(calibration, "image", images_table, by_image)
        breasts_table = _calibrated(calibration, "breast", breasts_table, by_breast)
    write_csv(out / "images.csv", *images_table)
    write_csv(out / "breasts.csv", *breasts_table)
    _print_summary(out, arguments, fusion, scored, done)
    return 0


def _calibrated(calibration: ScoreCalibration, level: str, table: Table, scores: Sequence[float]) -> Table:
    if level in calibration.reasons:
        reason = calibration.reasons[level]
        print(f"mammodet score: warning: no probability by {level}: {reason}", file=sys.stderr)
    return with_probabilities(*table, calibration.probabilities(level, scores))


def _print_summary(out: Path, arguments: Arguments, fusion: Fusion, scored: Done, done: Done) -> None:
    malignant = sum(verdict.malignant for verdict in fusion.breasts.values())
    print(
        f"{len(fusion.images)} images of {len(fusion.breasts)} breasts scored, {malignant} breasts malignant"
    )
    print_rejected(scored, done, out)
    print(f"results: {out / 'predictions.json'}, {out / 'images.csv'}, {out / 'breasts.csv'}")
    if arguments.overlays != "none":
        print(f"overlays: {out / 'overlays'}")


if __name__ == "__main__":
    raise SystemExit(main())
