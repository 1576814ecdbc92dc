"""What mammodet classify can be told, and what is checked before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mammodet.classification.model_file import ClassifierHeader, read_header
from mammodet.classification.task import Task
from mammodet.datasets.errors import InputError
from mammodet.evaluation.resampling import Bootstrap
from mammodet.tools.compare import model_names


@dataclass(frozen=True)
class Arguments:
    """Run trained classifiers on data, and say how good they are.

    Args:
        paths: for a classifier of images files, folders (searched with their sub-folders) or one COCO file;
            for one of patches a patch store; for one of lesions a COCO file.
        model: model file of a classifier; several of one task become the rows of one table.
        out: folder for the results; made when it is not there.
        names: of the models, in their order; the names of the files without.
        split: only the cases of this split, such as test; null takes all.
        threshold: of two classes, score from which on a case is called the score class; null takes the more
            probable class.
        batch: patches that the network gets at once.
        detections: of lesions, COCO results of a detector: its malignant boxes are cut out instead of those
            of the COCO file. One that overlaps a true lesion has the label of that, the others have none.
        min_score: detections with a lower score are left out.
        resamples: bootstrap resamples of patients for the intervals; 0 makes none but those of formulas.
        confidence: of every interval.
        seed: of the resamples.
        id: which id goes into the results; uid takes the hash where a file has none, and a hash
            hides an id from readers but not from who can guess it. Names and birth dates never go in.
        allow_for_processing: take raw FOR PROCESSING images too.
        allow_secondary_capture: take scans of films that name no body part too.
        precision: fp32, bf16, or auto (bf16 where this machine is faster with it).
        device: cpu, cuda, mps, or auto.
    """

    paths: list[str]
    model: list[str]
    out: Path
    names: list[str] | None = None
    split: str | None = None
    threshold: float | None = None
    batch: int = 64
    detections: Path | None = None
    min_score: float = 0.3
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    id: Literal["patient-id", "hash", "uid"] = "patient-id"
    allow_for_processing: bool = False
    allow_secondary_capture: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError("must be 1 or more", field="--batch", value=self.batch)
        _ = self.bootstrap  # refused now rather than after the run
        if not self.model:
            raise InputError("is empty", field="--model", remedy="give the file of a classifier")
        for name in ("threshold", "min_score"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError("must be 0 to 1", field=f"--{name.replace('_', '-')}", value=value)
        if self.names is not None and len(self.names) != len(self.model):
            remedy = "give one name per model, in the same order"
            value = ", ".join(self.names)
            raise InputError(
                f"must be as many as the models, {len(self.model)}",
                field="--names",
                value=value,
                remedy=remedy,
            )

    @property
    def read(self) -> dict[str, str | Path | None]:
        """The inputs, by option."""
        models = {f"--model ({place})": one for place, one in enumerate(self.model, start=1)}
        return {"PATH": self.paths[0], "--detections": self.detections, **models}

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are made."""
        return Bootstrap(self.resamples, self.confidence, self.seed)


def one_task(arguments: Arguments) -> Task:
    """Return the task of the models; InputError when they have several, or none fits the data."""
    headers = {model: read_header(Path(model)) for model in arguments.model}
    first = next(iter(headers.values())).task
    for model, header in headers.items():
        _require_source(header, arguments.paths, model)
        _require_same(first, header, model)
    if arguments.threshold is not None and len(first.names) != 2:
        raise InputError(
            "is for two classes",
            field="--threshold",
            value=arguments.threshold,
            remedy="leave it out: the most probable class counts",
        )
    if arguments.detections is not None and first.source != "lesions":
        remedy = "leave it out"
        raise InputError(
            f"is for classifiers of lesions, this is one of {first.source}",
            field="--detections",
            value=str(arguments.detections),
            remedy=remedy,
        )
    return first


def model_folders(arguments: Arguments) -> dict[str, Path]:
    """Return the folder of every model by its name: OUT, of several one each in it."""
    names = arguments.names or model_names(arguments.model)
    if len(names) == 1:
        return {names[0]: arguments.out}
    plain = [
        "".join("_" if one in '/\\:*?"<>|' or not one.isprintable() else one for one in name)
        for name in names
    ]
    for name, folder in zip(names, plain, strict=True):
        if folder.strip(" .") == "" or plain.count(folder) > 1:
            remedy = "give every model a name of its own"
            raise InputError("is empty or there twice", field="--names", value=name, remedy=remedy)
    return {name: arguments.out / folder for name, folder in zip(names, plain, strict=True)}


def _require_same(first: Task, header: ClassifierHeader, model: str) -> None:
    told = (
        ("source", first.source, header.task.source),
        ("classes", list(first.classes.items()), list(header.task.classes.items())),
        ("positive", first.score_class, header.task.score_class),
        ("subtype", first.subtype, header.task.subtype),
    )
    for field, wanted, found in told:
        if found != wanted:
            raise InputError(
                f"is another task than that of the first model, {wanted}",
                file=model,
                field=f"task.{field}",
                value=found,
                remedy="classify with one task at a time",
            )


def _require_source(header: ClassifierHeader, paths: Sequence[str], model: str) -> None:
    """Raise InputError when a model cannot look at what it is given."""
    source = header.task.source
    stores = [path for path in paths if _is_store(path)]
    wanted = {
        "images": "give images, folders or one COCO file",
        "patches": "give one patch store that mammodet patches made",
        "lesions": "give one COCO file",
    }[source]
    fits = {
        "images": not stores,
        "patches": len(paths) == 1 and (bool(stores) or not Path(paths[0]).exists()),
        "lesions": len(paths) == 1 and paths[0].endswith(".json"),
    }[source]
    if not fits:
        given = paths[0] if len(paths) == 1 else list(paths)
        raise InputError(f"{model} was trained on {source}", field="PATH", value=given, remedy=wanted)


def _is_store(path: str) -> bool:
    """Tell whether a path is a SQLite file, whatever its name is."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(16) == b"SQLite format 3\0"
    except OSError:  # a folder, or a file that whoever reads it will name
        return False
