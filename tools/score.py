"""mammodet score: score files, folders or the images of a COCO file with a trained detector.

    mammodet score exams/ --model model.safetensors --out scores
    mammodet score test.json --model model.safetensors --out scores   # keeps the image ids of test.json

OUT gets predictions.json (COCO results), images.json (the images that the ids mean, as COCO), images.csv,
breasts.csv, rejected.csv (unreadable files with reasons), skipped.csv (files that are no images), overlays/
and config.yaml. A run that was killed goes on where it was when it is started again with the same OUT.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import Coco, ImageRecord, write_coco
from mammodet.datasets.drawing import draw_boxes, write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger, file_key
from mammodet.datasets.mammogram import Mammogram
from mammodet.detection.composed import ComposedDetector
from mammodet.detection.flips import Flips
from mammodet.detection.inference import Detector
from mammodet.detection.tiling import Tiles
from mammodet.evaluation.fusion import SUPPRESSION_IOU, Fusion, breast_name, fuse, suppress_benign
from mammodet.evaluation.score_calibration import ScoreCalibration
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
        record = case.record or _record(case, opened.mammogram)
        return {"image": record, "results": results, "notes": list(opened.standardised.notes)}

    def _draw(self, case: Case, pixels: NDArray[np.float32], results: list[dict[str, Any]]) -> None:
        shown = suppress_benign([one for one in results if one["score"] >= self.threshold])
        if self.arguments.overlays == "all" or (self.arguments.overlays == "found" and shown):
            name = f"{case.image_id:05d}_{case.path.stem[:50]}.png"
            write_png(Path(self.arguments.out, "overlays", name), draw_boxes(pixels, [], shown))


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet score`` and return its exit code."""
    return run(Arguments, score, argv, prog="mammodet score", positional=("paths",))


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
    with Ledger(out / "ledger.sqlite", _fingerprint(arguments)) as ledger:
        write_config(arguments, out / "config.yaml")
        outcomes = list(_outcomes(scorer, cases, ledger))
    write_csv(out / "skipped.csv", ["file", "reason"], skipped)
    return _write(out, arguments, threshold, list(zip(cases, outcomes, strict=True)), calibration)


def _outcomes(scorer: Scorer, cases: Sequence[Case], ledger: Ledger) -> Iterator[dict[str, Any]]:
    for case in tqdm(cases, unit="image", desc="scoring"):
        # With the record, since a corrected side or pixel size in the COCO file changes the result.
        key = (
            json.dumps([case.image_id, file_key(case.path), case.record, case.prepared])
            if case.path.is_file()
            else ""
        )
        outcome = ledger.get(key)
        if outcome is None:
            outcome = scorer.score(case)
            # What failed, for want of memory perhaps, is tried again by the next run.
            if key and "rejected" not in outcome:
                ledger.record(key, outcome)
        yield outcome


def _fingerprint(arguments: Arguments) -> str:
    digest = hashlib.sha256(Path(arguments.model).read_bytes())
    # The calibration is applied to the tables at the end, and may be added to a finished run.
    others = {"paths", "model", "out", "calibration"}
    options = {key: value for key, value in asdict(arguments).items() if key not in others}
    digest.update(json.dumps([version("mammodet"), options], sort_keys=True).encode())
    return digest.hexdigest()


def _record(case: Case, mammogram: Mammogram | None) -> ImageRecord:
    assert mammogram is not None  # prepared images have a record
    side = mammogram.laterality
    patient, study = mammogram.patient_id, mammogram.study_id
    record: ImageRecord = {
        "id": case.image_id,
        "file_name": str(case.path.absolute()),
        "width": mammogram.source_width,
        "height": mammogram.source_height,
        "patient_id": patient,
        "study_id": study,
        "laterality": side,
        "view": mammogram.view,
        "spacing_mm": None if mammogram.spacing_mm is None else list(mammogram.spacing_mm),
        "age": mammogram.age,
        "manufacturer": mammogram.manufacturer,
        "sop_instance_uid": mammogram.sop_instance_uid,
        "label": None,
    }
    if side is not None:
        record["breast_id"] = breast_name(record)
    return record


def _write(
    out: Path,
    arguments: Arguments,
    threshold: float,
    scored: Sequence[tuple[Case, dict[str, Any]]],
    calibration: ScoreCalibration | None,
) -> int:
    rejected = [(case, outcome["rejected"]) for case, outcome in scored if "rejected" in outcome]
    done = [(case, outcome) for case, outcome in scored if "rejected" not in outcome]
    write_csv(
        out / "rejected.csv",
        ["file", "reason"],
        [{"file": str(case.path), "reason": reason} for case, reason in rejected],
    )
    if not done:
        first = rejected[0][1]
        print(
            f"mammodet score: error: none of {len(scored)} files could be read; the first: {first}",
            file=sys.stderr,
        )
        return BAD_INPUT
    images = [{**outcome["image"], "file_name": str(case.path.absolute())} for case, outcome in done]
    prepared = done[0][0].prepared
    info = {} if prepared is None else {"prepared": prepared}
    coco = Coco(images, [], out.absolute() / "images.json", info=info)  # type: ignore[arg-type]
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
    _print_summary(out, arguments, fusion, len(rejected))
    return 0


def _calibrated(calibration: ScoreCalibration, level: str, table: Table, scores: Sequence[float]) -> Table:
    if level in calibration.reasons:
        reason = calibration.reasons[level]
        print(f"mammodet score: warning: no probability by {level}: {reason}", file=sys.stderr)
    return with_probabilities(*table, calibration.probabilities(level, scores))


def _print_summary(out: Path, arguments: Arguments, fusion: Fusion, rejected: int) -> None:
    malignant = sum(verdict.malignant for verdict in fusion.breasts.values())
    print(
        f"{len(fusion.images)} images of {len(fusion.breasts)} breasts scored, {malignant} breasts malignant"
    )
    if rejected:
        print(f"{rejected} files could not be read: {out / 'rejected.csv'}")
        print("mammodet evaluate would count them as images in which nothing was found")
    print(f"results: {out / 'predictions.json'}, {out / 'images.csv'}, {out / 'breasts.csv'}")
    if arguments.overlays != "none":
        print(f"overlays: {out / 'overlays'}")


if __name__ == "__main__":
    raise SystemExit(main())
