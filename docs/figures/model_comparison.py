"""The picture of `mammodet compare` in the docs: phantoms and three made-up detectors, one of them better.

    python docs/figures/model_comparison.py docs/images [--work FOLDER] [--patients 24]

Writes compare_differences.png, the figure as the command leaves it, into the first folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mammodet.datasets.coco import Coco, counts, read_coco
from mammodet.tools import cli

# How often a lesion is found, how often with its class, and false positives per image.
DETECTORS = {
    "baseline": (0.75, 0.75, 1.2),
    "larger input": (0.92, 0.88, 0.8),
    "smaller network": (0.7, 0.7, 1.5),
}
COLOURS = 64  # of the palette of the PNG file


def main() -> None:
    """Make the data, compare the detectors and copy the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--patients", type=int, default=24)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp())
    compared = make_comparison(work, arguments.patients)
    _with_palette(compared / "compare_differences.png", arguments.out / "compare_differences.png")


def make_comparison(work: Path, patients: int) -> Path:
    """Return the folder of the comparison of made-up detectors on phantoms."""
    truth = work / "phantom" / "coco.json"
    if not truth.is_file():
        frame = ["--height", 1024, "--width", 800, "--spacing-mm", 0.2]
        _run("phantom", truth.parent, "--config", "configs/demo_phantom.yaml", "--patients", patients, *frame)
    coco, files = read_coco(truth), []
    for seed, (name, skill) in enumerate(DETECTORS.items()):
        files.append(work / f"{name}.json")
        files[-1].write_text(json.dumps(made_up(coco, seed, *skill)))
    out = work / "compared"
    _run("compare", *files, "--ground-truth", truth, "--out", out, "--names", *DETECTORS)
    return out


def made_up(coco: Coco, seed: int, found: float, right: float, false: float) -> list[dict[str, Any]]:
    """Return predictions that find so many lesions, so many with their class, and so many false ones."""
    rng = np.random.default_rng(seed)
    results: list[dict[str, Any]] = []
    for image in coco.images:
        for lesion in filter(counts, coco.annotations_of[image["id"]]):
            if rng.random() > found:
                continue
            x, y, width, height = lesion["bbox"]
            dx, dy = rng.normal(0, 0.1, 2) * (width, height)
            category = lesion["category_id"] if rng.random() < right else 3 - lesion["category_id"]
            results.append(_result(image, category, [x + dx, y + dy, width, height], rng.beta(6, 2.5)))
        for _ in range(rng.poisson(false)):
            side = rng.uniform(30, 120)
            left = rng.uniform(0.1, 0.5) * image["width"]
            box = [left, rng.uniform(0.25, 0.7) * image["height"], side, side]
            results.append(_result(image, int(rng.integers(1, 3)), box, rng.beta(1.3, 4)))
    return results


def _result(image: Mapping[str, Any], category: int, box: list[float], score: float) -> dict[str, Any]:
    x, y = max(0.0, box[0]), max(0.0, box[1])
    inside = [x, y, min(box[2], image["width"] - x), min(box[3], image["height"] - y)]
    return {
        "image_id": image["id"],
        "category_id": category,
        "bbox": [round(float(value), 1) for value in inside],
        "score": round(float(score), 3),
    }


def _with_palette(source: Path, target: Path) -> None:
    """Write a figure at half its size with a palette, a fraction of the bytes."""
    from PIL import Image  # noqa: PLC0415

    pixels = cv2.imread(str(source))
    half = cv2.resize(pixels, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    Image.fromarray(half[:, :, ::-1]).quantize(COLOURS).save(target, optimize=True)


def _run(*words: object) -> None:
    if code := cli.main(list(map(str, words))):
        raise SystemExit(code)


if __name__ == "__main__":
    main()
