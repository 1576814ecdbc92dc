"""Train the published classifiers and the detector on one phantom set, and write the page that compares them.

python docs/baselines.py WORK docs/baselines.md

WORK keeps everything; a step whose product is there is not done again.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from mammodet.tools.bench_machine import describe

ROOT = Path(__file__).resolve().parents[1]
PATIENTS = 140
PARTS = {"train": 0.5, "val": 0.1, "test": 0.4}
STORES = {"pesapane": 48, "mracko": 96}
# name -> (recipe, data it learns from, title)
CLASSIFIERS = {
    "task1": ("pesapane_task1_demo", "pesapane", "Task 1 of Pesapane et al. 2023: suspicious or not"),
    "task2": ("pesapane_task2_demo", "pesapane", "Task 2 of Pesapane et al. 2023: benign or malignant"),
    "clusters": ("mracko_demo", "mracko", "Clusters, after Mračko et al. 2024"),
    "subtype": ("subtype_demo", "lesions", "A subtype head, after Lin et al. 2023"),
}


@dataclass(frozen=True)
class Work:
    """The folder of the work; its steps run ``mammodet`` there and keep what it prints."""

    folder: Path

    def step(self, product: str, *words: object) -> str:
        """Run a command unless its ``product`` is there; return what it printed then."""
        told = self.folder / "told" / f"{product.replace('/', '_')}.txt"
        if not ((self.folder / product).exists() and told.is_file()):
            command = [sys.executable, "-m", "mammodet.tools.cli", *map(str, words)]
            print("$ mammodet", shlex.join(command[3:]), flush=True)
            done = subprocess.run(
                command, cwd=self.folder, text=True, stdout=subprocess.PIPE, env=dict(os.environ), check=True
            )
            told.parent.mkdir(exist_ok=True)
            told.write_text(done.stdout)
        return told.read_text().strip("\n")


def data(work: Work) -> None:
    """Draw the phantoms, split them by patient, and cut patches."""
    demo = ROOT / "configs" / "demo_phantom.yaml"
    work.step("phantom/coco.json", "phantom", "phantom", "--config", demo, "--patients", PATIENTS)
    fractions = ["--fractions", json.dumps(PARTS)]
    work.step("split/test.json", "split", "phantom/coco.json", "--out", "split", *fractions)
    for kind, size in STORES.items():
        store = f"{kind}.sqlite"
        more = ["--negatives", 2] if kind == "pesapane" else ["--min-breast", 0.5]
        for part in PARTS:
            words = ["--kind", kind, "--size", size, "--split", part, *more]
            work.step(f"told/{kind}_{part}", "patches", f"split/{part}.json", "--out", store, *words)
            (work.folder / "told" / f"{kind}_{part}").touch()


def train(work: Work) -> None:
    """Train the four classifiers of patches and lesions, the detector, and SPPNet from its backbone."""
    for name, (recipe, source, _) in CLASSIFIERS.items():
        stored = [f"{source}.sqlite"]
        coco = ["split/train.json", "--val", "split/val.json"]
        words = ["--config", ROOT / "configs" / f"{recipe}.yaml", "--out", name]
        given = coco if source == "lesions" else stored
        work.step(f"{name}/model.safetensors", "train-cls", *words, "--train", *given)
    both = ["--train", "split/train.json", "--val", "split/val.json"]
    demo = ["--config", ROOT / "configs" / "demo.yaml"]
    work.step("detector/model.safetensors", "train-det", *demo, "--out", "detector", *both)
    body = ["--weights", "detector/model.safetensors"]
    longer = ["--max-minutes", 6, "--epochs", 3]  # the demo has two minutes for it
    recipe = ["--config", ROOT / "configs" / "sppnet_demo.yaml", *longer]
    work.step("sppnet/model.safetensors", "train-cls", *recipe, "--out", "sppnet", *both, *body)


def page(work: Work) -> str:
    """Score the test patients and return the page as Markdown."""
    lines = [_INTRODUCTION.format(patients=PATIENTS, machine=_machine())]
    lines.append("## Whole images: SPPNet beside the detector\n")
    detector = ["--model", "detector/model.safetensors", "--out", "detector_test", "--overlays", "none"]
    work.step("detector_test/predictions.json", "score", "split/test.json", *detector)
    sppnet = ["--model", "sppnet/model.safetensors", "--out", "sppnet_test"]
    work.step("sppnet_test/scores.csv", "classify", "split/test.json", *sppnet)
    files = ["detector_test/predictions.json", "sppnet_test/scores.csv"]
    words = ["compare", *files, "--ground-truth", "split/test.json", "--out", "compared"]
    told = work.step("compared/compare.html", *words, "--names", "detector", "SPPNet", "--cases", 0)
    lines += [_block(" ".join([*map(str, words), "--names detector SPPNet --cases 0"]), told), _SPPNET]
    for name, (recipe, source, title) in CLASSIFIERS.items():
        given = ["split/test.json"] if source == "lesions" else [f"{source}.sqlite", "--split", "test"]
        words = ["classify", *given, "--model", f"{name}/model.safetensors", "--out", f"{name}_test"]
        told = work.step(f"{name}_test/metrics.json", *words)
        cases = work.step(f"{name}/model.safetensors").partition("\n")[0]
        lines += [f"## {title}\n", f"`configs/{recipe}.yaml`; {cases}.\n", _block(" ".join(words), told)]
    return "\n".join(lines)


def main() -> int:
    """Do all steps and write the page."""
    folder, path = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    work = Work(folder)
    data(work)
    train(work)
    path.write_text(page(work))
    return 0


def _machine() -> str:
    found = describe(torch.device("cpu"))
    return f"{found['processor']}, {found['cores']} cores ({found['instructions']})"


def _block(command: str, told: str) -> str:
    return f"```\n$ mammodet {command}\n{told}\n```\n"


_INTRODUCTION = """# The published classifiers beside the detector

Made by `python docs/baselines.py WORK docs/baselines.md` on {machine}: one phantom set of {patients}
patients (0.4 mm), split by patient; every number is of patients that no network has seen. For research, not
for diagnosis.

The recipes are reduced ones, minutes on two CPU cores: small patches, small networks, few epochs, one
training each. They show that every classifier trains and tells something, and how the table of a comparison
is made. They say nothing about how the published systems rank: that takes
[their recipes](recipes.md#classifiers), real mammograms and a GPU. Numbers near 1 are those of the phantoms:
their calcifications are plain bright dots, which a patch either has or has not. What real films make of such
a network: [heatmap.md](heatmap.md#on-real-films).
"""

_SPPNET = """SPPNet here starts from the backbone of this detector, in place of ImageNet's weights, which the
program could not download on this machine. So its body has seen boxes, and its row is better than one from
image labels alone. In a run outside this script, from random weights, it did not leave chance in 6 epochs
over 728 other phantom images at 0.8 mm (AUC 0.45 to 0.56 after each epoch, on 208 images).
"""

if __name__ == "__main__":
    raise SystemExit(main())
