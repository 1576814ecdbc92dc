"""The console script ``mammodet``: one sub-command per tool, imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from mammodet.datasets.errors import InputError
from mammodet.tools.command import BAD_INPUT

# name -> (module under mammodet.tools, one line for --help)
COMMANDS = {
    "phantom": ("phantom", "write a synthetic screening data set: DICOM files and COCO ground truth"),
    "convert": ("convert", "turn a mammography data set into one COCO file"),
    "check": ("check", "list every fault of a COCO file"),
    "audit": ("audit", "tell what is odd about a COCO file, its boxes and its images, with a page"),
    "doctor": ("doctor", "tell what is odd about image files, with a contact sheet"),
    "split": ("split", "split a COCO file by patient into train, val and test, or into folds"),
    "prepare": ("prepare", "write standardised, cropped pixels of a COCO file's images once, for training"),
    "patches": ("patches", "cut patches out of a COCO file's images, into a store for classifiers"),
    "anchors": ("anchors", "fit the detector's anchors to the lesions of a COCO file"),
    "export": ("export", "write a COCO file's boxes for other trainers: YOLO, Pascal VOC or CSV"),
    "train-det": ("train_det", "train a Faster R-CNN lesion detector"),
    "train-cls": ("train_cls", "train a classifier of whole mammograms, of patches or of lesions"),
    "cross-validate": (
        "cross_validate",
        "train, score and evaluate a detector or a classifier of images fold by fold",
    ),
    "calibrate": ("calibrate", "make a detector ready for int8 on your own images"),
    "score": ("score", "score files, folders or a COCO file with a trained detector"),
    "classify": ("classify", "run trained classifiers on images or patches, and say how good they are"),
    "heatmap": ("heatmap", "search mammograms window by window with a trained classifier of patches"),
    "explain": ("explain", "show what a trained detector or classifier sees: activation maps, features"),
    "evaluate": ("evaluate", "evaluate the predictions of any detector against a COCO file"),
    "compare": ("compare", "compare the predictions of several models on the same cases, side by side"),
    "bench": ("bench", "measure the speed of this machine, beside stock torchvision"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mammodet COMMAND ...`` and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in {"-h", "--help"}:
        print(_usage())
        return 0 if argv else BAD_INPUT
    if argv[0] == "--version":
        print(f"mammodet {version('mammodet')}")
        return 0
    if argv[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"mammodet: error: no command {argv[0]!r}; the commands are {known}", file=sys.stderr)
        return BAD_INPUT
    try:
        module = importlib.import_module(f"mammodet.tools.{COMMANDS[argv[0]][0]}")
    except InputError as error:  # an installation that cannot work
        print(f"mammodet: error: {error}", file=sys.stderr)
        return BAD_INPUT
    return int(module.main(argv[1:]))


def _usage() -> str:
    lines = [
        "usage: mammodet COMMAND ...",
        "",
        "Lesion detection on mammograms at full resolution. For research, not for diagnosis.",
        "",
    ]
    lines += [f"  {name:<14} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join([*lines, "", "mammodet COMMAND --help tells the options of a command."])


if __name__ == "__main__":
    raise SystemExit(main())
