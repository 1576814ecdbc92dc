"""mammodet explain of a detector: heat over every mammogram that lies on the evidence of its boxes.

OUT gets cams/ (heat over the mammogram, with boxes), heatmaps/ (the heat alone, 16-bit PNG), features/
(feature maps of every stage and level), images.csv, explain.json, rejected.csv (unreadable files with
reasons), skipped.csv (files that are no images) and config.yaml.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import CATEGORY_NAMES
from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger, file_key
from mammodet.detection.inference import Detector
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
    with Ledger(out / "ledger.sqlite", _fingerprint(arguments)) as ledger:
        write_config(arguments, out / "config.yaml")
        outcomes = list(_outcomes(explainer, cases, ledger))
    write_csv(out / "skipped.csv", ["file", "reason"], skipped)
    return _write(out, arguments, list(zip(cases, outcomes, strict=True)))


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


def _outcomes(explainer: Explainer, cases: Sequence[Case], ledger: Ledger) -> Iterator[dict[str, Any]]:
    for case in tqdm(cases, unit="image", desc="explaining"):
        # With what the COCO file says, since a corrected side or lesion changes the result.
        known = [case.image_id, case.record, case.lesions, case.prepared]
        key = json.dumps([*known, file_key(case.path)]) if case.path.is_file() else ""
        outcome = ledger.get(key)
        if outcome is None or not all((explainer.out / name).is_file() for name in outcome["files"].values()):
            outcome = _explain(explainer, case)
            # What failed, for want of memory perhaps, is tried again by the next run.
            if key and "rejected" not in outcome:
                ledger.record(key, outcome)
        yield outcome


def _explain(explainer: Explainer, case: Case) -> dict[str, Any]:
    """Return what ``Explainer.explain`` does, or ``{"rejected": reason}`` for an unreadable file."""
    try:
        opened = read_case(case, explainer.recipe)
        return explainer.explain(case, opened.pixels, opened.standardised)
    except Exception as error:
        return {"rejected": rejection(error, case.path)}


def _fingerprint(arguments: Arguments) -> str:
    digest = hashlib.sha256(Path(arguments.model).read_bytes())
    options = {key: value for key, value in asdict(arguments).items() if key not in FREE}
    digest.update(json.dumps([version("mammodet"), options], sort_keys=True).encode())
    return digest.hexdigest()


def _write(out: Path, arguments: Arguments, explained: Sequence[tuple[Case, dict[str, Any]]]) -> int:
    rejected = [
        {"file": str(case.path), "reason": outcome["rejected"]}
        for case, outcome in explained
        if "rejected" in outcome
    ]
    write_csv(out / "rejected.csv", ["file", "reason"], rejected)
    done = [outcome for _, outcome in explained if "rejected" not in outcome]
    if not done:
        first = rejected[0]["reason"]
        print(
            f"mammodet explain: error: none of {len(rejected)} files could be read; the first: {first}",
            file=sys.stderr,
        )
        return BAD_INPUT
    told = {"method": arguments.method or METHOD, "category": arguments.category, **summary(done)}
    write_json(out / "explain.json", {**told, "results": done})
    write_csv(out / "images.csv", COLUMNS, [image_row(outcome) for outcome in done])
    _print_summary(out, told, len(rejected), done)
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
