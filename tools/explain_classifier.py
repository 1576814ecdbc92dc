"""mammodet explain of a classifier: what speaks for each class in every case, and which cases are alike.

OUT gets panels/ (input, map for the true class, map for the other one; the worst error first), sheet.png (the
worst and the best), of whole images cams/ and heatmaps/ (16-bit PNG) at full resolution, cases.csv, a map of
all cases by their features (features.png, .svg, .csv, .npz), the nearest neighbours of the worst errors
(neighbours.png, .csv), explain.json, rejected.csv, skipped.csv and config.yaml.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mammodet.classification.activation_maps import CamMethod
from mammodet.classification.model_file import ClassifierHeader
from mammodet.classification.predict import Predictor
from mammodet.datasets.errors import InputError
from mammodet.datasets.ledger import Ledger
from mammodet.tools.batch import run_fingerprint
from mammodet.tools.case_views import ClassifierCase
from mammodet.tools.cases import allowing, rejection
from mammodet.tools.classifier_cases import chosen, find_classifier_cases
from mammodet.tools.command import BAD_INPUT, write_config
from mammodet.tools.explain_case import CaseExplainer
from mammodet.tools.explain_features import Known, write_features, write_neighbours
from mammodet.tools.explain_tables import Explained, write_cases, write_sheet
from mammodet.tools.score_tables import write_csv

if TYPE_CHECKING:
    from mammodet.tools.explain import Arguments

METHOD: CamMethod = "gradcam"  # unless another is given
PICTURES = ("method", "allow_for_processing", "allow_secondary_capture", "device")  # options that change one
_BATCH, _BATCH_PIXELS = 32, 2**22  # patches at a time, and pixels of them

Entry = dict[str, Any]  # of the ledger: outcome and features of a case, or why it was rejected


def explain_classifier(arguments: Arguments) -> int:
    """Explain every case, write pictures and tables, and tell how well the network judged."""
    # Gradients and features are those of the network in full precision.
    predictor = Predictor.load(Path(arguments.model), device=arguments.device, precision="fp32")
    network, header = predictor.network, predictor.header
    recipe = allowing(header.recipe, arguments)
    found = find_classifier_cases(arguments.paths, header, recipe, arguments.split)
    cases = chosen(found.cases, arguments.ids, arguments.limit)
    references = _references(arguments, header)
    out, method = Path(arguments.out), arguments.method or METHOD
    whole, labels = header.task.source == "images", list(header.task.classes.values())
    explainer = CaseExplainer(network, predictor.device, out, method, whole, labels)
    with Ledger(
        out / "ledger.sqlite", run_fingerprint(arguments, vars(arguments).keys() - set(PICTURES))
    ) as ledger:
        write_config(arguments, out / "config.yaml")
        batch = _batch(header, cases)
        entries = _entries(explainer, cases, ledger, batch)
        known = _known(explainer, references, ledger, batch)
    write_csv(out / "skipped.csv", ["file", "reason"], list(found.skipped))
    explained = _without_rejected(out, cases, entries)
    if not explained:
        return BAD_INPUT
    lines = write_cases(out, explained, network.classes, header.task.score_class, method)
    if found.left_out:
        lines.append(f"left out: {found.left_out} cases of classes that the network does not tell")
    if rejected := len(cases) - len(explained):
        lines.append(f"{rejected} cases could not be read: {out / 'rejected.csv'}")
    results = [write_sheet(out, explained, arguments.examples)]
    if arguments.features:
        notes, written = write_features(out, explained, network.classes)
        more, others = write_neighbours(
            out,
            explained,
            known,
            network.classes,
            examples=arguments.examples,
            count=arguments.neighbours,
        )
        lines, results = [*lines, *notes, *more], [*results, *written, *others]
    folders = dict.fromkeys(
        str(Path(name).parent) for one in explained for name in one.outcome["files"].values()
    )
    shown = [*(str(path) for path in results), str(out / "cases.csv"), *(str(out / one) for one in folders)]
    print("\n".join([*lines, f"results: {', '.join(shown)}"]))
    return 0


def _references(arguments: Arguments, header: ClassifierHeader) -> list[ClassifierCase] | None:
    """Return the cases among which neighbours are looked for; None for those explained."""
    if arguments.reference_split is None:
        return None
    if not arguments.features:
        raise InputError("excludes --no-features", field="--reference-split", value=arguments.reference_split)
    recipe = allowing(header.recipe, arguments)
    found = find_classifier_cases(arguments.paths, header, recipe, arguments.reference_split)
    return [case for case in found.cases if case.truth is not None]


def _batch(header: ClassifierHeader, cases: Sequence[ClassifierCase]) -> int:
    """Return how many cases are done at once: patches, which are of one size, but no whole images."""
    if header.task.source != "patches":
        return 1
    height, width = cases[0].read().pixels.shape
    return max(1, min(_BATCH, _BATCH_PIXELS // (height * width)))


def _entries(
    explainer: CaseExplainer, cases: Sequence[ClassifierCase], ledger: Ledger, batch: int
) -> list[Entry]:
    def work(some: Sequence[ClassifierCase]) -> list[Entry]:
        told = explainer.explain(some)
        return [{"outcome": outcome, "features": _packed(features)} for outcome, features in told]

    def whole(entry: Entry) -> bool:
        return all((explainer.out / name).is_file() for name in entry["outcome"]["files"].values())

    return _done(cases, ledger, batch, work=work, whole=whole, name="explaining")


def _known(
    explainer: CaseExplainer, references: Sequence[ClassifierCase] | None, ledger: Ledger, batch: int
) -> list[Known] | None:
    """Return the references that can be read, with their features; None when there are none of their own."""
    if references is None:
        return None

    def work(some: Sequence[ClassifierCase]) -> list[Entry]:
        return [{"features": _packed(features)} for features in explainer.features(some)]

    entries = _done(references, ledger, batch, work=work, whole=lambda entry: True, name="reference cases")
    return [
        Known(case, _unpacked(entry["features"]))
        for case, entry in zip(references, entries, strict=True)
        if "rejected" not in entry
    ]


def _done(
    cases: Sequence[ClassifierCase],
    ledger: Ledger,
    batch: int,
    *,
    work: Callable[[Sequence[ClassifierCase]], list[Entry]],
    whole: Callable[[Entry], bool],
    name: str,
) -> list[Entry]:
    """Return the entry of every case: that of the ledger when it is still ``whole``, or a new one."""
    entries: list[Entry] = []
    with tqdm(total=len(cases), unit="case", desc=name) as bar:
        for start in range(0, len(cases), batch):
            some = cases[start : start + batch]
            mine = {case.id: ledger.get(f"{name} {case.key}") if case.key else None for case in some}
            missing = [case for case in some if (entry := mine[case.id]) is None or not whole(entry)]
            for case, entry in zip(missing, _attempt(work, missing), strict=True):
                mine[case.id] = entry
                # What failed, for want of memory perhaps, is tried again by the next run.
                if case.key and "rejected" not in entry:
                    ledger.record(f"{name} {case.key}", entry)
            entries += [mine[case.id] or {} for case in some]
            bar.update(len(some))
    return entries


def _attempt(
    work: Callable[[Sequence[ClassifierCase]], list[Entry]], cases: Sequence[ClassifierCase]
) -> list[Entry]:
    """Return the entries of cases, done together, or one by one when one of them cannot be done."""
    if not cases:
        return []
    try:
        return work(cases)
    except Exception as error:
        if len(cases) == 1:
            return [{"rejected": rejection(error, cases[0].path)}]
        return [entry for case in cases for entry in _attempt(work, [case])]


def _without_rejected(
    out: Path, cases: Sequence[ClassifierCase], entries: Sequence[Entry]
) -> list[Explained]:
    """Write rejected.csv and return the other cases, the worst error first; complain when there are none."""
    told = list(zip(cases, entries, strict=True))
    rejected = [
        {"id": case.id, "file": case.file, "reason": entry["rejected"]}
        for case, entry in told
        if "rejected" in entry
    ]
    write_csv(out / "rejected.csv", ["id", "file", "reason"], rejected)
    explained = [
        Explained(case, entry["outcome"], _unpacked(entry["features"]))
        for case, entry in told
        if "rejected" not in entry
    ]
    if not explained:
        line = f"none of {len(rejected)} cases could be read; the first: {rejected[0]['reason']}"
        print(f"mammodet explain: error: {line}", file=sys.stderr)
    return sorted(explained, key=lambda one: str(one.outcome["files"]["panels"]))


def _packed(features: NDArray[np.float32]) -> str:
    return base64.b64encode(features.astype("<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4")
