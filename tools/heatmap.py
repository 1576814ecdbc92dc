"""mammodet heatmap: search whole mammograms window by window with a trained classifier of patches.

    mammodet heatmap exams/ --model patches.safetensors --out heat
    mammodet heatmap test.json --model patches.safetensors --out heat --stride 56   # windows overlap by half

OUT gets overlays/ (heat over the mammogram, with boxes), heatmaps/ (the heat alone, 16-bit PNG),
predictions.json (COCO results: boxes around what is hot), images.json (the images that the ids mean, as
COCO), images.csv, rejected.csv (unreadable files with reasons), skipped.csv (files that are no images) and
config.yaml. A run that was killed goes on where it was when it is started again with the same OUT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammodet.classification.heatmap_pictures import HEATMAPS, OVERLAYS, write_heatmap
from mammodet.classification.window_classifier import WindowClassifier
from mammodet.classification.window_heat import BoxScore, WindowHeat, heat_boxes
from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import CATEGORY_NAMES, write_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger
from mammodet.datasets.standardise import Recipe, Standardised
from mammodet.tools.batch import (
    Done,
    Outcome,
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
from mammodet.tools.score_tables import write_csv

PROG = "mammodet heatmap"
FREE = {"paths", "model", "out"}  # options that change no image's outcome

COLUMNS = [
    "image_id",
    "file",
    "patient_id",
    "laterality",
    "view",
    "width",
    "height",
    "windows",
    "highest_score",
    "boxes",
    "notes",
]


@dataclass(frozen=True)
class Arguments:
    """Search whole mammograms window by window with a trained classifier of patches.

    Args:
        paths: image files, folders (searched with their sub-folders), or one COCO file.
        model: model file of a classifier of patches; a window is as large as these.
        out: folder for the results.
        classes: classes of the model whose probability, together, is the score of a window; null takes the
            one that the model names.
        stride: pixels from one window to the next, after the recipe; null takes the side of a window, so that
            none overlap (published).
        threshold: where the heat is as high or higher, there are boxes.
        box_score: score of a box, its hottest place or the mean over the region in it.
        category: what a box is called in predictions.json.
        batch: windows that the network gets at once.
        overlays: which images to draw with their heat, boxes and, of a COCO file, lesions.
        scale: what is red in these overlays, a score of 1 (score), so that images can be compared, or the
            hottest place of each image, whatever its score (image).
        array: write the heatmaps as NumPy arrays too, float32.
        id: which id goes into the results; uid takes the hash where a file has none, and a hash
            hides an id from readers but not from who can guess it. Names and birth dates never go in.
        allow_for_processing: take raw FOR PROCESSING images too.
        allow_secondary_capture: take scans of films that name no body part too.
        precision: fp32, bf16, or auto (bf16 where this machine is faster with it).
        device: cpu, cuda, mps, or auto.
    """

    paths: list[str]
    model: str
    out: str
    classes: list[str] | None = None
    stride: int | None = None
    threshold: float = 0.5
    box_score: BoxScore = "max"
    category: Literal["benign", "malignant"] = "malignant"
    batch: int = 32
    overlays: Literal["all", "found", "none"] = "all"
    scale: Literal["score", "image"] = "score"
    array: bool = False
    id: Literal["patient-id", "hash", "uid"] = "patient-id"
    allow_for_processing: bool = False
    allow_secondary_capture: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InputError("must be above 0 and up to 1", field="--threshold", value=self.threshold)

    @property
    def category_id(self) -> int:
        """Id of the category of boxes."""
        return next(number for number, name in CATEGORY_NAMES.items() if name == self.category)


@dataclass(frozen=True)
class Searcher:
    """Searches one case after the other; ``recipe`` is the model's with the permissions of the arguments."""

    classifier: WindowClassifier
    recipe: Recipe
    arguments: Arguments

    def search(self, case: Case) -> Outcome:
        """Write the pictures of a case and return what there is to tell of it.

        That is ``image`` (its record), ``results``, ``windows``, ``highest`` score, ``notes`` and ``files``
        written; or ``rejected``, the reason, of an unreadable file.
        """
        try:
            opened = read_case(case, self.recipe, self.arguments.id)
            _require_room(opened.standardised, self.classifier.config.window, case.path)
            heat = self.classifier.heat(opened.standardised)
        except Exception as error:
            return {"rejected": rejection(error, case.path)}
        results = heat_boxes(
            heat,
            case.image_id,
            self.arguments.category_id,
            threshold=self.arguments.threshold,
            score=self.arguments.box_score,
        )
        return {
            "image": image_record(case, opened.mammogram),
            "results": results,
            "windows": heat.windows,
            "highest": float(np.nanmax(heat.values)),
            "notes": list(opened.standardised.notes),
            "files": self._write(case, opened.pixels, heat, results),
        }

    def is_whole(self, outcome: Outcome) -> bool:
        """Tell whether all files of an outcome are still there."""
        return all(Path(self.arguments.out, name).is_file() for name in outcome["files"])

    def _write(
        self, case: Case, pixels: NDArray[np.float32], heat: WindowHeat, results: list[dict[str, Any]]
    ) -> list[str]:
        out, shown = Path(self.arguments.out), self.arguments.overlays
        written = write_heatmap(
            out,
            picture_name(case),
            pixels,
            heat.to_source(),
            truth=case.lesions,
            boxes=results,
            red_at=1.0 if self.arguments.scale == "score" else None,
            overlay=shown == "all" or (shown == "found" and bool(results)),
            array=self.arguments.array,
        )
        return [path.relative_to(out).as_posix() for path in written]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet heatmap`` and return its exit code."""
    return run(Arguments, heatmap, argv, prog=PROG, positional=("paths",))


def heatmap(arguments: Arguments) -> int:
    """Search every case, write pictures and results, and tell how many files could not be read."""
    classifier = WindowClassifier.load(
        arguments.model,
        classes=arguments.classes,
        stride=arguments.stride,
        batch=arguments.batch,
        device=arguments.device,
        precision=arguments.precision,
    )
    # What the model gave goes into the configuration, and asking for just that is the same run.
    arguments = replace(arguments, classes=list(classifier.classes), stride=classifier.config.step)
    recipe = allowing(classifier.header.recipe, arguments)
    cases, skipped = find_cases(arguments.paths, recipe)
    out = Path(arguments.out)
    searcher = Searcher(classifier, recipe, arguments)
    with Ledger(out / "ledger.sqlite", run_fingerprint(arguments, FREE)) as ledger:
        write_config(arguments, out / "config.yaml")
        searched = list(
            outcomes(
                cases,
                searcher.search,
                ledger,
                verb="searching",
                with_lesions=True,
                is_whole=searcher.is_whole,
            )
        )
    write_csv(out / "skipped.csv", ["file", "reason"], skipped)
    return _write(out, searcher, list(zip(cases, searched, strict=True)))


def _require_room(prepared: Standardised, window: int, path: Path) -> None:
    height, width = prepared.pixels.shape
    if min(height, width) < window:
        raise InputError(
            f"has {width} x {height} px after the recipe, which is less than a window of {window} px",
            file=path,
            remedy="leave it out, or take a classifier of smaller patches",
        )


def _write(out: Path, searcher: Searcher, batch: Done) -> int:
    done = done_cases(batch, out, PROG)
    if not done:
        return BAD_INPUT
    coco = images_of(done, out / "images.json")
    write_coco(coco, coco.path)
    write_json(
        out / "predictions.json", [one for _, outcome in done for one in outcome["results"]], indent=None
    )
    write_csv(out / "images.csv", COLUMNS, [_row(case, outcome) for case, outcome in done])
    _print_summary(out, searcher, batch, done)
    return 0


def _row(case: Case, outcome: Outcome) -> dict[str, Any]:
    image = outcome["image"]
    return {
        **{name: image.get(name) for name in ("patient_id", "laterality", "view", "width", "height")},
        "image_id": case.image_id,
        "file": str(case.path.absolute()),
        "windows": outcome["windows"],
        "highest_score": round(outcome["highest"], 6),
        "boxes": len(outcome["results"]),
        "notes": "; ".join(outcome["notes"]),
    }


def _print_summary(out: Path, searcher: Searcher, batch: Done, done: Done) -> None:
    found = [len(outcome["results"]) for _, outcome in done]
    windows = sum(outcome["windows"] for _, outcome in done)
    config, names = searcher.classifier.config, " + ".join(searcher.classifier.classes)
    lowest = searcher.arguments.threshold
    print(
        f"{len(done)} images searched in {windows} windows of {config.window} px, one every {config.step} px"
    )
    print(f"{sum(found)} boxes where {names} is {lowest} or more, on {sum(map(bool, found))} of the images")
    print_rejected(batch, done, out)
    print(f"results: {out / 'predictions.json'}, {out / 'images.csv'}")
    folders = [HEATMAPS, *([OVERLAYS] if (out / OVERLAYS).is_dir() else [])]
    print(f"pictures: {', '.join(str(out / name) for name in folders)}")


if __name__ == "__main__":
    raise SystemExit(main())
