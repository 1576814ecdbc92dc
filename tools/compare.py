"""``mammodet compare``: predictions of several models on the same cases -> one report.

mammodet compare new.json old.json --ground-truth test.json --out compared --names new old
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammodet.datasets.errors import InputError
from mammodet.tools.command import PassedOn, config_text, run
from mammodet.tools.evaluation_arguments import Arguments as EvaluateArguments
from mammodet.tools.evaluation_arguments import (
    evaluation_options,
    evaluation_protocol,
    file_source,
    read_ground_truth,
    read_results,
)
from mammodet.tools.evaluation_output import check_outputs, new_results

_PROG = "mammodet compare"
# Options of evaluate that hold for every model: what is read and how, and the protocol.
_SHARED = (
    *("ground_truth", "image_root", "score_threshold", "suppression_iou", "lesion_iou"),
    *("hit_rules", "froc_denominator", "class_aware"),
    *("format", "columns", "categories", "boxes", "scores"),
    *("resamples", "confidence", "seed"),
)


def _withheld() -> dict[str, Any]:
    """Return the options of evaluate that are none of compare, with what they hold."""
    held: dict[str, Any] = {}
    for field in dataclasses.fields(EvaluateArguments):
        if field.name not in _SHARED:
            made = field.default_factory
            value = field.default if made is dataclasses.MISSING else made()
            held[field.name] = Path() if value is dataclasses.MISSING else value
    return held


@dataclass(frozen=True)
class Arguments:
    """Compare the predictions of several models on the same cases.

    The first one is what the others are compared with. Writes comparison.json, CSV tables, figures (PNG,
    SVG), compare.html and config.yaml.

    Args:
        predictions: of two models or more on the same images; of any format that mammodet evaluate reads
        out: folder for the results; made when it is not there
        names: of the models, in the order of the predictions; the names of the files without
        cases: disputed images that the page shows at most; 0 reads no image
        evaluation: the options of mammodet evaluate that hold for all of them
    """

    predictions: list[str]
    out: Path
    evaluation: EvaluateArguments
    names: list[str] | None = None
    cases: int = 20

    def __post_init__(self) -> None:
        if len(self.predictions) < 2:
            raise InputError(
                "is the only file of predictions",
                file=self.predictions[0],
                remedy="give those of another model on the same images too",
            )
        if self.cases < 0:
            raise InputError(
                "must not be negative", field="--cases", value=self.cases, remedy="0 reads no image"
            )
        if self.names is not None and len(self.names) != len(self.predictions):
            raise InputError(
                f"must be as many as the predictions, {len(self.predictions)}",
                field="--names",
                value=", ".join(self.names),
                remedy="give one name per file, in the same order",
            )


_OPTIONS = PassedOn("evaluation", EvaluateArguments, _withheld())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    how: dict[str, Any] = {"prog": _PROG, "positional": ("predictions",), "passed_on": _OPTIONS}
    return run(Arguments, _compare, argv, **how)


def model_names(predictions: Sequence[str]) -> list[str]:
    """Return the names of the files without suffix; equal ones get their folder, else a number."""
    paths = [Path(one).absolute() for one in predictions]
    names = [path.stem for path in paths]
    longer = [
        f"{path.parent.name}/{path.stem}" if names.count(path.stem) > 1 else path.stem for path in paths
    ]
    unique: list[str] = []
    for name in longer:
        number, told = 1, name
        while told in unique or (number == 1 and longer.count(name) > 1):
            told, number = f"{name} ({number})", number + 1
        unique.append(told)
    return [name.encode("utf-8", "backslashreplace").decode("utf-8") for name in unique]


def _compare(arguments: Arguments) -> int:
    from mammodet.datasets.atomic import write_text  # noqa: PLC0415
    from mammodet.evaluation.model_set import evaluate_models, require_names  # noqa: PLC0415
    from mammodet.evaluation.model_set_overview import model_set_overview  # noqa: PLC0415
    from mammodet.evaluation.model_set_pictures import disputed_pictures  # noqa: PLC0415
    from mammodet.evaluation.model_set_report import earlier_comparison, write_comparison  # noqa: PLC0415

    shared = arguments.evaluation
    check_outputs(arguments.out, {}, {}, others=["metrics.json"])
    names = model_names(arguments.predictions) if arguments.names is None else arguments.names
    require_names(names)
    options, protocol = evaluation_options(shared), evaluation_protocol(shared)
    coco = read_ground_truth(shared)
    paths = [Path(one) for one in arguments.predictions]
    results = {
        name: read_results(shared, path, coco, prog=_PROG, others=paths)
        for name, path in zip(names, paths, strict=True)
    }
    sources = [file_source(path) for path in paths]
    _warn_of_copies(sources)
    models = evaluate_models(coco, results, protocol, options, progress=_models_bar)
    pictures = disputed_pictures(models, arguments.cases, _images_bar)
    inputs = {
        "ground_truth": file_source(shared.ground_truth),
        "predictions": [{"name": name, **one} for name, one in zip(names, sources, strict=True)],
    }
    read = {"--ground-truth": shared.ground_truth, **{str(path): path for path in paths}}
    with new_results(arguments.out, earlier_comparison, read) as folder:
        report = write_comparison(models, folder, inputs, pictures)
        write_text(folder / "config.yaml", config_text(arguments, _OPTIONS))
    print("\n".join(model_set_overview(models, pictures)))
    print(f"\nreport: {arguments.out / report.name}")
    return 0


def _warn_of_copies(sources: Sequence[dict[str, str]]) -> None:
    """Warn of predictions that are there twice: allowed, since it shows that nothing differs."""
    seen: dict[str, str] = {}
    for one in sources:
        if one["sha256"] in seen:
            told = f"{one['path']} holds the same predictions as {seen[one['sha256']]}"
            print(f"{_PROG}: warning: {told}", file=sys.stderr)
        seen.setdefault(one["sha256"], one["path"])


def _models_bar(items: Iterable[Any]) -> Iterable[Any]:
    return _bar(items, "models", "model")


def _images_bar(items: Iterable[Any]) -> Iterable[Any]:
    return _bar(items, "disputed images", "image")


def _bar(items: Iterable[Any], what: str, unit: str) -> Iterable[Any]:
    """Wrap what is worked through into a progress bar, which a terminal alone shows."""
    from tqdm import tqdm  # noqa: PLC0415

    listed = list(items)
    wrapped: Iterable[Any] = tqdm(listed, desc=what, total=len(listed), unit=unit, disable=None)
    return wrapped


if __name__ == "__main__":
    sys.exit(main())
