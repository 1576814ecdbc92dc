"""The image viewer of ``report.html``: which images get pictures, its data, and its page parts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from mammodet.datasets.coco import Coco
from mammodet.datasets.errors import InputError
from mammodet.evaluation.image_scores import ImageScores
from mammodet.evaluation.report_data import (
    MatchedRule,
    detection_at,
    match_rules,
    score_viewer_data,
    viewer_data,
)
from mammodet.evaluation.report_images import Progress, Task, add_pictures
from mammodet.evaluation.summary import Evaluation

MOST_PICTURES = 200  # of auto
Pictures = Literal["auto", "all", "errors", "none"] | int

_PARTS = Path(__file__).with_name("report_page")
# In the order in which they build on each other.
_SCRIPTS = (
    *("numbers.js", "judge.js", "boxes.js", "camera.js", "gestures.js"),
    *("viewer.js", "gallery.js", "curve.js", "page.js"),
)
_STYLES = ("page.css", "viewer.css", "print.css")
_HEADING = re.compile(r'<h2(?: id="([a-z0-9-]+)")?>(.*?)</h2>', re.DOTALL)


def _plain(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    return items


@dataclass(frozen=True)
class Gallery:
    """What the viewer shows beside the evaluation's own numbers.

    Parameters
    ----------
    pictures:
        Which images are read and shown: all; errors, those with a wrong verdict, a missed lesion or a false
        positive box at the protocol's threshold, under its first hit rule; none; a number, so many of the
        worst; auto, all up to 200 images, else the 200 worst. The others are frames with boxes.
    progress:
        Wraps what is worked through, with what is done and how many.
    """

    coco: Coco
    results: Sequence[Mapping[str, Any]] | ImageScores
    pictures: Pictures = "auto"
    progress: Progress = _plain

    def __post_init__(self) -> None:
        named = self.pictures in ("auto", "all", "errors", "none")
        if not named and (not isinstance(self.pictures, int) or self.pictures < 0):
            raise InputError(
                "is no choice of images",
                field="--images",
                value=self.pictures,
                remedy="choose auto, all, errors, none, or how many of the worst",
            )


@dataclass(frozen=True)
class Viewer:
    """The data of the page, and ``at_threshold``, the detection numbers at the protocol's threshold.

    Scores of images have none of these.
    """

    data: Mapping[str, Any]
    at_threshold: Mapping[str, Any] | None


def build_viewer(gallery: Gallery, evaluation: Evaluation, out: Path) -> Viewer:
    """Match the predictions, read the pictures, and write those that go beside the page into ``out``."""
    coco, results, protocol = gallery.coco, gallery.results, evaluation.protocol
    at_threshold = None
    if isinstance(results, ImageScores):
        data, errors = score_viewer_data(coco, results, protocol), errors_of_scores(evaluation)
    else:
        rules = match_rules(coco, results, protocol)
        data = viewer_data(coco, results, protocol, rules, judged=evaluation.cases is not None)
        errors = errors_of_images(evaluation, rules)
        at_threshold = detection_at(rules, protocol, protocol.score_threshold)
    for image, amount in zip(data["images"], errors, strict=True):
        image["errors"] = amount
    tasks = {}
    for place in _chosen(gallery.pictures, errors):
        image = coco.images[place]
        tasks[place] = Task(str(coco.image_path(image)), image["width"], image["height"])
    add_pictures(data["images"], tasks, out, gallery.progress)
    return Viewer(data, at_threshold)


def errors_of_images(evaluation: Evaluation, rules: Sequence[MatchedRule]) -> list[float]:
    """Return how bad each image is at the protocol's threshold, 0 without an error; in the order of images.

    A missed lesion and a wrong verdict weigh 10, a false positive box 1 and, so that the surest come first,
    its score more. A class-aware protocol counts the first rule of every class.
    """
    threshold = evaluation.protocol.score_threshold
    first = [one for one in rules if one.rule == rules[0].rule]
    amount = np.zeros(first[0].matches.images)
    for one in first:
        matches = one.matches
        missed = matches.lesion_score < threshold
        np.add.at(amount, matches.lesion_image[missed], 10)
        wrong = matches.is_false_positive & (matches.prediction_score >= threshold)
        np.add.at(amount, matches.prediction_image[wrong], 1)
        surest = np.zeros(matches.images)
        np.maximum.at(surest, matches.prediction_image[wrong], matches.prediction_score[wrong])
        amount += surest
    for place, case in enumerate(evaluation.cases.images if evaluation.cases else ()):
        amount[place] += 10 * (
            case.truth is not None and (case.truth == "malignant") != (case.predicted == "malignant")
        )
    return [round(one, 6) for one in amount.tolist()]


def errors_of_scores(evaluation: Evaluation) -> list[float]:
    """Return how wrong the score of each image is, 0 for a right or unknown verdict; in the order of images.

    A wrong verdict weighs 10 and how far the score is from the truth.
    """
    amount = []
    for case in evaluation.cases.images if evaluation.cases else ():
        malignant = case.truth == "malignant"
        wrong = case.truth is not None and malignant != (case.predicted == "malignant")
        amount.append(round(10 + abs(malignant - case.score), 6) if wrong else 0.0)
    return amount


def page_parts(viewer: Viewer | None) -> dict[str, Any]:
    """Return what the template places: styles, script, data, and the content security policy.

    Nothing that users gave can become code: the data are JSON in a block that no browser runs, with every
    character escaped that could end it, and the policy lets only the script of this page run, by its SHA-256.
    """
    style = "\n".join((_PARTS / name).read_text(encoding="utf-8") for name in _STYLES)
    parts = "\n".join((_PARTS / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{parts}}})();'
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return {
        "page_style": Markup(style),
        "page_script": Markup(script),
        "policy": policy,
        "viewer": viewer,
        "viewer_data": "" if viewer is None else json_block(viewer.data),
    }


def json_block(value: Any) -> Markup:
    """Return JSON that can stand in a script element: no character of it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so U+2028 is escaped too
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def with_navigation(page: str) -> str:
    """Give every h2 an id, unless it has one, and list them where the template says ``<!-- contents -->``.

    Text from users holds neither: the template escapes it.
    """
    titles: list[tuple[str, str]] = []

    def anchored(found: re.Match[str]) -> str:
        title = re.sub(r"<[^>]*>", "", found[2]).strip()
        name = found[1] or re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
        while name in (other for other, _ in titles):
            name += "-2"
        titles.append((name, title))
        return f'<h2 id="{name}">{found[2]}</h2>'

    page = _HEADING.sub(anchored, page)
    links = "\n".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in titles)
    return page.replace("<!-- contents -->", links, 1)


def _chosen(pictures: Pictures, errors: Sequence[float]) -> list[int]:
    """Return the places of the images to read, in the order of the file."""
    places = range(len(errors))
    if pictures == "all" or (pictures == "auto" and len(errors) <= MOST_PICTURES):
        return list(places)
    if pictures == "errors":
        return [place for place in places if errors[place] > 0]
    most = {"none": 0, "auto": MOST_PICTURES}.get(str(pictures), pictures)
    return sorted(sorted(places, key=lambda place: -errors[place])[: int(most)])
