"""The pictures of the report in the docs: phantoms with made-up predictions, photographed in Chromium.

    python docs/figures/report_page.py docs/images [--work FOLDER] [--patients 16]

Writes report_page.png (the page), report_viewer.png (the full-size view) and report_phone.png into the first
folder. Needs the package playwright and a Chromium on PATH.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from mammodet.datasets.coco import Coco, counts, read_coco
from mammodet.tools import cli

SHOWN = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}
COLOURS = 256  # of the palette of the PNG files


def main() -> None:
    """Make the data, the report and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--patients", type=int, default=16)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp())
    report = make_report(work, arguments.patients)
    photograph(report, arguments.out)


def make_report(work: Path, patients: int) -> Path:
    """Return report.html of phantoms whose predictions are made up."""
    truth = work / "phantom" / "coco.json"
    if not truth.is_file():
        frame = ["--height", 1024, "--width", 800, "--spacing-mm", 0.2]
        config = ["--config", "configs/demo_phantom.yaml", "--patients", patients, *frame]
        _run("phantom", truth.parent, *config)
    predictions = work / "predictions.json"
    predictions.write_text(json.dumps(made_up(read_coco(truth), seed=4)))
    _run("evaluate", "--ground-truth", truth, "--predictions", predictions, "--out", work / "report")
    return work / "report" / "report.html"


def made_up(coco: Coco, seed: int) -> list[dict[str, Any]]:
    """Return predictions like those of a fair detector: most lesions found, and false positives."""
    rng = np.random.default_rng(seed)
    results: list[dict[str, Any]] = []
    for image in coco.images:
        for lesion in filter(counts, coco.annotations_of[image["id"]]):
            if rng.random() < 0.15:
                continue
            x, y, width, height = lesion["bbox"]
            dx, dy = rng.normal(0, 0.12, 2) * (width, height)
            category = lesion["category_id"] if rng.random() < 0.8 else 3 - lesion["category_id"]
            box = [x + dx, y + dy, width * rng.uniform(0.8, 1.3), height * rng.uniform(0.8, 1.3)]
            results.append(_result(image, category, box, rng.beta(6, 2.5)))
        for _ in range(rng.poisson(2.2)):
            side = rng.uniform(30, 120)
            inner = image["width"] * 0.45
            left = rng.uniform(0, inner) if image.get("laterality") == "L" else image["width"] - inner
            box = [left, rng.uniform(0.25, 0.7) * image["height"], side, side * rng.uniform(0.7, 1.3)]
            results.append(_result(image, int(rng.integers(1, 3)), box, rng.beta(1.3, 4)))
    return results


def _result(image: Any, category: int, box: list[float], score: float) -> dict[str, Any]:
    x, y = max(0.0, box[0]), max(0.0, box[1])
    inside = [x, y, min(box[2], image["width"] - x), min(box[3], image["height"] - y)]
    return {
        "image_id": image["id"],
        "category_id": category,
        "bbox": [round(float(value), 1) for value in inside],
        "score": round(float(score), 3),
    }


def photograph(report: Path, out: Path) -> None:
    """Write the pictures of the docs: light page, dark full-size view, phone."""
    with browser_page(report, SHOWN, "light") as page:
        page.evaluate("document.getElementById('images-and-threshold').scrollIntoView()")
        page.wait_for_timeout(400)
        _save(page, out / "report_page.png")
    with browser_page(report, SHOWN, "dark") as page:
        page.locator(".chip.tp").click()
        page.locator(".chip.false").click()
        page.locator(".card").first.click()
        page.locator("#full-boxes button").first.click()
        for _ in range(2):
            page.locator("#zoom-out").click()
        page.wait_for_timeout(600)
        _save(page, out / "report_viewer.png")
    with browser_page(report, PHONE, "dark") as page:
        page.locator(".card").first.click()
        page.wait_for_timeout(600)
        _save(page, out / "report_phone.png")


@contextmanager
def browser_page(report: Path, size: dict[str, int], scheme: str) -> Iterator[Page]:
    """Yield the report in a Chromium of this size and colour scheme."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--hide-scrollbars"]
        )
        page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(report.resolve().as_uri())
        yield page
        browser.close()


def _save(page: Page, path: Path) -> None:
    """Write a PNG with a palette, a third of the size."""
    shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    Image.fromarray(shot[:, :, ::-1]).quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


def _run(*words: object) -> None:
    if code := cli.main(list(map(str, words))):
        raise SystemExit(code)


if __name__ == "__main__":
    main()
