"""AP against input size: what shrinking costs, by one detector trained on the same phantoms at three sizes.

    python docs/figures/input_size.py OUT [--patients 100] [--epochs 7]

OUT gets the phantoms, three trainings, their scores, and input_size.{json,png}. Stopped, the same command
goes on. The sizes are those of a 4096 px mammogram: as it is, halved, and shrunk to 800/1333 px as
torchvision does.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from mammodet.datasets.atomic import write_json
from mammodet.datasets.coco import Coco, read_coco, read_results
from mammodet.evaluation.detection_metrics import coco_metrics
from mammodet.tools import cli

HEIGHT, WIDTH, SPACING = 768, 600, 0.267
SIZES = {"full": 1.0, "half": 0.5, "800/1333": 1333 / 4096}
ANCHORS_MM = (6.4, 12.8, 25.6, 38.4, 51.2)  # those of the demo


def main() -> None:
    """Make the phantoms, train and score at every size, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=7)
    arguments = parser.parse_args()
    out: Path = arguments.out
    if not (out / "phantom" / "coco.json").exists():
        frame = ["--height", HEIGHT, "--width", WIDTH, "--spacing-mm", SPACING, "--lesion-rate", 0.8]
        _run("phantom", out / "phantom", "--patients", arguments.patients, "--seed", 7, *frame)
        _run("split", out / "phantom" / "coco.json", "--out", out / "split", "--seed", 7)
    found = {name: _train_and_score(out, name, factor, arguments.epochs) for name, factor in SIZES.items()}
    write_json(out / "input_size.json", found)
    _draw(found, out / "input_size.png")


def _train_and_score(out: Path, name: str, factor: float, epochs: int) -> dict[str, Any]:
    """Train with anchors of the same millimetres, score the test patients, and evaluate by size."""
    folder, spacing = out / name.replace("/", "_"), SPACING / factor
    anchors = [max(4, round(side / spacing)) for side in ANCHORS_MM]
    recipe = ["--config", "configs/demo.yaml", "--recipe.spacing-mm", spacing, "--epochs", epochs]
    data = ["--train", out / "split" / "train.json", "--val", out / "split" / "val.json"]
    options = ["--model.anchor-sizes", json.dumps(anchors), "--max-minutes", "null", "--requeue", "true"]
    _run("train-det", *recipe, *data, *options, "--out", folder / "model")
    test = out / "split" / "test.json"
    _run("score", test, "--model", folder / "model" / "model.safetensors", "--out", folder / "scores")
    coco = read_coco(test)
    results = read_results(folder / "scores" / "predictions.json", coco)
    rows = {"all lesions": coco, **{label: _only(coco, ids) for label, ids in _groups(coco).items()}}
    counts = {label: sum(not one.get("ignore") for one in rows[label].annotations) for label in rows}
    return {
        label: {
            "AP": coco_metrics(one, results)["all"]["AP"],
            "AP50": coco_metrics(one, results)["all"]["AP50"],
            "lesions": counts[label],
        }
        for label, one in rows.items()
    }


def _groups(coco: Coco) -> dict[str, set[int]]:
    """Clusters of calcifications below and above their median size, and masses."""
    clusters = [one for one in coco.annotations if one.get("finding") == "calcification"]
    sides = {one["id"]: float(np.sqrt(one["bbox"][2] * one["bbox"][3])) for one in clusters}
    median = float(np.median(list(sides.values())))
    small = {number for number, side in sides.items() if side < median}
    masses = {one["id"] for one in coco.annotations if one.get("finding") == "mass"}
    limit = f"{median * SPACING:.0f} mm"
    return {
        f"clusters below {limit}": small,
        f"clusters from {limit}": set(sides) - small,
        "masses": masses,
    }


def _only(coco: Coco, ids: set[int]) -> Coco:
    """Ignore all other lesions: finding them is no error, missing them is none either."""
    annotations = [one if one["id"] in ids else {**one, "ignore": 1} for one in coco.annotations]
    return replace(coco, annotations=annotations)  # type: ignore[arg-type]


def _draw(found: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    names = sorted(found, key=lambda name: SIZES[name])
    shares = [SIZES[name] for name in names]
    for label in found["full"]:
        values = [found[name][label]["AP50"] for name in names]
        count = found["full"][label]["lesions"]
        style = {"color": "black", "linestyle": "--"} if label == "all lesions" else {}
        axes.plot(shares, values, marker="o", label=f"{label} ({count})", **style)
    axes.set_xticks(shares, [f"{name}\n{SIZES[name]:.0%}" for name in names])
    axes.set_ylim(0, 1)
    axes.set_xlabel("input size, share of the sides")
    axes.set_ylabel("AP50 on unseen patients")
    axes.set_title("What shrinking costs (ResNet18, phantoms)")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=150)


def _run(*words: object) -> None:
    if code := cli.main(list(map(str, words))):
        raise SystemExit(code)


if __name__ == "__main__":
    main()
