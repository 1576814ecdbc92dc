"""mammodet explain of a detector: heat over every mammogram that lies on the evidence of its boxes.

OUT gets cams/ (heat over the mammogram, with boxes), heatmaps/ (the heat alone, 16-bit PNG), features/
(feature maps of every stage and level), images.csv, explain.json, rejected.csv (unreadable files with
reasons), skipped.csv (files that are no images) and config.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import CATEGORY_NAMES
from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger
from mammodet.detection.inference import Detector
from mammodet.tools.batch import Done, Outcome, done_cases, outcomes, run_fingerprint
from mammodet.tools.cases import Case, allowing, find_cases, read_case, rejection
from mammodet.tools.command import BAD_INPUT, write_config
from mammodet.tools.explain_image import COLUMNS, FOLDERS, Explainer, image_row, summary
from mammodet.tools.score_tables import write_csv

if TYPE_CHECKING:
    from mammodet.detection.activation_maps import Method
    from mammodet.tools.explain import Arguments

FREE = {"paths", "model", "out", "ids"}  # options that change no picture
METHOD: Method = "eigencam"  # unless another is given


def explain_detector(arguments: Arguments) -> int:
    """Explain every case, write the pictures and tables, and tell how many files could not be read."""
    # Gradients and feature maps are those of the plain network in full precision.
    detector = Detector.load(
        arguments.model,
        device=arguments.device,
        precision="fp32",
        compile=False,
        score_threshold=arguments.score_threshold,
    )
    recipe = allowing(detector.header.recipe, arguments)
    cases, skipped = find_cases(arguments.paths, recipe)
    cases = _chosen(cases, arguments)
    out = Path(arguments.out)
    categories = [number for number, name in CATEGORY_NAMES.items() if arguments.category in ("all", name)]
    explainer = Explainer(
        detector.model,
        recipe,
        out,
        arguments.method or METHOD,
        categories,
        max_boxes=arguments.max_boxes,
        all_images=arguments.images == "all",
        feature_maps=arguments.feature_maps,
    )
    with Ledger(out / "ledger.sqlite", run_fingerprint(arguments, FREE)) as ledger:
        write_config(arguments, out / "config.yaml")
        explained = list(
            outcomes(
                cases,
                partial(_explain, explainer),
                ledger,
                verb="explaining",
                with_lesions=True,
                is_whole=lambda one: all((out / name).is_file() for name in one["files"].values()),
            )
        )
    write_csv(out / "skipped.csv", ["file", "reason"], skipped)
    return _write(out, arguments, list(zip(cases, explained, strict=True)))


def _chosen(cases: list[Case], arguments: Arguments) -> list[Case]:
    if arguments.ids is None:
        return cases
    known = {case.image_id for case in cases if case.record is not None}
    if unknown := sorted(set(arguments.ids) - known):
        raise InputError(
            "no such image in the COCO file" if known else "needs a COCO file, whose images have ids",
            field="--ids",
            value=unknown,
            remedy="give ids of its images" if known else "name the files instead",
        )
    return [case for case in cases if case.image_id in set(arguments.ids)]


def _explain(explainer: Explainer, case: Case) -> Outcome:
    """Return what ``Explainer.explain`` does, or ``{"rejected": reason}`` for an unreadable file."""
    try:
        opened = read_case(case, explainer.recipe)
        return explainer.explain(case, opened.pixels, opened.standardised)
    except Exception as error:
        return {"rejected": rejection(error, case.path)}


def _write(out: Path, arguments: Arguments, batch: Done) -> int:
    done = [outcome for _, outcome in done_cases(batch, out, "mammodet explain")]
    if not done:
        return BAD_INPUT
    told = {"method": arguments.method or METHOD, "category": arguments.category, **summary(done)}
    write_json(out / "explain.json", {**told, "results": done})
    write_csv(out / "images.csv", COLUMNS, [image_row(outcome) for outcome in done])
    _print_summary(out, told, len(batch) - len(done), done)
    return 0


def _print_summary(out: Path, told: dict[str, Any], rejected: int, done: Sequence[dict[str, Any]]) -> None:
    print(f"{told['images']} images, {told['images_with_boxes']} with boxes to explain")
    lesions = told["lesions"]
    if lesions is not None:
        print(
            f"hottest pixel in a lesion: {lesions['peak_inside']} of {lesions['images']} images whose "
            f"lesions were found; {lesions['heat']:.0%} of the heat on {lesions['area']:.1%} of the area "
            f"(spread evenly over the boxes it would be {lesions['boxes']:.0%})"
        )
    if rejected:
        print(f"{rejected} files could not be read: {out / 'rejected.csv'}")
    written = {name for outcome in done for name in outcome["files"]}
    folders = [str(out / folder) for kind, folder in FOLDERS.items() if kind in written]
    print(f"results: {', '.join([str(out / 'images.csv'), str(out / 'explain.json'), *folders])}")
