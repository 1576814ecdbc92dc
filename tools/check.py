"""List every fault of a COCO file: ``mammodet check coco.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from mammodet.datasets.coco import Coco, Fault, ImageRecord, check_content, check_files, read_json
from mammodet.datasets.coco_values import is_id, is_name
from mammodet.datasets.mammogram import image_size, read_mammogram
from mammodet.datasets.standardise import Recipe
from mammodet.tools.command import BAD_INPUT, run


@dataclass(frozen=True)
class Arguments:
    """List every fault of a COCO file, one per line, and exit with 2 when there is one.

    Parameters
    ----------
    coco:
        The COCO file.
    files:
        What the image files must: exist; have the size that the COCO file says, by their headers; be read,
        every pixel, which takes as long as scoring's reading does; or no to leave them alone.
    profile:
        Whether the file must follow mammodet's profile (categories benign and malignant, types of the keys).
    allow_for_processing:
        With --files read, take raw FOR PROCESSING images, as a recipe that allows them does.
    allow_secondary_capture:
        With --files read, take scans of films that name no body part, as a recipe that allows them does.
    """

    coco: Path
    files: Literal["exist", "size", "read", "no"] = "exist"
    profile: bool = True
    allow_for_processing: bool = False
    allow_secondary_capture: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(Arguments, check, argv, prog="mammodet check", positional=("coco",))


def check(arguments: Arguments) -> int:
    """Print the faults, or that there are none."""
    content = read_json(arguments.coco)
    faults = check_content(content, arguments.coco, profile=arguments.profile)
    if arguments.files != "no":
        faults += _file_faults(content, arguments)
    if faults:
        print("\n".join(map(str, faults)))
        return BAD_INPUT
    images, annotations = len(content["images"]), len(content["annotations"])
    print(f"{arguments.coco}: no fault in {images} images and {annotations} annotations")
    return 0


def _file_faults(content: Any, arguments: Arguments) -> list[Fault]:
    """Check the files of all images that have a name, whatever else is wrong in the COCO file."""
    images = content.get("images") if isinstance(content, dict) else None
    info = content.get("info") or {} if isinstance(content, dict) else None
    if not isinstance(images, list) or not isinstance(info, dict):
        return []
    if info.get("root") is not None and not is_name(info["root"]):
        return []  # nothing tells where the files are
    named: list[Any] = [one for one in images if isinstance(one, dict) and is_name(one.get("file_name"))]
    coco = Coco([one for one in named if is_id(one.get("id"))], [], arguments.coco, info=info)
    return check_files(coco, _size_by(arguments), progress=_bar)


def _size_by(arguments: Arguments) -> Callable[[Path], tuple[int, int]] | None:
    recipe = Recipe(
        allow_for_processing=arguments.allow_for_processing,
        allow_secondary_capture=arguments.allow_secondary_capture,
    )

    def read(path: Path) -> tuple[int, int]:
        mammogram = read_mammogram(path, recipe)
        return mammogram.source_width, mammogram.source_height

    return {"size": image_size, "read": read}.get(arguments.files)


def _bar(images: Iterable[ImageRecord]) -> Iterable[ImageRecord]:
    bar: Iterable[ImageRecord] = tqdm(images, desc="checking", unit="image", disable=None)
    return bar


if __name__ == "__main__":
    raise SystemExit(main())
