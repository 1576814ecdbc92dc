"""What mammodet explain does with cases of a classifier: one pass, maps, pictures, and a row of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mammodet.classification.activation_maps import CamMethod, Seen, body_frame, cell_grid, class_heat, see
from mammodet.classification.case_pictures import Panel, Row, Tone, case_panel, draw_row
from mammodet.classification.classifier import Classifier
from mammodet.datasets.coco import CATEGORY_NAMES
from mammodet.datasets.drawing import draw_boxes, write_png
from mammodet.datasets.errors import InputError
from mammodet.datasets.heatmap import concentration, paint, peak, to_source, write_heat
from mammodet.tools.case_views import ClassifierCase, View

FOLDERS = {"panels": "panels", "cam": "cams", "heatmap": "heatmaps"}  # kind of picture -> folder in OUT
Outcome = dict[str, Any]


@dataclass(frozen=True)
class CaseExplainer:
    """Explains cases of a classifier.

    Parameters
    ----------
    network:
        In evaluation mode, float32, on ``device``.
    whole:
        Whether cases are whole files, which get heat over the file and alone, at full resolution.
    labels:
        Of every output, the labels of the data that it stands for.
    """

    network: Classifier
    device: torch.device
    out: Path
    method: CamMethod
    whole: bool
    labels: Sequence[Sequence[str]]

    def explain(self, cases: Sequence[ClassifierCase]) -> list[tuple[Outcome, NDArray[np.float32]]]:
        """Write the pictures of cases whose inputs are of one size; return what there is to tell, as JSON.

        Beside it stand the features, float32 [D].
        """
        views = [case.read() for case in cases]
        seen = see(self.network, self._batch(views))
        if not np.isfinite(seen.logits).all():
            raise InputError("the network gives no numbers for it", file=cases[0].file, field="logits")
        outputs = [order(one, case.truth) for one, case in zip(seen.probabilities, cases, strict=True)]
        first, second = (self._heats(seen, [one[place] for one in outputs], views) for place in (0, 1))
        told = []
        for number, (case, view) in enumerate(zip(cases, views, strict=True)):
            outcome = self._outcome(case, view, seen.probabilities[number])
            heats = list(zip(outputs[number], (first[number], second[number]), strict=True))
            self._draw(outcome, case, view, heats[:1] if self.method == "eigencam" else heats)
            told.append((outcome, seen.features[number]))
        return told

    def features(self, cases: Sequence[ClassifierCase]) -> list[NDArray[np.float32]]:
        """Return the features float32 [D] of cases whose inputs are of one size, without pictures."""
        with torch.inference_mode():
            found = self.network.features(self._batch([case.read() for case in cases]))
        return list(found.float().cpu().numpy())

    def _batch(self, views: Sequence[View]) -> torch.Tensor:
        pixels = np.stack([view.pixels for view in views])[:, None]
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)

    def _heats(self, seen: Seen, classes: Sequence[int], views: Sequence[View]) -> list[NDArray[np.float32]]:
        """Return heat in the frame of what is shown; the hottest place has the probability of the class."""
        stride, first = cell_grid(self.network)
        maps = class_heat(self.network, seen, classes, self.method)
        chances = seen.probabilities[range(len(classes)), classes]
        return [
            to_source(one * chance, stride, body_frame(self.network, view.geometry), first=first)
            for one, chance, view in zip(maps, chances, views, strict=True)
        ]

    def _outcome(self, case: ClassifierCase, view: View, chances: NDArray[np.float32]) -> Outcome:
        names = self.network.classes
        predicted = int(chances.argmax())
        height, width = view.shown.shape
        return {
            "id": case.id,
            "file": case.file,
            "image": case.image,
            "frame": list(case.frame or (0, 0, width, height)),
            "truth": None if case.truth is None else names[case.truth],
            "predicted": names[predicted],
            "probabilities": {name: round(float(one), 6) for name, one in zip(names, chances, strict=True)},
            "notes": list(view.notes),
            "files": {},
        }

    def _draw(
        self,
        outcome: Outcome,
        case: ClassifierCase,
        view: View,
        heats: Sequence[tuple[int, NDArray[np.float32]]],
    ) -> None:
        output, heat = heats[0]
        outcome["explained"] = self.network.classes[output]
        outcome["peak"] = list(peak(heat)) if heat.any() else None
        lesions = [
            one for one in case.lesions if CATEGORY_NAMES.get(one["category_id"]) in self.labels[output]
        ]
        outcome["lesions"] = len(lesions)
        if lesions and case.truth is not None:
            outcome["in_lesions"] = asdict(concentration(heat, lesions))
        outcome["titles"] = ["input", *(self._title(outcome, *one) for one in heats)]
        pictures = [case_panel(view.shown, hot, case.lesions) for hot in (None, *(hot for _, hot in heats))]
        row = [Panel(title, picture) for title, picture in zip(outcome["titles"], pictures, strict=True)]
        picture = draw_row(Row(verdict(outcome), facts(outcome), tone(outcome), row))
        write_png(self._name(outcome, case, "panels", f"{_order_name(outcome)}_"), picture)
        if self.whole:
            write_heat(self._name(outcome, case, "heatmap"), heat)
            painted = draw_boxes(paint(view.shown, heat), case.lesions)
            write_png(self._name(outcome, case, "cam"), painted)

    def _title(self, outcome: Outcome, output: int, heat: NDArray[np.float32]) -> str:
        name = self.network.classes[output]
        told = f"for {name}: {outcome['probabilities'][name]:.3f}"
        return (
            f"{'what stands out' if self.method == 'eigencam' else told}{'' if heat.any() else ', no heat'}"
        )

    def _name(self, outcome: Outcome, case: ClassifierCase, kind: str, front: str = "") -> Path:
        """Return the path of a picture and note it in ``outcome``."""
        name = f"{FOLDERS[kind]}/{front}{case.name}.png"
        outcome["files"][kind] = name
        return self.out / name


def order(chances: NDArray[np.float32], truth: int | None) -> list[int]:
    """Return the two outputs to show: the true or the likeliest class, and the likeliest of the others."""
    likely = np.argsort(-chances, kind="stable").tolist()
    first = likely[0] if truth is None else truth
    return [first, *(one for one in likely if one != first)][:2]


def verdict(outcome: Mapping[str, Any]) -> str:
    """Return how a case was judged, in words."""
    truth, predicted = outcome["truth"], outcome["predicted"]
    chance = f"{outcome['probabilities'][predicted]:.3f}"
    if truth is None:
        return f"{predicted} {chance}, truth unknown"
    return (
        f"right: {truth} {chance}"
        if truth == predicted
        else f"wrong: {truth}, taken for {predicted} {chance}"
    )


def facts(outcome: Mapping[str, Any]) -> str:
    """Return what a case is: its number, its image when it is a part of one, and the file's name."""
    part = outcome["image"] != str(outcome["id"])
    return "  ".join([str(outcome["id"]), *[outcome["image"]] * part, Path(outcome["file"]).name])


def tone(outcome: Mapping[str, Any]) -> Tone:
    """Return the colour that a case is marked with."""
    if outcome["truth"] is None:
        return "unknown"
    return "right" if outcome["truth"] == outcome["predicted"] else "wrong"


def _order_name(outcome: Mapping[str, Any]) -> str:
    """Return the front of a picture's name: sorted by it, the worst error is first.

    It is the probability of the true class; where that is not known that of the likeliest one, after all
    others.
    """
    chances = outcome["probabilities"]
    if outcome["truth"] is None:
        return f"unknown_{chances[outcome['predicted']]:.4f}"
    return f"{chances[outcome['truth']]:.4f}"
