"""mammodet calibrate: make a model ready for int8, and tell what that costs.

    mammodet calibrate val.json --model runs/first/model.safetensors --out runs/first/model-int8.safetensors
    mammodet score exams/ --model runs/first/model-int8.safetensors --precision int8 --out scores

The new file has the same weights, and the ranges of activations seen on the images. It still runs in every
other precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mammodet.detection  # noqa: F401  # isort: skip  # names a torch that does not fit torchvision
from tqdm import tqdm

from mammodet.datasets.coco import Coco, ImageRecord, counts, read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.prepared import load_standardised
from mammodet.datasets.standardise import Recipe
from mammodet.detection.calibration import measure_ranges
from mammodet.detection.inference import Detector
from mammodet.detection.model_file import fingerprint, write_model
from mammodet.detection.quantised import int8_problem
from mammodet.evaluation.agreement import agreement
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.networks.tensor_file import read_tensors
from mammodet.tools.cases import allowing, reading
from mammodet.tools.command import run, write_config

_LOWEST_SCORE = 0.01  # average precision needs the whole curve


@dataclass(frozen=True)
class Arguments:
    """Calibrate a detector for int8 on your own images, and tell what int8 costs on others.

    Args:
        coco: COCO file with images like those that are to be scored.
        model: model.safetensors written by mammodet train-det.
        out: the calibrated model file.
        images: how many images to calibrate on, evenly spaced over the file.
        check: COCO file with the images to compare int8 on; null takes those of coco. What int8 was
            calibrated on is left out.
        check_images: at most so many are compared; 0 leaves the comparison out.
        allow_for_processing: take raw FOR PROCESSING images too.
        allow_secondary_capture: take scans of films that name no body part too.
    """

    coco: str
    model: str
    out: str
    images: int = 100
    check: str | None = None
    check_images: int = 100
    allow_for_processing: bool = False
    allow_secondary_capture: bool = False

    def __post_init__(self) -> None:
        if self.images < 1:
            raise InputError("must be 1 or more", field="--images", value=self.images)
        if self.check_images < 0:
            raise InputError("must not be negative", field="--check-images", value=self.check_images)
        if Path(self.out).suffix != ".safetensors":
            raise InputError(
                "must end in .safetensors",
                field="--out",
                value=self.out,
                remedy="give --out NAME.safetensors",
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet calibrate`` and return its exit code."""
    return run(Arguments, calibrate, argv, prog="mammodet calibrate", positional=("coco",))


def calibrate(arguments: Arguments) -> int:
    """Measure ranges, write the model, compare."""
    coco = _read(arguments.coco)
    check = coco if arguments.check is None else _read(arguments.check)
    detector = Detector.load(arguments.model, device="cpu", score_threshold=_LOWEST_SCORE)
    if detector.header.config.norm == "group":
        raise InputError(
            "group normalisation cannot be folded into int8 convolutions",
            file=arguments.model,
            field="config.norm",
            value="group",
            remedy="train with --model.norm frozen, batch or sync",
        )
    problem = int8_problem()
    if problem:
        print(f"{problem}: calibrated for other machines, not compared here")
    used = _spread(coco.images, arguments.images)
    recipe = allowing(detector.header.recipe, arguments)
    own = reading(coco, recipe)
    pixels = (load_standardised(coco, one, own).pixels for one in _progress(used, "calibrating"))
    ranges = measure_ranges(detector, pixels)
    record = {"ranges": ranges, "images": len(used), "fingerprint": fingerprint(coco)}
    header = replace(detector.header, calibration=record)
    write_model(Path(arguments.out), read_tensors(Path(arguments.model)), header)
    write_config(arguments, Path(arguments.out).with_suffix(".yaml"))
    print(f"calibrated on {len(used)} images: {arguments.out}")
    if arguments.check_images and not problem:
        seen = {mark for one in used for mark in _marks(coco, one)}
        others = [one for one in check.images if not _marks(check, one) & seen]
        if arguments.check is not None and len(others) < len(check.images):
            print(f"{len(check.images) - len(others)} images of {check.path} left out: calibrated on them")
        chosen = _spread(others, arguments.check_images)
        if chosen:
            images = check.subset({one["id"] for one in chosen}, check.path)
            _compare(detector, arguments.out, images, reading(check, recipe))
        else:
            print("no image is left to compare int8 on: give --check with other images, or fewer --images")
    return 0


def _marks(coco: Coco, image: ImageRecord) -> set[str]:
    """Return what tells an image from others, in whichever COCO file: where it lies, and its DICOM UID."""
    uid = image.get("sop_instance_uid")
    return {str(coco.image_path(image).resolve()), *([uid] if uid else [])}


def _read(path: str) -> Coco:
    coco = read_coco(path)
    if not coco.images:
        raise InputError("has no images", file=path, field="images", remedy="give a COCO file with images")
    return coco


def _spread(images: Sequence[ImageRecord], limit: int) -> list[ImageRecord]:
    """Return at most ``limit`` evenly spaced images."""
    if len(images) <= limit:
        return list(images)
    return [images[number * len(images) // limit] for number in range(limit)]


def _compare(detector: Detector, path: str, coco: Coco, recipe: Recipe) -> None:
    quantised = Detector.load(path, device="cpu", precision="int8", score_threshold=_LOWEST_SCORE)
    before: list[dict[str, Any]] = []
    after: list[dict[str, Any]] = []
    for image in _progress(coco.images, "comparing"):
        prepared = load_standardised(coco, image, recipe)
        before += detector.predict_standardised(prepared, image["id"])
        after += quantised.predict_standardised(prepared, image["id"])
    print(f"int8 beside {detector.precision} on {len(coco.images)} other images")
    found = agreement(before, after, tolerance=0.05, iou=0.8)
    print(
        f"  {found.matched} of {found.boxes} boxes above 0.3 agree (IoU above 0.8, scores within 0.05)"
        if found.boxes
        else "  no box above 0.3 in either"
    )
    if any(counts(one) for one in coco.annotations):
        metrics = [coco_metrics(coco, results)["all"] for results in (before, after)]
        for name in ("AP", "AP50"):
            first, second = (one[name] or 0.0 for one in metrics)
            print(f"  {name} {first:.3f} -> {second:.3f} ({second - first:+.3f})")
    else:
        print("  no lesion is annotated in them, so no AP is told")


def _progress(images: Sequence[ImageRecord], what: str) -> Any:
    return tqdm(images, unit="image", desc=what)


if __name__ == "__main__":
    raise SystemExit(main())
